/** Messages on a serial line: what the original writes, in pieces of any size, among noise, and with bytes missing. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import {
  decodeHaMessage,
  haFields,
  latin1Bytes,
  latin1Text,
  MAX_MESSAGE_BYTES,
} from '../../src/wire/hamsg.js';
import { isAuthentic, type SigningKey, signNetstring } from '../../src/wire/hamsg-auth.js';
import { SerialFrames, serialForm } from '../../src/wire/hamsg-serial.js';

const key: SigningKey = { number: 1, method: 'sha1', key: 'x' };
const KEYS = { current: key, keys: [key] };
const GOLDEN = new Uint8Array(readFileSync('test/golden/heartbeat/serial.bin'));
const COUNT = 12;

function texts(frames: readonly Uint8Array[]): string[] {
  return frames.map((frame) => latin1Text(frame));
}

function isGood(frame: Uint8Array): boolean {
  const decoded = decodeHaMessage(frame);
  return decoded.ok && isAuthentic(decoded, KEYS, nodeDigests);
}

test('what 3.0.6 wrote: every message is found, authentic, and written by us byte for byte', (t) => {
  const frames = new SerialFrames().push(GOLDEN);
  t.is(frames.length, COUNT);
  t.is(texts(frames).join(''), latin1Text(GOLDEN));
  for (const frame of frames) {
    t.true(isGood(frame));
    const decoded = decodeHaMessage(frame);
    if (!decoded.ok) continue;
    const datagram = signNetstring(decoded.message, KEYS, nodeDigests, true);
    t.is(latin1Text(serialForm(datagram)), latin1Text(frame));
  }
});

test('in pieces of any size', (t) => {
  for (let seed = 1; seed <= 50; seed++) {
    const dice = new Prng(seed);
    const frames = new SerialFrames();
    const found: Uint8Array[] = [];
    for (let at = 0; at < GOLDEN.length; ) {
      const end = at + 1 + (dice.u32() % 400);
      found.push(...frames.push(GOLDEN.subarray(at, end)));
      at = end;
    }
    t.is(texts(found).join(''), latin1Text(GOLDEN), `seed ${seed}`);
  }
});

test('bytes that are lost or wrong cost the messages that they are in, and no other', (t) => {
  const whole = new Set(texts(new SerialFrames().push(GOLDEN)));
  for (let seed = 1; seed <= 200; seed++) {
    const dice = new Prng(seed);
    const at = dice.u32() % GOLDEN.length;
    const bytes = [...GOLDEN];
    if (seed % 2 === 0) bytes.splice(at, 1 + (dice.u32() % 20));
    else bytes[at] = dice.u32() & 255;
    const good = new SerialFrames().push(new Uint8Array(bytes)).filter(isGood);
    t.true(good.length >= COUNT - 2, `seed ${seed}: ${good.length}`);
    for (const text of texts(good)) t.true(whole.has(text), `seed ${seed}`);
  }
});

test('the netstring form, between noise and classic messages', (t) => {
  const message = haFields({ t: 'status', st: 'active', src: 'node-a' });
  const datagram = signNetstring(message, KEYS, nodeDigests, false);
  t.deepEqual(serialForm(datagram), datagram, 'without auth it stays as it is');
  const [first = new Uint8Array(0)] = new SerialFrames().push(GOLDEN);
  const noise = latin1Bytes('login: \xff\n%%%\n<<<\n##\n');
  const frames = new SerialFrames();
  const found = [noise, datagram, first, noise, datagram].flatMap((part) => frames.push(part));
  t.deepEqual(texts(found), texts([datagram, first, datagram]));
  t.true(found.every(isGood));
});

test('noise without an end is not kept', (t) => {
  const frames = new SerialFrames();
  const noise = new Uint8Array(4096).fill(65);
  frames.push(latin1Bytes('>>>\n'));
  for (let i = 0; i < MAX_MESSAGE_BYTES / 4096; i++) t.deepEqual(frames.push(noise), []);
  t.is(frames.push(GOLDEN).filter(isGood).length >= COUNT - 1, true);
});
