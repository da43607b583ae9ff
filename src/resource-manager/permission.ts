/**
 * The door: nothing of a dead peer's is started before this machine has let it through.
 *
 *     ask -> the peer holds nothing: `unneeded` ----------------------------------> granted
 *            no device: `n_stnth`, as the original does without one --------------> granted
 *            device: (who holds nothing waits fence-delay) -> fence -> `OK` ------> granted
 *                                       ^-- 5 s --- `bad`, `badhost`: for ever
 *     withdraw: the peer is heard, or we leave: an answer that comes later grants nothing
 *
 * A reset that was asked for cannot be taken back. While one is under way no other begins, whatever was asked meanwhile: its
 * answer is not that of the new question. Pure. Source: heartbeat 3.0.6 observed with a device that works, fails and lies.
 *
 * Deliberately different from the original: it goes on shooting at a peer that is heard again, and a success then takes over
 * from a living one.
 */
import type { FenceAnswer } from './answers.js';
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
  | { readonly type: 'log'; readonly level: ResourceLevel; readonly text: string };

/** Words of the message `stonith`. */
export type FenceResult = Exclude<FenceAnswer, 'none'> | 'n_stnth' | 'unneeded';

const RETRY_MS = 5000;

export class Permission {
  readonly #config: PermissionConfig;
  #asked = 0; // the open question, 0: none
  #fenceMs = Number.POSITIVE_INFINITY; // when to shoot
  #underWay = 0; // the reset that was asked for and has not been answered, 0: none
  #answersFor = 0; // the question that it was asked for
  #lastFence = 0;

  constructor(config: PermissionConfig) {
    this.#config = config;
  }

  /** A question is open. */
  get isOpen(): boolean {
    return this.#asked !== 0;
  }

  /**
   * The peer is dead: may its groups be started? `needed`: it may run something; `holds`: we run something.
   * The answer is `permitted`, perhaps inside this call, or nothing.
   */
  ask(id: number, needed: boolean, holds: boolean, nowMs: number, out: PermissionEffect[]): void {
    const { peer, stonith, fenceDelayMs } = this.#config;
    if (peer === null) return;
    this.#asked = id;
    if (!needed) {
      out.push({ type: 'log', level: 'info', text: `Dead node ${peer} gave up resources.` });
      this.#grant('unneeded', out);
    } else if (stonith) {
      this.#fenceMs = nowMs + (holds ? 0 : fenceDelayMs);
      this.tick(nowMs, out);
    } else {
      this.#grant('n_stnth', out); // as the original, and as it says itself: nothing protects what both nodes can reach
    }
  }

  #grant(result: FenceResult, out: PermissionEffect[]): void {
    const id = this.#asked;
    const node = this.#config.peer ?? '';
    this.#close();
    out.push({ type: 'told', node, result });
    if (result === 'n_stnth') {
      out.push({ type: 'log', level: 'WARN', text: 'No STONITH device configured.' });
      out.push({ type: 'log', level: 'WARN', text: 'Shared disks are not protected.' });
    }
    out.push({ type: 'permitted', id });
  }

  #close(): void {
    this.#asked = 0;
    this.#fenceMs = Number.POSITIVE_INFINITY;
  }

  /** The peer is heard again, or we leave. Harmless when nothing is open. */
  withdraw(): void {
    this.#close();
  }

  fenced(id: number, answer: FenceAnswer, nowMs: number, out: PermissionEffect[]): void {
    if (id !== this.#underWay) return;
    const { peer } = this.#config;
    const node = peer ?? '';
    this.#underWay = 0;
    if (this.#answersFor !== this.#asked) {
      // Asked before the peer was heard again: it may have come back since it was reset, or be up in spite of it.
      const text = `STONITH of ${node}: ${answer}, too late: the question is not open any more.`;
      out.push({ type: 'log', level: 'WARN', text });
      this.tick(nowMs, out);
      return;
    }
    if (answer === 'OK') {
      this.#grant('OK', out);
      return;
    }
    const text = `STONITH of ${node} failed.  Retrying...`;
    out.push({ type: 'log', level: 'ERROR', text });
    out.push({ type: 'told', node, result: answer === 'none' ? 'badhost' : answer });
    this.#fenceMs = nowMs + RETRY_MS;
  }

  tick(nowMs: number, out: PermissionEffect[]): void {
    if (nowMs < this.#fenceMs || this.#underWay !== 0) return;
    this.#fenceMs = Number.POSITIVE_INFINITY;
    this.#underWay = ++this.#lastFence;
    this.#answersFor = this.#asked;
    const node = this.#config.peer ?? '';
    out.push({ type: 'fence', id: this.#underWay, node });
  }

  get deadlineMs(): number {
    return this.#underWay === 0 ? this.#fenceMs : Number.POSITIVE_INFINITY;
  }
}
