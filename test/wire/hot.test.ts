import test from 'ava';
import fc from 'fast-check';
import { COMMANDS, commandName, maxDataBytes, maxDiscardBytes } from '../../src/wire/constants.js';
import * as hot from '../../src/wire/hot.js';

function hex(view: DataView, length: number): string {
  return Buffer.from(view.buffer, 0, length).toString('hex');
}
function bytes(text: string): DataView {
  return new DataView(new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex')).buffer);
}
const u32 = fc.nat(0xffffffff);
const u16 = fc.nat(0xffff);
const sector = fc.maxSafeNat();

test('P_PING with the header of version 100', (t) => {
  const view = new DataView(new ArrayBuffer(16));
  t.is(hot.putHeader(view, 0, 101, COMMANDS.P_PING, 0, 0), 16);
  t.is(hex(view, 16), '8620ec20000000130000000000000000');
});

test('P_INITIAL_DATA and P_INITIAL_META with the oldest header', (t) => {
  const view = new DataView(new ArrayBuffer(8));
  hot.putHeader(view, 0, 80, COMMANDS.P_INITIAL_DATA, 0, 0);
  t.is(hex(view, 8), '83740267fff20000');
  hot.putHeader(view, 0, 80, COMMANDS.P_INITIAL_META, 0, 0);
  t.is(hex(view, 8), '83740267fff10000');
});

// Seen between kernels at version 95: a reply of 28696 bytes went as h80, one of 32792 as h95.
test('versions 95 to 99 use h95 only for bodies above 32768 bytes', (t) => {
  const view = new DataView(new ArrayBuffer(8));
  hot.putHeader(view, 0, 95, COMMANDS.P_RS_DATA_REPLY, 0, 32768);
  t.is(hex(view, 8), '8374026700028000');
  hot.putHeader(view, 0, 99, COMMANDS.P_RS_DATA_REPLY, 0, 32792);
  t.is(hex(view, 8), '835a000200008018');
  hot.putHeader(view, 0, 94, COMMANDS.P_RS_DATA_REPLY, 0, 32792);
  t.is(hex(view, 8), '8374026700028018');
  t.throws(() => hot.putHeader(view, 0, 94, COMMANDS.P_DATA, 0, 65536));
  t.throws(() => hot.putHeader(view, 0, 99, COMMANDS.P_DATA, 1, 24));
});

test('a header is read back as it was put, or more bytes are asked for', (t) => {
  const out = hot.newHeader();
  fc.assert(
    fc.property(
      fc.integer({ min: 80, max: 101 }),
      u16,
      u16,
      u32,
      fc.nat(20),
      (apv, command, volumeWanted, lengthWanted, at) => {
        const volume = apv >= 100 ? volumeWanted : 0;
        const length = apv < 95 ? lengthWanted & 0xffff : lengthWanted;
        const view = new DataView(new ArrayBuffer(64));
        const size = hot.putHeader(view, at, apv, command, volume, length);
        t.is(size, hot.headerBytes(apv, length));
        for (let end = at; end < at + size; end++) {
          t.is(hot.readHeader(view, at, end, apv, out), 0);
        }
        t.is(hot.readHeader(view, at, at + size, apv, out), size);
        t.deepEqual(out, { command, volume, length });
      },
    ),
    { numRuns: 200 },
  );
});

test('wrong magic, a used pad and the header of another version are refused', (t) => {
  const out = hot.newHeader();
  const h100 = '8620ec20 0000 0013 00000000 00000000';
  const h80 = '83740267 0013 0000';
  t.is(hot.readHeader(bytes(h100), 0, 16, 101, out), 16);
  t.is(hot.readHeader(bytes(h100), 0, 16, 99, out), hot.REFUSED);
  t.is(hot.readHeader(bytes(`${h80}${h80}`), 0, 16, 100, out), hot.REFUSED);
  t.is(hot.readHeader(bytes(`${h80}${h80}`), 0, 16, 99, out), 8);
  t.is(hot.readHeader(bytes('8620ec20 0000 0013 00000000 00000001'), 0, 16, 101, out), hot.REFUSED);
  t.is(hot.readHeader(bytes('8620ec21 0000 0013 00000000 00000000'), 0, 16, 101, out), hot.REFUSED);
});

// From the recording "plain": a 4 KiB resync reply's first bytes, and its acknowledgement.
test('bodies as the kernel sent them', (t) => {
  const reply = bytes('0000000000000038 ffffffffffffffff 00000000 00000000');
  const data = hot.newData();
  t.is(hot.readData(reply, 0, data), 24);
  t.deepEqual(data, { sector: 0x38, idHi: 0xffffffff, idLo: 0xffffffff, seq: 0, flags: 0 });
  const ack = hot.newBlockAck();
  t.is(hot.readBlockAck(bytes('0000000000000040 ffffffffffffffff 00008000 00000003'), 0, ack), 24);
  t.deepEqual(ack, { sector: 0x40, idHi: 0xffffffff, idLo: 0xffffffff, sizeBytes: 32768, seq: 3 });
});

test('each body is read back as it was put', (t) => {
  const view = new DataView(new ArrayBuffer(64));
  fc.assert(
    fc.property(sector, u32, u32, u32, u32, u32, fc.nat(20), (s, idHi, idLo, a, b, c, at) => {
      const trim = hot.newTrim();
      t.is(hot.putTrim(view, at, s, idHi, idLo, a, b, c), hot.readTrim(view, at, trim));
      t.deepEqual(trim, { sector: s, idHi, idLo, seq: a, flags: b, sizeBytes: c });
      const data = hot.newData();
      t.is(hot.putData(view, at, s, idHi, idLo, a, b), hot.readData(view, at, data));
      t.deepEqual(data, { sector: s, idHi, idLo, seq: a, flags: b });
      const req = hot.newBlockReq();
      t.is(hot.putBlockReq(view, at, s, idHi, idLo, a), hot.readBlockReq(view, at, req));
      t.deepEqual(req, { sector: s, idHi, idLo, sizeBytes: a });
      const ack = hot.newBlockAck();
      t.is(hot.putBlockAck(view, at, s, idHi, idLo, a, b), hot.readBlockAck(view, at, ack));
      t.deepEqual(ack, { sector: s, idHi, idLo, sizeBytes: a, seq: b });
      const desc = hot.newBlockDesc();
      t.is(hot.putBlockDesc(view, at, s, a), hot.readBlockDesc(view, at, desc));
      t.deepEqual(desc, { sector: s, sizeBytes: a });
      const barrier = hot.newBarrier();
      t.is(hot.putBarrier(view, at, a), hot.readBarrier(view, at, barrier));
      t.deepEqual(barrier, { barrier: a });
      const barrierAck = hot.newBarrierAck();
      t.is(hot.putBarrierAck(view, at, a, b), hot.readBarrierAck(view, at, barrierAck));
      t.deepEqual(barrierAck, { barrier: a, setSize: b });
    }),
    { numRuns: 200 },
  );
});

test('a sector at or above 2^53 is refused and leaves the object alone', (t) => {
  const above = bytes('0020000000000000 0000000000000001 00000002 00000003 00000004');
  const below = bytes('001fffffffffffff 0000000000000001 00000002 00000003 00000004');
  const trim = hot.newTrim();
  t.is(hot.readTrim(above, 0, trim), hot.REFUSED);
  t.deepEqual(trim, hot.newTrim());
  t.is(hot.readData(above, 0, hot.newData()), hot.REFUSED);
  t.is(hot.readBlockReq(above, 0, hot.newBlockReq()), hot.REFUSED);
  t.is(hot.readBlockAck(above, 0, hot.newBlockAck()), hot.REFUSED);
  t.is(hot.readBlockDesc(above, 0, hot.newBlockDesc()), hot.REFUSED);
  t.is(hot.readTrim(below, 0, trim), 28);
  t.is(trim.sector, Number.MAX_SAFE_INTEGER);
  t.throws(() => hot.putData(above, 0, 2 ** 53, 0, 0, 0, 0));
  t.throws(() => hot.putData(above, 0, -1, 0, 0, 0, 0));
  t.throws(() => hot.putData(above, 0, 0.5, 0, 0, 0, 0));
});

test('limits and names', (t) => {
  t.deepEqual([86, 94, 95, 99, 100, 101].map(maxDataBytes), [
    32768,
    32768,
    131072,
    131072,
    1 << 20,
    1 << 20,
  ]);
  t.is(maxDiscardBytes(0xf), 134217728);
  t.is(maxDiscardBytes(0xb), 4194304);
  t.is(commandName(0x16), 'P_WRITE_ACK');
  t.is(commandName(0xfffe), 'P_CONNECTION_FEATURES');
  t.is(commandName(0x25), 'command 0x25');
});
