/**
 * The door: nothing of a dead peer's is started before this machine has let it through.
 *
 *     ask -> the peer holds nothing: `unneeded` ----------------------------------> granted
 *            no device: `n_stnth`, as the original does without one --------------> granted
 *            device: (who holds nothing waits fence-delay) -> fence -> `OK` ------> granted
 *                                       ^-- 5 s --- `bad`, `badhost`: for ever
 *     withdraw: the peer is heard, or we leave: an answer that comes later grants nothing
 *
 * With an arbiter (lease-door.ts) the lease comes first: who is refused neither shoots nor takes anything.
 *
 *     ask -> lease -> (needed, device: fence -> `OK`; else stop-limit) -> granted; when the lease is lost meanwhile: lease
 *
 * A peer that cannot stop something asks to be reset while it lives (`wish`): the same device, never two resets at once. What comes of it
 * opens no door: it is declared dead then, and asked about as any other.
 *
 * A reset that was asked for cannot be taken back. While one is under way no other begins, whatever was asked meanwhile: its
 * answer is not that of the new question: a peer that was heard before it came may have been reset before that, and run everything
 * since. But it may as well have been hit by it when it was back, and be starting: it gets the time that the reset took to be heard,
 * and is not reset again before. A device that is slower than the peer's boot would do so for ever. Pure.
 * Source: heartbeat 3.0.6 observed with a device that works, fails and lies.
 *
 * Deliberately different from the original: it goes on shooting at a peer that is heard again, and a success then takes over
 * from a living one.
 */
import type { FenceAnswer } from './answers.js';
import type { LeaseDoor } from './lease-door.js';
import type { ResourceLevel } from './resource-machine.js';

export interface PermissionConfig {
  /** Null: a cluster of one, which asks nobody. */
  readonly peer: string | null;
  /** A device that can reset nodes is configured. */
  readonly stonith: boolean;
  /** A node that holds nothing waits so long before it shoots: of two that shoot at each other one stays. */
  readonly fenceDelayMs: number;
}

export type PermissionEffect =
  | { readonly type: 'fence'; readonly id: number; readonly node: string } // comes back by `fenced`
  /** The message `stonith`. */
  | { readonly type: 'told'; readonly node: string; readonly result: FenceResult }
  | { readonly type: 'permitted'; readonly id: number }
  /** What became of the peer's own wish. */
  | { readonly type: 'wish-answered'; readonly answer: FenceAnswer }
  | { readonly type: 'log'; readonly level: ResourceLevel; readonly text: string };

/** Words of the message `stonith`. */
export type FenceResult = Exclude<FenceAnswer, 'none'> | 'n_stnth' | 'unneeded';

const RETRY_MS = 5000;
/** What the peer sent before it was hit may come in after the answer. */
const ON_THE_WAY_MS = 2000;
/** No peer that starts is waited for longer: a machine that tests its memory at each boot is back by then. */
const MAX_START_MS = 600_000;
/** No question has this id: a reset that the peer asked for itself. */
const WISH = -1;

interface LateReset {
  readonly answeredMs: number;
  readonly waitMs: number; // so long the peer has to be heard again
}

/** Nothing hit it then, or it has started since. */
function livedOn({ answeredMs }: LateReset, heardMs: number): boolean {
  return heardMs > answeredMs + ON_THE_WAY_MS;
}

export class Permission {
  readonly #config: PermissionConfig;
  readonly #lease: LeaseDoor | null; // null: no arbiter is configured
  #asked = 0; // the open question, 0: none
  #fenceMs = Number.POSITIVE_INFINITY; // when to shoot
  #underWay = 0; // the reset that was asked for and has not been answered, 0: none
  #answersFor = 0; // the question that it was asked for
  #lastFence = 0;
  #isWished = false; // by the peer itself
  #begunMs = 0; // when the reset under way was asked for
  #heardBeforeMs = Number.NEGATIVE_INFINITY; // the latest sign of life of the peer by then
  #heardMs = Number.NEGATIVE_INFINITY; // the latest sign of life of the peer
  /** The latest reset that was answered after the peer was heard again; null: the last one came in time. */
  #late: LateReset | null = null;
  #waiting: { readonly needed: boolean; readonly holds: boolean } | null = null; // for the lease

