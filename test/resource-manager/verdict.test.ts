/**
 * Kind of resource x exit status x words of `status` -> verdict -> what a take, a give and the last word after a failed stop do.
 * All combinations, against the table of docs/RESOURCES.md: each of them is in exactly one row of it.
 */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { parseHaResource } from '../../src/config/haresources.js';
import type { ScriptOutcome } from '../../src/resource-manager/group-operation.js';
import { Operations, type QueueEffect } from '../../src/resource-manager/operations.js';
import { judge, type Verdict } from '../../src/resource-manager/verdict.js';

const TEXTS: Readonly<Record<string, string>> = {
  script: 'R',
  OCF: 'ocf::heartbeat:Dummy::state=/run/x',
  systemd: 'systemd::nginx',
};
type Exit = number | 'killed' | 'missing';
const EXITS: readonly Exit[] = [
  0,
  1,
  2,
  3,
  4,
  5,
  6,
  7,
  8,
  9,
  10,
  100,
  126,
  127,
  255,
  'killed',
  'missing',
];
const WORDS: readonly string[] = [
  '',
  '\n',
  'running',
  'R OK',
  'stopped',
  'ok',
  'not running',
  'R is not currently running\n',
  'INFO:  Running OK\n', // Debian's hto-mapfuncs
  'INFO:  Resource is stopped\n',
  'ERROR:  Generic error\n',
  'ERROR:  Program is not installed\n',
  'ActiveState=active\nSubState=exited\n',
  'ActiveState=reloading\nSubState=reload\n',
  'ActiveState=refreshing\nSubState=x\n',
  'ActiveState=inactive\nSubState=dead\n',
  'ActiveState=failed\nSubState=failed\n',
  'ActiveState=activating\nSubState=auto-restart\n',
  'ActiveState=deactivating\nSubState=stop-sigkill\n',
  'ActiveState=maintenance\nSubState=x\n',
  'Failed to connect to bus: Host is down\n',
  'Warning: a word before\nActiveState=inactive\n',
];

interface Case {
  readonly kind: string;
  readonly exit: Exit;
  readonly words: string;
}

function* cases(): Generator<Case> {
  for (const kind of Object.keys(TEXTS)) {
    for (const exit of EXITS) {
      for (const words of WORDS) yield { kind, exit, words };
    }
  }
}

function outcomeOf({ exit, words }: Case): ScriptOutcome {
  if (typeof exit === 'number') return { exitStatus: exit, output: words, failure: null };
  return { exitStatus: null, output: exit === 'missing' ? '' : words, failure: exit };
}

// ---- the page

interface Row {
  readonly kind: string;
  readonly exit: string;
  readonly says: string;
  readonly verdict: string;
  readonly take: string;
  readonly after: string;
}

function page(): readonly Row[] {
  const lines = readFileSync('docs/RESOURCES.md', 'utf8').split('\n');
  const from = lines.findIndex((line) => line.startsWith('| kind | exit status | says '));
  const rows: Row[] = [];
  for (const line of lines.slice(from + 2)) {
    const cells = line.split('|').map((cell) => cell.trim());
    if (cells.length !== 8) break;
    const [, kind = '', exit = '', says = '', verdict = '', take = '', after = ''] = cells;
    rows.push({ kind, exit, says, verdict, take, after });
  }
  return rows;
}

const UNIT_STATE = /^ActiveState=(.+)$/m;
const isUnitState = (words: string, ...states: string[]) =>
  states.includes(UNIT_STATE.exec(words)?.[1] ?? '');

/** What a cell of the column "says" stands for. */
const SAYS: Readonly<Record<string, (words: string) => boolean>> = {
  any: () => true,
  nothing: (words) => words.trim() === '',
  '`running` or `OK`': (words) => !/not .*running/s.test(words) && /[Rr]unning|OK/.test(words),
  '`ActiveState` active, reloading, refreshing': (words) =>
    isUnitState(words, 'active', 'reloading', 'refreshing'),
  '`ActiveState` inactive': (words) => isUnitState(words, 'inactive'),
  'another `ActiveState`': (words) =>
    UNIT_STATE.test(words) && !isUnitState(words, 'active', 'reloading', 'refreshing', 'inactive'),
  'no `ActiveState`': (words) => !UNIT_STATE.test(words),
  'something else': (words) =>
    words.trim() !== '' && (/not .*running/s.test(words) || !/[Rr]unning|OK/.test(words)),
};

