/** Health: the ladder as a table, when checks begin, restarts in any hour, and what FAIL leads to (docs/HEALTH.md). */
import test from 'ava';
import { type HaResourceGroup, parseHaResources } from '../../src/config/haresources.js';
import type { ScriptOutcome } from '../../src/resource-manager/group-operation.js';
import {
  GIVE_UP_MS,
  Health,
  type HealthConfig,
  type HealthEffect,
  MAX_CHECKS,
} from '../../src/resource-manager/health.js';
import {
  HealthLadder,
  type HealthLevel,
  levelOf,
  verdictOf,
  wordsOf,
} from '../../src/resource-manager/health-ladder.js';
import { formatStanding, parseStanding } from '../../src/resource-manager/standing.js';

function groups(text: string): readonly HaResourceGroup[] {
  return parseHaResources(text, 'haresources', ['a', 'b']).groups ?? [];
}

function exit(exitStatus: number, output = ''): ScriptOutcome {
  return { exitStatus, output, failure: null };
}

const KILLED: ScriptOutcome = { exitStatus: null, output: '', failure: 'killed' };
const CONFIG: HealthConfig = {
  intervalMs: 10_000,
  steps: 5,
  timeoutMs: 8000,
  restartsPerHour: 2,
};

test('every step of every ladder has its level: OK first, FAIL last and only last', (t) => {
  const table: readonly (readonly [number, readonly HealthLevel[]])[] = [
    [3, ['OK', 'OK_WARN', 'FAIL']],
    [4, ['OK', 'OK_INFO', 'OK_CRITICAL', 'FAIL']],
    [5, ['OK', 'OK_INFO', 'OK_WARN', 'OK_CRITICAL', 'FAIL']],
    [7, ['OK', 'OK_INFO', 'OK_INFO', 'OK_WARN', 'OK_CRITICAL', 'OK_CRITICAL', 'FAIL']],
  ];
  for (const [steps, levels] of table) {
    t.deepEqual(
      levels.map((_, step) => levelOf(step, steps)),
      levels,
    );
  }
  for (let steps = 3; steps <= 20; steps++) {
    const levels = Array.from({ length: steps }, (_, step) => levelOf(step, steps));
    t.is(levels.filter((level) => level === 'OK').length, 1);
    t.is(levels.filter((level) => level === 'FAIL').length, 1);
  }
});

test('what a check says: by exit status alone, degraded is 10', (t) => {
  t.is(verdictOf(exit(0, 'stopped')), 'good');
  t.is(verdictOf(exit(10)), 'degraded');
  for (const status of [1, 2, 3, 7, 11, 126]) t.is(verdictOf(exit(status, 'running')), 'failed');
  t.is(verdictOf(KILLED), 'failed');
  t.is(verdictOf({ exitStatus: null, output: '', failure: 'missing' }), 'failed');
  t.is(wordsOf(exit(1, 'does not answer\nmore')), 'does not answer');
  t.is(wordsOf(exit(4)), 'exit status 4');
  t.is(wordsOf(KILLED), 'no end in time');
});

/** g: good, d: degraded, f: failed. */
function climb(checks: string, steps = 5): HealthLevel {
  const ladder = new HealthLadder(steps);
  for (const check of checks) {
    ladder.checked(check === 'f' ? 'failed' : check === 'd' ? 'degraded' : 'good');
  }
  return ladder.level;
}

