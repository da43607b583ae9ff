/** Children of ha.cf: `respawn` and `failfast` lines, as heartbeat 3.0.6 was seen to treat them. */
import test from 'ava';
import type { RespawnClient } from '../../src/config/ha-cf.js';
import { type ChildEnd, Respawn, type RespawnEffect } from '../../src/host/respawn.js';

const client = (path: string, failfast = false): RespawnClient => ({
  user: 'hacluster',
  path,
  args: [],
  failfast,
});
const A = client('/bin/a');
const B = client('/bin/b');
const C = client('/bin/c');
const exit = (status: number): ChildEnd => ({
  pid: 7,
  status,
  how: `exited with return code ${status}.`,
});

/** The machine at a clock, and what it did: `start a`, `SIGTERM 1`, `reboot`, `stopped`. */
class Hand {
  readonly machine = new Respawn();
  readonly logs: string[] = [];
  nowMs = 0;
  #ids = new Map<string, number>();

  #read(out: readonly RespawnEffect[]): string[] {
    return out.flatMap((effect) => {
      if (effect.type === 'log') {
        this.logs.push(`${effect.level} ${effect.text}`);
        return [];
      }
      if (effect.type === 'start') {
        const name = effect.client.path.slice(5);
        this.#ids.set(name, effect.id);
        return [`start ${name}`];
      }
      if (effect.type !== 'signal') return [effect.type];
      const [name] = [...this.#ids].find(([, id]) => id === effect.id) ?? [];
      return [`${effect.signal} ${name}`];
    });
  }

  do(work: (machine: Respawn, nowMs: number, out: RespawnEffect[]) => void): string[] {
    const out: RespawnEffect[] = [];
    work(this.machine, this.nowMs, out);
    return this.#read(out);
  }

  start(...lines: RespawnClient[]): string[] {
    return this.do((m, nowMs, out) => {
      m.configure(lines, nowMs, out);
      m.start(nowMs, out);
    });
  }

