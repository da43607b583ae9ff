/** Taking and giving groups: order, judging by output, failures (docs/HEARTBEAT.md, scripts and failures). */
import test from 'ava';
import { type HaResourceGroup, parseHaResources } from '../../src/config/haresources.js';
import type { ScriptOutcome } from '../../src/resource-manager/group-operation.js';
import { Operations, type QueueEffect } from '../../src/resource-manager/operations.js';
import { saysRunning } from '../../src/resource-manager/verdict.js';

function groups(text: string): readonly HaResourceGroup[] {
  return parseHaResources(text, 'haresources', ['a', 'b']).groups ?? [];
}

const OK: ScriptOutcome = { exitStatus: 0, output: '', failure: null };
const FAIL: ScriptOutcome = { exitStatus: 1, output: '', failure: null };
const MISSING: ScriptOutcome = { exitStatus: null, output: '', failure: 'missing' };
const KILLED: ScriptOutcome = { exitStatus: null, output: '', failure: 'killed' };
const STOPPED: ScriptOutcome = { exitStatus: 0, output: 'stopped', failure: null };
const RUNNING: ScriptOutcome = { exitStatus: 3, output: 'running', failure: null };

/** Runs a queue to its end; `answer` plays the scripts. */
function play(
  jobs: readonly (readonly ['take' | 'give', string])[],
  answer: (call: string, nth: number) => ScriptOutcome,
  stopRetryMax = 10,
) {
  const queue = new Operations({ stopRetryMax }, []);
  const calls: string[] = [];
  const effects: QueueEffect[] = [];
  let nowMs = 0;
  let pending: QueueEffect[] = [];
  for (const [i, [kind, text]] of jobs.entries()) {
    queue.add({ id: i + 1, kind, groups: groups(text), from: 0 }, nowMs, pending);
  }
  for (let guard = 0; guard < 500; guard++) {
    const now = pending;
    pending = [];
    const runs = now.filter((e) => e.type === 'run');
    if (runs.length > 1) throw new Error('two scripts at once');
    effects.push(...now);
    const [run] = runs;
    if (run?.type === 'run') {
      const call = `${run.resource.text} ${run.action}`;
      calls.push(call);
      queue.answered(run.id, answer(call, calls.filter((c) => c === call).length), nowMs, pending);
    } else if (queue.deadlineMs < Number.POSITIVE_INFINITY) {
      nowMs = queue.deadlineMs;
      queue.tick(nowMs, pending);
    } else break;
  }
  const types = effects.filter((e) => e.type !== 'run' && e.type !== 'log').map((e) => e.type);
  const logs = effects.flatMap((e) => (e.type === 'log' ? [e.text] : []));
  return { calls, types, logs, queue, nowMs };
}

const byStatus = (call: string) => (call.endsWith('status') ? STOPPED : OK);

test('a group starts left to right: status, then start', (t) => {
  const { calls, types } = play([['take', 'a r1 r2']], byStatus);
  t.deepEqual(calls, ['r1 status', 'r1 start', 'r2 status', 'r2 start']);
  t.deepEqual(types, ['started', 'job-done']);
});

// 7.2: "A group whose resources all run causes only status calls."
test('what runs is not started', (t) => {
  const { calls } = play([['take', 'a r1 r2']], (c) => (c.endsWith('status') ? RUNNING : OK));
  t.deepEqual(calls, ['r1 status', 'r2 status']);
});

// 7.2: "stop: without asking status first, also for resources never held"
test('a group stops right to left, without status', (t) => {
  t.deepEqual(play([['give', 'a r1 r2 r3']], () => OK).calls, ['r3 stop', 'r2 stop', 'r1 stop']);
});

