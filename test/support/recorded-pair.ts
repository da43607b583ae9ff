/**
 * Two engines as in engines.ts, driven by control requests alone and with a flight recorder in each: what a recording can
 * hold, a replay can repeat. Disks are files, streams are TCP over loopback.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
  type DiskOptions,
  type NetOptions,
} from '../../src/config/drbd-options.js';
import { connName, diskName, roleName } from '../../src/drbd/state.js';
import type { BlockVolume } from '../../src/host/block.js';
import type { ControlReply, ControlRequest } from '../../src/host/control.js';
import { DrbdControl } from '../../src/host/drbd-control.js';
import { DrbdLoop } from '../../src/host/drbd-loop.js';
import { blocksFor, fileBytes } from '../../src/host/flight-format.js';
import { FlightFile } from '../../src/host/flight-read.js';
import type { Io } from '../../src/host/io.js';
import { RecordedDrbd } from '../../src/host/recording-hooks.js';
import { flightChecksum } from '../../src/real/flight-files.js';
import { nodeDigests, nodeRandom, nodeTimers } from '../../src/real/node-ports.js';
import { DEFAULT_IO, openIo } from '../../src/real/open-io.js';
import { createMeta, ownAddress, type Teardown } from './engines.js';
import { PATIENCE_MS } from './until.js';

const POOL = { head: 256, small: 256, medium: 96, large: 40 };

export interface RecordedOptions {
  readonly net?: Partial<NetOptions>;
  readonly disk?: Partial<DiskOptions>;
  readonly engine?: 'auto' | 'native' | 'fallback';
  readonly sizeMiB?: number; // of the recording
  readonly sizeBytes?: number; // of the disk
}

export class RecordedNode {
  readonly name: string;
  readonly io: Io;
  readonly loop: DrbdLoop;
  readonly memory: Uint8Array;
  readonly log: string[] = [];
  readonly recorded: RecordedDrbd;
  readonly control: DrbdControl;
  readonly #options: RecordedOptions;
  readonly #waiting = new Set<() => void>();
  readonly #answers = new Map<number, (error: number) => void>();
  #nextTag = 0;
  dead = false;
  handlerExit = 0;

  constructor(name: string, options: RecordedOptions) {
    this.name = name;
    this.#options = options;
    const opened = openIo({ ...DEFAULT_IO, engine: options.engine ?? 'auto', pool: POOL });
    this.io = opened.io;
    const blocks = blocksFor(options.sizeMiB ?? 8);
    this.memory = new Uint8Array(fileBytes(blocks.coldBlocks, blocks.hotBlocks));
    const hooks = {
      random: nodeRandom,
      digests: nodeDigests,
      timers: nodeTimers,
      log: (level: string, object: string, text: string) =>
        void this.log.push(`${level} ${object}: ${text}`),
      handler: (_e: string, _r: string, _m: number | null, done: (exit: number) => void) =>
        void setImmediate(() => done(this.handlerExit)),
      sizeChanged: () => {},
      exposed: () => {},
      stateChanged: () => this.#changed(),
    };
    this.recorded = new RecordedDrbd(
      opened.io,
      hooks,
      { memory: this.memory, ...blocks, checksum: flightChecksum, wallMs: Date.now },
      { daemon: 'drbdd', version: 'test', node: name, life: `${name}-1`, setup: { pool: POOL } },
    );
    this.loop = new DrbdLoop(this.recorded.io, this.recorded.hooks);
    this.recorded.join(this.loop);
    this.control = new DrbdControl(this.loop, 'test');
  }

  #changed(): void {
    this.control?.stateChanged();
    setImmediate(() => {
      for (const look of [...this.#waiting]) look();
    });
  }

  request(request: ControlRequest): Promise<ControlReply> {
    return new Promise((done) => this.recorded.request(this.control, request, done));
  }

  async must(request: ControlRequest): Promise<void> {
    const reply = await this.request(request);
    if (!reply.ok) throw new Error(`${this.name}: ${request.verb}: ${reply.text}`);
  }

  get volume(): BlockVolume {
    const v = this.loop.engine.volume(0);
    if (!v) throw new Error('no volume');
    return this.recorded.volume(v);
  }

  get shown(): string {
    const s = this.loop.engine.volume(0)?.state;
    if (!s) return '';
    return (
      `cs:${connName(s.conn)} ro:${roleName(s.role)}/${roleName(s.peer)} ` +
      `ds:${diskName(s.disk)}/${diskName(s.pdsk)}`
    );
  }

  async until(pattern: RegExp): Promise<void> {
    if (pattern.test(this.shown)) return;
    await new Promise<void>((done, fail) => {
      const late = setTimeout(() => {
        fail(new Error(`${this.name}: ${this.shown}, not ${pattern}\n${this.log.join('\n')}`));
      }, PATIENCE_MS);
      const look = (): void => {
        if (!pattern.test(this.shown)) return;
        this.#waiting.delete(look);
        clearTimeout(late);
        done();
      };
      this.#waiting.add(look);
    });
  }

  async attach(disk: string): Promise<void> {
    await this.must({ verb: 'new-resource', resource: 'r0', options: DEFAULT_RESOURCE_OPTIONS });
    const device = '/dev/drbd0';
    await this.must({ verb: 'new-minor', resource: 'r0', volume: 0, minor: 0, device });
    const options = {
      ...DEFAULT_DISK_OPTIONS,
      cPlanAheadDs: 0,
      resyncRateKiBps: 1 << 20,
      ...this.#options.disk,
    };
    await this.must({
      verb: 'attach',
      minor: 0,
      disk,
      metaDisk: disk,
      metaIndex: 'internal',
      options,
    });
  }

  async connect(host: string, mine: number, peers: number, discardMyData = false): Promise<void> {
    const options: NetOptions = {
      ...DEFAULT_NET_OPTIONS,
      pingTimeoutDs: 50,
      connectIntS: 1,
      maxBuffers: 16384,
      socketCheckTimeoutDs: 1,
      ...this.#options.net,
    };
    await this.must({
      verb: 'connect',
      resource: 'r0',
      local: { family: 'ipv4', host, port: mine },
      remote: { family: 'ipv4', host, port: peers },
      options,
      discardMyData,
      tentative: false,
    });
  }

  // ---- a front end that works from outside, as FUSE requests come

  bufferMoved(): void {
    throw new Error('no disk of these tests is given up');
  }

  blockDone(tag: number, error: number): void {
    const answer = this.#answers.get(tag);
    this.#answers.delete(tag);
    answer?.(error);
  }

  /** One request of the device; `start` is called as a front end calls. */
  ask(start: (volume: BlockVolume, tag: number) => void): Promise<number> {
    if (this.dead) return Promise.resolve(-1);
    const tag = this.#nextTag++;
    return new Promise((done) => {
      this.#answers.set(tag, done);
      this.recorded.enter(this.loop, () => start(this.volume, tag));
    });
  }

  write(sector: number, bytes: Uint8Array, fua = false): Promise<number> {
    return this.ask((v, tag) => {
      const at = this.io.alloc(bytes.length);
      if (at < 0) throw new Error('no buffer');
      this.io.pool.set(bytes, at);
      v.write(this, tag, sector, at, bytes.length, fua);
    });
  }

  async read(sector: number, lengthBytes: number): Promise<number> {
    if (this.dead) return -1;
    const at = this.io.alloc(lengthBytes);
    const error = await this.ask((v, tag) => v.read(this, tag, sector, at, lengthBytes));
    if (!this.dead) this.io.free(at);
    return error;
  }

  /** As SIGKILL: the recording ends where it is. */
  async kill(): Promise<void> {
    if (this.dead) return;
    this.dead = true;
    this.recorded.recorder.stopped = true;
    this.loop.stop();
    await this.io.destroy();
    for (const answer of this.#answers.values()) answer(-1);
  }

  /** The recording as a file would have it now. */
  file(): FlightFile {
    return FlightFile.read(this.name, this.memory.slice(), flightChecksum);
  }
}

