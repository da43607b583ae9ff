/**
 * Heartbeat's UDP media: mcast, bcast, ucast and their IPv6 kin, by dgram-as-promised.
 *
 * Packets are taken from the `message` event of the package's socket: its recv() loses what comes between two calls.
 * The original ties its sockets to an interface with SO_BINDTODEVICE, which Node does not have: ours are bound to the
 * interface's own address (ucast), its broadcast address (bcast) or the group (mcast, joined on the interface). On a
 * host whose interfaces have addresses of different networks that comes to the same; two interfaces in one network
 * are told apart by the routing table only. Who sent a datagram is never looked at: the signature says it.
 *
 * An interface that is missing or loses its address is reported once and tried again every five seconds. One that was taken
 * away and made again gives no error: whoever hears nothing opens again (heartbeat-media.ts). The old sockets stay until there
 * are new ones.
 */
import { lookup } from 'node:dns/promises';
import { DgramAsPromised, type SocketAsPromised } from 'dgram-as-promised';
import type { Medium } from '../config/ha-cf.js';
import { broadcastAddress, interfaceAddress, ownAddresses } from './interfaces.js';

export type UdpConfig = Exclude<Medium, { readonly type: 'serial' }>;

export interface MediumHost {
  /** `isOwn`: it came from an address of this machine, as what we send to a group or a broadcast address does. */
  received(datagram: Uint8Array, link: string, isOwn: boolean): void;
  log(level: 'info' | 'WARN' | 'ERROR', text: string): void;
}

const RETRY_MS = 5000;

interface Opened {
  readonly receiver: SocketAsPromised;
  readonly sender: SocketAsPromised;
  readonly to: { readonly host: string; readonly port: number };
  readonly started: string;
}

export class UdpMedium {
  readonly #config: UdpConfig;
  readonly #host: MediumHost;
  #opened: Opened | null = null;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;
  #opening = false;
  #sendFails = false;
  #openFails = false;

  constructor(config: UdpConfig, host: MediumHost) {
    this.#config = config;
    this.#host = host;
  }

  get link(): string {
    return this.#config.device;
  }

  /** What shares an interface and a port with it: a datagram to an address is given to one of them only. */
  get place(): string {
    const { type, device, port } = this.#config;
    return `${type} ${device} port ${port}`;
  }

