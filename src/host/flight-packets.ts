/**
 * What a recording may know of the bytes of a stream: headers and bodies of small packets, never payload, never an answer to
 * a challenge. The magic alone tells which header it is, so no protocol version is needed here.
 */
import { connName, decodeState, diskName, roleName } from '../drbd/state.js';
import { COMMANDS, commandName, MAGIC_H80, MAGIC_H95, MAGIC_H100 } from '../wire/constants.js';
import { DATA_BYTES } from '../wire/hot.js';

export interface PacketAt {
  command: number;
  volume: number;
  headerBytes: number;
  length: number; // of the body
}

/** The packet that begins at view[at, end); false: not a header, or not whole. */
export function packetAt(view: DataView, at: number, end: number, out: PacketAt): boolean {
  if (end - at < 8) return false;
  const magic = view.getUint32(at);
  out.volume = 0;
  if (magic === MAGIC_H100) {
    if (end - at < 16) return false;
    out.headerBytes = 16;
    out.volume = view.getUint16(at + 4);
    out.command = view.getUint16(at + 6);
    out.length = view.getUint32(at + 8);
    return true;
  }
  out.headerBytes = 8;
  if (magic === MAGIC_H80) {
    out.command = view.getUint16(at + 4);
    out.length = view.getUint16(at + 6);
    return true;
  }
  if (magic >>> 16 !== MAGIC_H95) return false;
  out.command = view.getUint16(at + 2);
  out.length = view.getUint32(at + 4);
  return true;
}

export function newPacketAt(): PacketAt {
  return { command: 0, volume: 0, headerBytes: 0, length: 0 };
}

/** Packets whose body ends in data of an application. */
export function carriesData(command: number): boolean {
  return (
    command === COMMANDS.P_DATA ||
    command === COMMANDS.P_DATA_REPLY ||
    command === COMMANDS.P_RS_DATA_REPLY
  );
}

/**
 * How many of the unconsumed bytes of a stream that is closed may be recorded: what a receiver can have looked at. Whole
 * small packets (dealt with, when a later one broke the connection), then one that is not whole or carries data.
 */
export function leftBytes(view: DataView, start: number, end: number): number {
  const p = newPacketAt();
  let at = start;
  while (packetAt(view, at, end, p)) {
    const body = carriesData(p.command) ? DATA_BYTES : p.length;
    if (carriesData(p.command) || at + p.headerBytes + body > end) {
      return Math.min(end - start, at - start + p.headerBytes + body);
    }
    at += p.headerBytes + body;
  }
  return at - start + beginning(view, at, end);
}

/** A header that is not whole yet: all of it. Anything else: nothing. */
function beginning(view: DataView, start: number, end: number): number {
  const count = end - start;
  if (count >= 16) return 0;
  if (count >= 4 && view.getUint32(start) === MAGIC_H100) return count;
  return 0;
}

/** Every packet of bytes that a receiver has consumed, in order; stops where it is none. */
export function eachPacket(
  view: DataView,
  start: number,
  end: number,
  each: (packet: Readonly<PacketAt>, body: number) => void,
): void {
  const p = newPacketAt();
  for (let at = start; packetAt(view, at, end, p); at += p.headerBytes + p.length) {
    each(p, at + p.headerBytes);
    if (carriesData(p.command)) return;
  }
}

/** Puts `stand` in the place of each answer to a challenge, in a copy; null when there is none. */
export function withoutResponses(
  view: DataView,
  start: number,
  end: number,
  stand: (response: Uint8Array) => Uint8Array,
): Uint8Array | null {
  let copy: Uint8Array | null = null;
  eachPacket(view, start, end, (p, body) => {
    if (p.command !== COMMANDS.P_AUTH_RESPONSE) return;
    const last = Math.min(end, body + p.length);
    copy ??= new Uint8Array(view.buffer.slice(view.byteOffset + start, view.byteOffset + end));
    const response = new Uint8Array(view.buffer, view.byteOffset + body, last - body);
    copy.set(stand(response), body - start);
  });
  return copy;
}

/** What a packet says of states. */
function detail(view: DataView, p: Readonly<PacketAt>, body: number, end: number): string {
  if (p.command !== COMMANDS.P_STATE || body + 4 > end) return '';
  const s = decodeState(view.getUint32(body));
  return `(${roleName(s.role)} ${connName(s.conn)} ${diskName(s.disk)})`;
}

/** Names of the packets in these bytes, for people. */
export function packetNames(view: DataView, start: number, end: number): string {
  const names: string[] = [];
  const counts = new Map<string, number>();
  eachPacket(view, start, end, (p, body) => {
    const name = commandName(p.command) + detail(view, p, body, end);
    if (!counts.has(name)) names.push(name);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  });
  return names.map((n) => ((counts.get(n) ?? 0) > 1 ? `${n} x${counts.get(n)}` : n)).join(' ');
}
