/** The file of the flight recorder: what is written is read again, and whatever is wrong with a file is said with its place. */
import test, { type ExecutionContext } from 'ava';
import { Prng } from '../../src/base/prng.js';
import {
  AT,
  BLOCK_BYTES,
  BLOCK_HEAD_BYTES,
  blocksFor,
  fileBytes,
  HEAD_BYTES,
  R,
} from '../../src/host/flight-format.js';
import { flightJson, parseFlightJson } from '../../src/host/flight-json.js';
import { FlightError, FlightFile } from '../../src/host/flight-read.js';
import { FlightRecorder } from '../../src/host/flight-recorder.js';
import { decodeRuns, encodeRuns, RUNS_BYTES } from '../../src/host/flight-ring.js';
import { flightChecksum } from '../../src/real/flight-files.js';

const START = {
  daemon: 'drbdd',
  version: '1.2.3',
  node: 'alpha',
  life: 'x',
  setup: { pool: null },
} as const;

function recorder(sizeMiB = 0): { memory: Uint8Array; rec: FlightRecorder } {
  const blocks = blocksFor(sizeMiB);
  const memory = new Uint8Array(fileBytes(blocks.coldBlocks, blocks.hotBlocks));
  let wall = 1_000_000;
  const rec = new FlightRecorder(
    { memory, ...blocks, checksum: flightChecksum, wallMs: () => wall++ },
    START,
    5,
  );
  return { memory, rec };
}

function timers(rec: FlightRecorder, from: number, count: number): void {
  for (let i = 0; i < count; i++) {
    rec.begin(5 + from + i, R.TIMER, 0, 0);
    const r = rec.record(R.TIMER, 16);
    r.number(from + i);
    r.commit();
  }
}

test('numbers of every size, texts and bytes come back as they went in', (t) => {
  const { memory, rec } = recorder();
  const numbers = [0, 1, 127, 128, 16_383, 16_384, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1];
  for (const n of numbers) {
    const r = rec.record(R.END, 32);
    r.number(n);
    r.number(0);
    r.commit();
    const s = rec.record(R.LISTEN, 32);
    s.signed(-Math.min(n, 2 ** 52)); // results are errno or sizes
    s.commit();
  }
  const r = rec.record(R.LOG, 100);
  r.byte(2);
  r.text('drbd0');
  r.text('ä ∞');
  r.commit();
  const cursor = FlightFile.read('x', memory, flightChecksum).records();
  for (const n of numbers) {
    t.is(cursor.next().a, n);
    t.is(cursor.next().a, n === 0 ? 0 : -Math.min(n, 2 ** 52));
  }
  const { a, text, text2 } = cursor.next();
  t.deepEqual({ a, text, text2 }, { a: 2, text: 'drbd0', text2: 'ä ∞' });
  t.is(cursor.next().kind, 0);
});

test('records of the data path: numbers on both sides of every limit, and a few bytes', (t) => {
  const limits = [0, 1, 127, 128, 255, 16_383, 16_384, 2 ** 21, 2 ** 28 - 1, 2 ** 28, 2 ** 31 - 1];
  const numbers = [...limits, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1];
  const prng = new Prng(17);
  const any = (): number => numbers[prng.below(numbers.length)] as number;
  const from = new DataView(new ArrayBuffer(512));
  for (let i = 0; i < 512; i++) from.setUint8(i, i * 7);
  for (let round = 0; round < 500; round++) {
    const { memory, rec } = recorder();
    const wanted: (readonly number[])[] = [];
    for (let i = 0; i < 50; i++) {
      const five = [any(), any(), any(), any(), any()] as const;
      const [a, b, c, d, e] = five;
      rec.small().put2(R.DATA, a, b);
      rec.small().put5(R.WRITE, a, b, c, d, e);
      const start = prng.below(64);
      const end = start + prng.below(300);
      rec.small(end - start).putBytes(R.TAKEN, c, d, from, start, end);
      wanted.push([...five, start, end]);
    }
    const cursor = FlightFile.read('x', memory, flightChecksum).records();
    let same = true;
    for (const [a, b, c, d, e, start, end] of wanted) {
      let r = cursor.next();
      same &&= r.kind === R.DATA && r.a === a && r.b === b;
      r = cursor.next();
      same &&= r.kind === R.WRITE && r.a === a && r.b === b && r.c === c && r.d === d && r.e === e;
      r = cursor.next();
      same &&= r.kind === R.TAKEN && r.a === c && r.b === d;
      same &&= r.bytes.length === (end ?? 0) - (start ?? 0);
      same &&= r.bytes.every((x, i) => x === from.getUint8((start ?? 0) + i));
    }
    t.true(same && cursor.next().kind === 0, `round ${round}`);
  }
});

test('a ring that has wrapped keeps the newest records and says that the beginning is gone', (t) => {
  const { memory, rec } = recorder();
  t.false(FlightFile.read('x', memory, flightChecksum).wrapped);
  timers(rec, 0, 150_000);
  const file = FlightFile.read('x', memory, flightChecksum);
  t.true(file.wrapped);
  const cursor = file.records();
  let last = -1;
  let count = 0;
  for (let r = cursor.next(); r.kind !== 0; r = cursor.next()) {
    if (r.kind !== R.TIMER) continue;
    if (last >= 0) t.is(r.a, last + 1);
    last = r.a;
    count++;
  }
  t.is(last, 149_999);
  t.true(count > 20_000);
  t.is(cursor.us, (5 + 149_999) * 1000);
});

