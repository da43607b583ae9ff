/** What a step of a schedule is for the summary: a fault, something that an operator did, or the end of a fault. */
import type { Counts } from './coverage.js';

export type StepClass = 'fault' | 'operator' | 'repair';

const REPAIRS =
  /^(heal|boot|look after|start heartbeat) | works$|^disk .* remember|^ping nodes .* answer$|^witness hears/;
const OPERATOR = /^(drbdadm|set|serve|unserve|switch|hb_\w+|stop heartbeat|recover|reload|keys) /;

export function classOf(usage: string): StepClass {
  if (REPAIRS.test(usage)) return 'repair';
  return OPERATOR.test(usage) ? 'operator' : 'fault';
}

export function ofClass(steps: Counts, wanted: StepClass): Counts {
  return Object.fromEntries(Object.entries(steps).filter(([usage]) => classOf(usage) === wanted));
}

export function total(counts: Counts): number {
  return Object.values(counts).reduce((sum, n) => sum + n, 0);
}
