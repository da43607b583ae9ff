/**
 * What crossed the simulated wires as a capture file that tshark and Wireshark open.
 *
 *     tshark -r FILE -d tcp.port==7788,drbd
 *
 * The simulator moves bytes, not packets: handshakes, sequence numbers, acknowledgements and ends are made here, so that a
 * stream can be put together again. Bytes that a cut held back appear once, when they arrived.
 * Format: classic pcap with raw IPv4 packets (LINKTYPE_RAW); RFC 791, 768, 9293.
 */
import { assert } from '../base/assert.js';
import { NO_BYTES, type WireRecord } from './sim-network.js';

const LINKTYPE_RAW = 101;
const IP_BYTES = 20;
const TCP_BYTES = 20;
const UDP_BYTES = 8;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;
/** Longer pieces become several segments. */
const SEGMENT_BYTES = 16_384;

const FIN = 1;
const SYN = 2;
const RST = 4;
const PSH = 8;
const ACK = 16;

/** One end of a connection. */
interface Sender {
  readonly address: string;
  readonly port: number;
  seq: number; // of its next byte
}

interface Connection {
  readonly opener: Sender;
  readonly other: Sender;
}

export class Pcap {
  readonly #startMs: number;
  readonly #packets: Uint8Array[] = [];
  readonly #connections = new Map<string, Connection>();
  #ipId = 0;

  /** `startMs`: time 0 of the run, in milliseconds since 1970. */
  constructor(startMs: number) {
    this.#startMs = startMs;
    const header = new DataView(new ArrayBuffer(24));
    header.setUint32(0, 0xa1b2c3d4); // times in microseconds
    header.setUint16(4, 2);
    header.setUint16(6, 4);
    header.setUint32(16, 65535 + IP_BYTES); // longest packet
    header.setUint32(20, LINKTYPE_RAW);
    this.#packets.push(new Uint8Array(header.buffer));
  }

  add(record: WireRecord): void {
    if (record.kind === 'udp') {
      this.#udp(record);
      return;
    }
    const connection = this.#connection(record);
    const { opener, other } = connection;
    const fromOpener = opener.address === record.from && opener.port === record.fromPort;
    const [from, to] = fromOpener ? [opener, other] : [other, opener];
    switch (record.kind) {
      case 'tcp-open':
        this.#tcp(record.timeMs, from, to, SYN, NO_BYTES);
        this.#tcp(record.timeMs, to, from, SYN | ACK, NO_BYTES);
        this.#tcp(record.timeMs, from, to, ACK, NO_BYTES);
        break;
      case 'tcp-data':
        for (let at = 0; at < record.bytes.length; at += SEGMENT_BYTES) {
          const segment = record.bytes.subarray(at, at + SEGMENT_BYTES);
          this.#tcp(record.timeMs, from, to, PSH | ACK, segment);
        }
        this.#tcp(record.timeMs, to, from, ACK, NO_BYTES);
        break;
      case 'tcp-close':
        this.#tcp(record.timeMs, from, to, FIN | ACK, NO_BYTES);
        this.#tcp(record.timeMs, to, from, ACK, NO_BYTES);
        break;
      case 'tcp-reset':
        this.#tcp(record.timeMs, from, to, RST | ACK, NO_BYTES);
        break;
    }
  }

  /** The file so far. */
  bytes(): Uint8Array {
    const file = new Uint8Array(this.#packets.reduce((sum, p) => sum + p.length, 0));
    let at = 0;
    for (const packet of this.#packets) {
      file.set(packet, at);
      at += packet.length;
    }
    return file;
  }

  // ---- inside

  #connection(record: WireRecord): Connection {
    const { from, fromPort, to, toPort } = record;
    const key = `${from}:${fromPort} ${to}:${toPort}`;
    const known =
      this.#connections.get(key) ?? this.#connections.get(`${to}:${toPort} ${from}:${fromPort}`);
    if (known) return known;
    const first = (this.#connections.size + 1) << 12; // easy to tell apart by eye
    const made = {
      opener: { address: from, port: fromPort, seq: first },
      other: { address: to, port: toPort, seq: first + (1 << 28) },
    };
    this.#connections.set(key, made);
    return made;
  }

  #tcp(timeMs: number, from: Sender, to: Sender, flags: number, payload: Uint8Array): void {
    const segment = new Uint8Array(TCP_BYTES + payload.length);
    const view = new DataView(segment.buffer);
    view.setUint16(0, from.port);
    view.setUint16(2, to.port);
    view.setUint32(4, from.seq >>> 0);
    view.setUint32(8, (flags & ACK) !== 0 ? to.seq >>> 0 : 0);
    view.setUint8(12, (TCP_BYTES / 4) << 4);
    view.setUint8(13, flags);
    view.setUint16(14, 65535); // window
    segment.set(payload, TCP_BYTES);
    from.seq += payload.length + ((flags & (SYN | FIN)) !== 0 ? 1 : 0);
    this.#ip(timeMs, from.address, to.address, PROTOCOL_TCP, segment, 16);
  }

  #udp({ timeMs, from, fromPort, to, toPort, bytes }: WireRecord): void {
    const datagram = new Uint8Array(UDP_BYTES + bytes.length);
    const view = new DataView(datagram.buffer);
    view.setUint16(0, fromPort);
    view.setUint16(2, toPort);
    view.setUint16(4, datagram.length);
    datagram.set(bytes, UDP_BYTES);
    this.#ip(timeMs, from, to, PROTOCOL_UDP, datagram, 6);
  }

  /** `checksumAt`: where in the payload its checksum, over the addresses too, belongs. */
  #ip(
    timeMs: number,
    from: string,
    to: string,
    protocol: number,
    payload: Uint8Array,
    checksumAt: number,
  ): void {
    const packet = new Uint8Array(16 + IP_BYTES + payload.length);
    const view = new DataView(packet.buffer);
    const length = IP_BYTES + payload.length;
    const microseconds = Math.round((this.#startMs + timeMs) * 1000);
    view.setUint32(0, Math.floor(microseconds / 1e6));
    view.setUint32(4, microseconds % 1e6);
    view.setUint32(8, length);
    view.setUint32(12, length);

    view.setUint8(16, 0x45);
    view.setUint16(18, length);
    view.setUint16(20, this.#ipId++ & 0xffff);
    view.setUint16(22, 0x4000); // do not fragment
    view.setUint8(24, 64);
    view.setUint8(25, protocol);
    packet.set(addressBytes(from), 28);
    packet.set(addressBytes(to), 32);
    view.setUint16(26, checksum(packet.subarray(16, 36), 0));

    const addresses = sum16(packet.subarray(28, 36)) + protocol + payload.length;
    new DataView(payload.buffer).setUint16(checksumAt, checksum(payload, addresses) || 0xffff);
    packet.set(payload, 16 + IP_BYTES);
    this.#packets.push(packet);
  }
}

function addressBytes(address: string): number[] {
  const bytes = address.split('.').map(Number);
  assert(bytes.length === 4, 'an IPv4 address');
  return bytes;
}

function sum16(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += ((bytes[i] as number) << 8) | (bytes[i + 1] ?? 0);
  }
  return sum;
}

/** RFC 1071. */
function checksum(bytes: Uint8Array, start: number): number {
  let sum = start + sum16(bytes);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}
