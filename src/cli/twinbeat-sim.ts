/**
 * twinbeat sim: two simulated nodes under every fault, from a seed (sim/world.ts). Exit status 1 when an invariant was
 * violated, 2 for a wrong call.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { Command } from 'commander';
import { nodeDigests } from '../real/node-ports.js';
import { Pcap } from '../sim/pcap.js';
import type { RunResult, Schedule } from '../sim/run.js';
import { parseScenario, type Scenario, scenarioText } from '../sim/scenario.js';
import { runScenario } from '../sim/scenario-run.js';
import { type Shrunk, sameViolation, shrink } from '../sim/shrink.js';
import type { SimNet } from '../sim/sim-net.js';
import { ALL_PROFILES, type Draw, plan, versionsOf } from '../sim/swarm.js';
import type { Violation } from '../sim/world.js';
import { listMutants, plantedMutant, runMutant } from './sim-mutant.js';
import { runSeeds, SimWorkerError } from './sim-pool.js';
import { runSeed } from './sim-seed.js';
import {
  isDrawn,
  type KeptSeed,
  parseSeedFile,
  replayOf,
  type SimFlags,
  type SimOptions,
  seedText,
  simOptions,
} from './twinbeat-sim-options.js';
import {
  type Found,
  json,
  progressLine,
  Sums,
  shortViolation,
  speed,
  summary,
  violationReport,
} from './twinbeat-sim-report.js';
import { UsageError, type World } from './world.js';

const MOST_SHRINK_RUNS = 200;
const PROGRESS_MS = 500;
const INTERRUPTS = ['SIGINT', 'SIGTERM'] as const;
/** Time 0 of a run in a capture: 2024-01-01, as the nodes' clocks have it. */
const CAPTURE_START_MS = 1_704_067_200_000;

export function simCommand(program: Command): Command {
  return program
    .command('sim')
    .description('two simulated nodes under every fault, from a seed; status 1: an invariant broke')
    .option('--seed <N>', 'one run, again: N or N@VERSION as a report prints it')
    .option('--seeds <N>', 'so many runs (100), from a fresh random seed on')
    .option('--minutes <M>', 'runs until then')
    .option('--from <N>', 'the first seed of --seeds or --minutes')
    .option('--also <file>', 'before them the seeds of a file, one a line')
    .option('--scenario <file>', 'what a file says, instead of a seed')
    .option('--fault <profile>', `which faults exist: ${ALL_PROFILES.join(', ')}`)
    .option('--mutant <name>', 'on machines with a planted bug; `list` names them')
    .option('--trace', 'print what happens (one run)')
    .option('--pcap <file>', 'write what crosses the wires (one run)')
    .option('--json', 'one JSON object instead of text')
    .option('--shrink', 'make the schedule of the first violation as small as possible')
    .option('--first', 'end at the first violation')
    .option('--workers <N>', 'threads (one for each core)');
}

/** `argv`: what followed `sim`. */
export async function simMain(
  flags: SimFlags,
  argv: readonly string[],
  world: World,
): Promise<number> {
  if (flags.mutant === 'list') {
    world.out(listMutants());
    return 0;
  }
  if (flags.mutant !== undefined) {
    simOptions(flags, flags.mutant); // wrong words are said here
    return runMutant(flags.mutant, withoutMutant(argv));
  }
  const options = simOptions(flags, plantedMutant(world.env));
  const { what } = options;
  if (what.kind === 'one') return new Session(options, world).one(what.draw);
  if (what.kind === 'scenario')
    return new Session(options, world).scenario(readScenario(what.file));
  return new Session(options, world).many();
}

function withoutMutant(argv: readonly string[]): string[] {
  return argv.filter(
    (word, i) => word !== '--mutant' && !word.startsWith('--mutant=') && argv[i - 1] !== '--mutant',
  );
}

class Session {
  readonly #options: SimOptions;
  readonly #world: World;
  readonly #sums = new Sums();
  readonly #startMs = performance.now();
  #interrupted = false;
  /** Progress on a terminal, when standard output is not a pipe that somebody reads. */
  readonly #terminal = process.stderr.isTTY === true;

  constructor(options: SimOptions, world: World) {
    this.#options = options;
    this.#world = world;
  }

