/**
 * Programs of `respawn` and `failfast` lines: started in the order of ha.cf when communication is up, again when they end, and ended
 * last to first at a shutdown. What is built in (heartbeat-clients.ts) is not among them.
 *
 *     waiting --a second--> running --ends--> waiting
 *                                   --exit 100, or eleven short lives one after the other--> given up
 *                                   --failfast--> the machine is rebooted
 *     running --TERM, one after the other--> ended;  --too long--> KILL
 *
 * Pure: the driver (real/respawn-child.ts) starts and signals, and tells their ends. Source: heartbeat 3.0.6 observed.
 */
import type { RespawnClient } from '../config/ha-cf.js';
import type { NodeLogLevel } from './node-ports.js';

export type RespawnEffect =
  /** Answered by `ended` with the id, once: also when it could not be started. */
  | { readonly type: 'start'; readonly id: number; readonly client: RespawnClient }
  | { readonly type: 'signal'; readonly id: number; readonly signal: 'SIGTERM' | 'SIGKILL' }
  | { readonly type: 'reboot'; readonly why: string }
  /** After `stop`: nothing runs any more. */
  | { readonly type: 'stopped' }
  | { readonly type: 'log'; readonly level: NodeLogLevel; readonly text: string };

export interface ChildEnd {
  readonly pid: number | null; // null: it was not started
  readonly status: number | null; // null: by a signal, or not started
  readonly how: string; // 'exited with return code 1.'
}

/** A child that ends with it does not want to be started again. */
const NO_MORE = 100;
/** As the original has them. */
const SHORT_LIFE_MS = 30_000;
const MOST_SHORT_LIVES = 11;
const AGAIN_MS = 1000;
/** One that does not end by TERM is killed, so that the node can leave; the original waits for ever. */
const TERM_LIMIT_MS = 10_000;

interface Child {
  readonly client: RespawnClient;
  readonly command: string;
  id: number | null; // of the process that runs
  startedMs: number;
  dueMs: number; // its next start; Infinity: none is planned
  shortLives: number;
  termMs: number | null; // since when it is to end
  isKilled: boolean;
  isGone: boolean; // its line is not in ha.cf any more
}

function commandOf({ path, args }: RespawnClient): string {
  return [path, ...args].join(' ');
}

function keyOf({ user, path, args, failfast }: RespawnClient): string {
  return JSON.stringify([user, path, args, failfast]);
}

export class Respawn {
  #children: Child[] = [];
  #lines: readonly RespawnClient[] = [];
  #nextId = 1;
  #isActive = false;
  #isStopping = false;
  #isWanted = false; // again, when all have ended

