/** The recordings of test/golden/wire: the packets of both sockets, in order, with the header each was sent with. */
import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { COMMANDS } from '../../src/wire/constants.js';
import { agree, type Features } from '../../src/wire/handshake.js';
import { newHeader, readHeader } from '../../src/wire/hot.js';
import type { Link } from '../../src/wire/packet.js';
import { type Packet, readPacket } from '../../src/wire/packets.js';

const DIRECTORY = 'test/golden/wire';
const START: Link = { apv: 80, features: 0 };
const CONNECTING: ReadonlySet<number> = new Set([
  COMMANDS.P_INITIAL_DATA,
  COMMANDS.P_INITIAL_META,
  COMMANDS.P_CONNECTION_FEATURES,
  COMMANDS.P_AUTH_CHALLENGE,
  COMMANDS.P_AUTH_RESPONSE,
]);

export interface RecordedPacket {
  readonly connection: number;
  readonly from: string;
  readonly socket: 'data' | 'meta';
  readonly link: Link;
  readonly bytes: Uint8Array; // header and body as they were sent
  readonly packet: Packet;
}

interface Line {
  readonly c: number;
  readonly from?: string;
  readonly hex?: string;
}

interface Direction {
  bytes: Buffer;
  link: Link;
}

export function recordingNames(): string[] {
  return readdirSync(DIRECTORY)
    .filter((file) => file.endsWith('.jsonl.gz'))
    .map((file) => file.slice(0, -'.jsonl.gz'.length));
}

/** Throws on the first byte that is not understood, and when bytes of a packet are left over at the end. */
export function readRecording(name: string): RecordedPacket[] {
  const text = gunzipSync(readFileSync(`${DIRECTORY}/${name}.jsonl.gz`)).toString('utf8');
  const directions = new Map<string, Direction>();
  const sockets = new Map<number, 'data' | 'meta'>();
  const offered = new Map<string, Features>(); // sender -> what it last offered
  const out: RecordedPacket[] = [];
  const agreed = (): Link => {
    const [a, b] = [...offered.values()];
    return (a && b && agree(a, b)) ?? START;
  };
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const { c, from, hex } = JSON.parse(line) as Line;
    if (from === undefined || hex === undefined) continue;
    const key = `${c} ${from}`;
    const direction = directions.get(key) ?? { bytes: Buffer.alloc(0), link: START };
    directions.set(key, direction);
    direction.bytes = Buffer.concat([direction.bytes, Buffer.from(hex, 'hex')]);
    for (;;) {
      const { buffer, byteOffset, length } = direction.bytes;
      const view = new DataView(buffer, byteOffset, length);
      const header = newHeader();
      // The first packet of a connection is in the oldest form, and so are features; then what was agreed.
      const old = length >= 8 && readHeader(view, 0, length, START.apv, header) > 0;
      if (!(old && CONNECTING.has(header.command))) direction.link = agreed();
      const link = old && CONNECTING.has(header.command) ? START : direction.link;
      if (readHeader(view, 0, length, link.apv, header) === 0) break;
      if (header.command === COMMANDS.P_INITIAL_DATA) sockets.set(c, 'data');
      if (header.command === COMMANDS.P_INITIAL_META) sockets.set(c, 'meta');
      const socket = sockets.get(c) ?? 'data';
      const phase = CONNECTING.has(header.command) ? 'connecting' : 'running';
      const read = readPacket(view, 0, length, socket, phase, link);
      if (read === null) break;
      if ('error' in read) throw new Error(`${name} #${key} ${JSON.stringify(read)}`);
      const { packet } = read;
      if (packet.type === 'P_CONNECTION_FEATURES') offered.set(from, packet.body);
      const bytes = new Uint8Array(direction.bytes.subarray(0, read.bytes));
      out.push({ connection: c, from, socket, link, bytes, packet });
      direction.bytes = direction.bytes.subarray(read.bytes);
    }
  }
  for (const [key, { bytes }] of directions) {
    if (bytes.length > 0) throw new Error(`${name} #${key}: ${bytes.length} bytes left over`);
  }
  return out;
}
