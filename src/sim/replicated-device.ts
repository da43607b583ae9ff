/**
 * One replicated device of the cluster: both nodes' copies of it, what its users were promised (ledger), which history each copy
 * belongs to (truth), and the checkers that watch it. A second volume has one of its own; nothing that is written in one of them
 * may ever be found in the other, whose writes have other numbers.
 */
import { usesPeers } from '../drbd/changes.js';
import type { LogLevel } from '../drbd/ports.js';
import { Conns, Disks, Roles, type State } from '../drbd/state.js';
import { CHECKERS } from './check/all.js';
import type { DeviceChecker } from './check/checker.js';
import { dataOf } from './check/promotion.js';
import { Client } from './client.js';
import {
  type ClusterConfig,
  NODES,
  type NodeName,
  type ResourceName,
  resourceOf,
  sizeBytesOf,
} from './config.js';
import { dice } from './dice.js';
import { type BadSector, Ledger, SECTOR_BYTES, type Sectors } from './ledger.js';
import { dataBytes, type Replica } from './replica.js';
import type { SimNet } from './sim-net.js';
import type { Trace } from './trace.js';
import { FORCED, Truth } from './truth.js';
import type { World } from './world.js';

/** What operators say when they throw a copy away (Truth.force). */
/** Of these none chooses between copies that were in sync when the resync was asked for. */
const NO_CHOICE: readonly string[] = ['invalidate', 'invalidate-remote', FORCED];
/** Numbers of writes of one device: more than a run can ask for. */
const MOST_WRITES = 1 << 24;

