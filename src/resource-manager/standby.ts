/**
 * Standby: handing groups over in three phases of `ask_resources` messages. `rsc_hold` is in the terms of the giver.
 *
 *     giver                             taker
 *     NOT   -- me ------------------->  NOT
 *     ME    <----------------- other --  OTHER           10 s for this answer
 *     ME    (stops the groups)
 *           -- done ----------------->  OTHER
 *     DONE  (own done)                  DONE (peer's done), starts the groups
 *     NOT   <------------------ done --  NOT  (own done)
 *
 * A giver that has not asked, or asks no longer, answers `other` by `cancel`, which is ours: the taker waits for an hour
 * otherwise, as it does for the original.
 *
 * This file is the table: what a message does in a phase. What follows from it is the resource state machine's.
 * Source: docs/HEARTBEAT.md, standby.
 */

export type StandbyPhase = 'NOT' | 'ME' | 'OTHER' | 'DONE';
export type StandbyInfo = 'me' | 'other' | 'done' | 'cancel';

export const STANDBY_PHASES: readonly StandbyPhase[] = ['NOT', 'ME', 'OTHER', 'DONE'];

export type StandbyMove =
  | 'ask' // our own request
  | 'agree' // the peer's request: answer `other`
  | 'give' // the peer agreed: stop
  | 'given' // our own done
  | 'take' // the peer's done: start
  | 'taken' // our own done
  | 'over' // the peer's done: it runs there
  | 'off'; // the peer gives nothing

export interface StandbyRow {
  readonly phase: StandbyPhase;
  readonly info: StandbyInfo;
  readonly own: boolean;
  readonly move: StandbyMove;
  readonly next: StandbyPhase;
  readonly timeoutMs: number;
}

const ANSWER_MS = 10_000;
const WORK_MS = 3_600_000;

export const STANDBY_TABLE: readonly StandbyRow[] = [
  { phase: 'NOT', info: 'me', own: true, move: 'ask', next: 'ME', timeoutMs: ANSWER_MS },
  { phase: 'NOT', info: 'me', own: false, move: 'agree', next: 'OTHER', timeoutMs: WORK_MS },
  { phase: 'ME', info: 'other', own: false, move: 'give', next: 'ME', timeoutMs: WORK_MS },
  { phase: 'ME', info: 'done', own: true, move: 'given', next: 'DONE', timeoutMs: WORK_MS },
  { phase: 'OTHER', info: 'done', own: false, move: 'take', next: 'DONE', timeoutMs: WORK_MS },
  { phase: 'OTHER', info: 'cancel', own: false, move: 'off', next: 'NOT', timeoutMs: 0 },
  { phase: 'DONE', info: 'done', own: true, move: 'taken', next: 'NOT', timeoutMs: 0 },
  { phase: 'DONE', info: 'done', own: false, move: 'over', next: 'NOT', timeoutMs: 0 },
];

export function standbyRow(
  phase: StandbyPhase,
  info: string | null,
  own: boolean,
): StandbyRow | null {
  return (
    STANDBY_TABLE.find((row) => row.phase === phase && row.info === info && row.own === own) ?? null
  );
}
