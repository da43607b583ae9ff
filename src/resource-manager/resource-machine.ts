/**
 * What a resource state machine is to the host: ResourceState (auto_failback on and off) or LegacyState (legacy).
 * Inputs are calls with the time given in, effects go into the caller's array.
 */
import type { HaMessage } from '../wire/hamsg.js';
import type { DataVerdict, OwnDataVerdict } from './answers.js';
import type { Hold } from './hold.js';
import type { StandbyPhase } from './standby.js';

export type RscState = 'INIT' | 'STARTING' | 'BOTHSTARTING' | 'RSCRCVD' | 'STABLE' | 'SHUTDOWN';

export type ResourceLevel = 'info' | 'WARN' | 'ERROR' | 'CRIT';

export type ResourceEffect =
  | { readonly type: 'send'; readonly message: HaMessage }
  | {
      readonly type: 'job';
      readonly id: number; // comes back by jobDone
      readonly kind: 'take' | 'give';
      readonly scope: Hold; // in our terms; 'all' for every group of the file
      readonly key: string | null; // only this group
    }
  /**
   * The peer is dead: may its groups be taken over? Comes back by `permitted`; `needed`: it may run something.
   * `withdraw`: the question is not open any more.
   */
  | { readonly type: 'permission'; readonly id: number; readonly needed: boolean }
  | { readonly type: 'withdraw' }
  /** Are the peer's disks good enough for its own groups? Comes back by `peersData`. */
  | { readonly type: 'data' }
  /** Are our own disks good enough for the groups of this scope, which a dead peer ran? Comes back by `ownData`. */
  | { readonly type: 'own-data'; readonly id: number; readonly scope: Hold }
  /** Nothing is held any more and the peer has been told. */
  | { readonly type: 'released' }
  /** The peer runs what we run: give everything up and start again. */
  | { readonly type: 'yield' }
  | { readonly type: 'log'; readonly level: ResourceLevel; readonly text: string };

export interface MoveSettings {
  readonly failbackDelayMs: number;
  readonly movesPerHour: number; // 0: no limit
}

export interface ResourceMachine {
  readonly state: RscState;
  readonly hold: Hold;
  readonly other: Hold;
  readonly standby: StandbyPhase;
  readonly inTransition: boolean;
  /** `cl_status rscstatus` */
  readonly rscStatus: Hold | 'transition';
  /** Why hb_standby and hb_takeover cannot be, null when they can. */
  readonly standbyRefusal: string | null;
  /** Why a request of ours to go standby would not be followed now. */
  readonly standbyBlocked: string | null;
  /** Why nothing is started or taken over here; null: it may be. */
  readonly barred: string | null;
  /** The peer says that it may run nothing. */
  readonly peerBarred: boolean;
  readonly deadlineMs: number;
  /** What we claim, and what we are still stopping although we have dropped the claim. */
  claims(): Hold;
  /** Communication is up. */
  active(nowMs: number, out: ResourceEffect[]): void;
  /** A message for us, from the peer or (own) our own, in the order it was sent. */
  receive(message: HaMessage, own: boolean, nowMs: number, out: ResourceEffect[]): void;
  peerRestarted(out: ResourceEffect[]): void;
  peerDied(heard: boolean, nowMs: number, out: ResourceEffect[]): void;
  /** The peer is dead, and nothing could come of it when it died, since we were barred. */
  peerStillDead(nowMs: number, out: ResourceEffect[]): void;
  /** Of the question with this id; of another one: nothing. */
  permitted(id: number, nowMs: number, out: ResourceEffect[]): void;
  /** A sign of life of the peer, before anything that it says: what was asked because of its death is not open any more. */
  peerHeard(out: ResourceEffect[]): void;
  peersData(verdict: DataVerdict, nowMs: number, out: ResourceEffect[]): void;
  ownData(id: number, verdict: OwnDataVerdict, nowMs: number, out: ResourceEffect[]): void;
  /** Why nothing is taken over from a dead peer before anybody is asked; null: nothing keeps it. */
  readonly takeOverWaitsFor: string | null;
  /** Why the peer is not given its groups back; null: nothing keeps it. */
  readonly failbackWaitsFor: string | null;
  /** Why the peer is not asked to take what did not start here; null: nothing keeps it. */
  readonly handOverWaitsFor: string | null;
  /** Groups that were held back need not be any more: take again what is claimed. What runs is left alone. */
  takeAgain(out: ResourceEffect[]): void;
  requestStandby(rsc: Hold, out: ResourceEffect[]): void;
  /**
   * With a reason no job takes anything from now on, and no group of the peer's is agreed to. What is claimed stays claimed,
   * so that it can be handed over. Null: what is claimed is taken; the host tells again of a peer that is dead by then (`peerStillDead`).
   */
  setBarred(reason: string | null, nowMs: number, out: ResourceEffect[]): void;
  /** A group runs; a group did not start and has been stopped again. */
  started(key: string): void;
  startFailed(key: string, scope: 'local' | 'foreign', nowMs: number, out: ResourceEffect[]): void;
  /** All groups of a job are done with. Not called for a group that is stuck. */
  jobDone(id: number, nowMs: number, out: ResourceEffect[]): void;
  /** Settings of how groups move by themselves. */
  configure(settings: MoveSettings, nowMs: number): void;
  shutdown(nowMs: number, out: ResourceEffect[]): void;
  release(out: ResourceEffect[]): void;
  tick(nowMs: number, out: ResourceEffect[]): void;
}