  one(draw: Draw): number {
    const { profile } = this.#options;
    return this.#single(draw, `${this.#header()}, seed ${seedText(draw)}`, (sink, prepare) =>
      runSeed(draw, profile, sink, prepare),
    );
  }

  /** Null: the profile has steps of its own. */
  #schedule({ seed, version, profile = this.#options.profile }: Draw): Schedule | null {
    return profile === 'cluster' ? null : { seed, ...plan(seed, profile, version) };
  }

  scenario(scenario: Scenario): number {
    const header = `scenario ${scenario.file}${this.#planted}, seed ${scenario.seed}`;
    return this.#single(null, header, (sink, prepare) =>
      runScenario(scenario, nodeDigests, sink, prepare),
    );
  }

  #single(
    draw: Draw | null,
    header: string,
    play: (
      sink: ((line: string) => void) | null,
      prepare: (w: { readonly net: SimNet }) => void,
    ) => RunResult,
  ): number {
    const { trace, pcap } = this.#options;
    const output = new Lines(this.#world);
    const capture = pcap === null ? null : new Capture(pcap);
    this.#say(`${header}\n`);
    const result = play(trace ? (line) => output.add(line) : null, (w) => capture?.listen(w));
    output.end();
    capture?.write();
    this.#took(result, draw);
    return this.#end();
  }

  async many(): Promise<number> {
    const { what, also, workers, profile } = this.#options;
    const kept = also === null ? [] : readSeeds(also);
    const draws = this.#draws(kept);
    // Ctrl-C, or a kill: what was found so far; a second one ends it at once.
    const interrupt = (): void => {
      this.#interrupted = true;
    };
    for (const signal of INTERRUPTS) process.once(signal, interrupt);
    this.#say(`${this.#header()}, ${this.#plan(kept)}\n`);
    const timer = setInterval(() => this.#progress(), PROGRESS_MS);
    const of = what.kind === 'many' ? Math.min(workers, what.count + kept.length) : workers;
    try {
      await runSeeds({ workers: of, profile, draws, result: (r, draw) => this.#took(r, draw) });
    } catch (e) {
      if (!(e instanceof SimWorkerError)) throw e;
      this.#clear();
      this.#world.err(`twinbeat sim: ${e.message}\n`);
      if (e.draw !== null) this.#world.err(`replay: ${replayOf(e.draw, this.#options)}\n`);
      return 1;
    } finally {
      clearInterval(timer);
      for (const signal of INTERRUPTS) process.removeListener(signal, interrupt);
    }
    return this.#end();
  }

  *#draws(kept: readonly KeptSeed[]): Generator<Draw, undefined> {
    const { what, profile: asked } = this.#options;
    const version = versionsOf(asked).newest;
    for (const seed of kept) {
      const { version: kind, profile = asked } = seed;
      const isOld = kind === null || !isDrawn(kind, profile);
      yield { ...seed, version: isOld ? versionsOf(profile).newest : kind };
    }
    if (what.kind === 'many') {
      for (let i = 0; i < what.count; i++) yield { seed: what.from + i, version };
    }
    if (what.kind === 'minutes') {
      const endMs = this.#startMs + what.minutes * 60_000;
      for (let seed = what.from; performance.now() < endMs; seed++) yield { seed, version };
    }
    return undefined;
  }

  #header(): string {
    const { profile } = this.#options;
    return `swarm ${versionsOf(profile).newest}, profile ${profile}${this.#planted}`;
  }

  get #planted(): string {
    const { mutant } = this.#options;
    return mutant === null ? '' : `, mutant ${mutant}`;
  }

  #plan(kept: readonly KeptSeed[]): string {
    const { what } = this.#options;
    const { profile: asked } = this.#options;
    const old = kept.filter(
      ({ version, profile = asked }) => version !== null && !isDrawn(version, profile),
    ).length;
    const again = kept.length === 0 ? '' : `${kept.length} kept seeds and `;
    const drawn = old === 0 ? '' : ` (${old} kept ones are of another version: drawn anew)`;
    if (what.kind === 'minutes')
      return `${again}seeds from ${what.from} for ${what.minutes} minutes${drawn}`;
    if (what.kind === 'many')
      return `${again}seeds ${what.from} to ${what.from + what.count - 1}${drawn}`;
    return '';
  }

  /** False: that is enough. */
  #took(r: RunResult, draw: Draw | null): boolean {
    this.#sums.add(r, draw);
    if (r.violation) {
      const { what } = this.#options;
      const { found } = this.#sums;
      const replay = replayOf(draw, this.#options);
      const file = what.kind === 'scenario' ? what.file : '';
      const where = draw ? `seed ${seedText(draw)}` : `scenario ${file}`;
      const last = found.at(-1);
      if (found.length === 1 && last) this.#say(violationReport(where, last, replay));
      else this.#say(`${replay}    # ${shortViolation(r.violation)}\n`);
    }
    return !this.#interrupted && !(r.violation && this.#options.first);
  }

  #end(): number {
    const wallMs = performance.now() - this.#startMs;
    const sums = this.#sums;
    const first = sums.found[0];
    const shrunk = first?.draw && this.#options.shrink ? this.#shrink(first.draw, first) : null;
    if (shrunk !== null) this.#say(`\n${shrunk}`);
    this.#say(summary(sums, this.#options));
    if (this.#options.json) {
      this.#world.out(json({ sums, options: this.#options, wallMs, shrunk }));
    } else {
      this.#clear();
      const { kind } = this.#options.what;
      const threads = kind === 'one' || kind === 'scenario' ? 1 : this.#options.workers;
      this.#world.err(`${speed(sums, wallMs, threads)}\n`);
    }
    return sums.found.length > 0 ? 1 : 0;
  }

  /** The scenario file that is left of a schedule. */
  #shrink(draw: Draw, { violation }: Found): string {
    const schedule = this.#schedule(draw);
    if (!schedule) return `${seedText(draw)}: its profile has steps that are not shrunk yet\n`;
    const shrunk = shrink(schedule, nodeDigests, {
      mostRuns: MOST_SHRINK_RUNS,
      prepare: () => {},
      progress: (runs, steps) => this.#show(`shrinking: run ${runs}, ${steps} steps left`),
    });
    this.#clear();
    if (!shrunk) {
      throw new Error(`seed ${seedText(draw)} violates nothing when it is run again`);
    }
    return shrunkText(shrunk, { schedule, draw, violation }, this.#options);
  }

  // ---- output

  #say(text: string): void {
    if (this.#options.json) return;
    this.#clear();
    this.#world.out(text);
  }

  #progress(): void {
    const { what } = this.#options;
    const of = what.kind === 'many' ? ` of ${what.count}` : '';
    this.#show(progressLine(this.#sums, of, performance.now() - this.#startMs));
  }

  #show(text: string): void {
    if (this.#terminal) this.#world.err(`\r\x1b[K${text}`);
  }

  #clear(): void {
    if (this.#terminal) this.#world.err('\r\x1b[K');
  }
}

