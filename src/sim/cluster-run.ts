/**
 * One run of the profile `cluster`: first safety under faults, then everything is healed and each group must run once; or the log names the
 * decision that only an operator can take, which is then taken as the manual says (I9).
 */
import type { DigestSource } from '../base/ports.js';
import { isOffline } from './check/cluster-standing.js';
import { carryOutCluster, healCluster } from './cluster-actions.js';
import type { ClusterNode } from './cluster-node.js';
import type { ClusterGroup } from './cluster-setup.js';
import { ClusterWorld } from './cluster-world.js';
import { assertionText, type RunResult } from './run.js';
import type { SimNet } from './sim-net.js';
import type { ClusterPlan } from './swarm-cluster.js';
import { Trace } from './trace.js';

export interface ClusterSchedule extends ClusterPlan {
  readonly seed: number;
}

/** Both anew: initdead, the start-up timer, a lease, stop-limit, a hand-over that is refused once, what did not start tried elsewhere. */
const SETTLE_MS = 180_000;
const STEP_MS = 1000;
/** It goes on as it is for so long at least. */
const STAYS_MS = 30_000;
/** At rest: so many looks one after the other. */
const CALM = 5;
/** The operator looks, and lets it work in between. */
const PATIENCE_MS = 45_000;
const MOST_DECISIONS = 4;
const TAIL_LINES = 120;

/** What the log says when somebody has to decide. */
const NAMED =
  /stays stopped until an operator acts|goes on claiming it|FAILED_OFFLINE|is in dispute|moves in the last hour are enough|Giving up resources due to failure|authtoken does not match/;

export function runCluster(
  { seed, setup, steps, faultsMs }: ClusterSchedule,
  digests: DigestSource,
  sink: ((line: string) => void) | null,
  prepare: (world: { readonly net: SimNet }) => void = () => {},
): RunResult {
  const trace = new Trace(sink);
  const world = new ClusterWorld(seed, setup, digests, trace);
  prepare(world);
  try {
    play(world, steps, faultsMs);
  } catch (e) {
    // A broken assertion of the production code: the process would have died here.
    world.violate('assert', 'assertion', assertionText(e));
  }
  const violation = world.violations[0] ?? null;
  return {
    seed,
    violation,
    virtualMs: world.nowMs,
    steps: world.stepsDone,
    writes: 0,
    reads: 0,
    rows: 0,
    looked: Object.fromEntries(world.looked),
    coverage: world.coverage.report(),
    traceHash: trace.hash,
    lines: trace.count,
    tail: violation ? trace.last(TAIL_LINES) : [],
  };
}

function play(w: ClusterWorld, steps: ClusterPlan['steps'], faultsMs: number): void {
  for (const step of steps) {
    w.runUntil(step.atMs);
    if (w.violations.length > 0) return;
    carryOutCluster(w, step.text);
  }
  w.runUntil(faultsMs);
  if (w.violations.length > 0) return;
  settle(w);
  if (w.violations.length === 0) w.end();
}

function settle(w: ClusterWorld): void {
  w.trace.line(w.nowMs, '', 'step', 'heal all');
  healCluster(w);
  const healedMs = w.nowMs;
  let deadlineMs = w.nowMs + SETTLE_MS;
  let lookMs = w.nowMs + PATIENCE_MS;
  let decisions = 0;
  for (let calm = 0; calm < CALM && w.violations.length === 0; ) {
    for (const node of w.bothNodes) if (node.powered) node.heartbeat.start(); // where it has ended
    w.runUntil(w.nowMs + STEP_MS);
    calm = isSettled(w) ? calm + 1 : 0;
    if (calm > 0 || w.nowMs < lookMs) continue;
    lookMs = w.nowMs + PATIENCE_MS;
    if (decisions < MOST_DECISIONS && decide(w)) {
      decisions++;
      deadlineMs = w.nowMs + SETTLE_MS;
    } else if (w.nowMs >= deadlineMs) {
      const seconds = Math.round((w.nowMs - healedMs) / 1000);
      w.violate('I9', 'liveness', `not settled ${seconds} s after the last fault: ${shown(w)}`);
    }
  }
  if (w.violations.length === 0) w.count('liveness');
  w.liedTo = false;
  w.runUntil(w.nowMs + STAYS_MS);
  if (w.violations.length === 0 && !areOnce(w)) {
    w.violate('I9', 'liveness', `it had settled, and did not stay so: ${shown(w)}`);
  }
}

/** The patient operator reads the log. True: there was something to decide, and it was. */
function decide(w: ClusterWorld): boolean {
  const offline = w.bothNodes.filter(isOffline);
  w.operatorMs = w.nowMs;
  if (offline.length > 0) {
    for (const node of offline) {
      w.trace.line(w.nowMs, node.name, 'step', `recover ${node.name} --force`);
      node.heartbeat.recover(node.name, { force: true, activatePrimary: true });
    }
    return true;
  }
  if (!w.named.some((text) => NAMED.test(text))) return false;
  w.named.length = 0;
  w.trace.line(w.nowMs, '', 'step', 'heartbeat is stopped and started on both nodes');
  for (const node of w.bothNodes) node.heartbeat.stop();
  w.runUntil(w.nowMs + PATIENCE_MS / 2);
  for (const node of w.bothNodes) node.heartbeat.start();
  return true;
}

function isSettled(w: ClusterWorld): boolean {
  return areOnce(w) && w.bothNodes.every(isAtRest);
}

function areOnce(w: ClusterWorld): boolean {
  return w.setup.groups.every((group) => ranBy(w, group).length === 1);
}

/** Who has all of the group, or a part of it. */
function ranBy(w: ClusterWorld, { address, service }: ClusterGroup): readonly ClusterNode[] {
  const some = w.bothNodes.filter(
    ({ scripts }) =>
      scripts.services.has(service) || (address !== null && scripts.addresses.has(address)),
  );
  const whole = ({ scripts }: ClusterNode) =>
    scripts.services.get(service)?.state === 'running' &&
    (address === null || scripts.addresses.has(address));
  return some.every(whole) ? some : [];
}

function isAtRest(node: ClusterNode): boolean {
  const life = node.heartbeat.node;
  return life !== null && !life.resources.inTransition && !life.leaving;
}

function shown(w: ClusterWorld): string {
  return w.bothNodes
    .map((n) => {
      const life = n.heartbeat.node;
      const state = life
        ? `${life.resources.state} claims ${life.resources.claims()}`
        : `heartbeat ${n.heartbeat.phase}`;
      const has = [...n.scripts.services.keys(), ...n.scripts.addresses].join(' ');
      const standing = isOffline(n) ? ', FAILED_OFFLINE' : '';
      return `${n.name}: ${n.powered ? state : 'off'}${standing}, has ${has === '' ? 'nothing' : has}`;
    })
    .join('; ');
}