test('the cold ring has its times and values', (t) => {
  const { memory, rec } = recorder();
  timers(rec, 0, 10);
  rec.note({ type: 'x', uuid: 0xabcdef0123456789n, bytes: new Uint8Array([1, 255]) });
  const [only] = FlightFile.read('x', memory, flightChecksum).cold;
  t.deepEqual(only?.what, {
    type: 'x',
    uuid: 0xabcdef0123456789n,
    bytes: new Uint8Array([1, 255]),
  });
  t.is(only?.us, 14_000);
});

test('no secret leaves through JSON; bytes come back as bytes, of a Buffer too', (t) => {
  const bytes = Buffer.from('abc');
  t.deepEqual(parseFlightJson(flightJson({ bytes })), { bytes: new Uint8Array(bytes) });
  t.deepEqual(parseFlightJson(flightJson(bytes)), new Uint8Array(bytes));
  const deep = { a: [{ options: { sharedSecret: 'geheim', x: 1n } }] };
  t.false(flightJson(deep).includes('geheim'));
  t.deepEqual(parseFlightJson(flightJson({ sharedSecret: '' })), { sharedSecret: '' });
  t.is(parseFlightJson('{'), null);
});

function refused(t: ExecutionContext, bytes: Uint8Array): FlightError {
  try {
    const cursor = FlightFile.read('file', bytes, flightChecksum).records();
    while (cursor.next().kind !== 0);
  } catch (e) {
    if (e instanceof FlightError) return e;
    throw e;
  }
  t.fail('accepted');
  throw new Error();
}

test('foreign, truncated, of another version: said with the place', (t) => {
  const { memory } = recorder();
  t.is(refused(t, new Uint8Array(100)).code, 'foreign');
  t.is(refused(t, new Uint8Array(0)).code, 'foreign');
  const half = refused(t, memory.subarray(0, 300_000));
  t.is(half.code, 'truncated');
  t.regex(half.message, /ends at byte 300000, \d+ bytes are missing/);
  t.is(refused(t, memory.subarray(0, 2000)).code, 'truncated');

  const other = memory.slice();
  const text = Buffer.from(other.buffer).toString('latin1', 0, HEAD_BYTES);
  const at = text.indexOf('"format":1');
  other[at + 9] = '7'.charCodeAt(0);
  t.is(refused(t, other).code, 'damaged'); // the checksum is looked at first
  const head = text.indexOf('{');
  const view = new DataView(other.buffer);
  const length = view.getUint32(head - 8, true);
  view.setUint32(head - 4, flightChecksum(other.subarray(head, head + length)), true);
  const version = refused(t, other);
  t.is(version.code, 'version');
  t.regex(version.message, /made by twinbeat 1\.2\.3 in format 7; this one reads format 1/);
  t.regex(version.remedy, /twinbeat 1\.2\.3/);
});

// A bit that flips in what is sealed is found, whichever it is; in free space it does not matter.
test('every flipped bit of a sealed block is found', (t) => {
  const { memory, rec } = recorder();
  timers(rec, 0, 30_000);
  rec.note({ type: 'log', text: 'x' });
  rec.stop('end');
  const random = new Prng(7);
  const first = HEAD_BYTES + blocksFor(0).coldBlocks * BLOCK_BYTES;
  for (let i = 0; i < 60; i++) {
    const bytes = memory.slice();
    const at = first + (i < 40 ? i : BLOCK_HEAD_BYTES + random.below(50_000));
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    const e = refused(t, bytes);
    t.is(e.code, 'damaged');
    t.regex(e.message, /^file: byte \d+: /);
    t.true(e.remedy.length > 0);
  }
});

// What a process that was killed wrote last has no checksum yet: any byte of it may be wrong, and none may hang the reader.
test('garbage in the unsealed end is read without harm', (t) => {
  const { memory, rec } = recorder();
  timers(rec, 0, 100);
  const random = new Prng(9);
  const first = HEAD_BYTES + blocksFor(0).coldBlocks * BLOCK_BYTES;
  const view = new DataView(memory.buffer);
  view.setUint32(first + AT.sealed, 0, true);
  let refused = 0;
  for (let i = 0; i < 300; i++) {
    const bytes = memory.slice();
    for (let k = 0; k < 1 + random.below(4); k++) {
      bytes[first + BLOCK_HEAD_BYTES + random.below(400)] = random.below(256);
    }
    try {
      const cursor = FlightFile.read('file', bytes, flightChecksum).records();
      while (cursor.next().kind !== 0);
    } catch (e) {
      t.true(e instanceof FlightError);
      refused++;
    }
  }
  t.true(refused > 0);
});

test('runs: what is encoded is decoded, whatever it is', (t) => {
  const random = new Prng(3);
  const out = new Uint8Array(RUNS_BYTES);
  for (let i = 0; i < 300; i++) {
    const bytes = new Uint8Array(random.below(2000));
    for (let at = 0; at < bytes.length; ) {
      const run = 1 + random.below(random.chance(0.5) ? 3 : 200);
      bytes.fill(random.below(4), at, at + run);
      at += run;
    }
    const end = encodeRuns(bytes, 0, bytes.length, out);
    t.deepEqual(decodeRuns(out.subarray(0, end), bytes.length), bytes);
    t.is(decodeRuns(out.subarray(0, end), bytes.length + 1), null);
    const noise = out.slice(0, end);
    if (end > 0) noise[random.below(end)] = random.below(256);
    decodeRuns(noise, bytes.length);
  }
});
