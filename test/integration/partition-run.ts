/**
 * One run of the partition tests: a pair is set up, a plan happens to it, and what an observer outside saw is worked out.
 *
 *     set up --> steps of the plan --> at rest (what must be active is) --> mended --> settled (once, both agree, the address answers)
 *                                          \--never mended--> the end
 *
 * Waits are for events; the limits are far above what any machine needs.
 */
import { until } from '../support/until.js';
import { DEADTIME_MS, LEASE_S } from './partition-files.js';
import { PartitionLab } from './partition-lab.js';
import {
  type Act,
  actText,
  HOSTS,
  type Host,
  type Mode,
  NETS,
  otherHost,
  type Plan,
} from './partition-plan.js';
import { Seen, type Span, sumMs } from './partition-seen.js';
import { World } from './partition-world.js';

const LIMIT_MS = 150_000;
const LOOK_MS = 60;
const BOOT_MS = 1000;
/** After so many a node that was reset stays off until it is mended. */
const MOST_RESETS = 3;
/** After it a node that may go on no longer has stopped: then it is known who stays. */
const REST_MS: Readonly<Record<Mode, number>> = {
  none: DEADTIME_MS + 1000,
  stonith: DEADTIME_MS + 2000,
  witness: DEADTIME_MS + LEASE_S * 1000 + 1000,
  etcd: DEADTIME_MS + LEASE_S * 1000 + 1000,
};
/** The pause of a node that begins a new life is over, and it would be seen. */
const SETTLED_MS = DEADTIME_MS + 2000;

