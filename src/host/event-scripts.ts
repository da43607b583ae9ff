/**
 * Event scripts: for a message of a type that nothing here acts upon, the program of that name in /etc/ha.d/rc.d. They wait for each
 * other, and none begins while a resource script runs.
 *
 *     message -> is there rc.d/TYPE, and has TYPE no handler? -> queue -> one at a time
 *
 * The five that the original ships (status, ip-request, ip-request-resp, hb_takeover, ask_resources) are what it takes groups over
 * with: here that is built in, and a second time it may not be done. So those names are never run.
 *
 * Pure. The driver (real/event-scripts.ts) knows the directory and runs the programs. Source: heartbeat 3.0.6 observed.
 */
import { fieldOf, type HaMessage } from '../wire/hamsg.js';

/** More is not kept: a script hangs, or somebody sends without end. */
const MOST_WAITING = 50;

/** What a part of this daemon acts upon: the nodes, ipfail, dopd, `twinbeat recover`. */
const HANDLED: ReadonlySet<string> = new Set([
  'status',
  'reqnodes',
  'repnodes',
  'starting',
  'resource',
  'ask_resources',
  'hb_takeover',
  'ip-request',
  'ip-request-resp',
  'shutdone',
  'hbapi-clstat',
  'query-cstatus',
  'respond-cstatus',
  'stonith',
  'num_ping_nodes',
  'you_are_dead',
  'abort_giveup',
  'start_outdate',
  'outdate_rc',
  'recover',
  'recovered',
]);

/** A file name, and nothing that leads elsewhere. */
const TYPE = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;

/** A type of others, which nothing here acts upon: it may have a script, and programs may send it. */
export function isForeignType(type: string): boolean {
  return TYPE.test(type) && !type.startsWith('NS_') && !HANDLED.has(type);
}

export interface Event {
  readonly type: string;
  readonly message: HaMessage;
}

export class EventQueue {
  readonly #waiting: Event[] = [];
  #types: ReadonlySet<string> = new Set();
  #isRunning = false;
  #dropped = 0;

  /** Names of programs in the directory. */
  setTypes(names: readonly string[]): void {
    this.#types = new Set(names.filter(isForeignType));
  }

  /** False: there were too many, it is dropped. What has no script is none of ours: true. */
  add(message: HaMessage): boolean {
    const type = fieldOf(message, 't') ?? '';
    if (!this.#types.has(type)) return true;
    if (this.#waiting.length >= MOST_WAITING) {
      this.#dropped++;
      return this.#dropped > 1; // said once until the queue is empty
    }
    this.#waiting.push({ type, message });
    return true;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** What is to run now. `isBusy`: a resource script runs. */
  next(isBusy: boolean): Event | null {
    if (isBusy || this.#isRunning) return null;
    const event = this.#waiting.shift() ?? null;
    this.#isRunning = event !== null;
    if (this.#waiting.length === 0) this.#dropped = 0;
    return event;
  }

  /** The one that ran has ended. */
  done(): void {
    this.#isRunning = false;
  }

  /** The life is over: what waits is not run any more. */
  clear(): void {
    this.#waiting.length = 0;
  }
}

/**
 * HA_FIELD for each field that can be one. Binary ones are left out, as by the original. Names of heartbeat's fields begin with a small
 * letter, and the variables that harc and scripts go by (HA_DEBUGLOG is a file that is written) with a large one: those nobody may send.
 */
export function eventEnvironment(message: HaMessage): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const field of message) {
    if (typeof field.value !== 'string' || field.value.includes('\0')) continue;
    if (/^[a-z]\w{0,63}$/.test(field.name)) found[`HA_${field.name}`] ??= field.value;
  }
  return found;
}
