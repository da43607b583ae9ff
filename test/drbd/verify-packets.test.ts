/** The packets of an online verify: those of a kernel, and what older versions make of it. docs/PROTOCOL.md, online verify. */
import test from 'ava';
import { DEFAULT_DISK_OPTIONS } from '../../src/config/drbd-options.js';
import { COMMANDS } from '../../src/wire/constants.js';
import { packetsSent, type SentPacket } from '../support/packets-sent.js';
import { readRecording } from '../support/recording.js';
import type { SimPair } from '../support/sim-pair.js';
import { begin, bits, verifiable, verifyAll } from '../support/verify-pair.js';

const ALPHA = '10.1.0.1';
const { P_OV_REQUEST, P_OV_REPLY, P_OV_RESULT, P_STATE, P_STATE_CHG_REQ } = COMMANDS;
const VERIFY = new Set<number>([P_OV_REQUEST, P_OV_REPLY, P_OV_RESULT]);

/** How many blocks were asked for at a time: runs of requests without an answer in between. */
function turns(commands: readonly number[]): number[] {
  const found: number[] = [];
  let count = 0;
  for (const command of commands) {
    if (command === P_OV_REQUEST) count++;
    else if (VERIFY.has(command) && count > 0) {
      found.push(count);
      count = 0;
    }
  }
  return found;
}

const hex = (p: SentPacket): string =>
  Buffer.from(p.body.buffer, p.body.byteOffset, p.body.byteLength).toString('hex');

// The kernel's second verify: 1014 bits, all defaults, sector 240 differs. Answers came within each turn but for a few.
test('asked for, answered and compared as a kernel does: packets, order, pace', (t) => {
  const recorded = readRecording('csums-verify').map((p) => ({
    command: COMMANDS[p.packet.type as keyof typeof COMMANDS] as number,
    from: p.from,
    body: Buffer.from(p.bytes.subarray(16)),
  }));
  const second = recorded.findLastIndex(
    (p) => p.command === P_STATE_CHG_REQ && p.body.toString('hex') === '000001f000000120',
  );
  const kernel = recorded.slice(second);
  const { resyncRateKiBps, cPlanAheadDs } = DEFAULT_DISK_OPTIONS;
  const pair = verifiable(1, { disk: { resyncRateKiBps, cPlanAheadDs }, sizeBytes: 4 << 20 });
  const { alpha, beta } = pair;
  beta.disk.corrupt(240);
  const ours = packetsSent(pair, 101);
  verifyAll(pair, alpha);
  t.deepEqual(
    turns(ours.map((p) => p.command)).slice(0, 15),
    turns(kernel.map((p) => p.command)).slice(0, 15),
  );
  const asked = (list: readonly { command: number; body: unknown }[]) =>
    list.filter((p) => p.command === P_OV_REQUEST).length;
  t.is(asked(ours), Math.ceil(alpha.volume.sizeSectors / 8));
  t.is(asked(kernel), 1014);
  // Each kind of packet has the kernel's body for the same block. The sequence number goes on from the start of the connection.
  const kernels = (command: number, sector: number): string =>
    kernel
      .find((p) => p.command === command && p.body.readBigUInt64BE(0) === BigInt(sector))
      ?.body.toString('hex') ?? 'none';
  const of = (command: number, sector: number) => {
    const p = ours.find((o) => o.command === command && o.body.getBigUint64(0) === BigInt(sector));
    if (!p) throw new Error(`no packet ${command} for sector ${sector}`);
    return p;
  };
  const PAD = 20; // the kernel's is not defined
  for (const sector of [0, 8, 240, 8000]) {
    t.is(
      hex(of(P_OV_REQUEST, sector)).slice(0, PAD * 2),
      kernels(P_OV_REQUEST, sector).slice(0, PAD * 2),
    );
    t.is(hex(of(P_OV_RESULT, sector)).slice(0, 40), kernels(P_OV_RESULT, sector).slice(0, 40));
    t.is(of(P_OV_REPLY, sector).body.byteLength, 28);
  }
  t.is(of(P_OV_RESULT, 240).body.getBigUint64(8), 4712n);
  t.is(of(P_OV_RESULT, 248).body.getBigUint64(8), 4711n);
  // The digest of a block of zeroes is the one that the kernel sent (little-endian crc32c).
  const zeroes = kernels(P_OV_REPLY, 8000).slice(48);
  t.is(hex(of(P_OV_REPLY, 8000)).slice(48), zeroes);
  t.is(zeroes, '8941f998');
  // It says that it has ended, as the kernel: Connected, nothing else.
  pair.run(100);
  const states = (list: readonly SentPacket[]) =>
    list.filter((p) => p.command === P_STATE).map(hex);
  t.deepEqual(states(ours.filter((p) => p.from === ALPHA)), ['000110a9']);
  t.deepEqual(states(ours.filter((p) => p.from !== ALPHA)), []);
});

test('the digest is that of verify-alg, whatever its size', (t) => {
  for (const [verifyAlg, bytes] of [
    ['md5', 16],
    ['sha1', 20],
    ['sha512', 64],
  ] as const) {
    const pair = verifiable(2, { net: { verifyAlg }, sizeBytes: 1 << 20 });
    pair.beta.disk.corrupt(80);
    const sent = packetsSent(pair, 101);
    verifyAll(pair, pair.alpha);
    const sizes = sent.filter((p) => p.command === P_OV_REPLY).map((p) => p.body.byteLength);
    t.deepEqual([...new Set(sizes)], [24 + bytes]);
    for (const n of [pair.alpha, pair.beta]) t.deepEqual(bits(n), [10]);
  }
});

