/** The addresses of a node are announced again after every heal, by who has them and by nobody else. */
import test from 'ava';
import { DEADTIME_MS, SimCluster } from './sim-cluster.js';

const HARESOURCES =
  'node-a LabRes::one IPaddr::10.9.0.1 IPv6addr::fd00::1\nnode-b IPaddr2::10.9.0.2 LabRes::two\n';

function cluster(): SimCluster {
  const c = new SimCluster({ haresources: HARESOURCES });
  c.boot('node-a');
  c.boot('node-b');
  c.runFor(40_000);
  return c;
}

/** What was announced since the last call, with who did. */
function announced(c: SimCluster): string[] {
  const lines = c.log.splice(0).flatMap((line) => /^\d+ (.*) announce$/.exec(line)?.[1] ?? []);
  return lines.sort();
}

test('nothing has healed: nothing is announced', (t) => {
  const c = cluster();
  announced(c);
  c.runFor(60_000);
  t.deepEqual(announced(c), [], 'nothing has happened');
  // Long enough for the line, too short for the node.
  c.cut['node-a'] = true;
  c.cut['node-b'] = true;
  c.runFor(DEADTIME_MS - 300);
  c.cut['node-a'] = false;
  c.cut['node-b'] = false;
  c.runFor(5000);
  t.deepEqual(announced(c), [], 'no line was dead');
});

test('a node that comes back: who has the addresses announces them, and it has none', (t) => {
  const c = cluster();
  c.crash('node-b');
  c.runFor(20_000);
  announced(c);
  c.boot('node-b');
  c.runFor(40_000);
  const all = announced(c);
  t.true(all.length > 0);
  t.deepEqual(
    [...new Set(all)],
    ['node-a IPaddr2::10.9.0.2', 'node-a IPaddr::10.9.0.1', 'node-a IPv6addr::fd00::1'],
  );
  t.true(all.length <= 3 * 4, `at most once in ten seconds: ${all.length}`);
});

// The heal is over before it knows what runs here: a new life takes ten seconds for that.
test('a daemon that is started again as its partner comes back announces what runs on', (t) => {
  const c = cluster();
  c.crash('node-b');
  c.runFor(20_000);
  c.killDaemon('node-a');
  c.boot('node-b');
  c.boot('node-a', 'all');
  announced(c);
  c.runFor(40_000);
  t.deepEqual(
    [...new Set(announced(c))],
    ['node-a IPaddr2::10.9.0.2', 'node-a IPaddr::10.9.0.1', 'node-a IPv6addr::fd00::1'],
  );
});

test('a partition that heals: who lets go announces nothing', (t) => {
  const c = cluster();
  c.checking = false; // each has everything meanwhile, without a fence
  c.cut['node-a'] = true;
  c.cut['node-b'] = true;
  c.runFor(20_000);
  announced(c);
  c.cut['node-a'] = false;
  c.cut['node-b'] = false;
  let whileTwo: string[] = [];
  for (let i = 0; i < 60_000; i += 10) {
    c.runFor(10);
    const [a, b] = [c.machines['node-a'], c.machines['node-b']];
    const isTwice = [...a.running.keys()].some((text) => b.running.has(text));
    if (isTwice) whileTwo = [...whileTwo, ...announced(c)];
  }
  t.deepEqual(whileTwo, []);
  const running = Object.values(c.machines).flatMap(({ running }) => [...running.keys()]);
  t.is(running.length, 5, 'what was let go was started again, and a start announces');
});
