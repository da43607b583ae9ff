/**
 * Who runs what: the resource state machine of a node of two, for auto_failback on and off.
 *
 *     INIT -> (active) STARTING -> (peer starts too) BOTHSTARTING -> (any `resource`) RSCRCVD -> (10 s, or the
 *     peer is stable) STABLE -> (shutdown) SHUTDOWN
 *
 * `hold` is what we claim, `other` what the peer claims, in the peer's terms. A claim is no proof: it is made before the
 * scripts run and dropped before they stop. So a group changes hands only by `done` (standby), `shutdone` (it left),
 * or death; it is started without these only at start-up, when the peer claims nothing of ours.
 *
 * Pure. Jobs (take, give) go to `Operations`; `jobDone` brings them back. Source: docs/HEARTBEAT.md, resources.
 *
 * Deliberately different from the original: a group that fails to start is handed over with `local` or `foreign` as it
 * belongs, once (3.0.6 always says `foreign`, which leaves an own group stopped on both nodes); when a living peer says
 * that it took our groups over as a dead node's, we `yield` them at once.
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import { both, type Hold, includes, minus, parseHold, plus, swapped } from './hold.js';
import type {
  ResourceEffect,
  ResourceLevel,
  ResourceMachine,
  RscState,
} from './resource-machine.js';
import {
  STANDBY_PHASES,
  type StandbyInfo,
  type StandbyPhase,
  type StandbyRow,
  standbyRow,
} from './standby.js';

export interface ResourceConfig {
  readonly node: string;
  readonly peer: string | null; // null: a cluster of one
  readonly autoFailback: boolean;
  /** What was claimed before a restart that left the services running; 'none' otherwise. */
  readonly resume: Hold;
}

/** `info` of the claim that a resuming node makes before it has heard the peer's. Ours; the original passes it over. */
const RESUME = 'resume';
const RSC_TIMER_MS = 10_000;
const FAILBACK_RETRY_MS = 1000;
const START_FAILED_STANDBY_MS = 30_000;

export class ResourceState implements ResourceMachine {
  readonly #config: ResourceConfig;
  #state: RscState = 'INIT';
  #hold: Hold;
  #other: Hold = 'none';
  /** What may still run there: grows at once, shrinks only when the peer says that it is done. In the peer's terms. */
  #otherMay: Hold = 'none';
  #otherStable = false;
  #peerDead = false;
  #peerClean = false; // at its last start nothing ran there that it did not claim
  #deadBeforeActive: boolean | null = null; // heard, when the peer died before we were active
  #standby: StandbyPhase = 'NOT';
  #standbyRsc: Hold = 'none';
  #standbyMs = Number.POSITIVE_INFINITY;
  #standbyJob = 0; // the job whose end is to be told by `done`
  #timerMs = Number.POSITIVE_INFINITY;
  #needsFailback = false;
  #failbackMs = Number.POSITIVE_INFINITY;
  #failedMs = Number.POSITIVE_INFINITY;
  readonly #failed = new Map<string, 'local' | 'foreign'>(); // to be handed over
  readonly #handedOver = new Set<string>(); // were handed over once without having run since
  readonly #jobs = new Map<number, Hold>(); // open jobs -> what they are giving up ('none' for a take)
  #lastJob = 0;
  #releaseJob = 0;
  #shutdownAsked = false;
  #shutdownWaits = false;
  #initialLogged = false;

  constructor(config: ResourceConfig) {
    this.#config = config;
    this.#hold = config.resume;
  }

  get state(): RscState {
    return this.#state;
  }
  get hold(): Hold {
    return this.#hold;
  }
  get other(): Hold {
    return this.#other;
  }
  get standby(): StandbyPhase {
    return this.#standby;
  }

  get standbyRefusal(): null {
    return null;
  }

  get inTransition(): boolean {
    return this.#jobs.size > 0 || this.#standby !== 'NOT' || this.#state !== 'STABLE';
  }

