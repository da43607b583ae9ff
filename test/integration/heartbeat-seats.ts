/**
 * Two nodes for the mixed scenarios of heartbeat: in each seat ours or Debian's, driven by its own programs. What really runs is
 * read from outside (LabRes), and held against what both sides say: cl_status of each, about itself and about the other.
 */
import { resolve } from 'node:path';
import { main as clStatus } from '../../src/cli/cl-status.js';
import { memoryWorld } from '../support/memory-world.js';
import { HeartbeatLab, type Host, type Ran } from './heartbeat-lab.js';

export type Program = 'ours' | 'original';
export type Word = 'all' | 'foreign' | 'local' | 'failback';

export const ORIGINALS = {
  heartbeat: '/usr/libexec/heartbeat/heartbeat',
  cl_status: '/usr/bin/cl_status',
  hb_standby: '/usr/share/heartbeat/hb_standby',
  hb_takeover: '/usr/share/heartbeat/hb_takeover',
  'drbd-peer-outdater': '/usr/libexec/heartbeat/drbd-peer-outdater',
} as const;
type Named = keyof typeof ORIGINALS;
/** Where `make install` puts ours. */
const INSTALLED = '/usr/local/sbin/';

const LOOK_MS = 150;

/**
 * Two scripts of the original write to its FIFO at the same time, about once in twenty take-overs, and a message is lost: the one
 * that starts its groups, or what hb_takeover asks. Nothing that another node does would prevent or mend it: the scenario is begun
 * again.
 */
export class OriginalsRace extends Error {
  override name = 'OriginalsRace';
}
const RACE = /NV failure \(msgfromsteam\)|msg2string: Message with zero fields/;

export class Seat {
  readonly host: Host;
  /** It changes while no daemon runs. */
  program: Program;
  readonly lab: HeartbeatLab;
  /** Its daemon was started, and not ended since. */
  up = false;

  constructor(lab: HeartbeatLab, host: Host, program: Program) {
    this.lab = lab;
    this.host = host;
    this.program = program;
  }

  /** The program of that name which belongs to this seat. */
  run(name: Named, ...args: readonly string[]): Promise<Ran> {
    return this.runs(this.program === 'ours' ? INSTALLED + name : ORIGINALS[name], ...args);
  }

  /** A program by its path; of what is installed in /usr/local/sbin the one that was built. */
  runs(path: string, ...args: readonly string[]): Promise<Ran> {
    if (path.startsWith(INSTALLED))
      return this.lab.ours(this.host, path.slice(INSTALLED.length), ...args);
    if (path === ORIGINALS.heartbeat) return this.lab.original(this.host, ...args);
    return this.lab.exec(this.host, path, ...args);
  }

  async must(name: Named, ...args: readonly string[]): Promise<void> {
    const { status, out } = await this.run(name, ...args);
    if (status !== 0) throw new Error(`${this}: ${name} ${args.join(' ')}: ${status}\n${out}`);
  }

  async sh(script: string): Promise<string> {
    const { status, out } = await this.lab.exec(this.host, 'sh', '-ec', script);
    if (status !== 0) throw new Error(`${this}: ${script}: ${status}\n${out}`);
    return out;
  }

  async start(): Promise<void> {
    await this.must('heartbeat');
    this.up = true;
  }

  /** `heartbeat -k`: it has released everything when it returns. */
  async leave(): Promise<void> {
    await this.must('heartbeat', '-k');
    this.up = false;
  }

  /** The power is cut. */
  async crash(): Promise<void> {
    await this.lab.crash(this.host);
    this.up = false;
  }

  /** In ours the program is called in this process: starting Node for each look would cost more than all the rest. */
  async says(...args: readonly string[]): Promise<string> {
    if (this.program === 'original') return (await this.run('cl_status', ...args)).out.trim();
    const world = memoryWorld({ root: this.lab.root(this.host) });
    await clStatus(args, world);
    return (world.stdout() + world.stderr()).trim();
  }

  get running(): string {
    return this.lab.running(this.host);
  }
  get log(): string {
    return this.lab.log(this.host);
  }
  /** How many of its lines match. */
  logged(line: RegExp): number {
    return this.log.split('\n').filter((each) => line.test(each)).length;
  }

  toString(): string {
    return `${this.host} (${this.program})`;
  }
}

/** What a node must say that it holds, when this runs on it: `one` and `two` are at home on node-a, `three` on node-b. */
function holds({ host }: Seat, running: string): string {
  const atHome = running.includes('one') ? 'node-a' : '';
  const others = running.includes('three') ? 'node-b' : '';
  const both = [atHome, others].filter(Boolean);
  if (both.length === 2) return 'all';
  if (both.length === 0) return 'none';
  return both[0] === host ? 'local' : 'foreign';
}

export class MixedPair {
  readonly lab: HeartbeatLab;
  readonly a: Seat;
  readonly b: Seat;
  /** How long is waited for anything. Most needs a tenth: nothing here takes longer than its timers unless it is broken. */
  limitMs = 60_000;
  /** Hand-overs that a node refused because the other was still busy, and that were asked for once more. */
  refused = 0;
  #cutMs = Number.POSITIVE_INFINITY;
  #healedMs = Number.POSITIVE_INFINITY;

