/**
 * One simulated machine: power, clock, its copies of the replicated devices, and the processes drbdd and heartbeat with what they
 * started.
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
import { type Answered, type DrbdadmVerb, drbdadm } from './administrator.js';
import type { Client } from './client.js';
import {
  type ClusterConfig,
  minorsOf,
  type NodeName,
  peerOf,
  type ResourceName,
  resourceOf,
  resourcesOf,
  volumeOf,
} from './config.js';
import { between, dice } from './dice.js';
import { HandlerFaults } from './handler-faults.js';
import { NodeClock } from './node-clock.js';
import { NodeHeartbeat, type NodeHeartbeatWorld } from './node-heartbeat.js';
import { Replica } from './replica.js';
import type { SimClock } from './sim-clock.js';
import type { SimDevice } from './sim-device.js';
import type { SimDisk } from './sim-disk.js';
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
  client(replica: Replica): Client;
  /** A handler of DRBD ran: its exit status. */
  handled(node: SimNode, resource: ResourceName, event: string, exit: number): void;
  /** A disk that hung and was let go has stored a superblock that it was given before. */
  metaStoredLate(replica: Replica): void;
  /** drbdadm begins. */
  asked(node: SimNode, resource: ResourceName, verb: string): void;
}

/** What drbdadm is called for: a resource, or the volume with that minor. */
export type Called = ResourceName | number;

const OUTDATE_LIMIT_MS = 5000;
const HANDLER_MS = [5, 200] as const;
const RESPAWN_MS = [20, 400] as const;
const HALT_TO_BOOT_MS = 8000;

export class SimNode {
  readonly name: NodeName;
  readonly clock: NodeClock;
  /** By minor. */
  readonly replicas: readonly Replica[];
  readonly #world: NodeWorld;
  readonly #random: Prng;
  /** How many drbdd it has had. */
  lives = 0;
  drbdd: SimDrbdd | null = null;
  readonly handlerFaults: HandlerFaults;
  /** Null: a cluster without heartbeat. */
  readonly heartbeat: NodeHeartbeat | null;
  powered = false;
  /** In /run: what a successor of drbdd resumes. */
  saved: SavedState | null = null;
  exposed: Exposed = {};
  /** The last answer of `fence-peer` for a resource since the peer was seen; null: it was not asked. */
  readonly fenceExits: Record<ResourceName, number | null> = { r0: null, r1: null };
  /** drbdd dies with its next so many requests to the port still to be made; -1: not planned. */
  readonly errors: string[] = [];

  constructor(world: NodeWorld, name: NodeName) {
    this.#world = world;
    this.name = name;
    const { config } = world;
    this.clock = new NodeClock(world.clock, config.driftPpm[name]);
    this.handlerFaults = new HandlerFaults(this.clock);
    this.#random = dice(world.seed, `node ${name}`);
    this.replicas = minorsOf(config).map((minor) => new Replica(world, this, minor));
    this.heartbeat = config.heartbeat ? new NodeHeartbeat(world, this) : null;
  }

  replica(minor: number): Replica {
    const found = this.replicas[minor];
    assert(found, 'a replicated device of the cluster');
    return found;
  }

  /** drbd0: the one with the service's file system. */
  get first(): Replica {
    return this.replica(0);
  }

  get disk(): SimDisk {
    return this.first.disk;
  }

  get device(): SimDevice {
    return this.first.device;
  }

  /** The service's, of any volume: it runs until the last one has ended. */
  get client(): Client | null {
    return this.replicas.find((replica) => replica.client !== null)?.client ?? null;
  }

  get state(): State | null {
    return this.first.state;
  }

  /** The protocol that a connection uses, or what is still under way by a weaker one; an edited file counts when it is told of. */
  protocolOf(resource: ResourceName): Protocol {
    const r = this.drbdd?.loop.engine.resource(resource);
    return r?.protocolInForce ?? this.#world.config.net.protocol;
  }

  get peer(): SimNode {
    return this.#world.node(peerOf(this.name));
  }

