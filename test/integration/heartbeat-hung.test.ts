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
  const before = lab.calls('node-b');
  await lab.exec('node-a', 'sh', '-c', 'kill -HUP $(cat /run/heartbeat.pid)');
  const endMs = performance.now() + 2 * DEADTIME_MS;
  await lab.until(t, 'time in which node-b would miss node-a', () => performance.now() > endMs);
  t.notRegex(lab.log('node-b'), /Late heartbeat|is dead/);
  t.deepEqual(lab.calls('node-b'), before);
  // The end: in order, within a bound, and the file that works has the last line.
  t.is((await lab.ours('node-a', 'heartbeat', '-k')).status, 0);
  await lab.untilRunning(t, '', ALL);
  t.regex(lab.log('node-a'), /Heartbeat shutdown complete/);
  t.regex(lab.log('node-b'), /Received shutdown notice from 'node-a'/);
});
