/** Randomness and digests from Node's crypto (crc32c is ours, since OpenSSL has none), and Node's timers. */
import { createHash, createHmac, getHashes, randomBytes, randomInt } from 'node:crypto';
import { assert } from '../base/assert.js';
import { crc32c } from '../base/crc32c.js';
import { CRC32C, opensslDigest } from '../base/digest-names.js';
import type { DigestSource, RandomSource } from '../base/ports.js';
import type { Timers } from '../host/timers.js';

export const nodeRandom: RandomSource = {
  u32: () => randomInt(0x100000000),
  bytes: (count) => new Uint8Array(randomBytes(count)),
};

const KNOWN = new Set(getHashes());
const SIZES = new Map<string, number>();

/** OpenSSL's name of a kernel's digest; null when it has been built without it, or a kernel has no such name. */
function openssl(algorithm: string): string | null {
  const name = opensslDigest(algorithm);
  return name !== null && KNOWN.has(name) ? name : null;
}

function size(algorithm: string): number {
  if (algorithm === CRC32C) return 4;
  const name = openssl(algorithm);
  if (name === null) return 0;
  let bytes = SIZES.get(name);
  if (bytes === undefined) {
    bytes = createHash(name).digest().length;
    SIZES.set(name, bytes);
  }
  return bytes;
}

function known(algorithm: string): string {
  const name = openssl(algorithm);
  assert(name !== null, `digest ${algorithm}: its size was asked for before`);
  return name;
}

const ZEROES = Buffer.alloc(65536);

export const nodeDigests: DigestSource = {
  digestBytes: size,
  hasHmac: (algorithm) => openssl(algorithm) !== null,
  hmac: (algorithm, key, message) =>
    new Uint8Array(createHmac(known(algorithm), key).update(message).digest()),
  digest(algorithm, data, start, end, out, at) {
    if (algorithm === CRC32C) {
      new DataView(out.buffer, out.byteOffset).setUint32(at, crc32c(data, start, end), true);
    } else {
      out.set(createHash(known(algorithm)).update(data.subarray(start, end)).digest(), at);
    }
  },
  isZero(data, start, end) {
    for (let from = start; from < end; from += ZEROES.length) {
      const to = Math.min(end, from + ZEROES.length);
      if (data[from] !== 0) return false; // most others
      if (ZEROES.compare(data, from, to, 0, to - from) !== 0) return false;
    }
    return true;
  },
};

export const nodeTimers: Timers = {
  after: (delayMs, run) => setTimeout(run, delayMs),
  cancel: (timer) => clearTimeout(timer as NodeJS.Timeout),
};
