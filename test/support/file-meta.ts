/** `drbdmeta apply-al` on a file that grew: its meta-data, where they were, are moved to the end (src/cli/drbdmeta-resize.ts does the like). */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { dice } from '../../src/sim/dice.js';
import { findMetaData as find } from '../../src/sim/moved-meta.js';
import { DEFAULT_SIM_DISK, SimDisk } from '../../src/sim/sim-disk.js';

/** So many bytes at the end of either size hold all of the meta-data of a disk of the tests. */
const TAIL_BYTES = 1 << 20;

export function findMetaData(path: string, lastBytes: number): void {
  const fd = openSync(path, 'r+');
  try {
    const sizeBytes = fstatSync(fd).size;
    const disk = new SimDisk({ ...DEFAULT_SIM_DISK, sizeBytes }, dice(1, 'file'));
    const places = [lastBytes - TAIL_BYTES, sizeBytes - TAIL_BYTES];
    const tail = new Uint8Array(TAIL_BYTES);
    for (const at of places) {
      readSync(fd, tail, 0, TAIL_BYTES, at);
      disk.write(at, tail, true);
    }
    if (find(disk, lastBytes) !== sizeBytes) throw new Error(`${path}: no meta-data`);
    for (const at of places) writeSync(fd, disk.content(at, TAIL_BYTES), 0, TAIL_BYTES, at);
  } finally {
    closeSync(fd);
  }
}
