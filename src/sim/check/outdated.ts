/**
 * An Outdated disk stays so, over restarts too, until the node meets its peer again or an operator forces it: who knows that
 * the other copy has gone on does not take its own for current (I1: a write acknowledged by the other one would be missing).
 */
import { Conns, Disks, diskName, type State } from '../../drbd/state.js';
import type { NodeName } from '../config.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';

/** It is in the meta-data by then, on a disk without trouble. */
const WRITTEN_MS = 1000;

export class Outdated extends DeviceChecker {
  readonly #sinceMs: Record<NodeName, number | null> = { alpha: null, beta: null };
  readonly #sure: Record<NodeName, boolean> = { alpha: false, beta: false };

  constructor(device: ReplicatedDevice) {
    super(device, 'outdated', 'I1');
  }

  override tick(): void {
    for (const { name, disk, state, clock } of this.device.bothNodes) {
      if (state?.disk !== Disks.Outdated || state.conn >= Conns.Connected) {
        this.#sinceMs[name] = null;
        continue;
      }
      const trouble =
        clock.paused ||
        disk.stuck ||
        disk.slowMs > 0 ||
        disk.faults.writeChance > 0 ||
        disk.faults.flushChance > 0;
      const now = this.device.nowMs;
      if (trouble || this.#sinceMs[name] === null) this.#sinceMs[name] = now;
      if (now - (this.#sinceMs[name] ?? now) >= WRITTEN_MS) this.#sure[name] = true;
    }
  }

  override changed(node: Replica, _old: State | null, next: State): void {
    const { name } = node;
    const { forced } = this.device.truth;
    if (next.conn >= Conns.Connected || forced.alpha !== null || forced.beta !== null) {
      this.#sure[name] = false;
    }
    if (!this.#sure[name]) return;
    this.look();
    if (next.disk !== Disks.Consistent && next.disk !== Disks.UpToDate) return;
    this.violate(
      `the disk of ${name} was Outdated and is ${diskName(next.disk)}; it has not met its peer, and nobody forced it`,
    );
  }
}
