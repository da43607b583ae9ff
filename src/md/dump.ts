/**
 * The text of dump-md: written here, and read back by restore-md and verify-dump. Source: docs/METADATA.md section 8.
 *
 * Two differences to drbdmeta 9.22: the `flags` line has the real flags (9.22 prints 0 for v08), and keys that older
 * dumps lack may be missing when read.
 */
import { uuidText } from './generation-flags.js';
import type { MetaLayout } from './layout.js';
import type { Superblock } from './superblock.js';
import { SECTOR_BYTES } from './units.js';

/** The lines between the header comment and the bitmap. `note` stands where an unclean dump warns. */
export function dumpHead(
  sb: Superblock,
  layout: MetaLayout,
  bitmapBytes: number,
  note: string,
  placeNote: string,
): string {
  const bytes = (sector: number): string => String(BigInt(sector) * BigInt(SECTOR_BYTES));
  return (
    `version "v08";\n\n${note}` +
    `# md_size_sect ${sb.mdSizeSectors}\n${placeNote}` +
    `# md_offset ${bytes(layout.superblockSector)}\n` +
    `# al_offset ${bytes(layout.alSector)}\n` +
    `# bm_offset ${bytes(layout.bitmapSector)}\n\n` +
    `uuid {\n    0x${uuidText(sb.current)}; 0x${uuidText(sb.bitmap)}; ` +
    `0x${uuidText(sb.history1)}; 0x${uuidText(sb.history2)};\n` +
    `    flags 0x${hex32(sb.flags)};\n}\n` +
    `# al-extents ${sb.alExtents};\n` +
    `la-size-sect ${sb.laSizeSectors};\n` +
    `bm-byte-per-bit ${sb.bytesPerBit};\n` +
    `device-uuid 0x${uuidText(sb.deviceUuid)};\n` +
    `la-peer-max-bio-size ${sb.laPeerMaxBioBytes};\n` +
    `al-stripes ${sb.alStripes};\n` +
    `al-stripe-size-4k ${sb.alStripeSize4k};\n` +
    `# bm-bytes ${bitmapBytes};\n`
  );
}

export const UNCLEAN_NOTE =
  "This_is_an_unclean_meta_data_dump._Don't_trust_the_bitmap.\n" +
  '# You should "apply-al" first, if you plan to restore this.\n\n';

function hex32(n: number): string {
  return (n >>> 0).toString(16).toUpperCase().padStart(8, '0');
}

const LINE_BYTES = 32; // four 64-bit words
const LINES_PER_HEADING = 8;

/**
 * The bitmap as text, fed in pieces that are multiples of 32 bytes. Two or more lines that consist of one and the same
 * 32-bit word become `N times`.
 */
export class BitmapDump {
  readonly #out: (text: string) => void;
  #line = 0; // next line
  #runWord = 0;
  #runLines = 0; // lines of runWord, not yet written
  #bitsSet = 0;

  constructor(out: (text: string) => void) {
    this.#out = out;
    out('bm {');
  }

  feed(bytes: Uint8Array): void {
    const v = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at + LINE_BYTES <= bytes.length; at += LINE_BYTES) {
      const word = v.getUint32(at, true);
      let same = true;
      for (let i = 4; i < LINE_BYTES && same; i += 4) same = v.getUint32(at + i, true) === word;
      if (!same || (this.#runLines > 0 && word !== this.#runWord)) this.#endRun();
      if (same) {
        this.#runWord = word;
        this.#runLines++;
      } else {
        this.#writeLine(v, at);
      }
    }
  }

  /** The end of the bitmap and the count of bits. */
  end(): void {
    this.#endRun();
    this.#out(`\n}\n# bits-set ${this.#bitsSet};\n`);
  }

  #writeLine(v: DataView, at: number): void {
    let text = this.#lineStart();
    for (let i = 0; i < LINE_BYTES; i += 8) {
      const low = v.getUint32(at + i, true);
      const high = v.getUint32(at + i + 4, true);
      text += ` 0x${hex32(high)}${hex32(low)};`;
      this.#bitsSet += ones(low) + ones(high);
    }
    this.#out(text);
    this.#line++;
  }

  #endRun(): void {
    if (this.#runLines === 0) return;
    const word = ` 0x${hex32(this.#runWord)}${hex32(this.#runWord)};`;
    const start = this.#lineStart();
    this.#out(
      this.#runLines === 1 ? start + word.repeat(4) : `${start} ${this.#runLines * 4} times${word}`,
    );
    this.#bitsSet += this.#runLines * 8 * ones(this.#runWord);
    this.#line += this.#runLines;
    this.#runLines = 0;
  }

  #lineStart(): string {
    const line = this.#line;
    return line % LINES_PER_HEADING === 0 ? `\n   # at ${line * 1024}kB\n   ` : '\n   ';
  }
}

function ones(word: number): number {
  let n = 0;
  for (let w = word; w !== 0; w &= w - 1) n++;
  return n;
}

/** What a dump says, without the bitmap. */
export interface DumpHead {
  readonly version: string;
  readonly current: bigint;
  readonly bitmap: bigint;
  readonly history1: bigint;
  readonly history2: bigint;
  readonly flags: number;
  readonly laSizeSectors: number;
  readonly bytesPerBit: number;
  readonly deviceUuid: bigint;
  readonly laPeerMaxBioBytes: number;
  readonly alStripes: number;
  readonly alStripeSize4k: number;
}

