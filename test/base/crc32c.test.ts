import test from 'ava';
import { crc32c, crc32cRaw } from '../../src/base/crc32c.js';

test('the check value of RFC 3720', (t) => {
  t.is(crc32c(Buffer.from('123456789')), 0xe3069283);
  t.is(crc32c(new Uint8Array(32)), 0x8a9136aa); // RFC 3720 B.4: 32 bytes of zeroes
});

test('a split buffer gives the same register', (t) => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) & 255);
  const whole = crc32cRaw(bytes, 0, 1000, 0);
  t.is(crc32cRaw(bytes, 333, 1000, crc32cRaw(bytes, 0, 333, 0)), whole);
});
