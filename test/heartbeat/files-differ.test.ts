/** haresources that are not the same on both nodes: a group that both files call their own never runs on both. */
import test, { type ExecutionContext } from 'ava';
import { Prng } from '../../src/base/prng.js';
import { DEADTIME_MS, NAMES, SimCluster, type SimOptions } from './sim-cluster.js';

function cluster(a: string, b: string, options: Partial<SimOptions> = {}): SimCluster {
  const c = new SimCluster({ haresources: a, ...options });
  c.files['node-b'] = b;
  return c;
}

function started(a: string, b: string, options: Partial<SimOptions> = {}): SimCluster {
  const c = cluster(a, b, options);
  c.boot('node-a');
  c.runFor(700);
  c.boot('node-b');
  c.runFor(20_000);
  return c;
}

function runs(t: ExecutionContext, c: SimCluster, a: readonly string[], b: readonly string[]) {
  t.deepEqual([c.running('node-a'), c.running('node-b')], [[...a], [...b]], c.tail());
  t.deepEqual(c.violations, [], c.tail());
}

const A = 'node-a LabRes::one\nnode-a LabRes::two\nnode-b LabRes::three\n';
const B = 'node-b LabRes::one\nnode-a LabRes::two\nnode-b LabRes::three\n';

test('each file gives the group to its own node: it is not started, and both say why', (t) => {
  const c = started(A, B);
  runs(t, c, ['LabRes::two'], ['LabRes::three']);
  for (const name of NAMES) {
    t.true(
      c.log.some((line) => line.includes(`${name} ERROR: haresources:1: LabRes::one is at home`)),
      c.tail(),
    );
  }
});

test('each file gives the group to the other node: nobody runs it', (t) => {
  const c = started(B, A);
  runs(t, c, ['LabRes::two'], ['LabRes::three']);
});

test('a death ends the dispute: the survivor runs it all, and keeps it when the other returns', (t) => {
  const c = started(A, B);
  c.crash('node-a');
  c.runFor(DEADTIME_MS + 5000);
  runs(t, c, [], ['LabRes::one', 'LabRes::three', 'LabRes::two']);
  c.boot('node-a');
  c.runFor(30_000);
  runs(t, c, [], ['LabRes::one', 'LabRes::three', 'LabRes::two']);
});

test('fail-back of what is in dispute: it stays where it runs', (t) => {
  const c = started(A, B, { autoFailback: 'on' });
  c.crash('node-a');
  c.runFor(DEADTIME_MS + 5000);
  c.boot('node-a');
  c.runFor(60_000);
  runs(t, c, ['LabRes::two'], ['LabRes::one', 'LabRes::three']);
});

test('the file is mended and its node started again: the group is started where it is at home', (t) => {
  const c = started(A, B);
  c.machines['node-b'].node?.shutdown(c.nowMs);
  c.runFor(5000);
  c.files['node-b'] = A;
  c.boot('node-b');
  c.runFor(30_000);
  runs(t, c, ['LabRes::one', 'LabRes::three', 'LabRes::two'], []);
  t.is(c.machines['node-a'].node?.homes.disputes.length, 0);
});

test('a dispute that ends while scripts run: the group is started when they have ended', (t) => {
  const c = cluster(A, B, { maxScriptMs: 20_000 });
  c.boot('node-a');
  c.runFor(100);
  c.boot('node-b');
  while (!c.log.some((line) => line.includes('is not started: by the file'))) c.runFor(10);
  c.crash('node-b');
  c.files['node-b'] = A;
  c.boot('node-b');
  c.runFor(200_000);
  runs(t, c, ['LabRes::one', 'LabRes::two'], ['LabRes::three']);
});

/** Any two files over four resources. */
function randomFile(prng: Prng): string {
  const groups: string[] = [];
  for (const name of ['one', 'two', 'three', 'four']) {
    if (prng.chance(0.1)) continue;
    const last = groups.length - 1;
    if (last >= 0 && prng.chance(0.3)) groups[last] += ` LabRes::${name}`;
    else groups.push(`${prng.pick(NAMES)} LabRes::${name}`);
  }
  return `${groups.length > 0 ? groups.join('\n') : 'node-a LabRes::one'}\n`;
}

test('swarm: any two files, crashes, standby, fail-back, restarts with another file: never twice', (t) => {
  const first = Date.now() % 1_000_000;
  t.log(`random seeds from ${first}`);
  const seeds = [...Array(60).keys(), ...[...Array(30).keys()].map((n) => first + n)];
  for (const seed of seeds) {
    const prng = new Prng(seed);
    const c = started(randomFile(prng), randomFile(prng), {
      seed,
      autoFailback: prng.pick(['on', 'off']),
      loss: prng.pick([0, 0.1]),
      maxScriptMs: prng.pick([5, 300, 2000]),
    });
    for (let i = 0; i < 10; i++) {
      c.runFor(prng.below(20_000));
      const name = prng.pick(NAMES);
      const machine = c.machines[name];
      switch (prng.below(5)) {
        case 0:
          c.crash(name);
          break;
        case 1:
          if (machine.node) break;
          c.crash(name);
          c.files[name] = prng.chance(0.5) ? randomFile(prng) : c.files['node-a'];
          c.boot(name);
          break;
        case 2:
          machine.node?.standby(prng.pick(['all', 'local', 'foreign']), c.nowMs);
          break;
        case 3:
          machine.node?.takeover(prng.pick(['all', 'local', 'foreign']), c.nowMs);
          break;
        case 4:
          machine.node?.shutdown(c.nowMs);
          break;
      }
    }
    c.runFor(60_000);
    t.deepEqual(c.violations, [], `seed ${seed}\n${c.tail(150)}`);
  }
});
