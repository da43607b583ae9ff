/** Scripts that are there to refuse: hardware of old pairs, and stacked DRBD. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import test from 'ava';
import { command } from '../support/command.js';
import { need } from '../support/need.js';
import { Room, script } from './room.js';

const HARDWARE: Readonly<Record<string, readonly string[]>> = {
  ICP: ['c0h1', '/dev/sdb1'],
  LinuxSCSI: ['0:0:11'],
  Raid1: ['/etc/raidtab.md0', '/dev/md0'],
  ServeRAID: ['1', '1'],
};

test('hardware: start is refused with a sentence, stop and status do no harm', async (t) => {
  for (const [name, args] of Object.entries(HARDWARE)) {
    const refused = await command(script(name), ...args, 'start');
    t.is(refused.code, 1);
    t.regex(
      refused.stderr,
      new RegExp(`^${name}: not supported by twinbeat: .*Take it out of haresources`),
    );
    const stopped = { code: 3, stdout: 'stopped\n', stderr: '' };
    t.deepEqual(await command(script(name), ...args, 'status'), stopped);
    t.deepEqual(await command(script(name), ...args, 'monitor'), stopped);
    t.is((await command(script(name), ...args, 'stop')).code, 0);
    t.is((await command(script(name), ...args, 'dance')).code, 2);
  }
});

const DEBIAN = '/etc/ha.d/resource.d/drbdupper';

/** A drbdadm of the kernel's DRBD that says what it was called with, and fails at what FAIL matches. */
const STAND_IN = `#!/bin/sh
echo "$*" >>"\${0%/*}/calls"
case "$*" in *"$FAIL"*) [ -z "$FAIL" ] || exit 1 ;; esac
case "$*" in
--version) echo DRBDADM_BUILDTAG=GIT-hash ;;
"-S sh-lr-of upper") echo lower ;;
"-S role upper") echo "\${ROLE-Primary}/Unknown" ;;
esac
`;

test('drbdupper: as the one of drbd-utils with its drbdadm, refused with ours', async (t) => {
  if (!need(t, 'root', 'netns')) return;
  const room = await Room.open(t);
  writeFileSync(`${room.dir}/drbdadm`, STAND_IN, { mode: 0o755 });
  room.must('mount', '-t', 'tmpfs', 'tmpfs', '/etc/default');
  const choose = (drbdadm: string): string =>
    room.must('sh', '-c', 'echo "DRBDADM=$0" >/etc/default/drbd', drbdadm);
  const calls = (path: string, action: string, env: Readonly<Record<string, string>> = {}) => {
    writeFileSync(`${room.dir}/calls`, '');
    const { status, out } = room.run([path, 'upper', action], { FAIL: '', ...env });
    const lines = readFileSync(`${room.dir}/calls`, 'utf8').split('\n');
    return { status, out, lines: lines.filter((line) => line !== '--version' && line !== '') };
  };
  const ours = script('drbdupper');

  choose(`${room.dir}/drbdadm`);
  const start = calls(ours, 'start');
  t.deepEqual(start.lines, [
    ...['-S sh-lr-of upper', 'primary lower', '-S check-resize upper', '-S adjust upper'],
    ...['-S wait-connect upper', '-S primary upper'],
  ]);
  t.is(calls(ours, 'start', { FAIL: 'check-resize' }).status, 0);
  t.not(calls(ours, 'start', { FAIL: 'adjust' }).status, 0);
  t.deepEqual(calls(ours, 'stop').lines, ['-S down upper', '-S sh-lr-of upper', 'secondary lower']);
  const busy = calls(ours, 'stop', { FAIL: 'down' });
  t.not(busy.status, 0, 'what is still up is not stopped');
  t.deepEqual(busy.lines, ['-S down upper']);
  t.deepEqual([calls(ours, 'status').out, calls(ours, 'status').status], ['running\n', 0]);
  t.deepEqual(calls(ours, 'status', { ROLE: 'Secondary' }).out, 'stopped\n');
  t.is(calls(ours, 'status', { FAIL: 'role' }).out, 'cannot determine status, may be running\n');
  t.is(room.run([ours, 'all', 'start']).status, 10);

  const drbdadm = resolve('build/bin/drbdadm');
  t.true(existsSync(drbdadm));
  choose(drbdadm);
  const refused = room.run([ours, 'upper', 'start']);
  t.is(refused.status, 1);
  t.regex(refused.out, /^drbdupper: upper: stacked resources \(a third copy\) are not supported/);
  t.deepEqual(room.run([ours, 'upper', 'status']), { status: 3, out: 'stopped\n' });
  t.deepEqual(room.run([ours, 'upper', 'stop']), { status: 0, out: '' });

  // The original makes the same calls.
  if (!need(t, DEBIAN)) return;
  choose(`${room.dir}/drbdadm`);
  t.deepEqual(calls(DEBIAN, 'start').lines, start.lines);
  t.deepEqual(calls(DEBIAN, 'stop').lines, calls(ours, 'stop').lines);
});
