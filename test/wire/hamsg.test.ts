/** The codec of Heartbeat's messages against 676 datagrams of the real daemon, and against any bytes. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import fc from 'fast-check';
import { nodeDigests } from '../../src/real/node-ports.js';
import type { HaField } from '../../src/wire/hamsg.js';
import {
  base64Bytes,
  base64Text,
  decimalOf,
  decodeHaMessage,
  encodeClassic,
  encodeNetstring,
  fieldOf,
  haFields,
  hexOf,
  latin1Bytes,
} from '../../src/wire/hamsg.js';
import {
  cksumCrc,
  haSignature,
  isAuthentic,
  type SigningKeys,
  signClassic,
  signNetstring,
} from '../../src/wire/hamsg-auth.js';
import { holds } from '../support/property.js';

interface Golden {
  readonly capture: string;
  readonly method: 'sha1' | 'md5' | 'crc';
  readonly key: string;
  readonly form: 'netstring' | 'classic';
  readonly fields: readonly (readonly [number, string, string])[];
  readonly inner_ok: boolean | null;
  readonly outer_ok: boolean | null;
  readonly datagram: string;
}

const golden = readFileSync('test/golden/heartbeat/golden.jsonl', 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Golden);

function keysOf(g: Golden, number: number): SigningKeys {
  const key = { number, method: g.method, key: g.key };
  return { current: key, keys: [key] };
}

function numberOf(signature: string): number {
  return Number(signature.split(' ')[0]);
}

test('every golden datagram decodes to the fields that another program found', (t) => {
  t.is(golden.length, 676);
  for (const g of golden) {
    const decoded = decodeHaMessage(Buffer.from(g.datagram, 'base64'));
    if (!decoded.ok) return t.fail(`${g.capture}: ${decoded.text} at ${decoded.offset}`);
    t.is(decoded.form, g.form);
    const found = decoded.message.map((f) =>
      'kind' in f ? [f.kind, f.name, Buffer.from(f.value).toString('hex')] : [0, f.name, f.value],
    );
    t.deepEqual(found, g.fields as unknown as typeof found);
  }
});

test('every golden datagram is encoded again byte for byte', (t) => {
  for (const g of golden) {
    const bytes = Buffer.from(g.datagram, 'base64');
    const decoded = decodeHaMessage(bytes);
    if (!decoded.ok) return t.fail(decoded.text);
    const again =
      g.form === 'netstring'
        ? encodeNetstring(decoded.message, decoded.signature ?? '')
        : encodeClassic(decoded.message);
    // A classic datagram ends with a NUL on UDP.
    const whole =
      g.form === 'classic' && bytes.at(-1) === 0 ? Buffer.concat([again, Buffer.of(0)]) : again;
    t.is(Buffer.from(whole).toString('latin1'), bytes.toString('latin1'), g.capture);
  }
});

test('signatures: ours are the same bytes, and the negative samples are refused', (t) => {
  const seen = { good: 0, bad: 0 };
  for (const g of golden) {
    const bytes = Buffer.from(g.datagram, 'base64');
    const decoded = decodeHaMessage(bytes);
    if (!decoded.ok) return t.fail(decoded.text);
    const named = decoded.signature ?? fieldOf(decoded.message, 'auth') ?? '';
    const keys = keysOf(g, numberOf(named));
    const expected = g.form === 'netstring' ? g.outer_ok : g.inner_ok;
    t.is(isAuthentic(decoded, keys, nodeDigests), expected === true, g.capture);
    if (expected !== true || g.inner_ok === false) {
      seen.bad++;
      continue;
    }
    seen.good++;
    const hasInner = fieldOf(decoded.message, 'auth') !== null;
    const signed =
      g.form === 'netstring'
        ? signNetstring(
            decoded.message.filter((f) => f.name !== 'auth'),
            keys,
            nodeDigests,
            hasInner,
          )
        : signClassic(decoded.message, keys, nodeDigests);
    t.is(
      Buffer.from(signed).toString('latin1'),
      bytes.toString('latin1').replace(/\0$/, ''),
      g.capture,
    );
  }
  t.deepEqual(seen, { good: 662, bad: 14 });
});

// RFC 4231, test case 2: HMAC with the key "Jefe".
test('sha256 and sha512 are the HMACs of these names', (t) => {
  const data = Buffer.from('what do ya want for nothing?');
  for (const [method, digest] of [
    ['sha256', '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'],
    [
      'sha512',
      '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737',
    ],
  ] as const) {
    t.is(haSignature({ number: 3, method, key: 'Jefe' }, nodeDigests, data), `3 ${digest}`);
  }
});

test('a changed byte is noticed by every method with a key', (t) => {
  for (const method of ['sha1', 'md5', 'sha256', 'sha512'] as const) {
    const key = { number: 1, method, key: 'k' };
    const keys = { current: key, keys: [key] };
    const bytes = signNetstring(haFields({ t: 'status', src: 'a' }), keys, nodeDigests, true);
    const good = decodeHaMessage(bytes);
    t.true(good.ok && isAuthentic(good, keys, nodeDigests));
    const at = Buffer.from(bytes).indexOf('status');
    bytes[at] = 'S'.charCodeAt(0);
    const bad = decodeHaMessage(bytes);
    t.true(bad.ok && !isAuthentic(bad, keys, nodeDigests));
  }
});

test('any configured key is accepted, one that is not configured is not', (t) => {
  const one = { number: 1, method: 'sha1', key: 'one' } as const;
  const two = { number: 2, method: 'sha1', key: 'two' } as const;
  const bytes = signNetstring(
    haFields({ t: 'status' }),
    { current: two, keys: [two] },
    nodeDigests,
    true,
  );
  const decoded = decodeHaMessage(bytes);
  if (!decoded.ok) return t.fail();
  t.true(isAuthentic(decoded, { current: one, keys: [one, two] }, nodeDigests));
  t.false(isAuthentic(decoded, { current: one, keys: [one] }, nodeDigests));
});

test('a message without a signature is not authentic', (t) => {
  const keys = keysOf({ method: 'sha1', key: 'k' } as Golden, 1);
  for (const text of ['###\n10:(0)t=status,%%%\n', '>>>\nt=status\n<<<\n']) {
    const decoded = decodeHaMessage(latin1Bytes(text.replace('10:', '11:')));
    t.true(decoded.ok, text);
    if (decoded.ok) t.false(isAuthentic(decoded, keys, nodeDigests), text);
  }
});

// cksum(1): the CRC of "123456789" without its length; 0x765E7680 is CRC-32/CKSUM of the catalogues.
test('crc is that of cksum without the length bytes', (t) => {
  t.is(cksumCrc(latin1Bytes('123456789')), 0x765e7680);
});

test('numbers: seq is hexadecimal, firstseq of NS_rexmit decimal', (t) => {
  const message = haFields({ seq: '1f', firstseq: '31', bad: '0x1' });
  t.is(hexOf(message, 'seq'), 31);
  t.is(decimalOf(message, 'firstseq'), 31);
  t.is(hexOf(message, 'bad'), null);
  t.is(decimalOf(message, 'none'), null);
});

test('what is wrong is said with its offset', (t) => {
  const cases: readonly (readonly [string, number])[] = [
    ['', 0],
    ['hello', 0],
    ['###\n11:(0)t=statu', 4],
    ['###\n011:(0)t=status,%%%\n', 4],
    ['###\n4:(9)t,%%%\n', 6],
    ['###\n11:(0)t=status,', 19],
    ['>>>\nnonsense\n<<<\n', 4],
    ['>>>\n(1)u=***\n<<<\n', 4],
    ['>>>\nt=x\n<<<\nmore', 8],
  ];
  for (const [text, offset] of cases) {
    const decoded = decodeHaMessage(latin1Bytes(text));
    t.false(decoded.ok, text);
    if (!decoded.ok) t.is(decoded.offset, offset, text);
  }
});

test('decoding never throws, whatever arrives', (t) => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc
      .tuple(fc.constantFrom('###\n', '>>>\n', '###\n9:(0)', '>>>\n(1)'), fc.uint8Array())
      .map(([head, rest]) => new Uint8Array([...latin1Bytes(head), ...rest])),
  );
  holds(
    t,
    fc.property(bytes, (b) => typeof decodeHaMessage(b).ok === 'boolean'),
  );
});

test('encode and decode are inverses, in both forms', (t) => {
  const name = fc.stringMatching(/^[a-z_]{1,12}$/).filter((n) => n !== 'auth');
  const field: fc.Arbitrary<HaField> = fc.oneof(
    fc.record({ name, value: fc.stringMatching(/^[ -~\n]{0,40}$/) }),
    fc.record({ name, kind: fc.constant(1 as const), value: fc.uint8Array({ maxLength: 40 }) }),
  );
  const keys = keysOf({ method: 'sha1', key: 'k' } as Golden, 1);
  fc.assert(
    fc.property(fc.array(field, { maxLength: 12 }), (message) => {
      for (const bytes of [
        signNetstring(message, keys, nodeDigests, false),
        encodeClassic(message),
      ]) {
        const decoded = decodeHaMessage(bytes);
        if (!decoded.ok) return false;
        t.deepEqual([...decoded.message], message);
      }
      return true;
    }),
  );
});

test('base64 agrees with that of Node', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
      const text = Buffer.from(bytes).toString('base64');
      t.is(base64Text(bytes), text);
      t.deepEqual(base64Bytes(text), bytes);
    }),
  );
  t.is(base64Bytes('abc'), null);
});
