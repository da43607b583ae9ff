/** The heartbeat daemon in namespaces: two of ours. One of ours beside Debian's: heartbeat-mixed.test.ts. */
import { resolve } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { HeartbeatLab } from './heartbeat-lab.js';

const TIMING = ['keepalive 200ms', 'deadtime 2', 'warntime 1', 'initdead 4', 'auto_failback off'];
/** Longer deadtime: the successor of a killed Node process needs its start-up time on any machine. */
const PATIENT = TIMING.map((line) => (line.startsWith('deadtime') ? 'deadtime 4' : line));
const GROUPS = 'node-a LabRes::one LabRes::two\nnode-b LabRes::three\n';
const ALL = 'one two three';
const HEARTBEAT = resolve('build/src/bin/heartbeat.js');

/** node-a's daemon is killed: its angel starts another one, and no script is called on either node. `before`: calls so far. */
async function killed(t: ExecutionContext, lab: HeartbeatLab, before: readonly string[]) {
  const { out: pid } = await lab.exec('node-a', 'cat', '/run/heartbeat.pid');
  await lab.exec('node-a', 'kill', '-KILL', pid.trim());
  await lab.until(t, 'a new daemon', async () => {
    const now = await lab.exec('node-a', 'cat', '/run/heartbeat.pid');
    return now.out.trim() !== pid.trim();
  });
  await lab.untilSays(t, 'node-a', 'ours', ['rscstatus'], 'all');
  t.deepEqual(lab.calls('node-a'), before, 'nothing was started or stopped');
  t.deepEqual(lab.calls('node-b'), []);
}

test.serial('two of ours: takeover of a dead node, orderly hand-over, standby', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter')) return;
  const lab = await HeartbeatLab.up(t, [...TIMING, 'bcast eth0'], GROUPS);
  t.is((await lab.ours('node-a', 'heartbeat', '-s')).out, 'heartbeat is stopped. No process\n');
  t.is((await lab.ours('node-a', 'heartbeat')).status, 0);
  await lab.untilRunning(t, ALL, ''); // alone: everything, after initdead
  await lab.untilSays(t, 'node-a', 'ours', ['rscstatus'], 'all');
  t.deepEqual(lab.calls('node-a'), ['one start', 'two start', 'three start']);

  const second = await lab.ours('node-a', 'heartbeat');
  t.is(second.status, 0);
  t.regex(second.out, /already running \[pid \d+\]/);
  t.regex(
    (await lab.ours('node-a', 'heartbeat', '-s')).out,
    /^heartbeat OK \[pid \d+ et al\] is running on node-a \[node-a\]\.\.\.$/m,
  );

  await lab.ours('node-b', 'heartbeat');
  await lab.untilSays(t, 'node-b', 'ours', ['nodestatus', 'node-a'], 'active');
  await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'none');
  t.is(lab.running('node-b'), '', 'auto_failback off: nothing moves');

  t.is((await lab.ours('node-a', 'hb_standby', 'foreign')).status, 0);
  await lab.untilRunning(t, 'one two', 'three');
  await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'local');

  const deaths = () => lab.log('node-a').split('node node-b: is dead').length;
  const before = deaths();
  t.is((await lab.ours('node-b', 'heartbeat', '-k')).status, 0);
  t.is((await lab.ours('node-b', 'heartbeat', '-s')).status, 3);
  await lab.untilRunning(t, ALL, '');
  t.is(deaths(), before, 'before deadtime: it said that it left');

  await lab.ours('node-b', 'heartbeat');
  await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'none');
  await lab.crash('node-a');
  await lab.untilRunning(t, '', ALL);
  await lab.untilSays(t, 'node-b', 'ours', ['nodestatus', 'node-a'], 'dead');
  t.is((await lab.ours('node-b', 'cl_status', 'hblinkstatus', 'node-a', 'eth0')).status, 1);
});

test.serial('a killed daemon comes back under the angel, its services untouched', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter')) return;
  const lab = await HeartbeatLab.up(
    t,
    [...PATIENT, 'ucast eth0 192.168.77.1', 'ucast eth0 192.168.77.2'],
    GROUPS,
  );
  await lab.ours('node-a', 'heartbeat', '--keepalive');
  await lab.untilRunning(t, ALL, '');
  await lab.ours('node-b', 'heartbeat');
  await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'none');
  const before = lab.calls('node-a');
  await killed(t, lab, before);
  t.regex(lab.log('node-b'), /Heartbeat restart on node node-a/);
});

