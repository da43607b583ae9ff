/** Two machines on a simulated network, and one with a model of the kernel's loop. docs/PROTOCOL.md#connecting */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import type { ConnectSettings } from '../../src/drbd/connect.js';
import {
  Network,
  type NetworkOptions,
  OurNode,
  settings,
  stranger,
} from '../support/connect-network.js';
import { KernelNode } from '../support/kernel-node.js';

const QUIET: NetworkOptions = {
  minDelayMs: 1,
  maxDelayMs: 1,
  lostDials: 0,
  resets: 0,
  healMs: 0,
};

function pair(
  network: Network,
  [a, b]: readonly [ConnectSettings, ConnectSettings],
): [OurNode, OurNode] {
  const alice = new OurNode(network, a);
  const bob = new OurNode(network, b);
  alice.peer = bob;
  bob.peer = alice;
  return [alice, bob];
}

/** Both established on the same two streams, heard on both, one of them to resolve conflicts. */
function together(alice: OurNode, bob: OurNode): boolean {
  const [a, b] = [alice.pair, bob.pair];
  return a !== null && b !== null && a.heard && b.heard && a.data === b.data && a.meta === b.meta;
}

// docs/PROTOCOL.md#connecting: seen between kernels, bob dials data, alice meta.
test('one node is up first: the second dials data, the first meta', (t) => {
  const network = new Network(1, QUIET);
  const [alice, bob] = pair(network, settings());
  alice.start();
  network.run([alice, bob], 3000);
  bob.start();
  network.run([alice, bob], 20_000, () => together(alice, bob));
  t.true(together(alice, bob));
  t.true(network.nowMs < 3600, `T_check and a few round trips, not ${network.nowMs}`);
  t.is(alice.established?.resolveConflicts, false); // alice dialed the meta stream
  t.is(bob.established?.resolveConflicts, true);
  t.like(alice.established, { apv: 101, features: 0xf });
  t.deepEqual(alice.logs, [
    'Handshake successful: Agreed network protocol version 101',
    'Feature flags enabled on protocol level: 0xf TRIM THIN_RESYNC WRITE_SAME WRITE_ZEROES.',
  ]);
  t.false(alice.listening || bob.listening);
  t.is(alice.openStreams, 2);
});

test('dials that cross are sorted out at once', (t) => {
  const network = new Network(1, QUIET);
  const [alice, bob] = pair(network, settings());
  alice.start();
  bob.start();
  network.run([alice, bob], 60_000, () => together(alice, bob));
  t.true(together(alice, bob));
  t.true(
    network.nowMs < 1400,
    `T_check, and at most one wait before the meta dial, not ${network.nowMs}`,
  );
  t.true(alice.logs.includes('initial packet S crossed'));
});

function meetKernel(seed: number, sameTime: boolean): { ok: boolean; takenMs: number } {
  const rng = new Prng(seed);
  const network = new Network(rng.u32(), {
    ...QUIET,
    minDelayMs: 0,
    maxDelayMs: rng.pick([1, 30, 100]),
    lostDials: sameTime ? 0 : 0.3,
    resets: sameTime ? 0 : 0.3,
    healMs: sameTime ? 0 : 40_000,
  });
  const ours = new OurNode(network, settings()[rng.below(2) === 0 ? 0 : 1]);
  const kernel = new KernelNode(network);
  ours.peer = kernel;
  kernel.peer = ours;
  const both = () => {
    const [a, b] = [ours.pair, kernel.pair];
    return a !== null && b !== null && a.heard && b.heard && a.data === b.data && a.meta === b.meta;
  };
  network.at(sameTime ? 0 : rng.below(20_000), () => ours.start());
  network.at(sameTime ? 0 : rng.below(20_000), () => kernel.start());
  network.run([ours, kernel], sameTime ? 0 : 40_000);
  const fromMs = network.nowMs;
  network.run([ours, kernel], fromMs + 300_000, both);
  const takenMs = network.nowMs - fromMs;
  if (both()) network.run([ours, kernel], network.nowMs + 30_000);
  const one = ours.established?.resolveConflicts !== kernel.resolveConflicts;
  return { ok: both() && one && ours.problems.length === 0, takenMs };
}

