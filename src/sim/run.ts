/**
 * One run of the simulator: first safety under faults, then everything is healed and the pair must settle: Connected,
 * UpToDate on both sides, one node serving; or it names the decision that only an operator can take, which is then taken as
 * the manual says (I9).
 */
import type { DigestSource } from '../base/ports.js';
import { Conns, connName, diskName, isSuspended, Roles, roleName } from '../drbd/state.js';
import { carryOut, healAll, type Step } from './actions.js';
import { isQuiet } from './check/equal.js';
import type { ClusterConfig } from './config.js';
import type { CoverageReport } from './coverage.js';
import { releaseMemory } from './engine-memory.js';
import { Repair } from './repair.js';
import type { Replica } from './replica.js';
import { inSync, type ReplicatedDevice } from './replicated-device.js';
import type { SimNode } from './sim-node.js';
import { Trace } from './trace.js';
import { type Violation, World } from './world.js';

export interface Schedule {
  readonly seed: number;
  readonly config: ClusterConfig;
  readonly steps: readonly Step[];
  readonly faultsMs: number;
}

export interface RunResult {
  readonly seed: number;
  readonly violation: Violation | null;
  readonly virtualMs: number;
  readonly steps: number;
  readonly writes: number;
  readonly reads: number;
  readonly rows: number;
  readonly looked: Readonly<Record<string, number>>;
  readonly coverage: CoverageReport;
  readonly traceHash: number;
  readonly lines: number;
  readonly tail: readonly string[]; // of the trace, when something was violated
}

const SETTLE_MS = 150_000;
/** A resync that does at least so many blocks in a second is waited for so long. */
const SLOWEST_RESYNC = 2;
const RESYNC_LIMIT_MS = 1_800_000;
const STEP_MS = 500;
/** For what its client has asked to be answered, once that has stopped. */
const QUIET_MS = 10_000;
/** So often a move of the service is waited for. */
const MOST_MOVES = 12;
const TAIL_LINES = 120;

/** Something that wants to look at the world, or listen to it, before anything happens. */
export type Prepare = (world: World) => void;

export function run(
  schedule: Schedule,
  digests: DigestSource,
  sink: ((line: string) => void) | null,
  prepare: Prepare = () => {},
): RunResult {
  const { seed, config } = schedule;
  return execute(seed, config, digests, sink, prepare, (world) => {
    for (const step of schedule.steps) {
      world.runUntil(step.atMs);
      if (world.violations.length > 0) return;
      carryOut(world, step.text);
    }
    world.runUntil(schedule.faultsMs);
    if (world.violations.length === 0) settle(world);
  });
}

/** Builds a world, lets `play` happen in it, and says what came of it. */
export function execute(
  seed: number,
  config: ClusterConfig,
  digests: DigestSource,
  sink: ((line: string) => void) | null,
  prepare: Prepare,
  play: (world: World) => void,
): RunResult {
  const trace = new Trace(sink);
  const world = new World(seed, config, digests, trace);
  prepare(world);
  try {
    play(world);
    if (world.violations.length === 0) world.end();
  } catch (e) {
    // A broken assertion of the production code: the process would have died here.
    world.violate('assert', 'assertion', assertionText(e));
  } finally {
    releaseMemory(world.net);
  }
  const violation = world.violations[0] ?? null;
  return {
    seed,
    violation,
    virtualMs: world.nowMs,
    steps: world.stepsDone,
    writes: sumOf(world, ({ ledger }) => ledger.writesAcked),
    reads: sumOf(world, ({ ledger }) => ledger.readsChecked),
    rows: world.rowsAcknowledged,
    looked: Object.fromEntries(world.looked),
    coverage: world.coverage.report(),
    traceHash: trace.hash,
    lines: trace.count,
    tail: violation ? trace.last(TAIL_LINES) : [],
  };
}

const FRAMES = 8;

/**
 * What was broken and where, in words that are the same wherever the program is installed and whoever runs it: no paths; no
 * lines either, which a loader with source maps counts in the sources.
 */
export function assertionText(e: unknown): string {
  if (!(e instanceof Error)) return String(e);
  const frames: string[] = [];
  for (const line of (e.stack ?? '').split('\n')) {
    const m = /at (?:(?:new |async )?(\S+) .*)?\/src\/((?!cli\/)[^:]+)\.[jt]s:\d+:/.exec(line);
    if (m) frames.push(`  at ${m[1] ?? '(anonymous)'} ${m[2]}`);
  }
  return [`${e.name}: ${e.message}`, ...frames.slice(0, FRAMES)].join('\n');
}

