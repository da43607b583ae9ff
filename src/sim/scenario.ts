/**
 * Scenario files: what happens to a pair, when, and what must come of it, in the words of an administrator.
 *
 *     # a comment
 *     seed 7                           the dice; the default is 1
 *     set fencing resource-only        options of the cluster, before the first step
 *     at 0s boot alpha                 a step of actions.ts, at a time of the run
 *     after 2s expect alpha Connected within 5s
 *     expect same data                 without a time: as soon as the line before is done
 *     at 60s settle                    faults end, and the pair must come to rest
 *
 * A line lasts as long as its `within` or `for` says at most; no later line may begin before that. docs/SCENARIOS.md.
 */
import { parseAction, type Step } from './actions.js';
import { type ClusterConfig, DEFAULT_CONFIG } from './config.js';
import { type Expectation, parseExpectation } from './expectations.js';
import { optionsOf, setOption } from './options.js';
import type { Schedule } from './run.js';
import { timeMs, type Values, wordsOf } from './words.js';

/** When a line begins: at a time of the run, or so long after the line before. */
export type When = { readonly atMs: number } | { readonly afterMs: number };

export type What =
  | { readonly type: 'step'; readonly text: string }
  | { readonly type: 'settle' }
  | {
      readonly type: 'expect';
      readonly expectation: Expectation;
      readonly values: Values;
      /** It must be so once until then; it must be so all the time until then; null: now. */
      readonly withinMs: number | null;
      readonly forMs: number | null;
      /** What happened before does not count; null: before the last step. */
      readonly sinceMs: number | null;
    };

export interface ScenarioLine {
  readonly line: number;
  readonly text: string;
  readonly when: When;
  readonly what: What;
}

export interface Scenario {
  readonly file: string;
  readonly seed: number;
  readonly config: ClusterConfig;
  readonly lines: readonly ScenarioLine[];
}

export type ParsedScenario =
  | { readonly ok: true; readonly scenario: Scenario }
  /** `FILE:LINE: what is wrong and what was expected`. */
  | { readonly ok: false; readonly text: string };

const DEFAULT_SEED = 1;
const A_TIME = 'a time like 3.2s, 200ms or 2min';

/** What is wrong with a line. */
class LineError extends Error {}

export function parseScenario(text: string, file: string): ParsedScenario {
  const parser = new Parser();
  let number = 0;
  try {
    for (const raw of text.split('\n')) {
      number++;
      const line = raw.trim();
      if (line !== '' && !line.startsWith('#')) parser.line(number, line);
    }
  } catch (e) {
    if (e instanceof LineError) return { ok: false, text: `${file}:${number}: ${e.message}` };
    throw e;
  }
  const { seed, config, lines } = parser;
  if (lines.length === 0) {
    return {
      ok: false,
      text: `${file}:${number}: nothing happens: expected a line like "at 0s boot alpha"`,
    };
  }
  return { ok: true, scenario: { file, seed, config, lines } };
}

class Parser {
  seed = DEFAULT_SEED;
  config: ClusterConfig = DEFAULT_CONFIG;
  readonly lines: ScenarioLine[] = [];
  #later: ClusterConfig | null = null; // as steps have changed it
  #endMs = 0; // when the line before has ended at the latest
  #endsIn = 0; // that line

  line(number: number, text: string): void {
    const words = wordsOf(text);
    if (this.lines.length === 0 && this.#preamble(words)) return;
    const when = this.#when(words);
    const beginMs = 'atMs' in when ? when.atMs : this.#endMs + when.afterMs;
    const what = this.#what(words);
    if (what.type === 'expect' && what.sinceMs !== null && what.sinceMs > beginMs) {
      throw new LineError(`since ${timeText(what.sinceMs)}: that is later than the line itself`);
    }
    this.#endMs = beginMs + lastsMs(what);
    this.#endsIn = number;
    this.lines.push({ line: number, text, when, what });
  }

  /** `seed` and `set` before anything happens. */
  #preamble(words: readonly string[]): boolean {
    const [first, name, value, more] = words;
    if (first === 'seed') {
      if (name === undefined || !/^\d+$/.test(name) || value !== undefined) {
        throw new LineError(`expected a whole number after "seed", found ${found(words, 1)}`);
      }
      this.seed = Number(name);
      return true;
    }
    if (first !== 'set') return false;
    if (name === undefined || value === undefined || more !== undefined) {
      throw new LineError('expected "set OPTION VALUE"');
    }
    this.config = changed(this.config, name, value);
    return true;
  }

