/**
 * One simulated machine: power, clock, lower disk, /dev/drbd0, and the processes drbdd and heartbeat with what they started.
 *
 *     boot -> drbdd, `drbdadm up`, heartbeat      power off -> everything at once; the disk loses what was volatile
 *     drbdd killed -> (angel) a successor resumes what was saved in /run; the users of the device wait
 */

import { assert } from '../base/assert.js';
import type { DigestSource } from '../base/ports.js';
import type { Prng } from '../base/prng.js';
import type { Protocol } from '../config/drbd-options.js';
import { FULL_DIALECT } from '../drbd/connect.js';
import type { State } from '../drbd/state.js';
import type { Exposed, SavedState } from '../host/drbdd-resume.js';
import { encodeRing } from '../md/apply-al.js';
import { isRefused, layoutOfDevice } from '../md/layout.js';
import { encodeSuperblock, freshSuperblock } from '../md/superblock.js';
import { type Answered, type DrbdadmVerb, drbdadm, LOWER_DISK, RESOURCE } from './administrator.js';
import type { Client } from './client.js';
import { type ClusterConfig, type NodeName, peerOf } from './config.js';
import { between, dice } from './dice.js';
import { HandlerFaults } from './handler-faults.js';
import { findMetaData } from './moved-meta.js';
import { NodeClock } from './node-clock.js';
import { NodeHeartbeat, type NodeHeartbeatWorld } from './node-heartbeat.js';
import type { SimClock } from './sim-clock.js';
import { SimDevice } from './sim-device.js';
import { DEFAULT_SIM_DISK, SimDisk } from './sim-disk.js';
import { SimDrbdd } from './sim-drbdd.js';
import type { SimNet } from './sim-net.js';

/** What a node tells the world that it is part of. */
export interface NodeWorld extends NodeHeartbeatWorld {
  readonly seed: number;
  readonly clock: SimClock;
  readonly net: SimNet;
  readonly digests: DigestSource;
  readonly config: ClusterConfig;
  node(name: NodeName): SimNode;
  log(node: NodeName, object: string, level: string, text: string): void;
  /** drbdd died (its machine with it, when `power`). */
  died(node: SimNode, power: boolean): void;
  client(node: SimNode): Client;
  /** A handler of DRBD ran: its exit status. */
  handled(node: SimNode, event: string, exit: number): void;
  /** A disk that hung and was let go has stored a superblock that it was given before. */
  metaStoredLate(node: SimNode): void;
  /** drbdadm begins. */
  asked(node: SimNode, verb: string): void;
}

const OUTDATE_LIMIT_MS = 5000;
const HANDLER_MS = [5, 200] as const;
const RESPAWN_MS = [20, 400] as const;
const HALT_TO_BOOT_MS = 8000;

export class SimNode {
  readonly name: NodeName;
  readonly clock: NodeClock;
  readonly disks = new Map<string, SimDisk>();
  disk: SimDisk;
  readonly #world: NodeWorld;
  readonly #random: Prng;
  #lives = 0;
  device: SimDevice;
  drbdd: SimDrbdd | null = null;
  client: Client | null = null;
  readonly handlerFaults: HandlerFaults;
  /** Null: a cluster without heartbeat. */
  readonly heartbeat: NodeHeartbeat | null;
  powered = false;
  /** In /run: what a successor of drbdd resumes. */
  saved: SavedState | null = null;
  exposed: Exposed = {};
  /** The last answer of `fence-peer` since the peer was seen; null: it was not asked. */
  fenceExit: number | null = null;
  /** drbdd dies with its next so many requests to the port still to be made; -1: not planned. */
  readonly errors: string[] = [];

  #lastKnownBytes: number; // of the disk, when meta-data at its end were seen, moved or made last (*.lkbd)

  constructor(world: NodeWorld, name: NodeName) {
    this.#world = world;
    this.name = name;
    const { config } = world;
    this.clock = new NodeClock(world.clock, config.driftPpm[name]);
    this.handlerFaults = new HandlerFaults(this.clock);
    this.#random = dice(world.seed, `node ${name}`);
    this.disk = this.#newDisk();
    this.#lastKnownBytes = this.disk.sizeBytes;
    this.disks.set(LOWER_DISK, this.disk);
    this.device = new SimDevice(this.clock);
    this.heartbeat = config.heartbeat ? new NodeHeartbeat(world, this) : null;
  }

