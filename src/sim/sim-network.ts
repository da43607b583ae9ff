/**
 * Who is connected to whom: hosts, their addresses on named networks, what is cut, how long the way is.
 *
 *     replication  10.1.0.1 alpha <----> beta 10.1.0.2        cut('replication')            both ways
 *     eth0         10.2.0.1 alpha <----> beta 10.2.0.2        cut('eth0', 'alpha')          beta does not hear alpha
 *
 * Networks fail independently: heartbeat may live while replication is cut, and the reverse. Loopback and unix sockets
 * are the network '' of each host: never cut, never slow, not on any wire.
 */
import { assert } from '../base/assert.js';
import type { Prng } from '../base/prng.js';

/** Loopback and unix sockets. */
export const INSIDE = '';

/** What a network does wrong. What is not named it does not do. */
export interface NetworkFaults {
  /** One way, random in [minMs, maxMs), of bytes and datagrams, instead of the usual delay. */
  readonly delayMs?: readonly [number, number];
  /** Each TCP connection is reset when so many bytes of one direction have arrived. */
  readonly resetAfterBytes?: number;
  // Chances, of datagrams only: TCP repeats, sorts and checks.
  readonly loss?: number;
  readonly duplicate?: number;
  /** To be so late that later ones overtake it. */
  readonly reorder?: number;
  readonly corrupt?: number;
}

/** Something that arrived over a network. Times are true time; a `tcp-open` stands for the whole handshake. */
export interface WireRecord {
  readonly timeMs: number;
  readonly kind: 'tcp-open' | 'tcp-data' | 'tcp-close' | 'tcp-reset' | 'udp';
  readonly network: string;
  readonly from: string; // IP address
  readonly fromPort: number;
  readonly to: string;
  readonly toPort: number;
  readonly bytes: Uint8Array;
}

export type Tap = (record: WireRecord) => void;

export const NO_BYTES = new Uint8Array(0);

export class SimNetwork {
  readonly #usualDelayMs: readonly [number, number];
  readonly #owners = new Map<string, { readonly host: string; readonly network: string }>();
  readonly #addresses = new Map<string, string>(); // `network host` -> IP address
  readonly #hostsOn = new Map<string, string[]>();
  readonly #cuts = new Set<string>(); // `network sender`
  readonly #silent = new Set<string>(); // hosts without power, or standing still
  readonly #faults = new Map<string, NetworkFaults>();

  constructor(usualDelayMs: readonly [number, number]) {
    this.#usualDelayMs = usualDelayMs;
  }

  /** A host with its address on each network that it is connected to. */
  addHost(host: string, addresses: Readonly<Record<string, string>>): void {
    for (const [network, address] of Object.entries(addresses)) {
      assert(network !== INSIDE && !network.includes(' '), 'a network has a name');
      assert(!this.#owners.has(address), 'an address belongs to one host');
      this.#owners.set(address, { host, network });
      this.#addresses.set(`${network} ${host}`, address);
      const hosts = this.#hostsOn.get(network);
      if (hosts) hosts.push(host);
      else this.#hostsOn.set(network, [host]);
    }
  }

  owns(host: string, address: string): boolean {
    return address.startsWith('127.') || this.#owners.get(address)?.host === host;
  }

  /** Whose address it is, and on which network. */
  ownerOf(address: string): { readonly host: string; readonly network: string } | null {
    return this.#owners.get(address) ?? null;
  }

  addressOf(host: string, network: string): string | null {
    return this.#addresses.get(`${network} ${host}`) ?? null;
  }

  hostsOn(network: string): readonly string[] {
    return this.#hostsOn.get(network) ?? [];
  }

  /** Nothing that `from` sends on the network arrives; without `from`, nothing that anybody sends. */
  cut(network: string, from?: string): void {
    const hosts = this.hostsOn(network);
    assert(from === undefined || hosts.includes(from), 'a network that the host is connected to');
    for (const host of hosts) {
      if (from === undefined || host === from) this.#cuts.add(`${network} ${host}`);
    }
  }

  heal(network: string): void {
    for (const host of this.hostsOn(network)) this.#cuts.delete(`${network} ${host}`);
  }

  /** No power, or the machine stands still: it neither hears nor answers. */
  setSilent(host: string, silent: boolean): void {
    if (silent) this.#silent.add(host);
    else this.#silent.delete(host);
  }

  /** What `from` sends now arrives at `to`. */
  passes(network: string, from: string, to: string): boolean {
    if (network === INSIDE) return true;
    return !this.#cuts.has(`${network} ${from}`) && !this.#silent.has(to);
  }

  /** From now on; what was set before is replaced. */
  setFaults(network: string, faults: NetworkFaults): void {
    this.#faults.set(network, faults);
  }

  faultsOf(network: string): NetworkFaults {
    return this.#faults.get(network) ?? NO_FAULTS;
  }

  /** How long one piece or datagram takes, one way. */
  delay(network: string, random: Prng): number {
    const own = network === INSIDE ? undefined : this.#faults.get(network)?.delayMs;
    const [minMs, maxMs] = own ?? this.#usualDelayMs;
    return minMs + (random.u32() / 0x100000000) * (maxMs - minMs);
  }
}

const NO_FAULTS: NetworkFaults = {};
