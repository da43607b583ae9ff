/** The datagram of the witness: there and back, and nothing is believed that its key has not signed. */
import test from 'ava';
import fc from 'fast-check';
import { nodeDigests } from '../../src/real/node-ports.js';
import {
  decodeWitness,
  encodeWitness,
  isAnswerTo,
  MAX_WITNESS_BYTES,
  type WitnessMessage,
} from '../../src/wire/witness.js';
import { holds } from '../support/property.js';

const KEY = new TextEncoder().encode('a key that only three machines have');
const OTHER_KEY = new TextEncoder().encode('a key that they do not have at all');

const REQUEST: WitnessMessage = {
  verb: 'take',
  generation: 1_700_000_001,
  count: 7,
  salt: 0x0123456789abcdefn,
  leaseMs: 30_000,
  released: 0,
  cluster: 'shop',
  node: 'node-a',
  holder: '',
};

const name = fc.stringMatching(/^[\w.:-]{1,64}$/);
const message: fc.Arbitrary<WitnessMessage> = fc.record({
  verb: fc.constantFrom('take', 'renew', 'release', 'granted', 'refused'),
  generation: fc.maxSafeNat(),
  count: fc.maxSafeNat(),
  salt: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  leaseMs: fc.nat(0xffff_ffff),
  released: fc.maxSafeNat(),
  cluster: name,
  node: name,
  holder: fc.oneof(fc.constant(''), name),
});

function keyOf(cluster: string): Uint8Array | null {
  return cluster === 'nobody' ? null : KEY;
}

function decode(bytes: Uint8Array) {
  return decodeWitness(bytes, keyOf, nodeDigests);
}

test('every message comes back as it was', (t) => {
  holds(
    t,
    fc.property(message, (each) => {
      const bytes = encodeWitness(each, KEY, nodeDigests);
      const decoded = decode(bytes);
      t.true(bytes.length <= MAX_WITNESS_BYTES);
      t.deepEqual(decoded, { ok: true, message: each });
    }),
    { numRuns: 500 },
  );
});

test('golden: the bytes do not change with our programs', (t) => {
  const bytes = encodeWitness(REQUEST, KEY, nodeDigests);
  t.is(
    Buffer.from(bytes).toString('hex'),
    `54425754${'01'}${'01'}000000006553f101${'0000000000000007'}0123456789abcdef00007530${'0000000000000000'}` +
      `04${Buffer.from('shop').toString('hex')}06${Buffer.from('node-a').toString('hex')}00` +
      '40b281f173cdc09acbc26ee8a781b87bed8661f935917d7a4be1da18fe417cf7',
  );
});

test('forged: one byte that differs, anywhere, and another key', (t) => {
  const bytes = encodeWitness(REQUEST, KEY, nodeDigests);
  for (let at = 0; at < bytes.length; at++) {
    for (const flip of [1, 0x80]) {
      const forged = bytes.slice();
      forged[at] = (forged[at] as number) ^ flip;
      t.false(decode(forged).ok, `byte ${at}`);
    }
  }
  t.false(decode(encodeWitness(REQUEST, OTHER_KEY, nodeDigests)).ok);
  t.false(decode(encodeWitness({ ...REQUEST, cluster: 'nobody' }, KEY, nodeDigests)).ok);
});

test('truncated or longer, at every length', (t) => {
  const bytes = encodeWitness(REQUEST, KEY, nodeDigests);
  for (let length = 0; length < bytes.length; length++) {
    t.false(decode(bytes.slice(0, length)).ok, `${length} bytes`);
  }
  const longer = new Uint8Array(bytes.length + 1);
  longer.set(bytes);
  t.false(decode(longer).ok);
  t.false(decode(new Uint8Array(65_507)).ok);
});

test('any bytes: an answer, never an exception', (t) => {
  holds(
    t,
    fc.property(fc.uint8Array({ maxLength: MAX_WITNESS_BYTES + 8 }), (bytes) => {
      const whole = Uint8Array.from([0x54, 0x42, 0x57, 0x54, 1, ...bytes]);
      t.false(decode(whole).ok);
      t.false(decode(bytes).ok);
    }),
    { numRuns: 1000 },
  );
});

test('replayed: an answer fits its own request only, and a request is no answer', (t) => {
  const answer: WitnessMessage = { ...REQUEST, verb: 'granted', holder: 'node-a' };
  t.true(isAnswerTo(answer, REQUEST));
  t.true(isAnswerTo({ ...answer, verb: 'refused', holder: 'node-b' }, REQUEST));
  t.false(isAnswerTo(REQUEST, REQUEST));
  t.false(isAnswerTo(answer, { ...REQUEST, count: 8 }));
  t.false(isAnswerTo(answer, { ...REQUEST, salt: 1n }));
  t.false(isAnswerTo(answer, { ...REQUEST, generation: 1_700_000_002 }));
  t.false(isAnswerTo(answer, { ...REQUEST, node: 'node-b' }));
  t.false(isAnswerTo(answer, { ...REQUEST, cluster: 'shop2' }));
});
