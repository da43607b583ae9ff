/** Randomness and digests from Node's crypto (crc32c is ours, since OpenSSL has none), and Node's timers. */
import { createHash, createHmac, getHashes, randomBytes, randomInt } from 'node:crypto';
import { crc32c } from '../base/crc32c.js';
import type { DigestSource, RandomSource } from '../base/ports.js';
import type { Timers } from '../host/timers.js';

export const nodeRandom: RandomSource = {
  u32: () => randomInt(0x100000000),
  bytes: (count) => new Uint8Array(randomBytes(count)),
};

const KNOWN = new Set(getHashes());
const SIZES = new Map<string, number>();

function size(algorithm: string): number {
  if (algorithm === 'crc32c') return 4;
  if (!KNOWN.has(algorithm)) return 0;
  let bytes = SIZES.get(algorithm);
  if (bytes === undefined) {
    bytes = createHash(algorithm).digest().length;
    SIZES.set(algorithm, bytes);
  }
  return bytes;
}

export const nodeDigests: DigestSource = {
  digestBytes: size,
  hasHmac: (algorithm) => KNOWN.has(algorithm),
  hmac: (algorithm, key, message) =>
    new Uint8Array(createHmac(algorithm, key).update(message).digest()),
  digest(algorithm, data, start, end, out, at) {
    if (algorithm === 'crc32c') {
      new DataView(out.buffer, out.byteOffset).setUint32(at, crc32c(data, start, end), true);
    } else {
      out.set(createHash(algorithm).update(data.subarray(start, end)).digest(), at);
    }
  },
};

export const nodeTimers: Timers = {
  after: (delayMs, run) => setTimeout(run, delayMs),
  cancel: (timer) => clearTimeout(timer as NodeJS.Timeout),
};
