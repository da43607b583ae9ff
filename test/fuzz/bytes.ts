/** Bytes that are nearly right: good ones with some of them changed, cut, repeated, or numbers at a limit put over them. */
import type { Prng } from '../../src/base/prng.js';

const LIMITS = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

export function randomBytes(rng: Prng, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = rng.below(256);
  return bytes;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}

/** A changed copy. */
export function spoiled(rng: Prng, good: Uint8Array): Uint8Array {
  let bytes = new Uint8Array(good);
  for (let n = 1 + rng.below(4); n > 0 && bytes.length > 0; n--) {
    const at = rng.below(bytes.length);
    switch (rng.below(6)) {
      case 0:
        bytes[at] = rng.below(256);
        break;
      case 1:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << rng.below(8));
        break;
      case 2:
        if (at + 4 <= bytes.length) new DataView(bytes.buffer).setUint32(at, rng.pick(LIMITS));
        break;
      case 3:
        bytes = bytes.slice(0, at);
        break;
      case 4:
        bytes = joined(bytes.subarray(0, at), bytes.subarray(at >> 1));
        break;
      case 5:
        bytes.copyWithin(at, rng.below(bytes.length), rng.below(bytes.length) + 1);
        break;
    }
  }
  return bytes;
}
