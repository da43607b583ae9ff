/**
 * A small file in /run: what a daemon leaves for its successor. It is replaced in place, in one of two slots in turn, and their space
 * is there from the first write on. So neither SIGKILL in the middle of a write nor a /run that somebody has filled takes what
 * was there, and a full /run does not end the daemon whose claim or generation has to be written down.
 *
 *     file: two slots of one size, a multiple of 4096 bytes
 *     slot: `twinbeat SEQUENCE LENGTH CRC32\n`, the content, blanks
 */
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';

const PAGE_BYTES = 4096;
const HEAD = /^twinbeat (\d{1,15}) (\d{1,9}) ([0-9a-f]{8})\n/;
const MOST_HEAD_BYTES = 64;

interface Slot {
  readonly sequence: number;
  readonly content: Uint8Array;
}

/** The slot in `bytes`, or null when it was never written, or not to its end. */
function parseSlot(bytes: Uint8Array): Slot | null {
  const head = HEAD.exec(Buffer.from(bytes.subarray(0, MOST_HEAD_BYTES)).toString('latin1'));
  if (!head) return null;
  const [line, sequence, length, sum] = head;
  const content = bytes.slice(line.length, line.length + Number(length));
  if (content.length !== Number(length) || crc32(content) !== Number.parseInt(sum ?? '', 16)) {
    return null;
  }
  return { sequence: Number(sequence), content };
}

function newest(bytes: Uint8Array): Slot | null {
  const half = bytes.length / 2;
  const slots = [parseSlot(bytes.subarray(0, half)), parseSlot(bytes.subarray(half))];
  return slots.reduce((a, b) => (a && (!b || a.sequence > b.sequence) ? a : b), null);
}

function slotBytes(content: Uint8Array, sequence: number, size: number): Buffer {
  const sum = crc32(content).toString(16).padStart(8, '0');
  const slot = Buffer.alloc(size, ' ');
  const at = slot.write(`twinbeat ${sequence} ${content.length} ${sum}\n`, 'latin1');
  slot.set(content, at);
  return slot;
}

function writeAll(fd: number, bytes: Buffer, position: number): void {
  let done = 0;
  while (done < bytes.length) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
}

/** The last content that was written whole. A file of another make: as it is. Null: there is none. */
export function readRunFile(path: string): Uint8Array | null {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw e;
  }
  return newest(bytes)?.content ?? new Uint8Array(bytes);
}

/** One writer at a time. */
export class RunFile {
  readonly #path: string;
  readonly #roomBytes: number;
  #fd = -1;
  #slotBytes = 0;
  #sequence = 0;

  /** `roomBytes`: so much content fits without growing. */
  constructor(path: string, roomBytes = PAGE_BYTES - MOST_HEAD_BYTES) {
    this.#path = path;
    this.#roomBytes = roomBytes;
  }

  /**
   * Replaces the content. Throws (ENOSPC) only where there was no file yet, or it must grow; then the old content stays.
   */
  write(content: Uint8Array): void {
    if (this.#fd < 0) this.#adopt();
    const gone = this.#fd >= 0 && fstatSync(this.#fd).nlink === 0;
    if (this.#fd < 0 || gone || content.length + MOST_HEAD_BYTES > this.#slotBytes) {
      this.#make(content);
      return;
    }
    this.#sequence++;
    const slot = slotBytes(content, this.#sequence, this.#slotBytes);
    writeAll(this.#fd, slot, (this.#sequence % 2) * this.#slotBytes);
  }

  /** Harmless when there is none. */
  remove(): void {
    this.#close();
    rmSync(this.#path, { force: true });
  }

  #close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  /** A predecessor's file: its space is needed when there is no other. */
  #adopt(): void {
    let bytes: Buffer;
    try {
      this.#fd = openSync(this.#path, 'r+');
      bytes = readFileSync(this.#fd);
    } catch {
      this.#close(); // none, or none of ours: a new one takes its place
      return;
    }
    const slot = newest(bytes);
    if (slot && bytes.length % (2 * PAGE_BYTES) === 0) {
      this.#slotBytes = bytes.length / 2;
      this.#sequence = slot.sequence;
    } else this.#close();
  }

  #make(content: Uint8Array): void {
    const need = Math.max(content.length, this.#roomBytes) + MOST_HEAD_BYTES;
    const size = Math.ceil(need / PAGE_BYTES) * PAGE_BYTES;
    mkdirSync(dirname(this.#path), { recursive: true });
    const aside = `${this.#path}.new`;
    const sequence = this.#sequence + 1;
    const fd = openSync(aside, 'w', 0o600); // drbdd's has the shared secret
    try {
      const slots = Buffer.alloc(2 * size, ' ');
      slots.set(slotBytes(content, sequence, size), (sequence % 2) * size);
      writeAll(fd, slots, 0);
      renameSync(aside, this.#path);
    } catch (e) {
      closeSync(fd);
      rmSync(aside, { force: true });
      throw e;
    }
    this.#close();
    this.#fd = fd;
    this.#slotBytes = size;
    this.#sequence = sequence;
  }
}
