/**
 * The simulated cluster: two machines, their networks, the devices that they replicate with all that is known of each, the checkers
 * that watch, and the trace. Everything follows from the seed, the configuration and the steps that are carried out.
 */
import { assert } from '../base/assert.js';
import type { DigestSource } from '../base/ports.js';
import type { LogLevel } from '../drbd/ports.js';
import { REPLICATION_ADDRESS } from './administrator.js';
import { WORLD_CHECKERS } from './check/all.js';
import type { WorldChecker } from './check/checker.js';
import type { Client } from './client.js';
import { type ClusterConfig, minorsOf, NODES, type NodeName, type ResourceName } from './config.js';
import { Coverage } from './coverage.js';
import { dice } from './dice.js';
import type { DiskImage } from './disk-content.js';
import type { Replica } from './replica.js';
import { ReplicatedDevice } from './replicated-device.js';
import { SimClock } from './sim-clock.js';
import { SimNet } from './sim-net.js';
import { type NodeWorld, SimNode } from './sim-node.js';
import type { ScriptTrace } from './sim-scripts.js';
import { CUT_ONE_IN } from './sim-tcp.js';
import type { Trace } from './trace.js';

export interface Violation {
  readonly invariant: string; // 'I1'
  readonly checker: string;
  readonly timeMs: number;
  readonly text: string;
}

const TICK_MS = 200;
/** A busy pair has 5,000. */
const MOST_EVENTS_PER_S = 500_000;

export class World implements NodeWorld {
  readonly seed: number;
  readonly clock = new SimClock();
  readonly net: SimNet;
  readonly digests: DigestSource;
  config: ClusterConfig;
  readonly nodes: Readonly<Record<NodeName, SimNode>>;
  /** By minor. */
  readonly devices: readonly ReplicatedDevice[];
  readonly trace: Trace;
  readonly coverage = new Coverage();
  readonly violations: Violation[] = [];
  /** How often each checker looked. */
  readonly looked = new Map<string, number>();
  readonly #checkers: readonly WorldChecker[];
  #events = 0; // since then
  #eventsSinceMs = 0;
  rowsAcknowledged = 0;
  stepsDone = 0;
  /** The trace names every request of the client. */
  tracesRequests = false;
  /** A script lies or fails, or somebody works by hand: heartbeat cannot know what runs. */
  meddled = false;
  idleSinceMs = 0; // while healing: when somebody last served
  /** Images of disks that a step remembered. */
  readonly images = new Map<Replica, DiskImage>();
  /** Without heartbeat: where the operator had the service last; whether it is being started. */
  lastActive: NodeName = 'alpha';
  starting = false;
  /** Nothing is injected any more: liveness counts. */
  healing = false;
  /** Whoever starts the service now starts one that asks for nothing. */
  ending = false;

  constructor(seed: number, config: ClusterConfig, digests: DigestSource, trace: Trace) {
    this.seed = seed;
    this.config = config;
    this.digests = digests;
    this.trace = trace;
    this.net = new SimNet(this.clock, dice(seed, 'net'), {
      delayMs: config.networkDelayMs,
      windowBytes: 1 << 20,
      pieceBytes: 65536,
      cutOneIn: config.tcpCutOneIn ?? CUT_ONE_IN,
    });
    for (const [i, name] of NODES.entries()) {
      this.net.addHost(name, {
        replication: REPLICATION_ADDRESS[name],
        eth0: `10.2.0.${i + 1}`,
        eth1: `10.3.0.${i + 1}`,
      });
    }
    this.devices = minorsOf(config).map((minor) => new ReplicatedDevice(this, minor));
    this.#checkers = WORLD_CHECKERS.map((make) => make(this));
    this.nodes = { alpha: new SimNode(this, 'alpha'), beta: new SimNode(this, 'beta') };
    this.#tick();
  }

  get nowMs(): number {
    return this.clock.nowMs;
  }

  node(name: NodeName): SimNode {
    return this.nodes[name];
  }

  get bothNodes(): readonly SimNode[] {
    return [this.nodes.alpha, this.nodes.beta];
  }

  /** Runs until `timeMs`, or the first violation. */
  runUntil(timeMs: number): void {
    while (this.violations.length === 0 && this.clock.nextMs <= timeMs) {
      this.clock.step();
      if (++this.#events > MOST_EVENTS_PER_S) this.#livelock();
    }
    if (this.violations.length === 0) this.clock.runUntil(timeMs);
  }

  /** Time does not go on: the machines keep each other busy. A run would never end. */
  #livelock(): void {
    this.#events = 0;
    if (this.nowMs >= this.#eventsSinceMs + 1000) this.#eventsSinceMs = this.nowMs;
    else {
      this.violate('I9', 'livelock', `${MOST_EVENTS_PER_S} events within a second`);
    }
  }

  device(minor: number): ReplicatedDevice {
    const found = this.devices[minor];
    assert(found, 'a replicated device of the cluster');
    return found;
  }

  violate(invariant: string, checker: string, text: string): void {
    this.violations.push({ invariant, checker, timeMs: this.nowMs, text });
    this.trace.line(this.nowMs, '', 'VIOLATION', `${invariant} ${checker}: ${text}`);
  }

  count(checker: string): void {
    this.looked.set(checker, (this.looked.get(checker) ?? 0) + 1);
  }

  #tick(): void {
    this.clock.after(TICK_MS, () => {
      for (const d of this.devices) d.tick();
      for (const c of this.#checkers) c.tick();
      this.#tick();
    });
  }

  /** Everything has come to rest: the last look. */
  end(): void {
    for (const d of this.devices) d.end();
    for (const c of this.#checkers) c.end();
  }

  // ---- told by the nodes

  log(node: NodeName, object: string, level: LogLevel | string, text: string): void {
    this.trace.line(this.nowMs, node, object, level === 'info' ? text : `${level}: ${text}`);
    if (/^(drbd|r)\d+$/.test(object)) this.coverage.log(text);
    for (const d of this.devices) d.log(node, object, level, text);
    for (const c of this.#checkers) c.logged(node, object, level, text);
  }

  scripted(node: SimNode, script: ScriptTrace): void {
    const { text, action, event, outcome } = script;
    const end = outcome ? `: ${outcome.exitStatus ?? outcome.failure} ${outcome.output}` : '';
    this.trace.line(this.nowMs, node.name, 'script', `${text} ${action} ${event}${end}`.trimEnd());
    for (const c of this.#checkers) c.scripted(node, script);
  }

  died(node: SimNode, power: boolean): void {
    if (power) this.starting = false; // whoever was starting it has no answer
    for (const d of this.devices) d.died(node.replica(d.minor), power);
    for (const c of this.#checkers) c.died(node, power);
  }

  metaStoredLate(replica: Replica): void {
    this.device(replica.minor).metaStoredLate(replica);
  }

  handled(node: SimNode, resource: ResourceName, event: string, exit: number): void {
    this.coverage.handler(event, exit);
    for (const d of this.devicesOf(resource)) d.handled(node.replica(d.minor), event, exit);
  }

  asked(node: SimNode, resource: ResourceName, verb: string): void {
    for (const d of this.devicesOf(resource)) d.asked(node.replica(d.minor), verb);
  }

  devicesOf(resource: ResourceName): readonly ReplicatedDevice[] {
    return this.devices.filter((d) => d.resource === resource);
  }

  client(replica: Replica): Client {
    return this.device(replica.minor).client(replica);
  }
}
