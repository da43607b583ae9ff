/**
 * `cl_status clientstatus` about the other node: its heartbeat is asked, and knows what runs there.
 *
 *     query-cstatus cn=CLIENT from_id=NUMBER -> respond-cstatus to_id=NUMBER cs=online|offline
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import type { TimerId, Timers } from './timers.js';

export interface ClientStatusHost {
  readonly timers: Timers;
  /** Of the present life: an answer to an earlier one is not taken for one to this. */
  readonly generation: number;
  send(message: HaMessage): void;
}

/** More questions at one time are not asked: somebody calls cl_status in a loop. */
const MAX_OPEN = 64;

interface Question {
  readonly timer: TimerId;
  readonly done: (status: string | null) => void;
}

export class ClientStatus {
  readonly #host: ClientStatusHost;
  readonly #open = new Map<string, Question>();
  #asked = 0;

  constructor(host: ClientStatusHost) {
    this.#host = host;
  }

  /** `done` gets `online` or `offline`, null: no answer in time. Once, perhaps inside this call. */
  ask(
    node: string,
    client: string,
    timeoutMs: number,
    done: (status: string | null) => void,
  ): void {
    if (this.#open.size >= MAX_OPEN) {
      done(null);
      return;
    }
    const id = `${this.#host.generation}.${++this.#asked}`;
    const timer = this.#host.timers.after(timeoutMs, () => this.#finish(id, null));
    this.#open.set(id, { timer, done });
    this.#host.send(haFields({ t: 'query-cstatus', dest: node, cn: client, from_id: id }));
  }

  /** A message of the other node for a client of ours. */
  receive(message: HaMessage): void {
    if (fieldOf(message, 't') !== 'respond-cstatus') return;
    const status = fieldOf(message, 'cs');
    const words = ['online', 'offline', 'join', 'leave'];
    this.#finish(fieldOf(message, 'to_id') ?? '', words.find((word) => word === status) ?? null);
  }

  #finish(id: string, status: string | null): void {
    const question = this.#open.get(id);
    if (!question) return;
    this.#open.delete(id);
    this.#host.timers.cancel(question.timer);
    question.done(status);
  }
}