/** Lines of a trace, written in larger pieces. */
class Lines {
  readonly #world: World;
  #lines: string[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  add(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length >= 1000) this.end();
  }

  end(): void {
    if (this.#lines.length > 0) this.#world.out(`${this.#lines.join('\n')}\n`);
    this.#lines = [];
  }
}

/** The file is opened before the run, so that a path that cannot be written is said at once. */
class Capture {
  readonly #file: string;
  readonly #fd: number;
  readonly #pcap = new Pcap(CAPTURE_START_MS);

  constructor(file: string) {
    this.#file = file;
    try {
      this.#fd = openSync(file, 'w');
    } catch (e) {
      throw this.#cannot(e);
    }
  }

  listen(w: { readonly net: SimNet }): void {
    w.net.tap = (record) => this.#pcap.add(record);
  }

  write(): void {
    const bytes = this.#pcap.bytes();
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
      closeSync(this.#fd);
    } catch (e) {
      throw this.#cannot(e);
    }
  }

  #cannot(e: unknown): UsageError {
    const why = e instanceof Error ? e.message : String(e);
    return new UsageError(
      `twinbeat sim: --pcap: cannot write ${this.#file}: ${why}; name a file in a directory that you may write to`,
      2,
    );
  }
}

function shrunkText(
  { schedule, result, runs }: Shrunk,
  found: { readonly schedule: Schedule; readonly draw: Draw; readonly violation: Violation },
  options: SimOptions,
): string {
  const comment = [
    `Shrunk from ${found.schedule.steps.length} to ${schedule.steps.length} steps in ${runs} runs of`,
    `${replayOf(found.draw, options)}`,
    ...shortViolation(result.violation ?? found.violation).split('\n'),
  ];
  const text = scenarioText(schedule, comment);
  const parsed = parseScenario(text, 'shrunk');
  const again = parsed.ok ? runScenario(parsed.scenario, nodeDigests, null).violation : null;
  const same = again !== null && sameViolation(again, found.violation);
  return same
    ? text
    : `${text}# As a scenario it does not violate that: a step or option cannot be written so.\n`;
}

function readScenario(file: string): Scenario {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (e) {
    const why = e instanceof Error ? e.message : String(e);
    throw new UsageError(
      `twinbeat sim: --scenario: cannot read ${file}: ${why}; etc/scenarios has some to begin with`,
      2,
    );
  }
  const parsed = parseScenario(text, file);
  if (!parsed.ok) throw new UsageError(parsed.text, 2);
  return parsed.scenario;
}

function readSeeds(file: string): KeptSeed[] {
  try {
    return parseSeedFile(readFileSync(file, 'utf8'), file);
  } catch (e) {
    if (e instanceof UsageError) throw e;
    const why = e instanceof Error ? e.message : String(e);
    throw new UsageError(`twinbeat sim: --also: cannot read ${file}: ${why}`, 2);
  }
}
