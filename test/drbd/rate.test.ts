/** docs/CONFIGURATION.md, resync rate: the controller and the requests, against those of a kernel. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { DEFAULT_DISK_OPTIONS, DEFAULT_NET_OPTIONS } from '../../src/config/drbd-options.js';
import { SyncMeter, speed, speedSinceMark } from '../../src/drbd/progress.js';
import {
  type DirtyBits,
  ResyncController,
  type ResyncSink,
  ResyncThrottle,
  ResyncWalker,
  type WalkLimits,
} from '../../src/drbd/rate.js';

const BITS = 1014;
const LIMITS: WalkLimits = {
  bits: BITS,
  capacitySectors: 8112,
  maxRequestBytes: 1 << 20,
  discardGranularityBytes: 0,
};

/** A plain set of bits. */
class Bits implements DirtyBits {
  readonly #bits: boolean[];
  constructor(count: number, set: (bit: number) => boolean) {
    this.#bits = Array.from({ length: count }, (_, bit) => set(bit));
  }
  nextSet(bit: number): number {
    return this.#bits.indexOf(true, bit);
  }
  isSet(bit: number): boolean {
    return this.#bits[bit] ?? false;
  }
  clear(bit: number): void {
    this.#bits[bit] = false;
  }
}

interface Request {
  readonly sector: number;
  readonly bytes: number;
  readonly thin: boolean;
}

class Sink implements ResyncSink {
  requests: Request[] = [];
  locked: number[] = [];
  unlocked: number[] = [];
  busyAfter = Number.POSITIVE_INFINITY;
  refuseLock: (bit: number) => boolean = () => false;
  refuseRequest = false;
  sendQueueBusy(): boolean {
    return this.requests.length >= this.busyAfter;
  }
  lockExtent(bit: number): boolean {
    if (this.refuseLock(bit)) return false;
    this.locked.push(bit);
    return true;
  }
  unlockExtent(bit: number): void {
    this.unlocked.push(bit);
  }
  request(sector: number, bytes: number, thin: boolean): boolean {
    if (this.refuseRequest) return false;
    this.requests.push({ sector, bytes, thin });
    return true;
  }
}

for (const section of readFileSync('test/golden/drbd/resync-requests.txt', 'utf8')
  .split(/^== /m)
  .slice(1)) {
  const [largest = '', ...turns] = section.trimEnd().split('\n');
  test(`a full resync asks like a kernel, request for request (at most ${largest} bytes)`, (t) => {
    t.is(turns.length, 30);
    const controller = new ResyncController();
    const walker = new ResyncWalker();
    const dirty = new Bits(BITS, () => true);
    const limits = { ...LIMITS, maxRequestBytes: Number(largest) };
    for (const [i, line] of turns.entries()) {
      const number = controller.turn(DEFAULT_DISK_OPTIONS, DEFAULT_NET_OPTIONS.maxBuffers);
      if (i < 8) t.is(number, 6 + 2 * i, `turn ${i}`);
      if (i === 3) t.is(controller.rateKiBps, 480, 'want: of /proc/drbd');
      const sink = new Sink();
      const { blocks, end } = walker.makeRequests(number, dirty, limits, sink);
      const asked = sink.requests.map((r) => `${r.sector.toString(16)}:${r.bytes.toString(16)}`);
      t.is(asked.join(' '), line, `turn ${i}`);
      t.is(end, i === turns.length - 1, `turn ${i}`);
      if (!end) controller.requested(blocks);
      controller.arrived(sink.requests.reduce((sum, r) => sum + r.bytes / 512, 0));
    }
  });
}

test('without c-plan-ahead the rate is fixed', (t) => {
  const controller = new ResyncController();
  const options = { ...DEFAULT_DISK_OPTIONS, cPlanAheadDs: 0, resyncRateKiBps: 4096 };
  t.is(controller.turn(options, 2048), 102);
  t.is(controller.rateKiBps, 4096);
});

test('never more than half of max-buffers is under way', (t) => {
  const controller = new ResyncController();
  const options = { ...DEFAULT_DISK_OPTIONS, cPlanAheadDs: 0, resyncRateKiBps: 1 << 20 };
  let inFlight = 0;
  for (let i = 0; i < 5; i++) {
    const number = controller.turn(options, 2048);
    controller.requested(number);
    inFlight += number;
  }
  t.is(inFlight, 1024);
  controller.arrived(80);
  t.is(controller.turn(options, 2048), 10);
});

test('a fast peer is used up to c-max-rate, a slow one is not flooded', (t) => {
  const run = (deliverPerTurn: number): { rate: number; inFlight: number } => {
    const controller = new ResyncController();
    const options = { ...DEFAULT_DISK_OPTIONS, cFillTargetSectors: 0, cMaxRateKiBps: 8192 };
    let queue = 0;
    for (let i = 0; i < 600; i++) {
      const number = controller.turn(options, 1 << 20);
      controller.requested(number);
      queue += number * 8;
      const delivered = Math.min(queue, deliverPerTurn);
      queue -= delivered;
      controller.arrived(delivered);
    }
    return { rate: controller.rateKiBps, inFlight: controller.inFlightSectors };
  };
  t.is(run(1_000_000).rate, 8160); // 8192 in whole blocks
  const slow = run(100);
  t.true(slow.inFlight <= 100 * DEFAULT_DISK_OPTIONS.cDelayTargetDs * 2, JSON.stringify(slow));
  t.true(slow.rate <= 1000, JSON.stringify(slow));
});

