/** Every packet of two kernels' DRBD, of versions 86 to 101, is understood and encoded to the same bytes. */
import test from 'ava';
import { BitmapReceiver, BitmapSender } from '../../src/wire/bitmap.js';
import { COMMANDS } from '../../src/wire/constants.js';
import type { WireError } from '../../src/wire/packet.js';
import { encodePacket, PACKETS } from '../../src/wire/packets.js';
import { type RecordedPacket, readRecording, recordingNames } from '../support/recording.js';

const NAMES = recordingNames();
const PACKETS_IN_ALL = 11852;
const BITMAPS_IN_ALL = 56;

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

test('every recorded packet is decoded and encoded again to the same bytes', (t) => {
  let count = 0;
  const seen = new Set<string>();
  const versions = new Set<number>();
  for (const name of NAMES) {
    for (const { packet, bytes, link } of readRecording(name)) {
      count++;
      seen.add(packet.type);
      versions.add(link.apv);
      const again = encodePacket(packet, link);
      if (!Buffer.from(again).equals(bytes)) t.is(hex(again), hex(bytes), `${name} ${packet.type}`);
    }
  }
  t.is(NAMES.length, 29);
  t.is(count, PACKETS_IN_ALL);
  t.deepEqual([...versions].sort(), [100, 101, 80, 86, 88, 94, 95, 96, 99]);
  t.log(`${count} packets; never recorded: ${Object.keys(PACKETS).filter((n) => !seen.has(n))}`);
});

/** The bitmaps that one side sent on one connection: lists of packets, each ended as the rules say. */
function bitmaps(packets: readonly RecordedPacket[], bits: number): RecordedPacket[][] {
  const found: RecordedPacket[][] = [];
  const open = new Map<string, { receiver: BitmapReceiver; packets: RecordedPacket[] }>();
  for (const p of packets) {
    if (p.packet.type !== 'P_BITMAP' && p.packet.type !== 'P_COMPRESSED_BITMAP') continue;
    const key = `${p.connection} ${p.from}`;
    const words = new Uint8Array(Math.ceil(bits / 64) * 8);
    const state = open.get(key) ?? {
      receiver: new BitmapReceiver({ words, bits }, p.link),
      packets: [],
    };
    open.set(key, state);
    const header = p.link.apv >= 100 ? 16 : 8;
    const problem: WireError | null = state.receiver.receive(
      PACKETS[p.packet.type].command,
      p.bytes.subarray(header),
    );
    if (problem !== null) throw new Error(problem.error);
    state.packets.push(p);
    if (!state.receiver.done) continue;
    found.push(state.packets);
    open.delete(key);
  }
  if (open.size > 0) throw new Error('a bitmap without an end');
  return found;
}

test('recorded bitmaps are received to their end, and our sender cuts them into the same packets', (t) => {
  const bits = 1014;
  let count = 0;
  for (const name of NAMES) {
    for (const sent of bitmaps(readRecording(name), bits)) {
      const first = sent[0];
      if (first === undefined) continue;
      count++;
      const bitmap = { words: new Uint8Array(Math.ceil(bits / 64) * 8), bits };
      const receiver = new BitmapReceiver(bitmap, first.link);
      for (const p of sent) {
        const command = PACKETS[p.packet.type].command;
        receiver.receive(command, p.bytes.subarray(p.link.apv >= 100 ? 16 : 8));
      }
      const useRle = PACKETS[first.packet.type].command === COMMANDS.P_COMPRESSED_BITMAP;
      const sender = new BitmapSender(bitmap, first.link, first.packet.volume, useRle);
      const view = new DataView(new ArrayBuffer(4096));
      for (const p of sent) {
        const size = sender.next(view, 0);
        t.is(hex(new Uint8Array(view.buffer, 0, size)), hex(p.bytes), name);
      }
      t.true(sender.done);
      t.is(sender.next(view, 0), 0);
    }
  }
  t.is(count, BITMAPS_IN_ALL);
});
