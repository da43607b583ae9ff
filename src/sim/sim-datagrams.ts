/**
 * Simulated UDP: every fault that a datagram can meet, each with dice of its own, so that one that is switched off does not
 * change the others.
 *
 *     send -> cut? -> lost? -> corrupted? -> delay (late? twice?) -> bound and powered? -> received
 *
 * A datagram goes to everybody else who is bound to the port on that network (broadcast, multicast), or to one host.
 * Corrupted ones arrive although UDP has a checksum: broken network cards and bridges have made that true.
 */
import { assert } from '../base/assert.js';
import { Prng } from '../base/prng.js';
import type { SimClock } from './sim-clock.js';
import type { SimNetwork, Tap } from './sim-network.js';

/** A late datagram is late by up to this: more than a keepalive interval, so that others overtake it. */
const LATE_MS = 2500;

export type Received = (bytes: Uint8Array, fromHost: string) => void;

export class SimDatagrams {
  /** Sees what arrives. */
  tap: Tap | null = null;
  readonly #clock: SimClock;
  readonly #network: SimNetwork;
  readonly #delay: Prng;
  readonly #loss: Prng;
  readonly #duplicate: Prng;
  readonly #reorder: Prng;
  readonly #corrupt: Prng;
  readonly #bound = new Map<string, Received>(); // `network port host`

  constructor(clock: SimClock, network: SimNetwork, seed: Prng) {
    this.#clock = clock;
    this.#network = network;
    this.#delay = new Prng(seed.u32());
    this.#loss = new Prng(seed.u32());
    this.#duplicate = new Prng(seed.u32());
    this.#reorder = new Prng(seed.u32());
    this.#corrupt = new Prng(seed.u32());
  }

  /** `received` is called in true time: a process hands it on by its own clock, which may stand still. */
  bind(host: string, network: string, port: number, received: Received): void {
    const key = `${network} ${port} ${host}`;
    assert(this.#network.addressOf(host, network) !== null, 'a network of the host');
    assert(!this.#bound.has(key), 'a port is bound once');
    this.#bound.set(key, received);
  }

  unbind(host: string, network: string, port: number): void {
    this.#bound.delete(`${network} ${port} ${host}`);
  }

  /** The processes of a host are gone. */
  crash(host: string): void {
    for (const key of [...this.#bound.keys()]) {
      if (key.slice(key.lastIndexOf(' ') + 1) === host) this.#bound.delete(key);
    }
  }

  /** The bytes are copied. `to`: that host alone. */
  send(host: string, network: string, port: number, bytes: Uint8Array, to?: string): void {
    const { loss = 0, duplicate = 0, reorder = 0, corrupt = 0 } = this.#network.faultsOf(network);
    for (const other of this.#network.hostsOn(network)) {
      if (other === host || (to !== undefined && other !== to)) continue;
      if (loss > 0 && this.#loss.chance(loss)) continue;
      let copy: Uint8Array = bytes.slice();
      if (corrupt > 0 && this.#corrupt.chance(corrupt)) copy = this.#corrupted(copy);
      const times = duplicate > 0 && this.#duplicate.chance(duplicate) ? 2 : 1;
      for (let i = 0; i < times; i++) {
        let delayMs = this.#network.delay(network, this.#delay);
        if (reorder > 0 && this.#reorder.chance(reorder)) delayMs += this.#reorder.below(LATE_MS);
        this.#clock.after(delayMs, () => this.#arrive(host, network, port, copy, other));
      }
    }
  }

  #arrive(host: string, network: string, port: number, bytes: Uint8Array, to: string): void {
    if (!this.#network.passes(network, host, to)) return;
    this.tap?.({
      timeMs: this.#clock.nowMs,
      kind: 'udp',
      network,
      from: this.#network.addressOf(host, network) ?? '',
      fromPort: port,
      to: this.#network.addressOf(to, network) ?? '',
      toPort: port,
      bytes,
    });
    this.#bound.get(`${network} ${port} ${to}`)?.(bytes, host);
  }

  /** One to four bits differ, or the end is missing. */
  #corrupted(bytes: Uint8Array): Uint8Array {
    const random = this.#corrupt;
    if (bytes.length === 0 || random.chance(0.25))
      return bytes.slice(0, random.below(bytes.length));
    for (let flips = 1 + random.below(4); flips > 0; flips--) {
      const bit = random.below(bytes.length * 8);
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
    }
    return bytes;
  }
}