export class DumpError extends Error {
  override name = 'DumpError';
  readonly code = 'dump-syntax';
}

/** `times` 64-bit words with these halves. */
export type WordSink = (times: number, low: number, high: number) => void;

/**
 * Reads a whole dump. The words of the bitmap go to `words`, in order; `head` is called before the first of them.
 * Throws DumpError with the line and what was expected.
 */
export function parseDump(text: string, head: (h: DumpHead) => void, words: WordSink): void {
  const r = new DumpReader(text);
  r.keyword('version');
  const version = r.string();
  r.op(';');
  if (version !== 'v08') throw new DumpError(`dump is '${version}' you requested 'v08'.`);
  r.keyword('uuid');
  r.op('{');
  const uuid = (): bigint => {
    const value = r.hex(16);
    r.op(';');
    return value;
  };
  const [current, bitmap, history1, history2] = [uuid(), uuid(), uuid(), uuid()];
  r.keyword('flags');
  const flags = Number(r.hex(8));
  r.op(';');
  r.op('}');
  r.keyword('la-size-sect');
  const number = (): number => {
    const n = r.number();
    r.op(';');
    return n;
  };
  const optional = (key: string, absent: number): number =>
    r.optionalKeyword(key) ? number() : absent;
  const laSizeSectors = number();
  const bytesPerBit = optional('bm-byte-per-bit', 4096);
  if (bytesPerBit !== 4096) r.fail('a bm-byte-per-bit of 4096');
  r.keyword('device-uuid');
  const deviceUuid = uuid();
  head({
    version,
    current,
    bitmap,
    history1,
    history2,
    flags,
    laSizeSectors,
    bytesPerBit,
    deviceUuid,
    laPeerMaxBioBytes: optional('la-peer-max-bio-size', 0),
    alStripes: optional('al-stripes', 1),
    alStripeSize4k: optional('al-stripe-size-4k', 8),
  });
  r.keyword('bm');
  r.op('{');
  while (!r.isOp('}')) {
    const times = r.repeat();
    const value = r.hex(16);
    r.op(';');
    words(times, Number(value & 0xffffffffn), Number(value >> 32n));
  }
  r.end();
}

const TOKEN = /[{};[\]]|"[^"\r\n]{1,20}"|[-_a-zA-Z0-9]+|[\s\S]/y;

class DumpReader {
  readonly #text: string;
  #at = 0; // behind the token
  #start = 0;
  #token = ''; // '' at the end

  constructor(text: string) {
    this.#text = text;
    this.#advance();
  }

  keyword(word: string): void {
    if (this.#token !== word) this.fail(`keyword '${word}'`);
    this.#advance();
  }

  optionalKeyword(word: string): boolean {
    if (this.#token !== word) return false;
    this.#advance();
    return true;
  }

  op(op: string): void {
    if (this.#token !== op) this.fail(OP_NAMES[op] ?? op);
    this.#advance();
  }

  isOp(op: string): boolean {
    if (this.#token !== op) {
      if (this.#token === '') this.fail('closing brace (})');
      return false;
    }
    this.#advance();
    return true;
  }

  string(): string {
    const token = this.#token;
    if (!/^"[^"]{1,20}"$/.test(token)) {
      this.fail('short quoted string ("..up to 20 characters, no newline..")');
    }
    this.#advance();
    return token.slice(1, -1);
  }

  hex(digits: 8 | 16): bigint {
    const token = this.#token;
    if (token.length !== digits + 2 || !/^0x[0-9A-Fa-f]+$/.test(token)) {
      this.fail(digits === 8 ? 'an 8-digit hex number' : 'a 16-digit hex number');
    }
    this.#advance();
    return BigInt(token);
  }

  number(): number {
    const n = Number(this.#token);
    if (!/^[0-9]{1,19}$/.test(this.#token) || !Number.isSafeInteger(n)) {
      this.fail('number ([0-9], up to 2^53)');
    }
    this.#advance();
    return n;
  }

  /** `N times`, or nothing, which is once. */
  repeat(): number {
    if (/^0x/.test(this.#token)) return 1;
    if (!/^[0-9]+$/.test(this.#token)) {
      this.fail('repeat count, 16-digit hex number, or closing brace (})');
    }
    const n = this.number();
    this.keyword('times');
    return n;
  }

  end(): void {
    if (this.#token !== '') this.fail('end of file');
  }

  fail(expected: string): never {
    const line = this.#text.slice(0, this.#start).split('\n').length;
    const seen = this.#token === '' ? 'but end of file encountered' : `not '${this.#token}'`;
    throw new DumpError(`Parse error in line ${line}: ${expected} expected, ${seen}`);
  }

  #advance(): void {
    this.#start = this.#behindSpace();
    TOKEN.lastIndex = this.#start;
    this.#token = TOKEN.exec(this.#text)?.[0] ?? '';
    this.#at = this.#start + this.#token.length;
  }

  /** No pattern: a repetition of blanks and comments runs out of stack when they are many. */
  #behindSpace(): number {
    const text = this.#text;
    for (let at = this.#at; ; at++) {
      const char = text[at];
      if (char === '#') {
        const end = text.indexOf('\n', at);
        if (end < 0) return text.length;
        at = end;
      } else if (char !== ' ' && char !== '\n' && char !== '\t' && char !== '\r') {
        return at;
      }
    }
  }
}

const OP_NAMES: Readonly<Record<string, string>> = {
  ';': 'semicolon (;)',
  '{': 'opening brace ({)',
  '}': 'closing brace (})',
};
