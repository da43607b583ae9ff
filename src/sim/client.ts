/**
 * The service's client on the node where the service runs: keeps some requests under way on the device, tells the ledger
 * what it was promised, and judges what it reads. Rows are writes to an area of their own that are synced before they
 * count, as a database commits.
 */
import type { Prng } from '../base/prng.js';
import type { NodeName } from './config.js';
import { logBetween } from './dice.js';
import { type BadSector, contentOf, type Ledger, type Lineage, stamp } from './ledger.js';
import type { Clock } from './node-clock.js';
import type { DeviceOp, DeviceRequest, SimDevice } from './sim-device.js';
import type { SimDisk } from './sim-disk.js';

export interface ClientHost {
  readonly node: NodeName;
  readonly clock: Clock;
  readonly device: SimDevice;
  readonly random: Prng;
  readonly ledger: Ledger;
  readonly depth: number;
  readonly thinkMs: number;
  lineage(): Lineage;
  /** A write or erase was acknowledged. */
  acknowledged(id: number, sector: number, sectors: number, fua: boolean): void;
  /** A flush was answered well. */
  flushed(): void;
  bad(what: string, found: BadSector): void;
  rowAcknowledged(id: number): void;
  /** Each request and its answer, for a trace in full; null: not wanted. */
  readonly note: ((text: string) => void) | null;
  /** Any request was answered: 0 or errno. */
  answered(error: number, op: DeviceOp, tookMs: number): void;
}

interface Busy {
  readonly id: number; // of the ledger, 0: none
  readonly askedMs: number;
  readonly op: DeviceOp;
  readonly sector: number;
  readonly sectors: number;
}

/** A row is one block of 4 KiB; the first rows of the device are theirs. */
export const ROW_SECTORS = 8;
const ROWS = 16;
export const ROW_AREA_SECTORS = ROWS * ROW_SECTORS;
const MOST_WRITES_WITHOUT_FLUSH = 64;

export class Client {
  readonly #host: ClientHost;
  readonly #busy = new Set<Busy>();
  #running = true;
  readonly #stopped: (() => void)[] = []; // who waits for its end
  #sinceFlush = 0;
  #nextRow = 0;
  errors = 0;
  answered = 0;

  constructor(host: ClientHost) {
    this.#host = host;
    for (let i = 0; i < host.depth; i++) this.#later(0);
  }

  /** Requests that were not answered. */
  get pending(): number {
    return this.#busy.size;
  }

  /** When the oldest write that is not answered was asked for, by the node's clock; +Infinity: there is none. */
  get oldestWriteMs(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { id, askedMs } of this.#busy) if (id > 0) oldest = Math.min(oldest, askedMs);
    return oldest;
  }

  /** Numbers of the writes and erases that were not answered. */
  get writesUnderWay(): number[] {
    return [...this.#busy].map(({ id }) => id).filter((id) => id > 0);
  }

  /** Which of them a disk holds in full. */
  writesHeldBy(disk: SimDisk): number[] {
    const held = ({ id, op, sector, sectors }: Busy): boolean => {
      const bytes = disk.content(sector * 512, sectors * 512);
      for (let i = 0; i < sectors; i++) {
        if (contentOf(bytes, i * 512, sector + i) !== (op === 'write' ? id : 0)) return false;
      }
      return true;
    };
    return [...this.#busy].filter((busy) => busy.id > 0 && held(busy)).map(({ id }) => id);
  }

  /** No new requests; `done` when the last one is answered. Several may ask for it. */
  stop(done: () => void): void {
    this.#running = false;
    if (this.#busy.size === 0) done();
    else this.#stopped.push(done);
  }

  /** The process is killed: nobody hears the answers of what is under way. */
  kill(): void {
    this.#running = false;
    for (const { id } of this.#busy) if (id > 0) this.#host.ledger.lost(id);
    this.#busy.clear();
    this.#ended();
  }

  #later(least: number): void {
    const { thinkMs, random, clock } = this.#host;
    const ms = least + (thinkMs > 0 ? random.below(2 * thinkMs * 1000) / 1000 : 0);
    clock.after(ms, () => {
      if (this.#running) this.#one();
    });
  }

  #one(): void {
    const { random, device } = this.#host;
    const total = device.sizeSectors;
    if (total <= ROW_AREA_SECTORS) {
      this.#later(50); // not there yet
      return;
    }
    const kind = this.#sinceFlush > MOST_WRITES_WITHOUT_FLUSH ? 0 : random.below(100);
    if (kind < 6) this.#flush();
    else if (kind < 22) this.#row();
    else if (kind < 42) this.#read(this.#place(128));
    else if (kind < 45) this.#erase('discard');
    else if (kind < 47) this.#erase('zeroes');
    else this.#write(this.#place(random.chance(0.06) ? 2048 : 128), random.chance(0.08), false);
  }

  /** A range: mostly small, mostly on whole blocks, often near the last one. */
  #place(mostSectors: number): { sector: number; sectors: number } {
    const { random, device } = this.#host;
    const total = device.sizeSectors - ROW_AREA_SECTORS;
    let sectors = Math.min(total, Math.round(logBetween(random, 1, mostSectors)));
    if (random.chance(0.6)) sectors = Math.max(8, sectors & ~7);
    // A few places are hot, so that requests overlap.
    const from = random.chance(0.4) ? random.below(Math.max(1, total >> 4)) : random.below(total);
    let sector = Math.min(from, total - sectors);
    if (random.chance(0.6)) sector &= ~7;
    return { sector: ROW_AREA_SECTORS + sector, sectors: Math.min(sectors, total) };
  }

  #ask(id: number, request: Omit<DeviceRequest, 'done'>, done: (error: number) => void): void {
    const askedMs = this.#host.clock.nowMs;
    const { op, sector, sectors, fua } = request;
    const busy: Busy = { id, askedMs, op, sector, sectors };
    this.#busy.add(busy);
    const { note } = this.#host;
    const what = `${op} ${id} [${sector}, ${sector + sectors})${fua ? ' fua' : ''}`;
    note?.(what);
    this.#host.device.ask({
      ...request,
      done: (error) => {
        if (!this.#busy.delete(busy)) return; // killed meanwhile
        note?.(`${what}: ${error === 0 ? 'answered' : `errno ${error}`}`);
        this.answered++;
        if (error !== 0) this.errors++;
        this.#host.answered(error, op, this.#host.clock.nowMs - askedMs);
        done(error);
        this.#next(error);
      },
    });
  }

