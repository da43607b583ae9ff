/**
 * Which part of the pool is whose: the buffers behind `Io.alloc` and `Io.free`, shared by all engines.
 *
 *     class     0 B        4 KiB       64 KiB      1 MiB
 *     slot   | head |   | head | payload |   ...               head = HEAD_BYTES, so every payload is
 *                   ^at        ^at                             page aligned when the pool is
 *
 * Slots lie class after class from offset 0; `at` is where the payload begins, so slot = at - HEAD_BYTES is unique
 * even for the class without payload. Free slots are a stack per class: what was used last is warm. There is no
 * falling through to a larger class: a burst of small requests must not eat what 1 MiB writes need.
 *
 * A few of each class are kept for each use (base/buffer-use.ts): so many answers, and so much of what the peer sends, have a buffer at any
 * time, however busy the others are. Not only against devices: a peer that writes without end would keep its own reads waiting. Of
 * spare ones, most of which are never given back, so many are always free. What is freed fills these up again first.
 *
 * A buffer that a disk still has, although nobody waits for that disk any more, is held: it is free only when it has been
 * freed and the disk has given it back.
 */
import { assert } from '../base/assert.js';
import { type BufferUse, bufferClass, CLASS_PAYLOAD_BYTES } from '../base/buffer-use.js';
import { HEAD_BYTES } from './io.js';

export const MAX_PAYLOAD_BYTES = 1 << 20;
const CLASSES = CLASS_PAYLOAD_BYTES.length;
/**
 * One buffer in so many is kept for each use. Of spare ones a volume takes two small and a medium one, a connection four medium ones; of
 * those for answers and arrivals one is enough to go on, and there is one in the smallest pool that drbdd makes.
 */
const KEPT_SHARE = 16;

/** How many buffers of each class. */
export interface PoolCounts {
  readonly head: number; // no payload: acknowledgements, small headers
  readonly small: number; // 4 KiB
  readonly medium: number; // 64 KiB
  readonly large: number; // 1 MiB
}

/** 4 + 16 + 25.5 + 48.2 MiB. */
export const DEFAULT_POOL: PoolCounts = { head: 1024, small: 2048, medium: 384, large: 48 };
/** About 13 MiB: tests, a node with one quiet resource. */
export const SMALL_POOL: PoolCounts = { head: 256, small: 256, medium: 32, large: 8 };

/** As they stand in a slot; 0 is free. */
const CODE: Readonly<Record<BufferUse, number>> = { user: 1, answer: 2, arrival: 3, spare: 4 };
const USES = 5;

interface Hold {
  count: number;
  freed: boolean;
}

export class BufferPool {
  /** Size of the memory that the counts need, a multiple of 4096. */
  readonly sizeBytes: number;
  readonly #first = new Int32Array(CLASSES + 1); // offset of a class's first slot; the last is the end
  readonly #stride = new Int32Array(CLASSES);
  readonly #slot0 = new Int32Array(CLASSES); // index of a class's first slot among all slots
  readonly #free: Int32Array[] = []; // per class a stack of `at`
  readonly #freeCount = new Int32Array(CLASSES);
  readonly #kept = new Int32Array(CLASSES); // so many for each use
  readonly #out = new Int32Array(CLASSES * USES); // handed out, by class and use
  readonly #used: Uint8Array; // per slot its use while handed out, else 0
  readonly #held = new Map<number, Hold>(); // by `at`

  constructor(counts: PoolCounts) {
    const wanted = [counts.head, counts.small, counts.medium, counts.large];
    let offset = 0;
    let slots = 0;
    for (let c = 0; c < CLASSES; c++) {
      const count = wanted[c] as number;
      const stride = HEAD_BYTES + (CLASS_PAYLOAD_BYTES[c] as number);
      assert(Number.isInteger(count) && count >= 0, 'a count of buffers');
      assert(offset + count * stride < 0x7fff0000, 'the pool is addressed by 31 bits');
      this.#first[c] = offset;
      this.#stride[c] = stride;
      this.#slot0[c] = slots;
      const stack = new Int32Array(count);
      // Reversed, so that the first allocation gets the lowest address.
      for (let i = 0; i < count; i++) stack[count - 1 - i] = offset + i * stride + HEAD_BYTES;
      this.#free.push(stack);
      this.#freeCount[c] = count;
      this.#kept[c] = Math.floor(count / KEPT_SHARE);
      offset += count * stride;
      slots += count;
    }
    this.#first[CLASSES] = offset;
    this.sizeBytes = offset;
    this.#used = new Uint8Array(slots);
  }

