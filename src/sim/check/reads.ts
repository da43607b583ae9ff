/**
 * A read fails only where no good copy can be reached: one that fails on the own disk is served by the peer. Judged for reads
 * during which the peer was connected and UpToDate all the time and its disk had no trouble. (What a read returns is judged by
 * the client.)
 */
import { Conns, Disks, type State } from '../../drbd/state.js';
import type { NodeName } from '../config.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import type { DeviceOp } from '../sim-device.js';
import { DeviceChecker } from './checker.js';

const NEVER = Number.POSITIVE_INFINITY;
/** The clocks of nodes drift. */
const MARGIN_MS = 50;

export class Reads extends DeviceChecker {
  readonly #sinceMs: Record<NodeName, number> = { alpha: NEVER, beta: NEVER }; // the peer can serve

  constructor(device: ReplicatedDevice) {
    super(device, 'reads', 'reads');
  }

  override changed(node: Replica, _old: State | null, next: State): void {
    // A disk that was let go serves nobody, though the peer is yet to hear of it.
    if (next.disk !== Disks.UpToDate) this.#sinceMs[node.peer.name] = NEVER;
    const good = node.peer.state?.disk === Disks.UpToDate;
    const serves = next.conn === Conns.Connected && next.pdsk === Disks.UpToDate && good;
    if (!serves) this.#sinceMs[node.name] = NEVER;
    else if (this.#sinceMs[node.name] === NEVER) this.#sinceMs[node.name] = this.device.nowMs;
  }

  override died(node: Replica): void {
    this.#sinceMs[node.name] = NEVER;
    this.#sinceMs[node.peer.name] = NEVER;
  }

  override tick(): void {
    for (const node of this.device.bothNodes) {
      const { faults, badSectors } = node.disk;
      const trouble = faults.readChance > 0 || badSectors.size > 0;
      // Counts again from the next state that says so.
      if (trouble) this.#sinceMs[node.peer.name] = NEVER;
    }
  }

  override answered(node: Replica, error: number, op: DeviceOp, tookMs: number): void {
    if (op !== 'read') return;
    const beganMs = this.device.nowMs - tookMs - MARGIN_MS;
    if (this.#sinceMs[node.name] > beganMs) return;
    this.look();
    if (error === 0 || node.peer.disk.faults.readChance > 0) return;
    this.violate(
      `a read on ${node.name} failed with errno ${error}; ${node.peer.name} is connected and UpToDate, and could have served it`,
    );
  }
}