test('one step up for a failed check, one down for a good one; steps - 1 failures are FAIL', (t) => {
  const table: readonly (readonly [string, HealthLevel])[] = [
    ['', 'OK'],
    ['f', 'OK_INFO'],
    ['ff', 'OK_WARN'],
    ['fff', 'OK_CRITICAL'],
    ['ffff', 'FAIL'],
    ['fffff', 'FAIL'],
    ['ffffg', 'OK_CRITICAL'],
    ['fffffffggg', 'OK_INFO'],
    ['fgfgfgfgfg', 'OK'],
    ['ffgffgffg', 'OK_CRITICAL'],
    ['ggggffff', 'FAIL'],
    // Too many connections: up to OK_CRITICAL, and no nearer to a move.
    ['d', 'OK_INFO'],
    ['dddddddddd', 'OK_CRITICAL'],
    ['ddddddddddf', 'OK_CRITICAL'],
    ['ddddddddddfff', 'OK_CRITICAL'],
    ['ddddddddddffff', 'FAIL'],
    ['dfdfdfdfdfdf', 'OK_CRITICAL'],
    ['ddddddddggg', 'OK'],
    ['fffd', 'OK_WARN'],
  ];
  for (const [checks, level] of table) t.is(climb(checks), level, checks);
  t.is(climb('ff', 3), 'FAIL');
  t.is(climb('ddddd', 3), 'OK_WARN');
});

/** A node whose checks are answered at once by `answer`; restarts are answered by the test. */
class Bench {
  readonly health: Health;
  readonly checks: { atMs: number; id: number; text: string }[] = [];
  readonly effects: Exclude<HealthEffect, { type: 'check' | 'log' }>[] = [];
  readonly logs: string[] = [];
  nowMs = 1000;
  answer: ((text: string) => ScriptOutcome | null) | null = () => exit(0);

  constructor(text: string, config: Partial<HealthConfig> = {}) {
    this.health = new Health({ ...CONFIG, ...config }, groups(text), this.nowMs);
  }

  call(action: (out: HealthEffect[]) => void): void {
    const out: HealthEffect[] = [];
    action(out);
    for (const effect of out) {
      if (effect.type === 'log') this.logs.push(`${effect.level} ${effect.text}`);
      else if (effect.type !== 'check') this.effects.push(effect);
      else {
        const { id, resource } = effect;
        this.checks.push({ atMs: this.nowMs, id, text: resource.text });
        const outcome = this.answer?.(resource.text) ?? null;
        if (outcome) this.call((more) => this.health.checked(id, outcome, this.nowMs, more));
      }
    }
  }

  until(ms: number): void {
    while (this.health.deadlineMs <= ms) {
      this.nowMs = Math.max(this.nowMs, this.health.deadlineMs);
      this.call((out) => this.health.tick(this.nowMs, out));
    }
    this.nowMs = ms;
  }

  types(): string[] {
    return this.effects.filter((e) => e.type !== 'level').map((e) => e.type);
  }
}

test('with interval 0 there is nothing to do, ever', (t) => {
  const bench = new Bench('a r1 r2', { intervalMs: 0 });
  bench.health.groupRuns('r1', 0);
  t.is(bench.health.deadlineMs, Number.POSITIVE_INFINITY);
  bench.call((out) => bench.health.tick(1e9, out));
  t.deepEqual([bench.checks, bench.effects, bench.health.levels], [[], [], []]);
});

test('a group that does not run is not checked; one that runs: each resource once an interval', (t) => {
  const bench = new Bench('a r1 r2\nb s1 s2');
  bench.until(60_000);
  t.deepEqual(bench.checks, []);
  bench.health.groupRuns('r1', bench.nowMs);
  bench.until(120_000);
  t.is(bench.checks.filter((c) => c.text === 'r1').length, 6);
  t.is(bench.checks.filter((c) => c.text === 'r2').length, 6);
  t.is(bench.checks.length, 12);
  bench.health.groupBusy('r1');
  bench.until(180_000);
  t.is(bench.checks.length, 12);
});

test('100 resources at 10 s are 10 a second, whenever their groups began to run', (t) => {
  const lines = Array.from({ length: 20 }, (_, g) => {
    return `a ${Array.from({ length: 5 }, (_each, r) => `r${g}x${r}`).join(' ')}`;
  });
  const bench = new Bench(lines.join('\n'));
  for (let g = 0; g < 20; g++) {
    bench.until(1000 + g * 137);
    bench.health.groupRuns(`r${g}x0`, bench.nowMs);
  }
  bench.until(61_000);
  for (let second = 11; second < 61; second++) {
    const inIt = bench.checks.filter((c) => Math.floor(c.atMs / 1000) === second);
    t.is(inIt.length, 10, `second ${second}`);
  }
});

