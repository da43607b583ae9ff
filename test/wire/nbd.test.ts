/** NBD messages against doc/proto.md of the nbd project. */
import test from 'ava';
import fc from 'fast-check';
import {
  cookieHigh,
  cookieLow,
  decodeClientFlags,
  decodeExportQuery,
  decodeOptionHeader,
  encodeExportName,
  encodeExportQuery,
  encodeGreeting,
  encodeOption,
  isRequest,
  nbdError,
  putReply,
  putRequest,
  requestFlags,
  requestLength,
  requestOffset,
  requestType,
} from '../../src/wire/nbd.js';
import { holds } from '../support/property.js';

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

test('the greeting is NBDMAGIC, IHAVEOPT, fixed newstyle and no zeroes', (t) => {
  t.is(Buffer.from(encodeGreeting()).toString('latin1'), 'NBDMAGICIHAVEOPT\0\x03');
});

test('requests are encoded and decoded as inverses', (t) => {
  holds(
    t,
    fc.property(
      fc.nat(0xffff),
      fc.nat(0xffff),
      fc.nat(0xffffffff),
      fc.nat(0xffffffff),
      fc.nat(Number.MAX_SAFE_INTEGER),
      fc.nat(0xffffffff),
      (type, flags, hi, lo, offset, length) => {
        const v = view(new Uint8Array(30));
        putRequest(v, 2, type, flags, hi, lo, offset, length);
        return (
          isRequest(v, 2) &&
          requestType(v, 2) === type &&
          requestFlags(v, 2) === flags &&
          cookieHigh(v, 2) === hi &&
          cookieLow(v, 2) === lo &&
          requestOffset(v, 2) === offset &&
          requestLength(v, 2) === length
        );
      },
    ),
  );
});

test('a reply is magic, error, cookie', (t) => {
  const bytes = new Uint8Array(16);
  putReply(view(bytes), 0, 28, 0x01020304, 0xfffefdfc);
  t.is(Buffer.from(bytes).toString('hex'), '674466980000001c01020304fffefdfc');
});

test('the query of INFO and GO survives, and random bytes never throw', (t) => {
  fc.assert(
    fc.property(fc.string(), fc.array(fc.nat(0xffff), { maxLength: 9 }), (name, infos) => {
      const text = new TextDecoder().decode(new TextEncoder().encode(name)); // lone surrogates
      const query = decodeExportQuery(encodeExportQuery({ name: text, infos }));
      return query?.name === text && query.infos.join() === infos.join();
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      decodeExportQuery(bytes);
      return true;
    }),
  );
  t.is(decodeExportQuery(Uint8Array.from([255, 255, 255, 255, 0, 0])), null);
});

test('options and client flags', (t) => {
  const option = encodeOption(7, Uint8Array.of(1, 2, 3));
  t.deepEqual(decodeOptionHeader(view(option), 0), { option: 7, lengthBytes: 3 });
  t.is(decodeOptionHeader(view(new Uint8Array(16)), 0), null);
  t.is(decodeClientFlags(view(Uint8Array.of(0, 0, 0, 3)), 0), 3);
  t.is(decodeClientFlags(view(Uint8Array.of(0, 0, 0, 4)), 0), null);
  t.is(encodeExportName(1, 1, true).length, 134);
  t.is(encodeExportName(1, 1, false).length, 10);
});

test('errors that NBD does not know become EIO, EROFS becomes EPERM', (t) => {
  t.deepEqual([5, 28, 22, 30, 124, 6].map(nbdError), [5, 28, 22, 1, 5, 5]);
});
