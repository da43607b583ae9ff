/**
 * Prerequisites of a test: `if (!need(t, 'root', 'fio')) return;`. What is missing is written to the list of skips
 * that `make test` prints; with TWINBEAT_REQUIRE=all it fails the test instead.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, appendFileSync, constants, existsSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import { haveIoUring } from '../../src/real/native-addon.js';

const SPECIAL: Readonly<Record<string, () => boolean>> = {
  root: () => process.getuid?.() === 0,
  fuse: () => {
    try {
      accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
      return true;
    } catch {
      return false;
    }
  },
  loop: () => existsSync('/dev/loop-control'),
  io_uring: () => haveIoUring().ok,
  netns: () => {
    try {
      execFileSync('unshare', ['--net', '--mount', '--uts', 'true'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  },
};

const PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** True when a program of that name, or one of the special rights above, is there. An absolute path is a file. */
export function have(what: string): boolean {
  const special = SPECIAL[what];
  if (special) return special();
  if (what.startsWith('/')) return existsSync(what);
  return PATH.some((dir) => existsSync(`${dir}/${what}`));
}

/** False, and the test named among the skips, when one of `wants` is missing here. */
export function need(t: ExecutionContext, ...wants: readonly string[]): boolean {
  const missing = wants.filter((what) => !have(what));
  if (missing.length === 0) return true;
  const why = `${t.title}: needs ${missing.join(', ')}`;
  if (process.env['TWINBEAT_REQUIRE'] === 'all') {
    t.fail(`required here, but missing: ${missing.join(', ')}`);
    return false;
  }
  const list = process.env['TWINBEAT_SKIPS'];
  if (list) appendFileSync(list, `${why}\n`);
  t.log(`skipped: ${why}`);
  t.pass();
  return false;
}
