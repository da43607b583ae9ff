/** Waiting for work that may never end: a disk or a thread that hangs must not hold up what comes after it. */

/** Whether it is done in time; it goes on when it is not. Throws what the work throws in that time. */
export async function within(limitMs: number, work: Promise<unknown>): Promise<boolean> {
  let limit: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((over) => {
    limit = setTimeout(over, limitMs, false);
  });
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(limit);
  }
}

/** A call of the file system that has not come back: process.exit would wait for its thread, and does not end. */
export function hasHangingThread(): boolean {
  return process.getActiveResourcesInfo().some((name) => name.startsWith('FSReq'));
}
