/**
 * A write that a kernel sends with DP_FLUSH (the commit of a journal): what came before it is durable first. A disk that can not flush
 * is let go, as at the end of an epoch, and its Primary knows what it may lack. Two engines in virtual time; nobody here sends the flag,
 * so the packet is made by hand.
 */
import test from 'ava';
import { COMMANDS, DP } from '../../src/wire/constants.js';
import { DATA_BYTES, putData, putHeader } from '../../src/wire/hot.js';
import { block, inSync, type SimPair } from '../support/sim-pair.js';

/** From alpha: 4 KiB, and no answer is asked for. */
function sendFlushingWrite({ alpha }: SimPair, sector: number, bytes: Uint8Array): void {
  const link = alpha.resource.link;
  if (!link) throw new Error('not connected');
  const packet = new Uint8Array(16 + DATA_BYTES + bytes.length);
  const view = new DataView(packet.buffer);
  const at = putHeader(view, 0, link.apv, COMMANDS.P_DATA, 0, DATA_BYTES + bytes.length);
  putData(view, at, sector, 0, 77, 0, DP.FLUSH | DP.RW_SYNC);
  packet.set(bytes, at + DATA_BYTES);
  alpha.loop.enter(() => link.out.raw(packet));
}

test('a write behind a flush is written when that is done', (t) => {
  const pair = inSync(1);
  t.is(pair.alpha.write(0, block(1)), 0);
  sendFlushingWrite(pair, 8, block(2));
  pair.run(50);
  t.deepEqual(pair.beta.disk.content(8 * 512, 4096), block(2));
});

test('the flush fails: the disk is let go, and what it had not flushed is out of sync', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  beta.disk.faults.flushChance = 1;
  t.is(alpha.write(0, block(1)), 0);
  sendFlushingWrite(pair, 8, block(2));
  pair.run(50);
  t.regex(beta.shown, /ds:(Failed|Diskless)/);
  t.true(alpha.volume.bitmap?.isSet(0));
  beta.disk.faults.flushChance = 0;
  pair.run(1000);
  beta.attachTo(beta.volume);
  pair.settled();
  t.is(pair.firstDifference(), -1);
});
