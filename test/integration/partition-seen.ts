/**
 * What an observer outside saw of a pair: each life of the service on a node, from its first answer to its last one. The times are the
 * service's own, of one monotonic clock: between them it ran for certain, so two lives that overlap are two active nodes.
 */
import type { Host } from './partition-plan.js';

export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface Life extends Span {
  readonly host: Host;
}

/** A node that has not answered for so long is not active. Twenty-five questions, on a machine that is busy. */
const SILENT_MS = 500;

export class Seen {
  readonly #lives = new Map<string, { host: Host; fromMs: number; toMs: number }>();
  readonly #address: { readonly host: Host; readonly atMs: number }[] = [];

  /** A line of observe-active: NAME HOST LIFE MS. What is none is not counted. */
  line(text: string): void {
    const [name, host, life = '', ms = ''] = text.split(' ');
    const atMs = Number(ms);
    if ((host !== 'node-a' && host !== 'node-b') || life === '' || !(atMs > 0)) return;
    if (name === 'address') {
      this.#address.push({ host, atMs });
      return;
    }
    const known = this.#lives.get(life);
    if (known) known.toMs = Math.max(known.toMs, atMs);
    else this.#lives.set(life, { host, fromMs: atMs, toMs: atMs });
  }

  get lives(): readonly Life[] {
    return [...this.#lives.values()].sort((x, y) => x.fromMs - y.fromMs);
  }

  active(nowMs: number): Host[] {
    const young = this.lives.filter(
      ({ fromMs, toMs }) => fromMs <= nowMs && nowMs - toMs < SILENT_MS,
    );
    return [...new Set(young.map(({ host }) => host))].sort();
  }

  /** Who answered last on the floating address, if that was now. */
  atAddress(nowMs: number): Host | null {
    const last = this.#address.at(-1);
    return last && nowMs - last.atMs < SILENT_MS ? last.host : null;
  }

  /** Two nodes were active. */
  overlaps(): Span[] {
    const found: Span[] = [];
    for (const [i, life] of this.lives.entries())
      for (const other of this.lives.slice(i + 1)) {
        if (other.host === life.host) continue;
        const [fromMs, toMs] = [other.fromMs, Math.min(life.toMs, other.toMs)];
        if (fromMs <= toMs) found.push({ fromMs, toMs });
      }
    return found;
  }

  /** Nobody was active, from the first answer on to `endMs`. */
  gaps(endMs: number): Span[] {
    const found: Span[] = [];
    let lastMs: number | null = null;
    for (const { fromMs, toMs } of this.lives) {
      if (lastMs !== null && fromMs > lastMs) found.push({ fromMs: lastMs, toMs: fromMs });
      lastMs = Math.max(lastMs ?? 0, toMs);
    }
    if (lastMs !== null && endMs - lastMs >= SILENT_MS) found.push({ fromMs: lastMs, toMs: endMs });
    return found;
  }

  /** The address did not answer. */
  addressGaps(): Span[] {
    return this.#address.flatMap(({ atMs }, i) => {
      const fromMs = this.#address[i - 1]?.atMs ?? atMs;
      return atMs - fromMs >= SILENT_MS ? [{ fromMs, toMs: atMs }] : [];
    });
  }
}

export function sumMs(spans: readonly Span[]): number {
  return spans.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0);
}