  /** Takes the time from the beginning of the line. */
  #when(words: string[]): When {
    const [first, second] = words;
    if (first === 'seed') throw new LineError('"seed" stands before the first step');
    if (first !== 'at' && first !== 'after') return { afterMs: 0 };
    const ms = second === undefined ? null : timeMs(second);
    if (ms === null) {
      throw new LineError(`expected ${A_TIME} after "${first}", found ${found(words, 1)}`);
    }
    words.splice(0, 2);
    if (first === 'after') return { afterMs: ms };
    if (ms < this.#endMs) {
      throw new LineError(
        `at ${second}: time runs backwards: line ${this.#endsIn} lasts until ${timeText(this.#endMs)}`,
      );
    }
    return { atMs: ms };
  }

  #what(words: readonly string[]): What {
    const [first, ...rest] = words;
    if (first === undefined) throw new LineError('expected a step, "expect" or "settle"');
    if (first === 'expect') return this.#expect(rest);
    if (first === 'settle') {
      if (rest.length > 0)
        throw new LineError(`expected nothing after "settle", found ${found(words, 1)}`);
      return { type: 'settle' };
    }
    const text = words.join(' ');
    const parsed = parseAction(text);
    if (!parsed.ok) throw new LineError(parsed.text);
    if (first === 'set') {
      const { OPTION, VALUE } = parsed.values;
      this.#later = changed(this.#later ?? this.config, String(OPTION), String(VALUE));
    }
    return { type: 'step', text };
  }

  #expect(words: string[]): What {
    const times: Record<string, number | null> = { within: null, for: null, since: null };
    while (words.length > 2) {
      const word = words.at(-2) ?? '';
      const ms = timeMs(words.at(-1) ?? '');
      if (!(word in times)) break;
      if (ms === null) {
        throw new LineError(`expected ${A_TIME} after "${word}", found "${words.at(-1)}"`);
      }
      if (times[word] !== null) throw new LineError(`"${word}" is there twice`);
      times[word] = ms;
      words.splice(-2);
    }
    const { within: withinMs = null, for: forMs = null, since: sinceMs = null } = times;
    if (withinMs !== null && forMs !== null) {
      throw new LineError('expected either "within" or "for", found both');
    }
    const parsed = parseExpectation(words);
    if (!parsed.ok) throw new LineError(parsed.text);
    return {
      type: 'expect',
      expectation: parsed.row,
      values: parsed.values,
      withinMs,
      forMs,
      sinceMs,
    };
  }
}

/** `settle` takes as long as it takes: nothing comes after it but lines without `at`. */
function lastsMs(what: What): number {
  if (what.type === 'settle') return Number.POSITIVE_INFINITY;
  return what.type === 'expect' ? (what.withinMs ?? what.forMs ?? 0) : 0;
}

function found(words: readonly string[], index: number): string {
  const word = words[index];
  return word === undefined ? 'the end of the line' : `"${word}"`;
}

function changed(config: ClusterConfig, name: string, value: string): ClusterConfig {
  try {
    return setOption(config, name, value);
  } catch (e) {
    throw new LineError(e instanceof Error ? e.message : String(e));
  }
}

/** A time as it is written in a scenario. */
export function timeText(ms: number): string {
  if (!Number.isFinite(ms)) return 'the pair has come to rest';
  return Number.isInteger(ms / 60_000) && ms > 0 ? `${ms / 60_000}min` : `${ms / 1000}s`;
}

/** A schedule of the swarm as a scenario that does the same. `comment` is put at its beginning. */
export function scenarioText(schedule: Schedule, comment: readonly string[] = []): string {
  const { seed, config, steps, faultsMs } = schedule;
  return [
    ...comment.map((line) => `# ${line}`.trimEnd()),
    `seed ${seed}`,
    ...optionsOf(config).map(([name, value]) => `set ${name} ${value}`),
    '',
    ...steps.map((step: Step) => `at ${step.atMs / 1000}s ${step.text}`),
    `at ${faultsMs / 1000}s settle`,
    '',
  ].join('\n');
}