function numbers(cell: string): number[] {
  return cell.split(', ').flatMap((part) => {
    const [from = -1, to = from] = part.split(' to ').map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}

function matches(row: Row, c: Case, all: readonly Row[]): boolean {
  const says = SAYS[row.says];
  if (!says) throw new Error(`docs/RESOURCES.md: expected one of SAYS, got '${row.says}'`);
  if (row.kind !== c.kind || !says(c.words)) return false;
  if (typeof c.exit === 'string' || row.exit === 'killed' || row.exit === 'missing') {
    return row.exit === c.exit;
  }
  if (row.exit === 'any') return true;
  if (row.exit !== 'any other') return numbers(row.exit).includes(c.exit);
  const { exit } = c;
  const numbered = all.filter((other) => other.kind === row.kind && /^\d/.test(other.exit));
  return !numbered.some(
    (other) => numbers(other.exit).includes(exit) && SAYS[other.says]?.(c.words),
  );
}

// ---- what the code does

/** A group L M R; `answer` for M, all else is stopped and obeys. */
function play(
  text: string,
  kind: 'take' | 'give',
  mayRun: boolean,
  answer: (action: string) => ScriptOutcome,
) {
  const resources = ['L', text, 'Z'].map(parseHaResource);
  const group = { node: 'a', key: 'L', resources, line: 1 };
  const queue = new Operations({ stopRetryMax: 2 }, mayRun ? [group] : []);
  const calls: string[] = [];
  const results: string[] = [];
  let out: QueueEffect[] = [];
  queue.add({ id: 1, kind, groups: [group], from: 0 }, 0, out);
  for (let guard = 0; guard < 100; guard++) {
    const effects = out;
    out = [];
    for (const effect of effects) {
      if (effect.type === 'run') {
        const { resource, action, id } = effect;
        const name = resource.text === text ? 'M' : resource.text;
        calls.push(`${name} ${action}`);
        const stopped = { exitStatus: 3, output: 'stopped', failure: null };
        const obeys = { exitStatus: 0, output: '', failure: null };
        const usual = action === 'status' ? stopped : obeys;
        queue.answered(id, name === 'M' ? answer(action) : usual, 0, out);
      } else if (effect.type !== 'log') results.push(effect.type);
    }
    if (out.length === 0) {
      if (queue.deadlineMs === Number.POSITIVE_INFINITY) break;
      queue.tick(queue.deadlineMs, out);
    }
  }
  return { calls, results };
}

const OBEYS: ScriptOutcome = { exitStatus: 0, output: '', failure: null };
const FAILS: ScriptOutcome = { exitStatus: 1, output: 'no', failure: null };

function takes(text: string, status: ScriptOutcome): string {
  const { calls, results } = play(text, 'take', false, (a) => (a === 'status' ? status : OBEYS));
  const of = calls.filter((call) => call.startsWith('M ') && call !== 'M status');
  if (results.includes('start-failed')) return of.join() === 'M stop' ? 'given up' : of.join();
  if (of.length === 0) return 'not started';
  if (of.join() === 'M start') return 'started';
  const stops = calls.filter((call) => call.endsWith('stop'));
  const isRightToLeft = stops.join() === 'Z stop,M stop';
  return isRightToLeft && of.join() === 'M stop,M start' ? 'stopped, then started' : calls.join();
}

function afterStop(text: string, status: ScriptOutcome): string {
  const [never, here] = [false, true].map((mayRun) =>
    play(text, 'give', mayRun, (a) => (a === 'status' ? status : FAILS)).results.join(),
  );
  if (never === 'stuck' && here === 'stuck') return 'stuck';
  if (never === 'job-done' && here === 'stuck') return 'stuck if it was started here';
  return never === 'job-done' && here === 'job-done' ? 'goes on' : `${never} ${here}`;
}

test('every combination is in one row of docs/RESOURCES.md, and is dealt with as that says', (t) => {
  const rows = page();
  const used = new Set<Row>();
  for (const c of cases()) {
    const what = JSON.stringify(c);
    const fitting = rows.filter((row) => matches(row, c, rows));
    t.is(fitting.length, 1, what);
    const [row] = fitting;
    if (!row) continue;
    used.add(row);
    const text = TEXTS[c.kind] ?? '';
    const outcome = outcomeOf(c);
    t.is(judge(parseHaResource(text), outcome), row.verdict as Verdict, what);
    t.is(takes(text, outcome), row.take, what);
    t.is(afterStop(text, outcome), row.after, what);
  }
  t.deepEqual(
    rows.filter((row) => !used.has(row)),
    [],
    'no row without a case',
  );
});

test('no row leads from unknown or failed to a start: a stop that worked is between, or nothing starts', (t) => {
  for (const c of cases()) {
    const text = TEXTS[c.kind] ?? '';
    const outcome = outcomeOf(c);
    const verdict = judge(parseHaResource(text), outcome);
    const { calls } = play(text, 'take', false, (a) => (a === 'status' ? outcome : OBEYS));
    const start = calls.indexOf('M start');
    if (start >= 0 && verdict !== 'stopped') t.true(calls.slice(0, start).includes('M stop'));
    const stopless = play(text, 'take', false, (a) => (a === 'status' ? outcome : FAILS));
    t.is(stopless.calls.includes('M start'), verdict === 'stopped', JSON.stringify(c));
  }
});