test('checks that hang: others begin all the same, at most four at once, in turn', (t) => {
  const bench = new Bench('a r1 r2 r3 r4 r5 r6');
  bench.answer = null;
  bench.health.groupRuns('r1', 1000);
  bench.until(40_000);
  t.deepEqual(
    bench.checks.map((c) => c.text),
    ['r2', 'r3', 'r4', 'r5'],
  );
  t.is(bench.health.deadlineMs, Number.POSITIVE_INFINITY); // waits for an answer, and does not spin
  bench.call((out) => bench.health.checked(1, KILLED, bench.nowMs, out));
  t.is(bench.checks.at(-1)?.text, 'r6');
  t.is(bench.checks.length, MAX_CHECKS + 1);
  bench.call((out) => bench.health.checked(2, KILLED, bench.nowMs, out));
  t.is(bench.checks.at(-1)?.text, 'r1');
});

test('a level is told when it changes, not per check', (t) => {
  const bench = new Bench('a r1');
  bench.health.groupRuns('r1', 1000);
  let n = 0;
  bench.answer = () => (n++ % 2 === 0 ? exit(1, 'does not answer') : exit(0, 'running'));
  bench.until(41_000);
  const levels = bench.effects.map((e) => (e.type === 'level' ? e.level : e.type));
  t.deepEqual(levels, ['OK_INFO', 'OK', 'OK_INFO', 'OK']);
  bench.answer = () => exit(10, 'too many connections');
  bench.until(400_000);
  t.deepEqual(
    bench.effects.slice(4).map((e) => (e.type === 'level' ? e.level : e.type)),
    ['OK_INFO', 'OK_WARN', 'OK_CRITICAL'],
  );
  t.deepEqual(bench.health.levels, [
    { key: 'r1', resource: 'r1', level: 'OK_CRITICAL', words: 'too many connections' },
  ]);
  t.true(bench.logs.some((l) => l === 'info health of r1: OK -> OK_INFO (does not answer)'));
});

test('FAIL: restarts in place, from the resource that failed; then fail over, once', (t) => {
  const bench = new Bench('a r1 r2 r3');
  bench.health.groupRuns('r1', 1000);
  bench.answer = (text) => exit(text === 'r2' ? 1 : 0, 'bad');
  for (const nth of [1, 2]) {
    bench.until(bench.nowMs + 50_000);
    const restarts = bench.effects.filter((e) => e.type === 'restart');
    t.deepEqual(restarts.at(-1), { type: 'restart', key: 'r1', from: 1 });
    t.is(restarts.length, nth);
    const checks = bench.checks.length;
    bench.until(bench.nowMs + 50_000);
    t.is(bench.checks.length, checks); // not while its job is open
    bench.call((out) => bench.health.restarted('r1', true, bench.nowMs, out));
  }
  bench.until(bench.nowMs + 50_000);
  t.deepEqual(bench.types(), ['restart', 'restart', 'fail-over']);
  t.deepEqual(bench.effects.at(-1), {
    type: 'fail-over',
    why: 'r2: bad, 2 restarts in an hour',
  });
});

test('the peer does not take it for a minute: given up; not when it is gone, or well again', (t) => {
  for (const how of ['stays', 'leaves', 'recovers'] as const) {
    const bench = new Bench('a r1', { restartsPerHour: 0 });
    bench.health.groupRuns('r1', 1000);
    bench.answer = () => exit(1, 'bad');
    bench.until(60_000);
    t.deepEqual(bench.types(), ['fail-over']);
    const atMs = bench.checks[3]?.atMs ?? 0;
    if (how === 'leaves') bench.health.groupBusy('r1');
    if (how === 'recovers') bench.answer = () => exit(0);
    bench.until(atMs + GIVE_UP_MS - 1);
    t.deepEqual(bench.types(), ['fail-over']);
    bench.until(atMs + 3 * GIVE_UP_MS);
    t.deepEqual(bench.types().slice(1), how === 'stays' ? ['give-up'] : [], how);
  }
});