  boot(): void {
    if (this.powered) return;
    this.powered = true;
    this.#world.net.boot(this.name);
    for (const replica of this.replicas) replica.boot();
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
    this.killClient();
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
    this.lives++;
    this.drbdd = new SimDrbdd({
      name: this.name,
      clock: this.clock,
      net: this.#world.net,
      disks: new Map(this.replicas.map((replica) => [replica.lowerDisk, replica.disk])),
      device: (minor) => this.replicas[minor]?.device ?? null,
      devices: this.replicas.map((replica) => replica.device),
      random: dice(this.#world.seed, `drbdd ${this.name} ${this.lives}`),
      digests: this.#world.digests,
      dialect: (this.name === 'beta' ? this.#world.config.dialect : null) ?? FULL_DIALECT,
      log: (level, object, text) => this.#world.log(this.name, object, level, text),
      resources: resourcesOf(this.#world.config).length,
      resourceOf: (minor) => resourceOf(this.#world.config, minor),
      handler: (event, resource, done) => this.#handler(event, this.#named(resource), done),
      changed: () => {},
      exposed: (minor, generations) => {
        const words = generations.map((uuid) => uuid.toString(16).toUpperCase());
        this.exposed = { ...this.exposed, [minor]: words };
      },
      metaStoredLate: (path) => {
        for (const replica of this.replicas) {
          if (replica.lowerDisk === path) this.#world.metaStoredLate(replica);
        }
      },
      save: (state) => {
        this.saved = state;
      },
      lowerSize: (minor, bytes) => this.replica(minor).hasMetaDataAt(bytes),
    });
    if (saved) this.drbdd.resume(saved, this.exposed);
  }

  /** `called`: for what; null: for all resources, one after the other. */
  drbdadm(
    verb: DrbdadmVerb,
    flags: readonly string[],
    done: Answered,
    called: Called | null = null,
  ): void {
    const left: Called[] = called === null ? [...resourcesOf(this.#world.config)] : [called];
    let worst = 0;
    const said: string[] = [];
    const next = (): void => {
      const one = left.shift();
      if (one === undefined) {
        done(worst, said.join('; '));
        return;
      }
      this.#drbdadm(verb, flags, one, (exit, text) => {
        worst = Math.max(worst, exit);
        if (text !== '') said.push(text);
        next();
      });
    };
    next();
  }

  #drbdadm(verb: DrbdadmVerb, flags: readonly string[], called: Called, done: Answered): void {
    const { config } = this.#world;
    const only = typeof called === 'number' ? called : null;
    const resource = typeof called === 'number' ? resourceOf(config, called) : called;
    this.#world.asked(this, resource, verb);
    const mayAttach = verb === 'up' || verb === 'attach' || verb === 'adjust';
    if (mayAttach)
      for (const minor of minorsOf(config, resource)) this.replica(minor).findMetaData();
    drbdadm(this.drbdd, { config, node: this.name, resource, only }, verb, flags, (exit, text) => {
      const name = only === null ? resource : `${resource}/${volumeOf(config, only)}`;
      const what = ['drbdadm', verb, ...flags, name].join(' ');
      this.#world.log(this.name, 'drbdadm', 'info', `${what}: exit ${exit} ${text}`.trimEnd());
      done(exit, text);
    });
  }

  // ---- handlers

  #named(resource: string): ResourceName {
    const found = resourcesOf(this.#world.config).find((name) => name === resource);
    assert(found, 'a resource of the cluster');
    return found;
  }

  #handler(event: string, resource: ResourceName, done: (exit: number) => void): void {
    const answer = (exit: number): void => {
      if (!this.powered) return;
      this.#world.log(this.name, 'handler', 'info', `${this.#of(event, resource)}: exit ${exit}`);
      if (event === 'fence-peer') this.fenceExits[resource] = exit;
      this.#world.handled(this, resource, event, exit);
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
    if (fault)
      this.#world.log(this.name, 'handler', 'info', `${this.#of(event, resource)}: ${fault.kind}`);
    const works = (answered: (exit: number) => void): void =>
      this.#runHandler(event, resource, answered);
    this.handlerFaults.run(event, works, () => this.reboot(), answer);
  }

  /** r1 is named: most clusters have none. */
  #of(event: string, resource: ResourceName): string {
    return resource === 'r0' ? event : `${event} for ${resource}`;
  }

  #runHandler(event: string, resource: ResourceName, answer: (exit: number) => void): void {
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
    else if (fenceHandler === 'dopd' && this.heartbeat)
      this.heartbeat.outdatePeer(resource, answer);
    else later(() => this.#outdateByNetwork(resource, answer));
  }

  /** A handler that runs `drbdadm outdate` on the peer over the first heartbeat network, as one over ssh does. */
  #outdateByNetwork(resource: ResourceName, answer: (exit: number) => void): void {
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
    const outdated = (exit: number): void => {
      if (!reaches(peer.name, this.name)) this.clock.after(3000, () => once(5));
      else this.clock.after(1, () => once(exit === 0 ? 4 : exit === 5 ? 3 : exit === 17 ? 6 : 20));
    };
    peer.drbdadm('outdate', [], outdated, resource);
  }

  // ---- the service, without heartbeat

  /** Promote, open, start the client: what haresources would do. */
  serve(flags: readonly string[], done: (ok: boolean) => void): void {
    this.drbdadm('primary', flags, (exit) => {
      // Two at once (the operator was impatient): it is opened and served once.
      if (exit !== 0 || (this.client === null && this.open() !== 0)) {
        // One volume may be Primary, and the other one could not: nobody uses either.
        if (this.replicas.length > 1 && this.client === null) {
          this.drbdadm('secondary', [], () => done(false));
        } else done(false);
        return;
      }
      this.startClient();
      done(true);
    });
  }

  unserve(done: (ok: boolean) => void): void {
    this.stopClient(() => {
      this.release();
      this.drbdadm('secondary', [], (exit) => done(exit === 0));
    });
  }

  /** The service opens its devices: 0 or an errno, and none is open then. */
  open(): number {
    const opened: Replica[] = [];
    for (const replica of this.replicas) {
      const error = replica.device.open();
      if (error !== 0) {
        for (const before of opened) before.device.release();
        return error;
      }
      opened.push(replica);
    }
    return 0;
  }

  release(): void {
    for (const replica of this.replicas) replica.device.release();
  }

  /** On all volumes, or on none: a service that is being stopped does not begin again on those that it has left. */
  startClient(): void {
    if (this.client !== null) return;
    for (const replica of this.replicas) replica.client = this.#world.client(replica);
  }

  killClient(): void {
    for (const replica of this.replicas) replica.killClient();
  }

  stopClient(done: () => void): void {
    let running = this.replicas.length;
    const stopped = (): void => {
      running--;
      if (running === 0) done();
    };
    for (const replica of this.replicas) replica.stopClient(stopped);
  }
}
