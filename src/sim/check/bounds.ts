/**
 * I8: reconnects back off; queues have bounds. Handshakes and attempts to connect are counted per minute; what a node holds of
 * its peer's writes stays below max-buffers; buffers and requests come back when there is nothing to do.
 */
import { PEER_RESYNC_WRITE, PEER_WRITE } from '../../drbd/peer-request.js';
import { Conns, type State } from '../../drbd/state.js';
import { type NodeName, resourcesOf } from '../config.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import type { SimIo } from '../sim-io.js';
import { DeviceChecker } from './checker.js';
import { isQuiet } from './equal.js';

const WINDOW_MS = 60_000;
/** A handshake that fails at once is repeated after connect-int, which is a second at the least. */
const MOST_HANDSHAKES_PER_WINDOW = 130;
/** Of each resource. Each of them has two sockets, and who is refused dials again after connect-int too. */
const MOST_CONNECTS_PER_WINDOW = 3 * MOST_HANDSHAKES_PER_WINDOW;
/** Fed or held by nobody's request: a few packets that are being built. */
const MOST_BUFFERS_AT_REST = 24;
/** Of max-buffers. */
const PAGE_BYTES = 4096;
/** One request is taken whatever its size. */
const LARGEST_REQUEST_BYTES = 1 << 20;

interface Dialled {
  readonly atMs: number;
  readonly count: number;
}

export class Bounds extends DeviceChecker {
  readonly #handshakes: Record<NodeName, number[]> = { alpha: [], beta: [] };
  readonly #dialled: Record<NodeName, Dialled[]> = { alpha: [], beta: [] };
  readonly #seen: Record<NodeName, { readonly io: SimIo; readonly connects: number } | null> = {
    alpha: null,
    beta: null,
  };

  constructor(device: ReplicatedDevice) {
    super(device, 'bounds', 'I8');
  }

  override changed(node: Replica, old: State | null, next: State): void {
    if (next.conn !== Conns.WFReportParams || old?.conn === Conns.WFReportParams) return;
    const now = this.device.nowMs;
    const times = this.#handshakes[node.name].filter((at) => now - at < WINDOW_MS);
    times.push(now);
    this.#handshakes[node.name] = times;
    this.look();
    if (times.length > MOST_HANDSHAKES_PER_WINDOW) {
      this.violate(`${node.name} began ${times.length} handshakes within a minute`);
    }
  }

  override tick(): void {
    for (const node of this.device.bothNodes) {
      const { drbdd } = node;
      if (!drbdd || drbdd.dead) continue;
      this.#connects(node, drbdd.io);
      this.#window(node);
      if (!node.node.replicas.every(isQuiet)) continue; // they share them
      this.look();
      const held = drbdd.io.buffersInUse;
      if (held > MOST_BUFFERS_AT_REST) {
        this.violate(`${node.name} is at rest and holds ${held} buffers`);
      }
    }
  }

  #connects(node: Replica, io: SimIo): void {
    const { name } = node;
    const seen = this.#seen[name];
    const count = io.connects - (seen?.io === io ? seen.connects : 0);
    this.#seen[name] = { io, connects: io.connects };
    if (count === 0) return;
    this.look();
    const now = this.device.nowMs;
    const times = this.#dialled[name].filter(({ atMs }) => now - atMs < WINDOW_MS);
    times.push({ atMs: now, count });
    this.#dialled[name] = times;
    const sum = times.reduce((before, each) => before + each.count, 0);
    const resources = resourcesOf(this.device.config).length;
    if (sum > resources * MOST_CONNECTS_PER_WINDOW)
      this.violate(`${name} dialled ${sum} times in a minute`);
  }

  #window(node: Replica): void {
    const engine = node.drbdd?.loop.engine;
    const options = engine?.resource(node.resource)?.netOptions;
    if (!engine || !options) return;
    const { peer } = engine.core;
    if (peer.used === 0) return;
    this.look();
    let bytes = 0;
    for (let i = 0, p = peer.find(0); p; p = peer.find(++i)) {
      const writes = p.kind === PEER_WRITE || p.kind === PEER_RESYNC_WRITE;
      if (p.link?.resource.name !== node.resource) continue;
      if (writes && p.at >= 0) bytes += p.lengthBytes;
    }
    const most = Math.max(options.maxBuffers * PAGE_BYTES, LARGEST_REQUEST_BYTES);
    if (bytes > most) {
      this.violate(
        `${node.name} holds ${bytes} bytes of its peer's writes (max-buffers ${options.maxBuffers})`,
      );
    }
  }
}
