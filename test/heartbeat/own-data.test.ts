/** A node dies, and the disk of the other one is not good enough: what becomes of its groups until it is, or until the node is back. */
import test from 'ava';
import { DEADTIME_MS, SimCluster, type SimOptions } from './sim-cluster.js';

const HARESOURCES = 'node-a drbddisk::r0 LabRes::one\n';
const RESOURCES = ['LabRes::one', 'drbddisk::r0'];
const WAITS = /CRIT: Nothing is taken over: .* r0 \(Outdated\)\..*drbdadm primary --force r0/;

function died(disk: string, options: Partial<SimOptions> = {}): SimCluster {
  const c = new SimCluster({ haresources: HARESOURCES, ...options });
  c.boot('node-a');
  c.boot('node-b');
  c.runFor(30_000);
  c.machines['node-b'].ownDisk = disk;
  c.machines['node-b'].peersDisk = 'DUnknown';
  c.crash('node-a');
  c.runFor(DEADTIME_MS + 60_000);
  return c;
}
const hold = (c: SimCluster) => c.machines['node-b'].node?.resources.hold;
const count = (c: SimCluster, what: RegExp) => c.log.filter((line) => what.test(line)).length;

for (const disk of ['Outdated', 'Inconsistent']) {
  test(`${disk}: not claimed, not started; by itself when the disk is good`, (t) => {
    const c = died(disk);
    t.deepEqual(c.running('node-b'), [], c.tail());
    t.is(hold(c), 'local'); // it has none of its own
    t.is(count(c, /node-b .*(drbddisk|LabRes)\S* start/), 0, c.tail());
    t.is(count(c, /CRIT: Nothing is taken over/), 1);
    c.machines['node-b'].ownDisk = 'UpToDate';
    c.runFor(10_000);
    t.deepEqual(c.running('node-b').toSorted(), RESOURCES, c.tail());
    t.is(hold(c), 'all');
    t.deepEqual(c.violations, []);
  });
}

test('the dead node comes back first: it runs them, at once', (t) => {
  const c = died('Outdated');
  t.is(count(c, WAITS), 1, c.tail());
  c.boot('node-a');
  c.runFor(25_000);
  t.deepEqual(c.running('node-a').toSorted(), RESOURCES, c.tail());
  t.deepEqual(c.running('node-b'), []);
  t.deepEqual(c.violations, []);
});

test('a disk that is better than it looks, one that nobody knows, groups without one: at once', (t) => {
  const rows: [string, Partial<SimOptions>][] = [
    ['Consistent', {}],
    ['Diskless', {}],
    ['Outdated', { haresources: 'node-a LabRes::one\n' }],
    ['Outdated', { haresources: `${HARESOURCES}node-a LabRes::two\n` }],
    ['Outdated', { autoFailback: 'legacy' }],
  ];
  for (const [disk, options] of rows) {
    const c = died(disk, options);
    t.true(c.running('node-b').length > 0, `${disk} ${JSON.stringify(options)}\n${c.tail()}`);
    t.is(count(c, /Nothing is taken over/), 0);
  }
});

test('with a device: the dead node is not reset for nothing, but before anything is started', (t) => {
  const c = died('Outdated', { fence: () => 'OK' });
  t.is(count(c, /fence node-a/), 0, c.tail());
  c.machines['node-b'].ownDisk = 'UpToDate';
  c.runFor(10_000);
  t.is(count(c, /fence node-a OK/), 1, c.tail());
  t.deepEqual(c.running('node-b').toSorted(), RESOURCES, c.tail());
  t.deepEqual(c.violations, []);
});

test('a daemon that is started again while it waits, waits again', (t) => {
  const c = died('Outdated');
  c.killDaemon('node-b');
  c.runFor(1000);
  c.boot('node-b');
  c.runFor(60_000);
  t.deepEqual(c.running('node-b'), [], c.tail());
  t.is(hold(c), 'none');
  c.machines['node-b'].ownDisk = 'UpToDate';
  c.runFor(20_000);
  t.deepEqual(c.running('node-b').toSorted(), RESOURCES, c.tail());
});