for (const sameTime of [true, false]) {
  const when = sameTime ? 'started at the same time' : 'whenever started, over a bad network';
  test(`500 seeds: a model of the kernel's loop, ${when}, agrees with us`, (t) => {
    const times: number[] = [];
    for (let seed = 1; seed <= 500; seed++) {
      const { ok, takenMs } = meetKernel(seed, sameTime);
      t.true(ok, `seed ${seed}`);
      times.push(takenMs);
    }
    times.sort((x, y) => x - y);
    t.log(`median ${times[250]?.toFixed()} ms, slowest ${times[499]?.toFixed()} ms`);
  });
}

/** Network, start times and authentication drawn from the seed. */
function scenario(seed: number): { ok: boolean; why: string; takenMs: number; crossed: boolean } {
  const rng = new Prng(seed);
  const even = rng.chance(0.3);
  const delay = rng.pick([1, 20, 100, 200]);
  const faulty = rng.chance(0.7);
  const healMs = faulty ? 60_000 : 0;
  const network = new Network(rng.u32(), {
    minDelayMs: even ? delay : 0,
    maxDelayMs: delay,
    lostDials: rng.chance(0.5) ? 0.4 : 0,
    resets: rng.chance(0.5) ? 0.5 : 0,
    healMs,
  });
  const alg = rng.pick(['', 'sha1', 'md5', 'sha256']);
  const [a, b] = settings({ cramHmacAlg: alg, sharedSecret: alg === '' ? '' : 'twinbeat-secret' });
  const [alice, bob] = pair(network, [a, b]);
  const nodes = [alice, bob];
  network.at(0, () => alice.start());
  network.at(rng.chance(0.5) ? 0 : rng.below(20_000), () => bob.start());
  if (rng.chance(0.3)) {
    for (let i = 0; i < 40; i++) {
      const bytes = Uint8Array.from({ length: rng.below(60) }, () => rng.below(256));
      if (rng.chance(0.3))
        bytes.set([0x83, 0x74, 0x02, 0x67, 0xff, 0xf2, 0xff, 0xff].slice(0, bytes.length));
      network.at(rng.below(30_000), () => stranger(network, rng.pick(nodes), bytes));
    }
  }
  network.run(nodes, Math.max(healMs, 20_000));
  const fromMs = network.nowMs;
  network.run(nodes, fromMs + 120_000, () => together(alice, bob));
  const takenMs = network.nowMs - fromMs;
  // It must also last: nothing that is still on its way may break it.
  if (together(alice, bob)) network.run(nodes, network.nowMs + 30_000);
  const problems = [...alice.problems, ...bob.problems];
  const resolvers = nodes.filter((n) => n.established?.resolveConflicts).length;
  let why = problems.join(', ');
  if (!together(alice, bob)) why += ` not together: ${JSON.stringify([alice.pair, bob.pair])}`;
  else if (resolvers !== 1) why += ` ${resolvers} nodes with RESOLVE_CONFLICTS`;
  else if (nodes.some((n) => n.openStreams !== 2)) why += ' streams left open';
  else if (nodes.some((n) => n.listening)) why += ' still listening';
  const crossed = nodes.some((n) => n.logs.some((line) => line.endsWith('crossed')));
  return { ok: why === '', why: `seed ${seed}: ${why}`, takenMs, crossed };
}

test('2000 seeds: delays, lost dials, broken streams, crossings and strangers end in one connection', (t) => {
  let crossed = 0;
  let slowestMs = 0;
  for (let seed = 1; seed <= 2000; seed++) {
    const result = scenario(seed);
    if (!result.ok) t.fail(result.why);
    if (result.crossed) crossed++;
    slowestMs = Math.max(slowestMs, result.takenMs);
  }
  t.true(crossed > 200, `crossings happen: ${crossed}`);
  t.true(slowestMs < 60_000, `slowest ${slowestMs} ms`);
  t.log(
    `${crossed} of 2000 crossed, slowest ${Math.round(slowestMs)} ms after the network was healed`,
  );
});

test('a random seed', (t) => {
  const seed = Math.floor(Math.random() * 0xffffffff);
  const result = scenario(seed);
  t.true(result.ok, result.why);
});

test('a pair that starts together is connected within seconds', (t) => {
  const times: number[] = [];
  for (let seed = 0; seed < 300; seed++) {
    const network = new Network(seed, { ...QUIET, minDelayMs: 0, maxDelayMs: 2 });
    const [alice, bob] = pair(network, settings());
    alice.start();
    bob.start();
    network.run([alice, bob], 60_000, () => together(alice, bob));
    t.true(together(alice, bob));
    times.push(network.nowMs);
  }
  times.sort((x, y) => x - y);
  t.true((times[150] ?? 0) < 700, `median ${times[150]}`);
  t.true((times[299] ?? 0) < 2000, `slowest ${times[299]}`);
  t.log(`median ${times[150]?.toFixed()} ms, slowest ${times[299]?.toFixed()} ms`);
});