export class RecordedPair {
  readonly nodes: { a: RecordedNode; b: RecordedNode };
  readonly #options: RecordedOptions;
  readonly host = ownAddress();
  readonly disks: { readonly a: string; readonly b: string };
  readonly ports = { a: 7788, b: 7789 } as const;
  /** Where each node is dialed. */
  dialed = { a: 7788, b: 7789 };
  /** Of all lives, in the order of their ends. */
  readonly #lives: RecordedNode[] = [];

  private constructor(dir: string, options: RecordedOptions) {
    this.#options = options;
    this.disks = { a: join(dir, 'a.img'), b: join(dir, 'b.img') };
    createMeta(this.disks.a, options.sizeBytes ?? 8 << 20);
    createMeta(this.disks.b, options.sizeBytes ?? 8 << 20);
    this.nodes = { a: new RecordedNode('a', options), b: new RecordedNode('b', options) };
    this.#lives.push(this.nodes.a, this.nodes.b);
  }

  static create(t: Teardown, options: RecordedOptions = {}): RecordedPair {
    const dir = mkdtempSync(join(tmpdir(), 'twinbeat-recorded-'));
    const pair = new RecordedPair(dir, options);
    t.teardown(async () => {
      for (const node of pair.#lives) await node.kill();
      rmSync(dir, { recursive: true, force: true });
    });
    return pair;
  }

  get lives(): readonly RecordedNode[] {
    return this.#lives;
  }

  async connect(which: 'a' | 'b', discardMyData = false): Promise<void> {
    const peer = which === 'a' ? 'b' : 'a';
    await this.nodes[which].connect(this.host, this.ports[which], this.dialed[peer], discardMyData);
  }

  /** Attached, connected, first sync done, A Primary. */
  async up(): Promise<void> {
    const { a, b } = this.nodes;
    await a.attach(this.disks.a);
    await b.attach(this.disks.b);
    await this.connect('a');
    await this.connect('b');
    await a.until(/cs:Connected/);
    await a.must({ verb: 'primary', minor: 0, force: true });
    await a.until(/ds:UpToDate\/UpToDate/);
  }

  /** A node comes back after a kill, with the disk as it is. */
  revive(which: 'a' | 'b'): RecordedNode {
    const node = new RecordedNode(which, this.#options);
    this.nodes[which] = node;
    this.#lives.push(node);
    return node;
  }
}
