/**
 * Another size of the device (docs/STATES.md, sizes): what becomes of it on both nodes, and that the new part is in sync in the
 * end, whatever happens in between.
 */
import test, { type ExecutionContext } from 'ava';
import type { DiskOptions } from '../../src/config/drbd-options.js';
import { detach, invalidate, pauseSync } from '../../src/drbd/disk-verbs.js';
import { receiveSizes, resize as resizeVolume } from '../../src/drbd/resize.js';
import { Ss } from '../../src/drbd/return-codes.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { Conns, decodeState } from '../../src/drbd/state.js';
import { verify } from '../../src/drbd/verify-start.js';
import { superblockSector } from '../../src/md/layout.js';
import { decodeSuperblock, MDF } from '../../src/md/superblock.js';
import { findMetaData } from '../../src/sim/moved-meta.js';
import { COMMANDS } from '../../src/wire/constants.js';
import { packetsSent } from '../support/packets-sent.js';
import { block, inSync, type SimPair, type SimPairNode } from '../support/sim-pair.js';
import { begin, verifiable } from '../support/verify-pair.js';

const MIB = 1 << 20;
const GROWN = 4 * MIB;

interface Asked {
  readonly sizeSectors?: number;
  readonly assumeClean?: boolean;
  readonly assumePeerHasSpace?: boolean;
  readonly alStripes?: number;
  readonly alStripeSizeKib?: number;
}

const PLAIN = {
  sizeSectors: 0,
  assumeClean: false,
  assumePeerHasSpace: false,
  alStripes: null,
  alStripeSizeKib: null,
};

const resize = (node: SimPairNode, asked: Asked = {}) =>
  node.control({
    verb: 'resize',
    minor: 0,
    ...PLAIN,
    ...asked,
  });

const both = (pair: SimPair): SimPairNode[] => [pair.alpha, pair.beta];

function grow(pair: SimPair, bytes = GROWN): void {
  for (const node of both(pair)) node.disk.resize(bytes);
}

/** Both are in sync, of one size, larger than before; the meta-data are at the end of the disks and say the same. */
function grown(
  t: { is: (a: unknown, b: unknown, m?: string) => void; true: (a: boolean, m?: string) => void },
  pair: SimPair,
  what = '',
) {
  pair.settled();
  pair.until(() => both(pair).every((n) => n.volume.bitmap?.count === 0), `${what}: no bits`);
  pair.run(200);
  t.true(pair.alpha.volume.sizeSectors > (3 * MIB) / 512, what);
  t.is(pair.alpha.volume.sizeSectors, pair.beta.volume.sizeSectors, what);
  t.is(pair.firstDifference(), -1, what);
  for (const node of both(pair)) {
    const at = superblockSector('internal', node.disk.sizeBytes / 512);
    const sb = decodeSuperblock(node.disk.content(at * 512, 4096));
    t.is(sb.laSizeSectors, node.volume.sizeSectors, `${what}: ${node.name}`);
  }
}

/** What the disks hold beside the device is not alike by itself. */
function different(pair: SimPair): void {
  pair.alpha.disk.resize(GROWN);
  pair.beta.disk.resize(GROWN);
  for (let at = 2 * MIB; at < GROWN; at += 65536) {
    pair.alpha.disk.write(at, block(7), true);
    pair.beta.disk.write(at, block(9), true);
  }
}

for (const seat of ['alpha', 'beta'] as const) {
  test(`resize on ${seat}: both devices grow, and the new part is copied from the Primary`, (t) => {
    const pair = inSync(1);
    different(pair);
    t.true(resize(pair[seat]).ok);
    t.true(pair[seat].volume.sizeSectors > 6000, 'resize2fs may follow');
    pair.until(() => both(pair).every((n) => n.volume.sizeSectors > 6000), 'the size');
    pair.run(20);
    grown(t, pair);
    for (const node of both(pair)) {
      t.deepEqual(node.disk.content(3 * MIB, 4096), block(7));
      t.true(
        node.log.some((line) => line.includes('Began resync as Sync')),
        node.name,
      );
      t.false(node.log.some((line) => line.includes('Ignoring SyncUUID')));
    }
    t.is(pair.alpha.write(6000, block(3)), 0);
    t.deepEqual(pair.beta.disk.content(6000 * 512, 4096), block(3));
  });
}

