/**
 * The witness: the third machine, which says who of a cluster may serve while its two nodes do not hear each other.
 *
 *     nobody holds it      take, renew -> granted                   for so long as was asked, from when it is answered
 *     the asker holds it   take, renew -> granted, longer           also to a later life of the same node
 *     another holds it     take, renew -> refused, with its name
 *     release              by the holder, or while nobody holds it: free at once; the next holder is told whose life that was
 *
 * Nothing is stored. A witness that has just started does not know what it granted before: it is silent for one lease, the
 * longest that it ever grants, for each cluster that it gets to know. A node counts its lease from when it sent the request, and
 * by less than we do (resource-manager/lease.ts): it has let go before another is granted.
 *
 * A datagram is heard once: the count in the nonce grows in each life of a node, and a life with a lower generation than one
 * that was heard is refused. So what is recorded and sent again, or comes late, changes nothing.
 *
 * Pure: real/witness-daemon.ts gives it datagrams and a monotonic clock, sim/sim-witness.ts simulated ones.
 */
import type { DigestSource } from '../base/ports.js';
import {
  decodeWitness,
  encodeWitness,
  type WitnessMessage,
  type WitnessVerb,
} from '../wire/witness.js';

export type WitnessKeys = ReadonlyMap<string, Uint8Array>; // cluster -> key

export interface WitnessSource {
  readonly address: string;
  readonly port: number;
}

export type WitnessEffect =
  | { readonly type: 'answer'; readonly to: WitnessSource; readonly datagram: Uint8Array }
  | { readonly type: 'log'; readonly level: 'info' | 'WARN'; readonly text: string };

/** A cluster has two nodes; a few more for names that were changed. */
const MAX_NODES = 8;
/** Addresses whose rate is remembered; the one that was heard longest ago is forgotten. */
const MAX_SOURCES = 1024;
/** A node with a bad line asks about once a second. */
const RATE_PER_S = 50;
const BURST = 100;
/** What is wrong with datagrams is said so often at most: everybody can send some. */
const COMPLAINT_MS = 60_000;

interface Life {
  generation: number;
  count: number; // of its last request
}

interface Lease {
  readonly node: string;
  generation: number;
  untilMs: number;
  /** The life that had released the lease before, of the other node; 0: it had run out, or nobody had it. */
  readonly after: number;
}

interface Cluster {
  readonly silentUntilMs: number;
  readonly lives: Map<string, Life>;
  lease: Lease | null;
  freed: { readonly node: string; readonly generation: number } | null;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

export class WitnessServer {
  readonly #maxLeaseMs: number;
  readonly #digests: DigestSource;
  #keys: WitnessKeys = new Map();
  readonly #clusters = new Map<string, Cluster>();
  readonly #sources = new Map<string, Bucket>();
  #complaintMs = Number.NEGATIVE_INFINITY;

  constructor(maxLeaseMs: number, keys: WitnessKeys, digests: DigestSource, nowMs: number) {
    this.#maxLeaseMs = maxLeaseMs;
    this.#digests = digests;
    this.setKeys(keys, nowMs);
  }

