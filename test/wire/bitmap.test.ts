import test from 'ava';
import fc from 'fast-check';
import {
  type BitmapBits,
  BitmapReceiver,
  BitmapSender,
  findBit,
  setBits,
} from '../../src/wire/bitmap.js';
import { COMMANDS } from '../../src/wire/constants.js';
import { newHeader, readHeader } from '../../src/wire/hot.js';
import type { WireError } from '../../src/wire/packet.js';

const V101 = { apv: 101, features: 0xf };

function empty(bits: number): { words: Uint8Array; bits: number } {
  return { words: new Uint8Array(Math.ceil(bits / 64) * 8), bits };
}

/** A bitmap from lengths of runs, the first one of clear bits. */
function fromRuns(...runs: number[]): BitmapBits {
  const bitmap = empty(runs.reduce((a, b) => a + b, 0));
  let bit = 0;
  for (const [i, run] of runs.entries()) {
    if (i % 2 === 1) setBits(bitmap.words, bit, bit + run);
    bit += run;
  }
  return bitmap;
}

interface Sent {
  readonly command: number;
  readonly body: Uint8Array;
}

function sendAll(bitmap: BitmapBits, apv: number, useRle: boolean): Sent[] {
  const sender = new BitmapSender(bitmap, { apv, features: 0 }, 0, useRle);
  const view = new DataView(new ArrayBuffer(4096 + 7));
  const out: Sent[] = [];
  for (;;) {
    const size = sender.next(view, 7);
    if (size === 0) break;
    const header = newHeader();
    const headerSize = readHeader(view, 7, 7 + size, apv, header);
    const body = new Uint8Array(view.buffer.slice(7 + headerSize, 7 + size));
    out.push({ command: header.command, body });
  }
  return out;
}

function receiveAll(sent: readonly Sent[], into: BitmapBits, apv: number): BitmapReceiver {
  const receiver = new BitmapReceiver(into, { apv, features: 0 });
  for (const { command, body } of sent) {
    const problem = receiver.receive(command, body);
    if (problem) throw new Error(problem.error);
  }
  return receiver;
}

function hexOf(sent: readonly Sent[]): string[] {
  return sent.map(({ body }) => Buffer.from(body).toString('hex'));
}

// docs/PROTOCOL.md#compressed-bitmap: vectors that were seen between kernels
test('compressed bitmaps as the kernel sends them', (t) => {
  t.deepEqual(hexOf(sendAll(fromRuns(16374), 101, true)), ['327fc51e00']);
  const mixed = fromRuns(0, 128, 1, 1, 7871, 1, 8372);
  t.deepEqual(hexOf(sendAll(mixed, 101, true)), ['a2df13fc38767e063f']);
  t.deepEqual(hexOf(sendAll(fromRuns(100, 28, 16246), 101, true)), ['32dfcc5b7f451e00']);
  t.deepEqual(hexOf(sendAll(fromRuns(1014), 101, true)), ['323fc502']);
  t.deepEqual(hexOf(sendAll(fromRuns(0, 1014), 101, true)), ['b23fc502']);
  const six = fromRuns(10, 1, 39, 3, 647, 8, 306);
  t.deepEqual(hexOf(sendAll(six, 101, true)), ['32179ecd8f55d83f0100']);
  const back = empty(1014);
  t.true(receiveAll(sendAll(six, 101, true), back, 101).done);
  t.deepEqual(back, six);
});

test('plain bitmaps: 510 words a packet with the large header, 511 with the small ones, and an empty one', (t) => {
  const bitmap = fromRuns(0, 600 * 64 - 3);
  const lengths = (sent: readonly Sent[]) => sent.map(({ body }) => body.length);
  t.deepEqual(lengths(sendAll(bitmap, 101, false)), [4080, 720, 0]);
  t.deepEqual(lengths(sendAll(bitmap, 99, false)), [4088, 712, 0]);
  t.deepEqual(lengths(sendAll(fromRuns(64), 89, true)), [8, 0]); // no compression before 90
  t.deepEqual(lengths(sendAll(fromRuns(0), 101, true)), [0]);
});

