/**
 * Two replication engines in virtual time: what engines.ts is over loopback, over the simulated port. Everything is a
 * function of the seed, and nothing waits: `until` lets the world go on.
 */
import type { Prng } from '../../src/base/prng.js';
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
  type DiskOptions,
  type NetOptions,
  type ResourceOptions,
} from '../../src/config/drbd-options.js';
import { attach } from '../../src/drbd/attach.js';
import { type Dialect, FULL_DIALECT } from '../../src/drbd/connect.js';
import type { Outcome } from '../../src/drbd/outcome.js';
import type { Resource } from '../../src/drbd/resource.js';
import { setPrimary } from '../../src/drbd/roles.js';
import { connName, diskName, Roles, roleName } from '../../src/drbd/state.js';
import type { Volume } from '../../src/drbd/volume.js';
import type { ControlReply, ControlRequest, RunningResource } from '../../src/host/control.js';
import { DrbdControl } from '../../src/host/drbd-control.js';
import { DrbdLoop } from '../../src/host/drbd-loop.js';
import { resumeSteps, type SavedState } from '../../src/host/drbdd-resume.js';
import { encodeRing } from '../../src/md/apply-al.js';
import { isRefused, layoutOfDevice } from '../../src/md/layout.js';
import { encodeSuperblock, freshSuperblock } from '../../src/md/superblock.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import { dice, randomSource } from '../../src/sim/dice.js';
import { NodeClock, type ProcessClock } from '../../src/sim/node-clock.js';
import { SimClock } from '../../src/sim/sim-clock.js';
import { DEFAULT_SIM_DISK, SimDisk, type SimDiskOptions } from '../../src/sim/sim-disk.js';
import { SimIo } from '../../src/sim/sim-io.js';
import { DEFAULT_SIM_NET, SimNet } from '../../src/sim/sim-net.js';

const POOL = { head: 96, small: 256, medium: 48, large: 20 };
const DISK = '/dev/lower';
const SECOND_DISK = '/dev/lower1';
const PORT = 7788;
const LONGEST_WAIT_MS = 120_000;

export interface SimPairOptions {
  readonly sizeBytes?: number;
  /** What the lower disks can do. */
  readonly lower?: Partial<SimDiskOptions>;
  readonly net?: Partial<NetOptions>;
  readonly disk?: Partial<DiskOptions>;
  readonly resource?: Partial<ResourceOptions>;
  /** The resource has two volumes: `SimPairNode.second`. What asks and shows without naming one means the first. */
  readonly twoVolumes?: boolean;
  /** The second volume is that of a resource of its own, r1. */
  readonly twoResources?: boolean;
  /** What is sent over TCP arrives in pieces of up to so many bytes, each at its own time. */
  readonly pieceBytes?: number;
  /** What beta offers to speak at first: an older peer. */
  readonly dialect?: Dialect;
}

export class SimPairNode {
  readonly name: 'alpha' | 'beta';
  readonly disk: SimDisk;
  readonly secondDisk: SimDisk | null;
  readonly log: string[] = [];
  /** Handlers that were called, and what they exit with; 0 where nothing is said. */
  readonly handlers: string[] = [];
  exits: Record<string, number> = {};
  /** How often the peer's options became ours. */
  toldToSave = 0;
  /** Digests that this node does not have. */
  readonly unknownDigests = new Set<string>();
  /** Offered to the peer from the next connection on. */
  dialect: Dialect;
  /** Called at every change of a state, in the middle of what leads to it. */
  onState: () => void = () => {};
  /** So long a handler runs. */
  handlerMs = 1;
  /** The generations that users have seen, as a successor would find them in /run. */
  exposed: readonly string[] = [];
  readonly #pair: SimPair;
  clock: ProcessClock;
  io: SimIo;
  loop: DrbdLoop;
  resource: Resource;
  volume: Volume;
  /** Volume 1 of the same resource, if there is one. */
  second: Volume | null;
  #nextTag = 1;
  readonly #answers = new Map<number, number>();
  readonly #node: NodeClock;
  readonly #random: Prng;

