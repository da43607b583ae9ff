/**
 * `stop-failure = fence`: a node that cannot stop a group asks the other one to reset it, by a message of our own.
 *
 *     here: fence_me fence_id=N dest=P -> there: its device resets us -> (we are gone; it takes over as from any dead node)
 *                                                fails, or there is none -> fenced_not fence_id=N why -> here: stop-failure = reboot
 *
 * Only the node that is reset can ask for it. Its groups are not freed by the answer: the other node takes them when it is dead and reset
 * through its own door (permission.ts), so a device that lies costs nothing more than it does then. Until it is down this node goes on
 * claiming. The original delivers neither message to anybody (`to_id=twinbeat`): beside it the time runs out.
 */
import type { FenceAnswer } from '../resource-manager/answers.js';
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import type { NodeLogLevel } from './node-ports.js';
import type { Timers } from './timers.js';

export interface FenceLinkHost {
  readonly peer: string | null;
  readonly timers: Timers;
  /** Of the present life; no other has it. */
  readonly generation: number;
  /** What the other node's device may take, by our own configuration. */
  readonly limitMs: number;
  /** The other node is active. */
  isThere(): boolean;
  /** Of its present life; 0: none is known. */
  peerGeneration(): number;
  send(message: HaMessage): void;
  /** Reset the other node. */
  reset(done: (answer: FenceAnswer) => void): void;
  log(level: NodeLogLevel, text: string): void;
}

/** The reset itself, and the way there and back. */
const MARGIN_MS = 10_000;
const MAX_WORDS = 100;

export class FenceLink {
  readonly #host: FenceLinkHost;
  #asked = 0;
  #refused: ((why: string) => void) | null = null; // for the open request
  #isResetting = false;

  constructor(host: FenceLinkHost) {
    this.#host = host;
  }

  /** This node is to be reset. `refused` is called when that is not to be had; once, perhaps inside this call, and not for a second request. */
  ask(refused: (why: string) => void): void {
    const { peer, timers, limitMs, log } = this.#host;
    if (this.#refused) return;
    if (peer === null || !this.#host.isThere()) {
      refused('there is no other node that could');
      return;
    }
    const finish = (why: string): void => {
      timers.cancel(timer);
      this.#refused = null;
      refused(why);
    };
    const silent = `node ${peer} has not done it in time`;
    const timer = timers.after(limitMs + MARGIN_MS, () => finish(silent));
    this.#refused = finish;
    log('CRIT', `Asking ${peer} to reset this node.`);
    this.#send({ t: 'fence_me', fence_id: this.#id(++this.#asked) });
  }

  #id(number: number): string {
    return `${this.#host.generation}.${number}`;
  }

  #send(fields: Readonly<Record<string, string>>): void {
    const { peer, send } = this.#host;
    if (peer === null) return;
    send(haFields({ ...fields, dest: peer, from_id: 'twinbeat', to_id: 'twinbeat' }));
  }

  /** A message of the other node. */
  receive(message: HaMessage): void {
    const type = fieldOf(message, 't');
    const id = fieldOf(message, 'fence_id') ?? '';
    if (type === 'fenced_not' && id === this.#id(this.#asked)) {
      this.#refused?.((fieldOf(message, 'why') ?? '').slice(0, MAX_WORDS));
    } else if (type === 'fence_me') this.#reset(id);
  }

  #reset(id: string): void {
    const { peer, peerGeneration, reset, log } = this.#host;
    // Of the life that speaks: one before it is gone, and with it what could not be stopped.
    const isOfThisLife = /^\d{1,15}\.\d{1,9}$/.test(id) && id.startsWith(`${peerGeneration()}.`);
    if (!isOfThisLife || this.#isResetting) return;
    this.#isResetting = true;
    log('CRIT', `Node ${peer} cannot stop a group, and asks to be reset.`);
    reset((answer) => {
      this.#isResetting = false;
      if (answer === 'OK') return; // its death does the rest
      const why = answer === 'none' ? 'no device is configured there' : `the device says ${answer}`;
      this.#send({ t: 'fenced_not', fence_id: id, why });
    });
  }
}
