/**
 * A small deterministic random generator for simulations and property tests (xoshiro128**, public domain by
 * Blackman and Vigna). Not for secrets or UUIDs: those come from the host's random port.
 */
export class Prng {
  readonly #s = new Uint32Array(4);

  constructor(seed: number) {
    let x = seed >>> 0; // splitmix32 fills the state, so that small seeds differ at once
    for (let i = 0; i < 4; i++) {
      x = (x + 0x9e3779b9) >>> 0;
      let z = x;
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      this.#s[i] = z ^ (z >>> 16);
    }
  }

  /** The next 32 random bits, as an unsigned number. */
  u32(): number {
    const s = this.#s;
    const [a, b, c, d] = [s[0], s[1], s[2], s[3]] as [number, number, number, number];
    const r = Math.imul(b, 5);
    const result = Math.imul((r << 7) | (r >>> 25), 9) >>> 0;
    const t = b << 9;
    const c2 = c ^ a;
    const d2 = d ^ b;
    s[1] = b ^ c2;
    s[0] = a ^ d2;
    s[2] = c2 ^ t;
    s[3] = (d2 << 11) | (d2 >>> 21);
    return result;
  }

  /** A whole number in [0, below). */
  below(below: number): number {
    return Math.floor((this.u32() / 0x100000000) * below);
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.u32() / 0x100000000 < probability;
  }

  /** One element of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}
