/** A node that stands still, dies, or cannot stop a group feeds its watchdog no more; one that leaves in good order switches it off. */
import { setTimeout as passed } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { HeartbeatLab } from './heartbeat-lab.js';

const TIMING = ['keepalive 200ms', 'deadtime 5', 'warntime 2', 'initdead 5', 'auto_failback off'];
/** Six statuses: time in which a device that is fed is seen to be. */
const SEEN_MS = 1200;

interface Fed {
  readonly lab: HeartbeatLab;
  /** What the device got. A file stands for it. */
  written(): Promise<string>;
  kill(signal: string): Promise<void>;
  untilFed(): Promise<void>;
}

async function fedNode(t: ExecutionContext, ...lines: readonly string[]): Promise<Fed> {
  const haCf = [...TIMING, 'bcast eth0', 'watchdog /var/log/watchdog', ...lines];
  const lab = await HeartbeatLab.up(t, haCf, 'node-a LabRes::one\n');
  await lab.exec('node-a', 'touch', '/var/log/watchdog');
  t.is((await lab.ours('node-a', 'heartbeat')).status, 0);
  await lab.untilRunning(t, 'one', '');
  const written = async () => (await lab.exec('node-a', 'cat', '/var/log/watchdog')).out;
  return {
    lab,
    written,
    kill: async (signal) => {
      const { out } = await lab.exec('node-a', 'cat', '/run/heartbeat.pid');
      await lab.exec('node-a', 'kill', `-${signal}`, out.trim());
    },
    untilFed: async () => {
      const before = (await written()).length;
      await lab.until(t, 'the watchdog is fed', async () => (await written()).length > before);
    },
  };
}

test.serial('fed by a node that runs, not by one that stands still; V at the end', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter')) return;
  const { lab, written, kill, untilFed } = await fedNode(t);
  t.regex(lab.log('node-a'), /Using watchdog device: \/var\/log\/watchdog/);
  t.regex(lab.log('node-a'), /Failed to set watchdog timer to 6 seconds/);
  await untilFed();
  await kill('STOP');
  const before = await written();
  t.regex(before, /^\0+$/);
  await passed(SEEN_MS);
  t.is(await written(), before);
  await kill('CONT');
  await untilFed();
  // A new life: fed before it, in it, and not released between.
  await lab.exec('node-a', 'touch', '/etc/ha.d/ha.cf');
  await lab.ours('node-a', 'heartbeat', '-r');
  await lab.until(t, 'a new life', () => lab.log('node-a').includes('new configuration'));
  await untilFed();
  t.false((await written()).includes('V'));
  t.is((await lab.ours('node-a', 'heartbeat', '-k')).status, 0);
  t.regex(await written(), /^\0+V$/);
});

test.serial('not switched off by a daemon that is killed', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter')) return;
  const { lab, written, kill, untilFed } = await fedNode(t);
  await untilFed();
  await kill('KILL');
  await passed(SEEN_MS);
  t.regex(await written(), /^\0+$/);
  t.is(lab.running('node-a'), 'one', 'this is what the device is for');
});

test.serial(
  'a group that cannot be stopped: the machine is to go down, and is not fed any more',
  async (t) => {
    if (!need(t, 'root', 'netns', 'nsenter')) return;
    const { lab, written, kill, untilFed } = await fedNode(t, 'env STOPRETRYMAX=1');
    await untilFed();
    await lab.exec('node-a', 'touch', '/var/lib/heartbeat/labres/fail-stop-one');
    await kill('TERM');
    await lab.until(t, 'a reboot', async () => {
      return (await lab.exec('node-a', 'test', '-e', '/var/log/reboot-asked')).status === 0;
    });
    const before = await written();
    await passed(SEEN_MS);
    t.is(await written(), before);
    t.regex(before, /^\0+$/);
    await lab.crash('node-a');
  },
);
