/**
 * Reads a recording (flight-format.ts). Any bytes may come: what is wrong is a FlightError with the place and what to do.
 */
import {
  AT,
  BLOCK_BYTES,
  BLOCK_HEAD_BYTES,
  BLOCK_MAGIC,
  COLD,
  type FlightHead,
  FORMAT,
  fileBytes,
  HEAD_BYTES,
  HEAD_MAGIC,
  LAYOUT,
  R,
  SUM_FROM,
} from './flight-format.js';
import { parseFlightJson } from './flight-json.js';
import type { Checksum } from './flight-ring.js';

export class FlightError extends Error {
  override name = 'FlightError';
  readonly code: 'foreign' | 'damaged' | 'truncated' | 'version';
  readonly remedy: string;

  constructor(code: FlightError['code'], message: string, remedy: string) {
    super(message);
    this.code = code;
    this.remedy = remedy;
  }
}

/** One record; the same object each time. Numbers in order of the layout. */
export interface Rec {
  kind: number; // 0: the end of the recording
  place: number; // offset in the file
  a: number;
  b: number;
  c: number;
  d: number;
  e: number;
  text: string;
  text2: string;
  bytes: Uint8Array;
}

/** A record of the cold ring. */
export interface ColdRecord {
  readonly wallMs: number;
  readonly us: number;
  readonly place: number;
  readonly what: Readonly<Record<string, unknown>>;
}

interface Block {
  readonly number: number;
  readonly at: number;
  readonly end: number;
  readonly us: number;
  readonly wallMs: number;
}

const COPY_AGAIN =
  'copy it again from the node (/var/lib/twinbeat/flight); a file that is damaged there can not be replayed';

export class FlightFile {
  readonly name: string;
  readonly head: FlightHead;
  readonly cold: readonly ColdRecord[];
  /** The beginning of the life is gone: only decisions can be checked. */
  readonly wrapped: boolean;
  readonly #bytes: Uint8Array;
  readonly #hot: readonly Block[];

  private constructor(
    name: string,
    head: FlightHead,
    bytes: Uint8Array,
    hot: readonly Block[],
    cold: readonly ColdRecord[],
  ) {
    this.name = name;
    this.head = head;
    this.#bytes = bytes;
    this.#hot = hot;
    this.cold = cold;
    this.wrapped = (hot[0]?.number ?? 0) > 0;
  }

  static read(name: string, bytes: Uint8Array, checksum: Checksum): FlightFile {
    const head = readHead(name, bytes, checksum);
    const wanted = fileBytes(head.coldBlocks, head.hotBlocks);
    if (bytes.length < wanted) {
      throw new FlightError(
        'truncated',
        `${name}: ends at byte ${bytes.length}, ${wanted - bytes.length} bytes are missing`,
        COPY_AGAIN,
      );
    }
    const cold = readRing(name, bytes, HEAD_BYTES, head.coldBlocks, checksum);
    const hotAt = HEAD_BYTES + head.coldBlocks * BLOCK_BYTES;
    const hot = readRing(name, bytes, hotAt, head.hotBlocks, checksum);
    return new FlightFile(name, head, bytes, hot, readCold(name, bytes, cold));
  }

