/**
 * The patient administrator: faults are over, and what does not mend itself is mended as the manual says. Each step is one
 * that a person would take after reading the log and `drbdadm status`, seconds apart:
 *
 *     no volume -> up;  Diskless -> attach;  suspended, paused -> resume;  StandAlone -> connect
 *     attach refused, since drbd.conf has another order of resyncs than the node goes by -> adjust
 *     refused again -> one node's data are kept, the other's are given up: --discard-my-data, then create-md, then new-current-uuid
 *     no good copy -> primary --force where the data are
 *     frozen for lack of data, and its own disk is refused; or told that the peer is Primary -> the service ends
 *     given up in a resync again and again (a load that the peer's disk cannot follow within ko-count times timeout) -> ko-count 0
 *     Ahead, or StandAlone by on-congestion: a congestion-fill below what its users have on their way all the time -> on-congestion block
 *     halted again and again, since it is Primary when the nodes meet (pri-lost-after-sb) -> no service there until they have met
 *
 * Which data are kept: those of the node that serves, else of the Primary, else of the better disk, else where it ran last. What
 * concerns one volume is done to that one; the connection is that of all of its resource, and where it is refused the data of one node
 * are kept in all of them. Each resource has its own.
 */
import { maskUuid, UUID_JUST_CREATED } from '../drbd/generation.js';
import { Err } from '../drbd/return-codes.js';
import { Conns, Disks, isSuspended, Roles, type State } from '../drbd/state.js';
import type { Answered, DrbdadmVerb } from './administrator.js';
import { type ResourceName, resourcesOf } from './config.js';
import { setOption } from './options.js';
import type { Replica } from './replica.js';
import type { SimNode } from './sim-node.js';
import type { World } from './world.js';

const PATIENCE_MS = 4000;
/** So often something is tried as it is. */
const FEW = 2;
/** Longer than any take-over of these timings. */
const HEARTBEAT_PATIENCE_MS = 45_000;
/** A resync, or a verify, that takes longer than this gets more of the network. */
const RESYNC_PATIENCE_MS = 30_000;
const FAST_RATE_KIBPS = '50000';
/** A verify that takes longer than this makes way for the users more than it gets on: it is ended. */
const VERIFY_PATIENCE_MS = 90_000;

/** What drbdadm says then. */
const RESYNC_AFTER_CYCLE = `(${Err.RESYNC_AFTER_CYCLE})`;
/** A command that is answered at all is answered in that time. */
const MOMENT_MS = 1000;
/** And when the disk became Outdated under `primary --force`, by its own fence-peer. */
const ONCE_MORE = 'with --force once more';

const nothing = (): void => {};
/** No data of it may be used by itself. */
const isBad = (disk: number): boolean => disk < Disks.Consistent;
const isPrimary = ({ state }: Replica): boolean => state?.role === Roles.Primary;

/** Its peer is Primary (fence-peer has said so). One that is Behind is told by its peer soon. */
const gaveWay = (s: State): boolean =>
  s.role === Roles.Primary && s.disk === Disks.Outdated && s.conn < Conns.Connected;

/** Of a copy. */
interface Notes {
  triedMs: number;
  attaches: number; // tried, since it had its disk last
  syncingSinceMs: number; // +Infinity: it is not
  brokenOff: number; // resyncs of it, while faults are over
}

/** Of the connection of a resource. */
interface ConnectionNotes {
  triedMs: number;
  refusals: number; // since there was one
}

interface NodeNotes {
  powered: boolean;
  halts: number; // since the nodes were connected last
}

export class Repair {
  readonly #world: World;
  readonly #notes = new Map<Replica, Notes>();
  readonly #nodeNotes = new Map<SimNode, NodeNotes>();
  readonly #connections = new Map<ResourceName, ConnectionNotes>();
  #faster = false;
  #patient = false;
  #calmedMs = Number.NEGATIVE_INFINITY;