test('a connection with data-integrity-alg, and two seats one after the other', (t) => {
  const pair = verifiable(3, { net: { dataIntegrityAlg: 'sha1' }, sizeBytes: 1 << 20 });
  const { alpha, beta } = pair;
  beta.disk.corrupt(80);
  for (const n of [alpha, beta, alpha]) {
    verifyAll(pair, n);
    for (const m of [alpha, beta]) t.deepEqual(bits(m), [10]);
  }
});

const old = (protocolMax: number): SimPair =>
  verifiable(protocolMax, { dialect: { protocolMax, features: 0 }, sizeBytes: 1 << 20 });

test('older versions: 88 and later compare, from 90 on from any sector, 97 to 99 and 101 up to any', (t) => {
  for (const version of [88, 89, 90, 94, 95, 97, 99, 100, 101]) {
    const pair = old(version);
    const { alpha, beta } = pair;
    for (const sector of [0, 800, 1600]) beta.disk.corrupt(sector);
    const startsAnywhere = version >= 90;
    const stopsAnywhere = version >= 97 && version !== 100;
    const started = begin(alpha, 800, null);
    t.is(started.code, startsAnywhere ? 1 : -17, `${version}`);
    if (startsAnywhere) {
      pair.settled();
      pair.run(100);
      for (const n of [alpha, beta]) t.deepEqual(bits(n), [100, 200], `${version} ${n.name}`);
    } else t.regex(started.info.join(), /the peer speaks protocol version 8[89]/);
    const stopped = begin(beta, null, 8);
    t.is(stopped.code, stopsAnywhere ? 1 : -17, `${version}`);
    if (stopsAnywhere) {
      pair.settled();
      pair.run(100);
      for (const n of [alpha, beta]) t.deepEqual(bits(n), [0, 100, 200], `${version} ${n.name}`);
    }
    verifyAll(pair, beta);
    if (stopsAnywhere) verifyAll(pair, beta);
    for (const n of [alpha, beta]) t.deepEqual(bits(n), [0, 100, 200], `${version} ${n.name}`);
    alpha.disconnect();
    alpha.connect();
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});

test('87 and earlier know no verify', (t) => {
  for (const version of [86, 87]) {
    const pair = old(version);
    t.like(begin(pair.alpha), { kind: 'state', code: -17 });
    t.like(begin(pair.beta), { kind: 'state', code: -17 });
    pair.settled();
  }
});

// A kernel's end reads a block as soon as it is asked for, or its digest arrives: it does not wait for writes that came before.
for (const protocol of ['A', 'B', 'C'] as const) {
  for (const seat of ['alpha', 'beta'] as const) {
    test(`the Primary names a block when its writes to it are on the peer's disk: protocol ${protocol}, asked for on ${seat}`, (t) => {
      const pair = verifiable(4, {
        net: { protocol },
        disk: { resyncRateKiBps: 1000 },
        sizeBytes: 1 << 20,
      });
      const { alpha } = pair;
      const sent = packetsSent(pair, 101);
      t.is(begin(pair[seat]).kind, 'ok');
      const tags: number[] = [];
      for (let i = 0; /Verify/.test(alpha.shown); i++) {
        for (const at of [(i * 37) % 240, (i * 3) % 240]) {
          tags.push(alpha.beginWrite(at * 8, new Uint8Array(4096).fill(i)));
        }
        while (tags.length > 30) t.is(alpha.answer(tags.shift() as number), 0);
        pair.run(2);
      }
      for (const tag of tags) t.is(alpha.answer(tag), 0);
      pair.run(1000);
      const open: { sector: bigint; epoch: number | null }[] = []; // not known to be on beta's disk
      const answered = new Set<bigint>(); // and not compared
      let named = 0;
      let writes = 0;
      for (const { from, command, body } of sent) {
        if (command === COMMANDS.P_DATA) {
          writes++;
          const sector = body.getBigUint64(0);
          if (answered.has(sector)) t.fail(`sector ${sector} is written before it is compared`);
          open.push({ sector, epoch: null });
        } else if (command === COMMANDS.P_BARRIER) {
          for (const w of open) w.epoch ??= body.getUint32(0);
        } else if (command === COMMANDS.P_BARRIER_ACK) {
          const epoch = body.getUint32(0);
          open.splice(0, open.length, ...open.filter((w) => w.epoch !== epoch));
        } else if (command === COMMANDS.P_WRITE_ACK) {
          const i = open.findIndex((w) => w.sector === body.getBigUint64(0));
          if (i >= 0) open.splice(i, 1);
        } else if (from === ALPHA && (command === P_OV_REQUEST || command === P_OV_REPLY)) {
          named++;
          const sector = body.getBigUint64(0);
          if (open.some((w) => w.sector === sector)) t.fail(`sector ${sector}`);
          if (command === P_OV_REPLY) answered.add(sector);
        } else if (command === P_OV_RESULT) {
          answered.delete(body.getBigUint64(0));
        }
      }
      t.is(named, Math.ceil(alpha.volume.sizeSectors / 8));
      t.true(writes > 500, `${writes} writes`);
    });
  }
}
