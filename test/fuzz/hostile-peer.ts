/**
 * A peer that sends anything: two engines in virtual time, and one of them says between its own packets what no peer should
 * say. Lengths, numbers of volumes, sectors, block ids, states and generations are near what would be right, since what is
 * far off is refused at once. Whatever comes, neither engine may throw, and no buffer may be lost.
 */
import type { Prng } from '../../src/base/prng.js';
import type { Link } from '../../src/drbd/link.js';
import { COMMANDS, type CommandName } from '../../src/wire/constants.js';
import { headerBytes, putHeader } from '../../src/wire/hot.js';
import type { Codec } from '../../src/wire/packet.js';
import {
  inSync,
  type SimPair,
  type SimPairNode,
  type SimPairOptions,
} from '../support/sim-pair.js';

const META: readonly CommandName[] = [
  ...(['P_PING', 'P_PING_ACK', 'P_RECV_ACK', 'P_WRITE_ACK', 'P_RS_WRITE_ACK'] as const),
  ...(['P_SUPERSEDED', 'P_NEG_ACK', 'P_NEG_DREPLY', 'P_NEG_RS_DREPLY', 'P_BARRIER_ACK'] as const),
  ...(['P_STATE_CHG_REPLY', 'P_OV_RESULT', 'P_RS_IS_IN_SYNC', 'P_DELAY_PROBE'] as const),
  ...(['P_RS_CANCEL', 'P_CONN_ST_CHG_REPLY', 'P_RETRY_WRITE'] as const),
];
const DATA = (Object.keys(COMMANDS) as CommandName[]).filter((name) => !META.includes(name));
/** Bytes of the body, without payload. */
const SIZES: Partial<Record<CommandName, readonly number[]>> = {
  P_DATA: [24],
  P_DATA_REPLY: [24],
  P_RS_DATA_REPLY: [24],
  P_BARRIER: [8],
  P_BITMAP: [8, 64, 4080, 4096],
  P_COMPRESSED_BITMAP: [2, 5, 40, 4096],
  P_UNPLUG_REMOTE: [0],
  P_SYNC_PARAM: [4, 20],
  P_SYNC_PARAM89: [152],
  P_PROTOCOL: [24, 25, 29],
  P_PROTOCOL_UPDATE: [24, 25, 29],
  P_UUIDS: [48],
  P_SIZES: [32, 40],
  P_STATE: [4],
  P_SYNC_UUID: [8],
  P_STATE_CHG_REQ: [8],
  P_CONN_ST_CHG_REQ: [8],
  P_OUT_OF_SYNC: [16],
  P_RS_DEALLOCATED: [16],
  P_TRIM: [28],
  P_ZEROES: [28],
  P_WSAME: [28, 28 + 512],
  P_PING: [0],
  P_PING_ACK: [0],
  P_BARRIER_ACK: [8],
  P_STATE_CHG_REPLY: [4],
  P_CONN_ST_CHG_REPLY: [4],
  P_DELAY_PROBE: [8],
};
const PAYLOAD: ReadonlySet<CommandName> = new Set(['P_DATA', 'P_DATA_REPLY', 'P_RS_DATA_REPLY']);

const RAW: Codec<Uint8Array> = {
  decode: (view, at, length) => new Uint8Array(view.buffer, view.byteOffset + at, length),
  encode: (bytes, view, at) => new Uint8Array(view.buffer, view.byteOffset + at).set(bytes),
};

const MOST_BYTES = 60_000; // of one packet here

const SCENES: readonly SimPairOptions[] = [
  {},
  { net: { protocol: 'A' } },
  { net: { protocol: 'B', dataIntegrityAlg: 'crc32c' } },
  { twoVolumes: true },
  { dialect: { protocolMax: 95, features: 0 } },
  { dialect: { protocolMax: 86, features: 0 } },
  { pieceBytes: 700 },
  { net: { csumsAlg: 'md5', verifyAlg: 'sha1' } },
];

