/**
 * Two replication engines in this process, each with an I/O port of its own, joined by TCP over loopback: the whole path
 * from a write to the peer's disk, without daemons and devices. Disks are files with meta-data made here.
 */
import {
  closeSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
  type DiskOptions,
  type NetOptions,
} from '../../src/config/drbd-options.js';
import { attach } from '../../src/drbd/attach.js';
import { type Dialect, FULL_DIALECT } from '../../src/drbd/connect.js';
import type { Outcome } from '../../src/drbd/outcome.js';
import type { Resource } from '../../src/drbd/resource.js';
import { connName, diskName, roleName } from '../../src/drbd/state.js';
import type { Volume } from '../../src/drbd/volume.js';
import { DrbdLoop } from '../../src/host/drbd-loop.js';
import type { Io } from '../../src/host/io.js';
import { encodeRing } from '../../src/md/apply-al.js';
import { isRefused, layoutOfDevice } from '../../src/md/layout.js';
import { encodeSuperblock, freshSuperblock } from '../../src/md/superblock.js';
import { nodeDigests, nodeRandom, nodeTimers } from '../../src/real/node-ports.js';
import { DEFAULT_IO, openIo } from '../../src/real/open-io.js';
import { PATIENCE_MS } from './until.js';

export interface NodeOptions {
  readonly net?: Partial<NetOptions>;
  readonly disk?: Partial<DiskOptions>;
  readonly engine?: 'auto' | 'native' | 'fallback';
  readonly sizeBytes?: number;
  /** What it offers to speak at most. */
  readonly dialect?: Dialect;
}

/** Nothing was asked: no buffer was free. */
export const NO_BUFFER = -2;
/** The answer of a node that was killed. */
export const GONE = -1;

const SMALL_POOL = { head: 256, page: 2048, small: 256, medium: 96, large: 40 };

