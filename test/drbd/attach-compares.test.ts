/**
 * A disk is attached while the nodes are connected, and both compare, one after the other: they come to opposite results only if the
 * second one hears what the first one has compared with, and not what became of that (docs/STATES.md, handshake).
 */
import test from 'ava';
import { setUuids } from '../../src/drbd/changes.js';
import { detach, newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import type { UuidSet } from '../../src/drbd/generation.js';
import { resize } from '../../src/drbd/resize.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { findMetaData } from '../../src/sim/moved-meta.js';
import { block, inSync, type SimPair, type SimPairNode } from '../support/sim-pair.js';

const MIB = 1 << 20;
const LEAST = { afterSb0pri: 'discard-least-changes' } as const;

/** So many blocks of its own, as Primary. */
function writes(node: SimPairNode, blocks: number, byte: number): void {
  if (node.ask((v, done) => setPrimary(v, false, done)).kind !== 'ok') throw new Error('primary');
  for (let i = 0; i < blocks; i++) {
    if (node.write(i * 8, block(byte)) !== 0) throw new Error('write');
  }
  if (node.ask(setSecondary).kind !== 'ok') throw new Error('secondary');
}

/** Both went on alone, with so many blocks; then they are connected, alpha without its disk. */
function partedAndMet(pair: SimPair, alphas: number, betas: number, between = () => {}): void {
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.disconnect();
  writes(alpha, alphas, 1);
  writes(beta, betas, 2);
  alpha.ask((v, done) => detach(v, false, done));
  between();
  for (const node of [alpha, beta]) node.connect();
  alpha.until(/cs:Connected .*ds:Diskless\/UpToDate/);
  beta.until(/cs:Connected .*ds:UpToDate\/Diskless/);
}

function copiedFrom(pair: SimPair, byte: number): boolean {
  pair.settled();
  pair.run(200);
  const held = pair.beta.disk.content(0, 4096);
  return pair.firstDifference() === -1 && held.every((b) => b === byte);
}

// Swarm seed 5006199@5: each found itself to be the target, and waited for the other.
test('a split brain solved by the number of changes, and the device grows as the disk comes: beta has as many, and the new part', (t) => {
  const pair = inSync(1, { net: LEAST });
  const { alpha, beta } = pair;
  const all = { sizeSectors: 0, assumeClean: false, assumePeerHasSpace: false };
  partedAndMet(pair, 3, 3, () => {
    for (const node of [alpha, beta]) node.disk.resize(4 * MIB);
    findMetaData(alpha.disk, 2 * MIB);
    const request = { ...all, alStripes: null, alStripeSizeKib: null };
    beta.wait((done) => resize(beta.volume, request, done), 'resize');
  });
  alpha.beginAttach();
  t.true(copiedFrom(pair, 2));
  t.true(alpha.volume.sizeSectors > (3 * MIB) / 512);
});

for (const [later, winner] of [
  [0, 1],
  [7, 2],
] as const) {
  test(`changes count up to the moment of the attach: ${later} more on beta`, (t) => {
    const pair = inSync(2, { net: LEAST });
    const { alpha, beta } = pair;
    partedAndMet(pair, 3, 1);
    if (later > 0) writes(beta, later, 2);
    alpha.beginAttach();
    t.true(copiedFrom(pair, winner));
  });
}

test('no changes when they met, and some since: not discarded by discard-zero-changes', (t) => {
  const pair = inSync(3, { net: { afterSb0pri: 'discard-zero-changes' } });
  const { alpha, beta } = pair;
  partedAndMet(pair, 0, 0);
  writes(beta, 4, 2);
  alpha.beginAttach();
  t.true(copiedFrom(pair, 2));
});

// The loser marks everything, and its peer compares with less than that.
for (const [alphas, betas, winner] of [
  [5, 2, 1],
  [2, 5, 2],
] as const) {
  test(`an ambiguous split brain, solved with always-asbp: ${alphas} changes, and ${betas} on beta`, (t) => {
    const pair = inSync(4, { net: { ...LEAST, alwaysAsbp: true } });
    const { alpha, beta } = pair;
    partedAndMet(pair, alphas, betas, () => {
      t.is(beta.ask((v, done) => newCurrentUuid(v, false, done)).kind, 'ok');
    });
    alpha.beginAttach();
    t.true(copiedFrom(pair, winner));
    t.true(beta.log.some((line) => line.includes('UUIDs where ambiguous')));
  });
}

// Where beta corrects its own set, alpha compares with what was there before: else it finds nothing to do, and the bitmap has no place.
const MISSED: readonly [number, (theirs: UuidSet) => UuidSet][] = [
  [34, (u) => ({ ...u, bitmap: u.history1, history1: u.history2, history2: 0n })],
  [36, (u) => ({ ...u, bitmap: 0x1234_5678n })],
];
for (const [rule, set] of MISSED) {
  test(`rule ${rule} when a disk is attached: both find it`, (t) => {
    const pair = inSync(5);
    const { alpha, beta } = pair;
    t.is(alpha.ask(setSecondary).kind, 'ok');
    t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
    const before = alpha.volume.uuids;
    beta.loop.enter(() => setUuids(beta.volume, set(before)));
    pair.run(100);
    const { link } = beta.volume;
    alpha.beginAttach();
    pair.settled();
    t.is(beta.volume.link, link);
    t.true(beta.log.some((line) => line.includes(`uuid_compare()=1 by rule ${rule}`)));
    t.is(pair.firstDifference(), -1);
  });
}

// Swarm seed 1330019177@5: both were written from one buffer, and either could get what was the other's.
test('a bitmap is to be written while the log of a disk that is attached is made empty: one after the other', (t) => {
  let waited = 0;
  for (let delay = 0; delay < 200; delay += 4) {
    const pair = inSync(1);
    const { alpha } = pair;
    t.is(alpha.write(8, block(1)), 0);
    alpha.crash(true);
    alpha.disk.slowMs = 10;
    let isAttached = false;
    alpha.beginAttach(() => {
      isAttached = true;
    });
    pair.run(delay);
    if (isAttached) break;
    const v = alpha.volume;
    if (!v.bitmap) continue;
    waited++;
    alpha.loop.enter(() => {
      v.bitmap?.markAllPagesDirty();
      v.writeBitmap();
    });
    // The simulated port notices a buffer that changes while the disk has it.
    pair.until(() => isAttached && v.store?.idle === true, 'attached');
    alpha.connect();
    pair.settled();
    t.is(pair.firstDifference(), -1, `${delay} ms`);
  }
  t.true(waited > 5);
});