  constructor(pair: SimPair, name: 'alpha' | 'beta') {
    this.name = name;
    this.#pair = pair;
    this.dialect = (name === 'beta' ? pair.options.dialect : null) ?? FULL_DIALECT;
    this.#node = new NodeClock(pair.world, name === 'alpha' ? 30 : -20);
    this.#random = dice(pair.seed, `node ${name}`);
    const sizeBytes = pair.options.sizeBytes ?? 8 << 20;
    const lower = { ...DEFAULT_SIM_DISK, ...pair.options.lower, sizeBytes };
    this.disk = new SimDisk(lower, dice(pair.seed, `disk ${name}`));
    createMeta(this.disk);
    this.secondDisk = null;
    if (pair.options.twoVolumes || pair.options.twoResources) {
      const random = dice(pair.seed, `second disk ${name}`);
      this.secondDisk = new SimDisk(lower, random);
      createMeta(this.secondDisk);
    }
    ({
      clock: this.clock,
      io: this.io,
      loop: this.loop,
      resource: this.resource,
      volume: this.volume,
      second: this.second,
    } = this.#start());
  }

  #start() {
    const clock = this.#node.process();
    const io = new SimIo({
      name: this.name,
      clock,
      net: this.#pair.net,
      disks: new Map([
        [DISK, this.disk],
        ...(this.secondDisk ? [[SECOND_DISK, this.secondDisk] as const] : []),
      ]),
      pool: POOL,
      streams: 8,
    });
    const loop = new DrbdLoop(io, {
      random: randomSource(this.#random),
      digests: {
        ...nodeDigests,
        digestBytes: (name) => (this.unknownDigests.has(name) ? 0 : nodeDigests.digestBytes(name)),
      },
      dialect: () => this.dialect,
      timers: clock,
      log: (level, object, text) => {
        this.log.push(`${this.#pair.world.nowMs.toFixed(1)} ${level} ${object}: ${text}`);
      },
      handler: (event, _resource, _minor, done) => {
        this.handlers.push(event);
        clock.after(this.handlerMs, () => done(this.exits[event] ?? 0));
      },
      sizeChanged: () => {},
      exposed: (minor, generations) => {
        if (minor !== 0) return;
        this.exposed = generations.map((uuid) => uuid.toString(16).toUpperCase());
      },
      stateChanged: () => this.onState(),
      toBeSaved: () => {
        this.toldToSave++;
      },
    });
    const options = { ...DEFAULT_RESOURCE_OPTIONS, ...this.#pair.options.resource };
    const resource = loop.engine.addResource('r0', options);
    const own = this.#pair.options.twoResources === true;
    const other = own ? loop.engine.addResource('r1', options) : resource;
    return {
      clock,
      io,
      loop,
      resource,
      volume: loop.engine.addVolume(resource, 0, 0, '/dev/drbd0'),
      second: this.secondDisk ? loop.engine.addVolume(other, own ? 0 : 1, 1, '/dev/drbd1') : null,
    };
  }

  get resources(): readonly Resource[] {
    const { second } = this;
    return second && second.resource !== this.resource
      ? [this.resource, second.resource]
      : [this.resource];
  }

  get shown(): string {
    return this.shownOf(this.volume);
  }

  shownOf(v: Volume): string {
    const { conn, role, peer, disk, pdsk } = v.state;
    return `cs:${connName(conn)} ro:${roleName(role)}/${roleName(peer)} ds:${diskName(disk)}/${diskName(pdsk)}`;
  }

  until(pattern: RegExp, v: Volume = this.volume): void {
    this.#pair.until(() => pattern.test(this.shownOf(v)), `${this.name}: ${pattern}`);
  }

  /** Lets the world go on until `start` has called its `done`. */
  wait<T>(start: (done: (result: T) => void) => void, what: string): T {
    const results: T[] = [];
    this.loop.enter(() => start((result) => results.push(result)));
    this.#pair.until(() => results.length > 0, `${this.name}: ${what}`);
    return results[0] as T;
  }

  attach(): void {
    this.attachTo(this.volume, DISK);
    if (this.second) this.attachTo(this.second, SECOND_DISK);
  }

  attachTo(v: Volume, disk = v === this.second ? SECOND_DISK : DISK): void {
    const options: DiskOptions = {
      ...DEFAULT_DISK_OPTIONS,
      cPlanAheadDs: 0,
      resyncRateKiBps: 1 << 20,
      ...this.#pair.options.disk,
    };
    const failed = this.wait<unknown>((done) => attach(v, internal(disk, options), done), 'attach');
    if (failed) throw new Error(JSON.stringify(failed));
  }

  /** Begins to attach the first volume, with the options that it has. */
  beginAttach(done: (failed: unknown) => void = () => {}): void {
    const how = internal(DISK, this.volume.diskOptions);
    this.loop.enter(() => attach(this.volume, how, done));
  }

  connect(discardMyData = false, tentative = false): void {
    const [own, peer] = this.name === 'alpha' ? ['10.1.0.1', '10.1.0.2'] : ['10.1.0.2', '10.1.0.1'];
    const net: NetOptions = { ...DEFAULT_NET_OPTIONS, connectIntS: 1, ...this.#pair.options.net };
    for (const [i, resource] of this.resources.entries()) {
      this.loop.enter(() =>
        resource.connect(
          { family: 'ipv4', host: own, port: PORT + i },
          { family: 'ipv4', host: peer, port: PORT + i },
          net,
          discardMyData,
          tentative,
        ),
      );
    }
  }

  disconnect(): void {
    this.wait<void>((done) => this.resource.disconnect(false, () => done()), 'disconnect');
  }

  ask(request: (v: Volume, done: (outcome: Outcome) => void) => void, v = this.volume): Outcome {
    return this.wait((done) => request(v, done), 'an answer');
  }

  /** The process dies, or the node loses its power; a successor attaches and connects. */
  crash(power: boolean): void {
    this.clock.end();
    this.io.crash(power);
    this.loop.stop();
    this.#answers.clear();
    if (power) this.#pair.net.boot(this.name);
    Object.assign(this, this.#start());
  }

  /** A request of the control socket. */
  control(request: ControlRequest): ControlReply {
    const control = new DrbdControl(this.loop, 'sim');
    return this.wait((done) => control.handle(request, done), request.verb);
  }

  /** The same, of one that is not waited for. */
  begins(request: ControlRequest, reply: (reply: ControlReply) => void): void {
    new DrbdControl(this.loop, 'sim').handle(request, reply);
  }

  /** What drbdd keeps for a successor. */
  saved(): SavedState {
    const running = this.control({ verb: 'running' });
    if (!running.ok) throw new Error(running.text);
    const primary = this.volume.state.role === Roles.Primary;
    return {
      version: 1,
      resources: running.value as readonly RunningResource[],
      primaries: primary ? [this.volume.minor] : [],
      handlers: {},
    };
  }

  /** drbdd dies under its users, and its successor goes on as production does. What was refused. */
  restart(saved: SavedState = this.saved()): readonly string[] {
    const exposed = { [this.volume.minor]: this.exposed };
    this.crash(false);
    const refused: string[] = [];
    for (const step of resumeSteps(saved, exposed)) {
      if (step.type === 'device') continue;
      if (step.type === 'request') {
        const { request } = step;
        if (request.verb === 'new-resource' || request.verb === 'new-minor') continue; // `#start` did
        const reply = this.control(request);
        if (!reply.ok) refused.push(`${request.verb}: ${reply.text}`);
      } else {
        const control = new DrbdControl(this.loop, 'sim');
        const reply = this.wait<ControlReply>(
          (done) => control.resumePrimary(step.minor, done),
          'Primary again',
        );
        if (!reply.ok) refused.push(`primary: ${reply.text}`);
      }
    }
    return refused;
  }

  /** The machine stands still for so long. */
  pauseFor(ms: number): void {
    this.#node.pause();
    this.#pair.run(ms);
    this.#node.resume();
  }

  // ---- application I/O

  /** Reads whose buffer was exchanged: tag -> the new one. */
  readonly moved = new Map<number, number>();

  bufferMoved(tag: number, at: number): void {
    this.moved.set(tag, at);
  }

  blockDone(tag: number, error: number): void {
    this.#answers.set(tag, error);
  }

  /** Starts a request; `answer` says what became of it. */
  begin(start: (tag: number) => void): number {
    const tag = this.#nextTag++;
    this.loop.enter(() => start(tag));
    return tag;
  }

  /** What became of it so far; undefined while it is under way. */
  peek(tag: number): number | undefined {
    return this.#answers.get(tag);
  }

  answer(tag: number): number {
    this.#pair.until(() => this.#answers.has(tag), `${this.name}: request ${tag}`);
    return this.#answers.get(tag) as number;
  }

  beginWrite(sector: number, bytes: Uint8Array, v = this.volume): number {
    const at = this.io.alloc(bytes.length);
    if (at < 0) throw new Error('no buffer');
    this.io.pool.set(bytes, at);
    return this.begin((tag) => v.write(this, tag, sector, at, bytes.length, false));
  }

  write(sector: number, bytes: Uint8Array, v = this.volume): number {
    return this.answer(this.beginWrite(sector, bytes, v));
  }

  discard(sector: number, sectors: number): number {
    return this.answer(this.begin((tag) => this.volume.discard(this, tag, sector, sectors)));
  }

  flush(v = this.volume): number {
    return this.answer(this.begin((tag) => v.flush(this, tag)));
  }

  read(sector: number, lengthBytes: number): Uint8Array {
    const at = this.io.alloc(lengthBytes);
    const tag = this.begin((t) => this.volume.read(this, t, sector, at, lengthBytes));
    const error = this.answer(tag);
    if (error !== 0) throw new Error(`read: ${error}`);
    return this.taken(tag, at, lengthBytes);
  }

  /** What a read has brought, and its buffer back. */
  taken(tag: number, begunAt: number, lengthBytes: number): Uint8Array {
    const at = this.moved.get(tag) ?? begunAt;
    const bytes = this.io.pool.slice(at, at + lengthBytes);
    this.io.free(at);
    return bytes;
  }
}

export class SimPair {
  readonly seed: number;
  readonly options: SimPairOptions;
  readonly world = new SimClock();
  readonly net: SimNet;
  readonly alpha: SimPairNode;
  readonly beta: SimPairNode;

  constructor(seed: number, options: SimPairOptions = {}) {
    this.seed = seed;
    this.options = options;
    const { pieceBytes = DEFAULT_SIM_NET.pieceBytes } = options;
    this.net = new SimNet(this.world, dice(seed, 'net'), { ...DEFAULT_SIM_NET, pieceBytes });
    this.net.addHost('alpha', { replication: '10.1.0.1' });
    this.net.addHost('beta', { replication: '10.1.0.2' });
    this.alpha = new SimPairNode(this, 'alpha');
    this.beta = new SimPairNode(this, 'beta');
  }

  /** Lets the world go on until it holds; says where everything stands when that takes too long. */
  until(holds: () => boolean, what: string): void {
    const endMs = this.world.nowMs + LONGEST_WAIT_MS;
    while (!holds()) {
      if (this.world.nowMs < endMs && this.world.step()) continue;
      const nodes = [this.alpha, this.beta].map(
        (n) => `${n.name}: ${n.shown}\n${n.log.slice(-25).join('\n')}`,
      );
      throw new Error(`not reached: ${what}\n${nodes.join('\n')}`);
    }
  }

  run(ms: number): void {
    this.world.runUntil(this.world.nowMs + ms);
  }

  /** Both attached and connected, alpha Primary, after a full resync. */
  upToDate(): void {
    for (const node of [this.alpha, this.beta]) node.attach();
    for (const node of [this.alpha, this.beta]) node.connect();
    for (const node of [this.alpha, this.beta]) node.until(/cs:Connected .*Incon.*\/Incon/);
    const outcome = this.alpha.ask((v, done) => setPrimary(v, true, done));
    if (outcome.kind !== 'ok') throw new Error(JSON.stringify(outcome));
    const { second } = this.alpha;
    if (second) this.alpha.ask((v, done) => setPrimary(v, true, done), second);
    this.settled();
  }

  settled(): void {
    for (const node of [this.alpha, this.beta]) {
      for (const v of node.resources.flatMap((r) => r.volumes)) {
        node.until(/cs:Connected ro:\S+ ds:UpToDate\/UpToDate/, v);
      }
    }
  }

  /** The first sector of data that differs, or -1; of the second volume behind the first. */
  firstDifference(): number {
    const { alpha, beta } = this;
    const first = alpha.disk.equals(beta.disk, 0, alpha.volume.sizeSectors);
    if (first >= 0 || !alpha.second || !alpha.secondDisk || !beta.secondDisk) return first;
    const second = alpha.secondDisk.equals(beta.secondDisk, 0, alpha.second.sizeSectors);
    return second < 0 ? -1 : alpha.volume.sizeSectors + second;
  }
}

function internal(disk: string, options: DiskOptions) {
  return { disk, metaDisk: disk, metaIndex: 'internal', options } as const;
}

export function createMeta(disk: SimDisk): void {
  const layout = layoutOfDevice('internal', Math.floor(disk.sizeBytes / 512));
  if (isRefused(layout)) throw new Error(layout.text);
  const superblock = new Uint8Array(4096);
  encodeSuperblock(freshSuperblock(layout), superblock);
  disk.write(layout.alSector * 512, encodeRing(layout.alBlocks), true);
  disk.write(layout.superblockSector * 512, superblock, true);
}

/** 4 KiB of one byte. */
export function block(byte: number): Uint8Array {
  return new Uint8Array(4096).fill(byte);
}

/** A pair that is Connected and UpToDate, alpha Primary; both superblocks say so. */
export function inSync(seed: number, options: SimPairOptions = {}): SimPair {
  const pair = new SimPair(seed, { sizeBytes: 2 << 20, ...options });
  pair.upToDate();
  pair.run(100);
  return pair;
}
