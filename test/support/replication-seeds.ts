/** What the two nodes of a seed are configured with. */
import { Prng } from '../../src/base/prng.js';
import type { NodeOptions } from './engines.js';

export function options(seed: number): NodeOptions {
  const r = new Prng(seed + 1_000_000);
  const sizeBytes = r.pick([4 << 20, 8 << 20, 40 << 20]);
  return {
    engine: seed % 8 === 0 ? 'fallback' : 'auto',
    sizeBytes,
    net: {
      protocol: r.pick(['C', 'C', 'C', 'C', 'A', 'B']),
      dataIntegrityAlg: r.pick(['', '', 'crc32c', 'sha1']),
      maxEpochSize: r.pick([1, 20, 2048]),
      // A resync asks for half of it per 100 ms: the whole disk in half a second, at least.
      maxBuffers: r.pick([sizeBytes >> 13, 16384]),
      useRle: r.chance(0.5),
    },
    disk: { alExtents: r.pick([7, 67]), diskFlushes: r.chance(0.7), diskDrain: r.chance(0.8) },
  };
}
