/** The connect machine alone: every step, its time, and what it refuses. docs/PROTOCOL.md#connecting */
import { createHmac } from 'node:crypto';
import test from 'ava';
import { Connect, type ConnectEffect, type ConnectSettings } from '../../src/drbd/connect.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import { putHeader } from '../../src/wire/hot.js';
import { encodePacket } from '../../src/wire/packets.js';
import { settings } from '../support/connect-network.js';
import { readRecording } from '../support/recording.js';

const RANDOM = { u32: () => 0, bytes: (n: number) => new Uint8Array(n) };

/** A machine that has been started; `take` returns what it wanted since the last call. */
function machine(change: Partial<ConnectSettings> = {}) {
  const m = new Connect({ ...settings()[0], ...change }, RANDOM, nodeDigests);
  const out: ConnectEffect[] = [];
  m.start(0, out);
  return { m, out, take: () => out.splice(0) };
}

const FIRST_DATA = new Uint8Array([0x83, 0x74, 0x02, 0x67, 0xff, 0xf2, 0, 0]);
const FIRST_META = new Uint8Array([0x83, 0x74, 0x02, 0x67, 0xff, 0xf1, 0, 0]);

test('dial, call, T_check, question, features: every step and its time', (t) => {
  const { m, out, take } = machine();
  t.deepEqual(take(), [
    { type: 'cstate', conn: 'WFConnection' },
    { type: 'listen' },
    { type: 'dial', timeoutMs: 10_000 },
  ]);
  m.dialFailed(111, 5);
  t.is(m.deadlineMs, 5 + 10_000 - 10_000 / 7); // the coin shows tails
  m.accepted(7, 100, out);
  t.is(m.deadlineMs, 2100); // 4 * ping-timeout for the first packet
  m.received(7, FIRST_DATA.subarray(0, 7), 110, out);
  t.deepEqual(take(), []);
  m.received(7, FIRST_DATA, 120, out);
  t.deepEqual(take(), [
    { type: 'consume', stream: 7, bytes: 8 },
    { type: 'dial', timeoutMs: 10_000 },
  ]);
  m.dialed(8, 130, out);
  t.deepEqual(take(), [{ type: 'send', stream: 8, bytes: FIRST_META }]);
  t.is(m.deadlineMs, 630);
  m.tick(629, out);
  t.deepEqual(take(), []);
  m.tick(630, out);
  t.deepEqual(take(), [{ type: 'askAlive', streams: [7, 8] }]);
  m.alive(7, true, 630, out);
  t.deepEqual(take(), []);
  m.alive(8, true, 630, out);
  const greeted = take();
  t.deepEqual(
    greeted.map((e) => e.type),
    ['stopListen', 'send'],
  );
  t.is(m.deadlineMs, 2630);
  m.tick(2630, out); // nothing came: everything is torn down, and begins anew after a second
  t.deepEqual(take(), [
    { type: 'close', stream: 7 },
    { type: 'close', stream: 8 },
    { type: 'cstate', conn: 'Unconnected' },
  ]);
  t.is(m.deadlineMs, 3630);
  m.tick(3630, out);
  t.is(take()[1]?.type, 'listen');
});

test('a stream that is found dead is closed and waited for again', (t) => {
  const { m, out, take } = machine();
  m.dialed(1, 0, out);
  m.accepted(2, 0, out);
  m.received(2, FIRST_META, 0, out);
  m.tick(500, out);
  take();
  m.alive(1, false, 500, out);
  t.deepEqual(take(), [{ type: 'close', stream: 1 }]);
  m.alive(2, true, 500, out); // the answer to a question that is no longer open
  t.deepEqual(take(), []);
  m.tick(750, out); // half of T_check later, with this randomness
  t.deepEqual(take(), [{ type: 'dial', timeoutMs: 10_000 }]);
});

test('a question that nobody answers is asked again', (t) => {
  const { m, out, take } = machine();
  m.dialed(1, 0, out);
  m.accepted(2, 0, out);
  m.received(2, FIRST_META, 0, out);
  m.tick(500, out);
  take();
  m.tick(1000, out);
  m.tick(1500, out);
  t.deepEqual(take(), [{ type: 'askAlive', streams: [1, 2] }]);
});

