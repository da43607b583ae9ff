/**
 * A node that stood still for longer than its deadtime may have been given up by the other one, which runs everything now. Whatever
 * it hears first when it goes on, it lets go before it acts on it.
 */
import test from 'ava';
import { DEADTIME_MS, SimCluster, type SimOptions } from './sim-cluster.js';

const HEALTH = { intervalMs: 1000, steps: 3, timeoutMs: 1000, restartsPerHour: 1 };

function started(options: Partial<SimOptions>, before = (_c: SimCluster): void => {}): SimCluster {
  const c = new SimCluster({ maxScriptMs: 500, ...options });
  c.checking = false; // nothing resets the one that stands still: its services run on beside the other's
  before(c);
  c.boot('node-a');
  c.runFor(700);
  c.boot('node-b');
  c.runFor(30_000);
  return c;
}

function until(c: SimCluster, isSo: () => boolean): void {
  const limitMs = c.nowMs + 60_000;
  while (!isSo()) {
    if (c.nowMs > limitMs) throw new Error(`it does not come to it\n${c.tail()}`);
    c.runFor(1);
  }
}

/** From now on, until after the other node has taken over; what node-a then says first, and its scripts. */
function standsStill(c: SimCluster): string {
  c.machines['node-a'].paused = true;
  c.runFor(DEADTIME_MS + 1000);
  const from = c.log.length;
  c.wake('node-a');
  const lines = c.log.slice(from).flatMap((line) => /^\d+ node-a (.*)$/.exec(line)?.[1] ?? []);
  return lines[0] ?? '';
}

const STOOD_STILL = /^WARN: this node did not run for/;

test('a check that fails: nothing is restarted', (t) => {
  const c = started({ health: HEALTH });
  const a = c.machines['node-a'];
  for (const text of ['LabRes::one', 'LabRes::two']) a.broken.add(text);
  until(c, () => a.node?.health.levels.some(({ level }) => level !== 'OK') ?? false);
  until(c, () => a.asking.includes('check'));
  t.regex(standsStill(c), STOOD_STILL, c.tail());
});

test('its standing on disk: a recovery takes nothing', (t) => {
  const c = started({}, ({ machines }) => {
    machines['node-a'].standing = { state: 'FAILED_OFFLINE', why: 'a test' };
  });
  const a = c.machines['node-a'];
  a.node?.health.recover(true, () => {});
  t.deepEqual(a.asking, ['standing']);
  t.regex(standsStill(c), STOOD_STILL, c.tail());
});

test('the data of the other node: nothing is offered', (t) => {
  const haresources = 'node-a LabRes::one\nnode-b drbddisk::r0 LabRes::three\n';
  const c = started({ autoFailback: 'on', haresources });
  const a = c.machines['node-a'];
  a.peersDisk = 'Inconsistent';
  c.crash('node-b');
  c.runFor(20_000);
  c.boot('node-b');
  until(c, () => a.asking.includes('data'));
  t.regex(standsStill(c), STOOD_STILL, c.tail());
});

test('the end of a script: the next one does not begin', (t) => {
  const c = started({});
  const a = c.machines['node-a'];
  c.machines['node-b'].node?.standby('all', c.nowMs);
  until(c, () => a.node?.operations.current?.kind === 'take'); // its status is asked
  t.regex(standsStill(c), STOOD_STILL, c.tail());
  t.deepEqual(c.running('node-a'), ['LabRes::one', 'LabRes::two']);
});
