/**
 * ipfail among everything else: two ping nodes come and go on each node while machines crash, operators move groups and the
 * link loses packets. A group never runs on both nodes; in the end each runs once, where more ping nodes are reached.
 */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { NAMES, type Name, SimCluster } from './sim-cluster.js';

const PINGS = ['10.0.0.253', '10.0.0.254'];
const GROUPS = 3;

function swarm(seed: number): { readonly c: SimCluster; readonly loser: Name } {
  const prng = new Prng(seed);
  const c = new SimCluster({
    seed,
    haresources: 'node-a LabRes::one LabRes::two\nnode-b LabRes::three\n',
    autoFailback: prng.pick(['off', 'on']),
    loss: prng.pick([0, 0.05, 0.2]),
    maxDelayMs: prng.pick([1, 20, 150]),
    maxScriptMs: prng.pick([5, 300, 3000]),
    pings: PINGS,
  });
  for (const name of NAMES) for (const host of PINGS) c.machines[name].reaches.add(host);
  c.boot('node-a');
  c.runFor(prng.below(9000));
  c.boot('node-b');
  for (let i = 0; i < 20; i++) {
    c.runFor(prng.below(10_000));
    const name = prng.pick(NAMES);
    const machine = c.machines[name];
    switch (prng.below(8)) {
      case 0:
        if (machine.node) c.crash(name);
        break;
      case 1:
        if (!machine.node) c.boot(name);
        break;
      case 2:
        machine.node?.standby(prng.pick(['all', 'local', 'foreign']), c.nowMs);
        break;
      case 3:
        machine.node?.shutdown(c.nowMs);
        break;
      default: {
        const host = prng.pick(PINGS);
        if (!machine.reaches.delete(host)) machine.reaches.add(host);
      }
    }
  }
  c.loss = 0;
  for (let round = 0; round < 2; round++) {
    for (const name of NAMES) {
      for (const host of PINGS) c.machines[name].reaches.add(host);
      if (!c.machines[name].node) c.boot(name); // the second time: one that was about to leave
    }
    c.runFor(90_000);
  }
  const loser = prng.pick(NAMES);
  c.machines[loser].reaches.delete(PINGS[0] ?? '');
  c.runFor(60_000);
  return { c, loser };
}

/** What is wrong in the end; null: nothing. */
function judge(seed: number): string | null {
  const { c, loser } = swarm(seed);
  const all = NAMES.flatMap((name) => c.running(name));
  const isOnce = all.length === GROUPS && new Set(all).size === GROUPS;
  if (c.violations.length === 0 && isOnce && c.running(loser).length === 0) return null;
  return `seed ${seed}: ${loser} runs ${c.running(loser)} of ${all}\n${c.tail(150)}`;
}

test('swarm: ping nodes come and go', (t) => {
  const first = Date.now() % 1_000_000;
  t.log(`random seeds from ${first}`);
  const count = Number(process.env['TWINBEAT_SEEDS'] ?? 8); // more for a long search
  for (let seed = 1; seed <= 12; seed++) t.is(judge(seed), null);
  for (let seed = first; seed < first + count; seed++) t.is(judge(seed), null);
});
