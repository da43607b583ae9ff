/** The checkers of the profile `cluster`. */
import type { ClusterWorld } from '../cluster-world.js';
import { ClusterAnnounce } from './cluster-announce.js';
import type { ClusterChecker } from './cluster-checker.js';
import { ClusterLease } from './cluster-lease.js';
import { ClusterOnce } from './cluster-once.js';
import { ClusterOrder } from './cluster-order.js';
import { ClusterPermission } from './cluster-permission.js';
import { ClusterRates } from './cluster-rates.js';
import { ClusterStanding } from './cluster-standing.js';

export const CLUSTER_CHECKERS: readonly ((world: ClusterWorld) => ClusterChecker)[] = [
  (w) => new ClusterOnce(w),
  (w) => new ClusterPermission(w),
  (w) => new ClusterStanding(w),
  (w) => new ClusterOrder(w),
  (w) => new ClusterRates(w),
  (w) => new ClusterLease(w),
  (w) => new ClusterAnnounce(w),
];
