/**
 * A simulated third machine: the real witness (host/witness-server.ts) behind a line of its own to each node, which can be slow,
 * lose datagrams, or be cut one way or both. It can be switched off, and started again without memory.
 */
import type { DigestSource } from '../base/ports.js';
import type { Prng } from '../base/prng.js';
import { type WitnessEffect, WitnessServer } from '../host/witness-server.js';

export interface SimWitnessHost {
  readonly nowMs: () => number; // its own clock
  readonly after: (delayMs: number, run: () => void) => void;
  readonly random: Prng;
  readonly digests: DigestSource;
}

export const SIM_CLUSTER = 'simulated';
export const SIM_WITNESS_KEY = new TextEncoder().encode('the key of the simulated cluster');

export class SimWitness {
  readonly #host: SimWitnessHost;
  readonly #leaseMs: number;
  #server: WitnessServer | null = null;
  /** Nodes that it does not hear, and nodes that do not hear it. */
  readonly deafTo = new Set<string>();
  readonly unheardBy = new Set<string>();
  loss = 0;
  maxDelayMs = 5;

  constructor(host: SimWitnessHost, leaseMs: number) {
    this.#host = host;
    this.#leaseMs = leaseMs;
  }

  /** It begins with silence. Called while it runs: it was restarted. */
  start(): void {
    const { nowMs, digests } = this.#host;
    const keys = new Map([[SIM_CLUSTER, SIM_WITNESS_KEY]]);
    this.#server = new WitnessServer(this.#leaseMs, keys, digests, nowMs());
  }

  stop(): void {
    this.#server = null;
  }

  get runs(): boolean {
    return this.#server !== null;
  }

  /** A datagram of a node; `received` gets each one that comes back to it. */
  send(node: string, datagram: Uint8Array, received: (datagram: Uint8Array) => void): void {
    this.#pass(this.deafTo, node, () => {
      const out: WitnessEffect[] = [];
      const from = { address: node, port: 1 };
      this.#server?.receive(datagram, from, this.#host.nowMs(), out);
      for (const effect of out) {
        if (effect.type !== 'answer') continue;
        this.#pass(this.unheardBy, node, () => received(effect.datagram));
      }
    });
  }

  #pass(cut: ReadonlySet<string>, node: string, arrive: () => void): void {
    const { random, after } = this.#host;
    if (random.chance(this.loss)) return;
    after(random.below(this.maxDelayMs + 1), () => {
      if (!cut.has(node)) arrive();
    });
  }
}
