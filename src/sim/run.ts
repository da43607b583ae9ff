/**
 * One run of the simulator: first safety under faults, then everything is healed and the pair must settle: Connected,
 * UpToDate on both sides, one node serving; or it names the decision that only an operator can take, which is then taken as
 * the manual says (I9).
 */
import type { DigestSource } from '../base/ports.js';
import { UUID_JUST_CREATED } from '../drbd/generation.js';
import { Conns, connName, Disks, diskName, Roles, roleName } from '../drbd/state.js';
import { carryOut, healAll, type Step } from './actions.js';
import { isQuiet } from './check/equal.js';
import type { ClusterConfig } from './config.js';
import type { CoverageReport } from './coverage.js';
import { releaseMemory } from './engine-memory.js';
import type { SimNode } from './sim-node.js';
import { Trace } from './trace.js';
import { inSync, type Violation, World } from './world.js';

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
const STEP_MS = 500;
/** Longer than any take-over of these timings. */
const HEARTBEAT_PATIENCE_MS = 45_000;
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
    writes: world.ledger.writesAcked,
    reads: world.ledger.readsChecked,
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
function assertionText(e: unknown): string {
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
  const deadlineMs = w.nowMs + SETTLE_MS;
  let calm = 0;
  while (w.violations.length === 0 && w.nowMs < deadlineMs) {
    calm = isSettled(w) ? calm + 1 : 0;
    if (calm >= 3) break;
    repair(w);
    w.runUntil(w.nowMs + STEP_MS);
  }
  if (w.violations.length > 0) return;
  if (calm < 3) {
    w.violate(
      'I9',
      'liveness',
      `not settled ${SETTLE_MS / 1000} s after the last fault: ${w.bothNodes.map(shown).join('; ')}`,
    );
    return;
  }
  w.count('liveness');
  w.ending = true;
  for (const n of w.bothNodes) n.client?.stop(() => {});
  w.runUntil(w.nowMs + 10_000);
  for (const n of w.bothNodes) {
    if (w.violations.length > 0 || isQuiet(n)) continue;
    w.violate(
      'I9',
      'liveness',
      `${n.name} is not quiet 10 s after its client has stopped: ${shown(n)}`,
    );
  }
}

function isSettled(w: World): boolean {
  const [a, b] = [w.nodes.alpha, w.nodes.beta];
  if (!a.state || !b.state || !inSync(a.state) || !inSync(b.state)) return false;
  const serving = [a, b].filter((n) => n.client !== null);
  return serving.length === 1 && serving[0]?.state?.role === Roles.Primary;
}

const lastTry = new WeakMap<SimNode, number>();

/** What a patient administrator does about a state that does not mend itself. */
function repair(w: World): void {
  for (const n of w.bothNodes) {
    const s = n.state;
    const since = w.nowMs - (lastTry.get(n) ?? Number.NEGATIVE_INFINITY);
    if (since < 4000) continue;
    const act = (what: () => void): void => {
      lastTry.set(n, w.nowMs);
      what();
    };
    if (s === null) act(() => n.drbdadm('up', [], () => {}));
    else if (s.disk === Disks.Diskless) act(() => n.drbdadm('attach', [], () => {}));
    else if (s.susp) act(() => n.drbdadm('resume-io', [], () => {}));
    else if (s.userIsp) act(() => n.drbdadm('resume-sync', [], () => {}));
    else if (s.conn === Conns.StandAlone && isOnlyNewest(n)) act(() => takeAsItIs(w, n));
    else if (hasOnlyCopy(n)) act(() => takeAsItIs(w, n));
    else if (s.conn === Conns.StandAlone) act(() => reconnect(w, n));
    else if (s.conn === Conns.Connected) connectedRepair(w, n, act);
  }
  serveAgain(w);
}

/** It runs on an Inconsistent disk, and no better copy is in reach. */
function isOnlyNewest(n: SimNode): boolean {
  const s = n.state;
  const other = n.peer.state;
  if (s?.role !== Roles.Primary || s.disk !== Disks.Inconsistent) return false;
  return other === null || other.disk < Disks.Consistent;
}

/** No disk is good any more, nobody serves, and only this one has ever had a generation of data. */
function hasOnlyCopy(n: SimNode): boolean {
  const s = n.state;
  const other = n.peer.state;
  if (!s || !other || s.conn >= Conns.Connected || n.client || n.peer.client) return false;
  if (s.disk !== Disks.Inconsistent || other.disk !== Disks.Inconsistent) return false;
  const created = (m: SimNode): boolean => m.drbdd?.volume?.uuids.current === UUID_JUST_CREATED;
  return !created(n) && created(n.peer);
}