export class ReplicatedDevice {
  readonly minor: number;
  readonly resource: ResourceName;
  /** As logs name it. */
  readonly name: string;
  readonly ledger: Ledger;
  readonly truth: Truth;
  readonly #world: World;
  readonly #checkers: DeviceChecker[];
  /** Writes that the peer of the node that asked for them held in full as it was made Primary itself. */
  readonly #heldByNext = new Set<number>();
  readonly #before: Record<NodeName, State | null> = { alpha: null, beta: null };
  /** Its copy was as good as the peer's, and an operator throws it away. */
  readonly #invalidated: Record<NodeName, boolean> = { alpha: false, beta: false };
  /** The only good copy of its data went with its engine, and it has not noticed: answers are still on their way. */
  readonly #onlyCopyDied: Record<NodeName, boolean> = { alpha: false, beta: false };
  /** Under protocol B the peer's disk, the only good one, has failed to write these: the answer that they were received may be on its way. */
  readonly #failedThere: Record<NodeName, Sectors[]> = { alpha: [], beta: [] };
  /** Its peer died since they met, and it has not noticed. */
  readonly #peerDied: Record<NodeName, 'with its power' | 'alone' | null> = {
    alpha: null,
    beta: null,
  };
  #clients = 0;

  constructor(world: World, minor: number) {
    this.#world = world;
    this.minor = minor;
    this.resource = resourceOf(world.config, minor);
    this.name = `drbd${minor}`;
    const sizeBytes = sizeBytesOf(world.config, minor);
    this.ledger = new Ledger(minor * MOST_WRITES);
    this.truth = new Truth(this.ledger, sizeBytes, dataBytes(sizeBytes));
    this.#checkers = CHECKERS.map((make) => make(this));
  }

  // ---- for the checkers

  get nodes(): Readonly<Record<NodeName, Replica>> {
    const { alpha, beta } = this.#world.nodes;
    return { alpha: alpha.replica(this.minor), beta: beta.replica(this.minor) };
  }

  get bothNodes(): readonly Replica[] {
    return NODES.map((name) => this.#world.node(name).replica(this.minor));
  }

  get nowMs(): number {
    return this.#world.nowMs;
  }

  get config(): ClusterConfig {
    return this.#world.config;
  }

  get net(): SimNet {
    return this.#world.net;
  }

  get trace(): Trace {
    return this.#world.trace;
  }

  get healing(): boolean {
    return this.#world.healing;
  }

  count(checker: string): void {
    this.#world.count(checker);
  }

  violate(invariant: string, checker: string, text: string): void {
    const of = this.#world.devices.length > 1 ? `${this.name}: ` : '';
    this.#world.violate(invariant, checker, `${of}${text}`);
  }

  /** One more that is told everything. */
  watch(checker: DeviceChecker): void {
    this.#checkers.push(checker);
  }

  // ---- told by the world

  tick(): void {
    for (const c of this.#checkers) c.tick();
  }

  /** Everything has come to rest: the last look. */
  end(): void {
    for (const c of this.#checkers) c.end();
  }

  /** Of this device, or of nobody's in particular. */
  log(node: NodeName, object: string, level: LogLevel | string, text: string): void {
    if (/^drbd\d+$/.test(object) && object !== this.name) return;
    if (/^r\d+$/.test(object) && object !== this.resource) return;
    if (object === 'drbdadm' && resourceNamedIn(text) !== this.resource) return;
    if (object === this.name || object === this.resource) {
      if (/^Split-Brain detected.* solved/.test(text))
        this.truth.force(node, 'a split brain was solved');
      if (level === 'info') this.#maybeTransition(node);
      const failed = /^local write IO error .* on sector (\d+)$/.exec(text);
      if (failed) this.#writeFails(this.nodes[node], Number(failed[1]));
    }
    for (const c of this.#checkers) c.logged(node, object, level, text);
  }

  #maybeTransition(name: NodeName): void {
    const node = this.nodes[name];
    const next = node.state;
    const old = this.#before[name];
    if (next === null || next === old) return;
    this.#before[name] = next;
    this.#world.coverage.state(next);
    this.#follow(node, old, next);
    for (const c of this.#checkers) c.changed(node, old, next);
  }

  #follow(node: Replica, old: State | null, next: State): void {
    const { truth, ledger } = this;
    const target = (s: State | null): boolean =>
      s !== null && (s.conn === Conns.SyncTarget || s.conn === Conns.PausedSyncT);
    if (old !== null && inSync(old) && next.conn === Conns.StartingSyncT) {
      this.#invalidated[node.name] = true;
    } else if (next.conn < Conns.Connected) this.#invalidated[node.name] = false;
    if (target(next) && !target(old)) {
      // It went on alone, unfenced, and has no whole copy of that any more: the peer's older one is what is left.
      const ruined = old?.disk === Disks.Inconsistent && truth.aloneExcuse[node.name] !== null;
      if (ruined || this.#choosesData(node)) this.#decided(node.peer);
      truth.resyncBegins(node.name);
    }
    if (next.conn >= Conns.Connected) node.node.fenceExits[this.resource] = null;
    else {
      this.#onlyCopyDied[node.name] = false;
      this.#failedThere[node.name] = [];
      this.#peerDied[node.name] = null;
    }
    if (old !== null && old.conn >= Conns.Connected && !inSync(next)) truth.parted();
    if (next.role === Roles.Primary && old?.role !== Roles.Primary) {
      const held = node.peer.client?.writesHeldBy(node.disk) ?? [];
      for (const id of held) this.#heldByNext.add(id);
    }
    const fails = old?.disk === Disks.UpToDate && next.disk < Disks.UpToDate;
    if (fails && next.role === Roles.Primary) this.#ownCopyFails(node);
    const reads = next.role === Roles.Primary && usesPeers(next);
    if (reads && (old === null || !usesPeers(old))) truth.uses(node.name, dataOf(node.peer));
    const other = node.peer.state;
    // Protocol B has answered what the only disk, the peer's, was about to take when it failed: the next flush says so (P_NEG_ACK).
    const gone = old?.pdsk === Disks.UpToDate && next.pdsk < Disks.Inconsistent;
    const onlyThere = next.role === Roles.Primary && next.disk < Disks.UpToDate;
    if (gone && onlyThere && node.protocol === 'B') ledger.flushFailed(truth.lineage[node.name]);
    // The same as the holder sees it: the Primary may not be connected, and hear of the connection's end only.
    if (old?.disk === Disks.UpToDate && next.disk < Disks.Inconsistent) this.#onlyCopyGone(node);
    if (inSync(next) && other !== null && inSync(other)) {
      const primary = [node, node.peer].find((n) => n.state?.role === Roles.Primary);
      truth.inSync(primary?.name ?? null);
      if (node.protocol === 'C') truth.async = false;
    }
  }

  /**
   * Does the resync that begins choose between data that differ? Not when a copy of the same data is thrown away (invalidate
   * in sync, still the same connection, whatever became of that resync; a forced promotion beside it takes the good copy): the source is
   * given every write, and under A and B some of them are on their way there.
   */
  #choosesData(target: Replica): boolean {
    const { forced } = this.truth;
    const why = [forced.alpha, forced.beta].filter((text) => text !== null);
    if (this.#invalidated[target.name] && why.every((text) => NO_CHOICE.includes(text)))
      return false;
    return why.length > 0;
  }

  /** Somebody, or a policy, chose the copy of `source`: it is the data from now on. */
  #decided(source: Replica): void {
    // Its engine may have died since its target has heard from it, and the next one not know the size yet.
    const sizes = [source, source.peer].map((n) => n.volume?.sizeSectors ?? 0);
    const sectors = sizes.find((size) => size > 0) ?? 0;
    const content = source.disk.content(0, sectors * SECTOR_BYTES);
    const underWay = this.bothNodes.flatMap((n) => n.client?.writesUnderWay ?? []);
    this.truth.takes(source.name, underWay, content, waiting(source));
  }

  /** drbdd died, and with `power` its machine. */
  died(node: Replica, power: boolean): void {
    const before = this.#before[node.name];
    this.#before[node.name] = null;
    this.truth.parted();
    const user = node.peer;
    if (
      (user.state?.conn ?? Conns.StandAlone) >= Conns.Connected &&
      before?.disk === Disks.UpToDate
    ) {
      const earlier = this.#peerDied[user.name];
      this.#peerDied[user.name] = power ? 'with its power' : (earlier ?? 'alone');
    }
    if (power) {
      const primary = before?.role === Roles.Primary && before.disk === Disks.UpToDate;
      this.truth.powerCut(node.name, primary);
      // Its copy was the only good one of a Primary that goes on: that one's next flush has to fail.
      const other = node.peer.state;
      if (other?.role === Roles.Primary && other.disk < Disks.UpToDate) {
        this.#onlyCopyDied[node.peer.name] = true;
        this.ledger.flushFailed(this.truth.lineage[node.peer.name]);
      }
    } else if (before?.disk === Disks.UpToDate && this.#onlyCopyGone(node)) {
      this.#onlyCopyDied[node.peer.name] = true;
    }
    for (const c of this.#checkers) c.died(node, power);
  }

  /** The good copy of a Primary fails; had the peer's died before that, it is the same as the only one that dies. */
  #ownCopyFails(node: Replica): void {
    const died = this.#peerDied[node.name];
    if (died === null || (died === 'alone' && node.protocol === 'C')) return;
    this.#onlyCopyDied[node.name] = true;
    this.ledger.flushFailed(this.truth.lineage[node.name]);
  }

  /**
   * A disk is let go, or its engine dies. Under A and B a Primary without a good disk of its own has answered what the engine there
   * had in its memory only.
   */
  #onlyCopyGone(holder: Replica): boolean {
    const user = holder.peer;
    const disk = user.state?.disk ?? Disks.Diskless;
    if (user.client === null || user.protocol === 'C' || disk === Disks.UpToDate) return false;
    this.ledger.flushFailed(this.truth.lineage[user.name]);
    return true;
  }

  /**
   * The source of a resync stays the one that counts (pass_on). Protocol B has answered what it received, and it has no more of that than
   * the target, which fetches the older block: the Primary's next flush says so (P_NEG_ACK).
   */
  #writeFails(holder: Replica, sector: number): void {
    const user = holder.peer;
    const onlyThere = (user.state?.disk ?? Disks.Diskless) < Disks.UpToDate;
    if (user.client === null || user.protocol !== 'B' || !onlyThere) return;
    if (holder.state?.disk !== Disks.UpToDate) return;
    const failed = waiting(holder).filter((w) => w.sector === sector);
    if (failed.length === 0) return; // a block of its own
    this.#failedThere[user.name].push(...failed);
    for (const f of failed) this.ledger.missed(this.truth.lineage[user.name], f);
  }

  /** Once for each: what is written there afterwards is another write. */
  #isFailedThere(user: NodeName, { sector, endSector }: Sectors): boolean {
    const failed = this.#failedThere[user];
    const i = failed.findIndex((f) => f.sector < endSector && sector < f.endSector);
    if (i >= 0) failed.splice(i, 1);
    return i >= 0;
  }

  metaStoredLate(node: Replica): void {
    this.truth.storedLate(node.name);
  }

  handled(node: Replica, event: string, exit: number): void {
    for (const c of this.#checkers) c.handled(node, event, exit);
  }

  asked(node: Replica, verb: string): void {
    for (const c of this.#checkers) c.asked(node, verb);
  }

  client(node: Replica): Client {
    const { config, ledger, truth, minor } = this;
    const which = minor === 0 ? '' : `${this.name} `;
    this.#clients++;
    const client = new Client({
      node: node.name,
      clock: node.clock,
      device: node.device,
      random: dice(this.#world.seed, `client ${which}${this.#clients}`),
      ledger,
      depth: config.depth,
      thinkMs: config.thinkMs,
      lineage: () => truth.lineage[node.name],
      acknowledged: (id, sector, sectors, fua) =>
        this.#acknowledged(node, id, sector, sectors, fua),
      flushed: () => {
        this.#flushed(node);
        for (const c of this.#checkers) c.flushed(node);
      },
      bad: (what, found) => this.badSector('reads', what, node.name, found),
      note: this.#world.tracesRequests
        ? (text) => this.trace.line(this.nowMs, node.name, `${which}client`, text)
        : null,
      rowAcknowledged: () => {
        this.#world.rowsAcknowledged++;
      },
      answered: (error, op, tookMs) => {
        for (const c of this.#checkers) c.answered(node, error, op, tookMs);
      },
    });
    if (this.#world.ending) client.stop(() => {});
    return client;
  }

  /** Alone: what the peer had before, and may lose with its power, is promised from now on. */
  #flushed(node: Replica): void {
    const s = node.state;
    if (s === null || peerHas(s)) return;
    const excuse = this.aloneExcuse(node);
    if (excuse !== null) this.truth.mayWriteAlone(node.name, excuse);
  }

  #acknowledged(node: Replica, id: number, sector: number, sectors: number, fua: boolean): void {
    const s = node.state;
    if (s) {
      if (!peerHas(s)) {
        const both =
          this.#heldByNext.has(id) || node.disk.equals(node.peer.disk, sector, sectors) < 0;
        this.truth.wroteAlone(node.name, this.aloneExcuse(node), both);
      }
      // Through the peer only: this node's own disk does not have it, wherever it may turn up again.
      if (s.disk < Disks.Inconsistent) {
        const excuse = this.config.disk.fencing === 'dont-care' ? 'fencing dont-care' : null;
        this.truth.wroteAlone(node.peer.name, excuse);
      }
      if (this.#onlyCopyDied[node.name]) this.ledger.flushFailed(this.truth.lineage[node.name]);
      const written = { sector, endSector: sector + sectors };
      if (this.#isFailedThere(node.name, written)) {
        this.ledger.missed(this.truth.lineage[node.name], written);
      }
    }
    if (node.protocol !== 'C') this.truth.async = true;
    for (const c of this.#checkers) c.acknowledged(node, id, sector, sectors, fua);
  }

  /** Why the peer might become Primary without what is written here alone. */
  aloneExcuse(node: Replica): string | null {
    const { fencing } = this.config.disk;
    if (fencing === 'dont-care') return 'fencing dont-care';
    // resource-only does not wait for its handler, and goes on without one.
    if (
      node.fenceExit === null &&
      (fencing === 'resource-only' || this.config.fenceHandler === 'none')
    ) {
      return 'fence-peer has not answered';
    }
    if (node.fenceExit === null) return null;
    if (node.fenceExit !== 3 && node.fenceExit !== 4) return `fence-peer said ${node.fenceExit}`;
    return typeof this.config.fenceHandler === 'object' ? 'fence-peer lies' : null;
  }

  badSector(checker: string, what: string, node: NodeName, found: BadSector): void {
    const { sector, content, judgement } = found;
    const history = this.ledger.history(this.truth.lineage[node], sector, 6).join('; ');
    const invariant = judgement === 'stale' ? 'I1' : 'reads';
    this.violate(
      invariant,
      checker,
      `${what}: sector ${sector} holds ${content}: ${judgement}. ${history}`,
    );
  }
}

const NAMED = / (r\d+)(?:\/\d+)?: exit /;

/** What a line of drbdadm is about. */
function resourceNamedIn(text: string): string {
  return NAMED.exec(text)?.[1] ?? '';
}

export function inSync(s: State): boolean {
  return s.conn === Conns.Connected && s.disk === Disks.UpToDate && s.pdsk === Disks.UpToDate;
}

/** What is written goes to the peer's disk. */
function peerHas(s: State): boolean {
  const { conn, pdsk } = s;
  if (conn < Conns.Connected || pdsk < Disks.Inconsistent) return false;
  return pdsk !== Disks.Outdated && pdsk !== Disks.DUnknown;
}

/** What a node has received of its peer's users, and answered under protocol B, and its disk has not got yet. */
function waiting(node: Replica): Sectors[] {
  const requests = node.drbdd?.loop.engine.core.peer;
  const owner = node.volume?.peerIo;
  const found: Sectors[] = [];
  for (let i = 0, p = requests?.find(0); p; p = requests?.find(++i)) {
    if (p.owner !== owner || !p.entered || p.receiving) continue;
    found.push({ sector: p.sector, endSector: p.endSector });
  }
  return found;
}
