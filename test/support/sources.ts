/** A number that each change of src/ makes another one: so each change is tried on seeds of its own, the same on every machine. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const SEED_RANGE = 2 ** 31;

export function drawnFromSources(): number {
  const hash = createHash('sha256');
  const names = readdirSync('src', { recursive: true, encoding: 'utf8' });
  for (const name of names.filter((n) => n.endsWith('.ts')).sort()) {
    hash.update(`${name}\n`).update(readFileSync(join('src', name)));
  }
  return hash.digest().readUInt32BE(0) % SEED_RANGE;
}
