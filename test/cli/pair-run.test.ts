/** Waiting of the pair harness. */
import test from 'ava';
import { waitUntil } from '../../src/cli/pair-run.js';

const LIMIT_MS = 200;

test('given up when the limit is over, however often it was looked at', async (t) => {
  let looks = 0;
  t.false(await waitUntil(() => ++looks < 0, LIMIT_MS, 5));
  t.true(looks > 1);
  t.true(await waitUntil(() => ++looks > 0, LIMIT_MS));
});

test('what gets further is waited for, longer than the limit', async (t) => {
  const begunMs = performance.now();
  const isLong = (advanced: () => void): boolean => {
    advanced();
    return performance.now() - begunMs > 3 * LIMIT_MS;
  };
  t.true(await waitUntil(isLong, LIMIT_MS, 5));
});
