/**
 * A node that sends with a lower generation than was heard of it before: a replay of what it once sent, or the node itself, whose
 * hb_generation was lost or came back from a backup. It has to prove that it lives:
 *
 *     query-cstatus from_id=NUMBER  ->  respond-cstatus to_id=NUMBER        the number is drawn for this, nobody has it recorded
 *
 * The original answers, too: it is the question of cl_status clientstatus. Without an answer nothing is believed, and the node
 * is as silent as if nothing had come. Were it believed, what an old life claimed would count; were a living node not, it would
 * be taken for dead, and its services run twice.
 */
import type { RandomSource } from '../base/ports.js';
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';

export type DoubtEffect =
  | { readonly type: 'ask'; readonly message: HaMessage }
  /** It asks the same of us: it is answered, or two nodes that doubt each other never meet. */
  | { readonly type: 'asked' }
  | { readonly type: 'log'; readonly level: 'ERROR' | 'WARN'; readonly text: string };

const ASK_MS = 1000;
const SAY_MS = 60_000;

export class Doubt {
  readonly #node: string;
  readonly #random: RandomSource;
  #number: string | null = null;
  #askedMs = Number.NEGATIVE_INFINITY;
  #answeredMs = Number.NEGATIVE_INFINITY;
  #saidMs = Number.NEGATIVE_INFINITY;

  constructor(node: string, random: RandomSource) {
    this.#node = node;
    this.#random = random;
  }

  /** A message with a lower generation than `known`. True: it is the proof. */
  hear(
    message: HaMessage,
    generation: number,
    known: number,
    nowMs: number,
    out: DoubtEffect[],
  ): boolean {
    const type = fieldOf(message, 't');
    if (type === 'respond-cstatus' && this.#number !== null) {
      if (fieldOf(message, 'to_id') === this.#number) {
        this.#number = null;
        const text = `node ${this.#node} lives, with generation ${generation} after ${known}: was its hb_generation lost?`;
        out.push({ type: 'log', level: 'WARN', text });
        return true;
      }
    }
    if (nowMs - this.#saidMs >= SAY_MS) {
      this.#saidMs = nowMs;
      const text = `should_drop_message: attempted replay attack [${this.#node}]? [gen = ${generation}, curgen = ${known}]: not believed unless it answers. If it is no replay, node ${this.#node} does not hear this one.`;
      out.push({ type: 'log', level: 'ERROR', text });
    }
    if (type === 'query-cstatus' && nowMs - this.#answeredMs >= ASK_MS) {
      this.#answeredMs = nowMs;
      out.push({ type: 'asked' });
    }
    if (nowMs - this.#askedMs >= ASK_MS) {
      this.#askedMs = nowMs;
      this.#number ??= `${hex(this.#random.u32())}${hex(this.#random.u32())}`;
      const ask = { t: 'query-cstatus', dest: this.#node, cn: 'heartbeat', from_id: this.#number };
      out.push({ type: 'ask', message: haFields(ask) });
    }
    return false;
  }
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}