  /** A disk as from the shop, with meta-data made by create-md. */
  #newDisk(sizeBytes = this.#world.config.sizeBytes): SimDisk {
    const { config, seed } = this.#world;
    const disk = new SimDisk(
      {
        ...DEFAULT_SIM_DISK,
        sizeBytes,
        canDiscard: config.diskDiscards,
        discardZeroes: config.diskDiscardZeroes ?? true,
        latencyMs: config.diskLatencyMs,
        flushLatencyMs: config.flushLatencyMs,
      },
      dice(seed, `disk ${this.name} ${this.#lives}`),
    );
    createMeta(disk, sizeBytes);
    return disk;
  }

  /** Another disk in its place, of the same size. */
  replaceDisk(): void {
    this.disk = this.#newDisk(this.disk.nominalBytes);
    this.disks.set(LOWER_DISK, this.disk);
    this.#lastKnownBytes = this.disk.nominalBytes;
  }

  /** `drbdadm create-md` on the disk that is there; nothing has it open. */
  createMeta(): void {
    createMeta(this.disk, this.disk.nominalBytes);
    this.#lastKnownBytes = this.disk.nominalBytes; // create-md notes it
  }

  get state(): State | null {
    const { drbdd } = this;
    return drbdd && !drbdd.dead ? (drbdd.volume?.state ?? null) : null;
  }

  /** The protocol that its connection uses, or what is still under way by a weaker one; an edited file counts when it is told of. */
  get protocol(): Protocol {
    const r = this.drbdd?.loop.engine.resource(RESOURCE);
    return r?.protocolInForce ?? this.#world.config.net.protocol;
  }

  get peer(): SimNode {
    return this.#world.node(peerOf(this.name));
  }

  boot(): void {
    if (this.powered) return;
    this.powered = true;
    this.#world.net.boot(this.name);
    this.device = new SimDevice(this.clock);
    this.#world.log(this.name, 'node', 'info', 'boots');
    this.#startDrbdd(null);
    this.drbdadm('up', [], () => {});
    this.heartbeat?.start();
  }

  powerOff(): void {
    if (!this.powered) return;
    this.#world.log(this.name, 'node', 'info', 'loses power');
    this.powered = false;
    this.saved = null;
    this.exposed = {};
    this.clock.resume();
    this.client?.kill();
    this.client = null;
    this.heartbeat?.powerCut();
    this.handlerFaults.powerCut();
    this.drbdd?.kill(true, false);
    this.#world.net.crash(this.name, true);
    this.#world.died(this, true);
    this.drbdd = null;
  }

  /** `reboot -nf`, or halt: somebody switches it on again. */
  reboot(): void {
    this.powerOff();
    this.#world.clock.after(HALT_TO_BOOT_MS, () => this.boot());
  }

  /** SIGKILL of drbdd; the angel starts a successor. */
  killDrbdd(): void {
    const { drbdd } = this;
    if (!this.powered || !drbdd || drbdd.dead) return;
    this.#world.log(this.name, 'drbdd', 'info', 'is killed');
    drbdd.kill(false, true);
    this.#world.died(this, false);
    this.clock.after(between(this.#random, RESPAWN_MS), () => {
      if (this.powered && this.drbdd === drbdd) this.#startDrbdd(this.saved);
    });
  }

  #startDrbdd(saved: SavedState | null): void {
    this.#lives++;
    this.drbdd = new SimDrbdd({
      name: this.name,
      clock: this.clock,
      net: this.#world.net,
      disks: this.disks,
      device: this.device,
      random: dice(this.#world.seed, `drbdd ${this.name} ${this.#lives}`),
      digests: this.#world.digests,
      dialect: (this.name === 'beta' ? this.#world.config.dialect : null) ?? FULL_DIALECT,
      log: (level, object, text) => this.#world.log(this.name, object, level, text),
      handler: (event, done) => this.#handler(event, done),
      changed: () => {},
      exposed: (minor, generations) => {
        this.exposed = { [minor]: generations.map((uuid) => uuid.toString(16).toUpperCase()) };
      },
      metaStoredLate: () => this.#world.metaStoredLate(this),
      save: (state) => {
        this.saved = state;
      },
      lowerSize: (bytes) => {
        this.#lastKnownBytes = bytes;
      },
    });
    if (saved) this.drbdd.resume(saved, this.exposed);
  }

  drbdadm(verb: DrbdadmVerb, flags: readonly string[], done: Answered): void {
    const { config } = this.#world;
    this.#world.asked(this, verb);
    const mayAttach = verb === 'up' || verb === 'attach' || verb === 'adjust';
    // drbdmeta opens the disk exclusively: of one that drbdd has (or let go, unanswered requests and all) it keeps its hands off.
    if (mayAttach && !this.disk.isClaimed && !this.drbdd?.io.claims(LOWER_DISK)) {
      this.#lastKnownBytes = findMetaData(this.disk, this.#lastKnownBytes);
    }
    drbdadm(this.drbdd, { config, node: this.name }, verb, flags, (exit, text) => {
      const what = ['drbdadm', verb, ...flags, RESOURCE].join(' ');
      this.#world.log(this.name, 'drbdadm', 'info', `${what}: exit ${exit} ${text}`.trimEnd());
      done(exit, text);
    });
  }

  // ---- handlers

  #handler(event: string, done: (exit: number) => void): void {
    const answer = (exit: number): void => {
      if (!this.powered) return;
      this.#world.log(this.name, 'handler', 'info', `${event}: exit ${exit}`);
      if (event === 'fence-peer') this.fenceExit = exit;
      this.#world.handled(this, event, exit);
      done(exit);
    };
    const notConfigured = (): boolean =>
      event !== 'pri-lost-after-sb' &&
      (event !== 'fence-peer' || this.#world.config.fenceHandler === 'none');
    if (notConfigured() && !this.handlerFaults.of(event)) {
      this.clock.after(0, () => done(0)); // not at once: drbdd asks another thread
      return;
    }
    const fault = this.handlerFaults.of(event);
    if (fault) this.#world.log(this.name, 'handler', 'info', `${event}: ${fault.kind}`);
    const works = (answered: (exit: number) => void): void => this.#runHandler(event, answered);
    this.handlerFaults.run(event, works, () => this.reboot(), answer);
  }

  #runHandler(event: string, answer: (exit: number) => void): void {
    const { fenceHandler } = this.#world.config;
    const later = (run: () => void): void => {
      this.clock.after(between(this.#random, HANDLER_MS), run);
    };
    if (event === 'pri-lost-after-sb') {
      // As the manual's example has it: halt. Somebody switches it on again.
      later(() => this.reboot());
    } else if (event !== 'fence-peer' || fenceHandler === 'none')
      this.clock.after(0, () => answer(0));
    else if (typeof fenceHandler === 'object') later(() => answer(fenceHandler.exit));
    else if (fenceHandler === 'dopd' && this.heartbeat) this.heartbeat.outdatePeer(answer);
    else later(() => this.#outdateByNetwork(answer));
  }

  /** A handler that runs `drbdadm outdate` on the peer over the first heartbeat network, as one over ssh does. */
  #outdateByNetwork(answer: (exit: number) => void): void {
    const { net } = this.#world;
    const { peer } = this;
    const reaches = (from: NodeName, to: NodeName): boolean => net.network.passes('eth0', from, to);
    if (!peer.powered || peer.clock.paused || !reaches(this.name, peer.name)) {
      this.clock.after(3000, () => answer(5));
      return;
    }
    let answered = false;
    const once = (exit: number): void => {
      if (!answered) answer(exit);
      answered = true;
    };
    // drbdadm gives up after five seconds: drbdd there may itself wait for a fence-peer that asks this node.
    this.clock.after(OUTDATE_LIMIT_MS, () => once(20));
    peer.drbdadm('outdate', [], (exit) => {
      if (!reaches(peer.name, this.name)) this.clock.after(3000, () => once(5));
      else this.clock.after(1, () => once(exit === 0 ? 4 : exit === 5 ? 3 : exit === 17 ? 6 : 20));
    });
  }

  // ---- the service, without heartbeat

  /** Promote, open, start the client: what haresources would do. */
  serve(flags: readonly string[], done: (ok: boolean) => void): void {
    this.drbdadm('primary', flags, (exit) => {
      // Two at once (the operator was impatient): it is opened and served once.
      if (exit !== 0 || (this.client === null && this.device.open() !== 0)) {
        done(false);
        return;
      }
      this.startClient();
      done(true);
    });
  }

  unserve(done: (ok: boolean) => void): void {
    this.stopClient(() => {
      this.device.release();
      this.drbdadm('secondary', [], (exit) => done(exit === 0));
    });
  }

  startClient(): void {
    if (!this.client) this.client = this.#world.client(this);
  }

  killClient(): void {
    this.client?.kill();
    this.client = null;
  }

  stopClient(done: () => void): void {
    const { client } = this;
    if (!client) {
      done();
      return;
    }
    client.stop(() => {
      if (this.client === client) this.client = null;
      done();
    });
  }
}

/** Where the meta-data begin at the end of a disk. */
export function dataBytes(sizeBytes: number): number {
  const layout = layoutOfDevice('internal', Math.floor(sizeBytes / 512));
  assert(!isRefused(layout), 'a disk that is large enough for meta-data');
  return Math.min(layout.alSector, layout.bitmapSector, layout.superblockSector) * 512;
}

/** What `drbdadm create-md` leaves on an empty disk. */
export function createMeta(disk: SimDisk, sizeBytes: number): void {
  const layout = layoutOfDevice('internal', Math.floor(sizeBytes / 512));
  assert(!isRefused(layout), 'a disk that is large enough for meta-data');
  const block = new Uint8Array(4096);
  encodeSuperblock(freshSuperblock(layout), block);
  disk.write(layout.alSector * 512, encodeRing(layout.alBlocks), true);
  disk.write(layout.superblockSector * 512, block, true);
}