  /** The first attempt, or new sockets in place of the old ones. Later attempts follow by themselves. */
  async open(): Promise<void> {
    if (this.#closed || this.#opening) return;
    this.#opening = true;
    try {
      await this.#exchange();
      this.#openFails = false;
    } catch (e) {
      if (!this.#openFails) {
        const { type, device } = this.#config;
        const reason = e instanceof Error ? e.message : String(e);
        this.#host.log('ERROR', `cannot open ${type} ${device}: ${reason}; trying again`);
      }
      this.#openFails = true;
      this.#retry();
    } finally {
      this.#opening = false;
    }
  }

  async #exchange(): Promise<void> {
    const opened = await openSockets(this.#config, (datagram, isOwn) =>
      this.#host.received(datagram, this.#config.device, isOwn),
    );
    if (this.#closed) {
      await closeSockets(opened);
      return;
    }
    for (const { socket } of [opened.receiver, opened.sender]) {
      socket.on('error', (e) => this.#failed(opened, e));
    }
    const before = this.#opened;
    this.#opened = opened;
    if (!before || this.#openFails) this.#host.log('info', opened.started);
    if (before) await closeSockets(before);
  }

  send(datagram: Uint8Array): void {
    const opened = this.#opened;
    if (!opened) return;
    // The callback of Node's own socket: a promise for each keepalive would only be thrown away.
    opened.sender.socket.send(datagram, opened.to.port, opened.to.host, (e) => {
      if (e && !this.#sendFails) {
        const { type, device } = this.#config;
        this.#host.log('ERROR', `cannot write ${type} packet on ${device}: ${e.message}`);
      }
      this.#sendFails = e !== null;
    });
  }

  #failed(opened: Opened, e: Error): void {
    if (this.#closed || this.#opened !== opened) return;
    this.#host.log('ERROR', `${this.#config.type} ${this.#config.device}: ${e.message}`);
    this.#opened = null;
    void closeSockets(opened);
    this.#retry();
  }

  #retry(): void {
    if (this.#closed) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.open(), RETRY_MS);
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer) clearTimeout(this.#timer);
    const opened = this.#opened;
    this.#opened = null;
    if (opened) await closeSockets(opened);
  }
}

async function closeSockets(opened: Opened): Promise<void> {
  await Promise.allSettled([opened.receiver.close(), opened.sender.close()]);
}

async function openSockets(
  config: UdpConfig,
  received: (datagram: Uint8Array, isOwn: boolean) => void,
): Promise<Opened> {
  const isV6 = config.type === 'mcast6' || config.type === 'ucast6';
  const type = isV6 ? 'udp6' : 'udp4';
  const receiver = DgramAsPromised.createSocket({ type, reuseAddr: true, ipv6Only: isV6 });
  const sender = DgramAsPromised.createSocket({ type, reuseAddr: true, ipv6Only: isV6 });
  try {
    const own = ownAddresses();
    receiver.socket.on('message', (datagram, { address }) =>
      received(datagram, own.has(withoutScope(address))),
    );
    const opened = await bindSockets(config, receiver, sender);
    return { receiver, sender, ...opened };
  } catch (e) {
    await Promise.allSettled([receiver.close(), sender.close()]);
    throw e;
  }
}

async function bindSockets(
  config: UdpConfig,
  receiver: SocketAsPromised,
  sender: SocketAsPromised,
): Promise<Pick<Opened, 'to' | 'started'>> {
  const { device, port } = config;
  switch (config.type) {
    case 'mcast': {
      const address = interfaceAddress(device, 4);
      await receiver.bind({ port, address: config.group });
      receiver.addMembership(config.group, address);
      await sender.bind({ port: 0 });
      sender.setMulticastInterface(address);
      sender.setMulticastTTL(config.ttl);
      sender.setMulticastLoopback(config.loop);
      const started = `UDP multicast heartbeat started for group ${config.group} port ${port} interface ${device} (ttl=${config.ttl} loop=${config.loop ? 1 : 0})`;
      return { to: { host: config.group, port }, started };
    }
    case 'mcast6': {
      const scope = `::%${device}`;
      await receiver.bind({ port, address: `${config.group}%${device}` });
      receiver.addMembership(config.group, scope);
      await sender.bind({ port: 0 });
      sender.setMulticastInterface(scope);
      sender.setMulticastTTL(config.ttl);
      sender.setMulticastLoopback(config.loop);
      const started = `UDP multicast6 heartbeat started for group ${config.group} port ${port} interface ${device} (ttl=${config.ttl} loop=${config.loop ? 1 : 0})`;
      return { to: { host: config.group, port }, started };
    }
    case 'bcast': {
      const address = broadcastAddress(device);
      await receiver.bind({ port, address });
      await sender.bind({ port: 0, address: interfaceAddress(device, 4) });
      sender.setBroadcast(true);
      const started = `UDP Broadcast heartbeat started on port ${port} (${port}) interface ${device}`;
      return { to: { host: address, port }, started };
    }
    case 'ucast':
    case 'ucast6': {
      const family = config.type === 'ucast' ? 4 : 6;
      const address = interfaceAddress(device, family);
      const { address: host } = await lookup(config.host, family);
      await receiver.bind({ port, address });
      await sender.bind({ port: 0, address });
      const started = `ucast: started on port ${port} interface ${device} to ${host}`;
      return { to: { host, port }, started };
    }
  }
}

/** `fe80::1%eth0`: the interface is named behind a link-local address. */
function withoutScope(address: string): string {
  return address.split('%')[0] ?? '';
}