/** Words of the log that say why nothing is started, as the table calls them. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/STONITH of \S+ failed/, 'reset failed'],
  [/Neither heard by the other node nor granted the lease/, 'no lease'],
  [/The witness refuses the lease/, 'refused'],
  [/ERROR: .*(IPaddr2|Tell).* (start|failed)/i, 'start failed'],
];

export interface Reset {
  readonly host: Host;
  readonly by: string;
}

export interface Result {
  readonly mode: Mode;
  readonly plan: Plan;
  readonly overlapMs: number; // two active nodes, all together
  readonly gaps: readonly Span[]; // nobody active, in ms since the group was there for the first time
  readonly addressGapMs: number;
  readonly stayed: readonly Host[]; // active when it was at rest, before it was mended
  readonly works: boolean; // a daemon that could have served ran then
  readonly reasons: readonly string[]; // in the logs then
  readonly resets: readonly Reset[];
  readonly failure: string | null; // what did not come about
  readonly story: readonly string[];
}

export class PartitionRun {
  readonly #plan: Plan;
  readonly #mode: Mode;
  readonly #world = new World();
  readonly #seen = new Seen();
  readonly #story: string[] = [];
  readonly #resets: Reset[] = [];
  readonly #lab: PartitionLab;
  #startMs = 0;
  #isMended = false;
  #isOver = false;
  #failure: string | null = null;
  /** What is done to a node's power goes one after the other. */
  #power: Promise<void> = Promise.resolve();
  #active = '';

  private constructor(plan: Plan, mode: Mode, lab: PartitionLab) {
    this.#plan = plan;
    this.#mode = mode;
    this.#lab = lab;
    lab.onReset = (host, by) => this.#reset(host, by);
  }

  static async play(
    plan: Plan,
    mode: Mode,
    say: (line: string) => void = () => {},
  ): Promise<Result> {
    const lab = await PartitionLab.create(plan, mode);
    const run = new PartitionRun(plan, mode, lab);
    try {
      return await run.#play(say);
    } finally {
      await lab.destroy();
    }
  }

  #nowMs(): number {
    return Number(process.hrtime.bigint()) / 1e6;
  }

  #tell(text: string): void {
    this.#story.push(`${((this.#nowMs() - this.#startMs) / 1000).toFixed(2).padStart(7)} ${text}`);
  }

  async #play(say: (line: string) => void): Promise<Result> {
    const { home, steps, mending } = this.#plan;
    this.#startMs = this.#nowMs();
    this.#lab.observe((line) => this.#seen.line(line));
    const looks = setInterval(() => this.#look(), LOOK_MS);
    let restMs = 0;
    let reasons: string[] = [];
    let works = false;
    try {
      await Promise.all(HOSTS.map((host) => this.#lab.startDaemon(host)));
      await this.#wait('the group at home', () => this.#isSettled(home), SETTLED_MS / 2);
      for (const { pauseMs, acts } of steps) {
        await passed(pauseMs);
        for (const act of acts) await this.#act(act);
      }
      if (mending.type === 'after') await passed(mending.ms);
      else await this.#wait('rest', () => this.#isAtRest(), REST_MS[this.#mode]);
      restMs = this.#nowMs();
      reasons = this.#reasons();
      works = HOSTS.some((host) => this.#world.works(host));
      if (mending.type !== 'never') {
        await this.#mend();
        await this.#wait(
          'everything once, after it was mended',
          () => this.#isSettled(),
          SETTLED_MS,
        );
      }
    } catch (e) {
      this.#failure = e instanceof Error ? e.message : String(e);
      for (const host of HOSTS) this.#tell(`log of ${host}:\n${this.#lab.log(host)}`);
    } finally {
      clearInterval(looks);
    }
    const endMs = this.#nowMs();
    this.#isOver = true;
    await this.#power;
    // Looked at now: on a busy machine answers come late.
    const stayed = restMs === 0 ? [] : this.#seen.active(restMs);
    const since = ({ fromMs, toMs }: Span): Span => ({
      fromMs: fromMs - this.#startMs,
      toMs: toMs - this.#startMs,
    });
    for (const { fromMs, toMs } of this.#seen.overlaps())
      this.#tell(
        `two active from ${((fromMs - this.#startMs) / 1000).toFixed(2)} for ${Math.round(toMs - fromMs)} ms`,
      );
    for (const line of this.#story) say(line);
    return {
      mode: this.#mode,
      plan: this.#plan,
      overlapMs: sumMs(this.#seen.overlaps()),
      gaps: this.#seen.gaps(endMs).map(since),
      addressGapMs: sumMs(this.#seen.addressGaps()),
      ...{
        stayed,
        works,
        reasons,
        resets: this.#resets,
        failure: this.#failure,
        story: this.#story,
      },
    };
  }

  /** Who is active, when that changes. */
  #look(): void {
    const active = this.#seen.active(this.#nowMs()).join(' and ');
    if (active === this.#active) return;
    this.#active = active;
    this.#tell(`  active: ${active || 'nobody'}`);
  }

  /** Until it holds, and has held for so long. */
  async #wait(what: string, ready: () => Promise<boolean>, heldMs: number): Promise<void> {
    let sinceMs: number | null = null;
    const held = async (): Promise<boolean> => {
      if (await ready()) sinceMs ??= this.#nowMs();
      else sinceMs = null;
      return sinceMs !== null && this.#nowMs() - sinceMs >= heldMs;
    };
    await until(held, () => `${what}; active: ${this.#active || 'nobody'}`, LOOK_MS, LIMIT_MS);
  }

  async #act(act: Act): Promise<void> {
    this.#tell(actText(act));
    if (act.type === 'power') {
      await this.#inTurn(async () => {
        if (act.on) await this.#boot(act.host);
        else await this.#off(act.host);
      });
      return;
    }
    this.#world.act(act);
    if (act.type === 'cut') await this.#lab.cut(act.net, act.host, act.way);
    else if (act.type === 'join') await this.#lab.join(act.net, act.host);
    else if (act.type === 'third') await this.#lab.thirdPlace(act.on);
    else if (act.how === 'started') await this.#inTurn(() => this.#startDaemon(act.host));
    else {
      const signal = ({ killed: 'KILL', stopped: 'STOP', 'goes on': 'CONT' } as const)[act.how];
      await this.#lab.signalDaemon(act.host, signal);
    }
  }

  async #startDaemon(host: Host): Promise<void> {
    // It may have lost its power meanwhile: then it starts when it boots.
    if (!this.#lab.isOn(host)) return;
    this.#world.nodes[host].daemon = 'runs';
    await this.#lab.startDaemon(host);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#power.then(work);
    this.#power = done.then(
      () => undefined,
      (e: unknown) => {
        this.#failure ??= e instanceof Error ? e.message : String(e);
      },
    );
    return done;
  }

  async #off(host: Host): Promise<void> {
    this.#world.power(host, false);
    await this.#lab.powerOff(host);
  }

  async #boot(host: Host): Promise<void> {
    if (this.#lab.isOn(host) || this.#isOver) return;
    await this.#lab.powerOn(host);
    this.#world.power(host, true);
    await this.#lab.startDaemon(host);
  }

  /** By the other node's plug-in, its watchdog, or its own wish. */
  #reset(host: Host, by: string): Promise<boolean> {
    return this.#inTurn(async () => {
      // ssh reaches nobody who is off, or cut off there.
      const isReached = this.#lab.isOn(host) && this.#world.reachesThird(host);
      if (by === 'fence' && this.#plan.device === 'ssh' && !isReached) {
        this.#tell(`reset of ${host}: not reached`);
        return false;
      }
      const wasOn = this.#lab.isOn(host);
      await this.#off(host);
      this.#tell(`${host} is down: ${by}`);
      this.#resets.push({ host, by });
      // Two nodes that boot apart reset each other in turn, as long as somebody lets them.
      const boots = this.#plan.bootsAtOnce && this.#resets.length < MOST_RESETS;
      if (wasOn && (boots || this.#isMended)) {
        setTimeout(() => void this.#inTurn(() => this.#boot(host)).catch(() => {}), BOOT_MS);
      }
      return true;
    });
  }

  /** What must be active is, and whoever works has noticed whom it does not hear. */
  async #isAtRest(): Promise<boolean> {
    const wanted = this.#world.wanted(this.#mode, this.#plan.device);
    const { length } = this.#seen.active(this.#nowMs());
    if (wanted && (length < wanted.least || length > wanted.most)) return false;
    for (const host of HOSTS) {
      if (!this.#world.works(host)) continue;
      const status = await this.#lab.says(host, 'nodestatus', otherHost(host));
      if (status !== (this.#world.hears(host) ? 'active' : 'dead')) {
        // One that is heard and does not hear us begins anew again and again.
        if (!this.#world.hears(host) || this.#world.hears(otherHost(host))) return false;
      }
    }
    return true;
  }

  #reasons(): string[] {
    const text = HOSTS.map((host) => this.#lab.log(host)).join('\n');
    return REASONS.filter(([words]) => words.test(text)).map(([, reason]) => reason);
  }

  /** Cables, power, daemons, the third place: what an operator would do. */
  async #mend(): Promise<void> {
    this.#tell('mended');
    this.#isMended = true;
    for (const host of HOSTS)
      for (const net of NETS)
        if (this.#world.way(net, host) !== null) await this.#act({ type: 'join', net, host });
    if (!this.#world.thirdIsThere) await this.#act({ type: 'third', on: true });
    for (const host of HOSTS) {
      const { daemon } = this.#world.nodes[host];
      if (!this.#lab.isOn(host)) await this.#act({ type: 'power', host, on: true });
      else if (daemon === 'stopped') await this.#act({ type: 'daemon', host, how: 'goes on' });
      else if (daemon === 'killed') await this.#act({ type: 'daemon', host, how: 'started' });
    }
  }

  /** One node is active, the address is there, and both nodes say the same. */
  async #isSettled(wanted: Host | null = null): Promise<boolean> {
    const nowMs = this.#nowMs();
    const [active, ...more] = this.#seen.active(nowMs);
    if (active === undefined || more.length > 0) return false;
    if (wanted !== null && active !== wanted) return false;
    if (this.#seen.atAddress(nowMs) !== active) return false;
    for (const host of HOSTS) {
      if ((await this.#lab.says(host, 'nodestatus', otherHost(host))) !== 'active') return false;
      const holds = await this.#lab.says(host, 'rscstatus');
      const itsGroup = host === this.#plan.home ? 'local' : 'foreign';
      if (['all', itsGroup].includes(holds) !== (host === active)) return false;
    }
    return true;
  }
}

function passed(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