test('both Secondary, or a resync running: refused, as the kernel does', (t) => {
  const pair = inSync(2);
  grow(pair);
  pair.alpha.ask(setSecondary);
  pair.beta.until(/ro:Secondary\/Secondary/);
  t.like(resize(pair.alpha), { ok: false, code: 131, text: 'Need one Primary node to resize.' });
  pair.alpha.ask((v, done) => setPrimary(v, false, done));
  pair.alpha.control({ verb: 'invalidate-remote', minor: 0 });
  pair.alpha.until(/cs:SyncSource/);
  t.like(resize(pair.alpha), { ok: false, code: 130 });
  pair.settled();
  t.like(resize(pair.alpha, { sizeSectors: 1 << 20 }), { ok: false, code: 111 });
  pair.alpha.disconnect();
  pair.alpha.ask((v, done) => detach(v, true, done));
  t.like(resize(pair.alpha), { ok: false, code: 138 });
});

test('another layout of the activity log: refused, with what is there', (t) => {
  const pair = inSync(1);
  const info = ['the activity log has 1 stripes of 32 KiB'];
  t.like(resize(pair.alpha, { alStripes: 2, alStripeSizeKib: 16 << 20 }), { code: 167, info });
  t.like(resize(pair.alpha, { alStripeSizeKib: 16 }), { code: 168, info });
  t.like(resize(pair.alpha, { alStripes: 2 }), { ok: false, code: 169 });
  t.true(resize(pair.alpha, { alStripes: 1, alStripeSizeKib: 32 }).ok);
  pair.alpha.disconnect();
  t.like(resize(pair.alpha, { alStripes: 2 }), { code: 166, info });
});

test('an older peer knows no --assume-clean', (t) => {
  const pair = inSync(1, { dialect: { protocolMax: 92, features: 0 } });
  t.like(resize(pair.alpha, { assumeClean: true }), { ok: false, code: 153 });
  grow(pair);
  t.true(resize(pair.alpha).ok);
  pair.until(() => both(pair).every((n) => n.volume.sizeSectors > 6000), 'the size');
  pair.run(20);
  grown(t, pair);
});

test('--size: less than there is room for; then all of it', (t) => {
  const pair = inSync(3);
  different(pair);
  t.true(resize(pair.alpha, { sizeSectors: 7000 }).ok);
  pair.until(() => both(pair).every((n) => n.volume.sizeSectors === 7000), '7000 sectors');
  grown(t, pair);
  for (const node of both(pair)) t.is(node.volume.diskOptions.sizeSectors, 7000);
  t.true(resize(pair.beta).ok);
  pair.until(() => both(pair).every((n) => n.volume.sizeSectors > 7000), 'all');
  grown(t, pair);
});

test('--size may make it smaller, and without it nothing does', (t) => {
  const pair = inSync(4);
  const { alpha } = pair;
  t.is(alpha.write(0, block(5)), 0);
  t.true(resize(alpha, { sizeSectors: 2048 }).ok);
  pair.until(() => both(pair).every((n) => n.volume.sizeSectors === 2048), '2048 sectors');
  pair.settled();
  t.is(alpha.write(2048, block(6)), 5);
  t.is(alpha.write(2040, block(6)), 0);
  t.is(pair.firstDifference(), -1);
  t.true(resize(alpha).ok);
  pair.until(() => both(pair).every((n) => n.volume.sizeSectors > 2048), 'again');
  pair.run(20);
  pair.settled();
  pair.until(() => both(pair).every((n) => n.volume.bitmap?.count === 0), 'no bits');
  t.is(pair.firstDifference(), -1);
});

test('--assume-clean: nothing is copied', (t) => {
  const pair = inSync(5);
  grow(pair);
  t.true(resize(pair.alpha, { assumeClean: true }).ok);
  pair.until(() => both(pair).every((n) => n.volume.sizeSectors > 6000), 'the size');
  pair.run(2000);
  for (const node of both(pair)) {
    t.is(node.volume.bitmap?.count, 0);
    t.is(node.log.filter((line) => line.includes('Began resync')).length, 1); // the first one
  }
  grown(t, pair);
});

test('only one disk has grown: the size stays, until the other has too', (t) => {
  const pair = inSync(6);
  const before = pair.alpha.volume.sizeSectors;
  pair.alpha.disk.resize(GROWN);
  t.true(resize(pair.alpha).ok);
  pair.run(2000);
  for (const node of both(pair)) t.is(node.volume.sizeSectors, before);
  pair.beta.disk.resize(GROWN);
  t.true(resize(pair.beta).ok);
  pair.until(() => both(pair).every((n) => n.volume.sizeSectors > 6000), 'the size');
  pair.run(20);
  grown(t, pair);
});

