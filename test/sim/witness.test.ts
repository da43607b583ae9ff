/**
 * The lives of heartbeat with a witness: reload, successor, what a predecessor left. Two simulated nodes with all that a daemon is; no
 * watchdog, so what only that prevents is not asked for here (test/heartbeat/arbiter.test.ts).
 */
import test, { type ExecutionContext } from 'ava';
import { Prng } from '../../src/base/prng.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import { SimAsker } from '../../src/sim/answer-arbiter.js';
import { NODES, type NodeName } from '../../src/sim/config.js';
import { SimWitness } from '../../src/sim/sim-witness.js';
import { EVERYTHING, HeartbeatPair, type PairOptions } from './heartbeat-pair.js';

const LEASE_S = 10;
const STOP_LIMIT_S = 10;
const DEADTIME_MS = 5000; // of the simulated cluster

interface Asked {
  readonly pair: HeartbeatPair;
  readonly witness: SimWitness;
}

/** At rest, alpha has the group. */
function started(options: Partial<PairOptions> = {}): Asked {
  const pair = new HeartbeatPair({
    witness: {
      address: '192.0.2.1:1',
      cluster: 'c',
      leaseS: LEASE_S,
      stopLimitS: STOP_LIMIT_S,
    },
    ...options,
  });
  const after = (delayMs: number, run: () => void) => void pair.clock.after(delayMs, run);
  const host = { nowMs: () => pair.clock.nowMs, after, random: new Prng(5), digests: nodeDigests };
  const witness = new SimWitness(host, LEASE_S * 1000);
  witness.start();
  for (const name of NODES) {
    const node = pair.nodes[name];
    const asker = new SimAsker(witness, {
      after: (delayMs, run) => void node.clock.after(delayMs, run),
      digests: nodeDigests,
    });
    node.answers.arbiter = (_config, ask, answered) => asker.ask(ask, answered);
  }
  pair.alpha.heartbeat.start();
  pair.runFor(300);
  pair.beta.heartbeat.start();
  pair.runFor(40_000);
  return { pair, witness };
}

function has(t: ExecutionContext, pair: HeartbeatPair, name: NodeName): void {
  t.is(pair.nodes[name].has, EVERYTHING, pair.tail());
  t.deepEqual(pair.twice, [], pair.tail());
}

test('cut off from each other and alpha from the witness: beta takes over when alpha has let go', (t) => {
  const { pair, witness } = started();
  has(t, pair, 'alpha');
  pair.net.cut('eth0');
  witness.deafTo.add('alpha');
  pair.runFor(60_000);
  has(t, pair, 'beta');
  t.is(pair.alpha.has, '', pair.tail());
  pair.net.heal('eth0');
  witness.deafTo.clear();
  pair.runFor(60_000);
  t.deepEqual(pair.twice, [], pair.tail());
  t.is([pair.alpha.has, pair.beta.has].filter((each) => each === EVERYTHING).length, 1);
});

test('a reload of a node that lives by its lease: the new life goes on with it', (t) => {
  const { pair } = started();
  pair.powerCut('beta');
  pair.runFor(60_000);
  has(t, pair, 'alpha');
  const fromMs = pair.clock.nowMs;
  pair.alpha.heartbeat.configure({ ...pair.texts(), haCf: `${pair.texts().haCf}\nrtprio 7\n` });
  pair.alpha.heartbeat.reload();
  pair.runFor(60_000);
  has(t, pair, 'alpha');
  t.true(pair.tail(400).includes('Restarting heartbeat with a new configuration'));
  t.deepEqual(pair.calls('alpha', fromMs), [], 'nothing was stopped');
});

test('a daemon that is killed while it lives by its lease: its successor goes on with it', (t) => {
  const { pair } = started({ respawnMs: 500 });
  pair.powerCut('beta');
  pair.runFor(60_000);
  const fromMs = pair.clock.nowMs;
  pair.alpha.heartbeat.kill();
  pair.runFor(60_000);
  has(t, pair, 'alpha');
  t.deepEqual(pair.calls('alpha', fromMs), [], 'nothing was stopped');
});

test('the same, and the witness is gone: it goes on as long as its predecessor was sure of, then lets go', (t) => {
  const { pair, witness } = started({ respawnMs: 500 });
  pair.powerCut('beta');
  pair.runFor(60_000);
  witness.stop();
  pair.runFor(3000);
  pair.alpha.heartbeat.kill();
  const ms = pair.until(30_000, () => pair.alpha.has === '');
  t.true(ms > 0 && ms < LEASE_S * 1000, `${ms}\n${pair.tail()}`);
});

test('a successor that comes too late stops what was left, and takes the machine down when that is not done in time', (t) => {
  const { pair, witness } = started();
  pair.net.cut('eth0');
  witness.deafTo.add('alpha');
  pair.runFor(1000);
  pair.alpha.heartbeat.kill();
  pair.alpha.stubborn = true; // its service ignores SIGTERM
  pair.runFor(DEADTIME_MS);
  pair.alpha.heartbeat.start();
  t.true(pair.until(STOP_LIMIT_S * 1000 + 2000, () => pair.alpha.has === '') > 0, pair.tail());
  t.true(
    pair.log.some((line) => line.includes('left is stopped within stop-limit')),
    pair.tail(),
  );
  pair.runFor(60_000);
  has(t, pair, 'beta');
});