  #next(error: number): void {
    if (this.#running) this.#later(error === 0 ? 0 : 20);
    else if (this.#busy.size === 0) this.#ended();
  }

  #ended(): void {
    for (const stopped of this.#stopped.splice(0)) stopped();
  }

  #write(place: { sector: number; sectors: number }, fua: boolean, row: boolean): void {
    const { ledger, lineage, acknowledged, rowAcknowledged } = this.#host;
    const { sector, sectors } = place;
    const id = ledger.begin(lineage(), sector, sectors, false);
    this.#sinceFlush++;
    const bytes = stamp(id, sector, sectors);
    this.#ask(id, { op: 'write', sector, sectors, bytes, fua }, (error) => {
      if (error !== 0) {
        ledger.failed(id);
        return;
      }
      ledger.acknowledged(id, fua);
      acknowledged(id, sector, sectors, fua);
      if (row) rowAcknowledged(id);
    });
  }

  #erase(op: 'discard' | 'zeroes'): void {
    const { ledger, lineage, acknowledged } = this.#host;
    const { sector, sectors } = this.#place(2048);
    const id = ledger.begin(lineage(), sector, sectors, true);
    this.#sinceFlush++;
    this.#ask(id, { op, sector, sectors, bytes: null, fua: false }, (error) => {
      if (error !== 0) {
        ledger.failed(id);
        return;
      }
      ledger.acknowledged(id, false);
      acknowledged(id, sector, sectors, false);
    });
  }

  /** A commit: the block, durable before it counts. */
  #row(): void {
    const row = this.#nextRow++ % ROWS;
    this.#write({ sector: row * ROW_SECTORS, sectors: ROW_SECTORS }, true, true);
  }

  #flush(): void {
    const { ledger, lineage, flushed } = this.#host;
    const begun = ledger.flushBegin();
    const of = lineage();
    this.#sinceFlush = 0;
    this.#ask(0, { op: 'flush', sector: 0, sectors: 0, bytes: null, fua: false }, (error) => {
      if (error !== 0) ledger.flushFailed(of);
      else {
        ledger.flushed(of, begun);
        flushed();
      }
    });
  }

  #read(place: { sector: number; sectors: number }): void {
    const { ledger, lineage } = this.#host;
    const { sector, sectors } = place;
    const bytes = new Uint8Array(sectors * 512);
    const begun = ledger.readBegin();
    const of = lineage();
    this.#ask(0, { op: 'read', sector, sectors, bytes, fua: false }, (error) => {
      if (error !== 0) return;
      let bad = ledger.read(of, begun, sector, bytes);
      // An operator may have decided meanwhile which data count.
      if (bad && lineage() !== of) bad = ledger.read(lineage(), begun, sector, bytes);
      if (bad)
        this.#host.bad(`read of [${sector}, ${sector + sectors}) on ${this.#host.node}`, bad);
    });
  }
}
