/**
 * Our part in a hand-over of groups: which phase it is in, what a message does, and when it is given up. The phases and their
 * messages are the table in standby.ts; what follows from a row is here.
 *
 * At most one is under way. While our own scripts run its step is not over, whatever the clock says.
 * Source: docs/HEARTBEAT.md, standby.
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import type { Claims } from './claims.js';
import { type Hold, parseHold, swapped } from './hold.js';
import type { ResourceEffect, ResourceLevel } from './resource-machine.js';
import {
  STANDBY_PHASES,
  type StandbyInfo,
  type StandbyMove,
  type StandbyPhase,
  type StandbyRow,
  standbyRow,
} from './standby.js';

/** An `ask_resources` message. */
export interface StandbyAsk {
  readonly rsc: Hold; // in the giver's terms
  readonly info: string | null;
  readonly from: string;
  readonly own: boolean;
}

/** Null: nothing to follow. `sender`: when the message does not say. */
export function readAsk(
  message: HaMessage,
  own: boolean,
  sender: string,
  out: ResourceEffect[],
): StandbyAsk | null {
  const from = fieldOf(message, 'src') ?? sender;
  const info = fieldOf(message, 'info');
  const rsc = parseHold(fieldOf(message, 'rsc_hold'));
  if (rsc === null) {
    const text = `ask_resources message from ${from} without a valid rsc_hold`;
    out.push({ type: 'log', level: 'ERROR', text });
    return null;
  }
  if (own && (info === 'other' || info === 'cancel')) return null; // our answers to the peer
  return { rsc, info, from, own };
}

export function sendAsk(rsc: Hold, info: StandbyInfo, out: ResourceEffect[]): void {
  const message = haFields({ t: 'ask_resources', rsc_hold: rsc, info });
  out.push({ type: 'send', message });
}

export class StandbyExchange {
  readonly #claims: Claims;
  #phase: StandbyPhase = 'NOT';
  #rsc: Hold = 'none'; // in the giver's terms
  #untilMs = Number.POSITIVE_INFINITY;
  #job = 0; // the job whose end is to be told by `done`

  constructor(claims: Claims) {
    this.#claims = claims;
  }

  get phase(): StandbyPhase {
    return this.#phase;
  }

  get deadlineMs(): number {
    return this.#job === 0 ? this.#untilMs : Number.POSITIVE_INFINITY;
  }