test('strangers: bounded in number and time, and none disturbs the attempt', (t) => {
  const { m, out, take } = machine();
  m.dialed(1, 0, out);
  take();
  for (let stream = 100; stream < 120; stream++) m.accepted(stream, 10, out);
  t.deepEqual(
    take(),
    [100, 101, 102, 103].map((stream) => ({ type: 'close', stream })),
  );
  const long = new Uint8Array(10_000);
  long.set([0x83, 0x74, 0x02, 0x67, 0xff, 0xf1, 0xff, 0xff]); // P_INITIAL_META with a body
  m.received(104, long, 20, out);
  m.received(105, new Uint8Array(8), 20, out); // no header
  m.received(106, new Uint8Array([0x83, 0x74, 0x02, 0x67, 0, 0, 0, 24]), 20, out); // P_DATA
  m.streamEnded(107, 20, out);
  t.deepEqual(
    take().filter((e) => e.type === 'close'),
    [104, 105, 106, 107].map((stream) => ({ type: 'close', stream })),
  );
  m.tick(2010, out);
  t.is(take().filter((e) => e.type === 'close').length, 12);
  m.accepted(200, 2020, out);
  m.received(200, FIRST_META, 2020, out); // the peer: the data stream is still there
  t.deepEqual(take(), [{ type: 'consume', stream: 200, bytes: 8 }]);
  t.is(m.deadlineMs, 2520);
});

test('what comes too late is closed', (t) => {
  const { m, out, take } = machine();
  m.stop(out);
  t.deepEqual(take().slice(3), [{ type: 'stopListen' }]);
  m.dialed(1, 10, out);
  m.accepted(2, 10, out);
  t.deepEqual(take(), [
    { type: 'close', stream: 1 },
    { type: 'close', stream: 2 },
  ]);
  m.streamEnded(2, 20, out);
  m.received(1, FIRST_DATA, 20, out);
  m.alive(1, true, 20, out);
  m.tick(30, out);
  t.deepEqual(take(), []);
  t.is(m.deadlineMs, Number.POSITIVE_INFINITY);
});

test('no listening socket ends in StandAlone, an interrupted call in another attempt', (t) => {
  const broken = machine();
  broken.m.listenFailed(98, 0, broken.out);
  t.deepEqual(broken.take().slice(3), [
    { type: 'log', level: 'error', text: 'bind before listen failed, err = -98' },
    { type: 'stopListen' },
    { type: 'log', level: 'warn', text: 'Discarding network configuration.' },
    { type: 'standAlone', reason: 'listen' },
  ]);
  const interrupted = machine();
  interrupted.m.listenFailed(4, 0, interrupted.out);
  t.is(interrupted.m.deadlineMs, 1000);
});

/** A machine in the middle of the handshake, with both streams accepted; data is 1. */
function greeting(change: Partial<ConnectSettings> = {}) {
  const it = machine(change);
  const { m, out } = it;
  m.dialFailed(111, 0);
  m.accepted(1, 0, out);
  m.received(1, FIRST_DATA, 0, out);
  m.accepted(2, 0, out);
  m.received(2, FIRST_META, 0, out);
  m.tick(500, out);
  m.alive(1, true, 500, out);
  m.alive(2, true, 500, out);
  it.take();
  return it;
}

const FEATURES = encodePacket(
  {
    type: 'P_CONNECTION_FEATURES',
    volume: 0,
    body: { protocolMin: 86, features: 0xf, protocolMax: 101, pad: 0 },
  },
  { apv: 80, features: 0 },
);

test('features and what follows in one piece: only the features are consumed', (t) => {
  const { m, out, take } = greeting();
  const bytes = new Uint8Array(FEATURES.length + 41).fill(0x55);
  bytes.set(FEATURES);
  m.received(1, bytes.subarray(0, 30), 510, out);
  t.deepEqual(take(), []);
  m.received(1, bytes, 520, out);
  const effects = take();
  t.deepEqual(
    effects.filter((e) => e.type === 'consume'),
    [{ type: 'consume', stream: 1, bytes: 80 }],
  );
  t.deepEqual(effects.at(-1), {
    type: 'established',
    dataStream: 1,
    metaStream: 2,
    apv: 101,
    features: 15,
    resolveConflicts: true,
    dataConsumed: 88,
    metaConsumed: 8,
  });
});

test('features that are none: StandAlone; a wrong magic or an end: another attempt', (t) => {
  const outcome = (bytes: Uint8Array) => {
    const { m, out, take } = greeting();
    m.received(1, bytes, 510, out);
    const last = take().at(-1);
    if (last?.type === 'standAlone') return last.reason;
    return last?.type === 'cstate' ? last.conn : last?.type;
  };
  t.is(outcome(new Uint8Array([0x83, 0x74, 0x02, 0x67, 0xff, 0xfe, 0, 71])), 'features');
  t.is(outcome(new Uint8Array([0x83, 0x5a, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff])), 'features');
  t.is(outcome(new Uint8Array([0x83, 0x74, 0x02, 0x67, 0, 0x0b, 0, 25])), 'features');
  t.is(outcome(new Uint8Array(8)), 'Unconnected');
  t.is(outcome(FEATURES.subarray(0, 79)), undefined);
});