  constructor(config: PermissionConfig, lease: LeaseDoor | null = null) {
    this.#config = config;
    this.#lease = lease;
  }

  /** A question is open. */
  get isOpen(): boolean {
    return this.#asked !== 0;
  }

  /** The latest sign of life of the peer, for what is asked and answered from now on. */
  heard(atMs: number): void {
    this.#heardMs = atMs;
  }

  /**
   * The peer is dead: may its groups be started? `needed`: it may run something; `holds`: we run something.
   * The answer is `permitted`, perhaps inside this call, or nothing.
   */
  ask(id: number, needed: boolean, holds: boolean, nowMs: number, out: PermissionEffect[]): void {
    const { peer, stonith } = this.#config;
    if (peer === null) return;
    this.#asked = id;
    if (this.#lease?.isInForce) {
      this.#waiting = { needed, holds };
      this.#lease.ask();
      this.tick(nowMs, out);
      return;
    }
    if (!needed) {
      this.#logGaveUp(out);
      this.#grant('unneeded', out);
    } else if (stonith) {
      this.#fenceMs = this.#shootMs(holds, nowMs, out);
      this.tick(nowMs, out);
    } else {
      this.#grant('n_stnth', out); // as the original, and as it says itself: nothing protects what both nodes can reach
    }
  }

  /** When to reset a dead peer. Nothing is started before: it may run everything. */
  #shootMs(holds: boolean, nowMs: number, out: PermissionEffect[]): number {
    const atMs = nowMs + (holds ? 0 : this.#config.fenceDelayMs);
    const late = this.#late;
    if (!late || livedOn(late, this.#heardMs)) return atMs;
    const startedMs = late.answeredMs + late.waitMs;
    if (startedMs <= atMs) return atMs;
    const seconds = Math.ceil((startedMs - nowMs) / 1000);
    const text = `STONITH of ${this.#config.peer ?? ''} waits for ${seconds} s, and nothing is taken over meanwhile: it was heard again before its last reset was confirmed, and silent since. It may have been hit when it was back, and be starting. If that goes on, the device is slower than the node starts: use a faster one.`;
    out.push({ type: 'log', level: 'WARN', text });
    return startedMs;
  }

  #logGaveUp(out: PermissionEffect[]): void {
    const text = `Dead node ${this.#config.peer ?? ''} gave up resources.`;
    out.push({ type: 'log', level: 'info', text });
  }

  #grant(result: FenceResult, out: PermissionEffect[]): void {
    const id = this.#asked;
    const node = this.#config.peer ?? '';
    this.#close();
    out.push({ type: 'told', node, result });
    if (result === 'n_stnth' && !this.#lease?.isInForce) {
      out.push({ type: 'log', level: 'WARN', text: 'No STONITH device configured.' });
      out.push({ type: 'log', level: 'WARN', text: 'Shared disks are not protected.' });
    }
    out.push({ type: 'permitted', id });
  }

