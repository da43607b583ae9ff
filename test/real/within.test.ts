/** Waiting within a bound. */
import test from 'ava';
import { within } from '../../src/real/within.js';

const NEVER = new Promise<void>(() => {});
const LONG_MS = 60_000;

test('done in time, late, failed in time', async (t) => {
  t.true(await within(LONG_MS, Promise.resolve('anything')));
  t.false(await within(1, NEVER));
  await t.throwsAsync(within(LONG_MS, Promise.reject(new Error('torn'))), { message: 'torn' });
});

test('work that fails when nobody waits any more is no unhandled rejection', async (t) => {
  let fail = (_: Error): void => {};
  const work = new Promise<void>((_, reject) => {
    fail = reject;
  });
  t.false(await within(1, work));
  const unhandled: unknown[] = [];
  const hear = (e: unknown): void => void unhandled.push(e);
  process.on('unhandledRejection', hear);
  t.teardown(() => process.off('unhandledRejection', hear));
  fail(new Error('late'));
  // They are told of when the promises that are settled have run.
  await new Promise((done) => setImmediate(done));
  await new Promise((done) => setImmediate(done));
  t.deepEqual(unhandled, []);
});