// Swarm seed 1320009974@5: the device of a Primary without a disk was larger than the only copy of its data.
test('resize beside a Primary without a disk: the device stays as large as its data, until that has a disk', (t) => {
  const pair = inSync(9);
  const { alpha, beta } = pair;
  const before = alpha.volume.sizeSectors;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  grow(pair);
  t.true(resize(beta).ok);
  pair.run(100);
  for (const node of both(pair)) t.is(node.volume.sizeSectors, before, node.name);
  t.is(alpha.write(before - 8, block(1)), 0);
  t.is(findMetaData(alpha.disk, 2 * MIB), GROWN);
  alpha.attach();
  pair.until(() => both(pair).every((n) => n.volume.sizeSectors > 6000), 'the size');
  grown(t, pair);
});

test('a kernel asks a Primary without a disk for its size: that is what it was', (t) => {
  const { alpha } = inSync(9);
  const before = alpha.volume.sizeSectors;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  const said = (currentSectors: number): void =>
    alpha.loop.enter(() => {
      const v = alpha.volume;
      const sizes = { diskSectors: 8000, userSectors: 0, currentSectors, maxBioBytes: 1 << 20 };
      const rest = { queueOrderType: 0, ddsFlags: 0, limits: null };
      t.is(v.link && receiveSizes(v.link, v, { ...sizes, ...rest }), null);
    });
  said(0);
  t.is(alpha.volume.sizeSectors, before);
  said(before);
  t.regex(alpha.shown, /cs:Connected/);
});

/** The new part is about to be copied: the handler of the target takes a minute, and a write waits for it. */
function heldByHandler(t: ExecutionContext) {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  grow(pair);
  beta.handlerMs = 60_000;
  const began = beta.handlers.length;
  alpha.begins({ verb: 'resize', minor: 0, ...PLAIN }, () => {});
  pair.until(() => beta.handlers.length > began, 'before-resync-target');
  const endMs = pair.world.nowMs + beta.handlerMs;
  const waits = alpha.beginWrite(8, block(1));
  pair.run(200);
  t.is(alpha.peek(waits), undefined);
  return { pair, waits, endMs };
}

for (const [seat, what] of [
  ['alpha', 'the source'],
  ['beta', 'the target'],
] as const) {
  test(`${what} of the new part lets its disk go while before-resync-target runs: writes go on, on the other one`, (t) => {
    const { pair, waits, endMs } = heldByHandler(t);
    const { alpha } = pair;
    const gone = pair[seat];
    gone.loop.enter(() => detach(gone.volume, true, () => {}));
    t.is(alpha.answer(waits), 0);
    t.is(alpha.write(16, block(2)), 0);
    t.deepEqual(alpha.read(8, 4096), block(1));
    t.true(pair.world.nowMs < endMs);
    pair.beta.handlerMs = 1;
    t.is(findMetaData(gone.disk, 2 * MIB), GROWN);
    gone.attach();
    pair.settled();
    pair.until(() => both(pair).every((n) => n.volume.bitmap?.count === 0), 'no bits');
    t.is(pair.firstDifference(), -1);
  });
}

test('--assume-peer-has-space: alone; the peer grows when it comes back', (t) => {
  const pair = inSync(7);
  const { alpha, beta } = pair;
  beta.disconnect();
  alpha.disconnect();
  different(pair);
  t.true(resize(alpha).ok);
  t.true(alpha.volume.sizeSectors < 6000);
  t.true(resize(alpha, { assumePeerHasSpace: true }).ok);
  t.true(alpha.volume.sizeSectors > 6000);
  t.is(alpha.write(6000, block(1)), 0);
  beta.ask((v, done) => detach(v, false, done));
  t.is(findMetaData(beta.disk, 2 * MIB), GROWN);
  beta.attach();
  for (const node of both(pair)) node.connect();
  beta.until(/cs:SyncTarget/);
  grown(t, pair);
});

/** Both nodes are taken down, the disks grow, and they come up again. */
function downAndUp(pair: SimPair): void {
  pair.alpha.ask(setSecondary);
  for (const node of both(pair)) node.disconnect();
  for (const node of both(pair)) node.ask((v, done) => detach(v, false, done));
  different(pair);
  for (const node of both(pair)) findMetaData(node.disk, 2 * MIB);
  for (const node of both(pair)) node.attach();
  for (const node of both(pair)) node.connect();
}

