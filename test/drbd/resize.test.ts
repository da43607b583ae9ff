/** Another size of the device, as an operator asks for it (docs/STATES.md, sizes): what becomes of it on both nodes, and what is refused. */
import test from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import { receiveSizes } from '../../src/drbd/resize.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { Conns, decodeState } from '../../src/drbd/state.js';
import { findMetaData } from '../../src/sim/moved-meta.js';
import { COMMANDS } from '../../src/wire/constants.js';
import { packetsSent } from '../support/packets-sent.js';
import {
  both,
  different,
  downAndUp,
  GROWN,
  grow,
  grown,
  MIB,
  resize,
} from '../support/resize-pair.js';
import { block, inSync } from '../support/sim-pair.js';

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
