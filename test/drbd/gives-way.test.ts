/**
 * fence-peer says "the peer is Primary" (exit 6) to a Primary whose I/O is frozen: it gives way, and nothing that was answered is
 * lost, whether the handler is right or wrong, early or late. Two engines in virtual time.
 */
import test from 'ava';
import { EIO } from '../../src/drbd/app-request.js';
import { detach, suspendIo } from '../../src/drbd/disk-verbs.js';
import { maskUuid } from '../../src/drbd/generation.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { block, SimPair, type SimPairNode, type SimPairOptions } from '../support/sim-pair.js';

const first = (node: SimPairNode, sector: number): number =>
  node.disk.content(sector * 512, 1)[0] ?? -1;

function fenced(seed: number, options: SimPairOptions = {}): SimPair {
  const disk = { fencing: 'resource-and-stonith', ...options.disk } as const;
  const net = { pingIntS: 1, ...options.net };
  const pair = new SimPair(seed, { sizeBytes: 2 << 20, ...options, disk, net });
  pair.upToDate();
  pair.alpha.exits = { 'fence-peer': 6 };
  pair.beta.exits = { 'fence-peer': 5 };
  return pair;
}

const ok = (node: SimPairNode, request: typeof setSecondary): void => {
  const outcome = node.ask(request);
  if (outcome.kind !== 'ok') throw new Error(`${node.name}: ${JSON.stringify(outcome)}`);
};
const promote = (node: SimPairNode): void => ok(node, (v, done) => setPrimary(v, false, done));
const demote = (node: SimPairNode): void => ok(node, setSecondary);

/** beta has seen the end of the connection, and is Primary; alpha has not. */
function betaTakesOver(pair: SimPair): void {
  pair.net.cut('replication');
  pair.net.resetOneEnd('replication', 'beta');
  pair.beta.until(/cs:WFConnection/);
  promote(pair.beta);
}

for (const protocol of ['A', 'B', 'C'] as const) {
  test(`protocol ${protocol}: a frozen Primary whose peer is Primary fails what was frozen, and is a target`, (t) => {
    for (let seed = 1; seed <= 4; seed++) {
      const pair = fenced(seed, { net: { protocol } });
      const { alpha, beta } = pair;
      t.is(alpha.write(0, block(1)), 0);
      t.is(alpha.flush(), 0);
      pair.run(500); // protocols A and B: what is under way arrives
      const generation = maskUuid(alpha.volume.uuids.current);
      betaTakesOver(pair);
      alpha.disk.stuck = seed % 2 === 0; // the local leg is over before, or after
      const write = alpha.beginWrite(8, block(2));
      const flush = alpha.begin((tag) => alpha.volume.flush(alpha, tag));
      alpha.until(/ro:Primary\/Unknown ds:Outdated/);
      alpha.disk.stuck = false;
      // Under protocol A it was answered before anybody knew of the loss, as by any node that is lost.
      t.is(alpha.answer(write), protocol === 'A' && seed % 2 === 1 ? 0 : EIO, `seed ${seed}`);
      if (protocol === 'C') t.is(alpha.answer(flush), EIO);
      t.is(alpha.write(16, block(3)), EIO);
      t.throws(() => alpha.read(0, 4096));
      t.is(maskUuid(alpha.volume.uuids.current), generation);
      t.is(alpha.volume.uuids.bitmap, 0n);
      t.is(beta.write(24, block(4)), 0);
      pair.net.heal('replication');
      pair.run(5000);
      t.regex(alpha.shown, /cs:Unconnected ro:Primary/, 'two Primaries do not meet');
      demote(alpha);
      pair.settled();
      t.is(pair.firstDifference(), -1, `seed ${seed}`);
      t.deepEqual(
        [0, 8, 16, 24].map((sector) => first(beta, sector)),
        [1, 0, 0, 4],
      );
    }
  });
}

