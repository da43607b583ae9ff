/**
 * Random streams of a run, forked from its seed by name: taking one fault out of a schedule leaves the dice of
 * everything else as they were.
 */
import type { RandomSource } from '../base/ports.js';
import { Prng } from '../base/prng.js';

/** The stream `name` of a seed (FNV-1a over both). */
export function dice(seed: number, name: string): Prng {
  let h = (0x811c9dc5 ^ seed) >>> 0;
  for (let i = 0; i < name.length; i++) {
    h = Math.imul(h ^ name.charCodeAt(i), 0x01000193) >>> 0;
  }
  return new Prng(Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) >>> 0);
}

/** A production machine's source of randomness. */
export function randomSource(random: Prng): RandomSource {
  return {
    u32: () => random.u32(),
    bytes: (count) => {
      const bytes = new Uint8Array(count);
      for (let i = 0; i < count; i++) bytes[i] = random.below(256);
      return bytes;
    },
  };
}

/** A number in [min, max), on a logarithmic scale: small values as likely as large ones. */
export function logBetween(random: Prng, min: number, max: number): number {
  // (max / min) to the power of a random fraction, bit by bit from roots: a square root is exact on every machine, `**` is not.
  let power = 1;
  let root = max / min;
  for (let bits = random.u32(); bits !== 0; bits = (bits << 1) >>> 0) {
    root = Math.sqrt(root);
    if (bits >= 0x80000000) power *= root;
  }
  return min * power;
}

export function between(random: Prng, range: readonly [number, number]): number {
  return range[0] + (random.u32() / 0x100000000) * (range[1] - range[0]);
}
