/** `rx`: what a node says that it has heard, and what that proves to the other one. Only where an arbiter is configured. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { Membership } from '../../src/heartbeat/membership.js';
import type { MembershipConfig, MembershipEffect } from '../../src/heartbeat/membership-types.js';
import { fieldOf, type HaMessage } from '../../src/wire/hamsg.js';

type Proof = Extract<MembershipEffect, { type: 'heard-by-peer' }>;

class Seat {
  readonly membership: Membership;
  readonly out: MembershipEffect[] = [];
  readonly sent: { readonly message: HaMessage; readonly atMs: number }[] = [];
  #seen = 0;

  constructor(node: string, generation: number, nowMs: number, changes: Partial<MembershipConfig>) {
    const random = new Prng(1);
    this.membership = new Membership(
      {
        node,
        nodes: ['a', 'b'],
        pings: [],
        links: ['eth0'],
        uuid: new Uint8Array(16).fill(node === 'a' ? 1 : 2),
        generation,
        generations: new Map(),
        keepaliveMs: 500,
        deadtimeMs: 4000,
        warntimeMs: 2000,
        initdeadMs: 10_000,
        deadpingMs: 4000,
        maxRexmitDelayMs: 250,
        hopfudge: 1,
        proves: true,
        ...changes,
      },
      {
        wallSeconds: () => 1000,
        loadavg: () => '0.00',
        random: { u32: () => random.u32(), bytes: (n) => new Uint8Array(n) },
      },
      nowMs,
    );
    this.membership.start(this.out);
    this.collect(nowMs);
  }

  collect(nowMs: number): HaMessage[] {
    const messages: HaMessage[] = [];
    for (const effect of this.out.slice(this.#seen)) {
      if (effect.type !== 'transmit') continue;
      messages.push(effect.message);
      this.sent.push({ message: effect.message, atMs: nowMs });
    }
    this.#seen = this.out.length;
    return messages;
  }

  get proofs(): Proof[] {
    return this.out.flatMap((effect) => (effect.type === 'heard-by-peer' ? [effect] : []));
  }

  get rx(): (string | null)[] {
    return this.sent
      .filter(({ message }) => fieldOf(message, 't') === 'status')
      .map(({ message }) => fieldOf(message, 'rx'));
  }
}

/** Ticks both each 100 ms; what one sends arrives at the other `delayMs` later, unless it is cut. */
class Two {
  nowMs = 0;
  a: Seat;
  b: Seat;
  delayMs = 20;
  readonly cut = { a: false, b: false };
  #mail: { readonly atMs: number; readonly to: 'a' | 'b'; readonly message: HaMessage }[] = [];

  constructor(a: Partial<MembershipConfig> = {}, b: Partial<MembershipConfig> = {}) {
    this.a = new Seat('a', 5, 0, a);
    this.b = new Seat('b', 7, 0, b);
  }

  runFor(ms: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs += 10;
      const due = this.#mail.filter(({ atMs }) => atMs <= this.nowMs);
      this.#mail = this.#mail.filter(({ atMs }) => atMs > this.nowMs);
      for (const { to, message } of due) {
        this[to].membership.receive(message, 'eth0', this.nowMs, this[to].out);
      }
      for (const [from, to] of [
        ['a', 'b'],
        ['b', 'a'],
      ] as const) {
        if (this.nowMs % 100 === 0) this[from].membership.tick(this.nowMs, this[from].out);
        for (const message of this[from].collect(this.nowMs)) {
          if (!this.cut[from]) this.#mail.push({ atMs: this.nowMs + this.delayMs, to, message });
        }
      }
    }
  }

  /** The latest time of sending that a knows to be heard. */
  get provedMs(): number {
    return Math.max(...this.a.proofs.map(({ sentMs }) => sentMs ?? Number.NEGATIVE_INFINITY));
  }
}

test('without an arbiter no status says it, and none is looked at', (t) => {
  const two = new Two({ proves: false }, { proves: true });
  two.runFor(20_000);
  t.true(two.a.rx.length > 20 && two.a.rx.every((rx) => rx === null));
  t.deepEqual(two.a.proofs, []);
  t.true(two.b.proofs.length > 20 && two.b.proofs.every(({ proves }) => !proves));
});

test('each knows whether the other one has an arbiter, also without one', (t) => {
  const two = new Two({ proves: false }, { proves: true });
  two.runFor(20_000);
  t.true(two.a.membership.nodes.get('b')?.asksArbiter);
  t.false(two.b.membership.nodes.get('a')?.asksArbiter);
});

test('from the first status on: whose and which was heard last; at first none', (t) => {
  const two = new Two();
  t.is(two.a.rx[0], '0.0');
  two.runFor(20_000);
  t.regex(two.a.rx.at(-1) ?? '', /^7\.[0-9a-f]+$/);
  t.true(two.a.proofs.every(({ proves }) => proves));
});

test('it proves when the status was sent, never later, whatever the delay', (t) => {
  for (const delayMs of [10, 300, 1500]) {
    const two = new Two();
    two.delayMs = delayMs;
    two.runFor(20_000);
    const ageMs = two.nowMs - two.provedMs;
    t.true(ageMs >= 2 * delayMs, `${delayMs}: ${ageMs}`);
    t.true(ageMs <= 2 * delayMs + 2 * 500 + 200, `${delayMs}: ${ageMs}`);
  }
});

test('cut in either way, nothing more is proved', (t) => {
  for (const from of ['a', 'b'] as const) {
    const two = new Two();
    two.runFor(20_000);
    const cutMs = two.nowMs;
    two.cut[from] = true;
    two.runFor(3000);
    t.true(two.provedMs <= cutMs, from);
  }
});

test('what was heard of an earlier life proves nothing for this one', (t) => {
  const two = new Two();
  two.runFor(2500);
  two.cut.a = true; // b does not hear of the new life
  two.a = new Seat('a', 6, two.nowMs, {});
  two.runFor(8000); // so long that it has sent a status with the number that b says
  t.true(two.a.proofs.length > 0);
  const seq = two.b.rx.at(-1)?.split('.')[1] ?? null;
  t.true(
    two.a.sent.some(
      ({ message }) => fieldOf(message, 't') === 'status' && fieldOf(message, 'seq') === seq,
    ),
  );
  t.true(two.a.proofs.every(({ sentMs }) => sentMs === null));
});

test('a node that has proved to be heard counts on its deadtime, also at a start with a shorter initdead', (t) => {
  const two = new Two({ deadtimeMs: 9000 }, { initdeadMs: 3000, deadtimeMs: 2000 });
  two.runFor(700);
  two.cut.a = true;
  two.runFor(6000);
  t.false(two.b.out.some((effect) => effect.type === 'node-dead'));
  two.runFor(6000);
  t.true(two.b.out.some((effect) => effect.type === 'node-dead'));
});
