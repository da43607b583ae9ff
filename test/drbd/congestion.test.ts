/**
 * on-congestion under protocol A: the node that pulls Ahead, the one that is Behind, and what becomes of each write when either
 * is lost in each of these moments.
 */
import test from 'ava';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { COMMANDS } from '../../src/wire/constants.js';
import { packetsSent } from '../support/packets-sent.js';
import { block, inSync, type SimPair, type SimPairNode } from '../support/sim-pair.js';

const FILL = { protocol: 'A', onCongestion: 'pull-ahead', congestionFillSectors: 64 } as const;
/** More than the threshold. */
const MANY = 12;

/** Writes of alpha, each to a block of its own, all answered. */
function writes(pair: SimPair, from: number, count: number, byte = 1): void {
  const tags = Array.from({ length: count }, (_, i) =>
    pair.alpha.beginWrite((from + i) * 8, block(byte + i)),
  );
  for (const tag of tags) if (pair.alpha.answer(tag) !== 0) throw new Error('write');
}

/** beta's disk takes its time, and alpha pulls ahead. */
function congested(pair: SimPair, slowMs = 400): void {
  pair.beta.disk.slowMs = slowMs;
  writes(pair, 0, MANY);
  if (!/cs:Ahead/.test(pair.alpha.shown)) throw new Error(pair.alpha.shown);
}

const bits = (node: SimPairNode): number => node.volume.bitmap?.count ?? -1;

function settledAndSame(pair: SimPair): number {
  pair.beta.disk.slowMs = 0;
  pair.settled();
  pair.run(500);
  return bits(pair.alpha) === 0 && bits(pair.beta) === 0 ? pair.firstDifference() : -2;
}

test('more than congestion-fill on its way: Ahead, each write marked and announced; then a resync of these without bitmaps', (t) => {
  const pair = inSync(1, { net: FILL });
  const { alpha, beta } = pair;
  const sent = packetsSent(pair, 101);
  congested(pair);
  t.regex(alpha.shown, /cs:Ahead ro:Primary\/Secondary ds:UpToDate\/Consistent/);
  t.true(alpha.log.some((line) => line.includes('Congestion-fill threshold reached')));
  beta.until(/cs:Behind ro:Secondary\/Primary ds:Outdated\/UpToDate/);
  t.is(bits(alpha), 4, '64 sectors of 96 were sent');
  writes(pair, 0, 2, 50); // sent before, and other data now
  writes(pair, 11, 1, 60); // announced already
  pair.run(20);
  t.is(bits(alpha), 6);
  t.is(bits(beta), 6);
  beta.disk.slowMs = 0;
  alpha.until(/cs:SyncSource ro:Primary\/Secondary ds:UpToDate\/Inconsistent/);
  t.is(settledAndSame(pair), -1);
  const own = sent.filter((p) => p.from === '10.1.0.1').map((p) => p.command);
  const count = (command: number): number => own.filter((c) => c === command).length;
  t.is(count(COMMANDS.P_DATA), 8);
  t.is(count(COMMANDS.P_OUT_OF_SYNC), 6);
  t.is(count(COMMANDS.P_SYNC_UUID), 1);
  t.is(count(COMMANDS.P_BITMAP) + count(COMMANDS.P_COMPRESSED_BITMAP), 0);
  const at = (command: number): number => own.indexOf(command);
  t.true(own.lastIndexOf(COMMANDS.P_DATA) < at(COMMANDS.P_STATE));
  t.true(at(COMMANDS.P_STATE) < at(COMMANDS.P_OUT_OF_SYNC));
  t.true(at(COMMANDS.P_STATE) < at(COMMANDS.P_UUIDS)); // the generation that the peer lacks
  t.true(own.lastIndexOf(COMMANDS.P_OUT_OF_SYNC) < at(COMMANDS.P_SYNC_UUID));
});

test('a second passes between the last barrier ack and the resync, whatever is written meanwhile', (t) => {
  const pair = inSync(2, { net: FILL });
  const { alpha } = pair;
  congested(pair, 300);
  pair.until(() => alpha.volume.app.inFlightSectors === 0, 'all has arrived');
  const arrivedMs = pair.world.nowMs;
  for (let i = 0; /cs:Ahead/.test(alpha.shown); i++) {
    writes(pair, 20 + (i % 100), 1, i & 127);
    pair.run(20);
  }
  t.true(pair.world.nowMs - arrivedMs > 950 && pair.world.nowMs - arrivedMs < 1100);
  t.is(settledAndSame(pair), -1);
});

test('congestion-extents: as many in use in the activity log', (t) => {
  const pair = inSync(3, {
    sizeBytes: 32 << 20,
    net: { protocol: 'A', onCongestion: 'pull-ahead', congestionExtents: 4 },
  });
  const { alpha, beta } = pair;
  beta.disk.slowMs = 300;
  const spread = (i: number): number => alpha.beginWrite(i * 8192, block(i + 1));
  const tags = [0, 1, 2].map(spread);
  pair.run(50);
  t.regex(alpha.shown, /cs:Connected/);
  tags.push(...[3, 4].map(spread));
  for (const tag of tags) t.is(alpha.answer(tag), 0);
  t.regex(alpha.shown, /cs:Ahead/);
  t.true(alpha.log.some((line) => line.includes('Congestion-extents threshold reached')));
  t.is(settledAndSame(pair), -1);
});

