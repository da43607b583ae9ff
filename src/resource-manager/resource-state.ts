/**
 * Who runs what: the resource state machine of a node of two, for auto_failback on and off.
 *
 *     INIT -> (active) STARTING -> (peer starts too) BOTHSTARTING -> (any `resource`) RSCRCVD -> (10 s, or the
 *     peer is stable) STABLE -> (shutdown) SHUTDOWN
 *
 * What either node claims is in claims.ts. A claim is no proof: it is made before the scripts run and dropped before they
 * stop. So a group changes hands only by `done` (standby-exchange.ts), `shutdone` (it left), or death and permission
 * (permission.ts); it is started without these only at start-up, when the peer claims nothing of ours.
 *
 * Pure. Jobs (take, give) go to `Operations`; `jobDone` brings them back. Source: docs/HEARTBEAT.md, resources.
 *
 * Deliberately different from the original: when a living peer says that it took our groups over as a dead node's, we
 * `yield` them at once.
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import type { DataVerdict, OwnDataVerdict } from './answers.js';
import { Claims } from './claims.js';
import { FailBack, type FailBackConfig } from './fail-back.js';
import { FailedStarts } from './failed-starts.js';
import { both, type Hold, includes, parseHold, plus, swapped } from './hold.js';
import { Moves } from './moves.js';
import { OwnData } from './own-data.js';
import type {
  MoveSettings,
  ResourceEffect,
  ResourceLevel,
  ResourceMachine,
  RscState,
} from './resource-machine.js';
import type { StandbyPhase } from './standby.js';
import { readAsk, StandbyExchange, sendAsk } from './standby-exchange.js';

export interface ResourceConfig {
  readonly node: string;
  readonly peer: string | null; // null: a cluster of one
  readonly failBack: FailBackConfig;
  readonly movesPerHour: number; // 0: no limit
  /** The scopes of which every group needs disks of drbd: own-data.ts. */
  readonly onDisks: Hold;
  /** What was claimed before a restart that left the services running; 'none' otherwise. */
  readonly resume: Hold;
  /** Whose resources are whose, by our file (homes.ts). */
  readonly homes: string;
}

/** `info` of the claim that a resuming node makes before it has heard the peer's. Ours; the original passes it over. */
const RESUME = 'resume';
const RSC_TIMER_MS = 10_000;
const CANCELLED = 'Resource takeover cancelled - shutdown in progress.';

export class ResourceState implements ResourceMachine {
  readonly #config: ResourceConfig;
  #state: RscState = 'INIT';
  readonly #claims: Claims;
  #otherStable = false;
  #peerDead = false;
  #deadMayRun = true; // when it died, it might run something
  #asked: { readonly id: number; readonly needed: boolean } | null = null; // may the dead peer's be taken?
  #lastAsked = 0;
  #peerClean = false; // at its last start nothing ran there that it did not claim
  #deadBeforeActive: boolean | null = null; // heard, when the peer died before we were active
  readonly #standby: StandbyExchange;
  readonly #failed = new FailedStarts();
  #timerMs = Number.POSITIVE_INFINITY;
  readonly #moves: Moves;
  readonly #failBack: FailBack;
  readonly #ownData: OwnData;
  #releaseJob = 0;
  #shutdownAsked = false;
  #shutdownWaits = false;
  #initialLogged = false;
  #barred: string | null = null;
  #peerBarred = false;
  #again = false; // what we claim is to be taken again: some of it was held back

  constructor(config: ResourceConfig) {
    this.#config = config;
    this.#claims = new Claims(config.resume, config.homes);
    this.#moves = new Moves(config.movesPerHour);
    this.#failBack = new FailBack(config.failBack, this.#moves);
    this.#ownData = new OwnData(config.onDisks);
    this.#standby = new StandbyExchange(this.#claims);
  }

  get state(): RscState {
    return this.#state;
  }
  get hold(): Hold {
    return this.#claims.hold;
  }
  get other(): Hold {
    return this.#claims.other;
  }
  get standby(): StandbyPhase {
    return this.#standby.phase;
  }

  get standbyRefusal(): null {
    return null;
  }

  get barred(): string | null {
    return this.#barred;
  }
  get peerBarred(): boolean {
    return this.#peerBarred;
  }