test('a handler that was wrong: what was answered and what was left on the disk is copied to the peer', (t) => {
  for (let seed = 1; seed <= 6; seed++) {
    const pair = fenced(seed, { net: { protocol: seed % 2 === 0 ? 'A' : 'C' } });
    const { alpha } = pair;
    pair.net.cut('replication');
    const write = alpha.beginWrite(8, block(2));
    alpha.until(/ro:Primary\/Unknown ds:Outdated/);
    const answered = alpha.answer(write) === 0;
    t.is(answered, seed % 2 === 0);
    demote(alpha);
    pair.net.heal('replication');
    pair.settled();
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
    if (answered) t.is(first(pair.beta, 8), 2);
  }
});

test('the connection returns while fence-peer runs: either it thaws, or the Primary gives way', (t) => {
  const ends = new Set<string>();
  for (let seed = 1; seed <= 40; seed++) {
    const pair = fenced(seed, { disk: { fencing: 'resource-and-stonith' } });
    const { alpha, beta } = pair;
    alpha.handlerMs = seed * 50;
    pair.net.reset('replication');
    const write = alpha.beginWrite(8, block(2));
    const error = alpha.answer(write);
    ends.add(`${error} ${alpha.shown.replace(/.* ds/, 'ds')}`);
    pair.run(5000);
    if (error !== 0) demote(alpha);
    pair.settled();
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
    if (error === 0) t.is(first(beta, 8), 2);
  }
  t.true(ends.has('5 ds:Outdated/DUnknown'));
  t.true(
    [...ends].some((end) => end.startsWith('0 ')),
    [...ends].join(),
  );
});

test('both Primary, and the connection returns before or after the answer of fence-peer: nobody is overwritten', (t) => {
  const ends = new Set<number | undefined>();
  for (let seed = 1; seed <= 12; seed++) {
    const pair = fenced(seed);
    const { alpha, beta } = pair;
    t.is(alpha.write(0, block(1)), 0);
    betaTakesOver(pair);
    t.is(beta.write(24, block(4)), 0);
    alpha.handlerMs = 150 * seed;
    const write = alpha.beginWrite(8, block(2));
    alpha.until(/ro:Primary\/Unknown ds:UpToDate\/DUnknown/);
    pair.net.heal('replication');
    pair.run(10_000);
    const error = alpha.peek(write);
    ends.add(error);
    if (error === EIO) {
      t.regex(alpha.shown, /cs:(StandAlone|Unconnected) ro:Primary\/Unknown ds:Outdated/);
      demote(alpha);
      pair.run(1000);
      for (const node of [alpha, beta]) if (/cs:StandAlone/.test(node.shown)) node.connect();
      pair.settled();
      t.is(pair.firstDifference(), -1, `seed ${seed}`);
    } else {
      // It has told its peer of a generation of its own: two histories, and it stays frozen.
      t.is(error, undefined);
      t.regex(alpha.shown, /cs:StandAlone ro:Primary\/Unknown ds:UpToDate/);
      t.is(alpha.volume.state.suspFen, 1);
    }
    t.deepEqual(
      [0, 8, 24].map((sector) => first(beta, sector)),
      [1, 0, 4],
    );
  }
  t.deepEqual([...ends].sort(), [EIO, undefined]);
});