// 7.2: "only the output counts; contains `not running` -> no; else `running`, `Running` or `OK` -> yes"
test('status is judged by its output', (t) => {
  for (const yes of ['running', 'is Running...', 'OK', 'running (Primary)', 'x running OK']) {
    t.true(saysRunning(yes), yes);
  }
  for (const no of [
    '',
    'stopped',
    'not running',
    'NOT running',
    'Not Running',
    'ok',
    'dead',
    'mysqld is not currently running',
    'is not  running',
  ]) {
    t.false(saysRunning(no), no);
  }
});

// 7.3: "whole group stopped right to left (also what was never started)"
test('a start that fails gives the whole group up', (t) => {
  const { calls, types, logs } = play([['take', 'a r1 r2 r3']], (c) =>
    c === 'r2 start' ? FAIL : byStatus(c),
  );
  t.deepEqual(calls.slice(4), ['r3 stop', 'r2 stop', 'r1 stop']);
  t.deepEqual(types, ['start-failed', 'job-done']);
  t.true(logs.includes('Giving up resources due to failure of r2'));
});

for (const [what, outcome] of [
  ['is missing', MISSING],
  ['hangs and is killed', KILLED],
] as const) {
  test(`a script whose status ${what} is not started: it might run`, (t) => {
    const { calls, types } = play([['take', 'a r1 r2']], (c) =>
      c === 'r2 status' ? outcome : byStatus(c),
    );
    t.deepEqual(calls, ['r1 status', 'r1 start', 'r2 status', 'r2 stop', 'r1 stop']);
    t.deepEqual(types, ['start-failed', 'job-done']);
  });
}

// [B6] The original starts it: beside what may run. A script that says nothing and exits 1 may have failed itself.
test('a status that says nothing and fails does not lead to a start: first it is stopped', (t) => {
  const { calls, types, logs } = play([['take', 'a r1 r2 r3']], (c) =>
    c === 'r2 status' ? FAIL : byStatus(c),
  );
  t.deepEqual(calls, [
    'r1 status',
    'r1 start',
    'r2 status',
    'r3 stop', // may be what needs r2
    'r2 stop',
    'r2 status',
    'r2 start',
    'r3 status',
    'r3 start',
  ]);
  t.deepEqual(types, ['started', 'job-done']);
  t.is(logs.filter((l) => l.startsWith('r2 status says nothing')).length, 1, 'once');
});

test('a stop that fails before such a start: given up, not started', (t) => {
  const { calls, types } = play([['take', 'a r1 r2']], (c) =>
    c.startsWith('r2 ') ? FAIL : byStatus(c),
  );
  t.false(calls.includes('r2 start'));
  t.deepEqual(types, ['start-failed', 'job-done']);
});

// 7.3: "retried every 1 s, HA_STOPRETRYMAX (10) retries = 11 calls"
test('a stop that fails is retried ten times, a second apart, then status decides: stuck', (t) => {
  const { calls, types, nowMs, queue, logs } = play(
    [
      ['give', 'a r1 r2'],
      ['take', 'b r3'],
    ],
    (c) => (c === 'r2 stop' ? FAIL : c === 'r2 status' ? RUNNING : OK),
  );
  t.is(calls.filter((c) => c === 'r2 stop').length, 11);
  t.is(calls.at(-1), 'r2 status');
  t.is(nowMs, 10_000);
  t.deepEqual(types, ['stuck'], 'no job is done, nothing behind it begins');
  t.true(queue.stuck && queue.busy);
  t.true(logs.some((l) => l.includes('Resource STOP failure. Reboot required!')));
});

test('a stop that fails of something that does not run is passed over', (t) => {
  const { calls, types, logs } = play([['give', 'a r1 r2']], (c) =>
    c === 'r2 stop' ? FAIL : byStatus(c),
  );
  t.is(calls.at(-1), 'r1 stop');
  t.deepEqual(types, ['job-done']);
  t.true(logs.includes('Machine reboot narrowly avoided!'));
});

test('a stop that succeeds at the third call goes on', (t) => {
  const { types } = play([['give', 'a r1']], (_c, nth) => (nth < 3 ? FAIL : OK));
  t.deepEqual(types, ['job-done']);
});

