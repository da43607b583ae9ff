/** Answers of the world to the questions of the cluster's machines (host/heartbeat-questions.ts). */

/** What became of a node that was to be reset. none: no device is there for it. Source: cluster-glue stonith.h, its exit codes. */
export type FenceAnswer = 'OK' | 'bad' | 'badhost' | 'none';