test('bits that alternate go as plain words, and compression is tried again behind them', (t) => {
  const bitmap = empty(510 * 64 + 100_000);
  for (let bit = 0; bit < 510 * 64; bit += 4) setBits(bitmap.words, bit, bit + 1);
  const sent = sendAll(bitmap, 101, true);
  t.deepEqual(
    sent.map(({ command }) => command),
    [COMMANDS.P_BITMAP, COMMANDS.P_COMPRESSED_BITMAP],
  );
  const back = empty(bitmap.bits);
  const receiver = receiveAll(sent, back, 101);
  t.true(receiver.done);
  t.deepEqual(back, bitmap);
});

// Lines of the kernel's log beside the recordings: 1014 bits.
test('statistics in the words of the kernel', (t) => {
  const line = (sent: number, percent: string) =>
    `send bitmap stats [Bytes(packets)]: plain 0(0), RLE ${sent}(1), total ${sent}; compression: ${percent}%`;
  const stats = (bitmap: BitmapBits, apv: number) => {
    const sender = new BitmapSender(bitmap, { apv, features: 0 }, 0, true);
    sender.next(new DataView(new ArrayBuffer(4096)), 0);
    return sender.progress.stats('send', apv);
  };
  t.is(stats(fromRuns(1014), 101), line(20, '87.5'));
  t.is(stats(fromRuns(1014), 99), line(12, '91.7'));
  t.is(stats(fromRuns(10, 1, 39, 3, 647, 8, 306), 101), line(26, '83.8'));
  const plain = new BitmapSender(fromRuns(1014), { apv: 101, features: 0 }, 0, false);
  while (!plain.done) plain.next(new DataView(new ArrayBuffer(4096)), 0);
  t.is(plain.progress.stats('send', 101), '');
});

/** Bitmaps with runs of very different lengths: some compress, some do not, some do in parts. */
const bitmaps = fc
  .array(
    fc.oneof(
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 60_000 }),
    ),
    { maxLength: 400, size: 'max' },
  )
  .map((runs) => fromRuns(...runs));

test('what is sent is received, whatever the version and the way', (t) => {
  fc.assert(
    fc.property(bitmaps, fc.integer({ min: 86, max: 101 }), fc.boolean(), (bitmap, apv, rle) => {
      const back = empty(bitmap.bits);
      const receiver = receiveAll(sendAll(bitmap, apv, rle), back, apv);
      t.true(receiver.done);
      t.true(Buffer.from(back.words).equals(bitmap.words));
    }),
    { numRuns: 300 },
  );
});

test('long alternating parts: many packets of both kinds', (t) => {
  const bitmap = empty(40 * 32_768);
  for (let part = 0; part < 40; part += 3) {
    for (let bit = part * 32_768 + part; bit < (part + 1) * 32_768; bit += 2 + (part % 5)) {
      setBits(bitmap.words, bit, bit + 1);
    }
  }
  for (const apv of [90, 97, 100]) {
    const sent = sendAll(bitmap, apv, true);
    t.true(sent.some(({ command }) => command === COMMANDS.P_BITMAP));
    t.true(sent.some(({ command }) => command === COMMANDS.P_COMPRESSED_BITMAP));
    const back = empty(bitmap.bits);
    t.true(receiveAll(sent, back, apv).done);
    t.true(Buffer.from(back.words).equals(bitmap.words));
  }
});

test('the receiver ORs', (t) => {
  const ours = fromRuns(0, 10, 1004);
  receiveAll(sendAll(fromRuns(500, 3, 511), 101, true), ours, 101);
  t.deepEqual(ours, fromRuns(0, 10, 490, 3, 511));
  receiveAll(sendAll(fromRuns(600, 3, 411), 101, false), ours, 101);
  t.deepEqual(ours, fromRuns(0, 10, 490, 3, 97, 3, 411));
});