test('a restart that does not work is a fail over at once; one that a give came between is nothing', (t) => {
  const bench = new Bench('a r1');
  bench.health.groupRuns('r1', 1000);
  bench.answer = () => exit(1, 'bad');
  bench.until(60_000);
  t.deepEqual(bench.types(), ['restart']);
  bench.call((out) => bench.health.restarted('r1', false, bench.nowMs, out));
  t.deepEqual(bench.types(), ['restart', 'fail-over']);
  bench.until(400_000);
  t.deepEqual(bench.types(), ['restart', 'fail-over']);

  const given = new Bench('a r1');
  given.health.groupRuns('r1', 1000);
  given.answer = () => exit(1, 'bad');
  given.until(60_000);
  given.health.groupBusy('r1');
  given.call((out) => given.health.restarted('r1', true, given.nowMs, out));
  t.is(given.health.deadlineMs, Number.POSITIVE_INFINITY);
});

test('an answer that was asked for before the last job of its group is dropped', (t) => {
  const bench = new Bench('a r1');
  bench.health.groupRuns('r1', 1000);
  bench.answer = null;
  bench.until(12_000);
  t.is(bench.checks.length, 1);
  bench.health.groupBusy('r1');
  bench.health.groupRuns('r1', bench.nowMs);
  bench.call((out) => bench.health.checked(1, exit(1), bench.nowMs, out));
  t.is(bench.health.levels[0]?.level, 'OK');
  bench.call((out) => bench.health.checked(99, exit(1), bench.nowMs, out)); // of nobody
  t.deepEqual(bench.effects, []);
});

test('on a node that is offline nothing is restarted; an operator who ends that begins anew', (t) => {
  const bench = new Bench('a r1\na s1');
  bench.health.groupRuns('r1', 1000);
  bench.health.groupRuns('s1', 1000);
  bench.health.setOffline(true);
  bench.answer = (text) => exit(text === 's1' ? 1 : 0);
  bench.until(60_000);
  t.deepEqual(bench.types(), []);
  bench.health.setOffline(false);
  bench.until(60_000 + GIVE_UP_MS);
  t.deepEqual(bench.types(), ['restart']);
});

// The machine against the obvious model: never more than N restarts within any hour.
test('restarts in place: at most N within any hour, whenever the service fails', (t) => {
  for (const restartsPerHour of [1, 3]) {
    const bench = new Bench('a r1', { restartsPerHour });
    bench.health.groupRuns('r1', 1000);
    const atMs: number[] = [];
    let n = 0;
    bench.answer = () => exit(1);
    while (!bench.types().includes('fail-over')) {
      bench.until(bench.nowMs + 60_000);
      const count = bench.types().filter((type) => type === 'restart').length;
      if (count === n) continue;
      n = count;
      atMs.push(bench.nowMs);
      // Well for a while: after the first N, for long enough that the hour has passed.
      bench.answer = () => exit(0);
      bench.call((out) => bench.health.restarted('r1', true, bench.nowMs, out));
      bench.until(bench.nowMs + (n === restartsPerHour ? 3_600_000 : 300_000));
      bench.answer = () => exit(1);
    }
    t.true(n > restartsPerHour);
    for (const from of atMs) {
      t.true(atMs.filter((ms) => ms >= from && ms < from + 3_500_000).length <= restartsPerHour);
    }
  }
});

test('the standing: none is ok, damaged is the worst', (t) => {
  t.deepEqual(parseStanding(null), { state: 'ok' });
  const failed = { state: 'FAILED_OFFLINE', why: 'mysql: does not answer' } as const;
  t.deepEqual(parseStanding(formatStanding(failed)), failed);
  t.deepEqual(parseStanding(formatStanding({ state: 'ok' })), { state: 'ok' });
  for (const text of ['', '{', 'null', '{"state":"fine"}', '{"state":"FAILED_OFFLINE"}']) {
    t.is(parseStanding(text).state, 'FAILED_OFFLINE', text);
  }
});
