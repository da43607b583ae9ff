/**
 * `twinbeat recover` for the other node: the request goes there as a message of our own, and comes back as its answer.
 *
 *     here: recover rec_id=N dest=P [force activate] -> there: its health recovers -> recovered rec_id=N [why] -> here
 *
 * The original delivers neither to anybody (`to_id=twinbeat`): a node of it does not answer. A message is signed as all are.
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import type { Timers } from './timers.js';

export interface RecoverWish {
  readonly activatePrimary: boolean;
  readonly force: boolean;
}

export interface RecoverLinkHost {
  readonly peer: string | null;
  readonly timers: Timers;
  /** Of the present life; no other has it. */
  readonly generation: number;
  send(message: HaMessage): void;
  /** This node's own; null when it worked. */
  recover(wish: RecoverWish, done: (refusal: string | null) => void): void;
}

const ID = /^[0-9.]{1,32}$/;
/** Checks of a whole node, one after the other, and its disk. */
export const RECOVER_LIMIT_MS = 120_000;
const MAX_WORDS = 300;
/** An operator asks once or twice, not a hundred times. */
const MAX_PENDING = 8;

export class RecoverLink {
  readonly #host: RecoverLinkHost;
  readonly #pending = new Map<string, (refusal: string | null) => void>();
  #asked = 0;

  constructor(host: RecoverLinkHost) {
    this.#host = host;
  }

  /** The other node is to recover. `done` gets null, or why not; once, perhaps inside this call. */
  ask(wish: RecoverWish, done: (refusal: string | null) => void): void {
    const { peer, timers, generation } = this.#host;
    if (this.#pending.size >= MAX_PENDING) {
      done('too many requests are open');
      return;
    }
    const id = `${generation}.${++this.#asked}`;
    const silent = () =>
      finish(`node ${peer ?? ''} does not answer: is twinbeat's heartbeat there?`);
    const timer = timers.after(RECOVER_LIMIT_MS, silent);
    const finish = (refusal: string | null) => {
      timers.cancel(timer);
      this.#pending.delete(id);
      done(refusal);
    };
    this.#pending.set(id, finish);
    const yes = (flag: boolean) => (flag ? '1' : '0');
    const { force, activatePrimary } = wish;
    const fields = { force: yes(force), activate: yes(activatePrimary) };
    this.#send({ t: 'recover', rec_id: id, ...fields });
  }

  #send(fields: Readonly<Record<string, string>>): void {
    const { peer, send } = this.#host;
    if (peer === null) return;
    send(haFields({ ...fields, dest: peer, from_id: 'twinbeat', to_id: 'twinbeat' }));
  }

  receive(message: HaMessage): void {
    const id = fieldOf(message, 'rec_id') ?? '';
    if (!ID.test(id)) return;
    const type = fieldOf(message, 't');
    if (type === 'recover') {
      const force = fieldOf(message, 'force') === '1';
      const activatePrimary = fieldOf(message, 'activate') === '1';
      this.#host.recover({ force, activatePrimary }, (refusal) => {
        const why =
          refusal === null ? {} : { why: refusal.replace(/\s+/g, ' ').slice(0, MAX_WORDS) };
        this.#send({ t: 'recovered', rec_id: id, ...why });
      });
    } else if (type === 'recovered') {
      this.#pending.get(id)?.(fieldOf(message, 'why'));
    }
  }
}
