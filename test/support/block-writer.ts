/**
 * A program that writes numbered 4 KiB blocks straight to a block device (O_DIRECT), several at a time, and prints each that the device
 * has acknowledged, after it has. Its standard output is a file outside of the node: what is printed outlives a power cut.
 *
 *     node block-writer.js write DEVICE BYTES FIRST      until it is killed; "w BLOCK COUNT NUMBER" per acknowledged write, "e WORDS" at an error
 *     node block-writer.js read DEVICE BYTES             "BLOCK NUMBER" per block that was ever written; "BLOCK torn" for one that is not whole
 *
 * Every write has a number of its own, which its blocks carry; numbers rise from FIRST. Two writes to one block are never under way
 * together, so the number that a block must carry at least is known.
 */
import { closeSync, constants, openSync, readSync, write, writeSync } from 'node:fs';
import { Prng } from '../../src/base/prng.js';

export const BLOCK_BYTES = 4096;
const WORKERS = 12; // writes under way; UV_THREADPOOL_SIZE must not be smaller
const MAX_BLOCKS = 64; // 256 KiB, the largest write
const CHUNK_BYTES = 1 << 20;
const MAGIC = 0x74776962;

// Of Node, but not of its types.
declare const WebAssembly: {
  readonly Memory: new (pages: {
    readonly initial: number;
    readonly maximum: number;
  }) => { readonly buffer: ArrayBuffer };
};

/** Page-aligned, as O_DIRECT wants it: the memory of WebAssembly is, Node's buffers are not. */
function aligned(bytes: number): Uint8Array {
  const pages = Math.ceil(bytes / 65_536);
  return new Uint8Array(
    new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer,
    0,
    bytes,
  );
}

/** magic, block, number, then words that follow from both: a block that is half old and half new is seen. */
function fill(view: DataView, at: number, block: number, number: number): void {
  view.setUint32(at, MAGIC, true);
  view.setUint32(at + 4, block, true);
  view.setUint32(at + 8, number, true);
  let word = Math.imul(number, 2_654_435_761) ^ block;
  for (let i = 12; i < BLOCK_BYTES; i += 4) {
    word = (Math.imul(word, 1_664_525) + 1_013_904_223) | 0;
    view.setInt32(at + i, word, true);
  }
}

/** The number of a block; 0 never written (zeroes), -1 torn or somebody else's. */
function check(view: DataView, at: number, block: number): number {
  if (view.getUint32(at, true) === 0) {
    for (let i = 4; i < BLOCK_BYTES; i += 4) if (view.getUint32(at + i, true) !== 0) return -1;
    return 0;
  }
  if (view.getUint32(at, true) !== MAGIC || view.getUint32(at + 4, true) !== block) return -1;
  const number = view.getUint32(at + 8, true);
  let word = Math.imul(number, 2_654_435_761) ^ block;
  for (let i = 12; i < BLOCK_BYTES; i += 4) {
    word = (Math.imul(word, 1_664_525) + 1_013_904_223) | 0;
    if (view.getInt32(at + i, true) !== word) return -1;
  }
  return number;
}

function writeAll(device: string, bytes: number, first: number): void {
  const fd = openSync(device, constants.O_RDWR | constants.O_DIRECT);
  const blocks = Math.floor(bytes / BLOCK_BYTES);
  const busy = new Uint8Array(blocks);
  const random = new Prng(first);
  let number = first;
  const next = (memory: Uint8Array, view: DataView): void => {
    // Mostly 4 KiB, some up to 256 KiB; half of all in one hot area, so that blocks are written over again.
    const count = random.below(4) > 0 ? 1 : 1 + random.below(MAX_BLOCKS);
    const area = random.below(2) === 0 ? Math.min(blocks, 512) : blocks;
    const block = random.below(Math.max(1, area - count));
    for (let i = block; i < block + count; i++) {
      if (busy[i] === 1) {
        setImmediate(next, memory, view);
        return;
      }
    }
    busy.fill(1, block, block + count);
    const mine = number++;
    for (let i = 0; i < count; i++) fill(view, i * BLOCK_BYTES, block + i, mine);
    write(fd, memory, 0, count * BLOCK_BYTES, block * BLOCK_BYTES, (error, written) => {
      if (error || written !== count * BLOCK_BYTES) {
        writeSync(1, `e ${error ? error.message : `short write ${written}`}\n`);
        process.exit(1);
      }
      writeSync(1, `w ${block} ${count} ${mine}\n`);
      busy.fill(0, block, block + count);
      next(memory, view);
    });
  };
  for (let i = 0; i < WORKERS; i++) {
    const memory = aligned(MAX_BLOCKS * BLOCK_BYTES);
    next(memory, new DataView(memory.buffer));
  }
}

function readAll(device: string, bytes: number): void {
  const fd = openSync(device, constants.O_RDONLY | constants.O_DIRECT);
  const memory = aligned(CHUNK_BYTES);
  const view = new DataView(memory.buffer);
  const lines: string[] = [];
  for (let at = 0; at < bytes; at += CHUNK_BYTES) {
    const want = Math.min(CHUNK_BYTES, bytes - at);
    const got = readSync(fd, memory, 0, want, at);
    if (got !== want) throw new Error(`${device}: ${got} bytes of ${want} at ${at}`);
    for (let i = 0; i + BLOCK_BYTES <= want; i += BLOCK_BYTES) {
      const block = (at + i) / BLOCK_BYTES;
      const number = check(view, i, block);
      if (number !== 0) lines.push(`${block} ${number < 0 ? 'torn' : number}`);
    }
  }
  closeSync(fd);
  process.stdout.write(`${lines.join('\n')}\n`);
}

const [, , verb, device = '', bytes = '', first = '1'] = process.argv;
if (verb === 'write') writeAll(device, Number(bytes), Number(first));
else if (verb === 'read') readAll(device, Number(bytes));
