/** Sequence numbers, retransmission and acknowledgement (docs/HEARTBEAT.md, transport); generation and UUID files. */
import test from 'ava';
import fc from 'fast-check';
import { Prng } from '../../src/base/prng.js';
import { formatGeneration, nextGeneration, parseGeneration } from '../../src/heartbeat/identity.js';
import { Incoming, type IncomingEffect, MAX_GAP } from '../../src/heartbeat/incoming.js';
import { MAX_HISTORY, Outgoing, type OutgoingEffect } from '../../src/heartbeat/outgoing.js';
import { haFields } from '../../src/wire/hamsg.js';
import { holds } from '../support/property.js';

const message = haFields({ t: 'x' });
/** Draws a fixed number: the trigger and delays are then known. */
const fixed = (n: number) => ({ u32: () => n, bytes: (count: number) => new Uint8Array(count) });

function feed(stream: Incoming, seqs: readonly number[], nowMs = 0, ordered = true) {
  const out: IncomingEffect[] = [];
  const taken = seqs.map((seq) => stream.accept(seq, message, ordered, nowMs, out));
  return { out, taken };
}

function of<T extends IncomingEffect['type']>(out: readonly IncomingEffect[], type: T) {
  return out.filter((e): e is Extract<IncomingEffect, { type: T }> => e.type === type);
}

test('a duplicate is dropped, a missing number that arrives is taken', (t) => {
  const stream = new Incoming(fixed(0), 250);
  const { out, taken } = feed(stream, [1, 2, 2, 1, 5, 3, 3, 4, 5]);
  t.deepEqual(taken, [true, true, false, false, true, true, false, true, false]);
  t.deepEqual(
    of(out, 'deliver').map((e) => e.seq),
    [1, 2, 3, 4, 5],
    'in the order sent',
  );
  t.deepEqual(
    of(out, 'lost').map((e) => [e.count, e.last, e.seq]),
    [[2, 2, 5]],
  );
  t.is(of(out, 'complete').length, 1);
});

// Status messages tell the present: they do not wait for the past.
test('a message that is not ordered is delivered at once', (t) => {
  const { out } = feed(new Incoming(fixed(0), 250), [1, 4], 0, false);
  t.deepEqual(
    of(out, 'deliver').map((e) => e.seq),
    [1, 4],
  );
});

// "first request: random 50..max_rexmit_delay ms after the gap; repeat: every max_rexmit_delay ms"
test('a missing number is asked for after a grace of 50 ms, then every 250 ms, one at a time', (t) => {
  const stream = new Incoming(fixed(0), 250);
  feed(stream, [1, 4]);
  const asked: (readonly [number, number])[] = [];
  for (let nowMs = 0; nowMs <= 700; nowMs += 10) {
    const out: IncomingEffect[] = [];
    stream.tick(nowMs, out);
    for (const e of of(out, 'request')) asked.push([nowMs, e.seq]);
  }
  t.deepEqual(asked, [...[50, 300, 550].flatMap((ms) => [[ms, 2] as const, [ms, 3] as const])]);
});

test('a NAK gives the number up and lets later ones through', (t) => {
  const stream = new Incoming(fixed(0), 250);
  feed(stream, [1, 3]);
  const out: IncomingEffect[] = [];
  t.true(stream.giveUp(2, out));
  t.false(stream.giveUp(2, out), 'once');
  t.deepEqual(
    of(out, 'deliver').map((e) => e.seq),
    [3],
  );
});

test('a gap above 250 forgets everything, and nothing held is lost', (t) => {
  const stream = new Incoming(fixed(0), 250);
  const { out } = feed(stream, [1, 3, 3 + MAX_GAP + 2]);
  t.is(of(out, 'lost-a-lot').length, 1);
  t.deepEqual(
    of(out, 'deliver').map((e) => e.seq),
    [1, 3, 255],
  );
  t.deepEqual(stream.missing, []);
});

