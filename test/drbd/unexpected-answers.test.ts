/**
 * Answers that no peer gives: to what was not asked, or a second one while the first arrives. The connection ends, and what
 * was under way is judged as with any connection that is lost.
 */
import test from 'ava';
import { COMMANDS, ID_SYNCER_HI, ID_SYNCER_LO } from '../../src/wire/constants.js';
import { putBlockAck } from '../../src/wire/hot.js';
import type { Codec } from '../../src/wire/packet.js';
import { block, inSync, type SimPair } from '../support/sim-pair.js';

const RAW: Codec<(view: DataView, at: number) => void> = {
  decode: () => () => {},
  encode: (put, view, at) => put(view, at),
};

/** From beta, on the meta socket: an acknowledgement. */
function answer(
  { beta }: SimPair,
  command: number,
  put: (view: DataView, at: number) => void,
): void {
  beta.loop.enter(() => beta.resource.link?.out.onMeta(command, 0, 24, RAW, put));
}

test('an acknowledgement of a sector above 2^53 is not the one before it once more', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  t.is(alpha.write(8, block(1)), 0);
  pair.run(500);
  const before = alpha.log.length;
  answer(pair, COMMANDS.P_NEG_ACK, (view, at) => {
    putBlockAck(view, at, 8, 0, 0, 4096, 0);
    view.setUint32(at, 0xffffffff);
  });
  pair.run(20);
  t.true(alpha.log.slice(before).some((line) => line.includes('P_NEG_ACK: sector above 2^53')));
  t.is(alpha.volume.bitmap?.count, 0); // the block before it is still in sync
  pair.settled();
});

/** A read of alpha, which has no disk, and the first bytes of its data: the others are under way. */
function halfRead(pair: SimPair): {
  readonly tag: number;
  readonly at: number;
  readonly index: number;
} {
  const { alpha } = pair;
  const detached = alpha.control({ verb: 'detach', minor: 0, force: false });
  if (!detached.ok) throw new Error(detached.text);
  pair.run(500);
  const at = alpha.io.alloc(65_536);
  const tag = alpha.begin((n) => alpha.volume.read(alpha, n, 64, at, 65_536));
  const { core } = alpha.loop.engine;
  const index = Array.from({ length: 64 }, (_, i) => i).find((i) => {
    const r = core.appRequest(i);
    return r?.sector === 64 && r.owner.reads.isAtPeer(r);
  });
  if (index === undefined) throw new Error('no read is under way');
  pair.until(() => core.appRequest(index)?.receiving === true, 'its data arrive');
  return { tag, at, index };
}

test("a refusal of a read while its data arrive: the buffer stays the port's", (t) => {
  const pair = inSync(2, { pieceBytes: 500 });
  const { alpha } = pair;
  t.is(alpha.write(64, block(7)), 0);
  const { tag, at, index } = halfRead(pair);
  const idHi = alpha.resource.link?.idHi ?? 0;
  const before = alpha.log.length;
  answer(pair, COMMANDS.P_NEG_DREPLY, (view, to) =>
    putBlockAck(view, to, 64, idHi, index, 65_536, 0),
  );
  pair.run(20);
  t.true(
    alpha.log.slice(before).some((l) => l.includes('P_NEG_DREPLY: sector 64 was not asked for')),
  );
  pair.until(() => alpha.peek(tag) !== undefined, 'the read is answered');
  const error = alpha.peek(tag);
  const bytes = alpha.taken(tag, at, 65_536).subarray(0, 4096);
  t.true(error === 5 || (error === 0 && Buffer.compare(bytes, block(7)) === 0), `${error}`);
});

/** Index of a write that is under way, as the other node would name it. */
function idOfWrite({ alpha }: SimPair, sector: number): number {
  const { core } = alpha.loop.engine;
  const index = Array.from({ length: 64 }, (_, i) => i).find((i) => {
    const r = core.appRequest(i);
    return r?.inLog && r.sector === sector;
  });
  if (index === undefined) throw new Error('no write is under way');
  return index;
}

test('an acknowledgement with the number of another volume is none of the write that it names', (t) => {
  const pair = inSync(1, { twoVolumes: true });
  const { alpha, beta } = pair;
  if (beta.secondDisk) beta.secondDisk.slowMs = 200;
  const tag = alpha.beginWrite(64, block(7), alpha.second ?? undefined);
  pair.run(20);
  const id = idOfWrite(pair, 64);
  const idHi = alpha.resource.link?.idHi ?? 0;
  const before = alpha.log.length;
  answer(pair, COMMANDS.P_WRITE_ACK, (view, at) => putBlockAck(view, at, 64, idHi, id, 4096, 0));
  pair.run(20);
  t.is(alpha.second?.bitmap?.count, 1);
  t.true(alpha.log.slice(before).some((l) => l.includes('no write to sector 64 is known')));
  if (beta.secondDisk) beta.secondDisk.slowMs = 0;
  t.is(alpha.answer(tag), 0);
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('a write that is refused twice is refused once', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  beta.disk.slowMs = 200;
  const tag = alpha.beginWrite(64, block(7));
  pair.run(20);
  const id = idOfWrite(pair, 64);
  const idHi = alpha.resource.link?.idHi ?? 0;
  for (let n = 0; n < 2; n++) {
    answer(pair, COMMANDS.P_NEG_ACK, (view, at) => putBlockAck(view, at, 64, idHi, id, 4096, 0));
  }
  t.is(alpha.answer(tag), 0);
  t.true(alpha.volume.bitmap?.isSet(8));
  beta.disk.slowMs = 0;
  pair.run(3000);
  pair.net.reset('replication'); // who waits for a word on the peer's disk waits no more
  pair.run(3000);
  t.is(alpha.write(64, block(8)), 0);
  pair.run(500);
  pair.settled();
  const { pending, remote, logged } = alpha.volume.app;
  t.deepEqual({ pending, remote, logged }, { pending: 0, remote: 0, logged: 0 });
});

test('a block of a resync is not equal because the target has stored what it was not sent', (t) => {
  const slow = { cPlanAheadDs: 0, cMinRateKiBps: 0, resyncRateKiBps: 100 };
  const pair = inSync(1, { disk: slow });
  const { alpha, beta } = pair;
  pair.net.cut('replication');
  pair.net.reset('replication');
  alpha.until(/cs:WFConnection/);
  for (let n = 0; n < 100; n++) t.is(alpha.write(n * 8, block(n)), 0);
  pair.net.heal('replication');
  alpha.until(/cs:SyncSource/);
  pair.run(300);
  const sector = 80 * 8;
  t.true(alpha.volume.bitmap?.isSet(80));
  answer(pair, COMMANDS.P_RS_WRITE_ACK, (view, at) =>
    putBlockAck(view, at, sector, ID_SYNCER_HI, ID_SYNCER_LO, 4096, 0),
  );
  pair.run(20);
  t.regex(alpha.shown, /cs:SyncSource/);
  t.true(alpha.volume.bitmap?.isSet(80));
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.regex(beta.shown, /ds:UpToDate\/UpToDate/);
});
