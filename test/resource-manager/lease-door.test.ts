/** The door of a node with an arbiter, row by row: what is known -> what is asked -> what may be done. */
import test from 'ava';
import type { ArbiterAnswer } from '../../src/resource-manager/answers.js';
import { counted, waited } from '../../src/resource-manager/lease.js';
import { LeaseDoor, type LeaseEffect } from '../../src/resource-manager/lease-door.js';
import { Permission, type PermissionEffect } from '../../src/resource-manager/permission.js';

const D = 10_000;
const L = 30_000;
const S = 20_000;
const PEER = 77; // its generation
const LONG_AGO = Number.NEGATIVE_INFINITY;
const GRANTED: ArbiterAnswer = { verdict: 'granted', released: 0 };

class Hand {
  nowMs = 0;
  readonly door: LeaseDoor;
  readonly permission: Permission;
  readonly said: string[] = [];
  /** Requests that went out and have no answer. */
  readonly open: number[] = [];
  readonly fences: number[] = [];

  constructor(stonith = false, inheritedUntilMs = LONG_AGO) {
    const config = { deadtimeMs: D, leaseMs: L, stopLimitMs: S };
    this.door = new LeaseDoor(config, inheritedUntilMs);
    this.permission = new Permission({ peer: 'b', stonith, fenceDelayMs: 0 }, this.door);
  }

  /** Ticks at its own deadlines. */
  until(ms: number): void {
    this.tick();
    for (;;) {
      const dueMs = Math.min(this.door.deadlineMs, this.permission.deadlineMs);
      if (dueMs > ms) break;
      this.nowMs = Math.max(this.nowMs, dueMs);
      this.tick();
    }
    this.nowMs = ms;
    this.tick();
  }

  tick(): void {
    const out: LeaseEffect[] = [];
    this.door.tick(this.nowMs, out);
    this.#lease(out);
    const asked: PermissionEffect[] = [];
    this.permission.tick(this.nowMs, asked);
    this.#permission(asked);
  }

  #lease(out: readonly LeaseEffect[]): void {
    for (const effect of out) {
      if (effect.type === 'arbiter') this.open.push(effect.id);
      else if (effect.type !== 'log') this.said.push(`${this.nowMs} ${effect.type}`);
    }
  }

  #permission(out: readonly PermissionEffect[]): void {
    for (const effect of out) {
      if (effect.type === 'fence') this.fences.push(effect.id);
      if (effect.type === 'permitted') this.said.push(`${this.nowMs} permitted`);
    }
  }

  answer(id: number | undefined, answer: ArbiterAnswer): void {
    const out: LeaseEffect[] = [];
    this.door.arbitrated(id ?? 0, answer, PEER, this.nowMs, out);
    this.#lease(out);
    this.tick();
  }

  /** The latest request is granted, at once. */
  grant(answer = GRANTED): void {
    this.answer(this.open.at(-1), answer);
  }

  peerDies(needed = true): void {
    const out: PermissionEffect[] = [];
    this.permission.ask(1, needed, false, this.nowMs, out);
    this.#permission(out);
    this.tick();
  }

  fenced(answer: 'OK' | 'bad'): void {
    const out: PermissionEffect[] = [];
    this.permission.fenced(this.fences.at(-1) ?? 0, answer, this.nowMs, out);
    this.#permission(out);
  }
}

test('nothing runs, nobody is dead: nobody is asked', (t) => {
  const hand = new Hand();
  hand.until(100_000);
  t.deepEqual([hand.open, hand.said], [[], []]);
});

test('something runs: asked from half of deadtime on, every thirtieth of a lease; without an answer let go, then down', (t) => {
  const hand = new Hand();
  hand.door.provedHeard(0);
  hand.door.holds(true);
  hand.until(counted(D) / 2 - 1);
  t.deepEqual(hand.open, []);
  hand.until(counted(D) - 1);
  t.is(hand.open.length, 5);
  t.deepEqual(hand.said, []);
  hand.until(200_000);
  t.deepEqual(hand.said, [`${counted(D)} stop-all`, `${counted(D) + (S * 3) / 4} die`]);
});

test('granted, it goes on as long as that is renewed, and the watchdog is fed half of stop-limit longer', (t) => {
  const hand = new Hand();
  hand.door.provedHeard(0);
  hand.door.holds(true);
  for (let ms = 6000; ms <= 100_000; ms += 5000) {
    hand.until(ms);
    hand.grant();
  }
  t.deepEqual(hand.said, []);
  const endMs = hand.door.serveUntilMs;
  t.true(endMs > 100_000 && endMs <= 101_000 + counted(L));
  t.true(hand.door.mayFeed(endMs + S / 2 - 1));
  t.false(hand.door.mayFeed(endMs + S / 2));
  hand.door.holds(false);
  t.true(hand.door.mayFeed(endMs + S), 'nothing runs: the machine need not go down');
});

