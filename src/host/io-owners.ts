/** Who is told of a completion: the table behind `Io.register`, shared by all engines. */
import { assert } from '../base/assert.js';
import { type IoOwner, NO_TAG, TAG_INDEX_BITS } from './io.js';

const MAX_OWNERS = 255; // the 256th would own NO_TAG
const INDEX_MASK = (1 << TAG_INDEX_BITS) - 1;

export class IoOwners {
  readonly #owners: IoOwner[] = [];

  /** The first tag of `owner`. */
  register(owner: IoOwner): number {
    assert(this.#owners.length < MAX_OWNERS, 'at most 255 owners');
    this.#owners.push(owner);
    return (this.#owners.length - 1) * (1 << TAG_INDEX_BITS);
  }

  /** `tag` may be given as signed or unsigned 32 bits. */
  done(tag: number, result: number): void {
    const unsigned = tag >>> 0;
    if (unsigned === NO_TAG) return;
    const owner = this.#owners[unsigned >>> TAG_INDEX_BITS];
    assert(owner !== undefined, 'a tag of a registered owner');
    owner.ioDone(unsigned & INDEX_MASK, result);
  }
}
