/** Waits for what no event tells: looks again and again, up to a bound that no machine needs. */
import { waitUntil } from '../../src/cli/pair-run.js';

/** For a machine that does ten other things at the same time. Nothing waits so long unless it is broken. */
export const PATIENCE_MS = 60_000;

/** Throws, with what was waited for, when the bound is reached. */
export async function until(
  ready: () => boolean | Promise<boolean>,
  what: string | (() => string),
  everyMs = 10,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  if (await waitUntil(ready, patienceMs, everyMs)) return;
  throw new Error(`waited in vain for: ${typeof what === 'string' ? what : what()}`);
}