export class HostilePeer {
  readonly #rng: Prng;
  readonly #pair: SimPair;
  readonly #liar: SimPairNode;
  readonly #victim: SimPairNode;
  #last = '';
  sent = 0;

  constructor(rng: Prng) {
    this.#rng = rng;
    this.#pair = inSync(rng.u32(), rng.pick(SCENES));
    const { alpha, beta } = this.#pair;
    [this.#liar, this.#victim] = rng.chance(0.5) ? [alpha, beta] : [beta, alpha];
  }

  /** What the last packet was, for the message of a failure. */
  get last(): string {
    return this.#last;
  }

  /** `count` packets, and life between them. */
  run(count: number): void {
    const rng = this.#rng;
    for (let n = 0; n < count; n++) {
      if (rng.chance(0.15)) this.#life();
      for (let burst = rng.pick([1, 1, 1, 3, 8]); burst > 0; burst--) this.#lie();
      this.#pair.run(rng.pick([0, 0.2, 1, 10, 120]));
    }
    this.#pair.run(5_000);
  }

  #life(): void {
    const rng = this.#rng;
    const node = rng.pick([this.#pair.alpha, this.#pair.beta]);
    switch (rng.below(7)) {
      case 0:
      case 1: {
        const at = node.io.alloc(4096);
        const sector = 8 * rng.below(64);
        if (at >= 0) node.begin((tag) => node.volume.write(node, tag, sector, at, 4096, false));
        return;
      }
      case 2: {
        const at = node.io.alloc(8192);
        const sector = 8 * rng.below(64);
        if (at >= 0) node.begin((tag) => node.volume.read(node, tag, sector, at, 8192));
        return;
      }
      case 3:
        node.begin((tag) => node.volume.flush(node, tag));
        return;
      case 4:
        node.begins({ verb: 'detach', minor: 0, force: false }, () => {});
        return;
      case 5:
        node.beginAttach();
        return;
      case 6:
        this.#connect(node);
        return;
    }
  }

  #connect(node: SimPairNode): void {
    if (node.resource.volumes.every((v) => /^cs:StandAlone /.test(node.shownOf(v)))) node.connect();
  }

  #lie(): void {
    const rng = this.#rng;
    const link = this.#liar.resource.link;
    if (!link?.alive) {
      this.#pair.run(1_500);
      for (const node of [this.#liar, this.#victim]) this.#connect(node);
      return;
    }
    const isMeta = rng.chance(0.4);
    const name = rng.pick(isMeta ? META : DATA);
    this.#last = `${name} to ${this.#victim.name} ${this.#victim.shown}`;
    const body = this.#body(name, link);
    const volume = link.apv < 100 ? 0 : rng.pick([0, 0, 0, 0, 1, 2, 0xffff]);
    this.sent++;
    this.#liar.loop.enter(() => {
      if (isMeta) link.out.onMeta(COMMANDS[name], volume, body.length, RAW, body);
      else link.out.raw(this.#packet(link, COMMANDS[name], volume, body));
    });
  }

  /** With a header that sometimes says another length. */
  #packet(link: Link, command: number, volume: number, body: Uint8Array): Uint8Array {
    const rng = this.#rng;
    const size = headerBytes(link.apv, body.length);
    const bytes = new Uint8Array(size + body.length);
    const view = new DataView(bytes.buffer);
    putHeader(
      view,
      0,
      link.apv,
      command,
      volume,
      Math.min(body.length, link.apv < 95 ? 0xffff : MOST_BYTES),
    );
    bytes.set(body, size);
    if (rng.chance(0.02)) bytes[rng.below(bytes.length)] = rng.below(256);
    if (rng.chance(0.02)) view.setUint32(size - 8, rng.u32());
    return bytes;
  }

