/** Filesystem with real ext4 on a loop device, in a mount namespace of its own. */
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { judged, loopDevice, type Ran, Room, script, until } from './room.js';

async function ext4(t: ExecutionContext) {
  const room = await Room.open(t);
  const device = loopDevice(t, room.dir, 16);
  room.must('mkfs.ext4', '-q', device);
  // "OK" in the name: a status that named the directory would always be judged running.
  const dir = `${room.dir}/BOOKS and more`;
  const call = (...args: string[]) => room.script('Filesystem', device, dir, 'ext4', ...args);
  return { room, device, dir, call };
}
const WANTS = ['root', 'loop', 'netns', 'mkfs.ext4'];

test('start, status and stop, each twice', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, dir, call } = await ext4(t);
  t.is(judged(call('status').out), 'stopped');
  t.is(call('status').status, 3);
  t.is(call('stop').status, 0, 'stop of what never ran succeeds');
  for (let i = 0; i < 2; i++) {
    t.is(call('start').status, 0);
    t.is(judged(call('status').out), 'running');
    t.is(call('monitor').status, 0);
  }
  room.must('touch', `${dir}/here`);
  for (let i = 0; i < 2; i++) {
    t.is(call('stop').status, 0);
    t.is(judged(call('status').out), 'stopped');
  }
  t.is(call('noatime,ro', 'start').status, 0);
  t.regex(room.must('cat', '/proc/self/mountinfo'), / ro,noatime /);
  room.must('test', '-e', `${dir}/here`);
});

test('stop names what keeps it busy and leaves it alone, or ends it, as configured', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, dir, call } = await ext4(t);
  t.is(call('start').status, 0);
  // One that goes with TERM, one that ignores it and holds an open file, and a mount below.
  room.must('mkdir', `${dir}/below`);
  room.must('mount', '-t', 'tmpfs', 'tmpfs', `${dir}/below`);
  const stubborn = room.spawn([
    ...[
      'sh',
      '-c',
      'trap "" TERM; exec 5>"$0/file"; echo ready; while :; do sleep 1000; done',
      dir,
    ],
  ]);
  const polite = room.spawn(['sh', '-c', 'cd "$0" && echo ready && exec tail -f /dev/null', dir]);
  for (const child of [stubborn, polite]) {
    await new Promise((ready) => child.stdout?.once('data', ready));
  }
  await until(() => room.run(['pidof', 'tail']).status === 0);
  const refused = room.run(
    [`${process.cwd()}/resource.d/Filesystem`, '/dev/null', dir, 'ext4', 'stop'],
    { FORCE_UNMOUNT: 'no' },
  );
  t.is(refused.status, 1);
  t.is(judged(call('status').out), 'running');
  const gone = [stubborn, polite].map((c) => new Promise((done) => c.once('exit', done)));
  const stopped = call('stop');
  t.is(stopped.status, 0, stopped.out);
  t.regex(stopped.out, /busy: .*tail\[/);
  t.regex(stopped.out, /sending KILL to .*sh\[/);
  t.is(judged(call('status').out), 'stopped');
  await Promise.all(gone);
});

test('start waits for the device', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, device, dir } = await ext4(t);
  const link = `${room.dir}/drbd0`;
  const late = room.spawn([`${process.cwd()}/resource.d/Filesystem`, link, dir, 'ext4', 'start']);
  t.is(late.exitCode, null);
  symlinkSync(device, link);
  t.is(await new Promise((done) => late.once('exit', done)), 0);
  const named = room.script('Filesystem', link, dir, 'ext4', 'status');
  t.is(judged(named.out), 'running');
  // The link may be gone at the stop: what sits in our place is ours.
  rmSync(link);
  t.is(room.script('Filesystem', link, dir, 'ext4', 'stop').status, 0);
  const never = room.run([`${process.cwd()}/resource.d/Filesystem`, link, dir, 'start'], {
    DEVICE_WAIT_S: '0',
  });
  t.is(never.status, 1);
  t.regex(never.out, /there is no block device/);
});

test('something else on the directory is neither ours nor touched', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, dir, call } = await ext4(t);
  mkdirSync(dir);
  room.must('mount', '-t', 'tmpfs', 'tmpfs', dir);
  t.is(judged(call('status').out), 'stopped');
  t.regex(call('start').out, /in use: tmpfs/);
  t.is(call('start').status, 1);
  t.is(call('stop').status, 1);
  t.regex(room.must('cat', '/proc/self/mountinfo'), /BOOKS.*tmpfs/);
});