/** The administrator takes this copy, knowing that a block of it may be bad. */
function takeAsItIs(w: World, n: SimNode): void {
  w.truth.force(n.name, 'primary --force');
  n.drbdadm('primary', ['--force'], () => n.drbdadm('connect', [], () => {}));
}

/** StandAlone: somebody ended the connection, or the generations do not fit. The node that serves keeps its data. */
function reconnect(w: World, n: SimNode): void {
  const victim = n.client === null && (n.peer.client !== null || n.name === 'beta');
  if (!victim) {
    if (n.peer.state?.conn === Conns.StandAlone && n.client === null && n.peer.client === null) {
      n.drbdadm('connect', [], () => {});
      return;
    }
    n.drbdadm('connect', [], () => {});
    return;
  }
  const attempt = w.reconnects++;
  // First as it is; when that ends StandAlone again, this side's changes are given up.
  if (attempt % 2 === 0) {
    n.drbdadm('connect', [], () => {});
    return;
  }
  n.device.release();
  if (attempt % 4 === 3) {
    // No common ancestor among the generations that are remembered: one copy is made anew.
    w.truth.replaced(n.name);
    n.recreateMeta();
    return;
  }
  n.drbdadm('secondary', [], () => {
    w.truth.force(n.peer.name, 'connect --discard-my-data');
    n.drbdadm('connect', ['--discard-my-data'], () => {});
  });
}

/** Connected, but no disk that anybody may use: the operator says which copy counts. */
function connectedRepair(w: World, n: SimNode, act: (what: () => void) => void): void {
  const s = n.state;
  if (!s) return;
  const useless = (d: number): boolean => d < Disks.Consistent;
  if (useless(s.disk) && useless(s.pdsk) && n.name === w.lastActive) {
    act(() => {
      w.truth.force(n.name, 'primary --force');
      n.drbdadm('primary', ['--force'], () => n.drbdadm('secondary', [], () => {}));
    });
  } else if (s.disk === Disks.UpToDate && s.pdsk === Disks.UpToDate) {
    return;
  } else if (s.disk < Disks.UpToDate && s.pdsk === Disks.UpToDate) {
    // Left alone with an old copy although the peer's is good: ask for it.
    act(() => n.drbdadm('invalidate', [], () => {}));
  }
}

/** With heartbeat: nobody serves for a while, so the administrator restarts heartbeat on both nodes. */
function serveByHeartbeat(w: World): void {
  const serving = w.bothNodes.some((n) => n.client !== null);
  if (serving) w.idleSinceMs = w.nowMs;
  if (serving || w.nowMs - w.idleSinceMs < HEARTBEAT_PATIENCE_MS) return;
  w.idleSinceMs = w.nowMs;
  for (const n of w.bothNodes) n.heartbeat?.heartbeat.stop();
}

function serveAgain(w: World): void {
  if (w.config.heartbeat !== null) {
    for (const n of w.bothNodes) n.heartbeat?.heartbeat.start();
    serveByHeartbeat(w);
    return;
  }
  const serving = w.bothNodes.filter((n) => n.client !== null);
  if (serving.length === 2 && serving.every((n) => n.state !== null)) {
    // Two services after a split brain: the operator ends the one that did not run last.
    const loser = serving.find((n) => n.name !== w.lastActive);
    loser?.unserve(() => {});
    return;
  }
  const [one] = serving;
  if (one && one.state?.role !== Roles.Primary && one.state !== null) {
    // Its device was taken away: it is not a service any more.
    one.stopClient(() => one.device.release());
    return;
  }
  if (serving.length > 0 || w.starting) return;
  const order = [w.node(w.lastActive), w.node(w.lastActive).peer];
  const candidate = order.find((n) => n.state?.disk === Disks.UpToDate) ?? order[0];
  if (!candidate || candidate.peer.state?.role === Roles.Primary) {
    const held = candidate?.peer;
    if (held && held.device.openers === 0) held.drbdadm('secondary', [], () => {});
    else if (held) held.unserve(() => {});
    return;
  }
  w.starting = true;
  candidate.serve([], (ok) => {
    w.starting = false;
    if (ok) w.lastActive = candidate.name;
  });
}

export function shown(n: SimNode): string {
  const s = n.state;
  if (!s) return `${n.name}: ${n.powered ? 'no volume' : 'off'}`;
  const v = n.drbdd?.volume;
  const busy = v
    ? ` ap:${v.app.pending} lo:${v.app.local} pe:${v.app.remote} ua:${v.peerIo.unacked} rs:${v.resync.pending} tl:${v.link?.transferLog.count ?? '-'} device:${n.device.pending}`
    : '';
  return `${n.name}: cs:${connName(s.conn)} ro:${roleName(s.role)}/${roleName(s.peer)} ds:${diskName(s.disk)}/${diskName(s.pdsk)}${busy} client:${n.client ? 'yes' : 'no'}`;
}
