/**
 * The buffers that a front end fed for FUSE requests. A request's size is known only when it was read, so it is read
 * into a large buffer and moved to the smallest fed one that fits; the large one is kept for the next request.
 */
import { assert } from '../base/assert.js';
import { CLASS_PAYLOAD_BYTES } from '../base/buffer-use.js';
import { MAX_PAYLOAD_BYTES } from './buffer-pool.js';

/** In-header and argument of a WRITE: they lie right before the payload. */
export const FUSE_HEADER_BYTES = 80;

export class FuseFeed {
  readonly #fed: number[][] = CLASS_PAYLOAD_BYTES.map(() => []);

  add(at: number, capacityBytes: number): void {
    const list = this.#fed[CLASS_PAYLOAD_BYTES.findIndex((b) => b >= capacityBytes)];
    assert(list !== undefined, 'a buffer of the pool is fed');
    list.push(at);
  }

  /** A large buffer to read into, or -1: nothing may be read then, since any request can be a large one. */
  takeLarge(): number {
    return this.#fed[CLASS_PAYLOAD_BYTES.length - 1]?.pop() ?? -1;
  }

  giveBack(at: number): void {
    this.add(at, MAX_PAYLOAD_BYTES);
  }

  /** The smallest fed buffer, smaller than a large one, for a message of `lengthBytes`; -1 when there is none. */
  takeFitting(lengthBytes: number): number {
    const payload = Math.max(0, lengthBytes - FUSE_HEADER_BYTES);
    for (let c = 0; c < CLASS_PAYLOAD_BYTES.length - 1; c++) {
      if ((CLASS_PAYLOAD_BYTES[c] as number) < payload) continue;
      const at = this.#fed[c]?.pop();
      if (at !== undefined) return at;
    }
    return -1;
  }

  /** All buffers that are still fed, for `close`. */
  drain(): number[] {
    const all = this.#fed.flat();
    for (const list of this.#fed) list.length = 0;
    return all;
  }
}
