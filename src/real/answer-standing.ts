/**
 * Keeps the standing of this node (resource-manager/standing.ts) through a power cut: written aside, synced, renamed, the
 * directory synced. Nothing waits for it: a disk that hangs must not silence the node, least of all when that is what made
 * the service fail. One at a time: what hangs has a thread of Node's few.
 */
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Answers } from '../host/heartbeat-questions.js';
import { formatStanding, type Standing } from '../resource-manager/standing.js';
import { STANDING_FILE } from './heartbeat-files.js';

const LIMIT_MS = 10_000;

export async function writeStanding(root: string, standing: Standing): Promise<void> {
  const path = root + STANDING_FILE;
  await mkdir(dirname(path), { recursive: true });
  const file = await open(`${path}.new`, 'w', 0o644);
  try {
    await file.writeFile(formatStanding(standing));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  const dir = await open(dirname(path), 'r');
  try {
    await dir.sync();
  } finally {
    await dir.close();
  }
}

export function standingAnswer(root: string, failed: (text: string) => void): Answers['standing'] {
  let isWriting = false;
  return (_config, { standing }, answered) => {
    if (isWriting) {
      setImmediate(answered, false);
      return;
    }
    isWriting = true;
    let isOver = false;
    const finish = (worked: boolean, why: string): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(limit);
      if (!worked) failed(`${STANDING_FILE}: ${why}`);
      setImmediate(answered, worked); // what the machines throw is not for a promise
    };
    const limit = setTimeout(() => finish(false, 'not written in time'), LIMIT_MS);
    writeStanding(root, standing).then(
      () => {
        isWriting = false;
        finish(true, '');
      },
      (e: unknown) => {
        isWriting = false;
        finish(false, e instanceof Error ? e.message : String(e));
      },
    );
  };
}