test('every dirty block is asked for exactly once, in aligned requests within one extent', (t) => {
  for (const seed of [1, 2, Number(process.hrtime.bigint() & 0x7fffffffn)]) {
    const prng = new Prng(seed);
    const bits = 4096 + prng.below(5000);
    const density = prng.pick([0.02, 0.5, 0.95, 1]);
    const wanted = new Set<number>();
    const dirty = new Bits(bits, (bit) => {
      const set = prng.chance(density);
      if (set) wanted.add(bit);
      return set;
    });
    const limits = { ...LIMITS, bits, capacitySectors: bits * 8 - prng.below(8) };
    const walker = new ResyncWalker();
    for (let turn = 0, end = false; !end; turn++) {
      t.true(turn < 20_000);
      const sink = new Sink();
      sink.busyAfter = prng.below(20);
      sink.refuseLock = () => prng.chance(0.05);
      sink.refuseRequest = prng.chance(0.05);
      const number = 1 + prng.below(300);
      const result = walker.makeRequests(number, dirty, limits, sink);
      end = result.end;
      let blocks = 0;
      for (const { sector, bytes } of sink.requests) {
        const first = sector / 8;
        const count = Math.ceil(bytes / 4096);
        blocks += count;
        for (let bit = first; bit < first + count; bit++) {
          if (!wanted.delete(bit)) return t.fail(`seed ${seed}: bit ${bit} twice or clean`);
        }
        const last = first + count - 1;
        t.is(Math.floor(first / 4096), Math.floor(last / 4096));
        t.true(sector * 512 + bytes <= limits.capacitySectors * 512);
        t.true(bytes <= limits.maxRequestBytes);
        if (count > 1) t.is(first % 2, 0, 'longer requests are aligned');
      }
      t.is(blocks, result.blocks);
      t.true(blocks <= number + 1);
      t.is(sink.locked.length - sink.unlocked.length, sink.requests.length);
    }
    t.is(wanted.size, 0, `seed ${seed}`);
  }
});

test('a block that becomes clean while its extent is locked is not asked for', (t) => {
  const dirty = new Bits(BITS, (bit) => bit === 5 || bit === 9);
  const sink = new Sink();
  sink.refuseLock = (bit) => {
    if (bit === 5) dirty.clear(5);
    return false;
  };
  const result = new ResyncWalker().makeRequests(10, dirty, LIMITS, sink);
  t.deepEqual(sink.requests, [{ sector: 72, bytes: 4096, thin: false }]);
  t.deepEqual(sink.unlocked, [5]);
  t.deepEqual(result, { blocks: 1, end: true });
});

test('rs-discard-granularity: requests of just that size are thin', (t) => {
  const sink = new Sink();
  const limits = { ...LIMITS, discardGranularityBytes: 65536 };
  new ResyncWalker().makeRequests(64, new Bits(BITS, () => true), limits, sink);
  t.true(sink.requests.length >= 4);
  t.true(sink.requests.every((r) => r.bytes === 65536 && r.thin));
});

test('rs-discard-granularity: the last block of a device is no whole one', (t) => {
  const sink = new Sink();
  const limits = { ...LIMITS, discardGranularityBytes: 4096, bits: 2, capacitySectors: 11 };
  new ResyncWalker().makeRequests(64, new Bits(2, () => true), limits, sink);
  t.deepEqual(
    sink.requests.map((r) => [r.bytes, r.thin]),
    [
      [4096, true],
      [1536, false],
    ],
  );
});

test('c-min-rate: slows down only while the application is busy and the resync is faster', (t) => {
  const meter = new SyncMeter();
  meter.start(100_000, 0);
  meter.advance(90_000, 3000);
  const fast = meter.snapshot(80_000, 0, 0);
  const throttle = new ResyncThrottle();
  t.false(throttle.slowDown(250, 64, false, fast, 6000), 'hardly any application I/O');
  t.false(throttle.slowDown(0, 1000, true, fast, 6000), 'switched off');
  t.true(throttle.slowDown(250, 65, false, fast, 6000));
  t.false(throttle.slowDown(250, 100, false, fast, 6000), 'no more since then');
  t.true(throttle.slowDown(250, 100, true, fast, 6000), 'writes wait for the activity log');
  const slow = meter.snapshot(99_990, 0, 0);
  t.false(throttle.slowDown(250, 9999, false, slow, 6000));
});

test('marks are three seconds apart, and none is set without progress', (t) => {
  const meter = new SyncMeter();
  meter.start(1000, 0);
  meter.advance(900, 2999);
  t.is(meter.snapshot(900, 0, 0).lastMark, 0);
  meter.advance(900, 3000);
  t.is(meter.snapshot(900, 0, 0).lastMark, 1);
  meter.advance(900, 9000);
  t.is(meter.snapshot(900, 0, 0).lastMark, 1);
  for (let n = 1; n <= 9; n++) meter.advance(900 - n, 9000 + 3000 * n);
  const p = meter.snapshot(891, 0, 0);
  t.is(p.lastMark, 2);
  t.is(speedSinceMark(p, p.lastMark + 7, 37_000), Math.floor(1 / 4) * 4);
  t.is(speed(p, 37_000).averageKiBps, Math.floor(109 / 37) * 4);
});

test('a pause does not count', (t) => {
  const meter = new SyncMeter();
  meter.start(1000, 0);
  meter.pause(10_000);
  meter.resume(60_000);
  t.deepEqual(meter.summary(70_000), { totalS: 70, pausedS: 50, kiBps: 200 });
});