  /** The records of the hot ring from the start. */
  records(): RecordCursor {
    return new RecordCursor(this.name, this.#bytes, this.#hot);
  }
}

function damaged(name: string, at: number, what: string): FlightError {
  return new FlightError('damaged', `${name}: byte ${at}: ${what}`, COPY_AGAIN);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function readHead(name: string, bytes: Uint8Array, checksum: Checksum): FlightHead {
  const begins = String.fromCharCode(...bytes.subarray(0, HEAD_MAGIC.length));
  if (begins !== HEAD_MAGIC) {
    throw new FlightError(
      'foreign',
      `${name}: byte 0: not a recording of drbdd or heartbeat`,
      'recordings are the files *.flight in /var/lib/twinbeat/flight',
    );
  }
  const at = HEAD_MAGIC.length;
  if (bytes.length < HEAD_BYTES) {
    throw new FlightError('truncated', `${name}: ends at byte ${bytes.length}`, COPY_AGAIN);
  }
  const view = viewOf(bytes);
  const length = view.getUint32(at, true);
  if (length > HEAD_BYTES - at - 8) throw damaged(name, at, 'the length of the head');
  const json = bytes.subarray(at + 8, at + 8 + length);
  if (checksum(json) >>> 0 !== view.getUint32(at + 4, true)) {
    throw damaged(name, at + 8, 'the checksum of the head is wrong');
  }
  const head = parseFlightJson(new TextDecoder().decode(json)) as FlightHead | null;
  if (head === null) throw damaged(name, at + 8, 'the head is not JSON');
  if (head.format !== FORMAT) {
    throw new FlightError(
      'version',
      `${name}: made by twinbeat ${head.version} in format ${head.format}; this one reads format ${FORMAT}`,
      `replay it with twinbeat ${head.version}`,
    );
  }
  return head;
}

/** The blocks of a ring in order, checked. */
function readRing(
  name: string,
  bytes: Uint8Array,
  first: number,
  count: number,
  checksum: Checksum,
): Block[] {
  const view = viewOf(bytes);
  const blocks: Block[] = [];
  let newest = -1;
  for (let slot = 0; slot < count; slot++) {
    const at = first + slot * BLOCK_BYTES;
    const magic = view.getUint32(at + AT.magic, true);
    if (magic !== BLOCK_MAGIC) {
      if (magic !== 0) throw damaged(name, at, 'no block begins here');
      continue;
    }
    const number = view.getUint32(at + AT.number, true);
    const used = view.getUint32(at + AT.used, true);
    if (number % count !== slot) throw damaged(name, at + AT.number, `block ${number} is not here`);
    if (used < BLOCK_HEAD_BYTES || used > BLOCK_BYTES) {
      throw damaged(name, at + AT.used, `${used} bytes in a block`);
    }
    newest = Math.max(newest, number);
    blocks.push({
      number,
      at: at + BLOCK_HEAD_BYTES,
      end: at + used,
      us: view.getFloat64(at + AT.us, true),
      wallMs: view.getFloat64(at + AT.wall, true),
    });
  }
  blocks.sort((x, y) => x.number - y.number);
  for (const [i, b] of blocks.entries()) {
    const at = b.at - BLOCK_HEAD_BYTES;
    const before = blocks[i - 1];
    if (before && b.number !== before.number + 1) {
      throw damaged(name, at, `block ${b.number} follows block ${before.number}`);
    }
    const used = view.getUint32(at + AT.used, true);
    const sealed = view.getUint32(at + AT.sealed, true);
    // Only the newest block is written to: all others are sealed whole.
    if (sealed > used || (sealed !== used && b.number !== newest)) {
      throw damaged(name, at + AT.sealed, `block ${b.number} is not sealed`);
    }
    if (sealed === 0) continue;
    const sum = checksum(bytes.subarray(at + SUM_FROM, at + sealed)) >>> 0;
    if (sum !== view.getUint32(at + AT.sum, true)) {
      throw damaged(name, at, `the checksum of block ${b.number} (${sealed} bytes) is wrong`);
    }
  }
  const oldest = blocks[0]?.number ?? 0;
  if (blocks.length === 0 || (oldest > 0 && newest - oldest + 1 < count - 1)) {
    throw damaged(name, first, 'blocks are missing at the beginning of a ring');
  }
  return blocks;
}

const decoder = new TextDecoder();

/** Reads parts of records; bounds are those of a block. */
class Parts {
  readonly #name: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  at = 0;
  end = 0;

  constructor(name: string, bytes: Uint8Array) {
    this.#name = name;
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  #need(count: number): number {
    const at = this.at;
    if (at + count > this.end)
      throw damaged(this.#name, at, 'a record crosses the end of its block');
    this.at += count;
    return at;
  }

  byte(): number {
    return this.#bytes[this.#need(1)] as number;
  }

  number(): number {
    let factor = 1;
    let value = 0;
    for (let i = 0; i < 8; i++) {
      const b = this.byte();
      value += (b & 127) * factor;
      if (b < 128) return value;
      factor *= 128;
    }
    throw damaged(this.#name, this.at, 'a number without end');
  }

  signed(): number {
    const n = this.number();
    return n % 2 === 1 ? -(n + 1) / 2 : n / 2;
  }

  u32(): number {
    return this.#view.getUint32(this.#need(4), true);
  }

  f64(): number {
    return this.#view.getFloat64(this.#need(8), true);
  }

  bytes(): Uint8Array {
    const count = this.number();
    const at = this.#need(count);
    return this.#bytes.subarray(at, at + count);
  }
}

export class RecordCursor {
  readonly #name: string;
  readonly #blocks: readonly Block[];
  readonly #parts: Parts;
  #next = 0; // index of the next block
  /** Monotonic microseconds and wall time after the record read last. */
  us = 0;
  #wallMs = 0;
  #wallUs = 0;
  readonly rec: Rec = {
    kind: 0,
    place: 0,
    a: 0,
    b: 0,
    c: 0,
    d: 0,
    e: 0,
    text: '',
    text2: '',
    bytes: new Uint8Array(0),
  };

  constructor(name: string, bytes: Uint8Array, blocks: readonly Block[]) {
    this.#name = name;
    this.#blocks = blocks;
    this.#parts = new Parts(name, bytes);
    this.us = blocks[0]?.us ?? 0;
  }

  get wallMs(): number {
    return this.#wallMs + (this.us - this.#wallUs) / 1000;
  }

  /** The next record into `rec`; kind 0 at the end. */
  next(): Rec {
    const p = this.#parts;
    const { rec } = this;
    while (p.at === p.end) {
      const block = this.#blocks[this.#next];
      if (!block) {
        rec.kind = 0;
        rec.place = p.end;
        return rec;
      }
      this.#next++;
      p.at = block.at;
      p.end = block.end;
      this.#wallMs = block.wallMs;
      this.#wallUs = block.us;
      this.us = block.us;
    }
    rec.place = p.at;
    rec.kind = p.byte();
    const layout = LAYOUT.get(rec.kind);
    if (layout === undefined) throw damaged(this.#name, rec.place, `a record of kind ${rec.kind}`);
    this.#fields(layout);
    if (rec.kind === R.TIME || rec.kind === R.SUBMIT) this.us += rec.a;
    if (rec.kind === R.WALL) {
      this.#wallMs = rec.a;
      this.#wallUs = this.us;
    }
    return rec;
  }

  #fields(layout: string): void {
    const p = this.#parts;
    const { rec } = this;
    let numbers = 0;
    let texts = 0;
    const put = (value: number): void => {
      switch (numbers++) {
        case 0:
          rec.a = value;
          break;
        case 1:
          rec.b = value;
          break;
        case 2:
          rec.c = value;
          break;
        case 3:
          rec.d = value;
          break;
        default:
          rec.e = value;
      }
    };
    for (const part of layout) {
      if (part === 'n') put(p.number());
      else if (part === 's') put(p.signed());
      else if (part === 'u') put(p.u32());
      else if (part === 'b') put(p.byte());
      else if (part === 'f') put(p.f64());
      else if (part === 'x') rec.bytes = p.bytes();
      else if (texts++ === 0) rec.text = decoder.decode(p.bytes());
      else rec.text2 = decoder.decode(p.bytes());
    }
  }
}

function readCold(name: string, bytes: Uint8Array, blocks: readonly Block[]): ColdRecord[] {
  const p = new Parts(name, bytes);
  const out: ColdRecord[] = [];
  for (const block of blocks) {
    p.at = block.at;
    p.end = block.end;
    while (p.at < p.end) {
      const place = p.at;
      if (p.byte() !== COLD) throw damaged(name, place, 'not a record of the cold ring');
      const delta = p.number();
      const what = parseFlightJson(decoder.decode(p.bytes()));
      // What did not fit its record was cut: of no use, and no damage.
      if (what === null || typeof what !== 'object') continue;
      out.push({
        wallMs: block.wallMs + delta / 1000,
        us: block.us + delta,
        place,
        what: what as Readonly<Record<string, unknown>>,
      });
    }
  }
  return out;
}
