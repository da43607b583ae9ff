/**
 * How fast a resync asks, and for what. Runs on the SyncTarget (and VerifyS), one turn every RESYNC_TURN_MS:
 *
 *     controller.turn() -> number of 4 KiB blocks -> walker.makeRequests(number) -> controller.requested(blocks)
 *
 * ResyncController keeps a planned amount of data under way (c-fill-target, or what arrives within c-delay-target); the
 * correction is spread over the next c-plan-ahead turns. ResyncWalker turns dirty bits into aligned, merged requests.
 * ResyncThrottle makes way for application I/O (c-min-rate), on both sides.
 *
 * Pure. A sector is 512 bytes, a bitmap bit 4 KiB. Source: docs/CONFIGURATION.md, resync rate; checked against the
 * requests of a kernel (test/drbd/rate.test.ts).
 */
import type { DiskOptions } from '../config/drbd-options.js';
import type { SyncProgress } from './status.js';

export const RESYNC_TURN_MS = 100;

const SECTORS_PER_BIT = 8;
const BIT_BYTES = 4096;
/** Bits of one resync extent (16 MiB): a request never crosses into the next, which is locked on its own. */
const BITS_PER_EXTENT = 4096;

export type RateOptions = Pick<
  DiskOptions,
  'resyncRateKiBps' | 'cPlanAheadDs' | 'cDelayTargetDs' | 'cFillTargetSectors' | 'cMaxRateKiBps'
>;

export class ResyncController {
  #inFlightSectors = 0; // asked for and not arrived
  #arrivedSectors = 0; // since the last turn
  #plan: number[] = []; // sectors to ask for beyond what arrives, one entry per coming turn; [0] is next
  #planned = 0; // sum of #plan
  #rateKiBps = 0;

  /** A resync or verify begins. */
  reset(): void {
    this.#inFlightSectors = 0;
    this.#arrivedSectors = 0;
    this.#plan = [];
    this.#planned = 0;
  }

  /** Resync data arrived, or the peer said that a block is in sync. */
  arrived(sectors: number): void {
    this.#arrivedSectors += sectors;
  }

  /** Blocks that were asked for after `turn` (not those of a turn that reached the end of the bitmap). */
  requested(blocks: number): void {
    this.#inFlightSectors += blocks * SECTORS_PER_BIT;
  }

  /** The rate aimed at, "want:" of /proc/drbd. */
  get rateKiBps(): number {
    return this.#rateKiBps;
  }
  get inFlightSectors(): number {
    return this.#inFlightSectors;
  }

