/**
 * [NEVER TWICE] Restarting a part of a group in place (docs/HEARTBEAT.md, scripts): only what was taken here and not given since,
 * and a give that is asked for at any moment wins.
 */
import test from 'ava';
import { type HaResourceGroup, parseHaResources } from '../../src/config/haresources.js';
import type { OperationKind, ScriptOutcome } from '../../src/resource-manager/group-operation.js';
import { Operations, type QueueEffect } from '../../src/resource-manager/operations.js';

const GROUPS = parseHaResources('a r1 r2 r3 r4\nb s1 s2\n', 'f', ['a', 'b']).groups ?? [];
const [A, B] = GROUPS;
const OK: ScriptOutcome = { exitStatus: 0, output: '', failure: null };
const FAIL: ScriptOutcome = { exitStatus: 1, output: 'no', failure: null };

/** A node whose scripts do what they are told, unless `answer` says otherwise. */
class Node {
  readonly queue = new Operations({ stopRetryMax: 2 }, []);
  readonly calls: string[] = [];
  readonly results: string[] = [];
  readonly #running = new Set<string>();
  #out: QueueEffect[] = [];
  #run: (QueueEffect & { readonly type: 'run' }) | null = null;
  #jobs = 0;
  answer: (call: string) => ScriptOutcome | null = () => null;

