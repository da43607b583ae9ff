/** The client of a watchdog device, with a file and a pipe in place of one: what is written, and what never is. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Watchdog } from '../../src/real/watchdog.js';

function rig(t: ExecutionContext) {
  const dir = mkdtempSync(join(tmpdir(), 'watchdog-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const device = join(dir, 'watchdog');
  writeFileSync(device, '');
  const logs: string[] = [];
  const watchdog = new Watchdog((level, text) => logs.push(`${level}: ${text}`));
  const written = (path = device) => readFileSync(path, 'latin1');
  return { dir, device, logs, watchdog, written };
}

/** Descriptors of this process. */
function isOpen(path: string): boolean {
  return readdirSync('/proc/self/fd').some((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false;
    }
  });
}

// As 3.0.6 with a file: a byte of zero for each status, V at the end.
test('opened, fed, released; a device that cannot be told its time is fed all the same', (t) => {
  const { device, logs, watchdog, written } = rig(t);
  watchdog.feed(0);
  watchdog.configure(device, 4000);
  t.deepEqual(logs, [
    `info: Using watchdog device: ${device}`,
    'ERROR: WDIOC_SETTIMEOUT: Failed to set watchdog timer to 5 seconds.: ENOTTY. It is fed all the same, and has a time of its own.',
  ]);
  t.is(written(), '');
  watchdog.feed(0);
  watchdog.feed(0);
  t.is(written(), '\0\0');
  watchdog.release();
  t.is(written(), '\0\0V');
  t.false(isOpen(device));
  watchdog.feed(0);
  watchdog.release();
  t.is(written(), '\0\0V');
});

test('the deadtime and 10 ms, in whole seconds', (t) => {
  const seconds = (deadtimeMs: number) => {
    const { device, logs, watchdog } = rig(t);
    watchdog.configure(device, deadtimeMs);
    return /timer to (\d+) seconds/.exec(logs.at(-1) ?? '')?.[1];
  };
  t.deepEqual([30_000, 990, 991, 1000, 2500].map(seconds), ['31', '1', '2', '2', '3']);
});

test('condemned: not fed, no V, not closed, not by a new configuration either', (t) => {
  const { dir, device, watchdog, written } = rig(t);
  watchdog.configure(device, 4000);
  watchdog.feed(0);
  watchdog.condemn();
  watchdog.feed(0);
  watchdog.release();
  watchdog.configure(null, 4000);
  const other = join(dir, 'other');
  writeFileSync(other, '');
  watchdog.configure(other, 4000);
  watchdog.feed(0);
  t.is(written(), '\0');
  t.is(written(other), '');
  t.true(isOpen(device));
});

test('a new configuration: the same device goes on, another one is released first, none is released', (t) => {
  const { dir, device, logs, watchdog, written } = rig(t);
  watchdog.configure(device, 4000);
  watchdog.configure(device, 9000);
  t.regex(logs.at(-1) ?? '', /timer to 10 seconds/);
  t.is(logs.filter((line) => line.includes('Using')).length, 1);
  t.is(written(), '');
  const other = join(dir, 'other');
  writeFileSync(other, '');
  watchdog.configure(other, 9000);
  watchdog.feed(0);
  t.is(written(), 'V');
  watchdog.configure(null, 9000);
  t.is(written(other), '\0V');
  t.false(isOpen(other));
});

test('a device that is not there, and one that breaks, are said once', (t) => {
  const { dir, logs, watchdog } = rig(t);
  const missing = join(dir, 'missing');
  watchdog.configure(missing, 4000);
  watchdog.feed(0);
  watchdog.release();
  t.deepEqual(logs, [`ERROR: Cannot open watchdog device: ${missing}: ENOENT`]);
  // A pipe whose reader goes.
  const pipe = join(dir, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  watchdog.configure(pipe, 4000);
  watchdog.feed(0);
  closeSync(reader);
  watchdog.feed(0);
  watchdog.feed(0);
  t.is(logs.at(-1), `ERROR: Watchdog write failure: closing ${pipe}! (EPIPE)`);
  t.is(logs.filter((line) => line.includes('failure')).length, 1);
  t.false(isOpen(pipe));
});

test('between two lives: fed for the pause, the deadtime and a second, after the last status, and no longer', (t) => {
  const { device, watchdog, written } = rig(t);
  watchdog.configure(device, 4000);
  watchdog.feed(1000);
  for (const nowMs of [1500, 5000, 6000, 6001, 20_000]) watchdog.bridge(nowMs);
  t.is(written(), '\0'.repeat(4));
  watchdog.feed(20_000); // a new life
  watchdog.bridge(20_500);
  t.is(written(), '\0'.repeat(6));
  watchdog.condemn();
  watchdog.bridge(20_600);
  t.is(written(), '\0'.repeat(6));
});