test('on-no-data-accessible suspend-io: what was frozen is not done later, to the data of the peer', (t) => {
  const pair = fenced(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  const { alpha, beta } = pair;
  betaTakesOver(pair);
  const write = alpha.beginWrite(8, block(2));
  t.is(alpha.answer(write), EIO);
  t.is(alpha.volume.state.suspNod, 0);
  t.is(beta.write(8, block(4)), 0);
  demote(beta);
  demote(alpha);
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.is(first(beta, 8), 4);
});

test('a Primary that has answered something alone does not give way, nor does its successor', (t) => {
  const pair = fenced(1);
  const { alpha, beta } = pair;
  alpha.exits = { 'fence-peer': 1 };
  betaTakesOver(pair);
  const write = alpha.beginWrite(8, block(2));
  alpha.until(/ro:Primary\/Unknown ds:UpToDate\/DUnknown/);
  alpha.exits = { 'fence-peer': 6 };
  ok(alpha, (v, done) => suspendIo(v, false, done)); // the operator says: go on
  t.is(alpha.answer(write), 0);
  t.deepEqual(alpha.restart(), []);
  const called = alpha.handlers.length;
  pair.until(() => alpha.handlers.length > called, 'fence-peer');
  pair.run(1000);
  t.regex(alpha.shown, /ro:Primary\/Unknown ds:UpToDate/);
  t.is(alpha.volume.state.suspFen, 1);
  pair.net.heal('replication');
  for (const node of [alpha, beta]) node.until(/cs:StandAlone/);
  t.is(first(alpha, 8), 2);
});

test('its engine restarts: frozen as before, and fence-peer is asked again', (t) => {
  const pair = fenced(1);
  const { alpha, beta } = pair;
  alpha.exits = { 'fence-peer': 1 };
  betaTakesOver(pair);
  const write = alpha.beginWrite(8, block(2));
  alpha.until(/ro:Primary\/Unknown ds:UpToDate\/DUnknown/);
  pair.run(1000);
  t.is(alpha.peek(write), undefined);
  alpha.exits = { 'fence-peer': 6 };
  t.deepEqual(alpha.restart(), []);
  const again = alpha.beginWrite(8, block(2));
  t.is(alpha.answer(again), EIO);
  t.regex(alpha.shown, /ro:Primary\/Unknown ds:Outdated/);
  demote(alpha);
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.is(first(beta, 8), 0);
});

test('its engine restarts after it gave way: its users never find the data of the peer', (t) => {
  const pair = fenced(1);
  const { alpha, beta } = pair;
  betaTakesOver(pair);
  t.is(alpha.write(8, block(2)), EIO);
  pair.run(1000);
  t.is(beta.write(8, block(4)), 0);
  demote(beta); // so that it is not the roles that forbid it
  t.deepEqual(alpha.restart(), []);
  t.regex(alpha.shown, /ro:Primary\/Unknown ds:Outdated/);
  const write = alpha.beginWrite(8, block(3));
  pair.net.heal('replication');
  alpha.until(/cs:StandAlone/);
  pair.run(5000);
  t.not(alpha.peek(write), 0);
  t.is(first(beta, 8), 4);
});

test('a Secondary that is told so is Outdated, as ever', (t) => {
  const pair = fenced(1);
  const { alpha, beta } = pair;
  demote(alpha);
  betaTakesOver(pair);
  alpha.until(/cs:WFConnection ro:Secondary/);
  t.is(alpha.ask((v, done) => setPrimary(v, false, done)).kind, 'state');
  t.regex(alpha.shown, /ro:Secondary\/Unknown ds:Outdated/);
  t.is(beta.write(8, block(4)), 0);
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

// Swarm seed 140684.
test('primary --force after it gave way: this copy counts, and the two meet, to be told of the split brain', (t) => {
  const pair = fenced(1);
  const { alpha } = pair;
  betaTakesOver(pair);
  t.is(alpha.write(8, block(2)), EIO);
  t.regex(alpha.shown, /cs:Unconnected ro:Primary\/Unknown ds:Outdated/);
  t.is(alpha.ask((v, done) => setPrimary(v, true, done)).kind, 'ok');
  t.is(alpha.write(8, block(2)), 0);
  pair.net.heal('replication');
  alpha.until(/cs:StandAlone/);
  t.true(alpha.log.some((line) => line.includes('Split-Brain detected but unresolved')));
});

// Swarm seed 5005255: both lost their power then, and the older disk of the Primary was promoted beside the Outdated one.
test('the peer is Primary without a disk: what its users were answered is here, and does not become old', (t) => {
  const pair = fenced(1, { disk: { fencing: 'resource-only' } });
  const { alpha, beta } = pair;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.is(alpha.write(8, block(2)), 0);
  pair.net.cut('replication');
  beta.until(/cs:WFConnection/);
  beta.exits = { 'fence-peer': 6 };
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'state');
  t.true(beta.handlers.includes('fence-peer'));
  t.regex(beta.shown, /ds:UpToDate\/DUnknown/);
  alpha.crash(true);
  beta.exits = { 'fence-peer': 5 };
  promote(beta);
  t.is(first(beta, 8), 2);
});