  add(
    kind: OperationKind,
    groups: readonly HaResourceGroup[] = GROUPS.slice(0, 1),
    from = 0,
  ): this {
    this.queue.add({ id: ++this.#jobs, kind, groups, from }, 0, this.#out);
    this.#look();
    return this;
  }

  #look(): void {
    for (const effect of this.#out.splice(0)) {
      if (effect.type === 'run') {
        if (this.#run) throw new Error('two scripts at once');
        this.#run = effect;
        this.calls.push(`${effect.resource.text} ${effect.action}`);
      } else if (effect.type === 'restarted') this.results.push(`restarted ${effect.worked}`);
      else if (effect.type !== 'log') this.results.push(effect.type);
    }
  }

  /** The script that runs ends. False: none runs, and none ever will. */
  step(): boolean {
    const run = this.#run;
    this.#run = null;
    if (run) {
      const { text } = run.resource;
      const wrong = this.answer(`${text} ${run.action}`);
      const says = this.#running.has(text) ? 'running' : 'stopped';
      if (run.action === 'start') this.#running.add(text);
      if (run.action === 'stop' && wrong === null) this.#running.delete(text);
      const obeys = { ...OK, output: run.action === 'status' ? says : '' };
      this.queue.answered(run.id, wrong ?? obeys, 0, this.#out);
    } else if (this.queue.deadlineMs < Number.POSITIVE_INFINITY) {
      this.queue.tick(this.queue.deadlineMs, this.#out);
    } else return false;
    this.#look();
    return true;
  }

  /** To the end; what was called and what came of it. */
  run(): { readonly calls: readonly string[]; readonly results: readonly string[] } {
    for (let guard = 0; this.step(); guard++) if (guard > 500) throw new Error('no end');
    return { calls: this.calls.splice(0), results: this.results.splice(0) };
  }

  get running(): string {
    return [...this.#running].sort().join(' ');
  }
}

function taken(groups: readonly HaResourceGroup[] = GROUPS.slice(0, 1)): Node {
  const node = new Node().add('take', groups);
  node.run();
  return node;
}

test('from a resource to the right: stopped right to left, started left to right', (t) => {
  const node = taken();
  t.deepEqual(node.add('restart', undefined, 1).run(), {
    calls: [
      ...['r4 stop', 'r3 stop', 'r2 stop'],
      ...['r2 status', 'r2 start', 'r3 status', 'r3 start', 'r4 status', 'r4 start'],
    ],
    results: ['restarted true', 'job-done'],
  });
  t.is(node.running, 'r1 r2 r3 r4');
  const again = node.add('restart', undefined, 3).run();
  t.deepEqual(again.calls, ['r4 stop', 'r4 status', 'r4 start'], 'and once more');
});

test('a start that fails gives the whole group up, as at a take; then there is nothing to restart', (t) => {
  const node = taken();
  node.answer = (call) => (call === 'r3 start' ? FAIL : null);
  const { calls, results } = node.add('restart', undefined, 2).run();
  t.deepEqual(calls.slice(-5), ['r3 start', 'r4 stop', 'r3 stop', 'r2 stop', 'r1 stop']);
  t.deepEqual(results, ['start-failed', 'restarted false', 'job-done']);
  t.deepEqual(node.add('restart').run(), { calls: [], results: ['restarted false', 'job-done'] });
  t.is(node.running, '');
});

test('a stop that fails for good is stuck, as always', (t) => {
  const node = taken();
  node.answer = (call) => (call === 'r4 stop' ? FAIL : null);
  const { calls, results } = node.add('restart', undefined, 2).run();
  t.deepEqual(calls, ['r4 stop', 'r4 stop', 'r4 stop', 'r4 status']);
  t.deepEqual(results, ['stuck']);
  t.deepEqual(node.add('give').run(), { calls: [], results: [] }, 'and nothing is done behind it');
});

test('what was not taken, or was given since, is not restarted: the other node may run it', (t) => {
  const nothing = { calls: [], results: ['restarted false', 'job-done'] };
  t.deepEqual(new Node().add('restart').run(), nothing);
  const node = taken();
  node.add('give').run();
  t.deepEqual(node.add('restart').run(), nothing);
  node.add('take').run();
  t.deepEqual(node.add('restart', undefined, 3).run().results, ['restarted true', 'job-done']);
  t.deepEqual(node.add('restart', B ? [B] : [], 1).run(), nothing, 'the other group');
});

/** All moments of a restart at which something can come between. */
function* moments(): Generator<{ readonly node: Node; readonly step: number }> {
  for (let step = 0; ; step++) {
    const node = taken(GROUPS).add('restart', undefined, 1);
    for (let i = 0; i < step; i++) if (!node.step()) return;
    if (!node.queue.busy) return;
    yield { node, step };
  }
}

test('a give wins at every moment: after it nothing is started, and everything is stopped', (t) => {
  let count = 0;
  for (const { node, step } of moments()) {
    count++;
    const before = node.calls.length;
    const { calls, results } = node.add('give').run();
    const after = calls.slice(before);
    t.deepEqual(
      after.filter((call) => call.endsWith('start')),
      [],
      `step ${step}`,
    );
    t.deepEqual(after.slice(-4), ['r4 stop', 'r3 stop', 'r2 stop', 'r1 stop']);
    t.deepEqual(results.slice(-2), ['job-done', 'job-done']);
    t.is(results.filter((r) => r.startsWith('restarted')).length, 1);
    t.is(node.running, 's1 s2');
  }
  t.is(count, 9);
});

test('a give of another group does not disturb it; a restart behind a give is not begun', (t) => {
  for (const { node, step } of moments()) {
    const { results } = node.add('give', B ? [B] : []).run();
    t.deepEqual(results, ['restarted true', 'job-done', 'job-done'], `step ${step}`);
    t.is(node.running, 'r1 r2 r3 r4');
  }
  const node = taken().add('give').add('restart').add('take').add('restart').add('give');
  const { calls, results } = node.run();
  t.is(calls.filter((call) => call === 'r1 start').length, 1, 'by the take');
  t.deepEqual(results, [
    ...['job-done', 'restarted false', 'job-done', 'started', 'job-done'],
    ...['restarted false', 'job-done', 'job-done'],
  ]);
});

test('takes called off: no restart goes on or begins', (t) => {
  for (const { node, step } of moments()) {
    node.add('restart', undefined, 2);
    node.queue.abortTakes();
    const before = node.calls.length;
    const { calls, results } = node.run();
    t.deepEqual(
      calls.slice(before).filter((call) => call.endsWith('start')),
      [],
      `step ${step}`,
    );
    // The last script of the first one may have ended it.
    t.is(results.filter((r) => r === 'restarted true').length, step === 8 ? 1 : 0);
    t.deepEqual(results.slice(-2), ['restarted false', 'job-done']);
    node.add('give').run();
    t.is(node.running, 's1 s2');
  }
  const idle = taken();
  idle.queue.abortTakes();
  t.deepEqual(idle.add('restart').run().calls, []);
});

test('it is shown as what it is', (t) => {
  const node = taken().add('restart');
  t.deepEqual(node.queue.current, { key: A?.key ?? '', kind: 'restart' });
});