// docs/PROTOCOL.md#authentication
test('different secrets: both end StandAlone', (t) => {
  const network = new Network(7, QUIET);
  const auth = { cramHmacAlg: 'sha1', sharedSecret: 'one' };
  const [a] = settings(auth);
  const [, b] = settings({ ...auth, sharedSecret: 'two' });
  const [alice, bob] = pair(network, [a, b]);
  alice.start();
  bob.start();
  network.run([alice, bob], 60_000);
  t.is(alice.standAlone, 'authentication');
  t.is(bob.standAlone, 'authentication');
  t.is(alice.openStreams + bob.openStreams, 0);
  t.deepEqual(alice.logs.slice(-2), [
    'Authentication of peer failed',
    'Discarding network configuration.',
  ]);
  t.is(alice.deadlineMs, Number.POSITIVE_INFINITY);
});

test('different algorithms: responses of another size are tried again', (t) => {
  const network = new Network(8, QUIET);
  const [a] = settings({ cramHmacAlg: 'sha1', sharedSecret: 'same' });
  const [, b] = settings({ cramHmacAlg: 'md5', sharedSecret: 'same' });
  const [alice, bob] = pair(network, [a, b]);
  alice.start();
  bob.start();
  network.run([alice, bob], 30_000);
  t.is(alice.standAlone, null);
  t.is(alice.connections + bob.connections, 0);
  t.true(alice.logs.includes('Authentication of peer failed, trying again.'));
});

test('a secret on one side only: that side ends StandAlone at P_PROTOCOL', (t) => {
  const network = new Network(9, QUIET);
  const [a] = settings({ cramHmacAlg: 'sha1', sharedSecret: 'alone' });
  const [, b] = settings();
  const [alice, bob] = pair(network, [a, b]);
  alice.start();
  bob.start();
  network.run([alice, bob], 60_000);
  t.is(alice.standAlone, 'authentication');
  t.is(alice.connections, 0);
  t.true(alice.logs.includes('expected AuthChallenge packet, received: P_PROTOCOL (0x000b)'));
  t.is(bob.standAlone, null); // it was connected for a moment, and goes on trying
  t.is(bob.connections, 1);
});

test('no common version: both end StandAlone', (t) => {
  const network = new Network(10, QUIET);
  const [a, b] = settings();
  const [alice, bob] = pair(network, [a, { ...b, protocolMin: 110, protocolMax: 118 }]);
  alice.start();
  bob.start();
  network.run([alice, bob], 60_000);
  t.is(alice.standAlone, 'version');
  t.is(bob.standAlone, 'version');
  t.true(
    alice.logs.includes('incompatible DRBD dialects: I support 86-101, peer supports 110-118'),
  );
});

test('an older version and fewer features are agreed', (t) => {
  const network = new Network(11, QUIET);
  const [a, b] = settings();
  const [alice, bob] = pair(network, [a, { ...b, protocolMax: 97, features: 0 }]);
  alice.start();
  bob.start();
  network.run([alice, bob], 60_000, () => together(alice, bob));
  t.like(alice.established, { apv: 97, features: 0 });
  t.like(bob.established, { apv: 97, features: 0 });
  t.true(alice.logs.includes('Feature flags enabled on protocol level: 0x0 none.'));
});

test('the listener is back for a reconnect, and a connected node refuses others', (t) => {
  const network = new Network(12, QUIET);
  const [alice, bob] = pair(network, settings());
  alice.start();
  bob.start();
  network.run([alice, bob], 60_000, () => together(alice, bob));
  let refused = false;
  network.dial(null, alice, 1000, (end) => {
    refused = end === null;
  });
  network.run([alice, bob], network.nowMs + 100);
  t.true(refused);
  const cut = alice.pair?.data;
  alice.stop(); // does nothing to a connection: it is not the machine's any more
  t.true(together(alice, bob));
  const end = [...Array(200).keys()].find((id) => alice.established?.dataStream === id);
  t.not(end, undefined);
  alice.ended({ id: end } as never);
  network.run([alice, bob], network.nowMs + 60_000, () => together(alice, bob));
  t.true(together(alice, bob));
  t.is(alice.connections, 2);
  t.not(alice.pair?.data, cut);
});