test('a marked file system is repaired, one beyond repair is not mounted', async (t) => {
  if (!need(t, ...WANTS, 'debugfs', 'tune2fs')) return;
  const { room, device, call } = await ext4(t);
  // A block that is in use but marked free, and the file system marked as having errors.
  room.must('debugfs', '-w', '-R', 'freeb 1', device);
  room.must('debugfs', '-w', '-R', 'ssv state 2', device);
  const repaired = call('start');
  t.is(repaired.status, 0, repaired.out);
  t.is(call('stop').status, 0);
  room.must('e2fsck', '-fn', device);
  room.must('debugfs', '-w', '-R', 'clri <2>', device);
  room.must('debugfs', '-w', '-R', 'ssv state 2', device);
  const refused = call('start');
  t.is(refused.status, 1);
  t.regex(refused.out, /needs a fsck by hand/);
  t.is(judged(call('status').out), 'stopped');
});

test('monitor tells a remount read-only and a full file system', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, device, dir, call } = await ext4(t);
  const status = (): string => judged(call('status').out);
  t.deepEqual(call('monitor'), { status: 3, out: 'stopped\n' });
  t.is(call('start').status, 0);
  t.deepEqual(call('monitor'), { status: 0, out: 'running\n' });

  room.must('chmod', '755', room.dir);
  // For root some blocks are left still; those who are not find none.
  room.must(
    'sh',
    '-c',
    'chmod 777 "$0"; setpriv --reuid 65534 --clear-groups cat /dev/zero >"$0/big" || :',
    dir,
  );
  t.deepEqual(call('monitor'), { status: 10, out: 'full: no blocks left\n' });
  const failing = room.run([script('Filesystem'), device, dir, 'ext4', 'monitor'], {
    FULL: 'fail',
  });
  t.is(failing.status, 1);
  t.is(status(), 'running');
  room.must('rm', `${dir}/big`);
  t.is(call('monitor').status, 0);
  room.must('sh', '-c', 'cd "$0" && seq -f f%g 5000 | xargs touch || :', dir);
  t.deepEqual(call('monitor'), { status: 10, out: 'full: no inodes left\n' });
  room.must('sh', '-c', 'rm "$0"/f*', dir);
  t.is(call('monitor').status, 0);

  room.must('mount', '-o', 'remount,ro', dir);
  t.is(call('monitor').status, 1);
  t.regex(call('monitor').out, /^read-only/);
  t.is(status(), 'running', 'heartbeat must not start a second one');
  t.is(call('noatime,ro', 'monitor').status, 0, 'as configured');
  room.must('mount', '-o', 'remount,rw', dir);
  t.is(call('monitor').status, 0);
  t.is(call('stop').status, 0);
});

test('monitor sees that the kernel gave a file system up', async (t) => {
  if (!need(t, ...WANTS, 'debugfs')) return;
  const { room, device, dir, call } = await ext4(t);
  room.must('tune2fs', '-e', 'remount-ro', device);
  room.must(
    'sh',
    '-c',
    'mkdir "$0" && mount "$1" "$0" && mkdir "$0/d" && umount "$0"',
    dir,
    device,
  );
  // A directory that lies outside of the device: who looks into it finds the file system damaged.
  room.must('debugfs', '-w', '-R', 'sif d block[0] 999999', device);
  t.is(room.script('Filesystem', device, dir, 'ext4', 'start').status, 0);
  t.is(call('monitor').status, 0);
  room.run(['touch', `${dir}/d/file`]);
  const failed = call('monitor');
  t.is(failed.status, 1);
  t.regex(failed.out, /^read-only: the kernel/);
  t.is(call('stop').status, 0);
});

test('monitor sees an XFS that is shut down', async (t) => {
  if (!need(t, ...WANTS, 'mkfs.xfs', 'xfs_io')) return;
  const room = await Room.open(t);
  const device = loopDevice(t, room.dir, 320);
  room.must('mkfs.xfs', '-q', device);
  const dir = `${room.dir}/xfs`;
  const call = (action: string): Ran => room.script('Filesystem', device, dir, 'xfs', action);
  t.is(call('start').status, 0);
  t.deepEqual(call('monitor'), { status: 0, out: 'running\n' });
  room.must('xfs_io', '-x', '-c', 'shutdown', dir);
  const failed = call('monitor');
  t.is(failed.status, 1);
  t.regex(failed.out, /^(does not answer|read-only)/);
  t.is(judged(call('status').out), 'running', 'it is still mounted');
  t.is(call('stop').status, 0);
});
