/**
 * A directory that does not answer, like one of a file server that is gone: a FUSE file system whose /dev/fuse nobody reads.
 * Whoever looks into it waits, until it is let go: then he gets an error.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';

export interface HungDirectory {
  /** Everybody who waits gets ENOTCONN. Harmless twice. */
  release(): void;
}

/** Needs 'root', 'fuse', 'mount'. */
export function hangDirectory(path: string): HungDirectory {
  mkdirSync(path, { recursive: true });
  const device = openSync('/dev/fuse', 'r+');
  const options = 'fd=3,rootmode=40000,user_id=0,group_id=0,allow_other';
  execFileSync('mount', ['-i', '-t', 'fuse', '-o', options, 'hung', path], {
    stdio: ['ignore', 'ignore', 'inherit', device],
  });
  let isHung = true;
  return {
    release: () => {
      if (!isHung) return;
      isHung = false;
      closeSync(device);
      execFileSync('umount', ['-l', path]);
    },
  };
}