  #close(): void {
    this.#asked = 0;
    this.#fenceMs = Number.POSITIVE_INFINITY;
    this.#waiting = null;
  }

  /** The peer, alive, wants to be reset. Answered once, perhaps inside this call. */
  wish(nowMs: number, out: PermissionEffect[]): void {
    if (!this.#config.stonith) {
      out.push({ type: 'wish-answered', answer: 'none' });
      return;
    }
    this.#isWished = true;
    this.tick(nowMs, out);
  }

  /** The peer is heard again, or we leave. Harmless when nothing is open. */
  withdraw(): void {
    this.#close();
    this.#lease?.withdraw();
  }

  fenced(id: number, answer: FenceAnswer, nowMs: number, out: PermissionEffect[]): void {
    if (id !== this.#underWay) return;
    const { peer } = this.#config;
    const node = peer ?? '';
    this.#underWay = 0;
    if (this.#isWished) {
      this.#isWished = false;
      out.push({ type: 'wish-answered', answer });
    }
    if (this.#answersFor === WISH) {
      const text = `STONITH of ${node}, as it asked: ${answer}.`;
      out.push({ type: 'log', level: answer === 'OK' ? 'WARN' : 'ERROR', text });
      this.tick(nowMs, out); // it may have been declared dead meanwhile
      return;
    }
    if (this.#answersFor !== this.#asked) {
      // Asked before the peer was heard again: it may have come back since it was reset, or be up in spite of it.
      const text = `STONITH of ${node}: ${answer}, too late: the question is not open any more.`;
      out.push({ type: 'log', level: 'WARN', text });
      this.#cameLate(answer, nowMs, out);
      this.tick(nowMs, out);
      return;
    }
    this.#late = null;
    if (answer === 'OK') {
      // Reset: nothing of it runs, so there is no stop-limit to wait for. But the lease may have gone to it before.
      if (this.#waiting && !this.#lease?.mayFence(nowMs)) return;
      this.#lease?.begin();
      this.#grant('OK', out);
      return;
    }
    const text = `STONITH of ${node} failed.  Retrying...`;
    out.push({ type: 'log', level: 'ERROR', text });
    out.push({ type: 'told', node, result: answer === 'none' ? 'badhost' : answer });
    this.#fenceMs = nowMs + RETRY_MS;
  }

  /** One that failed may have reset the peer all the same. Twice without a sign of life between them, and the time was too short. */
  #cameLate(answer: FenceAnswer, nowMs: number, out: PermissionEffect[]): void {
    if (answer === 'badhost' || answer === 'none' || this.#heardMs <= this.#begunMs) return;
    const before = this.#late;
    const leastMs = before && !livedOn(before, this.#heardBeforeMs) ? 2 * before.waitMs : 0;
    const waitMs = Math.min(Math.max(nowMs - this.#begunMs, leastMs), MAX_START_MS);
    this.#late = { answeredMs: nowMs, waitMs };
    if (this.#fenceMs === Number.POSITIVE_INFINITY) return;
    // Declared dead once more before that: the question goes on waiting.
    this.#fenceMs = Math.max(this.#fenceMs, this.#shootMs(true, nowMs, out));
  }

  /** The lease first, then the fence. */
  #lookAtLease(nowMs: number, out: PermissionEffect[]): void {
    const waiting = this.#waiting;
    const lease = this.#lease;
    if (!waiting || !lease) return;
    if (!lease.isInForce) {
      // The peer was heard, and has no arbiter.
      this.#waiting = null;
      this.ask(this.#asked, waiting.needed, waiting.holds, nowMs, out);
      return;
    }
    if (!lease.mayFence(nowMs)) {
      this.#fenceMs = Number.POSITIVE_INFINITY;
      return;
    }
    if (waiting.needed && this.#config.stonith) {
      const isWaiting = this.#fenceMs < Number.POSITIVE_INFINITY || this.#underWay !== 0;
      if (!isWaiting) this.#fenceMs = this.#shootMs(waiting.holds, nowMs, out);
      return;
    }
    if (!lease.mayBegin(nowMs)) return;
    if (!waiting.needed) this.#logGaveUp(out);
    // The peer has had stop-limit since it could not serve any more: what it ran is stopped, or gone with its machine.
    lease.begin();
    this.#grant(waiting.needed ? 'n_stnth' : 'unneeded', out);
  }

  tick(nowMs: number, out: PermissionEffect[]): void {
    this.#lookAtLease(nowMs, out);
    const isDue = nowMs >= this.#fenceMs;
    if (!(isDue || this.#isWished) || this.#underWay !== 0) return;
    this.#underWay = ++this.#lastFence;
    this.#begunMs = nowMs;
    this.#heardBeforeMs = this.#heardMs;
    this.#answersFor = isDue ? this.#asked : WISH;
    if (isDue) this.#fenceMs = Number.POSITIVE_INFINITY;
    const node = this.#config.peer ?? '';
    out.push({ type: 'fence', id: this.#underWay, node });
  }

  get deadlineMs(): number {
    const waits = this.#waiting && !(this.#waiting.needed && this.#config.stonith);
    const beginMs = waits ? (this.#lease?.beginMs ?? 0) : Number.POSITIVE_INFINITY;
    return Math.min(beginMs, this.#underWay === 0 ? this.#fenceMs : Number.POSITIVE_INFINITY);
  }
}