const AUTH = { cramHmacAlg: 'sha1', sharedSecret: new TextEncoder().encode('secret') };

function authPacket(type: 'P_AUTH_CHALLENGE' | 'P_AUTH_RESPONSE', bytes: Uint8Array): Uint8Array {
  return encodePacket({ type, volume: 0, body: { bytes } }, { apv: 101, features: 0xf });
}

// docs/PROTOCOL.md#vectors: HMAC with key "secret" over 00 01 ... 3f
test('challenge and response, with known values', (t) => {
  const { m, out, take } = greeting(AUTH);
  m.received(1, FEATURES, 510, out);
  const challenge = Uint8Array.from({ length: 64 }, (_, i) => i);
  take();
  m.received(1, authPacket('P_AUTH_CHALLENGE', challenge), 520, out);
  const response = take()[0];
  t.is(
    response?.type === 'send' ? Buffer.from(response.bytes).toString('hex') : '',
    `8620ec20000000110000001400000000${'afe9485a34cf04a78c4f0101a2a08974b912de08'}`,
  );
  const mine = createHmac('sha1', 'secret').update(new Uint8Array(64)).digest(); // RANDOM's challenge
  m.received(1, authPacket('P_AUTH_RESPONSE', mine), 530, out);
  const effects = take();
  t.true(
    effects.some((e) => e.type === 'log' && e.text === 'Peer authenticated using 20 bytes HMAC'),
  );
  t.true(effects.some((e) => e.type === 'established' && e.dataConsumed === 8 + 80 + 80 + 36));
});

test('our own challenge presented back, too long, too short: refused', (t) => {
  const outcome = (packet: Uint8Array) => {
    const { m, out, take } = greeting(AUTH);
    m.received(1, FEATURES, 510, out);
    m.received(1, packet, 520, out);
    const effects = take();
    const last = effects.at(-1);
    const logs = effects.flatMap((e) => (e.type === 'log' ? [e.text] : []));
    return [last?.type, logs.at(-3)];
  };
  const header = (length: number) => {
    const bytes = new Uint8Array(16);
    putHeader(new DataView(bytes.buffer), 0, 101, 0x10, 0, length);
    return bytes;
  };
  t.deepEqual(outcome(authPacket('P_AUTH_CHALLENGE', new Uint8Array(64))), [
    'standAlone',
    'Peer presented the same challenge!',
  ]);
  t.deepEqual(outcome(header(129)), ['standAlone', 'expected AuthChallenge payload too big.']);
  t.deepEqual(outcome(header(0xffffffff)), [
    'standAlone',
    'expected AuthChallenge payload too big.',
  ]);
  t.deepEqual(outcome(header(63)), ['standAlone', 'AuthChallenge payload too small.']);
});

// What the kernels of the recordings said to each other satisfies us, and would not with another secret.
for (const name of ['auth-sha1', 'auth-md5', 'integrity-auth']) {
  test(`recorded challenges and responses: ${name}`, (t) => {
    const alg = name === 'auth-md5' ? 'md5' : 'sha1';
    const challenges = new Map<string, Uint8Array>();
    let checked = 0;
    for (const { packet, from } of readRecording(name)) {
      if (packet.type === 'P_AUTH_CHALLENGE') challenges.set(from, packet.body.bytes);
      if (packet.type !== 'P_AUTH_RESPONSE') continue;
      const asked = challenges.get(from === 'alice' ? 'bob' : 'alice');
      const hmac = nodeDigests.hmac(
        alg,
        new TextEncoder().encode('twinbeat-secret'),
        asked ?? new Uint8Array(),
      );
      t.deepEqual(new Uint8Array(packet.body.bytes), hmac);
      checked++;
    }
    t.true(checked >= 2);
  });
}

/** Dials from 0 ms until `untilMs` when each stream is ended behind its first packet, and the peer is there again every 4 ms. */
function dialsWhileBroken(untilMs: number): number {
  const { m, out, take } = machine({ connectIntMs: 1000 });
  let dials = 0;
  for (let now = 0, stream = 1; now < untilMs; now += 4, stream += 2) {
    for (const effect of take()) {
      if (effect.type !== 'dial') continue;
      dials++;
      m.dialed(stream, now, out);
      m.streamEnded(stream, now + 1, out);
    }
    m.accepted(stream + 1, now + 2, out);
    m.received(stream + 1, FIRST_DATA, now + 2, out);
    m.streamEnded(stream + 1, now + 3, out);
    m.tick(now + 3, out);
  }
  return dials;
}

// Swarm 2400003514@7: each node dialed as soon as it was dialed, 200 times a second.
test('two nodes whose streams are all ended behind the first packet do not dial each other as fast as they can', (t) => {
  t.true(dialsWhileBroken(10_000) < 60);
});