/** Faults end; the operator does what the manual says; within the bound all is well. */
export function settle(w: World): void {
  w.healing = true;
  w.idleSinceMs = w.nowMs;
  w.trace.line(w.nowMs, '', 'step', 'heal all');
  healAll(w);
  w.runUntil(w.nowMs + 5000);
  const healedMs = w.nowMs;
  let deadlineMs = healedMs + SETTLE_MS;
  const repair = new Repair(w);
  let calm = 0;
  let left = blocksLeft(w);
  let copied = 0; // since the deadline was set
  while (w.violations.length === 0) {
    calm = isSettled(w) ? calm + 1 : 0;
    if (calm >= 3) break;
    if (w.nowMs >= deadlineMs) {
      // A slow peer under protocol A takes the users' writes first, as with the originals: while a resync goes on, or a verify, it is waited for.
      if (w.nowMs >= healedMs + RESYNC_LIMIT_MS || copied < (SETTLE_MS / 1000) * SLOWEST_RESYNC)
        break;
      deadlineMs = w.nowMs + SETTLE_MS;
      copied = 0;
    }
    repair.step();
    w.runUntil(w.nowMs + STEP_MS);
    const now = blocksLeft(w);
    copied += Math.max(0, left - now);
    left = now;
  }
  if (w.violations.length > 0) return;
  if (calm < 3) {
    w.violate(
      'I9',
      'liveness',
      `not settled ${Math.round((w.nowMs - healedMs) / 1000)} s after the last fault: ${w.bothNodes.map(shown).join('; ')}`,
    );
    return;
  }
  w.count('liveness');
  w.ending = true;
  for (const r of replicasOf(w)) r.client?.stop(() => {});
  w.runUntil(w.nowMs + QUIET_MS);
  // A connection that was lost in the last moment is made again, and its resync is not over yet.
  // Or the service moves once more: a heartbeat that found itself cut off has restarted.
  let moves = MOST_MOVES;
  while (w.violations.length === 0 && (isCopying(w) || (isMoving(w) && moves-- > 0))) {
    w.runUntil(w.nowMs + QUIET_MS);
  }
  for (const n of w.bothNodes) {
    if (w.violations.length > 0 || n.replicas.every(isQuiet)) continue;
    w.violate(
      'I9',
      'liveness',
      `${n.name} is not quiet 10 s after its client has stopped: ${shown(n)}`,
    );
  }
}

/** A resync or a verify is under way, and got on since the last look. */
function isCopying(w: World): boolean {
  const left = blocksLeft(w);
  if (left === 0) return false;
  w.runUntil(w.nowMs + STEP_MS);
  return blocksLeft(w) < left;
}

/** Scripts start or stop the service: what they do to the device is I/O. */
function isMoving(w: World): boolean {
  return w.bothNodes.some((n) => [...(n.heartbeat?.scripts.runs ?? [])].length > 0);
}

/** Of a resync, or of an online verify, that is under way. */
function blocksLeft(w: World): number {
  return sumOf(w, ({ bothNodes }) => {
    const one = bothNodes.find(
      (n) => n.state?.conn === Conns.SyncTarget || n.state?.conn === Conns.VerifyS,
    );
    const v = one?.volume;
    return (v?.state.conn === Conns.VerifyS ? v.verify.progress?.leftBits : v?.bitmap?.count) ?? 0;
  });
}

function sumOf(w: World, of: (device: ReplicatedDevice) => number): number {
  return w.devices.reduce((sum, device) => sum + of(device), 0);
}

function replicasOf(w: World): readonly Replica[] {
  return w.bothNodes.flatMap((n) => n.replicas);
}

function isSettled(w: World): boolean {
  for (const { state } of replicasOf(w)) {
    if (!state || !inSync(state)) return false;
    // Frozen by an operator who has not said resume-io yet, or for good.
    if (isSuspended(state)) return false;
  }
  const serving = w.bothNodes.filter((n) => n.client !== null);
  const primary = serving[0]?.replicas.every((r) => r.state?.role === Roles.Primary);
  return serving.length === 1 && primary === true;
}

export function shown(n: SimNode): string {
  const [first = '', ...more] = n.replicas.map(shownReplica);
  return [`${n.name}: ${first}`, ...more.map((text, i) => `drbd${i + 1}: ${text}`)].join(', ');
}

function shownReplica(n: Replica): string {
  const s = n.state;
  if (!s) return n.powered ? 'no volume' : 'off';
  const v = n.volume;
  const busy = v
    ? ` ap:${v.app.pending} lo:${v.app.local} pe:${v.app.remote} ua:${v.peerIo.unacked} rs:${v.resync.pending} tl:${v.link?.transferLog.count ?? '-'} device:${n.device.pending}`
    : '';
  return `cs:${connName(s.conn)} ro:${roleName(s.role)}/${roleName(s.peer)} ds:${diskName(s.disk)}/${diskName(s.pdsk)}${busy} client:${n.client ? 'yes' : 'no'}`;
}
