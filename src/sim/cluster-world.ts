/**
 * The world of the profile `cluster`: two machines (cluster-node.ts), their networks, the witness, the checkers that watch, and the trace.
 * Everything follows from the seed, the setup and the steps that are carried out.
 */
import type { DigestSource } from '../base/ports.js';
import type { ArbiterAnswer, ArbiterAsk, FenceAnswer } from '../resource-manager/answers.js';
import { CLUSTER_CHECKERS } from './check/cluster.js';
import type { ClusterChecker } from './check/cluster-checker.js';
import { ClusterNode } from './cluster-node.js';
import type { ClusterSetup } from './cluster-setup.js';
import { NODES, type NodeName } from './config.js';
import { Coverage } from './coverage.js';
import { dice } from './dice.js';
import { SimClock } from './sim-clock.js';
import { SimNet } from './sim-net.js';
import type { ScriptTrace } from './sim-scripts.js';
import { SimWitness } from './sim-witness.js';
import type { Trace } from './trace.js';
import type { Violation } from './world.js';

const TICK_MS = 200;
/** A pair without load has a few hundred. */
const MOST_EVENTS_PER_S = 100_000;

export class ClusterWorld {
  readonly seed: number;
  readonly setup: ClusterSetup;
  readonly clock = new SimClock();
  readonly net: SimNet;
  readonly witness: SimWitness | null;
  readonly nodes: Readonly<Record<NodeName, ClusterNode>>;
  readonly trace: Trace;
  readonly coverage = new Coverage();
  readonly violations: Violation[] = [];
  readonly looked = new Map<string, number>();
  /** Where clients go for an address: to who announced it last and was heard. */
  readonly clientsGoTo = new Map<string, NodeName>();
  /** A device has said that it reset a node, and has not: who believes it may start what runs there. */
  liedTo = false;
  /** When an operator last asked for a move, or is at work. */
  operatorMs = Number.NEGATIVE_INFINITY;
  /** Lines of the log that may name a decision for an operator. */
  readonly named: string[] = [];
  stepsDone = 0;
  readonly #checkers: readonly ClusterChecker[];
  #events = 0;
  #eventsSinceMs = 0;

  constructor(seed: number, setup: ClusterSetup, digests: DigestSource, trace: Trace) {
    this.seed = seed;
    this.setup = setup;
    this.trace = trace;
    this.net = new SimNet(this.clock, dice(seed, 'net'));
    for (const [i, name] of NODES.entries()) {
      this.net.addHost(name, { eth0: `10.2.0.${i + 1}`, eth1: `10.3.0.${i + 1}` });
    }
    this.witness = this.#newWitness(digests);
    this.#checkers = CLUSTER_CHECKERS.map((make) => make(this));
    this.nodes = {
      alpha: new ClusterNode(this, 'alpha', digests),
      beta: new ClusterNode(this, 'beta', digests),
    };
    this.#tick();
  }

  #newWitness(digests: DigestSource): SimWitness | null {
    const { witness } = this.setup;
    if (witness === null) return null;
    const { clock } = this;
    const host = {
      nowMs: () => clock.nowMs,
      after: (delayMs: number, run: () => void) => void clock.after(delayMs, run),
      random: dice(this.seed, 'witness'),
      digests,
    };
    const made = new SimWitness(host, witness.leaseS * 1000);
    made.start();
    return made;
  }

  get nowMs(): number {
    return this.clock.nowMs;
  }

  get bothNodes(): readonly ClusterNode[] {
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

  #livelock(): void {
    this.#events = 0;
    if (this.nowMs >= this.#eventsSinceMs + 1000) this.#eventsSinceMs = this.nowMs;
    else this.violate('I9', 'livelock', `${MOST_EVENTS_PER_S} events within a second`);
  }

  #tick(): void {
    this.clock.after(TICK_MS, () => {
      for (const c of this.#checkers) c.tick();
      this.#tick();
    });
  }

  violate(invariant: string, checker: string, text: string): void {
    this.violations.push({ invariant, checker, timeMs: this.nowMs, text });
    this.trace.line(this.nowMs, '', 'VIOLATION', `${invariant} ${checker}: ${text}`);
  }

  count(checker: string): void {
    this.looked.set(checker, (this.looked.get(checker) ?? 0) + 1);
  }

  /** Everything has come to rest: the last look. */
  end(): void {
    for (const c of this.#checkers) c.end();
  }

  // ---- told by the nodes

  note(node: ClusterNode, object: string, text: string): void {
    this.trace.line(this.nowMs, node.name, object, text);
  }

  log(node: ClusterNode, level: string, text: string): void {
    this.note(node, 'heartbeat', level === 'info' ? text : `${level}: ${text}`);
    if (level !== 'info' && level !== 'debug') this.named.push(text);
    for (const c of this.#checkers) c.logged(node.name, 'heartbeat', level, text);
  }

  scripted(node: ClusterNode, script: ScriptTrace): void {
    const { text, action, event, outcome } = script;
    const end = outcome ? `: ${outcome.exitStatus ?? outcome.failure} ${outcome.output}` : '';
    this.note(node, 'script', `${text} ${action} ${event}${end}`.trimEnd());
    for (const c of this.#checkers) c.scripted(node, script);
  }

  /** A process of the service begins. */
  launched(node: ClusterNode, service: string): void {
    for (const c of this.#checkers) c.launched(node, service);
  }

  /**
   * It has the address, and says so every second for as long as a cut may last that no node notices: after a shorter one nobody says it
   * again (test/heartbeat/announce.test.ts). Clients and switches hear it unless the network is cut.
   */
  announced(node: ClusterNode, address: string): void {
    for (const c of this.#checkers) c.announced(node, address);
    this.#say(node, address, 2 + Math.ceil(this.setup.deadtimeMs / 1000));
  }

  #say(node: ClusterNode, address: string, left: number): void {
    const { network } = this.net;
    const isCut = node.peer.acts && !network.passes('eth0', node.name, node.peer.name);
    this.note(node, 'address', `${address} announced${isCut ? ', and nobody hears it' : ''}`);
    if (!isCut) this.clientsGoTo.set(address, node.name);
    if (left <= 1) return;
    node.later(1000, () => {
      if (node.scripts.addresses.has(address)) this.#say(node, address, left - 1);
    });
  }

  shoots(node: ClusterNode): void {
    this.note(node, 'fence', `asked to reset ${node.peer.name}`);
    for (const c of this.#checkers) c.shoots(node);
  }

  fenced(node: ClusterNode, answer: FenceAnswer, isTrue: boolean): void {
    const lie = answer === 'OK' && !isTrue ? ', which is a lie' : '';
    this.note(node, 'fence', `${answer}${lie}`);
    if (lie !== '') this.liedTo = true;
    for (const c of this.#checkers) c.fenced(node, answer);
  }

  leased(node: ClusterNode, ask: ArbiterAsk, answer: ArbiterAnswer, sentMs: number): void {
    for (const c of this.#checkers) c.leased(node, ask, answer, sentMs);
  }

  /** Its standing is on disk. */
  stood(node: ClusterNode, isOffline: boolean): void {
    this.note(node, 'standing', isOffline ? 'FAILED_OFFLINE' : 'ok');
  }

  died(node: ClusterNode): void {
    this.note(node, 'machine', 'off');
    for (const c of this.#checkers) c.died(node, true);
  }
}
