/** Frames of the client API: what heartbeat 3.0.6 was seen to send, and streams that are none. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { encodeFrame, FrameReader, MAX_FRAME_BYTES } from '../../src/wire/client-frame.js';
import { haFields, latin1Bytes } from '../../src/wire/hamsg.js';

/** `cl_status rscstatus`, as it went over the socket of the original. */
const REQUEST =
  'D\0\0\0\xcd\xab\0\0>>>\nt=hbapi-req\nreqtype=getrsc\ndest=node-a\npid=209\nfrom_id=209\n<<<\n\0';
const FIELDS = haFields({
  t: 'hbapi-req',
  reqtype: 'getrsc',
  dest: 'node-a',
  pid: '209',
  from_id: '209',
});

function read(...chunks: readonly Uint8Array[]) {
  const reader = new FrameReader();
  const found = [];
  for (const chunk of chunks) {
    reader.push(chunk);
    for (let next = reader.next(); next !== null; next = reader.next()) found.push(next);
  }
  return found;
}

function head(length: number, magic = 0xabcd): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(0, length, true);
  new DataView(bytes.buffer).setUint32(4, magic, true);
  return bytes;
}

test('a request of the original, and the same bytes again', (t) => {
  t.deepEqual(read(latin1Bytes(REQUEST)), [{ ok: true, message: FIELDS }]);
  t.deepEqual(encodeFrame(FIELDS), latin1Bytes(REQUEST));
});

test('cut anywhere, and two behind each other', (t) => {
  const bytes = latin1Bytes(REQUEST + REQUEST);
  for (let at = 0; at <= bytes.length; at++) {
    t.is(read(bytes.slice(0, at), bytes.slice(at)).length, 2);
  }
  t.is(read(...[...bytes].map((byte) => Uint8Array.of(byte))).length, 2);
});

test('what is no frame ends the stream: magic, length, content', (t) => {
  const good = latin1Bytes(REQUEST);
  const wrong = [
    head(10, 0x1234),
    head(1 << 30),
    head(MAX_FRAME_BYTES + 1),
    latin1Bytes('\x05\0\0\0\xcd\xab\0\0abcd\0'),
    head(0),
  ];
  for (const bytes of wrong) {
    const found = read(bytes, good);
    t.deepEqual(
      found.map(({ ok }) => ok),
      [false],
    );
  }
});

test('any bytes at all: nothing is thrown, and nothing is kept beyond a frame', (t) => {
  for (let seed = 1; seed <= 300; seed++) {
    const rng = new Prng(seed);
    const bytes = latin1Bytes(REQUEST.repeat(3));
    for (let n = rng.below(5); n >= 0; n--) bytes[rng.below(bytes.length)] = rng.below(256);
    const found = read(bytes);
    t.true(found.length <= 3);
    t.true(found.findIndex(({ ok }) => !ok) === -1 || !found.at(-1)?.ok, 'after an error nothing');
  }
});
