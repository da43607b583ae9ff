/**
 * The digest of a block in a buffer against one that came with a packet: online verify and checksum-based resync. The expected one
 * is kept in the head of the block's buffer until the block is read; the one of this disk is computed behind it.
 */
import type { Core } from './core.js';

const EXPECTED_AT = -1024;
const COMPUTED_AT = -512;

/** pool[from, from + digestBytes) is what the block at `at` is to be compared with. */
export function keepExpected(core: Core, at: number, from: number, digestBytes: number): void {
  core.port.pool.copyWithin(at + EXPECTED_AT, from, from + digestBytes);
}

/** The same, of one that came before there was a buffer. */
export function restoreExpected(core: Core, at: number, digest: Uint8Array): void {
  core.port.pool.set(digest, at + EXPECTED_AT);
}

/** The block has the digest that was kept. Never with an algorithm that is not known here. */
export function hasExpected(core: Core, algorithm: string, at: number, bytes: number): boolean {
  const { digests } = core.host;
  const { pool } = core.port;
  const digestBytes = digests.digestBytes(algorithm);
  if (digestBytes === 0) return false;
  const expected = at + EXPECTED_AT;
  const computed = at + COMPUTED_AT;
  digests.digest(algorithm, pool, at, at + bytes, pool, computed);
  for (let i = 0; i < digestBytes; i++) {
    if (pool[expected + i] !== pool[computed + i]) return false;
  }
  return true;
}
