/**
 * I8: reconnects back off; queues have bounds. Attempts to connect are counted per minute; buffers and requests come back when
 * there is nothing to do.
 */
import { Conns, type State } from '../../drbd/state.js';
import type { SimNode } from '../sim-node.js';
import type { World } from '../world.js';
import { Checker } from './checker.js';
import { isQuiet } from './equal.js';

const WINDOW_MS = 60_000;
/** A handshake that fails at once is repeated after connect-int, which is a second at the least. */
const MOST_HANDSHAKES_PER_WINDOW = 130;
/** Fed or held by nobody's request: a few packets that are being built. */
const MOST_BUFFERS_AT_REST = 24;

export class Bounds extends Checker {
  readonly #handshakes: Record<string, number[]> = { alpha: [], beta: [] };

  constructor(world: World) {
    super(world, 'bounds', 'I8');
  }

  override changed(node: SimNode, old: State | null, next: State): void {
    if (next.conn !== Conns.WFReportParams || old?.conn === Conns.WFReportParams) return;
    const now = this.world.nowMs;
    const times = (this.#handshakes[node.name] ?? []).filter((at) => now - at < WINDOW_MS);
    times.push(now);
    this.#handshakes[node.name] = times;
    this.look();
    if (times.length > MOST_HANDSHAKES_PER_WINDOW) {
      this.violate(`${node.name} began ${times.length} handshakes within a minute`);
    }
  }

  override tick(): void {
    for (const node of this.world.bothNodes) {
      const { drbdd } = node;
      if (!drbdd || drbdd.dead || !isQuiet(node)) continue;
      this.look();
      const held = drbdd.io.buffersInUse;
      if (held > MOST_BUFFERS_AT_REST) {
        this.violate(`${node.name} is at rest and holds ${held} buffers`);
      }
    }
  }
}