  #body(name: CommandName, link: Link): Uint8Array {
    const rng = this.#rng;
    let length = rng.pick(SIZES[name] ?? [24]);
    if (PAYLOAD.has(name))
      length += link.sends.bytes + rng.pick([0, 512, 4096, 4096, 8192, 32_768]);
    if (rng.chance(0.03)) length = Math.max(0, length + rng.pick([-8, -1, 1, 8, 4096]));
    const body = new Uint8Array(Math.min(length, MOST_BYTES));
    const view = new DataView(body.buffer);
    const put = (at: number, value: number) => {
      if (at + 4 <= body.length) view.setUint32(at, value >>> 0);
    };
    if (name.startsWith('P_STATE') || name.startsWith('P_CONN_ST')) {
      for (let at = 0; at < body.length; at += 4) put(at, this.#word());
      return body;
    }
    if (name === 'P_UUIDS') {
      for (let at = 0; at < body.length; at += 8) this.#uuid(view, at);
      return body;
    }
    if (name === 'P_SYNC_UUID') {
      if (body.length >= 8) this.#uuid(view, 0);
      return body;
    }
    if (SIZES[name] === undefined || PAYLOAD.has(name) || [16, 28].includes(length)) {
      this.#block(view, put);
      return body;
    }
    for (let at = 0; at < Math.min(body.length, 200); at++) {
      body[at] = rng.pick([0, 0, 0, 1, 2, 0xff, rng.below(256)]);
    }
    for (let at = 0; at + 4 <= Math.min(body.length, 64); at += 4) {
      if (rng.chance(0.5)) put(at, this.#number());
    }
    return body;
  }

  /** Sector, block id, length: as of something that is under way, or nearly. */
  #block(view: DataView, put: (at: number, value: number) => void): void {
    const rng = this.#rng;
    const sectors = this.#victim.volume.sizeSectors;
    const sector = rng.pick([
      ...[8 * rng.below(64), 8 * rng.below(64), 8 * rng.below(64), sectors - 8, sectors, 0, 7],
      rng.below(sectors + 1),
    ]);
    const far = rng.chance(0.03);
    put(0, far ? rng.u32() : 0);
    put(4, sector);
    const known = this.#victim.resource.link?.idHi ?? 0;
    put(8, rng.pick([known, known, known, 0xffffffff, 0, rng.u32()]));
    put(12, rng.pick([rng.below(8), rng.below(64), 0xffffffff, rng.u32()]));
    put(16, rng.pick([4096, 4096, 4096, 8192, 512, 0, 1, 1 << 20, 0xfffffe00, this.#number()]));
    put(20, this.#number());
    put(24, rng.pick([4096, 8192, 512, 0, 1 << 20, this.#number()]));
    if (view.byteLength === 16) put(8, rng.pick([4096, 8192, 512, 0, 1 << 20, this.#number()]));
  }

  #number(): number {
    const rng = this.#rng;
    return rng.pick([0, 1, 2, 3, 8, 512, 4096, 0x7fffffff, 0xffffffff, rng.below(4096), rng.u32()]);
  }

  /** A state as it is here, with one part of it changed; or anything. */
  #word(): number {
    const rng = this.#rng;
    const { role, peer, conn, disk, pdsk } = this.#liar.volume.state;
    const part = (value: number, below: number) => (rng.chance(0.3) ? rng.below(below) : value);
    if (rng.chance(0.05)) return rng.u32();
    return (
      part(role, 4) |
      (part(peer, 4) << 2) |
      (part(conn, 32) << 4) |
      (part(disk, 16) << 9) |
      (part(pdsk, 16) << 13) |
      (rng.chance(0.1) ? rng.below(128) << 17 : 0)
    );
  }

  #uuid(view: DataView, at: number): void {
    const rng = this.#rng;
    if (at + 8 > view.byteLength) return;
    const { current, bitmap, history1, history2 } = this.#victim.volume.uuids;
    const value = rng.pick([
      current,
      current,
      bitmap,
      history1,
      history2,
      0n,
      4n,
      BigInt(rng.u32()),
    ]);
    view.setBigUint64(at, rng.chance(0.1) ? value ^ 1n : value);
  }
}
