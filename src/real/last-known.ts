/**
 * Where internal meta-data are, for drbdmeta: the size of the device that they are at the end of. Same file and format as drbd-utils
 * (cli/drbdmeta-last-known.ts reads it). drbdadm notes it at each attach and resize; when the peer was asked to resize, nobody but
 * drbdd knows that they have moved here, too.
 *
 *     67108864<TAB>/dev/sdb1
 *     uuid:<TAB>77EF6588DC4359F4
 */
import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

export interface Known {
  readonly sizeBytes: number;
  readonly path: string;
  readonly uuid: bigint; // 0: not known
}

export function lastKnownFile(minor: number): string {
  return `/var/lib/drbd/drbd-minor-${minor}.lkbd`;
}

export function saveLastKnown(file: string, known: Known): void {
  const uuid = known.uuid.toString(16).toUpperCase().padStart(16, '0');
  const text = `${known.sizeBytes}\t${known.path}\n${known.uuid === 0n ? '' : `uuid:\t${uuid}\n`}`;
  mkdirSync(dirname(file), { recursive: true });
  const fd = openSync(file, 'w', 0o644);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
