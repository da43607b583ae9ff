/** Which disk serves a read (src/drbd/read-balancing.ts), and that no user sees an older block than before. Two engines in virtual time. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { detach } from '../../src/drbd/disk-verbs.js';
import { COMMANDS } from '../../src/wire/constants.js';
import { packetsSent, type SentPacket } from '../support/packets-sent.js';
import { block, inSync, SimPair, type SimPairOptions } from '../support/sim-pair.js';

const OLD = { protocolMax: 99, features: 0 }; // packetsSent sees its first connection

function balanced(readBalancing: string, options: SimPairOptions = {}): [SimPair, () => number] {
  const pair = new SimPair(1, {
    sizeBytes: 5 << 20,
    dialect: OLD,
    ...options,
    disk: { readBalancing, ...options.disk },
  });
  const sent: SentPacket[] = packetsSent(pair);
  pair.upToDate();
  sent.length = 0;
  return [pair, () => sent.filter((p) => p.command === COMMANDS.P_DATA_REQUEST).length];
}

test('each policy asks the disk that it names', (t) => {
  const stripes = [32, 64, 128, 256, 512].map((k) => [`${k}K-striping`, k] as const);
  for (const [policy, kib] of [...stripes, ['1M-striping', 1024] as const]) {
    const [{ alpha }, asked] = balanced(policy);
    for (let at = 0; at < 4096; at += kib) alpha.read(2 * at, 4096);
    t.is(asked(), 4096 / kib / 2, policy);
    alpha.read(2 * kib - 8, 4096);
    t.is(asked(), 4096 / kib / 2, `${policy}: the end of the first stripe`);
  }
  for (const [policy, reads] of [
    ['prefer-local', 0],
    ['when-congested-remote', 0],
    ['prefer-remote', 8],
    ['round-robin', 4],
  ] as const) {
    const [{ alpha }, asked] = balanced(policy);
    for (let i = 0; i < 8; i++) alpha.read(8 * i, 4096);
    t.is(asked(), reads, policy);
  }
});

test('least-pending: the peer, while more is under way here', (t) => {
  const [pair, asked] = balanced('least-pending');
  const { alpha } = pair;
  const tags = Array.from({ length: 8 }, (_, i) => {
    const at = alpha.io.alloc(4096);
    return [alpha.begin((tag) => alpha.volume.read(alpha, tag, 8 * i, at, 4096)), at] as const;
  });
  for (const [tag, at] of tags) {
    t.is(alpha.answer(tag), 0);
    alpha.io.free(at);
  }
  t.is(asked(), 4);
});

test('only what the peer has for certain: not under A and B, not what is being written, not what a bit says to differ', (t) => {
  for (const protocol of ['A', 'B'] as const) {
    const [{ alpha }, asked] = balanced('prefer-remote', { net: { protocol } });
    t.is(alpha.write(0, block(1)), 0);
    t.deepEqual(alpha.read(0, 4096), block(1));
    t.is(asked(), 0, protocol);
  }
  const [pair, asked] = balanced('prefer-remote');
  const { alpha, beta } = pair;
  beta.disk.slowMs = 50;
  const write = alpha.beginWrite(0, block(2));
  alpha.read(4, 2048);
  t.is(asked(), 0);
  t.is(alpha.answer(write), 0);
  beta.disk.slowMs = 0;
  t.deepEqual(alpha.read(0, 4096), block(2));
  t.is(asked(), 1);
  alpha.loop.enter(() => alpha.volume.setOutOfSync(0, 8));
  t.deepEqual(alpha.read(0, 4096), block(2));
  t.is(asked(), 1);
});

test('a write waits for the read of its sectors that is on its way to the peer', (t) => {
  const [pair, asked] = balanced('prefer-remote');
  const { alpha, beta } = pair;
  t.is(alpha.write(0, block(1)), 0);
  pair.run(1000);
  beta.disk.slowMs = 50;
  const at = alpha.io.alloc(4096);
  const read = alpha.begin((tag) => alpha.volume.read(alpha, tag, 0, at, 4096));
  const write = alpha.beginWrite(0, block(2));
  pair.run(10);
  t.is(asked(), 1);
  t.deepEqual(alpha.disk.content(0, 4096), block(1));
  t.is(alpha.answer(read), 0);
  t.deepEqual(alpha.taken(read, at, 4096), block(1));
  t.is(alpha.answer(write), 0);
  t.deepEqual(alpha.read(0, 4096), block(2));
});

test('what the peer can not deliver is read here: its connection breaks, its disk fails', (t) => {
  for (const how of ['reset', 'bad', 'gone'] as const) {
    const [pair, asked] = balanced('prefer-remote');
    const { alpha, beta } = pair;
    t.is(alpha.write(0, block(1)), 0);
    pair.run(1000);
    beta.disk.slowMs = 50;
    if (how === 'bad') beta.disk.faults.readChance = 1;
    const at = alpha.io.alloc(4096);
    const read = alpha.begin((tag) => alpha.volume.read(alpha, tag, 0, at, 4096));
    pair.until(() => asked() === 1, 'the request');
    if (how === 'reset') pair.net.reset('replication');
    if (how === 'gone') beta.crash(true);
    t.is(alpha.answer(read), 0, how);
    t.deepEqual(alpha.taken(read, at, 4096), block(1));
    t.is(alpha.volume.app.pending, 0);
    t.false(alpha.volume.intervals.overlaps(0, 8));
  }
});

test('both disks fail to read it: an error, once', (t) => {
  const [pair] = balanced('prefer-remote', { disk: { onIoError: 'pass_on' } });
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.disk.faults.readChance = 1;
  const at = alpha.io.alloc(4096);
  const read = alpha.begin((tag) => alpha.volume.read(alpha, tag, 0, at, 4096));
  t.is(alpha.answer(read), 5);
});

test('random reads, writes, cuts and lost disks: a read shows what was answered last, or what is being written', (t) => {
  let remote = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const dice = new Prng(seed);
    const policies = ['prefer-remote', 'round-robin', 'least-pending', '32K-striping'] as const;
    const readBalancing = policies[seed % 4] ?? 'round-robin';
    const pair = inSync(seed, { dialect: OLD, disk: { readBalancing } });
    const { alpha, beta } = pair;
    const sent = packetsSent(pair);
    const value = Array.from({ length: 12 }, (_, i) => i + 1);
    for (const [i, n] of value.entries()) t.is(alpha.write(40 * i, block(n)), 0);
    for (let step = 0; step < 80; step++) {
      const b = dice.below(value.length);
      const states = [value[b] ?? 0, 100 + dice.below(100)];
      const write = dice.below(2) ? alpha.beginWrite(40 * b, block(states[1] ?? 0)) : -1;
      const seen: number[] = [];
      for (let i = 0; i < 3; i++) {
        const got = alpha.read(40 * b, 4096);
        seen.push(states.findIndex((n) => Buffer.compare(got, block(n)) === 0));
      }
      t.deepEqual(seen, [...seen].sort(), `seed ${seed}: not the older one again`);
      t.true(Math.min(...seen) >= 0 && (write >= 0 || Math.max(...seen) === 0), `seed ${seed}`);
      if (write >= 0) {
        t.is(alpha.answer(write), 0);
        value[b] = states[1] ?? 0;
      }
      if (dice.below(20) === 0) pair.net.reset('replication');
      if (dice.below(20) === 0) {
        beta.loop.enter(() => detach(beta.volume, true, () => {}));
        pair.run(dice.below(50));
        if (/ds:Diskless/.test(beta.shown)) beta.attach();
      }
      if (dice.below(4) === 0) pair.run(dice.below(100));
    }
    pair.settled();
    t.is(pair.firstDifference(), -1);
    remote += sent.filter((p) => p.command === COMMANDS.P_DATA_REQUEST).length;
  }
  t.true(remote > 500, `${remote}`);
});