  /** How many 4 KiB blocks to ask for now. `maxBuffers`: never more than half of it under way. */
  turn(options: RateOptions, maxBuffers: number): number {
    const arrived = this.#arrivedSectors;
    this.#arrivedSectors = 0;
    this.#inFlightSectors -= arrived;

    let blocks: number;
    if (options.cPlanAheadDs > 0) {
      blocks = Math.floor(this.#control(arrived, options) / SECTORS_PER_BIT);
      this.#rateKiBps = (blocks * 4 * 1000) / RESYNC_TURN_MS;
    } else {
      this.#rateKiBps = options.resyncRateKiBps;
      blocks = Math.floor(options.resyncRateKiBps / 40);
    }
    const room = Math.floor(maxBuffers / 2) - Math.trunc(this.#inFlightSectors / SECTORS_PER_BIT);
    return Math.max(0, Math.min(blocks, room));
  }

  /** Sectors for this turn. Divisions truncate towards zero, as the original's do. */
  #control(arrived: number, options: RateOptions): number {
    const turns = options.cPlanAheadDs; // tenths of a second are turns
    if (this.#plan.length !== turns) {
      this.#plan = new Array<number>(turns).fill(0);
      this.#planned = 0;
    }
    const starting = this.#inFlightSectors + arrived === 0;
    const want = starting
      ? Math.floor((options.resyncRateKiBps * 2) / 10) * turns
      : options.cFillTargetSectors || arrived * options.cDelayTargetDs;
    const share = Math.trunc((want - this.#inFlightSectors - this.#planned) / turns);
    for (let i = 0; i < turns; i++) this.#plan[i] = (this.#plan[i] ?? 0) + share;
    const now = this.#plan.shift() ?? 0;
    this.#plan.push(0);
    this.#planned += share * turns - now;
    const max = Math.floor((options.cMaxRateKiBps * 2) / 10);
    return Math.min(Math.max(0, arrived + now), max);
  }
}

/** The bitmap as the walker sees it. */
export interface DirtyBits {
  /** The first set bit at or after `bit`, or -1. */
  nextSet(bit: number): number;
  isSet(bit: number): boolean;
}

/** What the walker asks of the engine while it makes requests. */
export interface ResyncSink {
  /** More than half of the data socket's send buffer is full: stop for this turn. */
  sendQueueBusy(): boolean;
  /** Lock the resync extent of this bit against application writes; false: in use, or throttled. */
  lockExtent(bit: number): boolean;
  /** A bit turned out clean after its extent was locked. */
  unlockExtent(bit: number): void;
  /** Ask for these blocks (P_RS_THIN_REQ when `thin`). false: not now; the walker comes back to them. */
  request(sector: number, bytes: number, thin: boolean): boolean;
}

export interface WalkLimits {
  readonly bits: number; // of the device
  readonly capacitySectors: number;
  readonly maxRequestBytes: number; // 1 MiB from protocol 100 on
  readonly discardGranularityBytes: number; // rs-discard-granularity; 0: thin requests are not used
}

export interface WalkResult {
  readonly blocks: number; // asked for, in 4 KiB: to ResyncController.requested unless `end`
  readonly end: boolean; // everything has been asked for: no further turn
}

export class ResyncWalker {
  #position = 0; // bits before it have been asked for

  reset(): void {
    this.#position = 0;
  }
  get position(): number {
    return this.#position;
  }

  /** Ask for `number` blocks; by merging a last neighbour it may be one more. */
  makeRequests(number: number, dirty: DirtyBits, limits: WalkLimits, sink: ResyncSink): WalkResult {
    let blocks = 0;
    while (blocks < number) {
      if (sink.sendQueueBusy()) return { blocks, end: false };
      const first = dirty.nextSet(this.#position);
      if (first < 0) {
        this.#position = limits.bits;
        return { blocks, end: true };
      }
      if (!sink.lockExtent(first)) {
        this.#position = first;
        return { blocks, end: false };
      }
      this.#position = first + 1;
      if (!dirty.isSet(first)) {
        sink.unlockExtent(first);
        continue;
      }
      const last = mergeUpTo(first, number - blocks, dirty, limits);
      const sector = first * SECTORS_PER_BIT;
      const count = last - first + 1;
      // the last block of a device may be a part of one
      const bytes = Math.min(count * BIT_BYTES, (limits.capacitySectors - sector) * 512);
      const thin = bytes === limits.discardGranularityBytes;
      if (!sink.request(sector, bytes, thin)) {
        sink.unlockExtent(first);
        this.#position = first;
        return { blocks, end: false };
      }
      this.#position = last + 1;
      blocks += count;
    }
    return { blocks, end: number > 0 && this.#position >= limits.bits };
  }
}

/** The last bit of the request that begins at `first`: dirty neighbours, aligned the better the longer it is. */
function mergeUpTo(first: number, room: number, dirty: DirtyBits, limits: WalkLimits): number {
  const sector = first * SECTORS_PER_BIT;
  let last = first;
  let bytes = BIT_BYTES;
  let align = 1;
  for (let merged = 0; merged < room; merged++) {
    if (bytes + BIT_BYTES > limits.maxRequestBytes) break;
    if (sector % 2 ** (align + 3) !== 0) break;
    if (bytes === limits.discardGranularityBytes) break;
    if ((last + 1) % BITS_PER_EXTENT === 0) break;
    if (last + 1 >= limits.bits || !dirty.isSet(last + 1)) break;
    last += 1;
    bytes += BIT_BYTES;
    if (BIT_BYTES * 2 ** align <= bytes) align += 1;
  }
  return last;
}

/** Application I/O of this much since the last look makes a resync slow down. */
const FOREIGN_SECTORS = 64;
/** Its present speed is that since a look between one and two of these ago. */
const LOOKED_BACK_MS = 3000;
const BIT_KIB = 4;

interface Look {
  readonly atMs: number;
  readonly leftBits: number;
}

/**
 * c-min-rate: while the application is busy, a resync that is faster than this makes way. The SyncTarget then does not
 * lock a further extent this turn. The SyncSource (only if the peer is not Primary) waits RESYNC_TURN_MS once before it
 * serves a request whose extent no application write waits for.
 *
 * How fast it is now is seen by looks of its own, and not by the marks of SyncMeter: these stand still while nothing is done. By them
 * 96 MiB that were fetched within a second held back the one block that was left for the seven minutes until the average was low
 * enough, and the disk was Inconsistent all that time.
 */
export class ResyncThrottle {
  #notedSectors = 0;
  #runSinceMs = -1;
  #before: Look = { atMs: 0, leftBits: 0 };
  #latest: Look = this.#before;

  /**
   * `applicationSectors`: application I/O on the backing device so far, a counter that grows until another disk is attached. `logWaiting`: application
   * writes wait for the activity log. `progress`: of the running resync.
   */
  slowDown(
    minRateKiBps: number,
    applicationSectors: number,
    logWaiting: boolean,
    progress: SyncProgress,
    nowMs: number,
  ): boolean {
    if (minRateKiBps === 0) return false;
    this.#look(progress, nowMs);
    if (applicationSectors < this.#notedSectors) this.#notedSectors = applicationSectors; // another disk
    const busy = logWaiting || applicationSectors - this.#notedSectors > FOREIGN_SECTORS;
    if (!busy) return false;
    this.#notedSectors = applicationSectors;
    const seconds = Math.max(1, Math.floor((nowMs - this.#before.atMs) / 1000));
    const bits = Math.max(0, this.#before.leftBits - progress.leftBits);
    return Math.floor(bits / seconds) * BIT_KIB > minRateKiBps;
  }

  #look(progress: SyncProgress, nowMs: number): void {
    if (progress.startMs !== this.#runSinceMs) {
      this.#runSinceMs = progress.startMs;
      this.#latest = { atMs: progress.startMs, leftBits: progress.totalBits };
      this.#before = this.#latest;
    }
    if (nowMs - this.#latest.atMs < LOOKED_BACK_MS) return;
    this.#before = this.#latest;
    this.#latest = { atMs: nowMs, leftBits: progress.leftBits };
  }
}
