/**
 * What a connection does by the clock: it asks a silent peer whether it is there, gives up one that leaves something undone, and
 * closes epochs that nothing else closes.
 *
 *     silent for ping-int --> P_PING --no P_PING_ACK within ping-timeout--> lost: NetworkFailure
 *     a request, or a P_BARRIER, is not answered within ko-count * timeout --> lost: Timeout
 *
 * Source: drbd.conf(5), ping-int, ping-timeout, ko-count, timeout.
 */
import type { Core } from './core.js';
import type { Link, LinkEnd } from './link.js';
import type { Volume } from './volume.js';

/** An epoch that nothing closes is closed after this, so that the transfer log drains when the application rests. */
const IDLE_EPOCH_MS = 100;

/** The peer is given up, and why. */
export interface Overdue {
  readonly how: LinkEnd;
  readonly why: string;
}

export class LinkWatch {
  readonly #core: Core;
  readonly #link: Link;
  #pingDueMs: number;
  #pingSentMs = -1; // >= 0: a P_PING_ACK is awaited
  #lastWriteMs = 0;
  #epochMovedMs = 0; // the first barrier was sent, or one was acknowledged
  readonly #pingWaiters: (() => void)[] = [];

  constructor(core: Core, link: Link) {
    this.#core = core;
    this.#link = link;
    this.#pingDueMs = core.port.nowMs() + link.resource.netOptions.pingIntS * 1000;
  }

  /** The link is over: nobody is told of an answer any more. */
  stop(): void {
    this.#pingWaiters.length = 0;
  }

  // ---- pings

  /** Something has come from the peer. */
  heard(): void {
    this.#pingDueMs = this.#core.port.nowMs() + this.#link.resource.netOptions.pingIntS * 1000;
  }

  /** P_PING_ACK: whoever waits for it goes on. */
  pingAckArrived(): void {
    this.#pingSentMs = -1;
    this.heard();
    for (const done of this.#pingWaiters.splice(0)) done();
  }

  /** Ping; `done` runs when the acknowledgement is there. When the link fails first it never runs. */
  ping(done: () => void): void {
    this.#pingWaiters.push(done);
    this.#sendPing();
  }

  /** The same, and everything that the peer had acknowledged by now has arrived before. */
  pingAfresh(done: () => void): void {
    const underWay = this.#pingSentMs >= 0; // that one may be answered already
    this.ping(underWay ? () => this.ping(done) : done);
  }

  #sendPing(): void {
    if (this.#pingSentMs >= 0) return;
    if (!this.#link.out.ping()) return;
    this.#pingSentMs = this.#core.port.nowMs();
  }

  // ---- epochs

  /** A write was begun. */
  written(atMs: number): void {
    this.#lastWriteMs = atMs;
  }

  /** P_BARRIER: of the first one on its way the peer is given the whole time. */
  barrierSent(): void {
    if (this.#link.transferLog.epochs === 2) this.epochMoved();
  }

  /** The peer gets on with the writes. */
  epochMoved(): void {
    this.#epochMovedMs = this.#core.port.nowMs();
  }

  // ---- time

  /** Why the peer is given up now; null: it is not. */
  tick(nowMs: number): Overdue | null {
    const { transferLog, resource } = this.#link;
    const options = resource.netOptions;
    if (this.#pingSentMs >= 0) {
      if (nowMs >= this.#pingSentMs + options.pingTimeoutDs * 100) {
        return { how: 'NetworkFailure', why: 'PingAck did not arrive in time.' };
      }
    } else if (nowMs >= this.#pingDueMs) {
      this.#sendPing();
    }
    const late = this.#late(nowMs);
    if (late !== null) {
      const limit = `ko-count (${options.koCount}) * timeout (${options.timeoutDs} * 0.1s)`;
      return { how: 'Timeout', why: `Remote failed to ${late} within ${limit}` };
    }
    if (transferLog.count > 0 && nowMs >= this.#lastWriteMs + IDLE_EPOCH_MS) transferLog.close();
    return null;
  }

  /** When `tick` has work. */
  get deadlineMs(): number {
    const { transferLog, resource } = this.#link;
    const options = resource.netOptions;
    let at =
      this.#pingSentMs >= 0 ? this.#pingSentMs + options.pingTimeoutDs * 100 : this.#pingDueMs;
    if (transferLog.count > 0) {
      const idle = this.#lastWriteMs + IDLE_EPOCH_MS;
      if (transferLog.hasOpenWrites) at = Math.min(at, idle);
    }
    return Math.min(at, this.#lateMs);
  }

  /** What the peer has left undone for ko-count times timeout; null: nothing. */
  #late(nowMs: number): string | null {
    if (nowMs < this.#lateMs) return null;
    return this.#awaitedMs <= this.#owesBarrierMs ? 'finish a request' : 'answer a P_BARRIER';
  }

  get #lateMs(): number {
    const { koCount, timeoutDs } = this.#link.resource.netOptions;
    if (koCount === 0) return Number.POSITIVE_INFINITY;
    return Math.min(this.#awaitedMs, this.#owesBarrierMs) + koCount * timeoutDs * 100;
  }

  /** Since when somebody waits for an answer to his own request. */
  get #awaitedMs(): number {
    const { transferLog, resource } = this.#link;
    let sinceMs = transferLog.oldestAwaitedMs;
    for (const v of resource.volumes) sinceMs = Math.min(sinceMs, this.#readMs(v));
    return sinceMs;
  }

  /** A read may wait behind writes that have piled up over there (protocols A and B), as long as the peer gets on with them. */
  #readMs(v: Volume): number {
    const { transferLog, protocol } = this.#link;
    const sinceMs = v.app.reads.oldestAtPeerMs;
    const behind = protocol !== 'C' && transferLog.hasClosedEpochs;
    return behind ? Math.max(sinceMs, this.#epochMovedMs) : sinceMs;
  }

  /**
   * Since when the peer owes the acknowledgement of a barrier and has finished no epoch. Writes that wait for nothing else are
   * answered, and may pile up there (protocol A, a slower disk): they keep nobody waiting as long as it gets on.
   */
  get #owesBarrierMs(): number {
    return this.#link.transferLog.hasClosedEpochs ? this.#epochMovedMs : Number.POSITIVE_INFINITY;
  }
}
