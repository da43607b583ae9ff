/** Something that heartbeat uses does not answer any more: its node is heard all the same, and nothing moves. */
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { HeartbeatLab } from './heartbeat-lab.js';

const DEADTIME_MS = 3000;
const HA_CF = [
  ...['keepalive 200ms', 'deadtime 3', 'warntime 1', 'initdead 5', 'auto_failback off'],
  ...['bcast eth0', 'debugfile /var/log/ha-debug'],
];
const GROUPS = 'node-a LabRes::one LabRes::two\nnode-b LabRes::three\n';
const HUP = 'kill -HUP $(cat /run/heartbeat.pid)';
const ALL = 'one two three';

/** Two of ours, all groups on node-a. */
async function pair(t: ExecutionContext): Promise<HeartbeatLab> {
  const lab = await HeartbeatLab.up(t, HA_CF, GROUPS);
  await lab.ours('node-a', 'heartbeat');
  await lab.untilRunning(t, ALL, '');
  await lab.ours('node-b', 'heartbeat');
  await lab.untilSays(t, 'node-b', 'ours', ['nodestatus', 'node-a'], 'active');
  await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'none');
  return lab;
}

/** For longer than any silence would be borne node-b hears node-a, and starts nothing. */
async function isHeard(t: ExecutionContext, lab: HeartbeatLab): Promise<void> {
  const before = lab.calls('node-b');
  const endMs = performance.now() + 2 * DEADTIME_MS;
  await lab.until(t, 'time in which node-b would miss node-a', () => performance.now() > endMs);
  t.notRegex(lab.log('node-b'), /Late heartbeat|is dead/);
  t.deepEqual(lab.calls('node-b'), before);
}

/** The directory does not answer any more; a process holds it so (test/support/hung-directory.ts). Gives its pid. */
async function hang(lab: HeartbeatLab, path: string): Promise<string> {
  const options = 'fd=3,rootmode=40000,user_id=0,group_id=0,allow_other';
  const script = `exec 3<>/dev/fuse; mount -i -t fuse -o ${options} hung ${path} || exit 1
    sleep 1000 >/dev/null 2>&1 & echo $!`;
  const { status, out } = await lab.exec('node-a', 'sh', '-c', script);
  if (status !== 0) throw new Error(out);
  return out.trim();
}

test.serial('a log that takes nothing: a FIFO that nobody reads', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter')) return;
  const lab = await pair(t);
  const fifo = 'mv /var/log/ha-debug /var/log/ha-debug.1 && mkfifo /var/log/ha-debug';
  t.is((await lab.exec('node-a', 'sh', '-c', fifo)).status, 0);
  // Something to say: the status of the groups, and the scripts of a hand-over.
  await lab.ours('node-a', 'hb_standby', 'foreign');
  await lab.untilRunning(t, 'one two', 'three');
  await lab.ours('node-a', 'hb_takeover', 'all');
  await lab.untilRunning(t, ALL, '');
  await lab.exec('node-a', 'sh', '-c', HUP);
  await isHeard(t, lab);
  // The end: in order, within a bound, and the file that works has the last line.
  t.is((await lab.ours('node-a', 'heartbeat', '-k')).status, 0);
  await lab.untilRunning(t, '', ALL);
  t.regex(lab.log('node-a'), /Heartbeat shutdown complete/);
  t.regex(lab.log('node-b'), /Received shutdown notice from 'node-a'/);
});

test.serial('a configuration that hangs: scripts and a reload wait for it', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter', 'fuse', 'mount')) return;
  const lab = await pair(t);
  const holder = await hang(lab, '/etc/ha.d');
  t.is((await lab.ours('node-a', 'hb_standby', 'foreign')).status, 0);
  await lab.exec('node-a', 'sh', '-c', HUP);
  await isHeard(t, lab);
  t.is(lab.running('node-a'), ALL, 'nothing was stopped, and nothing handed over');
  t.regex(lab.log('node-a'), /reload: \/etc\/ha.d or \/var\/lib\/heartbeat does not answer/);
  // It comes back: what was asked for goes on.
  await lab.exec('node-a', 'sh', '-c', `umount -l /etc/ha.d; kill ${holder}`);
  await lab.untilRunning(t, 'one two', 'three');
  await lab.until(t, 'the reload', () => lab.log('node-a').includes('Configuration unchanged.'));
});

test.serial('a /var/lib/twinbeat that hangs: the daemon runs, and ends in time', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter', 'fuse', 'mount')) return;
  const lab = await HeartbeatLab.up(t, HA_CF, GROUPS);
  await hang(lab, '/var/lib/twinbeat');
  t.is((await lab.ours('node-a', 'heartbeat')).status, 0);
  await lab.untilRunning(t, ALL, '');
  t.is((await lab.ours('node-a', 'heartbeat', '-k')).status, 0);
  await lab.untilRunning(t, '', '');
  const pgrep = ['pgrep', '-f', 'bin/heartbeat.js'];
  await lab.until(t, 'its end', async () => (await lab.exec('node-a', ...pgrep)).status === 1);
});
