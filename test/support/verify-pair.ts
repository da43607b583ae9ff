/** Online verify on a simulated pair: asked for, waited for, and what the bitmaps say against what the disks hold. */
import type { Outcome } from '../../src/drbd/outcome.js';
import { verify } from '../../src/drbd/verify-start.js';
import { inSync, type SimPair, type SimPairNode, type SimPairOptions } from './sim-pair.js';

/** In sync, alpha Primary, crc32c. */
export function verifiable(seed: number, options: SimPairOptions = {}): SimPair {
  return inSync(seed, { ...options, net: { verifyAlg: 'crc32c', ...options.net } });
}

export function begin(
  node: SimPairNode,
  start: number | null = null,
  stop: number | null = null,
): Outcome {
  return node.ask((v, done) => verify(v, start, stop, done));
}

/** From the request to the end, on both. */
export function verifyAll(
  pair: SimPair,
  node: SimPairNode,
  start: number | null = null,
  stop: number | null = null,
): void {
  const before = [pair.alpha, pair.beta].map((n) => n.log.length);
  const outcome = begin(node, start, stop);
  if (outcome.kind !== 'ok') throw new Error(JSON.stringify(outcome));
  const isDone = (): boolean =>
    [pair.alpha, pair.beta].every((n, i) =>
      n.log.slice(before[i]).some((line) => line.includes('Online verify done')),
    );
  pair.until(isDone, 'verify done on both');
  pair.settled();
}

/** Blocks whose bit is set. */
export function bits(node: SimPairNode): number[] {
  const { bitmap } = node.volume;
  if (!bitmap) throw new Error(`${node.name} has no bitmap`);
  return Array.from({ length: bitmap.bits }, (_, i) => i).filter((i) => bitmap.isSet(i));
}

/** Blocks in which the disks differ. */
export function differing(pair: SimPair): number[] {
  const { alpha, beta } = pair;
  const end = alpha.volume.sizeSectors;
  const blocks: number[] = [];
  for (let from = 0; from < end; ) {
    const sector = alpha.disk.equals(beta.disk, from, end - from);
    if (sector < 0) break;
    const block = Math.floor(sector / 8);
    blocks.push(block);
    from = (block + 1) * 8;
  }
  return blocks;
}