  #log(level: ResourceLevel, text: string, out: ResourceEffect[]): void {
    out.push({ type: 'log', level, text });
  }

  /** `flux`: why groups cannot change hands now, or null. What was done, or null: the message is not followed. */
  receive(
    ask: StandbyAsk,
    flux: string | null,
    nowMs: number,
    out: ResourceEffect[],
  ): StandbyMove | null {
    const { rsc, info, from, own } = ask;
    const row = standbyRow(this.#phase, info, own);
    if (!row) {
      this.#ignore(ask, nowMs, out);
      return null;
    }
    if (row.info === 'me') {
      if (flux !== null) {
        this.#log('WARN', `standby message [me] from ${from} ignored.  ${flux}`, out);
        return null;
      }
    } else if (rsc !== this.#rsc) {
      const text = `Ignored standby message '${row.info}' [${rsc}] from ${from}: [${this.#rsc}] is under way`;
      this.#log('WARN', text, out);
      if (row.info === 'other') sendAsk(rsc, 'cancel', out);
      return null;
    }
    this.#phase = row.next;
    this.#untilMs = row.next === 'NOT' ? Number.POSITIVE_INFINITY : nowMs + row.timeoutMs;
    this.#move(row, rsc, from, out);
    return row.move;
  }

  #ignore({ rsc, info, from }: StandbyAsk, nowMs: number, out: ResourceEffect[]): void {
    if (info === 'me') {
      const left = Math.max(0, Math.ceil((this.#untilMs - nowMs) / 1000));
      const text = `Standby in progress- new request from ${from} ignored [${left} seconds left]`;
      this.#log('WARN', text, out);
      return;
    }
    const state = STANDBY_PHASES.indexOf(this.#phase);
    const text = `Ignored standby message '${info ?? ''}' from ${from} in state ${state}`;
    this.#log('WARN', text, out);
    if (info === 'other' && this.#phase === 'NOT') sendAsk(rsc, 'cancel', out);
  }

  #move(row: StandbyRow, rsc: Hold, from: string, out: ResourceEffect[]): void {
    switch (row.move) {
      case 'ask':
      case 'agree':
        this.#rsc = rsc;
        this.#log('info', `${from} wants to go standby [${rsc}]`, out);
        if (row.move === 'agree') sendAsk(rsc, 'other', out);
        break;
      case 'give':
        if (this.#job !== 0) break; // said twice
        this.#log('info', `standby: ${from} can take our ${rsc} resources`, out);
        this.#claims.drop(rsc);
        this.#claims.say(false, 'standby', out);
        this.#log('info', `give up ${rsc} HA resources (standby).`, out);
        this.#job = this.#claims.give(rsc, out);
        break;
      case 'given':
        this.#log('info', `Local standby process completed [${rsc}].`, out);
        break;
      case 'take':
        this.#log('info', `standby: acquire [${rsc}] resources from ${from}`, out);
        this.#claims.otherStopped(rsc);
        this.#log('info', `acquire ${swapped(rsc)} HA resources (standby).`, out);
        // Claimed from here on (3.0.6: when it is done): a peer that restarts meanwhile must not start them too.
        this.#claims.claim(swapped(rsc));
        this.#job = this.#claims.take(swapped(rsc), out);
        break;
      case 'taken':
        this.#log('info', `Standby resource acquisition done [${rsc}].`, out);
        this.#claims.say(true, null, out);
        break;
      case 'over': {
        const text = `Other node completed standby takeover of ${rsc} resources.`;
        this.#log('info', text, out);
        this.#claims.gave(rsc);
        this.#claims.say(true, null, out);
        break;
      }
      case 'off':
        this.#log('info', `${from} does not go standby [${rsc}].`, out);
        break;
    }
  }

  /**
   * hb_standby: an operator's request, or our own after a failed start. The original sends it when it will not follow it
   * itself, too; the other node, if it can take the groups, then waits for them for an hour.
   */
  request(rsc: Hold, flux: string | null, out: ResourceEffect[]): void {
    const blocked = this.blocked(flux);
    if (blocked !== null) {
      this.#log('WARN', `request to go standby [${rsc}] ignored.  ${blocked}`, out);
      return;
    }
    this.#log('info', `Going standby [${rsc}].`, out);
    sendAsk(rsc, 'me', out);
  }

  blocked(flux: string | null): string | null {
    return this.#phase === 'NOT' ? flux : 'Standby in progress.';
  }

  /** True when the job was a part of it: the peer has been told. */
  jobDone(id: number, out: ResourceEffect[]): boolean {
    if (id !== this.#job) return false;
    this.#job = 0;
    const rsc = this.#rsc;
    const isGiver = this.#phase === 'ME';
    const what = isGiver
      ? `${rsc} HA resource release completed (standby).`
      : `${swapped(rsc)} HA resource acquisition completed (standby).`;
    this.#log('info', what, out);
    if (isGiver) this.#claims.gave(rsc); // it says that it claims them when its scripts have run
    sendAsk(rsc, 'done', out);
    return true;
  }

  cancel(why: string, out: ResourceEffect[]): void {
    if (this.#phase === 'NOT') return;
    this.#log('info', why, out);
    this.end();
  }

  /** We leave: nobody is told. */
  end(): void {
    this.#phase = 'NOT';
    this.#untilMs = Number.POSITIVE_INFINITY;
    this.#job = 0;
  }

  /** True when it was given up for want of an answer. */
  expire(nowMs: number, out: ResourceEffect[]): boolean {
    if (nowMs < this.deadlineMs) return false;
    this.cancel('No reply to standby request.  Standby request cancelled.', out);
    return true;
  }
}