export function createMeta(path: string, sizeBytes: number): void {
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  const layout = layoutOfDevice('internal', Math.floor(sizeBytes / 512));
  if (isRefused(layout)) throw new Error(layout.text);
  const block = new Uint8Array(4096);
  encodeSuperblock(freshSuperblock(layout), block);
  const fd = openSync(path, 'r+');
  writeSync(fd, encodeRing(layout.alBlocks), 0, undefined, layout.alSector * 512);
  writeSync(fd, block, 0, 4096, layout.superblockSector * 512);
  closeSync(fd);
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', () => done()));
  const address = server.address();
  await new Promise<void>((done) => server.close(() => done()));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

let pairs = 0;

/**
 * An address on loopback for one pair alone: a node listens only until it is connected, so a port that looks free may be
 * somebody's, and the wrong nodes would meet.
 */
export function ownAddress(): string {
  pairs++;
  const id = process.pid % 16_000;
  return `127.${1 + Math.floor(id / 250) + 64 * (Math.floor(pairs / 250) % 2)}.${1 + (id % 250)}.${1 + (pairs % 250)}`;
}

/** One node: an I/O port, an engine, one resource with one volume. */
export class TestNode {
  readonly name: string;
  readonly io: Io;
  readonly loop: DrbdLoop;
  readonly disk: string;
  readonly log: string[] = [];
  readonly resource: Resource;
  readonly volume: Volume;
  readonly options: NodeOptions;
  readonly #waiting: { holds: () => boolean; done: () => void }[] = [];
  #nextTag = 1;
  readonly #answers = new Map<number, (error: number) => void>();

  constructor(name: string, disk: string, options: NodeOptions) {
    this.name = name;
    this.disk = disk;
    this.options = options;
    const opened = openIo({ ...DEFAULT_IO, engine: options.engine ?? 'auto', pool: SMALL_POOL });
    this.io = opened.io;
    this.#countBuffers();
    this.loop = new DrbdLoop(this.io, {
      random: nodeRandom,
      digests: nodeDigests,
      dialect: () => options.dialect ?? FULL_DIALECT,
      timers: nodeTimers,
      log: (level, object, text) => this.log.push(`${level} ${object}: ${text}`),
      handler: (_event, _resource, _minor, done) => setImmediate(() => done(0)),
      sizeChanged: () => {},
      exposed: () => {},
      stateChanged: () => this.#check(),
    });
    this.resource = this.loop.engine.addResource('r0', DEFAULT_RESOURCE_OPTIONS);
    this.volume = this.loop.engine.addVolume(this.resource, 0, 0, '/dev/drbd0');
  }

  /** Buffers handed out and not freed. */
  buffersInUse = 0;

  #countBuffers(): void {
    const { io } = this;
    const alloc = io.alloc.bind(io);
    const free = io.free.bind(io);
    io.alloc = (bytes) => {
      const at = alloc(bytes);
      if (at >= 0) this.buffersInUse++;
      return at;
    };
    io.free = (at) => {
      free(at);
      this.buffersInUse--;
    };
  }

  #check(): void {
    // Waiters look after the turn, when everything that belongs to a change has happened.
    setImmediate(() => {
      for (const w of [...this.#waiting]) {
        if (!w.holds()) continue;
        this.#waiting.splice(this.#waiting.indexOf(w), 1);
        w.done();
      }
    });
  }

  get cs(): string {
    return connName(this.volume.state.conn);
  }
  get ds(): string {
    return `${diskName(this.volume.state.disk)}/${diskName(this.volume.state.pdsk)}`;
  }
  get ro(): string {
    return `${roleName(this.volume.state.role)}/${roleName(this.volume.state.peer)}`;
  }
  get shown(): string {
    return `cs:${this.cs} ro:${this.ro} ds:${this.ds}`;
  }

  /** Waits until the state reads so; says where it stands when that takes too long. */
  async until(pattern: RegExp): Promise<void> {
    if (pattern.test(this.shown)) return;
    await new Promise<void>((done, fail) => {
      const late = setTimeout(() => {
        fail(
          new Error(
            `${this.name}: ${this.shown}, not ${pattern}\n${this.log.slice(-40).join('\n')}`,
          ),
        );
      }, PATIENCE_MS);
      this.#waiting.push({
        holds: () => pattern.test(this.shown),
        done: () => {
          clearTimeout(late);
          done();
        },
      });
    });
  }

  async attach(): Promise<void> {
    await new Promise<void>((done, fail) => {
      this.loop.enter(() => {
        attach(
          this.volume,
          {
            disk: this.disk,
            metaDisk: this.disk,
            metaIndex: 'internal',
            options: {
              ...DEFAULT_DISK_OPTIONS,
              cPlanAheadDs: 0,
              cMinRateKiBps: 0, // as the kernel of test/integration has it
              resyncRateKiBps: 1 << 20,
              ...this.options.disk,
            },
          },
          (failure) => (failure ? fail(new Error(JSON.stringify(failure))) : done()),
        );
      });
    });
  }

  connect(host: string, myPort: number, peerPort: number, discardMyData = false): void {
    const net: NetOptions = {
      ...DEFAULT_NET_OPTIONS,
      pingTimeoutDs: 50,
      connectIntS: 1,
      maxBuffers: 16384,
      socketCheckTimeoutDs: 1,
      ...this.options.net,
    };
    this.loop.enter(() =>
      this.resource.connect(
        { family: 'ipv4', host, port: myPort },
        { family: 'ipv4', host, port: peerPort },
        net,
        discardMyData,
        false,
      ),
    );
  }

  /** Nothing is on its way to the peer any more. */
  async untilQuiet(): Promise<void> {
    await new Promise<void>((done) =>
      this.loop.enter(() => {
        this.volume.link?.transferLog.close();
        this.resource.whenQuiet(this.volume, done);
      }),
    );
  }

  async ask(request: (v: Volume, done: (outcome: Outcome) => void) => void): Promise<Outcome> {
    return new Promise((done) => this.loop.enter(() => request(this.volume, done)));
  }

  async disconnect(forceIt = false): Promise<void> {
    await new Promise<void>((done) =>
      this.loop.enter(() => this.resource.disconnect(forceIt, () => done())),
    );
  }

  // ---- application I/O

  bufferMoved(): void {
    throw new Error('no disk of these tests is given up');
  }

  blockDone(tag: number, error: number): void {
    const answer = this.#answers.get(tag);
    this.#answers.delete(tag);
    answer?.(error);
  }

  async #io(start: (tag: number) => void): Promise<number> {
    const tag = this.#nextTag++;
    return new Promise((done) => {
      this.#answers.set(tag, done);
      this.loop.enter(() => start(tag));
    });
  }

  async write(sector: number, bytes: Uint8Array, fua = false): Promise<number> {
    return this.#io((tag) => {
      const at = this.io.alloc(bytes.length);
      if (at < 0) {
        setImmediate(() => this.blockDone(tag, NO_BUFFER));
        return;
      }
      this.io.pool.set(bytes, at);
      this.volume.write(this, tag, sector, at, bytes.length, fua);
    });
  }

  async read(sector: number, lengthBytes: number): Promise<Uint8Array | number> {
    const at = this.io.alloc(lengthBytes);
    if (at < 0) return NO_BUFFER;
    const error = await this.#io((tag) => this.volume.read(this, tag, sector, at, lengthBytes));
    const bytes = this.io.pool.slice(at, at + lengthBytes);
    if (error !== GONE) this.io.free(at);
    return error === 0 ? bytes : error;
  }

  async flush(): Promise<number> {
    return this.#io((tag) => this.volume.flush(this, tag));
  }
  async discard(sector: number, sectors: number): Promise<number> {
    return this.#io((tag) => this.volume.discard(this, tag, sector, sectors));
  }
  async zeroes(sector: number, sectors: number): Promise<number> {
    return this.#io((tag) => this.volume.writeZeroes(this, tag, sector, sectors, true));
  }

  /** What the disk holds, past any cache of ours. */
  onDisk(sector: number, lengthBytes: number): Uint8Array {
    const bytes = new Uint8Array(lengthBytes);
    const fd = openSync(this.disk, 'r');
    readSync(fd, bytes, 0, lengthBytes, sector * 512);
    closeSync(fd);
    return bytes;
  }

  dead = false;

  /** As SIGKILL: everything stops at once, nothing is said to the peer; what was asked is answered with GONE. */
  async kill(): Promise<void> {
    if (this.dead) return;
    this.dead = true;
    this.loop.stop();
    await this.io.destroy();
    for (const answer of this.#answers.values()) answer(GONE);
    this.#answers.clear();
    for (const w of this.#waiting.splice(0)) w.done();
  }
}

/** The part of ava's `t` that is needed here. */
export interface Teardown {
  teardown(done: () => void | Promise<void>): void;
}

export class Engines {
  a: TestNode;
  b: TestNode;
  readonly dir: string;
  readonly host = ownAddress();
  readonly ports: readonly [number, number];
  /** Where each node is dialed: its own port, or that of a cable in front of it. */
  dialed: readonly [number, number];

  private constructor(dir: string, a: TestNode, b: TestNode, ports: readonly [number, number]) {
    this.dir = dir;
    this.a = a;
    this.b = b;
    this.ports = ports;
    this.dialed = ports;
  }

  static create(t: Teardown, a: NodeOptions = {}, b: NodeOptions = a): Engines {
    const dir = mkdtempSync(join(tmpdir(), 'twinbeat-engines-'));
    const size = 8 << 20;
    const disks = [join(dir, 'a.img'), join(dir, 'b.img')] as const;
    createMeta(disks[0], a.sizeBytes ?? size);
    createMeta(disks[1], b.sizeBytes ?? size);
    const ports = [7788, 7789] as const;
    const engines = new Engines(
      dir,
      new TestNode('a', disks[0], a),
      new TestNode('b', disks[1], b),
      ports,
    );
    t.teardown(async () => {
      await engines.a.kill();
      await engines.b.kill();
      rmSync(dir, { recursive: true, force: true });
    });
    return engines;
  }

  connect(): void {
    this.connectNode('a');
    this.connectNode('b');
  }

  /** A node that was killed comes back with the disk as it is. */
  revive(which: 'a' | 'b'): TestNode {
    const old = this[which];
    const node = new TestNode(old.name, old.disk, old.options);
    this[which] = node;
    return node;
  }

  connectNode(which: 'a' | 'b'): void {
    const mine = which === 'a' ? 0 : 1;
    this[which].connect(this.host, this.ports[mine] as number, this.dialed[1 - mine] as number);
  }

  /** The data of both disks, where they differ: the first sector, or null. */
  firstDifference(): number | null {
    const sectors = this.a.volume.sizeSectors;
    for (let sector = 0; sector < sectors; sector += 2048) {
      const n = Math.min(2048, sectors - sector) * 512;
      const x = this.a.onDisk(sector, n);
      const y = this.b.onDisk(sector, n);
      if (Buffer.compare(x, y) !== 0) {
        return sector + Math.floor(x.findIndex((byte, i) => byte !== y[i]) / 512);
      }
    }
    return null;
  }
}
