/**
 * A recording while it is replayed: the machine asks, the recording answers. Where the two do not fit together the replay ends
 * with a Difference that shows both sides.
 */
import { R, recordName } from '../host/flight-format.js';
import type { FlightFile, Rec, RecordCursor } from '../host/flight-read.js';

/** The machine does something else than was recorded. */
export class Difference extends Error {
  override name = 'Difference';
  readonly place: number; // offset in the file
  readonly recorded: string;
  readonly replayed: string;

  constructor(place: number, recorded: string, replayed: string) {
    super(`at byte ${place} of the recording: recorded ${recorded}; replayed ${replayed}`);
    this.place = place;
    this.recorded = recorded;
    this.replayed = replayed;
  }
}

/** The recording ends here, perhaps in the middle of a turn (the process was killed). */
export class EndOfRecording extends Error {
  override name = 'EndOfRecording';
}

export class ReplayLog {
  readonly #cursor: RecordCursor;
  /** The record that is due. */
  readonly rec: Rec;
  /** What was thrown first: on its way out others may follow (a turn is ended all the same). */
  first: Difference | null = null;
  #us: number; // before the record that is due
  #wallMs = 0;

  constructor(file: FlightFile) {
    this.#cursor = file.records();
    this.rec = this.#cursor.rec;
    this.#us = this.#cursor.us;
    this.#wallMs = file.head.wallMs;
    this.#cursor.next();
  }

  /** Clock of the machine, microseconds. */
  get us(): number {
    return this.#us;
  }
  get wallMs(): number {
    return this.#wallMs;
  }
  /** When the record that is due happened. */
  get dueWallMs(): number {
    return this.#cursor.wallMs;
  }

  advance(): void {
    // What was due has happened: its time is the machine's.
    this.#us = this.#cursor.us;
    this.#wallMs = this.#cursor.wallMs;
    this.#cursor.next();
    if (this.rec.kind === R.WALL) this.advance();
  }

  differs(recorded: string, replayed: string, place = this.rec.place): Difference {
    this.first ??= new Difference(place, recorded, replayed);
    return this.first;
  }

  /** Whether a record of this kind is due. */
  due(kind: number): boolean {
    return this.rec.kind === kind;
  }

  /** The answer to what the machine asked: `rec` is it until `advance`. */
  expect(kind: number, asked: string): Rec {
    const { rec } = this;
    if (rec.kind === 0) throw new EndOfRecording();
    if (rec.kind !== kind) throw this.differs(describeRecord(rec), asked);
    return rec;
  }

  /** As `expect`, with one number that has to be the same. */
  same(kind: number, recorded: number, replayed: number, asked: string): void {
    if (recorded === replayed) return;
    throw this.differs(`${recordName(kind)} ${recorded}`, `${asked}: ${replayed}`);
  }
}

export function describeRecord(rec: Rec): string {
  const name = recordName(rec.kind);
  const text = [rec.text, rec.text2].filter((t) => t !== '').join(' ');
  switch (rec.kind) {
    case R.LOG:
      return `the log line "${rec.text}: ${rec.text2}"`;
    case R.HANDLER:
      return `the handler ${rec.text} of ${rec.text2}`;
    case R.REPLY:
      return `the answer "${rec.text}"`;
    case R.STATE:
      return `a change of state of minor ${rec.a}`;
    case R.REQUEST:
    case R.STOP:
    case R.BEAT:
      return `${name} ${text}`;
    default:
      return name;
  }
}
