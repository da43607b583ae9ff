/**
 * One node's copy of a replicated device: its lower disk, /dev/drbdN as its users see it, and the service's client that works on
 * it. What all copies of a node share (power, clock, drbdd) is the node's.
 */
import { assert } from '../base/assert.js';
import type { Prng } from '../base/prng.js';
import type { Protocol } from '../config/drbd-options.js';
import type { State } from '../drbd/state.js';
import type { Volume } from '../drbd/volume.js';
import { encodeRing } from '../md/apply-al.js';
import { isRefused, layoutOfDevice } from '../md/layout.js';
import { encodeSuperblock, freshSuperblock } from '../md/superblock.js';
import { lowerDiskOf } from './administrator.js';
import type { Client } from './client.js';
import {
  type ClusterConfig,
  type NodeName,
  type ResourceName,
  resourceOf,
  sizeBytesOf,
} from './config.js';
import { dice } from './dice.js';
import { findMetaData } from './moved-meta.js';
import type { NodeClock } from './node-clock.js';
import { SimDevice } from './sim-device.js';
import { DEFAULT_SIM_DISK, SimDisk } from './sim-disk.js';
import type { SimDrbdd } from './sim-drbdd.js';
import type { SimNode } from './sim-node.js';

export interface ReplicaWorld {
  readonly seed: number;
  readonly config: ClusterConfig;
}

export class Replica {
  readonly node: SimNode;
  readonly minor: number;
  readonly resource: ResourceName;
  disk: SimDisk;
  device: SimDevice;
  client: Client | null = null;
  readonly #world: ReplicaWorld;
  #lastKnownBytes: number; // of the disk, when meta-data at its end were seen, moved or made last (*.lkbd)

  constructor(world: ReplicaWorld, node: SimNode, minor: number) {
    this.#world = world;
    this.node = node;
    this.minor = minor;
    this.resource = resourceOf(world.config, minor);
    this.disk = this.#newDisk(sizeBytesOf(world.config, minor), 0);
    this.#lastKnownBytes = this.disk.sizeBytes;
    this.device = new SimDevice(node.clock);
  }

  /** A disk as from the shop, with meta-data made by create-md. */
  #newDisk(sizeBytes: number, lives: number): SimDisk {
    const { config } = this.#world;
    const disk = new SimDisk(
      {
        ...DEFAULT_SIM_DISK,
        sizeBytes,
        canDiscard: config.diskDiscards,
        discardZeroes: config.diskDiscardZeroes ?? true,
        latencyMs: config.diskLatencyMs,
        flushLatencyMs: config.flushLatencyMs,
      },
      this.#dice(lives),
    );
    createMeta(disk, sizeBytes);
    return disk;
  }

  #dice(lives: number): Prng {
    const which = this.minor === 0 ? '' : `drbd${this.minor} `;
    return dice(this.#world.seed, `disk ${which}${this.name} ${lives}`);
  }

  get lowerDisk(): string {
    return lowerDiskOf(this.minor);
  }

  /** Another disk in its place, of the same size. */
  replaceDisk(): void {
    this.disk = this.#newDisk(this.disk.nominalBytes, this.node.lives);
    this.#lastKnownBytes = this.disk.nominalBytes;
  }

  /** `drbdadm create-md` on the disk that is there; nothing has it open. */
  createMeta(): void {
    createMeta(this.disk, this.disk.nominalBytes);
    this.#lastKnownBytes = this.disk.nominalBytes; // create-md notes it
  }

  /** What drbdmeta does before each attach. It opens the disk exclusively: of one that drbdd has, or let go with requests, it keeps its hands off. */
  findMetaData(): void {
    if (this.disk.isClaimed || this.drbdd?.io.claims(this.lowerDisk)) return;
    this.#lastKnownBytes = findMetaData(this.disk, this.#lastKnownBytes);
  }

  /** The lower disk has meta-data at the end of so many bytes. */
  hasMetaDataAt(bytes: number): void {
    this.#lastKnownBytes = bytes;
  }

  /** The machine is switched on: its device nodes are new. */
  boot(): void {
    this.device = new SimDevice(this.node.clock);
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

  get name(): NodeName {
    return this.node.name;
  }

  /** The other node's copy. */
  get peer(): Replica {
    return this.node.peer.replica(this.minor);
  }

  /** Of a drbdd that died, too, until it has a successor. Null: there is none. */
  get volume(): Volume | null {
    return this.node.drbdd?.volumeOf(this.minor) ?? null;
  }

  /** Null: nobody runs it. */
  get state(): State | null {
    return this.drbdd?.dead ? null : (this.volume?.state ?? null);
  }

  get drbdd(): SimDrbdd | null {
    return this.node.drbdd;
  }

  get clock(): NodeClock {
    return this.node.clock;
  }

  get powered(): boolean {
    return this.node.powered;
  }

  get protocol(): Protocol {
    return this.node.protocolOf(this.resource);
  }

  /** The other copies of the same resource and this one: they share a connection. */
  get ofResource(): readonly Replica[] {
    return this.node.replicas.filter((other) => other.resource === this.resource);
  }

  get fenceExit(): number | null {
    return this.node.fenceExits[this.resource];
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
