/** dopd: what it asks of the other node, once and again, and which answer it believes (docs/IPFAIL.md). */
import test from 'ava';
import { Dopd } from '../../src/host/dopd.js';
import type { TimerId } from '../../src/host/timers.js';
import { fieldOf, type HaMessage, haFields } from '../../src/wire/hamsg.js';

class Hand {
  status = 'active';
  generation = 7;
  readonly sent: HaMessage[] = [];
  readonly logged: string[] = [];
  readonly exits: number[] = [];
  readonly #timers = new Map<TimerId, () => void>();
  readonly dopd = new Dopd({
    peer: 'b',
    generation: 100,
    timers: {
      after: (_ms, run) => {
        const id = {} as TimerId;
        this.#timers.set(id, run);
        return id;
      },
      cancel: (id) => void this.#timers.delete(id),
    },
    peerState: () => ({ status: this.status, generation: this.generation }),
    send: (message) => this.sent.push(message),
    runDrbdadmOutdate: () => {},
    log: (_level, text) => this.logged.push(text),
  });

  ask(resource = 'r0'): void {
    this.dopd.outdate('b', resource, 5000, (exit) => this.exits.push(exit));
  }

  /** The askers' time is over. */
  timeOut(): void {
    for (const run of [...this.#timers.values()]) run();
  }

  get timers(): number {
    return this.#timers.size;
  }

  hear(fields: Readonly<Record<string, string>>): void {
    this.dopd.receive(haFields(fields));
  }

  /** As the original: without a number. */
  answer(value: number, resource = 'r0'): void {
    this.hear({ t: 'outdate_rc', dop_value: String(value), dop_res: resource });
  }

  join(from = 'dopd'): void {
    this.hear({ t: 'hbapi-clstat', st: 'join', from_id: from, to_id: from, info: 'signon' });
  }

  /** Numbers of the requests that were sent. */
  get asked(): (string | null)[] {
    return this.sent
      .filter((m) => fieldOf(m, 't') === 'start_outdate')
      .map((m) => fieldOf(m, 'dop_id'));
  }
}

// The original's dopd crashes after each program that it served and is back a second later; what comes meanwhile is lost.
test('the other’s dopd starts anew while its answer is waited for: it is asked again', (t) => {
  const hand = new Hand();
  hand.ask();
  hand.join('ipfail');
  t.deepEqual(hand.asked, ['100.1']);
  hand.join();
  t.deepEqual(hand.asked, ['100.1', '100.1']);
  hand.answer(4);
  t.deepEqual(hand.exits, [4]);
  hand.join();
  t.is(hand.asked.length, 2, 'nobody waits any more');
  t.is(hand.timers, 0);
});

test('an original’s answer to an earlier request is not taken for one to this', (t) => {
  const hand = new Hand();
  hand.ask();
  hand.timeOut();
  hand.ask();
  t.deepEqual(hand.exits, [5]);
  hand.answer(4); // to the first: the disk may have been resynchronised since
  t.deepEqual(hand.exits, [5]);
  t.regex(hand.logged.at(-1) ?? '', /^late answer about r0 ignored: 4$/);
  hand.answer(6);
  t.deepEqual(hand.exits, [5, 6]);
});

test('what a dopd that is gone was asked, its successor does not answer', (t) => {
  const hand = new Hand();
  hand.ask();
  hand.timeOut();
  hand.join();
  hand.ask();
  hand.answer(4);
  t.deepEqual(hand.exits, [5, 4]);
});

test('requests about several resources are counted apart', (t) => {
  const hand = new Hand();
  hand.ask('r0');
  hand.timeOut();
  hand.ask('r1');
  hand.answer(4, 'r1');
  t.deepEqual(hand.exits, [5, 4]);
});

test('an answer with a number is taken by it', (t) => {
  const hand = new Hand();
  hand.ask();
  hand.timeOut();
  hand.ask();
  hand.hear({ t: 'outdate_rc', dop_value: '4', dop_res: 'r0', dop_id: '100.1' });
  t.deepEqual(hand.exits, [5]);
  hand.hear({ t: 'outdate_rc', dop_value: '4', dop_res: 'r0', dop_id: '100.2' });
  t.deepEqual(hand.exits, [5, 4]);
});

test('the other node dies: unreachable at once, not when the time is over', (t) => {
  const hand = new Hand();
  hand.ask();
  hand.dopd.look();
  t.deepEqual(hand.exits, []);
  hand.status = 'dead';
  hand.dopd.look();
  t.deepEqual(hand.exits, [5]);
  t.is(hand.timers, 0);
});

test('the other heartbeat restarts: it is asked again when it is active, unless its dopd says that it joins', (t) => {
  const hand = new Hand();
  hand.ask();
  hand.generation++;
  hand.status = 'init';
  hand.dopd.look();
  t.deepEqual(hand.exits, []);
  t.is(hand.asked.length, 1);
  hand.status = 'active';
  hand.dopd.look();
  hand.dopd.look();
  t.is(hand.asked.length, 2);
  hand.answer(4);
  t.deepEqual(hand.exits, [4]);
  hand.join();
  hand.ask();
  hand.generation++;
  hand.dopd.look();
  t.is(hand.asked.length, 3);
  hand.join();
  t.is(hand.asked.length, 4);
});

test('no such node, this one, one that is dead: unreachable without asking', (t) => {
  const hand = new Hand();
  hand.dopd.outdate('c', 'r0', 5000, (exit) => hand.exits.push(exit));
  hand.status = 'dead';
  hand.ask();
  t.deepEqual(hand.exits, [5, 5]);
  t.deepEqual(hand.sent, []);
});
