/** Answers of the world to the questions of the cluster's machines (host/heartbeat-questions.ts). */

/** What became of a node that was to be reset. none: no device is there for it. Source: cluster-glue stonith.h, its exit codes. */
export type FenceAnswer = 'OK' | 'bad' | 'badhost' | 'none';

/** Disk states of a resource in DRBD's words, one for each of its volumes. */
export interface DataState {
  readonly own: readonly string[];
  readonly peer: readonly string[];
}

/** Whether a node may run what is on its disks. */
export type DataVerdict =
  | { readonly isGood: true }
  | { readonly isGood: false; readonly why: string };

/** Whether they are good enough for a take-over; `force`: the command that makes them count all the same. */
export type OwnDataVerdict =
  | { readonly isGood: true }
  | { readonly isGood: false; readonly why: string; readonly force: string };

/** What a node asks the witness for; its answer counts from when this was sent. */
export interface ArbiterAsk {
  readonly verb: 'take' | 'renew' | 'release';
  readonly node: string;
  readonly generation: number;
  readonly leaseMs: number;
}

/**
 * granted: this node holds the lease, for leaseMs from the sending of the request; `released`: the life of the other node, by its
 * generation, that had released it before, having stopped everything, 0: none had. silent: no answer, and so no lease.
 */
export type ArbiterAnswer =
  | { readonly verdict: 'granted'; readonly released: number }
  | { readonly verdict: 'refused'; readonly holder: string }
  | { readonly verdict: 'silent' };