// A kernel says "No resync, but N bits in bitmap!" here, and leaves it at that.
test('both down, both disks grow, both up: the new part is copied', (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const pair = inSync(seed);
    t.is(pair.alpha.write(8, block(1)), 0);
    downAndUp(pair);
    pair.until(() => both(pair).every((n) => n.volume.link !== null), 'both are there');
    const sent = packetsSent(pair, 100);
    const source = () => both(pair).find((n) => /cs:SyncSource/.test(n.shown))?.name;
    pair.until(() => source() !== undefined, 'a source');
    const address = source() === 'alpha' ? '10.1.0.1' : '10.1.0.2';
    const packets = sent.filter(({ from }) => from === address);
    const bitmap = packets.findIndex(({ command }) => BITMAPS.has(command));
    const state = packets.findIndex(
      ({ command, body }) =>
        command === COMMANDS.P_STATE && decodeState(body.getUint32(0)).conn === Conns.WFBitMapS,
    );
    t.true(
      state >= 0 && state < bitmap,
      `seed ${seed}: a kernel waits for ever for a bitmap that came first`,
    );
    grown(t, pair, `seed ${seed}`);
    t.deepEqual(pair.beta.disk.content(4096, 4096), block(1));
  }
});

const BITMAPS = new Set<number>([COMMANDS.P_BITMAP, COMMANDS.P_COMPRESSED_BITMAP]);

test('a node dies at any time of a resize: nothing is lost, and the new part is in sync in the end', (t) => {
  let inBetween = 0;
  for (let seed = 1; seed <= 48; seed++) {
    const pair = inSync(seed);
    const { alpha, beta } = pair;
    different(pair);
    const power = seed % 2 === 0;
    const victim = seed % 4 < 2 ? alpha : beta;
    const what = `seed ${seed}, ${victim.name}, ${power ? 'power' : 'process'}`;
    t.is(alpha.write(16, block(1)), 0);
    t.is(alpha.flush(), 0);
    const asker = seed % 8 < 4 ? alpha : beta;
    asker.loop.enter(() => askResize(asker));
    let acknowledged = 0;
    for (let i = 0; i < seed % 7; i++) {
      const tag = alpha.beginWrite(24 + 8 * i, block(10 + i));
      pair.run(0.3);
      if (alpha.peek(tag) === 0) acknowledged = Math.max(acknowledged, i + 1);
    }
    pair.run((seed * 0.37) % 9);
    if (victim.volume.sizeSectors < 6000) inBetween++;
    const other = victim === alpha ? beta : alpha;
    const { link } = other.volume;
    victim.crash(power);
    findMetaData(victim.disk, 2 * MIB);
    victim.attach();
    victim.connect();
    pair.until(() => other.volume.link !== null && other.volume.link !== link, `${what}: anew`);
    if (victim === alpha) {
      alpha.until(/cs:(Connected|Sync)/);
      alpha.ask((v, done) => setPrimary(v, false, done));
    }
    pair.settled();
    if (alpha.volume.sizeSectors < 6000) {
      t.true(resize(alpha).ok, what); // as the administrator would, who got no answer
      pair.until(() => both(pair).every((n) => n.volume.sizeSectors > 6000), `${what}: the size`);
      pair.run(20);
    }
    grown(t, pair, what);
    t.is(beta.disk.content(16 * 512, 1)[0], 1, what);
    if (power && victim === alpha) continue; // what was not flushed may be gone with its power
    for (let i = 0; i < acknowledged; i++) {
      t.is(beta.disk.content((24 + 8 * i) * 512, 1)[0], 10 + i, what);
    }
  }
  t.true(inBetween > 4);
});

// The areas of the meta-data overlap: the new superblock is there first, and asks for a full sync until all the rest is.
test('a disk that grows by a little: power is cut in every step of the move', (t) => {
  const states = new Set<string>();
  for (let step = 0; step < 40; step++) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    t.is(alpha.write(16, block(1)), 0);
    t.is(alpha.flush(), 0);
    const larger = 2 * MIB + 16384;
    for (const node of both(pair)) node.disk.resize(larger);
    beta.loop.enter(() => askResize(beta));
    pair.run(step * 0.15);
    const { link } = alpha.volume;
    beta.crash(true);
    findMetaData(beta.disk, 2 * MIB);
    beta.attach();
    states.add(beta.volume.bitmap?.count === beta.volume.bitmap?.bits ? 'full sync' : 'as it was');
    beta.connect();
    pair.until(() => alpha.volume.link !== null && alpha.volume.link !== link, 'anew');
    pair.settled();
    t.is(pair.firstDifference(), -1, `step ${step}`);
    t.is(beta.disk.content(16 * 512, 1)[0], 1);
    t.true(resize(alpha).ok);
    pair.until(() => both(pair).every((n) => n.volume.sizeSectors === 4048), `step ${step}: size`);
    pair.run(50);
    pair.settled();
    t.is(pair.firstDifference(), -1, `step ${step}`);
  }
  t.is(states.size, 2);
});

