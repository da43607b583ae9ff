/**
 * auto_failback legacy: a group always runs on its home node when that lives. No claims, no standby.
 *
 *     home node becomes active -> ip-request K -> the other stops K -> ip-request-resp K ok=OK -> home starts K
 *     leave: everything stops, shutdone -> the other takes everything; death: the same after deadtime
 *
 * A request without an answer is repeated while the other lives: it may have restarted before it answered. The give
 * that answers it stops the group whether it was held or not. Source: docs/HEARTBEAT.md; heartbeat 3.0.6 observed.
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import type { DataVerdict } from './answers.js';
import { type Hold, plus } from './hold.js';
import type {
  ResourceEffect,
  ResourceLevel,
  ResourceMachine,
  RscState,
} from './resource-machine.js';

export interface LegacyGroup {
  readonly key: string;
  readonly scope: 'local' | 'foreign';
}

export interface LegacyConfig {
  readonly peer: string | null;
  readonly groups: readonly LegacyGroup[];
  readonly resume: Hold;
}

const CANCELLED = 'Resource takeover cancelled - shutdown in progress.';
const REQUEST_RETRY_MS = 10_000;
const NO_STANDBY = 'Standby mode only implemented when nice_failback on';

export class LegacyState implements ResourceMachine {
  readonly #config: LegacyConfig;
  readonly #held = new Set<string>(); // keys of groups that may run here
  readonly #requested = new Set<string>(); // own keys, asked of the peer
  readonly #answers = new Map<number, { readonly key: string; readonly held: boolean }>(); // by job
  readonly #jobs = new Map<number, readonly string[]>(); // open jobs -> keys held before, being given up
  #state: RscState = 'INIT';
  #deadBeforeActive = false;
  #left = false; // the peer said `shutdone`, and nothing since
  #asked = 0; // may the dead peer's be taken? 0: not asked
  #lastAsked = 0;
  #requestMs = Number.POSITIVE_INFINITY;
  #lastJob = 0;
  #releaseJob = 0;
  #shutdownWaits = false;
  #barred: string | null = null;

  constructor(config: LegacyConfig) {
    this.#config = config;
    for (const { key, scope } of config.groups) {
      if (config.resume === 'all' || config.resume === scope) this.#held.add(key);
    }
  }

  get state(): RscState {
    return this.#state;
  }
  get other(): Hold {
    return 'none';
  }
  get standby(): 'NOT' {
    return 'NOT';
  }
  get hold(): Hold {
    return this.#scopes(this.#held);
  }
  get inTransition(): boolean {
    return this.#jobs.size > 0 || this.#requested.size > 0 || this.#state !== 'STABLE';
  }
  get rscStatus(): Hold | 'transition' {
    return this.inTransition ? 'transition' : this.hold;
  }
  get barred(): string | null {
    return this.#barred;
  }
  get peerBarred(): boolean {
    return false; // nobody says so here
  }
  get standbyRefusal(): string | null {
    return NO_STANDBY;
  }

  get standbyBlocked(): string | null {
    return NO_STANDBY;
  }

  claims(): Hold {
    return this.#scopes(new Set([...this.#held, ...[...this.#jobs.values()].flat()]));
  }

  #scopes(keys: ReadonlySet<string>): Hold {
    let hold: Hold = 'none';
    for (const { key, scope } of this.#config.groups) if (keys.has(key)) hold = plus(hold, scope);
    return hold;
  }

  active(nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') return; // told to leave before that
    this.#state = 'STABLE';
    if (this.#config.peer === null) {
      this.#takeOver(out);
      return;
    }
    if (this.#deadBeforeActive) {
      this.peerDied(false, nowMs, out);
      return;
    }
    if (this.#barred !== null) return; // what is resumed goes on until we leave
    // The other node lives: what we resume of its groups it asks for, or has started already without our hearing of it.
    for (const { key, scope } of this.#config.groups) {
      if (scope === 'foreign' && this.#held.delete(key)) this.#job('give', scope, key, [key], out);
    }
    // Asked for what we resume, too: the other node may have taken it over without our hearing of it. And the claim that was saved says
    // `local` as soon as one of our groups was handed over; the others may run there still. So each is taken by its answer.
    for (const { key, scope } of this.#config.groups) {
      if (scope === 'local') this.#requested.add(key);
    }
    this.#request(nowMs, out);
  }

  #request(nowMs: number, out: ResourceEffect[]): void {
    this.#requestMs =
      this.#requested.size > 0 ? nowMs + REQUEST_RETRY_MS : Number.POSITIVE_INFINITY;
    for (const key of this.#requested) {
      out.push({ type: 'send', message: haFields({ t: 'ip-request', ipaddr: key }) });
    }
  }

  receive(message: HaMessage, own: boolean, _nowMs: number, out: ResourceEffect[]): void {
    if (!own) this.peerHeard(out);
    if (own || this.#state === 'INIT') return;
    this.#left = fieldOf(message, 't') === 'shutdone';
    const key = fieldOf(message, 'ipaddr') ?? '';
    const group = this.#config.groups.find((each) => each.key === key);
    switch (fieldOf(message, 't')) {
      case 'ip-request':
        if (!group || this.#state === 'SHUTDOWN') break; // `shutdone` will say more
        {
          const held = this.#held.delete(key);
          const id = this.#job('give', group.scope, key, held ? [key] : [], out);
          this.#answers.set(id, { key, held });
        }
        break;
      case 'ip-request-resp':
        if (!group || fieldOf(message, 'ok') !== 'OK' || !this.#requested.delete(key)) break;
        this.#log(
          'info',
          `received ip-request-resp ${key} OK ${fieldOf(message, 'weown') ?? ''}`,
          out,
        );
        this.#held.add(key);
        this.#job('take', group.scope, key, [], out);
        break;
      case 'shutdone':
        this.#log('info', `Received shutdown notice from '${this.#config.peer ?? ''}'.`, out);
        this.#takeOver(out);
        break;
      case 'ask_resources':
      case 'hb_takeover':
        this.#log('WARN', NO_STANDBY, out);
        break;
    }
  }

  #log(level: ResourceLevel, text: string, out: ResourceEffect[]): void {
    out.push({ type: 'log', level, text });
  }

  /** `giving`: what may still run here until it is done. Everything is stopped, held or not. */
  #job(
    kind: 'take' | 'give',
    scope: Hold,
    key: string | null,
    giving: readonly string[],
    out: ResourceEffect[],
  ): number {
    const id = ++this.#lastJob;
    this.#jobs.set(id, giving);
    out.push({ type: 'job', id, kind, scope, key });
    return id;
  }

  #takeOver(out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') {
      this.#log('info', CANCELLED, out);
      return;
    }
    if (this.#stayAway(out)) return;
    const { peer } = this.#config;
    if (peer !== null) this.#log('info', `Resources being acquired from ${peer}.`, out);
    this.#requested.clear();
    this.#answers.clear(); // whoever asked is gone
    for (const { key } of this.#config.groups) this.#held.add(key);
    this.#job('take', 'all', null, [], out);
  }

  #stayAway(out: ResourceEffect[]): boolean {
    if (this.#barred === null) return false;
    const why = this.#barred;
    this.#log('CRIT', `Nothing is taken over: this node is FAILED_OFFLINE (${why}).`, out);
    return true;
  }

  setBarred(reason: string | null, nowMs: number, out: ResourceEffect[]): void {
    const was = this.#barred;
    this.#barred = reason;
    if (this.#state !== 'STABLE') return;
    if (reason !== null) {
      this.#requested.clear();
      this.#withdraw(out); // who takes nothing need not shoot
    }
    if (reason === null && was !== null) {
      // As at a start beside a node that lives: our groups come by its answer. Should it be dead, the host says so.
      this.#deadBeforeActive = false;
      this.active(nowMs, out);
    }
  }

  peerRestarted(_out: ResourceEffect[]): void {
    this.#answers.clear();
    this.#left = false; // it may have started something since
  }

  peerDied(_heard: boolean, _nowMs: number, out: ResourceEffect[]): void {
    const { peer } = this.#config;
    if (peer === null) return;
    if (this.#state === 'INIT') {
      this.#deadBeforeActive = true;
      return;
    }
    if (this.#state === 'SHUTDOWN') {
      this.#log('info', CANCELLED, out); // and who takes nothing need not shoot
      return;
    }
    if (this.#stayAway(out)) return; // nor who may run nothing
    this.#asked = ++this.#lastAsked;
    out.push({ type: 'permission', id: this.#asked, needed: !this.#left });
  }

  peerStillDead(nowMs: number, out: ResourceEffect[]): void {
    this.peerDied(false, nowMs, out); // whether it left is known by its last word
  }

  /** The peer is dead and fenced, or left, or nobody here can fence: what it ran may be started. */
  permitted(id: number, _nowMs: number, out: ResourceEffect[]): void {
    if (id !== this.#asked) return;
    this.#asked = 0;
    this.#takeOver(out);
  }

  peerHeard(out: ResourceEffect[]): void {
    if (this.#asked === 0) return;
    this.#log('WARN', `Node ${this.#config.peer} is heard again: nothing is taken over.`, out);
    this.#withdraw(out);
    // Ours it may have started meanwhile: it is asked for them, as at our start.
    for (const { key, scope } of this.#config.groups) {
      if (scope === 'local' && !this.#held.has(key)) this.#requested.add(key);
    }
    this.#requestMs = 0;
  }

  #withdraw(out: ResourceEffect[]): void {
    if (this.#asked !== 0) out.push({ type: 'withdraw' });
    this.#asked = 0;
  }

  /** A group goes home as soon as its home asks for it. */
  peersData(_verdict: DataVerdict, _nowMs: number, _out: ResourceEffect[]): void {}

  /** As the original: the scripts try. */
  ownData(): void {}

  get takeOverWaitsFor(): null {
    return null;
  }

  /** Nothing moves by itself here but to its home, which asks for it. */
  configure(): void {}

  get handOverWaitsFor(): null {
    return null;
  }

  get failbackWaitsFor(): null {
    return null;
  }

  /** Nothing is held back: a group is asked for before it is started, whatever the files say. */
  takeAgain(_out: ResourceEffect[]): void {}

  requestStandby(_rsc: Hold, out: ResourceEffect[]): void {
    this.#log('WARN', NO_STANDBY, out);
  }

  started(_key: string): void {}

  startFailed(key: string, _scope: Hold, _nowMs: number, out: ResourceEffect[]): void {
    this.#log(
      'CRIT',
      `Resource group ${key} does not start: it stays stopped until an operator acts.`,
      out,
    );
  }

  jobDone(id: number, nowMs: number, out: ResourceEffect[]): void {
    this.#jobs.delete(id);
    const answer = this.#answers.get(id);
    this.#answers.delete(id);
    const { peer } = this.#config;
    if (answer && peer !== null) {
      const { key: ipaddr, held } = answer;
      const weown = held ? 'yes' : 'no';
      const message = haFields({ t: 'ip-request-resp', dest: peer, ipaddr, weown, ok: 'OK' });
      out.push({ type: 'send', message });
    }
    if (id === this.#releaseJob) {
      this.#releaseJob = 0;
      this.#log('info', 'All HA resources relinquished.', out);
      out.push({ type: 'send', message: haFields({ t: 'shutdone', st: 'dead' }) });
      out.push({ type: 'released' });
    } else if (this.#shutdownWaits) this.shutdown(nowMs, out);
  }

  shutdown(_nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') return;
    this.#shutdownWaits = this.#jobs.size > 0;
    if (!this.#shutdownWaits) this.release(out);
  }

  release(out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') return;
    this.#state = 'SHUTDOWN';
    this.#shutdownWaits = false;
    this.#withdraw(out);
    this.#requested.clear();
    const held = [...this.#held];
    this.#held.clear();
    this.#log('info', 'Giving up all HA resources.', out);
    this.#releaseJob = this.#job('give', 'all', null, held, out);
  }

  tick(nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'STABLE' && nowMs >= this.#requestMs) this.#request(nowMs, out);
  }

  get deadlineMs(): number {
    return this.#state === 'STABLE' && this.#requested.size > 0
      ? this.#requestMs
      : Number.POSITIVE_INFINITY;
  }
}
