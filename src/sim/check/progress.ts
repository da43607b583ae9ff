/**
 * Nobody waits without end for a peer: one that is not heard any more is given up when ping-int and ping-timeout are over, one
 * that answers pings and finishes nothing after ko-count times timeout.
 */
import type { NetOptions } from '../../config/drbd-options.js';
import { Conns, isSuspended } from '../../drbd/state.js';
import type { NodeName } from '../config.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';

const MARGIN_MS = 3000;

export class Progress extends DeviceChecker {
  readonly #deafMs: Record<NodeName, number | null> = { alpha: null, beta: null };
  readonly #wasCut: Record<NodeName, boolean> = { alpha: false, beta: false };
  /** Since when writes had no other reason to wait than the peer, and none was answered. */
  readonly #idleMs: Record<NodeName, number> = { alpha: 0, beta: 0 };
  /** What the disks of the peer had written then. */
  readonly #written: Record<NodeName, number> = { alpha: 0, beta: 0 };

  constructor(device: ReplicatedDevice) {
    super(device, 'progress', 'progress');
  }

  override acknowledged(node: Replica): void {
    this.#idleMs[node.name] = this.device.nowMs;
  }

  override tick(): void {
    for (const node of this.device.bothNodes) {
      const options = node.drbdd?.loop.engine.resource(node.resource)?.netOptions;
      const alive = options && node.state !== null && !node.clock.paused;
      this.#pings(node, alive ? options : null);
      this.#writes(node, alive ? options : null);
    }
  }

  #pings(node: Replica, options: NetOptions | null): void {
    const { name, peer, state } = node;
    const { network } = this.device.net;
    // Where only the way there is cut, whatever the peer says of its own accord is heard, and puts the next ping off. The
    // connection ends by the peer, which hears nothing, and from then on it is silent.
    const answers =
      network.passes('replication', name, peer.name) || (peer.state?.conn ?? 0) >= Conns.Connected;
    const cut = !network.passes('replication', peer.name, name);
    const heard = peer.powered && !peer.clock.paused && answers && !cut;
    // What was on its way when the link was cut arrives now, whatever has become of the peer.
    if (this.#wasCut[name] && !cut) this.#deafMs[name] = null;
    this.#wasCut[name] = cut;
    if (options === null || heard || (state?.conn ?? 0) < Conns.Connected) {
      this.#deafMs[name] = null;
      return;
    }
    this.look();
    const now = this.device.nowMs;
    // What had arrived before is read as fast as the disk takes it, and counts as heard then.
    const takenMs = this.device.net.tcp.takenMs(name, 'replication');
    this.#deafMs[name] = Math.max(this.#deafMs[name] ?? now, takenMs);
    const deafMs = now - this.#deafMs[name];
    if (deafMs <= options.pingIntS * 1000 + options.pingTimeoutDs * 100 + MARGIN_MS) return;
    this.violate(
      `${name} has not heard ${peer.name} for ${Math.round(deafMs)} ms and stays connected (ping-int ${options.pingIntS} s, ping-timeout ${options.pingTimeoutDs} ds)`,
    );
  }

  #writes(node: Replica, options: NetOptions | null): void {
    const { name, peer, disk, state, client } = node;
    const now = this.device.nowMs;
    const trouble =
      disk.stuck || disk.slowMs > 0 || disk.faults.writeChance > 0 || disk.faults.flushChance > 0;
    // The peer is not told of the disk before local-io-error has run, and until then nothing is answered (docs/STATES.md, handlers).
    const untold = Boolean(node.volume?.untold);
    // Under A nobody waits for what is in front of it, on the other volumes, too: a peer that gets on with that is not given up.
    const written = writtenBy(peer);
    const getsOn = options?.protocol === 'A' && written !== this.#written[name];
    this.#written[name] = written;
    if (!options || options.koCount === 0 || !client || trouble || untold) this.#idleMs[name] = now;
    else if (getsOn || state?.conn !== Conns.Connected || isSuspended(state))
      this.#idleMs[name] = now;
    else {
      this.look();
      const asked = now - (node.clock.nowMs - client.oldestWriteMs);
      const waitedMs = now - Math.max(asked, this.#idleMs[name]);
      if (waitedMs <= options.koCount * options.timeoutDs * 100 + MARGIN_MS) return;
      this.violate(
        `${name} has waited ${Math.round(waitedMs)} ms for a write and stays connected (ko-count ${options.koCount}, timeout ${options.timeoutDs} ds)`,
      );
    }
  }
}

function writtenBy({ ofResource }: Replica): number {
  return ofResource.reduce((sum, { disk }) => sum + disk.writes, 0);
}