// Resize story 224: the peer agreed to the detach, and the resync began in between.
test('a detach that is being agreed on while the resync of the new part begins: one after the other', (t) => {
  for (let step = 0; step < 60; step++) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    different(pair);
    alpha.loop.enter(() => askResize(alpha));
    pair.run(step * 0.35);
    const outcomes: string[] = [];
    alpha.loop.enter(() => detach(alpha.volume, false, (o) => outcomes.push(o.kind)));
    pair.until(() => outcomes.length === 1, `step ${step}: an answer`);
    pair.run(50);
    if (alpha.volume.dataDisk < 0) {
      findMetaData(alpha.disk, 2 * MIB);
      alpha.attach();
    }
    pair.until(
      () => both(pair).every((n) => /cs:Connected .* ds:UpToDate\/UpToDate/.test(n.shown)),
      `step ${step}: in sync`,
    );
    pair.run(50);
    t.is(pair.firstDifference(), -1, `step ${step}`);
    t.is(alpha.volume.sizeSectors, beta.volume.sizeSectors, `step ${step}`);
  }
});

// Swarm seed 5300083@5: it went on alone, for the peer was Inconsistent to it, and the peer was promoted when it had died.
test('the peer refuses the resync of the new part: its disk is good still, and it is fenced', (t) => {
  const pair = inSync(1, { disk: { fencing: 'resource-only' } });
  const { alpha, beta } = pair;
  different(pair);
  beta.exits = { 'before-resync-target': 1 };
  alpha.loop.enter(() => askResize(alpha));
  beta.until(/cs:StandAlone .*ds:UpToDate/);
  alpha.until(/cs:WFConnection .*ds:UpToDate\/DUnknown/);
  t.true(alpha.handlers.includes('fence-peer'));
  beta.exits = {};
  beta.connect();
  grown(t, pair);
});

test('the connection is lost at any time of a resize: a peer that is not fenced knows that its copy is old', (t) => {
  const seen = new Set<boolean>();
  for (let step = 0; step < 80; step++) {
    const pair = inSync(1, { disk: { fencing: 'resource-only' } });
    const { alpha, beta } = pair;
    different(pair);
    alpha.loop.enter(() => askResize(alpha));
    pair.run(6 + step * 0.3);
    pair.net.cut('replication');
    pair.net.reset('replication');
    alpha.until(/cs:WFConnection/);
    beta.until(/cs:WFConnection/);
    pair.run(50);
    const isFenced = alpha.handlers.includes('fence-peer');
    seen.add(isFenced);
    // What it comes back with when its power is cut now.
    const at = superblockSector('internal', GROWN / 512);
    const sb = decodeSuperblock(beta.disk.content(at * 512, 4096));
    const isOld = (sb.flags & IS_GOOD) !== IS_GOOD;
    t.true(isFenced || isOld, `step ${step}`);
    pair.net.heal('replication');
    pair.settled();
    t.true(resize(alpha).ok);
    grown(t, pair, `step ${step}`);
  }
  t.is(seen.size, 2);
});

const IS_GOOD = MDF.CONSISTENT | MDF.WAS_UP_TO_DATE;

/** The peer has told of its room; this node looks at its own disk in the middle of the handshake, `afterMs` behind its beginning. True: it was the middle. */
function resizeWhileMeeting(pair: SimPair, node: SimPairNode, afterMs: number): boolean {
  const other = node === pair.alpha ? pair.beta : pair.alpha;
  for (const n of both(pair)) n.disconnect();
  if (pair.alpha.write(8, block(5)) !== 0) throw new Error('write');
  different(pair);
  other.loop.enter(() => askResize(other));
  pair.run(100);
  pair.net.faults('replication', { delayMs: [20, 21] });
  let asked = false;
  let inBetween = false;
  node.onState = () => {
    if (asked || node.volume.state.conn !== Conns.WFReportParams) return;
    asked = true;
    node.clock.after(afterMs, () => {
      inBetween = node.volume.state.conn === Conns.WFReportParams;
      node.loop.enter(() => askResize(node));
    });
  };
  for (const n of both(pair)) n.connect();
  pair.until(() => asked, 'asked');
  pair.run(afterMs + 1);
  return inBetween;
}

