/**
 * The simulated networks between the nodes, with everything that can go wrong on them: what the steps of a scenario act
 * on. Who is connected to whom is in sim-network.ts, connections in sim-tcp.ts, datagrams in sim-datagrams.ts.
 */
import { Prng } from '../base/prng.js';
import type { SimClock } from './sim-clock.js';
import { type Received, SimDatagrams } from './sim-datagrams.js';
import { type NetworkFaults, SimNetwork, type Tap } from './sim-network.js';
import { SimTcp, type SimTcpOptions } from './sim-tcp.js';

export interface SimNetOptions extends SimTcpOptions {
  /** One way, per piece and per datagram: random in [minMs, maxMs). */
  readonly delayMs: readonly [number, number];
}

export const DEFAULT_SIM_NET: SimNetOptions = {
  delayMs: [0.03, 0.2],
  windowBytes: 1 << 20,
  pieceBytes: 65536,
};

export class SimNet {
  readonly network: SimNetwork;
  readonly tcp: SimTcp;
  readonly datagrams: SimDatagrams;

  constructor(clock: SimClock, random: Prng, options: SimNetOptions = DEFAULT_SIM_NET) {
    this.network = new SimNetwork(options.delayMs);
    this.tcp = new SimTcp(clock, this.network, new Prng(random.u32()), options);
    this.datagrams = new SimDatagrams(clock, this.network, random);
  }

  /** A host with its address on each network: `{ replication: '10.1.0.1', eth0: '10.2.0.1' }`. */
  addHost(host: string, addresses: Readonly<Record<string, string>>): void {
    this.network.addHost(host, addresses);
  }

  owns(host: string, address: string): boolean {
    return this.network.owns(host, address);
  }

  /** Everything that arrives over a network is shown to `tap`. */
  set tap(tap: Tap | null) {
    this.tcp.tap = tap;
    this.datagrams.tap = tap;
  }

  get tap(): Tap | null {
    return this.tcp.tap;
  }

  /** Both ways, or only what `from` sends. Bytes of a connection wait, datagrams are lost. */
  cut(network: string, from?: string): void {
    this.network.cut(network, from);
  }

  heal(network: string): void {
    this.network.heal(network);
    this.tcp.repeat();
  }

  /** Every connection over it fails at both ends; what was under way is lost from a random byte on. */
  reset(network: string): void {
    this.tcp.reset(network);
  }

  /** Half-open: the connections of `host` fail, their other ends hear nothing until they send. */
  resetOneEnd(network: string, host: string): void {
    this.tcp.resetOneEnd(network, host);
  }

  /** From now on. What is not named is as it should be. */
  faults(network: string, faults: NetworkFaults): void {
    this.network.setFaults(network, faults);
  }

  bindDatagram(host: string, network: string, port: number, received: Received): void {
    this.datagrams.bind(host, network, port, received);
  }

  unbindDatagram(host: string, network: string, port: number): void {
    this.datagrams.unbind(host, network, port);
  }

  /** To everybody else on the network who is bound to the port, or to `to` alone. */
  sendDatagram(host: string, network: string, port: number, bytes: Uint8Array, to?: string): void {
    this.datagrams.send(host, network, port, bytes, to);
  }

  /**
   * The processes of a host that use TCP are gone; with `power` the host itself, with all that is bound on it: it
   * says nothing any more. Datagram ports belong to other processes: whoever ends those unbinds them.
   */
  crash(host: string, power: boolean): void {
    this.tcp.crash(host, power);
    if (!power) return;
    this.datagrams.crash(host);
    this.network.setSilent(host, true);
  }

  /** The host has power again: it resets what others still send to its former connections. */
  boot(host: string): void {
    this.network.setSilent(host, false);
    this.tcp.repeat();
  }

  /** The machine stands still, kernel and all: it answers nothing, and forgets nothing. */
  freeze(host: string): void {
    this.network.setSilent(host, true);
  }

  thaw(host: string): void {
    this.boot(host);
  }
}
