/** What a test has measured, for whoever runs `make test`: its summary prints it. */
import { appendFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';

export function note(t: ExecutionContext, text: string): void {
  t.log(text);
  const file = process.env['TWINBEAT_NOTES'];
  if (file) appendFileSync(file, `${text.trimEnd()}\n`);
}
