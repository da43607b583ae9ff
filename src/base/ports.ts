/** What the pure layers need from outside and get passed in: randomness and digests. */

/** Random numbers: the kernel's in production, a seed's in the simulator. */
export interface RandomSource {
  /** A whole number in [0, 2^32). */
  u32(): number;
  bytes(count: number): Uint8Array;
}

/** What blocks are compared by. Digests go by the kernel's crypto names (`sha1`, `md5`, `sha256`, `crc32c` ...). */
export interface DigestSource {
  /** Size of the digest, or 0 when the algorithm is not known. */
  digestBytes(algorithm: string): number;
  /** False for algorithms that have no HMAC (crc32c) or are not known. */
  hasHmac(algorithm: string): boolean;
  hmac(algorithm: string, key: Uint8Array, message: Uint8Array): Uint8Array;
  /** The digest of data[start, end) goes to out[at ...]. crc32c is stored little-endian, as the kernel does. */
  digest(
    algorithm: string,
    data: Uint8Array,
    start: number,
    end: number,
    out: Uint8Array,
    at: number,
  ): void;
  /** All of data[start, end) is zero. Here since it is data of users, too, of which a recording keeps no more than the answer. */
  isZero(data: Uint8Array, start: number, end: number): boolean;
}
