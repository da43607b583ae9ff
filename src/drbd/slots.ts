/**
 * Reusable objects with small indices: what stands in a tag. Objects are made once and taken again last in, first
 * out, so that the I/O path allocates nothing and touches warm memory.
 */
import { assert } from '../base/assert.js';

export class Slots<T> {
  readonly #make: (index: number) => T;
  readonly #all: T[] = [];
  readonly #free: number[] = [];
  readonly #limit: number;
  readonly #out: boolean[] = [];
  #used = 0;

  /** `limit` bounds how many may be out at once; `make` is called once per index. */
  constructor(limit: number, make: (index: number) => T) {
    this.#limit = limit;
    this.#make = make;
  }

  get used(): number {
    return this.#used;
  }

  /** A free object, or null at the limit: the caller waits for a release. */
  take(): T | null {
    const index = this.#free.pop();
    if (index !== undefined) {
      this.#used++;
      this.#out[index] = true;
      return this.#all[index] as T;
    }
    if (this.#all.length >= this.#limit) return null;
    const made = this.#make(this.#all.length);
    this.#all.push(made);
    this.#out.push(true);
    this.#used++;
    return made;
  }

  at(index: number): T {
    const found = this.#all[index];
    assert(found !== undefined, 'a tag names a slot that exists');
    return found;
  }

  /** As `at`, for an index that came from outside. */
  find(index: number): T | null {
    return this.#all[index] ?? null;
  }

  /** Those that are out. For rare questions. */
  each(f: (slot: T) => void): void {
    for (let i = 0; i < this.#all.length; i++) {
      const slot = this.#all[i];
      if (this.#out[i] === true && slot !== undefined) f(slot);
    }
  }

  release(index: number): void {
    assert(this.#out[index] === true, 'a slot is released once');
    this.#out[index] = false;
    this.#used--;
    this.#free.push(index);
  }
}