  private constructor(lab: HeartbeatLab, programs: readonly [Program, Program]) {
    this.lab = lab;
    this.a = new Seat(lab, 'node-a', programs[0]);
    this.b = new Seat(lab, 'node-b', programs[1]);
  }

  static async create(
    programs: readonly [Program, Program],
    haCf: readonly string[],
    haresources: string,
  ): Promise<MixedPair> {
    return new MixedPair(await HeartbeatLab.create(haCf, haresources), programs);
  }

  get seats(): readonly [Seat, Seat] {
    return [this.a, this.b];
  }
  other(seat: Seat): Seat {
    return seat === this.a ? this.b : this.a;
  }

  /** What a node logged of the race; null: nothing. */
  get raced(): string | null {
    const lines = this.seats.flatMap((seat) => seat.log.split('\n'));
    return lines.find((line) => RACE.test(line)) ?? null;
  }

  async until(what: string, ready: () => Promise<boolean> | boolean): Promise<void> {
    const endMs = performance.now() + this.limitMs;
    while (!(await ready())) {
      if (this.raced !== null) throw new OriginalsRace(this.raced);
      const cl = async (seat: Seat) =>
        `${seat} runs '${seat.running}' and says ${seat.up ? await seat.says('rscstatus') : '-'}`;
      if (performance.now() > endMs)
        throw new Error(
          `${what} did not come about\n${(await Promise.all(this.seats.map(cl))).join('\n')}`,
        );
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  async untilSays(seat: Seat, args: readonly string[], wanted: string): Promise<void> {
    const what = `${seat}: cl_status ${args.join(' ')}: ${wanted}`;
    await this.until(what, async () => (await seat.says(...args)) === wanted);
  }

  async untilLogs(seat: Seat, line: RegExp, times = 1): Promise<void> {
    await this.until(`${seat} logs ${line}`, () => seat.logged(line) >= times);
  }

  /** That is what runs, and both sides say so, of themselves and of each other. `claims`: where these are not what runs. */
  async settled(a: string, b: string, claims?: readonly [string, string]): Promise<void> {
    await this.until(`'${a}' on ${this.a} and '${b}' on ${this.b}`, () => {
      return this.a.running === a && this.b.running === b;
    });
    for (const [i, seat] of this.seats.entries()) {
      if (!seat.up) continue;
      await this.untilSays(seat, ['rscstatus'], claims?.[i] ?? holds(seat, seat.running));
      for (const { up, host } of this.seats)
        if (up) await this.untilSays(seat, ['nodestatus', host], 'active');
    }
    if (this.a.running !== a || this.b.running !== b)
      throw new Error(
        `it moved on: '${this.a.running}' on ${this.a}, '${this.b.running}' on ${this.b}`,
      );
  }

  /** Both daemons are started at once: each has its own groups in the end. */
  async start(): Promise<void> {
    await Promise.all(this.seats.map((seat) => seat.start()));
    await this.settled('one two', 'three');
  }

  /** A hand-over is asked for, and ends so. A node that is at rest may not know yet that the other is: then once more. */
  async move(
    seat: Seat,
    by: 'hb_standby' | 'hb_takeover',
    word: Word | null,
    a: string,
    b: string,
  ) {
    const refusals = () => this.a.logged(/ignored/) + this.b.logged(/ignored/);
    const endMs = performance.now() + this.limitMs;
    for (let done = false; !done; ) {
      const before = refusals();
      const { status, out } = await seat.run(by, ...(word === null ? [] : [word]));
      if (status === 0)
        await this.until(`${by} ${word} on ${seat}: '${a}' and '${b}'`, () => {
          done = this.a.running === a && this.b.running === b;
          return done || refusals() > before;
        });
      if (done) break;
      this.refused++;
      if (performance.now() > endMs) throw new Error(`${by} on ${seat}: refused\n${out}`);
    }
    await this.settled(a, b);
  }

  /** The nodes do not hear each other any more; from here to `heal` a group may run on both. */
  async cut(): Promise<void> {
    this.#cutMs = Date.now();
    await this.lab.link('cut');
  }
  async heal(): Promise<void> {
    await this.lab.link('heal');
    this.#healedMs = Date.now();
  }

  /** Times at which something began to run that ran on the other node, but for those between `cut` and `heal`. */
  twice(): string[] {
    const on = new Map<string, Set<Host>>();
    const found: string[] = [];
    for (const { name, host, atMs, on: begins } of this.lab.turns()) {
      const hosts = on.get(name) ?? new Set();
      on.set(name, hosts);
      const isCut = atMs > this.#cutMs && atMs < this.#healedMs;
      if (begins && !isCut && [...hosts].some((each) => each !== host))
        found.push(`${name} began on ${host} at ${new Date(atMs).toISOString()}, and ran already`);
      if (begins) hosts.add(host);
      else hosts.delete(host);
    }
    return found;
  }

  report(): string {
    const of = (seat: Seat) => `${seat}\n${seat.log}\n${this.lab.calls(seat.host).join('\n')}`;
    return this.seats.map(of).join('\n');
  }
}

/** What must be on a machine for Debian's half. */
export const MIXED_NEEDS = [
  'root',
  'netns',
  'nsenter',
  'cc',
  'getent',
  ...Object.values(ORIGINALS),
];
export const BUILT_HEARTBEAT = resolve('build/src/bin/heartbeat.js');