test('block, an older peer, a bad disk of its own: no node pulls ahead', (t) => {
  const old = { protocolMin: 86, protocolMax: 95, features: 0 };
  for (const options of [
    { net: { ...FILL, onCongestion: 'block' } },
    { net: FILL, dialect: old },
  ]) {
    const pair = inSync(4, options);
    pair.beta.disk.slowMs = 300;
    writes(pair, 0, 30);
    t.regex(pair.alpha.shown, /cs:Connected/);
    t.is(settledAndSame(pair), -1);
  }
});

test('disconnect: StandAlone; what is not known to have arrived is marked, and copied when they meet again', (t) => {
  const pair = inSync(5, { net: { ...FILL, onCongestion: 'disconnect' } });
  const { alpha, beta } = pair;
  beta.disk.slowMs = 400;
  writes(pair, 0, MANY);
  alpha.until(/cs:StandAlone ro:Primary\/Unknown ds:UpToDate\/DUnknown/);
  beta.until(/cs:WFConnection/);
  t.is(bits(alpha), MANY);
  beta.disk.slowMs = 0;
  alpha.connect();
  t.is(settledAndSame(pair), -1);
});

type Loss = (pair: SimPair) => void;
const back = (node: SimPairNode): void => {
  node.attach();
  node.connect();
};
const LOSSES: readonly (readonly [string, Loss])[] = [
  ['the connection', (pair) => pair.net.reset('replication')],
  [
    'the power of the one Behind',
    ({ beta }) => {
      beta.crash(true);
      back(beta);
    },
  ],
  [
    'the power of the one Ahead',
    ({ alpha }) => {
      alpha.crash(true);
      back(alpha);
    },
  ],
  [
    'both',
    ({ alpha, beta }) => {
      alpha.crash(true);
      beta.crash(true);
      back(beta);
      back(alpha);
    },
  ],
  [
    'the engine of the one Ahead, under its users',
    ({ alpha }) => {
      alpha.restart();
    },
  ],
];

for (const [what, loss] of LOSSES) {
  test(`what is lost in any moment: ${what}; what was flushed is on both in the end`, (t) => {
    for (let moment = 0; moment < 8; moment++) {
      const pair = inSync(100 + moment, { net: { ...FILL, timeoutDs: 30 } });
      const { alpha, beta } = pair;
      beta.disk.slowMs = 150;
      for (let i = 0; i < MANY; i++) alpha.beginWrite(i * 8, block(i + 1));
      pair.run(moment % 2 === 0 ? 1 : 30);
      const tags = [3, 11, 20].map((b) => alpha.beginWrite(b * 8, block(100 + b)));
      for (const tag of tags) t.is(alpha.answer(tag), 0);
      t.regex(alpha.shown, /cs:Ahead/);
      t.is(alpha.flush(), 0);
      // Behind, in the second of calm, as the resync begins, within it.
      pair.run([0, 700, 1250, 1400][moment >> 1] as number);
      loss(pair);
      const where = `${what}, moment ${moment}`;
      t.is(settledAndSame(pair), -1, where);
      for (const b of [3, 11, 20]) {
        const out = new Uint8Array(512);
        alpha.disk.read(b * 4096, out);
        t.is(out[0], 100 + b, where);
      }
    }
  });
}

// Without a generation of its own both copies were called equal: neither has a Primary's mark any more.
test('demoted while Ahead, the power goes: two Secondaries do not take their copies for equal', (t) => {
  const pair = inSync(6, { net: FILL });
  const { alpha, beta } = pair;
  congested(pair);
  beta.disk.slowMs = 0;
  t.is(alpha.ask(setSecondary).kind, 'ok');
  t.regex(alpha.shown, /cs:Ahead ro:Secondary/);
  t.is(bits(alpha), 4);
  pair.run(50);
  alpha.crash(true);
  back(alpha);
  t.is(settledAndSame(pair), -1);
  t.true(alpha.log.some((line) => line.includes('by rule 70')));
});

test('the one Behind is no Primary without the other; with it, its users wait for the resync', (t) => {
  const pair = inSync(7, { net: FILL });
  const { alpha, beta } = pair;
  congested(pair);
  beta.disk.slowMs = 0;
  t.is(alpha.ask(setSecondary).kind, 'ok');
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.regex(beta.shown, /cs:Behind ro:Primary\/Secondary ds:Outdated/);
  t.deepEqual(beta.read(11 * 8, 512)[0], MANY);
  t.is(beta.write(11 * 8, block(99)), 0);
  t.is(settledAndSame(pair), -1);

  const other = inSync(8, { net: FILL });
  congested(other);
  other.alpha.crash(true);
  other.beta.until(/cs:WFConnection ro:Secondary\/Unknown ds:Outdated/);
  t.not(other.beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
});

test('lost before the peer can have heard that it is Behind: its disk may pass for good', (t) => {
  const pair = inSync(9, { net: FILL });
  const { alpha, beta } = pair;
  pair.net.faults('replication', { delayMs: [200, 200] });
  writes(pair, 0, MANY);
  t.regex(alpha.shown, /cs:Ahead/);
  pair.run(20);
  t.regex(beta.shown, /cs:Connected/);
  pair.net.heal('replication');
  pair.net.reset('replication');
  alpha.until(/cs:(WFConnection|Unconnected|BrokenPipe|NetworkFailure) .*UpToDate\/DUnknown/);
  t.is(settledAndSame(pair), -1);
});
