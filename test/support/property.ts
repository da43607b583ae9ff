/** A property as a claim of the test: what fast-check found is its message. */
import type { ExecutionContext } from 'ava';
import fc from 'fast-check';

export function holds<T>(
  t: ExecutionContext,
  property: fc.IProperty<T>,
  parameters: fc.Parameters<T> = {},
): void {
  const run = fc.check(property, parameters);
  t.false(run.failed, fc.defaultReportMessage(run) ?? '');
}
