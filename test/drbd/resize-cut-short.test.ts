/** A resize during which something is lost: a node, its power, the connection, a disk. The new part is in sync in the end, and nobody takes an old copy for a good one. */
import test, { type ExecutionContext } from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import { setPrimary } from '../../src/drbd/roles.js';
import { superblockSector } from '../../src/md/layout.js';
import { decodeSuperblock, MDF } from '../../src/md/superblock.js';
import { findMetaData } from '../../src/sim/moved-meta.js';
import {
  askResize,
  both,
  different,
  GROWN,
  grow,
  grown,
  MIB,
  PLAIN,
  resize,
} from '../support/resize-pair.js';
import { block, inSync } from '../support/sim-pair.js';

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
