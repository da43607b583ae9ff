/**
 * Handlers as drbdd runs them: what they are told, what their end is taken for, and that one which hangs holds up nobody but the
 * request that waits for it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { DEFAULT_DISK_OPTIONS, DEFAULT_RESOURCE_OPTIONS } from '../../src/config/drbd-options.js';
import type { ControlReply } from '../../src/host/control.js';
import { handlerEnvironment, runHandler } from '../../src/real/drbdd-handlers.js';
import { loadState } from '../../src/real/drbdd-state.js';
import { daemon, directory, done, PEER, up } from '../support/drbdd-daemon.js';
import { until } from '../support/until.js';

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

const pidIn = (file: string): number => {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch {
    return 0;
  }
};

test('the exit code is that of the shell; one that a signal ends, or that is not there, is broken', async (t) => {
  const env = { PATH: '/usr/bin:/bin' };
  t.deepEqual(await runHandler('exit 5', env, 0), { exit: 5, remark: null });
  t.deepEqual(await runHandler('kill -9 $$', env, 0), { exit: 127, remark: 'ended by SIGKILL' });
  t.is((await runHandler('/not/there', env, 0)).exit, 127);
  t.is((await runHandler('test -z "$HOME$SECRET"', env, 0)).exit, 0, 'nothing of the daemon’s own');
});

test('one that takes too long is killed with all that it started, and counts as broken', async (t) => {
  const dir = directory(t);
  const env = { PATH: '/usr/bin:/bin' };
  const command = `sleep 1000 & echo $! > ${dir}/pid; wait`;
  const { exit, remark } = await runHandler(command, env, 500);
  t.is(exit, 127);
  t.is(remark, 'killed after 0.5 s (handler-timeout in twinbeat.ini)');
  await until(() => !isAlive(pidIn(`${dir}/pid`)), 'its child is gone');
});

// Recorded from drbdadm-84 9.22, called with the kernel's environment.
test('the environment is what drbdadm gives a handler of the kernel', (t) => {
  const volume = (n: number, disk: string | null) => ({
    volume: n,
    minor: n + 3,
    device: `/dev/drbd${n + 3}`,
    disk:
      disk === null
        ? null
        : { disk, metaDisk: disk, metaIndex: 'internal' as const, options: DEFAULT_DISK_OPTIONS },
  });
  const running = {
    name: 'r0',
    options: DEFAULT_RESOURCE_OPTIONS,
    net: null,
    volumes: [volume(0, '/dev/sda1'), volume(1, null)],
  };
  const configured = { environment: PEER, lowerDisks: { 3: '/dev/sda1', 4: '/dev/sda2' } };
  const of = (minor: number | null, root = ''): Record<string, string> => {
    const { PATH, ...rest } = handlerEnvironment(
      { resource: 'r0', minor },
      configured,
      running,
      root,
    );
    t.true(PATH?.endsWith(':/sbin:/usr/sbin:/bin:/usr/bin'), PATH);
    return rest;
  };
  const always = { HOME: '/', TERM: 'linux', ...PEER, DRBD_RESOURCE: 'r0' };
  t.deepEqual(of(null), { ...always, DRBD_MINOR: '3 4' });
  t.deepEqual(of(3), { ...always, DRBD_MINOR: '3', DRBD_VOLUME: '0', DRBD_LL_DISK: '/dev/sda1' });
  t.deepEqual(
    of(4, '/node'),
    {
      ...always,
      TWINBEAT_ROOT: '/node',
      DRBD_MINOR: '4',
      DRBD_VOLUME: '1',
      DRBD_LL_DISK: '/dev/sda2',
    },
    'a disk that is detached has its name all the same',
  );
});

test('a promotion waits for its fence-peer: other resources go on, and it can be taken down', async (t) => {
  const dir = directory(t);
  const drbdd = await daemon(t, dir);
  const hanging = `env > ${dir}/env; echo $$ > ${dir}/pid; exec sleep 1000`;
  await up(drbdd, dir, 0, hanging);
  await up(drbdd, dir, 1, 'exit 7');
  let answer: ControlReply | null = null;
  const waiting = drbdd.request({ verb: 'primary', minor: 0, force: false }).then((reply) => {
    answer = reply;
  });
  await until(() => pidIn(`${dir}/pid`) > 0, 'the handler runs');
  t.teardown(() => {
    if (isAlive(pidIn(`${dir}/pid`))) process.kill(pidIn(`${dir}/pid`), 'SIGKILL');
  });
  await done(drbdd, { verb: 'primary', minor: 1, force: false }, { verb: 'secondary', minor: 1 });
  t.is(answer, null, 'it waits');
  await done(drbdd, { verb: 'suspend-io', minor: 1 }, { verb: 'resume-io', minor: 1 });
  await done(drbdd, { verb: 'resume-io', minor: 0 }, { verb: 'down', resource: 'r0' });
  await waiting;
  t.like(answer, { ok: false, info: ['the resource was taken down before this was done'] });
  const saved = loadState(join(dir, 'run/twinbeat/drbdd.state'));
  t.deepEqual(
    saved?.resources.map((r) => r.name),
    ['r1'],
    'what a successor would find',
  );
  // Again, as if nothing had been.
  await up(drbdd, dir, 0, 'exit 4');
  process.kill(pidIn(`${dir}/pid`), 'SIGKILL');
  await done(drbdd, { verb: 'primary', minor: 0, force: false });
  const log = (): string => readFileSync(join(dir, 'log'), 'utf8');
  await until(() => /fence-peer r0 exit code 127/.test(log()), 'its end is in the log');
  const env = readFileSync(`${dir}/env`, 'utf8');
  for (const line of ['DRBD_RESOURCE=r0', 'DRBD_MINOR=0', 'DRBD_PEER=two', `TWINBEAT_ROOT=${dir}`])
    t.true(env.split('\n').includes(line), line);
  t.false(/DRBD_VOLUME|DRBD_LL_DISK/.test(env), 'fence-peer is for the resource');
});
