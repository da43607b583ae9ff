import test from 'ava';
import fc from 'fast-check';
import { BitReader, BitWriter, LEVELS } from '../../src/wire/vli.js';

/** The code word of a run as text, first bit left. */
function bitsOf(run: number): string {
  const bytes = new Uint8Array(16);
  const writer = new BitWriter(bytes, 0, 16);
  if (!writer.putRun(run)) return 'full';
  const count = writer.length * 8 - writer.padBits;
  let text = '';
  for (let i = 0; i < count; i++) text += ((bytes[i >> 3] ?? 0) >> (i & 7)) & 1;
  return text;
}

// docs/PROTOCOL.md#compressed-bitmap
test('code words, first bit left', (t) => {
  t.is(bitsOf(1), '00');
  t.is(bitsOf(2), '01');
  t.is(bitsOf(3), '100');
  t.is(bitsOf(5), '11000');
  t.is(bitsOf(17), '1111000000');
  t.is(bitsOf(16374), '11111110101000110111100000000');
});

test('levels are next to each other, and a word of each has its length', (t) => {
  const lengths = [2, 3, 5, 7, 10, 14, 21, 29, 42, 64];
  for (const [i, level] of LEVELS.entries()) {
    const next = LEVELS[i + 1];
    if (next) t.is(level.first + 2 ** level.dataBits, next.first);
    const length = lengths[i] ?? 0;
    t.is(bitsOf(level.first).length, length);
    if (next) t.is(bitsOf(next.first - 1).length, length);
  }
  t.is(bitsOf(Number.MAX_SAFE_INTEGER).length, 64);
  t.throws(() => bitsOf(0));
  t.throws(() => bitsOf(1.5));
});

const run = fc.oneof(
  fc.integer({ min: 1, max: 400 }),
  fc.integer({ min: 1, max: 20_000_000_000 }),
  fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
);

test('runs are read back as they were put, at any alignment', (t) => {
  fc.assert(
    fc.property(fc.array(run, { maxLength: 60 }), fc.nat(3), (runs, start) => {
      const bytes = new Uint8Array(600).fill(0xff);
      const writer = new BitWriter(bytes, start, 600);
      for (const r of runs) t.true(writer.putRun(r));
      const reader = new BitReader(bytes, start, start + writer.length, writer.padBits);
      const back: number[] = [];
      while (!reader.atEnd) back.push(reader.getRun());
      t.deepEqual(back, runs);
    }),
  );
});

test('a word that does not fit is not begun', (t) => {
  const bytes = new Uint8Array(3);
  const writer = new BitWriter(bytes, 0, 2);
  t.true(writer.putRun(49)); // 14 bits
  t.false(writer.putRun(3)); // 3 bits
  t.true(writer.putRun(2)); // the last 2 bits
  t.is(writer.length, 2);
  t.is(writer.padBits, 0);
  t.false(writer.putRun(1));
  t.is(bytes[2], 0);
});

test('a word that is cut off gives 0, at every place', (t) => {
  for (const r of [1, 3, 5, 9, 17, 49, 305, 8497, 2105649, 17181974833]) {
    const length = bitsOf(r).length;
    const bytes = new Uint8Array(8);
    new BitWriter(bytes, 0, 8).putRun(r);
    for (let cut = 1; cut < length; cut++) {
      const end = Math.ceil(cut / 8);
      t.is(new BitReader(bytes, 0, end, end * 8 - cut).getRun(), 0, `${r} cut to ${cut} bits`);
    }
  }
  // 64 ones: a run of 2^56 + 17181974832
  t.is(new BitReader(new Uint8Array(8).fill(0xff), 0, 8, 0).getRun(), 0);
});
