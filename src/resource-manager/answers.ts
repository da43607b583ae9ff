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