// "acknowledges seq mod 10 == trigger, nothing missing below; after a gap the highest of that form below the first missing"
test('acknowledgements are cumulative and never cover a missing number', (t) => {
  holds(
    t,
    fc.property(fc.integer({ min: 0, max: 9 }), fc.integer(), (trigger, seed) => {
      const stream = new Incoming(fixed(trigger), 250);
      const prng = new Prng(seed);
      const order = Array.from({ length: 60 }, (_, i) => i + 1);
      for (let i = 1; i < order.length; i++) {
        if (prng.chance(0.3)) {
          const j = Math.max(1, i - prng.below(5));
          [order[i], order[j]] = [order[j] ?? 0, order[i] ?? 0];
        }
      }
      const seen = new Set<number>();
      let acked = 0;
      for (const seq of order) {
        const { out } = feed(stream, [seq]);
        seen.add(seq);
        for (const e of of(out, 'acknowledge')) {
          if (e.seq % 10 !== trigger || e.seq <= acked) return false;
          acked = e.seq;
          for (let n = 1; n <= e.seq; n++) if (!seen.has(n)) return false;
        }
      }
      return acked > 40;
    }),
  );
});

test('any order with losses repaired delivers every message once, in order', (t) => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 2, max: 40 }), { maxLength: 39 }), (rest) => {
      const stream = new Incoming(fixed(3), 250);
      const first = feed(stream, [1, ...rest]).out;
      const last = feed(stream, stream.missing).out;
      const seqs = [...of(first, 'deliver'), ...of(last, 'deliver')].map((e) => e.seq);
      const top = Math.max(1, ...rest);
      t.deepEqual(
        seqs,
        Array.from({ length: top }, (_, i) => i + 1),
      );
    }),
  );
});

function outgoing(count: number): Outgoing {
  const out = new Outgoing(250);
  for (let i = 0; i < count; i++) {
    const seq = out.next();
    out.remember(seq, haFields({ t: 'x', seq: seq.toString(16) }));
  }
  return out;
}

function ask(o: Outgoing, first: number, last: number, nowMs: number): OutgoingEffect[] {
  const effects: OutgoingEffect[] = [];
  o.requested('b', first, last, nowMs, effects);
  return effects;
}

test('what is asked for is sent again, not more often than every 240 ms, at most 50 at once', (t) => {
  const o = outgoing(100);
  t.is(ask(o, 1, 100, 0).length, 50);
  t.is(ask(o, 1, 1, 239).length, 0);
  t.is(ask(o, 1, 1, 240).length, 1);
});

test('a number that was never sent is refused, one that was acknowledged is passed over', (t) => {
  const o = outgoing(20);
  t.deepEqual(ask(o, 21, 21, 0), [{ type: 'bad-request', node: 'b', seq: 21 }]);
  const effects: OutgoingEffect[] = [];
  o.acknowledged('b', 10, ['b'], effects);
  t.deepEqual(effects, []);
  t.deepEqual(ask(o, 5, 5, 0), []);
  t.is(ask(o, 11, 11, 0)[0]?.type, 'resend');
  o.acknowledged('b', 99, ['b'], effects);
  t.deepEqual(effects, [{ type: 'corrupted-ack', node: 'b', seq: 99 }]);
});

test('the history keeps 500 messages; what has left it is answered by a NAK', (t) => {
  const o = outgoing(MAX_HISTORY + 3);
  t.deepEqual(ask(o, 3, 4, 0), [
    { type: 'nak', node: 'b', seq: 3, info: 'seqno too low' },
    { type: 'resend', message: haFields({ t: 'x', seq: '4' }) },
  ]);
});

// Observed: `     1795219842\n`, 16 bytes; without a file current time + 1.
test('hb_generation is 15 characters and a newline, and only ever rises', (t) => {
  t.is(formatGeneration(1_795_219_842), '     1795219842\n');
  t.is(nextGeneration(null, 1_795_219_841), 1_795_219_842);
  t.is(nextGeneration('     1795219842\n', 5), 1_795_219_843);
  t.is(nextGeneration('garbage', 1000), 1001);
  t.is(parseGeneration('  7\n'), 7);
});