test.serial(
  'a full /run: the services stay where they are, also when the daemon is killed',
  async (t) => {
    if (!need(t, 'root', 'netns', 'nsenter')) return;
    const lab = await HeartbeatLab.up(t, [...PATIENT, 'bcast eth0'], GROUPS);
    await lab.ours('node-a', 'heartbeat', '--keepalive');
    await lab.untilRunning(t, ALL, '');
    await lab.ours('node-b', 'heartbeat');
    await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'none');
    const before = lab.calls('node-a');
    const fill = 'mount -o remount,size=64m /run && cat /dev/zero >/run/log';
    t.regex((await lab.exec('node-a', 'sh', '-c', fill)).out, /No space left on device/);
    const state = () => lab.exec('node-a', 'cat', '/run/twinbeat/heartbeat.state');
    const { out: then } = await state();
    await lab.until(t, 'its state is written on', async () => (await state()).out !== then);
    await killed(t, lab, before);
  },
);

// 7.3: a node must never pretend that it has stopped a resource.
test.serial(
  'a group that cannot be stopped: the reboot is asked for, nothing is handed over',
  async (t) => {
    if (!need(t, 'root', 'netns', 'nsenter')) return;
    const lab = await HeartbeatLab.up(
      t,
      [...TIMING, 'env STOPRETRYMAX=2', 'bcast eth0'],
      'node-a LabRes::one\n',
    );
    await lab.ours('node-a', 'heartbeat');
    await lab.untilRunning(t, 'one', '');
    await lab.ours('node-b', 'heartbeat');
    await lab.untilSays(t, 'node-b', 'ours', ['nodestatus', 'node-a'], 'active');
    await lab.untilSays(t, 'node-a', 'ours', ['rscstatus'], 'all');
    await lab.exec('node-a', 'touch', '/var/lib/heartbeat/labres/fail-stop-one');
    await lab.ours('node-a', 'hb_standby', 'all');
    await lab.until(t, 'the reboot', async () => {
      return (await lab.exec('node-a', 'cat', '/var/log/reboot-asked')).out.includes('reboot -nf');
    });
    t.is(lab.calls('node-a').filter((call) => call === 'one stop').length, 3, 'and two retries');
    await lab.ours('node-b', 'hb_takeover', 'all');
    await lab.untilSays(t, 'node-b', 'ours', ['nodestatus', 'node-a'], 'active');
    t.is(lab.running('node-a'), 'one');
    t.deepEqual(lab.calls('node-b'), []);
  },
);

// 10.2: drbd-peer-outdater -> dopd -> drbdadm outdate, exit statuses 4 3 6 20 5.
test.serial('dopd: drbd-peer-outdater ends with what the other node could do', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter')) return;
  const lab = await HeartbeatLab.up(t, [...TIMING, 'bcast eth0'], 'node-a LabRes::one\n');
  for (const host of ['node-a', 'node-b'] as const) {
    // A stand-in that ends with the status in a file; `dump` is asked for, too, for the comparison of files. /run is each host's own.
    const script =
      '#!/bin/sh\n[ "$1" = outdate ] || exit 1\necho "$*" >>/run/outdated; exit $(cat /run/outdate-status)\n';
    await lab.exec(
      host,
      'sh',
      '-c',
      `printf '%s' "$0" >/run/drbdadm; chmod 755 /run/drbdadm`,
      script,
    );
    await lab.exec(
      host,
      'env',
      'PATH=/run:/usr/sbin:/usr/bin:/sbin:/bin',
      process.execPath,
      HEARTBEAT,
    );
  }
  await lab.untilSays(t, 'node-a', 'ours', ['nodestatus', 'node-b'], 'active');
  for (const [drbdadm, exit] of [
    [0, 4],
    [5, 3],
    [17, 6],
    [1, 20],
  ] as const) {
    await lab.exec('node-b', 'sh', '-c', `echo ${drbdadm} >/run/outdate-status`);
    const ran = await lab.ours(
      'node-a',
      'drbd-peer-outdater',
      '-p',
      'NODE-B',
      '-r',
      'r0',
      '-t',
      '10',
    );
    t.is(ran.status, exit, ran.out);
  }
  t.is((await lab.exec('node-b', 'cat', '/run/outdated')).out, 'outdate r0\n'.repeat(4));
  t.is((await lab.ours('node-a', 'drbd-peer-outdater', '-p', 'nosuch', '-r', 'r0')).status, 5);
  await lab.crash('node-b');
  await lab.untilSays(t, 'node-a', 'ours', ['nodestatus', 'node-b'], 'dead');
  t.is((await lab.ours('node-a', 'drbd-peer-outdater', '-p', 'node-b', '-r', 'r0')).status, 5);
});