  /** What ha.cf says, at the start and at a reload: of a line that is still there nothing is touched. */
  configure(lines: readonly RespawnClient[], nowMs: number, out: RespawnEffect[]): void {
    this.#lines = lines;
    if (!this.#isActive || this.#isStopping) return;
    const old = this.#children.filter((child) => !child.isGone);
    const leaving = this.#children.filter((child) => child.isGone);
    const kept: Child[] = [];
    for (const client of lines) {
      const at = old.findIndex((child) => keyOf(child.client) === keyOf(client));
      const [same] = at < 0 ? [] : old.splice(at, 1);
      kept.push(same ?? newChild(client, nowMs));
    }
    for (const child of old.reverse()) {
      child.isGone = true;
      child.dueMs = Number.POSITIVE_INFINITY;
      if (child.id !== null) leaving.push(child);
    }
    for (const child of leaving) if (child.termMs === null) this.#end(child, nowMs, out);
    this.#children = [...kept, ...leaving];
    this.tick(nowMs, out);
  }

  /** Communication is up. More than once is harmless: the next life of a daemon whose children run on. */
  start(nowMs: number, out: RespawnEffect[]): void {
    this.#isWanted = this.#isStopping;
    if (this.#isActive) return;
    this.#isActive = true;
    this.#children = this.#lines.map((client) => newChild(client, nowMs));
    this.tick(nowMs, out);
  }

  /** All of them end, the last one first; then `stopped`, perhaps inside this call. They can be started again after that. */
  stop(nowMs: number, out: RespawnEffect[]): void {
    this.#isWanted = false;
    if (this.#isStopping) return;
    this.#isStopping = true;
    for (const child of this.#children) child.dueMs = Number.POSITIVE_INFINITY;
    this.#endNext(nowMs, out);
  }

  /** The process of a `start` ended, or did not begin. */
  ended(id: number, end: ChildEnd, nowMs: number, out: RespawnEffect[]): void {
    const child = this.#children.find((one) => one.id === id);
    if (!child) return;
    child.id = null;
    const wasTold = child.termMs !== null;
    child.termMs = null;
    child.isKilled = false;
    const { command } = child;
    const text =
      end.pid === null
        ? `Client ${command} ${end.how}`
        : `Managed ${command} process ${end.pid} ${end.how}`;
    const isQuiet = wasTold && end.pid !== null;
    out.push({ type: 'log', level: isQuiet ? 'info' : 'WARN', text });
    if (child.isGone) this.#children = this.#children.filter((one) => one !== child);
    if (this.#isStopping) this.#endNext(nowMs, out);
    else if (!child.isGone) this.#again(child, end, nowMs, out);
  }

  #again(child: Child, end: ChildEnd, nowMs: number, out: RespawnEffect[]): void {
    if (end.status === NO_MORE) return;
    const { command } = child;
    const isDead = end.pid !== null; // and not one that could not be started
    if (child.client.failfast && isDead)
      out.push({ type: 'reboot', why: `failfast ${command} ended` });
    // Also when the reboot was asked for: where there is none it runs again.
    const isShort = nowMs - child.startedMs < SHORT_LIFE_MS;
    child.shortLives = isShort ? child.shortLives + 1 : 0;
    if (child.shortLives >= MOST_SHORT_LIVES) {
      const text = `Client ${command} "respawning too fast"`;
      out.push({ type: 'log', level: 'ERROR', text });
      return;
    }
    out.push({ type: 'log', level: 'ERROR', text: `Respawning client "${command}":` });
    child.dueMs = nowMs + AGAIN_MS;
  }

  #end(child: Child, nowMs: number, out: RespawnEffect[]): void {
    if (child.id === null) return;
    const text = `killing ${child.command} process group with signal 15`;
    out.push({ type: 'log', level: 'info', text });
    out.push({ type: 'signal', id: child.id, signal: 'SIGTERM' });
    child.termMs = nowMs;
  }

  /** One after the other, as the original. */
  #endNext(nowMs: number, out: RespawnEffect[]): void {
    const last = this.#children.findLast((child) => child.id !== null);
    if (last) {
      if (last.termMs === null) this.#end(last, nowMs, out);
      return;
    }
    this.#isStopping = false;
    this.#isActive = false;
    this.#children = [];
    out.push({ type: 'stopped' });
    if (this.#isWanted) this.start(nowMs, out);
  }

  tick(nowMs: number, out: RespawnEffect[]): void {
    for (const child of this.#children) {
      if (child.id !== null && child.termMs !== null && !child.isKilled) {
        if (nowMs < child.termMs + TERM_LIMIT_MS) continue;
        child.isKilled = true;
        const text = `${child.command} does not end by signal 15: killed`;
        out.push({ type: 'log', level: 'WARN', text });
        out.push({ type: 'signal', id: child.id, signal: 'SIGKILL' });
      } else if (child.id === null && nowMs >= child.dueMs) {
        child.id = this.#nextId++;
        child.dueMs = Number.POSITIVE_INFINITY;
        child.startedMs = nowMs;
        out.push({ type: 'start', id: child.id, client: child.client });
      }
    }
  }

  get deadlineMs(): number {
    const kills = this.#children.map((child) =>
      child.id !== null && child.termMs !== null && !child.isKilled
        ? child.termMs + TERM_LIMIT_MS
        : Number.POSITIVE_INFINITY,
    );
    return Math.min(...this.#children.map((child) => child.dueMs), ...kills);
  }
}

function newChild(client: RespawnClient, nowMs: number): Child {
  return {
    client,
    command: commandOf(client),
    id: null,
    startedMs: nowMs,
    dueMs: nowMs,
    shortLives: 0,
    termMs: null,
    isKilled: false,
    isGone: false,
  };
}