  /** The payload offset of a buffer for at least `payloadBytes`, or -1 when that class is exhausted for this use. */
  alloc(payloadBytes: number, use: BufferUse = 'user'): number {
    const c = bufferClass(payloadBytes);
    assert(payloadBytes >= 0 && payloadBytes <= MAX_PAYLOAD_BYTES, 'a payload of 0 to 1 MiB');
    const count = this.#freeCount[c] as number;
    if (count <= this.#notFor(use, c)) return -1;
    this.#freeCount[c] = count - 1;
    const at = (this.#free[c] as Int32Array)[count - 1] as number;
    const code = CODE[use];
    this.#used[this.#slotIndex(at, c)] = code;
    this.#count(c, code, 1);
    return at;
  }

  #count(c: number, code: number, by: number): void {
    const i = c * USES + code;
    this.#out[i] = (this.#out[i] as number) + by;
  }

  /** So many free ones of a class are not for this use. Of 1 MiB none is spare: nothing takes one, and a device could do with it. */
  #notFor(use: BufferUse, c: number): number {
    if (use === 'spare') return 0;
    let not = c < CLASSES - 1 ? (this.#kept[c] as number) : 0;
    if (use !== 'answer') not += this.#lacks(CODE.answer, c);
    if (use !== 'arrival') not += this.#lacks(CODE.arrival, c);
    return not;
  }

  /** So many less than are kept for it are handed out to this use. */
  #lacks(code: number, c: number): number {
    return Math.max(0, (this.#kept[c] as number) - (this.#out[c * USES + code] as number));
  }

  /** False: it is held. */
  free(at: number): boolean {
    const c = this.#classOf(at);
    const index = this.#slotIndex(at, c);
    const code = this.#used[index] as number;
    assert(code > 0, 'a buffer is freed once');
    const hold = this.#held.size > 0 ? this.#held.get(at) : undefined;
    if (hold) {
      assert(!hold.freed, 'a buffer is freed once');
      hold.freed = true;
      return false;
    }
    this.#used[index] = 0;
    this.#count(c, code, -1);
    const count = this.#freeCount[c] as number;
    (this.#free[c] as Int32Array)[count] = at;
    this.#freeCount[c] = count + 1;
    return true;
  }

  /** A disk keeps the buffer that `address` lies in, until as many `release`. */
  hold(address: number): void {
    const at = this.#bufferOf(address);
    const hold = this.#held.get(at);
    if (hold) hold.count++;
    else this.#held.set(at, { count: 1, freed: false });
  }

  /** The buffer that became free by it, or -1. */
  release(address: number): number {
    const at = this.#bufferOf(address);
    const hold = this.#held.get(at);
    assert(hold !== undefined, 'a buffer that is held');
    hold.count--;
    if (hold.count > 0) return -1;
    this.#held.delete(at);
    if (!hold.freed) return -1;
    this.free(at);
    return at;
  }

  /** Usable payload bytes of a buffer. */
  capacity(at: number): number {
    return CLASS_PAYLOAD_BYTES[this.#classOf(at)] as number;
  }

  /** Free buffers of the class that `alloc(payloadBytes)` takes from. */
  available(payloadBytes: number): number {
    const c = CLASS_PAYLOAD_BYTES.findIndex((bytes) => payloadBytes <= bytes);
    return this.#freeCount[c] ?? 0;
  }

  /** Buffers handed out and not freed: 0 at the end of a test without leaks. */
  get inUse(): number {
    let used = 0;
    for (const code of this.#used) if (code > 0) used++;
    return used;
  }

  /** Of these, freed and not free: a disk that was given up still has them. */
  get owed(): number {
    let owed = 0;
    for (const { freed } of this.#held.values()) if (freed) owed++;
    return owed;
  }

  #classOf(at: number): number {
    const slot = at - HEAD_BYTES;
    assert(slot >= 0 && slot < this.sizeBytes, 'a buffer of the pool');
    let c = 0;
    while (slot >= (this.#first[c + 1] as number)) c++;
    return c;
  }

  /** `at` of the buffer whose payload an address lies in. */
  #bufferOf(address: number): number {
    let c = 0;
    while (address >= (this.#first[c + 1] as number)) c++;
    const first = this.#first[c] as number;
    const stride = this.#stride[c] as number;
    return first + Math.floor((address - first) / stride) * stride + HEAD_BYTES;
  }

  #slotIndex(at: number, c: number): number {
    const within = at - HEAD_BYTES - (this.#first[c] as number);
    const stride = this.#stride[c] as number;
    assert(within % stride === 0, 'a buffer is named by where its payload begins');
    return (this.#slot0[c] as number) + within / stride;
  }
}