  get #isBusy(): boolean {
    return this.#claims.hasJobs || this.#standby.phase !== 'NOT';
  }

  get inTransition(): boolean {
    return this.#isBusy || this.#state !== 'STABLE';
  }

  /** `cl_status rscstatus` */
  get rscStatus(): Hold | 'transition' {
    return this.inTransition ? 'transition' : this.#claims.hold;
  }

  /** Communication is up. */
  active(nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') return; // told to leave before that
    this.#state = 'STARTING';
    // `clean` is ours, also in `resource`: nothing runs here that we do not claim. The original ignores it.
    // So is `rsc_hold` here, what we resume: a peer that starts too has no other way to know in time.
    const resumed = this.#claims.hold === 'none' ? {} : { rsc_hold: this.#claims.hold };
    const homes = this.#config.homes === '' ? {} : { homes: this.#config.homes };
    const offline = this.#barred === null ? {} : { offline: '1' };
    const starting = haFields({ t: 'starting', ...resumed, clean: '1', ...homes, ...offline });
    out.push({ type: 'send', message: starting });
    if (this.#claims.hold !== 'none') this.#claims.say(false, RESUME, out); // for the original
    if (this.#config.peer === null) this.#takeOver(null, out);
    if (this.#deadBeforeActive !== null) this.peerDied(this.#deadBeforeActive, nowMs, out);
  }

  /** A message for us, from the peer or (own) our own, in the order it was sent. */
  receive(message: HaMessage, own: boolean, nowMs: number, out: ResourceEffect[]): void {
    const type = fieldOf(message, 't');
    if (!own) this.peerHeard(out);
    if (type === 'starting' && !own) this.#peerStarts(message, out);
    else if (type === 'resource') this.#receiveResource(message, own, nowMs, out);
    else if (type === 'ask_resources') this.#receiveAsk(message, own, nowMs, out);
    else if (type === 'shutdone' && !own) this.#peerLeft(out);
    else if (type === 'hb_takeover' && !own) this.#takeoverAsked(message, out);
    this.#tryAgain(out);
    this.#tryFailback(nowMs, out);
  }

  #log(level: ResourceLevel, text: string, out: ResourceEffect[]): void {
    out.push({ type: 'log', level, text });
  }

  claims(): Hold {
    return this.#claims.claims;
  }

  #peerStarts(message: HaMessage, out: ResourceEffect[]): void {
    this.#peerClean = fieldOf(message, 'clean') === '1';
    this.#peerBarred = fieldOf(message, 'offline') === '1';
    this.#claims.otherStarts(parseHold(fieldOf(message, 'rsc_hold')) ?? 'none');
    if (this.#state === 'INIT') {
      this.#log('ERROR', "Received 'starting' before we are active: ignored.", out);
      return;
    }
    if (this.#state === 'STARTING') this.#state = 'BOTHSTARTING';
    this.#peerDead = false;
    this.#otherStable = false;
    this.#claims.say(this.#state === 'STABLE', null, out, this.#claims.claims);
  }

  #receiveResource(message: HaMessage, own: boolean, nowMs: number, out: ResourceEffect[]): void {
    const claimed = parseHold(fieldOf(message, 'rsc_hold'));
    if (claimed === null) {
      this.#log('ERROR', 'resource message without a valid rsc_hold', out);
      return;
    }
    if (this.#state === 'INIT') {
      if (!own) this.#log('ERROR', 'resource message before we are active: ignored', out);
      return;
    }
    const isResume = fieldOf(message, 'info') === RESUME;
    if (own && isResume) return; // not an answer to anything
    if (this.#state === 'STARTING' || this.#state === 'BOTHSTARTING') {
      this.#state = 'RSCRCVD';
      this.#timerMs = nowMs + RSC_TIMER_MS;
    }
    if (own) return;
    this.#peerDead = false;
    const wasBarred = this.#peerBarred;
    this.#peerBarred = fieldOf(message, 'offline') === '1';
    if (wasBarred && !this.#peerBarred) this.#failBack.again(nowMs);
    if (fieldOf(message, 'clean') === '1') this.#peerClean = true; // it may have started before we did
    const isFull = fieldOf(message, 'rtype') === 'full';
    const isStable = fieldOf(message, 'isstable');
    this.#claims.otherClaims(claimed, isFull, isStable === '1');
    // It yields itself when it hears what we hold.
    if (!isResume && this.#checkClaims(message, out)) return;
    if (isStable === '0') this.#otherStable = false;
    if (isStable === '1' && !this.#otherStable) {
      this.#log('info', 'remote resource transition completed.', out);
      this.#otherStable = true;
      this.#claims.say(this.#state === 'STABLE', null, out);
      this.#failBack.peerStable(nowMs);
    }
    if (this.#state !== 'STABLE' && this.#state !== 'SHUTDOWN' && this.#otherStable) {
      this.#log('info', 'remote resource transition completed.', out);
      this.#becomeStable('T_RESOURCES(them)', nowMs, out);
    }
    if (isStable === '1') this.#checkOrphans(out);
  }

  /** True when we yield: nothing else is to be done with the message. */
  #checkClaims(message: HaMessage, out: ResourceEffect[]): boolean {
    const { clash } = this.#claims;
    if (this.#state === 'SHUTDOWN') return false;
    if (clash !== 'none') {
      if (includes(clash, 'local')) this.#log('ERROR', 'Both machines own our resources!', out);
      if (includes(clash, 'foreign')) {
        this.#log('ERROR', 'Both machines own foreign resources!', out);
      }
      if (fieldOf(message, 'info') === 'mach_down') {
        // The peer took us for dead and started what we run.
        this.#log('CRIT', 'The other node has taken over our resources: giving them up.', out);
        out.push({ type: 'yield' });
        return true;
      }
      // A node that resumes yields to one that kept running; two stable ones keep what is at home.
      const yields = this.#state === 'STABLE' ? both(clash, 'foreign') : clash;
      if (yields !== 'none' && this.#standby.phase === 'NOT') {
        this.#claims.drop(yields);
        this.#claims.give(yields, out);
      }
    }
    return false;
  }

  /**
   * Groups that nobody claims: they were with a node whose daemon restarted before it was missed. The original leaves
   * them stopped, since they may still run there; a peer that says it is clean has stopped what it does not claim, so
   * their home node takes them again.
   */
  #checkOrphans(out: ResourceEffect[]): void {
    if (this.inTransition || !this.#otherStable || this.#peerDead) return;
    const { owned } = this.#claims;
    // What we told it to start it may run, whether its claim was heard or not.
    if (includes(this.#claims.otherMay, 'foreign')) return;
    if (!includes(owned, 'foreign')) this.#log('WARN', 'No one owns foreign resources!', out);
    if (includes(owned, 'local')) return;
    this.#log('WARN', 'No one owns our local resources!', out);
    if (!this.#peerClean) return;
    this.#claims.claim('local');
    this.#take('local', out);
    this.#claims.say(true, null, out);
  }

  #becomeStable(reason: string, nowMs: number, out: ResourceEffect[]): void {
    this.#timerMs = Number.POSITIVE_INFINITY;
    this.#state = 'STABLE';
    this.#acquireLocal(reason, out);
    this.#claims.say(true, null, out);
    this.#failBack.peerStable(nowMs);
  }

  /** `req_our_resources`, not forced. */
  #acquireLocal(reason: string, out: ResourceEffect[]): void {
    const taken =
      includes(this.#claims.otherMay, 'foreign') || includes(this.#claims.hold, 'local');
    const resumes = this.#config.resume !== 'none' && !this.#initialLogged;
    const resumed = resumes ? this.#claims.hold : 'none'; // looked at whether it runs: it may just have been claimed
    // Barred, and nobody there to hand it to: what a dead peer may run is claimed when it is permitted (peerStillDead), not here.
    const waits = this.#barred !== null && this.#peerDead;
    if ((taken || waits) && this.#standby.phase === 'NOT') {
      this.#log('info', 'Local Resource acquisition completed. (none)', out);
      if (resumed !== 'none') this.#take(resumed, out);
    } else {
      this.#claims.claim('local');
      this.#take(plus(resumed, 'local'), out);
      this.#claims.say(true, 'req_our_resources()', out);
    }
    if (this.#initialLogged) return;
    this.#initialLogged = true;
    this.#log('info', `Initial resource acquisition complete (${reason})`, out);
  }

  #receiveAsk(message: HaMessage, own: boolean, nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN' || this.#state === 'INIT') return;
    const sender = own ? this.#config.node : (this.#config.peer ?? '');
    const ask = readAsk(message, own, sender, out);
    if (!ask) return;
    this.#expireStandby(nowMs, out);
    const flux = !own && ask.info === 'me' ? (this.#barred ?? this.#flux) : this.#flux;
    const move = this.#standby.receive(ask, flux, nowMs, out);
    if (move === 'over' && includes(ask.rsc, 'foreign')) this.#failBack.done();
  }

  /** Why groups cannot change hands now; the original's words. */
  get #flux(): string | null {
    if (!this.#otherStable) return 'Other side is in flux.';
    return this.#state === 'STABLE' ? null : 'local resources in flux.';
  }

  /** All groups of a job are done with, as well as can be. Not called for a group that is stuck. */
  jobDone(id: number, nowMs: number, out: ResourceEffect[]): void {
    const gave = this.#claims.jobDone(id);
    const isStandby = this.#standby.jobDone(id, out);
    if (id === this.#releaseJob) {
      this.#releaseJob = 0;
      this.#log('info', 'All HA resources relinquished.', out);
      out.push({ type: 'send', message: haFields({ t: 'shutdone', st: 'dead' }) });
      out.push({ type: 'released' });
      return;
    }
    if (!isStandby && gave !== 'none' && this.#state === 'STABLE') {
      this.#claims.say(true, null, out); // free now: the peer may adopt them
    }
    this.#checkOrphans(out);
    if (this.#shutdownWaits) this.shutdown(nowMs, out);
    this.#tryAgain(out);
    this.#tryFailback(nowMs, out);
  }

  /** The peer was declared dead; `heard`: packets of it had come in since it was last dead. */
  peerDied(heard: boolean, nowMs: number, out: ResourceEffect[]): void {
    const { peer } = this.#config;
    if (peer === null) return;
    if (this.#state === 'INIT') {
      this.#deadBeforeActive = heard;
      return;
    }
    this.#deadBeforeActive = null;
    this.#peerDead = true;
    // One that was starting may have taken its own since: only a stable one that claims nothing runs nothing.
    this.#deadMayRun = !heard || !this.#otherStable || this.#claims.otherMay !== 'none';
    this.#standby.cancel('Cancelling pending standby operation', out);
    this.#failBack.needed();
    if (this.#state === 'SHUTDOWN') {
      this.#log('info', CANCELLED, out); // and who takes nothing need not shoot
      return;
    }
    if (this.#barred !== null) {
      this.#stayAway(out); // nor who may run nothing
      if (this.#shutdownWaits) this.shutdown(nowMs, out);
      return;
    }
    this.#askPermission(out);
  }

  peerStillDead(_nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'INIT' || this.#state === 'SHUTDOWN' || this.#barred !== null) return;
    // What it might run it might when it died: it said nothing since. One that left released everything, and is not shot.
    this.#askPermission(out);
  }

  #askPermission(out: ResourceEffect[]): void {
    this.#asked = { id: ++this.#lastAsked, needed: this.#deadMayRun };
    if (this.#ownData.ask(this.#claims.hold, out)) return;
    out.push({ type: 'permission', ...this.#asked });
  }

  /** The answer to the effect `own-data`. What the peer ran still waits at the door. */
  ownData(id: number, verdict: OwnDataVerdict, nowMs: number, out: ResourceEffect[]): void {
    const isGood = this.#ownData.data(id, verdict, nowMs, out);
    if (isGood && this.#asked !== null) out.push({ type: 'permission', ...this.#asked });
  }

  get takeOverWaitsFor(): string | null {
    return this.#ownData.waitsFor;
  }

  /** The peer is dead and fenced, or held nothing, or nobody here can fence: what it ran may be started. */
  permitted(id: number, nowMs: number, out: ResourceEffect[]): void {
    if (this.#asked?.id !== id) return;
    const { needed } = this.#asked;
    this.#asked = null;
    if (!needed && this.#claims.hold === 'all') this.#otherStable = true;
    else this.#takeOver(this.#config.peer, out);
    if (this.#shutdownWaits) this.shutdown(nowMs, out);
  }

  peerHeard(out: ResourceEffect[]): void {
    if (this.#asked === null) return;
    this.#log('WARN', `Node ${this.#config.peer} is heard again: nothing is taken over.`, out);
    this.#withdraw(out);
  }

  #withdraw(out: ResourceEffect[]): void {
    if (this.#asked !== null) out.push({ type: 'withdraw' });
    this.#asked = null;
    this.#ownData.end();
  }

  /** The peer has released everything and leaves: no need to wait for deadtime. */
  #peerLeft(out: ResourceEffect[]): void {
    const { peer } = this.#config;
    if (this.#state === 'INIT') {
      this.#deadBeforeActive = null;
      return;
    }
    this.#log('info', `Received shutdown notice from '${peer ?? ''}'.`, out);
    this.#standby.cancel('Cancelling pending standby operation', out);
    this.#failBack.needed();
    this.#peerDead = true;
    this.#claims.otherLeft(); // also while we may not take over: nobody has to reset it for that
    this.#takeOver(peer, out);
  }

  /** The peer's heartbeat started anew before we missed it: what it promised is forgotten there. */
  peerRestarted(out: ResourceEffect[]): void {
    this.#standby.cancel('Cancelling pending standby operation', out);
    this.#otherStable = false;
  }

  #takeOver(peer: string | null, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') {
      this.#log('info', CANCELLED, out);
      return;
    }
    if (this.#barred !== null) {
      this.#stayAway(out);
      return;
    }
    if (peer !== null) this.#log('info', `Resources being acquired from ${peer}.`, out);
    this.#claims.claimAll();
    this.#otherStable = true;
    this.#claims.take('all', out);
    this.#claims.say(true, 'req_our_resources()', out);
    if (peer === null) return;
    // Announced after the claim; the original's mach_down script says it when its scripts have run.
    const machDown = haFields({ t: 'resource', rsc_hold: 'foreign', info: 'mach_down' });
    out.push({ type: 'send', message: machDown });
    this.#log('info', 'mach_down takeover complete.', out);
  }

  /** The peer's operator wants our groups: hb_takeover there is hb_standby here. */
  #takeoverAsked(message: HaMessage, out: ResourceEffect[]): void {
    const asked = fieldOf(message, 'rsc_hold');
    const rsc = parseHold(asked);
    this.requestStandby(rsc === null ? 'all' : swapped(rsc), out); // `failback` is all, as in 3.0.6
  }

  takeAgain(out: ResourceEffect[]): void {
    this.#again = true;
    this.#tryAgain(out);
  }

  /** As soon as nothing is under way. A peer that says it is clean runs nothing that it does not claim. */
  #tryAgain(out: ResourceEffect[]): void {
    if (!this.#again || this.inTransition || !this.#otherStable) return;
    if (!this.#peerClean || this.#peerDead) return;
    this.#again = false;
    const { hold } = this.#claims;
    if (hold !== 'none') this.#take(hold, out);
  }

  // ---- a node that may run nothing

  setBarred(reason: string | null, _nowMs: number, out: ResourceEffect[]): void {
    const isBarred = reason !== null;
    const was = this.#barred !== null;
    this.#barred = reason;
    this.#claims.offline = isBarred;
    if (isBarred) this.#withdraw(out); // who takes nothing need not shoot
    if (this.#state !== 'RSCRCVD' && this.#state !== 'STABLE') return; // the next claim says it
    if (was !== isBarred) this.#claims.say(this.#state === 'STABLE', null, out);
    // The other node does not run what we claim: it was never handed over.
    if (!isBarred && was && this.#claims.hold !== 'none') this.#take(this.#claims.hold, out);
  }

  /** Every job that starts something, but for the one of a standby: the host gives that one no groups while we are barred. */
  #take(scope: Hold, out: ResourceEffect[]): void {
    if (this.#barred === null) this.#claims.take(scope, out);
  }

  #stayAway(out: ResourceEffect[]): void {
    this.#otherStable = true;
    const why = this.#barred ?? '';
    this.#log('CRIT', `Nothing is taken over: this node is FAILED_OFFLINE (${why}).`, out);
    this.#claims.say(this.#state === 'STABLE', null, out); // also what a start-up waits for
  }

  requestStandby(rsc: Hold, out: ResourceEffect[]): void {
    this.#standby.request(rsc, this.#flux, out);
  }

  get standbyBlocked(): string | null {
    return this.#standby.blocked(this.#flux);
  }

  startFailed(key: string, scope: 'local' | 'foreign', nowMs: number, out: ResourceEffect[]): void {
    this.#failed.failed(key, scope, nowMs, out);
  }

  started(key: string): void {
    this.#failed.started(key);
  }

  #handOverFailed(nowMs: number, out: ResourceEffect[]): void {
    const isThere = !this.#peerDead && !this.#peerBarred && this.#config.peer !== null;
    const canTake = this.#otherStable && isThere && !this.inTransition;
    if (canTake && !this.#moves.may(nowMs)) {
      this.#failed.holdBack(this.#moves, this.#claims.hold, nowMs, out);
      return;
    }
    const rsc = this.#failed.handOver(nowMs, canTake);
    if (rsc === null || both(this.#claims.hold, rsc) === 'none') return;
    this.#moves.moved(nowMs);
    this.requestStandby(rsc, out);
  }

  /** auto_failback on: give the returned node its groups back. */
  #tryFailback(nowMs: number, out: ResourceEffect[]): void {
    const isThere = !this.#peerDead && !this.#peerBarred;
    const possible = this.#otherStable && isThere && includes(this.#claims.hold, 'foreign');
    if (this.#failBack.due(possible, this.inTransition, nowMs, out)) sendAsk('foreign', 'me', out);
  }

  /** The answer to the effect `data`. */
  peersData(verdict: DataVerdict, nowMs: number, out: ResourceEffect[]): void {
    this.#failBack.data(verdict, nowMs, out);
    this.#tryFailback(nowMs, out);
  }

  get failbackWaitsFor(): string | null {
    return this.#failBack.waitsFor;
  }

  configure({ failbackDelayMs, movesPerHour }: MoveSettings, nowMs: number): void {
    this.#moves.perHour = movesPerHour;
    this.#failBack.setDelay(failbackDelayMs, nowMs);
  }

  get handOverWaitsFor(): string | null {
    const isThere = !this.#peerDead && !this.#peerBarred;
    return isThere ? this.#failed.waitsFor : null;
  }

  #expireStandby(nowMs: number, out: ResourceEffect[]): void {
    if (this.#standby.expire(nowMs, out)) this.#checkOrphans(out); // it was put off meanwhile
  }

  /** Release everything and leave, as soon as nothing is half done. Calling it again is harmless. */
  shutdown(_nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') return;
    if (this.#isBusy) {
      if (!this.#shutdownAsked) {
        const text = 'Shutdown delayed until current resource activity finishes.';
        this.#log('info', text, out);
      }
      this.#shutdownAsked = true;
      this.#shutdownWaits = true;
      return;
    }
    this.release(out);
  }

  /** Release everything now: the queue does what is asked after what runs. */
  release(out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') return;
    this.#shutdownWaits = false;
    this.#withdraw(out);
    this.#standby.end();
    const wasActive = this.#state !== 'INIT';
    this.#state = 'SHUTDOWN';
    const held = this.#claims.hold;
    this.#claims.drop('all');
    if (wasActive) this.#claims.say(false, 'shutdown', out);
    this.#log('info', 'Giving up all HA resources.', out);
    // The others' groups are stopped too, but do not run here.
    this.#releaseJob = this.#claims.give('all', out, held);
  }

  tick(nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') return;
    this.#expireStandby(nowMs, out);
    if (this.#state === 'RSCRCVD' && nowMs >= this.#timerMs && this.#asked === null) {
      this.#log('info', 'local resource transition completed.', out);
      this.#becomeStable('T_RESOURCES(us)', nowMs, out);
    }
    this.#ownData.tick(nowMs, out);
    this.#handOverFailed(nowMs, out);
    this.#tryAgain(out);
    this.#tryFailback(nowMs, out);
    if (this.#shutdownWaits) this.shutdown(nowMs, out);
  }

  get deadlineMs(): number {
    if (this.#state === 'SHUTDOWN') return Number.POSITIVE_INFINITY;
    const waitsMs = Math.min(this.#standby.deadlineMs, this.#ownData.deadlineMs);
    // Our own may run on a peer that only seems dead: the timer's acquisition waits for permission like any other.
    const timerMs = this.#asked === null ? this.#timerMs : Number.POSITIVE_INFINITY;
    return Math.min(waitsMs, timerMs, this.#failBack.deadlineMs, this.#failed.deadlineMs);
  }
}