  ended(name: string, end: ChildEnd): string[] {
    return this.do((m, nowMs, out) => m.ended(this.#ids.get(name) ?? 0, end, nowMs, out));
  }

  /** To its deadline, and what is done then. */
  next(): string[] {
    this.nowMs = this.machine.deadlineMs;
    return this.do((m, nowMs, out) => m.tick(nowMs, out));
  }
}

test('they start in the order of ha.cf when communication is up, and not before', (t) => {
  const hand = new Hand();
  t.deepEqual(
    hand.do((m, nowMs, out) => m.configure([A, B], nowMs, out)),
    [],
  );
  t.deepEqual(
    hand.do((m, nowMs, out) => m.start(nowMs, out)),
    ['start a', 'start b'],
  );
  t.deepEqual(
    hand.do((m, nowMs, out) => m.start(nowMs, out)),
    [],
    'the next life',
  );
});

test('the last one ends first, one after the other', (t) => {
  const hand = new Hand();
  hand.start(A, B);
  t.deepEqual(
    hand.do((m, nowMs, out) => m.stop(nowMs, out)),
    ['SIGTERM b'],
  );
  t.deepEqual(hand.ended('b', exit(0)), ['SIGTERM a']);
  t.deepEqual(hand.ended('a', exit(0)), ['stopped']);
  t.deepEqual(
    hand.do((m, nowMs, out) => m.start(nowMs, out)),
    ['start a', 'start b'],
    'a new start after a partition',
  );
});

test('one that takes no notice of TERM is killed', (t) => {
  const hand = new Hand();
  hand.start(A);
  hand.do((m, nowMs, out) => m.stop(nowMs, out));
  t.deepEqual(hand.next(), ['SIGKILL a']);
  t.is(hand.nowMs, 10_000);
  t.is(hand.machine.deadlineMs, Number.POSITIVE_INFINITY);
  t.deepEqual(hand.ended('a', { pid: 7, status: null, how: 'killed by signal 9.' }), ['stopped']);
});

test('communication that is up again before all have ended: they start after that', (t) => {
  const hand = new Hand();
  hand.start(A);
  hand.do((m, nowMs, out) => m.stop(nowMs, out));
  t.deepEqual(
    hand.do((m, nowMs, out) => m.start(nowMs, out)),
    [],
  );
  t.deepEqual(hand.ended('a', exit(0)), ['stopped', 'start a']);
});

test('nothing to stop is stopped', (t) => {
  t.deepEqual(
    new Hand().do((m, nowMs, out) => m.stop(nowMs, out)),
    ['stopped'],
  );
});

test('one that ends is started again a second later', (t) => {
  const hand = new Hand();
  hand.start(A);
  hand.nowMs = 5000;
  t.deepEqual(hand.ended('a', exit(1)), []);
  t.deepEqual(hand.next(), ['start a']);
  t.is(hand.nowMs, 6000);
  t.deepEqual(hand.logs, [
    'WARN Managed /bin/a process 7 exited with return code 1.',
    'ERROR Respawning client "/bin/a":',
  ]);
});

test('exit status 100: not again, also of a failfast', (t) => {
  const hand = new Hand();
  hand.start(client('/bin/a', true));
  t.deepEqual(hand.ended('a', exit(100)), []);
  t.is(hand.machine.deadlineMs, Number.POSITIVE_INFINITY);
});

test('eleven short lives one after the other: no more', (t) => {
  const hand = new Hand();
  hand.start(A);
  for (let life = 1; life < 11; life++) {
    t.deepEqual(hand.ended('a', exit(1)), []);
    t.deepEqual(hand.next(), ['start a'], `life ${life + 1}`);
  }
  t.deepEqual(hand.ended('a', exit(1)), []);
  t.is(hand.machine.deadlineMs, Number.POSITIVE_INFINITY);
  t.is(hand.logs.at(-1), 'ERROR Client /bin/a "respawning too fast"');
});

test('a long life is forgiven the short ones before it', (t) => {
  const hand = new Hand();
  hand.start(A);
  for (let life = 1; life < 11; life++) {
    hand.ended('a', exit(1));
    hand.next();
  }
  hand.nowMs += 30_000;
  hand.ended('a', exit(1));
  t.deepEqual(hand.next(), ['start a']);
  hand.ended('a', exit(1));
  t.deepEqual(hand.next(), ['start a']);
});

test('one that cannot be started counts as a short life', (t) => {
  const hand = new Hand();
  hand.start(A);
  hand.ended('a', { pid: null, status: null, how: 'cannot be run: no such user' });
  t.deepEqual(hand.next(), ['start a']);
  t.is(hand.logs[0], 'WARN Client /bin/a cannot be run: no such user');
});

test('a failfast that ends takes the machine down', (t) => {
  const hand = new Hand();
  hand.start(A, client('/bin/f', true));
  t.deepEqual(hand.ended('f', exit(0)), ['reboot']);
  t.deepEqual(hand.next(), ['start f'], 'where there is no reboot it runs again');
  t.deepEqual(hand.ended('a', exit(0)), [], 'a respawn does not');
});

test('a failfast that cannot be started does not', (t) => {
  const hand = new Hand();
  hand.start(client('/bin/f', true));
  const end = { pid: null, status: null, how: 'cannot be run: no memory' };
  t.deepEqual(hand.ended('f', end), []);
  t.deepEqual(hand.next(), ['start f']);
});

test('a failfast that is told to end does not', (t) => {
  const hand = new Hand();
  hand.start(client('/bin/f', true));
  hand.do((m, nowMs, out) => m.stop(nowMs, out));
  t.deepEqual(hand.ended('f', exit(1)), ['stopped']);
});

test('a reload ends what is gone, starts what is new, and leaves the rest', (t) => {
  const hand = new Hand();
  hand.start(A, B);
  t.deepEqual(
    hand.do((m, nowMs, out) => m.configure([C, B], nowMs, out)),
    ['SIGTERM a', 'start c'],
  );
  t.deepEqual(hand.ended('a', exit(1)), [], 'not again');
  t.is(hand.machine.deadlineMs, Number.POSITIVE_INFINITY);
  t.deepEqual(
    hand.do((m, nowMs, out) => m.stop(nowMs, out)),
    ['SIGTERM b'],
    'in the order of the new file',
  );
  t.deepEqual(hand.ended('b', exit(0)), ['SIGTERM c']);
});

test('a line that comes back while its child is ending gets a new one', (t) => {
  const hand = new Hand();
  hand.start(A);
  hand.do((m, nowMs, out) => m.configure([], nowMs, out));
  t.deepEqual(
    hand.do((m, nowMs, out) => m.configure([A], nowMs, out)),
    ['start a'],
  );
});

test('one that was given up is tried again after a reload takes its line out and back', (t) => {
  const hand = new Hand();
  hand.start(A, B);
  hand.ended('a', exit(100));
  t.deepEqual(
    hand.do((m, nowMs, out) => m.configure([A, B], nowMs, out)),
    [],
    'an unchanged line is left alone',
  );
  hand.do((m, nowMs, out) => m.configure([B], nowMs, out));
  t.deepEqual(
    hand.do((m, nowMs, out) => m.configure([A, B], nowMs, out)),
    ['start a'],
  );
});