test('dead: asked at once; begun stop-limit after the answer, not before', (t) => {
  const hand = new Hand();
  hand.until(50_000);
  hand.peerDies();
  t.is(hand.open.length, 1);
  hand.until(50_100);
  hand.grant();
  for (let ms = 51_000; ms < 50_100 + waited(S); ms += 1000) {
    hand.until(ms);
    hand.grant();
  }
  hand.until(50_100 + waited(S) - 1);
  t.deepEqual(hand.said, []);
  t.false(hand.door.mayStart(hand.nowMs));
  hand.until(50_100 + waited(S));
  t.deepEqual(hand.said, [`${50_100 + waited(S)} permitted`]);
  t.true(hand.door.mayStart(hand.nowMs));
});

test('a grant that was asked for before the death does not count', (t) => {
  const hand = new Hand();
  hand.door.provedHeard(0);
  hand.door.holds(true);
  hand.until(6000);
  const before = hand.open.at(-1);
  hand.peerDies();
  hand.answer(before, GRANTED);
  hand.until(6100);
  t.false(hand.door.mayFence(hand.nowMs));
  hand.grant();
  t.true(hand.door.mayFence(hand.nowMs));
});

test('the lease is lost while stop-limit is waited for: from the beginning', (t) => {
  const hand = new Hand();
  hand.peerDies();
  hand.grant();
  hand.until(counted(L) + 1000); // longer than stop-limit would be, had it been renewed
  t.deepEqual(hand.said, [`${waited(S)} permitted`]);
  const config = { deadtimeMs: D, leaseMs: 5000, stopLimitMs: S };
  const door = new LeaseDoor(config, LONG_AGO);
  const out: LeaseEffect[] = [];
  door.ask();
  door.tick(0, out);
  door.arbitrated(1, GRANTED, PEER, 0, out);
  t.false(door.mayBegin(waited(S) + 1));
  door.tick(6000, out);
  t.is(door.beginMs, Number.POSITIVE_INFINITY);
  t.false(door.mayBegin(waited(S)));
});

test('released by the latest life of the peer: at once; by an older one: not', (t) => {
  for (const [released, begins] of [
    [PEER, true],
    [PEER - 1, false],
    [0, false],
  ] as const) {
    const hand = new Hand();
    hand.peerDies();
    hand.grant({ verdict: 'granted', released });
    t.is(hand.said.length > 0, begins, `${released}`);
  }
});

test('with a device: refused, nobody is shot; granted, shot at once; reset, nothing is waited for', (t) => {
  const hand = new Hand(true);
  hand.peerDies();
  hand.answer(hand.open.at(-1), { verdict: 'refused', holder: 'b' });
  hand.until(20_000);
  t.deepEqual(hand.fences, []);
  hand.grant();
  t.is(hand.fences.length, 1);
  hand.fenced('bad');
  t.deepEqual(hand.said, []);
  hand.until(25_000);
  t.is(hand.fences.length, 2);
  hand.fenced('OK');
  t.deepEqual(hand.said, ['25000 permitted']);
});

test('a reset that worked after the lease was lost permits nothing', (t) => {
  const hand = new Hand(true);
  hand.peerDies();
  hand.grant();
  t.is(hand.fences.length, 1);
  hand.until(counted(L));
  hand.fenced('OK');
  t.deepEqual(hand.said, []);
});

test('heard again: nothing is begun, and what was begun gives no leave for more', (t) => {
  const hand = new Hand();
  hand.peerDies();
  hand.grant();
  hand.permission.withdraw();
  hand.door.peerHeard();
  hand.until(waited(S) + 1000);
  t.deepEqual(hand.said, []);
  const begun = new Hand();
  begun.peerDies();
  begun.grant();
  begun.until(waited(S));
  begun.grant();
  t.true(begun.door.mayStart(begun.nowMs));
  begun.door.peerHeard();
  t.false(begun.door.mayStart(begun.nowMs));
  begun.door.provedHeard(begun.nowMs - 100);
  t.true(begun.door.mayStart(begun.nowMs));
});

test('a peer without an arbiter: said, and as without', (t) => {
  const hand = new Hand();
  const out: LeaseEffect[] = [];
  hand.door.holds(true);
  hand.door.peerProves(false, out);
  hand.door.peerProves(false, out);
  t.deepEqual(
    out.map((effect) => (effect.type === 'log' ? `${effect.level} ${effect.text}` : effect.type)),
    ['WARN The other node asks no witness: the lease protects nothing.'],
  );
  hand.until(100_000);
  t.deepEqual([hand.said, hand.open], [[], []]);
  t.true(hand.door.mayStart(hand.nowMs) && hand.door.mayFeed(hand.nowMs));
  hand.peerDies();
  t.deepEqual(hand.said, ['100000 permitted']);
});

test('what is resumed may run as long as the life before was sure of, and starts nothing', (t) => {
  const hand = new Hand(false, 5000);
  hand.door.holds(true);
  hand.until(4999);
  t.deepEqual(hand.said, []);
  t.false(hand.door.mayStart(hand.nowMs));
  t.true(hand.open.length > 0, 'it asks at once');
  hand.until(5000);
  t.deepEqual(hand.said, ['5000 stop-all']);
});

test('it left: started with the lease, without waiting; and not without the lease', (t) => {
  const hand = new Hand();
  hand.door.peerLeft();
  t.false(hand.door.mayStart(0));
  hand.peerDies(false);
  hand.door.peerLeft();
  hand.grant();
  t.true(hand.door.mayStart(0));
});