test('bits behind the end are neither sent nor taken', (t) => {
  const dirty = fromRuns(1014);
  dirty.words.fill(0xff, 127);
  dirty.words[126] = 0xc0; // bits 1014 and 1015
  const sent = sendAll(dirty, 101, false);
  t.is(hexOf(sent)[0], '00'.repeat(128));
  t.deepEqual(hexOf(sendAll(dirty, 101, true)), ['323fc502']);
  const back = empty(1014);
  const receiver = new BitmapReceiver(back, V101);
  t.is(receiver.receive(COMMANDS.P_BITMAP, new Uint8Array(128).fill(0xff)), null);
  t.deepEqual(back, fromRuns(0, 1014));
});

test('wrong packets are refused', (t) => {
  const refused = (command: number, body: string, kind: WireError['kind']) => {
    const receiver = new BitmapReceiver(empty(1014), V101);
    const problem = receiver.receive(command, new Uint8Array(Buffer.from(body, 'hex')));
    t.is(problem?.kind, kind);
    t.false(receiver.done);
  };
  refused(COMMANDS.P_BITMAP, '', 'length'); // the end, too early
  refused(COMMANDS.P_BITMAP, '00'.repeat(120), 'length');
  refused(COMMANDS.P_BITMAP, '00'.repeat(136), 'length');
  refused(COMMANDS.P_COMPRESSED_BITMAP, '32', 'length');
  refused(COMMANDS.P_COMPRESSED_BITMAP, '00'.repeat(4081), 'length');
  refused(COMMANDS.P_COMPRESSED_BITMAP, '333fc502', 'value'); // code 3
  refused(COMMANDS.P_COMPRESSED_BITMAP, '327fc51e00', 'value'); // 16374 bits
  refused(COMMANDS.P_COMPRESSED_BITMAP, 'b27fc51e00', 'value'); // set ones, too
  refused(COMMANDS.P_COMPRESSED_BITMAP, '323fc5', 'value'); // cut off
  const receiver = new BitmapReceiver(empty(1014), V101);
  const all = new Uint8Array(Buffer.from('323fc502', 'hex'));
  t.is(receiver.receive(COMMANDS.P_COMPRESSED_BITMAP, all), null);
  t.true(receiver.done);
  t.is(receiver.receive(COMMANDS.P_BITMAP, new Uint8Array(0))?.kind, 'value'); // nothing may follow
});

test('random bytes never throw and never touch what lies outside the bitmap', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.boolean(), fc.uint8Array({ maxLength: 200 })), { maxLength: 8 }),
      fc.integer({ min: 1, max: 3000 }),
      (packets, bits) => {
        const words = new Uint8Array(Math.ceil(bits / 64) * 8 + 64);
        const receiver = new BitmapReceiver({ words, bits }, V101);
        for (const [plain, body] of packets) {
          const command = plain ? COMMANDS.P_BITMAP : COMMANDS.P_COMPRESSED_BITMAP;
          if (!plain && body.length > 0) body[0] = ((body[0] ?? 0) & 0xf0) | 2;
          receiver.receive(command, body);
        }
        t.is(findBit({ words, bits: words.length * 8 }, bits, 1), words.length * 8);
      },
    ),
    { numRuns: 1000 },
  );
});

test('findBit and setBits agree with bit by bit', (t) => {
  fc.assert(
    fc.property(fc.nat(200), fc.nat(200), fc.nat(200), (a, b, from) => {
      const [low, high] = [Math.min(a, b), Math.max(a, b)];
      const bitmap = empty(201);
      setBits(bitmap.words, low, high);
      const bit = (i: number) => ((bitmap.words[i >> 3] ?? 0) >> (i & 7)) & 1;
      for (let i = 0; i < 201; i++) t.is(bit(i), i >= low && i < high ? 1 : 0);
      for (const value of [0, 1] as const) {
        let expected = from;
        while (expected < 201 && bit(expected) !== value) expected++;
        t.is(findBit(bitmap, from, value), expected);
      }
    }),
    { numRuns: 200 },
  );
});