test('a script that vanished: stuck when we started it, passed over when not', (t) => {
  const gone = play(
    [
      ['take', 'a r1'],
      ['give', 'a r1'],
    ],
    (c, nth) => (c === 'r1 stop' || (c === 'r1 status' && nth > 1) ? MISSING : byStatus(c)),
  );
  t.deepEqual(gone.types, ['started', 'job-done', 'stuck']);
  const never = play([['give', 'a r1']], () => MISSING);
  t.deepEqual(never.types, ['job-done']);
});

test('a status that hangs after a failed stop counts as running', (t) => {
  t.deepEqual(play([['give', 'a r1']], (c) => (c === 'r1 stop' ? FAIL : KILLED)).types, ['stuck']);
});

test('jobs run one after the other, groups in the order of the file', (t) => {
  const { calls } = play(
    [
      ['take', 'a r1 r2\nb r3'],
      ['give', 'a r1 r2'],
    ],
    byStatus,
  );
  t.deepEqual(
    calls.filter((c) => !c.endsWith('status')),
    ['r1 start', 'r2 start', 'r3 start', 'r2 stop', 'r1 stop'],
  );
});

test('takes can be called off: the running script is waited for, nothing more is started', (t) => {
  const queue = new Operations({ stopRetryMax: 10 }, []);
  const out: QueueEffect[] = [];
  queue.add({ id: 1, kind: 'take', groups: groups('a r1 r2\nb r3'), from: 0 }, 0, out);
  queue.add({ id: 2, kind: 'take', groups: groups('b r4'), from: 0 }, 0, out);
  queue.add({ id: 3, kind: 'give', groups: groups('a r1 r2'), from: 0 }, 0, out);
  queue.answered(1, STOPPED, 0, out); // r1 status: now r1 start runs
  queue.abortTakes();
  queue.answered(2, OK, 0, out);
  const runs = out.flatMap((e) => (e.type === 'run' ? [`${e.resource.text} ${e.action}`] : []));
  t.deepEqual(runs, ['r1 status', 'r1 start', 'r2 stop']);
  t.deepEqual(
    out.flatMap((e) => (e.type === 'job-done' ? [e.job] : [])),
    [1, 2],
  );
});

// Everything is taken again when the other node dies or leaves: balancers are not to hear that the service is away (agent-answer.ts).
test('what runs and is taken again runs on until something of it has to be started', (t) => {
  for (const [what, answer, last] of [
    ['all of it runs', () => RUNNING, 'runs'],
    ['a part does not', (text: string) => (text === 'r2' ? STOPPED : RUNNING), 'starts'],
  ] as const) {
    const { queue } = play([['take', 'a r1 r2']], byStatus);
    t.is(queue.stateOf('r1'), 'runs', what);
    let effects: QueueEffect[] = [];
    queue.add({ id: 7, kind: 'take', groups: groups('a r1 r2'), from: 0 }, 0, effects);
    for (let n = 0; n < 2; n++) {
      t.is(queue.stateOf('r1'), 'runs', what);
      const run = effects.find((e) => e.type === 'run');
      effects = [];
      if (run?.type === 'run') queue.answered(run.id, answer(run.resource.text), 0, effects);
    }
    t.is(queue.stateOf('r1'), last, what);
  }
  const { queue } = play([['take', 'a r1 r2']], byStatus);
  queue.add({ id: 7, kind: 'take', groups: groups('a r1 r2'), from: 0 }, 0, []);
  queue.add({ id: 8, kind: 'give', groups: groups('a r1 r2'), from: 0 }, 0, []);
  t.is(queue.stateOf('r1'), 'stops', 'it is given away next');
  const other = play([['take', 'a r1 r2']], byStatus).queue;
  other.add({ id: 7, kind: 'take', groups: groups('a r1 r2'), from: 0 }, 0, []);
  other.abortTakes();
  t.is(other.stateOf('r1'), 'starts', 'called off: the other node may have it');
});
