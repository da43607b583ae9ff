/**
 * The bytes of a simulated disk: zeroes but for what was written, in chunks that exist once they are written.
 *
 * An image shares its chunks with the disk; whoever writes next makes a chunk its own first. So taking an image of a disk,
 * going back to one and comparing two disks cost what differs, not what the disk holds.
 */
import { InvariantError } from '../base/assert.js';

export const SECTOR_BYTES = 512;
const CHUNK_BYTES = 65536;
const ZEROES = new Uint8Array(CHUNK_BYTES);

/** What a disk held at some time. Opaque; does not change. */
export interface DiskImage {
  readonly sizeBytes: number;
  readonly chunks: readonly (Uint8Array | undefined)[];
}

/** A chunk was the same as the other's while both had these versions. */
interface Equal {
  readonly other: DiskContent;
  readonly versions: readonly [number, number];
}

export class DiskContent {
  #chunks: (Uint8Array | undefined)[] = [];
  #own: (true | undefined)[] = []; // this chunk is in no image
  // A chunk with the same version has the same content as before.
  #changes = 0;
  #versions: (number | undefined)[] = [];
  #version = 0; // of all others
  #equal: (Equal | undefined)[] = []; // found by the last comparison

  read(offsetBytes: number, out: Uint8Array): void {
    for (let done = 0; done < out.length; ) {
      const within = (offsetBytes + done) % CHUNK_BYTES;
      const n = Math.min(out.length - done, CHUNK_BYTES - within);
      const chunk = this.#chunks[(offsetBytes + done - within) / CHUNK_BYTES];
      if (!chunk) out.fill(0, done, done + n);
      else if (n === CHUNK_BYTES) out.set(chunk, done);
      else out.set(chunk.subarray(within, within + n), done);
      done += n;
    }
  }

  write(offsetBytes: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const within = (offsetBytes + done) % CHUNK_BYTES;
      const n = Math.min(bytes.length - done, CHUNK_BYTES - within);
      const chunk = this.#owned((offsetBytes + done - within) / CHUNK_BYTES);
      chunk.set(n === bytes.length ? bytes : bytes.subarray(done, done + n), within);
      done += n;
    }
  }

  fill(offsetBytes: number, lengthBytes: number, byte: number): void {
    for (let done = 0; done < lengthBytes; ) {
      const within = (offsetBytes + done) % CHUNK_BYTES;
      const n = Math.min(lengthBytes - done, CHUNK_BYTES - within);
      const index = (offsetBytes + done - within) / CHUNK_BYTES;
      if (byte === 0 && n === CHUNK_BYTES) {
        this.#chunks[index] = undefined;
        this.#versions[index] = ++this.#changes;
      } else if (byte !== 0 || this.#chunks[index])
        this.#owned(index).fill(byte, within, within + n);
      done += n;
    }
  }

  /** Flips bits of one byte. */
  flip(offsetBytes: number, mask: number): void {
    const within = offsetBytes % CHUNK_BYTES;
    const chunk = this.#owned((offsetBytes - within) / CHUNK_BYTES);
    chunk[within] = (chunk[within] as number) ^ mask;
  }

  image(sizeBytes: number): DiskImage {
    this.#own = [];
    return { sizeBytes, chunks: [...this.#chunks] };
  }

  restore(image: DiskImage): void {
    this.#replace([...image.chunks]);
  }

  clear(): void {
    this.#replace([]);
  }

  /** The first sector of [fromSector, fromSector + sectors) that differs from the other's, or -1. */
  firstDifference(other: DiskContent, fromSector: number, sectors: number): number {
    const endBytes = (fromSector + sectors) * SECTOR_BYTES;
    for (let at = fromSector * SECTOR_BYTES; at < endBytes; ) {
      const within = at % CHUNK_BYTES;
      const n = Math.min(endBytes - at, CHUNK_BYTES - within);
      const index = (at - within) / CHUNK_BYTES;
      const [mine, theirs] = [this.#chunks[index], other.#chunks[index]];
      if (mine !== theirs && !this.#knownEqual(other, index)) {
        const a = (mine ?? ZEROES).subarray(within, within + n);
        const b = (theirs ?? ZEROES).subarray(within, within + n);
        if (!sameBytes(a, b)) return Math.floor((at + firstByte(a, b)) / SECTOR_BYTES);
        if (n === CHUNK_BYTES) {
          const versions = [this.#versionOf(index), other.#versionOf(index)] as const;
          this.#equal[index] = { other, versions };
        }
      }
      at += n;
    }
    return -1;
  }

  #knownEqual(other: DiskContent, index: number): boolean {
    const known = this.#equal[index];
    if (!known || known.other !== other) return false;
    const [mine, theirs] = known.versions;
    return mine === this.#versionOf(index) && theirs === other.#versionOf(index);
  }

  #versionOf(index: number): number {
    return this.#versions[index] ?? this.#version;
  }

  #replace(chunks: (Uint8Array | undefined)[]): void {
    this.#own = [];
    this.#chunks = chunks;
    this.#versions = [];
    this.#version = ++this.#changes;
  }

  /** A chunk that is about to change. */
  #owned(index: number): Uint8Array {
    this.#versions[index] = ++this.#changes;
    const chunk = this.#chunks[index];
    if (chunk && this.#own[index]) return chunk;
    const own = chunk ? chunk.slice() : new Uint8Array(CHUNK_BYTES);
    this.#chunks[index] = own;
    this.#own[index] = true;
    return own;
  }
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function firstByte(a: Uint8Array, b: Uint8Array): number {
  // Whole sectors at offsets of whole sectors: a plain loop over words is the fastest way to the place.
  const [x, y] = [words(a), words(b)];
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return i * 4;
  throw new InvariantError('ranges that differ, differ somewhere');
}

function words(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
}
