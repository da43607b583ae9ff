/**
 * The client of a service that moves: it has numbered records of 4 KiB written to a file, each synced, and counts one as
 * acknowledged when its node has said so after fsync(2). A record that was not acknowledged is asked for again, of whoever has
 * the service next, as a client does. What the file must hold at the end follows from that alone.
 */
import { until } from '../support/until.js';

export const RECORD_BYTES = 4096;
const SLOTS = 1024;
export const RECORDS_FILE = 'records';

/** Runs a shell command where the service is; throws when the node dies. */
export type Serve = (command: string) => Promise<{ readonly status: number; readonly out: string }>;

/** Ten digits at the end of a record, blanks before them. */
function bytesOf(number: number): Buffer {
  return Buffer.from(`${String(number).padStart(RECORD_BYTES - 1)}\n`);
}

export class MigrationClient {
  /** Records 1 ... acknowledged are. */
  acknowledged = 0;
  /** Why the service does not answer any more. */
  failure: string | null = null;
  #running: Promise<void> | null = null;
  #stopping = false;

  /** The service is there, on this directory. */
  start(serve: Serve, directory: string): void {
    if (this.#running !== null) throw new Error('the service is started twice');
    this.failure = null;
    this.#stopping = false;
    this.#running = this.#write(serve, `${directory}/${RECORDS_FILE}`);
  }

  async #write(serve: Serve, file: string): Promise<void> {
    while (!this.#stopping) {
      const number = this.acknowledged + 1;
      const said = await serve(
        `printf '%${RECORD_BYTES - 1}d\\n' ${number} | dd of=${file} bs=${RECORD_BYTES} seek=${(number - 1) % SLOTS} iflag=fullblock conv=notrunc,fsync 2>&1`,
      ).catch((error: unknown) => ({ status: -1, out: String(error) }));
      if (said.status !== 0) {
        this.failure = `record ${number}: status ${said.status}: ${said.out}`;
        return;
      }
      this.acknowledged = number;
    }
  }

  /** The last answer has come. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
    this.#running = null;
  }

  /** So many more are acknowledged by the service that runs now. */
  async more(count: number): Promise<void> {
    const goal = this.acknowledged + count;
    await until(
      () => this.acknowledged >= goal || this.failure !== null,
      () => `record ${goal}; ${this.acknowledged} is acknowledged`,
    );
    if (this.failure !== null) throw new Error(this.failure);
  }

  /** All of the file, after stop(). */
  expected(): Buffer {
    const slots = Math.min(SLOTS, this.acknowledged);
    const last = (slot: number): number =>
      slot + 1 + Math.floor((this.acknowledged - slot - 1) / SLOTS) * SLOTS;
    return Buffer.concat(Array.from({ length: slots }, (_, slot) => bytesOf(last(slot))));
  }

  /** Acknowledged records that a copy of the file does not have. */
  lost(found: Buffer): string[] {
    const expected = this.expected();
    const lost: string[] = [];
    for (let at = 0; at < expected.length; at += RECORD_BYTES) {
      const record = expected.subarray(at, at + RECORD_BYTES);
      if (!found.subarray(at, at + RECORD_BYTES).equals(record)) lost.push(`${record}`.trim());
    }
    return lost;
  }
}