// The peer decides by what it was told first: with a larger device here, it would wait for the rest of its bitmap for ever.
for (const seat of ['alpha', 'beta'] as const) {
  test(`resize on ${seat} in the middle of a handshake: more room counts when that is over`, (t) => {
    let inBetween = 0;
    for (let step = 0; step < 12; step++) {
      const pair = inSync(20 + step);
      const { alpha, beta } = pair;
      if (resizeWhileMeeting(pair, pair[seat], 1 + step)) inBetween++;
      pair.settled();
      pair.run(300);
      t.is(alpha.volume.sizeSectors, beta.volume.sizeSectors, `step ${step}`);
      t.true(resize(alpha).ok);
      grown(t, pair, `step ${step}`);
      t.deepEqual(beta.disk.content(4096, 4096), block(5));
    }
    t.true(inBetween > 2);
  });
}

function askResize(node: SimPairNode): void {
  resizeVolume(node.volume, PLAIN, () => {});
}

test('the role changes hands at any time of a growth: one of the nodes is the source', (t) => {
  const sources = new Set<string>();
  for (let step = 0; step < 120; step++) {
    const pair = inSync(1 + (step % 3));
    const { alpha, beta } = pair;
    different(pair);
    pair.net.faults('replication', { delayMs: [3, 4] });
    alpha.loop.enter(() => askResize(alpha));
    pair.run(step / 4);
    t.is(alpha.ask(setSecondary).kind, 'ok');
    const { kind } = beta.ask((v, done) => setPrimary(v, false, done));
    pair.run(100);
    for (const node of both(pair)) {
      if (node.log.some((line) => /as SyncSource \(will sync 20[0-9]{2} KB \[51/.test(line))) {
        sources.add(node.name);
      }
    }
    pair.settled();
    resize(pair.beta);
    grown(t, pair, `step ${step}: ${kind}`);
  }
  t.deepEqual([...sources].sort(), ['alpha', 'beta']);
});

// Swarm seed 5111134: the target's handler hung; the source went on alone, unfenced, and the target was promoted with its old data.
test('the new part is to be copied, and the target has not begun when the connection breaks: its disk may be good, and is fenced', (t) => {
  const pair = inSync(1, { disk: { fencing: 'resource-and-stonith' } });
  const { alpha, beta } = pair;
  different(pair);
  beta.handlerMs = 100_000; // before-resync-target
  t.true(resize(alpha).ok);
  alpha.until(/cs:SyncSource/);
  t.regex(beta.shown, /cs:Connected ro:Secondary\/Primary ds:UpToDate\/UpToDate/);
  pair.net.cut('replication');
  pair.net.reset('replication');
  alpha.exits['fence-peer'] = 1;
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate\/DUnknown/);
  t.is(alpha.volume.state.suspFen, 1);
  t.true(alpha.handlers.includes('fence-peer'));
});

// Swarm seed 1700003457@7: its resync was called off without a word, and began only on the next connection. A kernel would wait for it,
// and this node for the end of the verify.
for (const seat of ['alpha', 'beta'] as const) {
  test(`verify on ${seat} while the resync of the new part is about to begin: refused by the peer, as if that had begun`, (t) => {
    let refused = 0;
    for (let step = 0; step < 30; step++) {
      const pair = verifiable(1 + (step % 3));
      const { alpha, beta } = pair;
      const other = seat === 'alpha' ? beta : alpha;
      different(pair);
      pair.net.faults('replication', { delayMs: [3, 4] });
      beta.loop.enter(() => askResize(beta));
      pair.run(12 + step / 2);
      const outcome = begin(pair[seat]);
      const isRefused = other.log.some((line) => line.includes("refused the peer's verify"));
      if (isRefused) {
        refused++;
        t.like(outcome, { kind: 'state', code: Ss.CW_FAILED_BY_PEER });
      }
      pair.until(() => alpha.volume.sizeSectors > 6000, `step ${step}: the size`);
      pair.run(200);
      grown(t, pair, `step ${step}`);
      const wasVerified = alpha.log.some((line) => line.includes('Online verify done'));
      t.is(wasVerified, outcome.kind === 'ok', `step ${step}`);
    }
    t.true(refused > 0);
  });
}

/** A new connection, without a resync: nothing has to be waited for on the other socket before one begins. */
function meetAnew(pair: SimPair): void {
  pair.alpha.ask(setSecondary);
  for (const node of both(pair)) node.disconnect();
  for (const node of both(pair)) node.connect();
  pair.settled();
  pair.alpha.ask((v, done) => setPrimary(v, false, done));
}

/** The other node knows how much room there is: it need not ask when its own disk has grown. */
function tellRoom(pair: SimPair, node: SimPairNode): void {
  node.disk.resize(GROWN);
  if (!resize(node).ok) throw new Error('resize');
  pair.run(50);
  different(pair);
}

// P_SYNC_UUID was ignored by a node that was still VerifyT: source of a resync that nobody asked a block of, for ever.
test('verify, then resize at once: the resync begins while the last results of the verify are on their way', (t) => {
  let early = 0;
  for (let step = 0; step < 20; step++) {
    const protocolMax = [88, 96, 100, 101][step % 4] as number;
    const pair = verifiable(1 + step, { dialect: { protocolMax, features: 0 } });
    const { alpha, beta } = pair;
    meetAnew(pair);
    tellRoom(pair, beta);
    pair.net.faults('replication', { delayMs: [1, 60] });
    let wasEarly = false;
    alpha.onState = () => {
      const isCopied = alpha.volume.state.conn === Conns.SyncSource;
      if (isCopied && beta.volume.state.conn === Conns.VerifyT) wasEarly = true;
    };
    begin(alpha);
    alpha.until(/cs:Connected/);
    t.true(resize(alpha).ok);
    if (wasEarly) early++;
    pair.until(() => beta.volume.sizeSectors > 6000, `step ${step}: the size`);
    pair.run(100);
    grown(t, pair, `step ${step}`);
  }
  t.true(early > 0);
});

// The target counts all of the device, the source (below version 90) what was there before: it is done first, and copies the rest.
for (const protocolMax of [88, 89, 95, 96, 100, 101]) {
  test(`the target asks for a verify and grows before the answer: the new part is copied, version ${protocolMax}`, (t) => {
    const dialect = { protocolMax, features: 0 };
    const pair = verifiable(1, { dialect, disk: { resyncRateKiBps: 400 } });
    const { alpha, beta } = pair;
    tellRoom(pair, alpha);
    pair.net.faults('replication', { delayMs: [20, 21] });
    const outcomes: string[] = [];
    beta.loop.enter(() => verify(beta.volume, null, null, (o) => outcomes.push(o.kind)));
    beta.loop.enter(() => askResize(beta));
    beta.until(/cs:VerifyS/);
    t.true(beta.volume.sizeSectors > 6000);
    grown(t, pair);
    const isAborted = beta.log.some((line) => line.includes('Online-verify aborted'));
    t.is(isAborted, protocolMax < 90);
  });
}

// Its source took the bits of the new part for writes that had failed there, and its good disk for Inconsistent: no resync, for ever.
test('a Primary that was the target of a resync has its device grow as soon as it is done: both copies are good', (t) => {
  let early = 0;
  for (let step = 0; step < 20; step++) {
    const pair = inSync(1 + step);
    const { alpha, beta } = pair;
    different(pair);
    pair.net.faults('replication', { delayMs: [1, 60] });
    t.true(alpha.control({ verb: 'invalidate', minor: 0 }).ok);
    alpha.until(/cs:SyncTarget/);
    alpha.until(/cs:Connected/);
    alpha.loop.enter(() => askResize(alpha));
    pair.until(() => beta.volume.sizeSectors > 6000, `step ${step}: the size`);
    if (beta.volume.state.conn === Conns.SyncSource) early++;
    pair.run(200);
    grown(t, pair, `step ${step}`);
  }
  t.true(early > 0);
});

/** Two Secondaries meet, larger than before; alpha is promoted, and begins no resync of its own accord: as a kernel. */
function beforeKernelSource(disk: Partial<DiskOptions> = {}): SimPair {
  const pair = verifiable(1, { disk });
  const { alpha, beta } = pair;
  const looks = beta.volume.growth.look.bind(beta.volume.growth);
  for (const node of both(pair)) node.volume.growth.look = () => {};
  downAndUp(pair);
  pair.settled();
  alpha.ask((v, done) => setPrimary(v, false, done));
  pair.settled();
  beta.volume.growth.look = looks;
  beta.loop.enter(looks);
  return pair;
}

// Its five seconds ended in the middle of the verify, and there were no others on that connection.
test('a source that does not begin, as a kernel, and a verify: it is waited for when that is over', (t) => {
  const pair = beforeKernelSource({ resyncRateKiBps: 400 });
  const { alpha, beta } = pair;
  const { link } = alpha.volume;
  pair.run(1000);
  const fromMs = pair.world.nowMs;
  t.is(begin(beta).kind, 'ok');
  beta.until(/cs:Connected/);
  t.true(pair.world.nowMs > fromMs + 5000);
  pair.run(4000);
  t.is(alpha.volume.link, link);
  pair.until(() => alpha.volume.link !== link, 'it is dropped');
  grown(t, pair);
});

// Its users have only this node's disk: the connection would have been taken from them.
test('a source that does not begin, as a kernel, lets its disk go: it is not dropped', (t) => {
  const pair = beforeKernelSource();
  const { alpha } = pair;
  const { link } = alpha.volume;
  pair.run(3000);
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  pair.run(10_000);
  t.is(alpha.volume.link, link);
  t.is(alpha.write(8, block(1)), 0);
  findMetaData(alpha.disk, 2 * MIB);
  alpha.attach();
  grown(t, pair);
});

// The invalidate had called it off, the peer's disk that: it was never begun again on that connection, and both disks were UpToDate.
for (const isInvalidated of [true, false]) {
  test(`Secondaries, a resync of the new part that is about to begin, the peer's disk goes and comes back: it is copied${isInvalidated ? ', after an invalidate that came to nothing' : ''}`, (t) => {
    let late = 0;
    for (let step = 0; step < 20; step++) {
      const pair = inSync(1 + (step % 4));
      const { alpha, beta } = pair;
      different(pair);
      const isSource = alpha.volume.link?.resolveConflicts === true;
      const [source, target] = isSource ? [alpha, beta] : [beta, alpha];
      source.handlerMs = 300; // before-resync-source
      alpha.loop.enter(() => askResize(alpha));
      pair.run(4 + step / 2);
      t.is(alpha.ask(setSecondary).kind, 'ok');
      pair.run(40);
      if (source.volume.growth.isDue && target.volume.state.conn === Conns.Connected) late++;
      if (isInvalidated) target.loop.enter(() => invalidate(target.volume, () => {}));
      pair.run(30);
      target.loop.enter(() => detach(target.volume, true, () => {}));
      pair.until(() => target.volume.dataDisk < 0, 'detached');
      findMetaData(target.disk, 2 * MIB);
      target.attach();
      source.handlerMs = 1;
      pair.settled();
      pair.run(1000);
      pair.settled();
      if (alpha.volume.sizeSectors < 6000) continue; // refused: no Primary
      grown(t, pair, `step ${step}`);
    }
    t.true(late > 4);
  });
}

// As above; it had been forgotten that the new part was to be copied.
test('a Primary that was the target of a resync has its device grow as soon as it is done, and its source is paused: both copies are good', (t) => {
  let early = 0;
  for (let step = 0; step < 20; step++) {
    const pair = inSync(1 + step);
    const { alpha, beta } = pair;
    different(pair);
    pair.net.faults('replication', { delayMs: [1, 60] });
    t.true(alpha.control({ verb: 'invalidate', minor: 0 }).ok);
    alpha.until(/cs:SyncTarget/);
    alpha.until(/cs:Connected/);
    alpha.loop.enter(() => askResize(alpha));
    pair.until(() => beta.volume.sizeSectors > 6000, `step ${step}: the size`);
    if (beta.volume.state.conn === Conns.SyncSource) early++;
    beta.loop.enter(() => pauseSync(beta.volume, true, () => {}));
    pair.run(500);
    beta.loop.enter(() => pauseSync(beta.volume, false, () => {}));
    grown(t, pair, `step ${step}`);
  }
  t.true(early > 0);
});

// The connection was dropped, and its users got EIO until the next one.
test('a Primary attaches its disk, and both have grown meanwhile: its users go on', (t) => {
  for (let step = 0; step < 12; step++) {
    const pair = inSync(1 + step);
    const { alpha, beta } = pair;
    const { link } = alpha.volume;
    t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
    t.is(alpha.write(8, block(1)), 0);
    different(pair);
    findMetaData(alpha.disk, 2 * MIB);
    pair.net.faults('replication', { delayMs: [1, 3 + step] });
    alpha.handlerMs = 1 + 3 * step; // before-resync-target
    alpha.beginAttach();
    for (let i = 0; i < 60; i++) t.is(alpha.write(16 + 8 * (i % 10), block(i)), 0, `step ${step}`);
    grown(t, pair, `step ${step}`);
    t.is(alpha.volume.link, link);
    t.deepEqual(beta.disk.content(4096, 4096), block(1));
  }
});