  constructor(world: World) {
    this.#world = world;
    for (const resource of resourcesOf(world.config)) {
      this.#connections.set(resource, { triedMs: Number.NEGATIVE_INFINITY, refusals: 0 });
    }
    for (const n of world.bothNodes) {
      this.#nodeNotes.set(n, { powered: n.powered, halts: 0 });
      for (const r of n.replicas) {
        this.#notes.set(r, {
          triedMs: Number.NEGATIVE_INFINITY,
          attaches: 0,
          syncingSinceMs: Number.POSITIVE_INFINITY,
          brokenOff: 0,
        });
      }
    }
  }

  /** A look at both nodes. */
  step(): void {
    const world = this.#world;
    for (const n of world.bothNodes) {
      this.#watchPower(n);
      this.#watchCongestion(n);
      for (const r of n.replicas) this.#replica(r);
    }
    for (const [resource, notes] of this.#connections) this.#connection(resource, notes);
    this.#service();
  }

  // ---- one copy

  #replica(r: Replica): void {
    const s = r.state;
    const notes = this.#notes.get(r) as Notes;
    this.#watchResync(r, notes);
    const { nowMs } = this.#world;
    if (!r.powered || nowMs - notes.triedMs < PATIENCE_MS) return;
    const act = (what: () => void): void => {
      notes.triedMs = nowMs;
      what();
    };
    if (s !== null && s.disk >= Disks.Inconsistent) notes.attaches = 0;
    if (s === null) {
      if (r === r.ofResource.find((o) => o.state === null)) {
        act(() => r.node.drbdadm('up', [], nothing, r.resource));
      }
    } else if (s.disk === Disks.Diskless) act(() => this.#attach(r, notes));
    else if (s.susp) act(() => this.#drbdadm(r, 'resume-io'));
    else if (s.userIsp) act(() => this.#drbdadm(r, 'resume-sync'));
    else if (gaveWay(s)) act(() => this.#end(r.node));
    else if (s.conn === Conns.Connected) this.#connected(r, act);
  }

  /** Of this volume alone, where there are several. */
  #drbdadm(
    r: Replica,
    verb: DrbdadmVerb,
    flags: readonly string[] = [],
    done: Answered = nothing,
  ): void {
    r.node.drbdadm(verb, flags, done, r.node.replicas.length > 1 ? r.minor : null);
  }

  #attach(r: Replica, notes: Notes): void {
    const attempt = notes.attaches++;
    // Both are refused beside each other: the one whose data are kept is tried alone for a while.
    const tried = this.#attaches(r.peer);
    const alone = attempt >= FEW && tried >= FEW && tried < 3 * FEW;
    if (alone && r !== this.#keeper(r.minor) && r.state?.pdsk !== Disks.UpToDate) return;
    const inUse = r.state?.role === Roles.Primary;
    if (attempt >= FEW && r.state?.pdsk === Disks.UpToDate) {
      // A split brain, or a disk of somebody else's: it begins anew as a copy of the peer's.
      r.createMeta();
      this.#world.device(r.minor).truth.replaced(r.name);
    } else if (attempt >= FEW && inUse) {
      // The data in use were the peer's, and nobody can reach them: what waits for them is told so.
      this.#end(r.node);
      return;
    }
    this.#drbdadm(r, 'attach', [], (_exit, text) => {
      // Its resync-after was turned round in the file, and the other volume goes by the old one: it has to be told.
      if (text.startsWith(RESYNC_AFTER_CYCLE)) r.node.drbdadm('adjust', [], nothing);
    });
  }

  /** Connected, but no disk that anybody may use, or a bad one beside a good one that nobody copies. */
  #connected(r: Replica, act: (what: () => void) => void): void {
    const s = r.state;
    if (!s) return;
    // A peer that is asked while it attaches refuses: both at once, again and again, come to nothing.
    const inAMoment = this.#world.nowMs - (this.#notes.get(r.peer)?.triedMs ?? 0) < MOMENT_MS;
    const attaching = s.pdsk < Disks.Inconsistent && (this.#attaches(r.peer) < FEW || inAMoment);
    // Consistent, and the peer, without a disk, can not say whether that is the newest.
    const nobodyKnows = s.disk === Disks.Consistent && s.pdsk < Disks.Inconsistent;
    const bad = isBad(s.disk) || nobodyKnows;
    if (bad && isBad(s.pdsk) && !attaching && r === this.#keeper(r.minor)) {
      act(() => this.#force(r));
    } else if (s.disk < Disks.UpToDate && s.pdsk === Disks.UpToDate) {
      act(() => this.#drbdadm(r, 'invalidate'));
    }
  }

  #attaches(r: Replica): number {
    return this.#notes.get(r)?.attaches ?? 0;
  }

  /** This copy is taken as it is, knowing that a block of it may be bad or old. */
  #force(r: Replica): void {
    const serves = r.state?.role === Roles.Primary;
    this.#world.device(r.minor).truth.force(r.name, 'primary --force');
    this.#drbdadm(r, 'primary', ['--force'], () => {
      if (!serves) this.#drbdadm(r, 'secondary');
    });
  }

  // ---- one node

  /** The same of all copies of a resource. */
  #forceAll({ node: n, resource, ofResource }: Replica, done: () => void): void {
    const serves = ofResource.some(isPrimary);
    for (const { truth } of this.#world.devicesOf(resource)) truth.force(n.name, 'primary --force');
    const ended = (): void => {
      if (serves) done();
      else n.drbdadm('secondary', [], done, resource);
    };
    const forced: Answered = (_exit, text) => {
      // Before it meets the peer again: there the disk is found UpToDate, and the next one gets the same answer.
      if (text.includes(ONCE_MORE)) n.drbdadm('primary', ['--force'], ended, resource);
      else ended();
    };
    n.drbdadm('primary', ['--force'], forced, resource);
  }

  /** Nothing of this node's is used any more. What is frozen there is told so first, or nobody could end the service. */
  #end(n: SimNode): void {
    if (n.replicas.some((r) => r.state !== null && isSuspended(r.state))) {
      n.drbdadm('resume-io', [], () => this.#endService(n));
    } else this.#endService(n);
  }

  #endService(n: SimNode): void {
    if (n.heartbeat && n.replicas.some((r) => r.client !== null)) {
      n.heartbeat.heartbeat.stop(); // started again by #service
      return;
    }
    n.stopClient(() => {
      for (const { device } of n.replicas) while (device.openers > 0) device.release();
      n.drbdadm('secondary', [], nothing);
    });
  }

  #watchResync(r: Replica, notes: Notes): void {
    const world = this.#world;
    const conn = r.state?.conn ?? Conns.StandAlone;
    if (conn === Conns.SyncTarget || conn === Conns.VerifyS)
      notes.syncingSinceMs = Math.min(notes.syncingSinceMs, world.nowMs);
    else {
      if (notes.syncingSinceMs < world.nowMs && conn < Conns.Connected) notes.brokenOff++;
      notes.syncingSinceMs = Number.POSITIVE_INFINITY;
    }
    if (notes.brokenOff > FEW && !this.#patient) {
      this.#patient = true;
      world.config = setOption(world.config, 'ko-count', '0');
      for (const node of world.bothNodes) node.drbdadm('adjust', [], nothing);
    }
    const longMs = world.nowMs - notes.syncingSinceMs;
    if (conn === Conns.VerifyS && longMs > VERIFY_PATIENCE_MS) {
      notes.syncingSinceMs = world.nowMs;
      r.node.drbdadm('disconnect', [], nothing, r.resource);
      return;
    }
    if (this.#faster || longMs < RESYNC_PATIENCE_MS) return;
    this.#faster = true;
    world.config = setOption(world.config, 'resync-rate', FAST_RATE_KIBPS);
    for (const node of world.bothNodes) node.drbdadm('adjust', [], nothing);
  }

  #watchCongestion(n: SimNode): void {
    const world = this.#world;
    const disconnects = world.config.net.onCongestion === 'disconnect';
    const congested = n.replicas.some(({ state }) => {
      const gaveUp = state?.conn === Conns.StandAlone && disconnects;
      return gaveUp || state?.conn === Conns.Ahead;
    });
    if (!congested) return;
    if (world.nowMs - this.#calmedMs < PATIENCE_MS) return;
    this.#calmedMs = world.nowMs;
    world.config = setOption(world.config, 'on-congestion', 'block');
    for (const node of world.bothNodes) node.drbdadm('adjust', [], nothing);
  }

  /** Its handler halts it as the Primary whose data are given up; its cluster manager makes it Primary again at once. */
  #watchPower(n: SimNode): void {
    const notes = this.#nodeNotes.get(n) as NodeNotes;
    if (notes.powered && !n.powered) notes.halts++;
    notes.powered = n.powered;
    const firsts = n.replicas.filter((r) => r === r.ofResource[0]);
    if (firsts.every(({ state }) => state !== null && state.conn >= Conns.Connected)) {
      notes.halts = 0;
    }
  }

  #keptOut(n: SimNode): boolean {
    return (this.#nodeNotes.get(n)?.halts ?? 0) > FEW;
  }

  // ---- the connection

  /** Whose data of a volume are kept when only one node's can be. */
  #keeper(minor: number): Replica {
    const world = this.#world;
    const last = world.node(world.lastActive).replica(minor);
    const replicas = [last, last.peer];
    const better: ((r: Replica) => boolean)[] = [
      (r) => r.client !== null && this.#mayGoOn(r),
      (r) => isPrimary(r) && this.#mayGoOn(r),
      (r) => (r.state?.disk ?? Disks.Diskless) === Disks.UpToDate,
      (r) => !this.#isDiskless(r) && !this.#isBlank(r),
      (r) => !this.#isDiskless(r),
    ];
    for (const is of better) {
      const found = replicas.filter(is);
      if (found.length > 0) return found[0] as Replica;
    }
    return last;
  }

  /** It has a disk, and does not stand still because nobody can say whether that is the newest. */
  #mayGoOn(r: Replica): boolean {
    const disk = r.state?.disk ?? Disks.Diskless;
    return disk === Disks.Inconsistent || disk === Disks.UpToDate;
  }

  #isDiskless(r: Replica): boolean {
    return (r.state?.disk ?? Disks.Diskless) < Disks.Inconsistent;
  }

  #isBlank(r: Replica): boolean {
    const current = r.volume?.uuids.current ?? UUID_JUST_CREATED;
    return maskUuid(current) === UUID_JUST_CREATED;
  }

  #connection(resource: ResourceName, notes: ConnectionNotes): void {
    const world = this.#world;
    const devices = world.devicesOf(resource);
    const states = devices.flatMap(({ bothNodes }) => bothNodes.map((r) => r.state));
    if (states.some((s) => s !== null && s.conn >= Conns.Connected)) {
      notes.refusals = 0;
      return;
    }
    const alone = states.some((s) => s?.conn === Conns.StandAlone);
    if (!alone || states.includes(null) || world.nowMs - notes.triedMs < PATIENCE_MS) return;
    notes.triedMs = world.nowMs;
    const [first] = devices;
    if (!first) return;
    const keeper = this.#keeper(first.minor);
    const attempt = notes.refusals++;
    // As it is, twice: the first may have met an end of a connection that was on its way.
    if (attempt < FEW) {
      for (const r of first.bothNodes) this.#connect(r);
    } else if (this.#isUncertain(keeper, attempt)) {
      this.#forceAll(keeper, () => this.#connect(keeper));
      this.#connect(keeper.peer);
    } else if (attempt === 2 * FEW) {
      this.#newGeneration(keeper);
      this.#connect(keeper.peer);
    } else {
      this.#connect(keeper);
      if (attempt % 2 === 0) this.#discard(keeper.peer);
      else this.#createMeta(keeper.peer);
    }
  }

  /**
   * Its data are kept, and must not be used by themselves; or nobody can say whether they are the newest, and no peer will. A volume
   * whose disk is refused has no data to force.
   */
  #isUncertain(keeper: Replica, attempt: number): boolean {
    return keeper.ofResource.some((r) => {
      const disk = r.state?.disk ?? Disks.Diskless;
      if (disk < Disks.Inconsistent) return false;
      return isBad(disk) || (disk === Disks.Consistent && attempt >= 3 * FEW);
    });
  }

  #connect({ node, resource, state }: Replica): void {
    if (state?.conn === Conns.StandAlone) node.drbdadm('connect', [], nothing, resource);
  }

  /** A split brain: the changes of this side are given up. */
  #discard({ node: n, resource, ofResource }: Replica): void {
    if (ofResource.some(isPrimary)) this.#end(n);
    const connect = (): void => {
      for (const { truth } of this.#world.devicesOf(resource)) {
        truth.force(n.peer.name, 'connect --discard-my-data');
      }
      n.drbdadm('connect', ['--discard-my-data'], nothing, resource);
    };
    n.drbdadm('disconnect', [], connect, resource);
  }

  /**
   * Below version 91 two nodes of one generation refuse each other where the source of a resync has missed its end: this copy is kept,
   * and the other one is its past.
   */
  #newGeneration({ node: n, resource }: Replica): void {
    const begin = (): void => {
      for (const { truth } of this.#world.devicesOf(resource))
        truth.force(n.name, 'new-current-uuid');
      const connect = (): void => n.drbdadm('connect', [], nothing, resource);
      n.drbdadm('new-current-uuid', [], connect, resource);
    };
    n.drbdadm('disconnect', [], begin, resource);
  }

  /** Unrelated data: this side begins anew. */
  #createMeta({ node: n, resource, ofResource }: Replica): void {
    const begun = ofResource.filter((r) => r.peer.state?.disk === Disks.UpToDate);
    if (begun.length === 0 || ofResource.some(isPrimary)) return;
    const disks = begun.map((r) => r.disk);
    const isDown: Answered = (exit) => {
      if (exit !== 0 || begun.some((r, i) => r.disk !== disks[i])) return;
      for (const r of begun) {
        r.createMeta();
        this.#world.device(r.minor).truth.replaced(r.name);
      }
      n.drbdadm('up', [], nothing, resource);
    };
    n.drbdadm('down', [], isDown, resource);
  }

  // ---- the service

  #service(): void {
    if (this.#world.config.heartbeat !== null) this.#serviceByHeartbeat();
    else this.#serviceByHand();
  }

  /** Nobody serves for a while: heartbeat is restarted on both nodes. */
  #serviceByHeartbeat(): void {
    const world = this.#world;
    for (const n of world.bothNodes) {
      if (this.#keptOut(n)) n.heartbeat?.heartbeat.stop();
      else n.heartbeat?.heartbeat.start();
    }
    const serving = world.bothNodes.some((n) => n.client !== null);
    if (serving) world.idleSinceMs = world.nowMs;
    if (serving || world.nowMs - world.idleSinceMs < HEARTBEAT_PATIENCE_MS) return;
    world.idleSinceMs = world.nowMs;
    for (const n of world.bothNodes) n.heartbeat?.heartbeat.stop();
  }

  #serviceByHand(): void {
    const world = this.#world;
    const serving = world.bothNodes.filter((n) => n.client !== null);
    if (serving.length === 2 && serving.every((n) => n.state !== null)) {
      // Two services after a split brain: the operator ends the one that did not run last.
      const loser = serving.find((n) => n.name !== world.lastActive);
      loser?.unserve(nothing);
      return;
    }
    const [one] = serving;
    if (one && this.#keptOut(one)) {
      one.unserve(nothing);
      return;
    }
    if (one?.replicas.some((r) => r.state !== null && !isPrimary(r))) {
      // Its device was taken away: it is not a service any more.
      one.stopClient(() => one.release());
      return;
    }
    if (serving.length > 0 || world.starting) return;
    const last = world.node(world.lastActive);
    const order = [last, last.peer].filter((n) => !this.#keptOut(n));
    const isGood = (r: Replica): boolean => r.state?.disk === Disks.UpToDate;
    const candidate =
      order.find((n) => n.replicas.every(isGood)) ?? order.find((n) => isGood(n.first)) ?? order[0];
    if (!candidate || candidate.peer.replicas.some(isPrimary)) {
      const held = candidate?.peer;
      if (held?.replicas.every(({ device }) => device.openers === 0))
        held.drbdadm('secondary', [], nothing);
      else if (held) held.unserve(nothing);
      return;
    }
    world.starting = true;
    candidate.serve([], (ok) => {
      world.starting = false;
      if (ok) world.lastActive = candidate.name;
    });
  }
}