  /** The file was read again. A cluster that is new, or was away, is met with silence first. */
  setKeys(keys: WitnessKeys, nowMs: number): void {
    this.#keys = keys;
    for (const name of [...this.#clusters.keys()]) {
      if (!keys.has(name)) this.#clusters.delete(name);
    }
    for (const name of keys.keys()) {
      if (this.#clusters.has(name)) continue;
      const silentUntilMs = nowMs + this.#maxLeaseMs;
      this.#clusters.set(name, { silentUntilMs, lives: new Map(), lease: null, freed: null });
    }
  }

  receive(bytes: Uint8Array, from: WitnessSource, nowMs: number, out: WitnessEffect[]): void {
    if (!this.#isWithinRate(from.address, nowMs)) return;
    const decoded = decodeWitness(bytes, (name) => this.#keys.get(name) ?? null, this.#digests);
    if (!decoded.ok) {
      this.#complain(`${from.address}: ${decoded.text} at ${decoded.offset}`, nowMs, out);
      return;
    }
    const { message } = decoded;
    const cluster = this.#clusters.get(message.cluster);
    if (!cluster || message.verb === 'granted' || message.verb === 'refused') return;
    const answer = (verb: WitnessVerb, holder: string, leaseMs: number, released: number): void => {
      const said: WitnessMessage = { ...message, verb, holder, leaseMs, released };
      const key = this.#keys.get(message.cluster) ?? new Uint8Array();
      out.push({ type: 'answer', to: from, datagram: encodeWitness(said, key, this.#digests) });
    };
    const life = lifeOf(cluster, message.node);
    if (life === null) {
      this.#complain(`${from.address}: too many nodes in ${message.cluster}`, nowMs, out);
      return;
    }
    if (message.generation < life.generation) {
      if (nowMs >= cluster.silentUntilMs) answer('refused', message.node, 0, 0); // a later life of it was heard
      return;
    }
    if (message.generation === life.generation && message.count <= life.count) return; // heard before, or overtaken
    life.generation = message.generation;
    life.count = message.count;
    if (nowMs < cluster.silentUntilMs) return;
    this.#decide(cluster, message, answer, nowMs, out);
  }

  #decide(
    cluster: Cluster,
    message: WitnessMessage,
    answer: (verb: WitnessVerb, holder: string, leaseMs: number, released: number) => void,
    nowMs: number,
    out: WitnessEffect[],
  ): void {
    const { node, generation, leaseMs } = message;
    const log = (text: string) =>
      out.push({ type: 'log', level: 'info', text: `${message.cluster}: ${text}` });
    if (cluster.lease && nowMs >= cluster.lease.untilMs) {
      log(`the lease of ${cluster.lease.node} has run out`);
      cluster.lease = null;
    }
    const { lease } = cluster;
    if (lease && lease.node !== node) {
      answer('refused', lease.node, 0, 0);
      return;
    }
    if (message.verb === 'release') {
      if (lease) log(`${node} has released its lease`);
      cluster.lease = null;
      cluster.freed = { node, generation };
      answer('granted', '', 0, 0);
      return;
    }
    if (leaseMs === 0 || leaseMs > this.#maxLeaseMs) {
      // Granted, it would outlive the silence after our next start.
      const text = `${node} asks for a lease of ${leaseMs} ms, at most ${this.#maxLeaseMs} are granted`;
      this.#complain(`${message.cluster}: ${text}`, nowMs, out);
      answer('refused', '', 0, 0);
      return;
    }
    if (lease) {
      lease.generation = generation;
      lease.untilMs = Math.max(lease.untilMs, nowMs + leaseMs);
    } else {
      const { freed } = cluster;
      const after = freed && freed.node !== node ? freed.generation : 0;
      cluster.lease = { node, generation, untilMs: nowMs + leaseMs, after };
      cluster.freed = null;
      log(`${node} has the lease`);
    }
    answer('granted', node, leaseMs, cluster.lease?.after ?? 0);
  }

  #complain(text: string, nowMs: number, out: WitnessEffect[]): void {
    if (nowMs - this.#complaintMs < COMPLAINT_MS) return;
    this.#complaintMs = nowMs;
    out.push({ type: 'log', level: 'WARN', text });
  }

  /** Before anything is computed: a signature costs more than a look at an address. */
  #isWithinRate(address: string, nowMs: number): boolean {
    const known = this.#sources.get(address) ?? { tokens: BURST, atMs: nowMs };
    const tokens = Math.min(BURST, known.tokens + ((nowMs - known.atMs) * RATE_PER_S) / 1000);
    const isWithin = tokens >= 1;
    this.#sources.delete(address);
    this.#sources.set(address, { tokens: isWithin ? tokens - 1 : tokens, atMs: nowMs });
    const [oldest] = this.#sources.keys();
    if (this.#sources.size > MAX_SOURCES && oldest !== undefined) this.#sources.delete(oldest);
    return isWithin;
  }

  /** How many addresses are remembered. */
  get sources(): number {
    return this.#sources.size;
  }
}

/** Null: there are too many. */
function lifeOf(cluster: Cluster, node: string): Life | null {
  let life = cluster.lives.get(node);
  if (!life) {
    if (cluster.lives.size >= MAX_NODES) return null;
    life = { generation: 0, count: -1 };
    cluster.lives.set(node, life);
  }
  return life;
}