  /** `cl_status rscstatus` */
  get rscStatus(): Hold | 'transition' {
    return this.inTransition ? 'transition' : this.#hold;
  }

  /** Communication is up. */
  active(nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') return; // told to leave before that
    this.#state = 'STARTING';
    // `clean` is ours, also in `resource`: nothing runs here that we do not claim. The original ignores it.
    // So is `rsc_hold` here, what we resume: a peer that starts too has no other way to know in time.
    const resumed = this.#hold === 'none' ? {} : { rsc_hold: this.#hold };
    const starting = haFields({ t: 'starting', ...resumed, clean: '1' });
    out.push({ type: 'send', message: starting });
    if (this.#hold !== 'none') this.#sendResource(false, RESUME, out); // for the original
    if (this.#config.peer === null) this.#takeOver(null, out);
    if (this.#deadBeforeActive !== null) this.peerDied(this.#deadBeforeActive, nowMs, out);
  }

  /** A message for us, from the peer or (own) our own, in the order it was sent. */
  receive(message: HaMessage, own: boolean, nowMs: number, out: ResourceEffect[]): void {
    const type = fieldOf(message, 't');
    if (type === 'starting' && !own) this.#peerStarts(message, out);
    else if (type === 'resource') this.#receiveResource(message, own, nowMs, out);
    else if (type === 'ask_resources') this.#receiveAsk(message, own, nowMs, out);
    else if (type === 'shutdone' && !own) this.#peerLeft(out);
    else if (type === 'hb_takeover' && !own) this.#takeoverAsked(message, out);
    this.#tryFailback(nowMs, out);
  }

  #log(level: ResourceLevel, text: string, out: ResourceEffect[]): void {
    out.push({ type: 'log', level, text });
  }

  /** What we claim, and what we are still stopping although we have dropped the claim. */
  claims(): Hold {
    let claims = this.#hold;
    for (const giving of this.#jobs.values()) claims = plus(claims, giving);
    return claims;
  }

  #sendResource(
    isStable: boolean,
    info: string | null,
    out: ResourceEffect[],
    hold = this.#hold,
  ): void {
    // What is not claimed but still being stopped: the peer is not to take it yet.
    const isStopping = minus(this.claims(), hold) !== 'none';
    const message = haFields({
      t: 'resource',
      rsc_hold: hold,
      rtype: 'full',
      isstable: isStable && !isStopping ? '1' : '0',
      ...(info === null ? {} : { info }),
      clean: '1',
    });
    out.push({ type: 'send', message });
  }

  #job(kind: 'take' | 'give', scope: Hold, out: ResourceEffect[]): number {
    const id = ++this.#lastJob;
    this.#jobs.set(id, kind === 'give' ? scope : 'none');
    out.push({ type: 'job', id, kind, scope, key: null });
    return id;
  }

  #peerStarts(message: HaMessage, out: ResourceEffect[]): void {
    this.#peerClean = fieldOf(message, 'clean') === '1';
    this.#otherMay = parseHold(fieldOf(message, 'rsc_hold')) ?? 'none';
    if (this.#state === 'INIT') {
      this.#log('ERROR', "Received 'starting' before we are active: ignored.", out);
      return;
    }
    if (this.#state === 'STARTING') this.#state = 'BOTHSTARTING';
    this.#peerDead = false;
    this.#otherStable = false;
    this.#sendResource(this.#state === 'STABLE', null, out, this.claims());
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
    if (fieldOf(message, 'clean') === '1') this.#peerClean = true; // it may have started before we did
    const isFull = fieldOf(message, 'rtype') === 'full';
    this.#other = isFull || claimed === 'none' ? claimed : plus(this.#other, claimed);
    const isStable = fieldOf(message, 'isstable');
    // Without isstable=1 a smaller claim announces a stop that is yet to come (standby, shutdown).
    this.#otherMay = isStable === '1' ? this.#other : plus(this.#otherMay, this.#other);
    // It yields itself when it hears what we hold.
    if (!isResume && this.#checkClaims(message, out)) return;
    if (isStable === '0') this.#otherStable = false;
    if (isStable === '1' && !this.#otherStable) {
      this.#log('info', 'remote resource transition completed.', out);
      this.#otherStable = true;
      this.#sendResource(this.#state === 'STABLE', null, out);
      this.#failbackMs = nowMs;
    }
    if (this.#state !== 'STABLE' && this.#state !== 'SHUTDOWN' && this.#otherStable) {
      this.#log('info', 'remote resource transition completed.', out);
      this.#becomeStable('T_RESOURCES(them)', nowMs, out);
    }
    if (isStable === '1') this.#checkOrphans(out);
  }

  /** What both nodes claim, in our terms. */
  #clash(): Hold {
    return both(this.#hold, swapped(this.#other));
  }

  /** True when we yield: nothing else is to be done with the message. */
  #checkClaims(message: HaMessage, out: ResourceEffect[]): boolean {
    const clash = this.#clash();
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
      if (yields !== 'none' && this.#standby === 'NOT') {
        this.#hold = minus(this.#hold, yields);
        this.#job('give', yields, out);
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
    const owned = plus(this.#hold, swapped(this.#other));
    if (!includes(owned, 'foreign')) this.#log('WARN', 'No one owns foreign resources!', out);
    if (includes(owned, 'local')) return;
    this.#log('WARN', 'No one owns our local resources!', out);
    if (!this.#peerClean) return;
    this.#hold = plus(this.#hold, 'local');
    this.#job('take', 'local', out);
    this.#sendResource(true, null, out);
  }

  #becomeStable(reason: string, nowMs: number, out: ResourceEffect[]): void {
    this.#timerMs = Number.POSITIVE_INFINITY;
    this.#state = 'STABLE';
    this.#acquireLocal(reason, out);
    this.#sendResource(true, null, out);
    this.#failbackMs = nowMs;
  }

  /** `req_our_resources`, not forced. */
  #acquireLocal(reason: string, out: ResourceEffect[]): void {
    const taken = includes(this.#otherMay, 'foreign') || includes(this.#hold, 'local');
    const resumes = this.#config.resume !== 'none' && !this.#initialLogged;
    const resumed = resumes ? this.#hold : 'none'; // looked at whether it runs: it may just have been claimed
    if (taken && this.#standby === 'NOT') {
      this.#log('info', 'Local Resource acquisition completed. (none)', out);
      if (resumed !== 'none') this.#job('take', resumed, out);
    } else {
      this.#hold = plus(this.#hold, 'local');
      this.#job('take', plus(resumed, 'local'), out);
      this.#sendResource(true, 'req_our_resources()', out);
    }
    if (this.#initialLogged) return;
    this.#initialLogged = true;
    this.#log('info', `Initial resource acquisition complete (${reason})`, out);
  }

  #receiveAsk(message: HaMessage, own: boolean, nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN' || this.#state === 'INIT') return;
    const from = fieldOf(message, 'src') ?? (own ? this.#config.node : (this.#config.peer ?? ''));
    const info = fieldOf(message, 'info');
    const rsc = parseHold(fieldOf(message, 'rsc_hold'));
    if (rsc === null) {
      this.#log('ERROR', `ask_resources message from ${from} without a valid rsc_hold`, out);
      return;
    }
    if (own && (info === 'other' || info === 'cancel')) return; // our answers to the peer
    this.#checkStandbyTimer(nowMs, out);
    const row = standbyRow(this.#standby, info, own);
    if (!row) {
      if (info === 'me') {
        const left = Math.max(0, Math.ceil((this.#standbyMs - nowMs) / 1000));
        const text = `Standby in progress- new request from ${from} ignored [${left} seconds left]`;
        this.#log('WARN', text, out);
      } else {
        const state = STANDBY_PHASES.indexOf(this.#standby);
        const text = `Ignored standby message '${info ?? ''}' from ${from} in state ${state}`;
        this.#log('WARN', text, out);
        if (info === 'other' && this.#standby === 'NOT') this.#ask(rsc, 'cancel', out);
      }
      return;
    }
    if (row.info === 'me') {
      const flux = this.#inFlux();
      if (flux !== null) {
        this.#log('WARN', `standby message [me] from ${from} ignored.  ${flux}`, out);
        return;
      }
    } else if (rsc !== this.#standbyRsc) {
      const text = `Ignored standby message '${row.info}' [${rsc}] from ${from}: [${this.#standbyRsc}] is under way`;
      this.#log('WARN', text, out);
      if (row.info === 'other') this.#ask(rsc, 'cancel', out);
      return;
    }
    this.#standby = row.next;
    this.#standbyMs = row.next === 'NOT' ? Number.POSITIVE_INFINITY : nowMs + row.timeoutMs;
    this.#move(row, rsc, from, out);
  }

  /** Why groups cannot change hands now; the original's words. */
  #inFlux(): string | null {
    if (!this.#otherStable) return 'Other side is in flux.';
    return this.#state === 'STABLE' ? null : 'local resources in flux.';
  }

  #ask(rsc: Hold, info: StandbyInfo, out: ResourceEffect[]): void {
    const message = haFields({ t: 'ask_resources', rsc_hold: rsc, info });
    out.push({ type: 'send', message });
  }

  #move(row: StandbyRow, rsc: Hold, from: string, out: ResourceEffect[]): void {
    switch (row.move) {
      case 'ask':
      case 'agree':
        this.#standbyRsc = rsc;
        this.#log('info', `${from} wants to go standby [${rsc}]`, out);
        if (row.move === 'agree') this.#ask(rsc, 'other', out);
        break;
      case 'give':
        if (this.#standbyJob !== 0) break; // said twice
        this.#log('info', `standby: ${from} can take our ${rsc} resources`, out);
        this.#hold = minus(this.#hold, rsc);
        this.#sendResource(false, 'standby', out);
        this.#log('info', `give up ${rsc} HA resources (standby).`, out);
        this.#standbyJob = this.#job('give', rsc, out);
        break;
      case 'given':
        this.#log('info', `Local standby process completed [${rsc}].`, out);
        break;
      case 'take':
        this.#log('info', `standby: acquire [${rsc}] resources from ${from}`, out);
        this.#otherMay = minus(this.#otherMay, rsc);
        this.#log('info', `acquire ${swapped(rsc)} HA resources (standby).`, out);
        // Claimed from here on (3.0.6: when it is done): a peer that restarts meanwhile must not start them too.
        this.#hold = plus(this.#hold, swapped(rsc));
        this.#standbyJob = this.#job('take', swapped(rsc), out);
        break;
      case 'taken':
        this.#log('info', `Standby resource acquisition done [${rsc}].`, out);
        this.#sendResource(true, null, out);
        break;
      case 'over': {
        const text = `Other node completed standby takeover of ${rsc} resources.`;
        this.#log('info', text, out);
        if (includes(rsc, 'foreign')) this.#needsFailback = false;
        this.#sendResource(true, null, out);
        break;
      }
      case 'off':
        this.#log('info', `${from} does not go standby [${rsc}].`, out);
        break;
    }
  }

  /** All groups of a job are done with, as well as can be. Not called for a group that is stuck. */
  jobDone(id: number, nowMs: number, out: ResourceEffect[]): void {
    const gave = this.#jobs.get(id) ?? 'none';
    this.#jobs.delete(id);
    const isOwn = id !== this.#standbyJob && id !== this.#releaseJob;
    if (id === this.#standbyJob) {
      this.#standbyJob = 0;
      const rsc = this.#standbyRsc;
      const isGiver = this.#standby === 'ME';
      const what = isGiver
        ? `${rsc} HA resource release completed (standby).`
        : `${swapped(rsc)} HA resource acquisition completed (standby).`;
      this.#log('info', what, out);
      this.#ask(rsc, 'done', out);
    }
    if (id === this.#releaseJob) {
      this.#releaseJob = 0;
      this.#log('info', 'All HA resources relinquished.', out);
      out.push({ type: 'send', message: haFields({ t: 'shutdone', st: 'dead' }) });
      out.push({ type: 'released' });
      return;
    }
    if (isOwn && gave !== 'none' && this.#state === 'STABLE') {
      this.#sendResource(true, null, out); // free now: the peer may adopt them
    }
    this.#checkOrphans(out);
    if (this.#shutdownWaits) this.shutdown(nowMs, out);
    this.#tryFailback(nowMs, out);
  }

  #cancelStandby(why: string, out: ResourceEffect[]): void {
    if (this.#standby === 'NOT') return;
    this.#log('info', why, out);
    this.#standby = 'NOT';
    this.#standbyMs = Number.POSITIVE_INFINITY;
    this.#standbyJob = 0;
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
    this.#cancelStandby('Cancelling pending standby operation', out);
    this.#needsFailback = true;
    const stonith = (result: string) =>
      out.push({ type: 'send', message: haFields({ t: 'stonith', node: peer, result }) });
    if (heard && this.#otherMay === 'none') {
      this.#log('info', `Dead node ${peer} gave up resources.`, out);
      stonith('unneeded');
      if (this.#hold === 'all') {
        this.#otherStable = true;
        return;
      }
    } else {
      stonith('n_stnth');
      this.#log('WARN', 'No STONITH device configured.', out);
      this.#log('WARN', 'Shared disks are not protected.', out);
    }
    this.#takeOver(peer, out);
    if (this.#shutdownWaits) this.shutdown(nowMs, out);
  }

  /** The peer has released everything and leaves: no need to wait for deadtime. */
  #peerLeft(out: ResourceEffect[]): void {
    const { peer } = this.#config;
    if (this.#state === 'INIT') {
      this.#deadBeforeActive = null;
      return;
    }
    this.#log('info', `Received shutdown notice from '${peer ?? ''}'.`, out);
    this.#cancelStandby('Cancelling pending standby operation', out);
    this.#needsFailback = true;
    this.#peerDead = true;
    this.#takeOver(peer, out);
  }

  /** The peer's heartbeat started anew before we missed it: what it promised is forgotten there. */
  peerRestarted(out: ResourceEffect[]): void {
    this.#cancelStandby('Cancelling pending standby operation', out);
    this.#otherStable = false;
  }

  #takeOver(peer: string | null, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') {
      const text = 'Resource takeover cancelled - shutdown in progress.';
      this.#log('info', text, out);
      return;
    }
    if (peer !== null) this.#log('info', `Resources being acquired from ${peer}.`, out);
    this.#hold = 'all';
    this.#other = 'none';
    this.#otherMay = 'none';
    this.#otherStable = true;
    this.#job('take', 'all', out);
    this.#sendResource(true, 'req_our_resources()', out);
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

  /**
   * hb_standby: an operator's request, or our own after a failed start. The original sends it when it will not follow it
   * itself, too; the other node, if it can take the groups, then waits for them for an hour.
   */
  requestStandby(rsc: Hold, out: ResourceEffect[]): void {
    const blocked = this.standbyBlocked;
    if (blocked !== null) {
      this.#log('WARN', `request to go standby [${rsc}] ignored.  ${blocked}`, out);
      return;
    }
    this.#log('info', `Going standby [${rsc}].`, out);
    this.#ask(rsc, 'me', out);
  }

  get standbyBlocked(): string | null {
    return this.#standby === 'NOT' ? this.#inFlux() : 'Standby in progress.';
  }

  /** A group did not start and has been stopped again. */
  startFailed(key: string, scope: 'local' | 'foreign', nowMs: number, out: ResourceEffect[]): void {
    if (this.#handedOver.delete(key)) {
      const text = `Resource group ${key} does not start on either node: it stays stopped until an operator acts.`;
      this.#log('CRIT', text, out);
      return;
    }
    this.#failed.set(key, scope);
    if (this.#failedMs === Number.POSITIVE_INFINITY) {
      this.#failedMs = nowMs + START_FAILED_STANDBY_MS;
    }
  }

  started(key: string): void {
    this.#failed.delete(key);
    this.#handedOver.delete(key);
    if (this.#failed.size === 0) this.#failedMs = Number.POSITIVE_INFINITY;
  }

  #handOverFailed(nowMs: number, out: ResourceEffect[]): void {
    if (nowMs < this.#failedMs || this.#failed.size === 0) return;
    if (this.inTransition || !this.#otherStable || this.#peerDead || this.#config.peer === null) {
      this.#failedMs = nowMs + START_FAILED_STANDBY_MS; // nobody could take it now
      return;
    }
    const scopes = new Set(this.#failed.values());
    const [scope = 'local'] = scopes;
    const rsc: Hold = scopes.size === 2 ? 'all' : scope;
    for (const key of this.#failed.keys()) this.#handedOver.add(key);
    this.#failed.clear();
    this.#failedMs = Number.POSITIVE_INFINITY;
    if (both(this.#hold, rsc) !== 'none') this.requestStandby(rsc, out);
  }

  /** auto_failback on: give the returned node its groups back. */
  #tryFailback(nowMs: number, out: ResourceEffect[]): void {
    if (nowMs < this.#failbackMs) return;
    const wants = this.#config.autoFailback && this.#needsFailback;
    const possible = this.#otherStable && !this.#peerDead && includes(this.#hold, 'foreign');
    if (!wants || !possible) {
      this.#failbackMs = Number.POSITIVE_INFINITY; // set again when the peer becomes stable
      return;
    }
    this.#failbackMs = nowMs + FAILBACK_RETRY_MS; // until it has happened: a request may go unanswered
    if (this.inTransition) return;
    this.#ask('foreign', 'me', out);
  }

  #checkStandbyTimer(nowMs: number, out: ResourceEffect[]): void {
    // While our own scripts run the step is not over, whatever the clock says.
    if (nowMs < this.#standbyMs || this.#standbyJob !== 0) return;
    this.#cancelStandby('No reply to standby request.  Standby request cancelled.', out);
    this.#checkOrphans(out); // it was put off meanwhile
  }

  /** Release everything and leave, as soon as nothing is half done. Calling it again is harmless. */
  shutdown(_nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') return;
    if (this.#jobs.size > 0 || this.#standby !== 'NOT') {
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
    this.#standby = 'NOT';
    this.#standbyJob = 0;
    const wasActive = this.#state !== 'INIT';
    this.#state = 'SHUTDOWN';
    const held = this.#hold;
    this.#hold = 'none';
    if (wasActive) this.#sendResource(false, 'shutdown', out);
    this.#log('info', 'Giving up all HA resources.', out);
    this.#releaseJob = this.#job('give', 'all', out);
    this.#jobs.set(this.#releaseJob, held); // the others' groups are stopped too, but do not run here
  }

  tick(nowMs: number, out: ResourceEffect[]): void {
    if (this.#state === 'SHUTDOWN') return;
    this.#checkStandbyTimer(nowMs, out);
    if (this.#state === 'RSCRCVD' && nowMs >= this.#timerMs) {
      this.#log('info', 'local resource transition completed.', out);
      this.#becomeStable('T_RESOURCES(us)', nowMs, out);
    }
    this.#handOverFailed(nowMs, out);
    this.#tryFailback(nowMs, out);
    if (this.#shutdownWaits) this.shutdown(nowMs, out);
  }

  get deadlineMs(): number {
    if (this.#state === 'SHUTDOWN') return Number.POSITIVE_INFINITY;
    const standbyMs = this.#standbyJob === 0 ? this.#standbyMs : Number.POSITIVE_INFINITY;
    return Math.min(standbyMs, this.#timerMs, this.#failbackMs, this.#failedMs);
  }
}
