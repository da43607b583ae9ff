/**
 * Replays recordings, of one node or of both, of drbdd and of heartbeat, merged by the wall clock. A recording whose beginning is
 * there is fed to its machine; of one that has wrapped the decisions are judged again.
 */
import type { DigestSource } from '../base/ports.js';
import type { FlightFile } from '../host/flight-read.js';
import { DecisionReplay } from './replay-decisions.js';
import { DrbdReplay } from './replay-drbd.js';
import type { ReplayEvent } from './replay-explain.js';
import { HeartbeatReplay } from './replay-heartbeat.js';
import type { Difference } from './replay-log.js';

export interface ReplayResult {
  /** Null: the same to the end. */
  readonly difference: Difference | null;
  /** The machine broke, as it did then; '' when it did not. */
  readonly broke: string;
  /** Inputs given, or decisions judged. */
  readonly inputs: number;
  readonly end: string; // why the recording ends; '' when the process was killed, or runs still
}

export interface Replay {
  readonly file: FlightFile;
  /** Fed to the machine; false: decisions alone. */
  readonly whole: boolean;
  /** When the next input happened; null at the end. */
  readonly nextWallMs: number | null;
  /** Goes on until the wall time; the result, when the recording has ended or the replay differs. */
  run(untilWallMs: number): ReplayResult | null;
}

export function replayOf(
  file: FlightFile,
  digests: DigestSource,
  emit: (event: ReplayEvent) => void,
): Replay {
  if (file.wrapped) return new DecisionReplay(file, emit);
  if (file.head.daemon === 'heartbeat') return new HeartbeatReplay(file, digests, emit);
  return new DrbdReplay(file, digests, emit);
}

/** Runs all of them in the order of their times. A result is null where `untilWallMs` came first. */
export function replayTogether(
  replays: readonly Replay[],
  untilWallMs: number,
): (ReplayResult | null)[] {
  const results: (ReplayResult | null)[] = replays.map(() => null);
  const open = new Set(replays.keys());
  for (;;) {
    let first = -1;
    let firstMs = Number.POSITIVE_INFINITY;
    let secondMs = Number.POSITIVE_INFINITY;
    for (const i of open) {
      const ms = replays[i]?.nextWallMs ?? Number.NEGATIVE_INFINITY; // at its end: it only says so
      if (first < 0 || ms < firstMs) {
        secondMs = firstMs;
        firstMs = ms;
        first = i;
      } else secondMs = Math.min(secondMs, ms);
    }
    const replay = replays[first];
    if (!replay || firstMs > untilWallMs) return results;
    const result = replay.run(Math.min(untilWallMs, secondMs));
    if (result) {
      results[first] = result;
      open.delete(first);
    }
  }
}
