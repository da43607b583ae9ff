import test from 'ava';
import fc from 'fast-check';
import { Bitmap } from '../../src/md/bitmap.js';
import { PAGE_BITS } from '../../src/md/units.js';

/** The obvious model: one boolean per bit. */
class Model {
  set: boolean[];
  constructor(bits: number) {
    this.set = new Array<boolean>(bits).fill(false);
  }
  fill(first: number, last: number, value: boolean): number {
    let changed = 0;
    for (let i = first; i <= last; i++) {
      if (this.set[i] !== value) changed++;
      this.set[i] = value;
    }
    return changed;
  }
}

function agrees(
  t: { is: (a: unknown, b: unknown, m?: string) => unknown },
  b: Bitmap,
  m: Model,
): void {
  t.is(b.bits, m.set.length);
  t.is(b.count, m.set.filter(Boolean).length);
  const bytes = new Uint8Array(b.bytes.length);
  m.set.forEach((on, i) => {
    if (on) bytes[i >> 3] = (bytes[i >> 3] ?? 0) | (1 << (i & 7));
  });
  t.is(Buffer.compare(b.bytes, bytes), 0);
}

test('behaves as an array of booleans does, after any sequence of calls', (t) => {
  const bits = fc.integer({ min: 1, max: 3 * PAGE_BITS });
  const n = fc.nat();
  const step = fc.oneof(
    fc.record({ op: fc.constant('set' as const), a: n, b: n }),
    fc.record({ op: fc.constant('clear' as const), a: n, b: n }),
    fc.record({ op: fc.constant('near' as const), a: n, b: fc.nat({ max: 200 }) }),
    fc.record({ op: fc.constant('resize' as const), a: bits, b: n }),
  );
  fc.assert(
    fc.property(bits, fc.array(step, { maxLength: 12 }), n, (size, steps, probe) => {
      const b = new Bitmap(size);
      let m = new Model(size);
      for (const s of steps) {
        const x = s.a % b.bits;
        const y = s.op === 'near' ? Math.min(b.bits - 1, x + s.b) : s.b % b.bits;
        const [first, last] = [Math.min(x, y), Math.max(x, y)];
        if (s.op === 'resize') {
          const grown = new Model(s.a);
          grown.set = grown.set.map((_, i) => m.set[i] ?? s.b % 2 === 0);
          m = grown;
          b.resize(s.a, s.b % 2 === 0);
        } else if (s.op === 'clear') {
          t.is(b.clearRange(first, last), m.fill(first, last, false));
        } else {
          t.is(b.setRange(first, last), m.fill(first, last, true));
        }
        t.is(b.count, m.set.filter(Boolean).length);
      }
      agrees(t, b, m);
      const from = probe % b.bits;
      const [lo, hi] = [Math.min(from, 777 % b.bits), Math.max(from, 777 % b.bits)];
      t.is(b.countRange(lo, hi), m.set.slice(lo, hi + 1).filter(Boolean).length);
      t.is(b.nextSet(from), m.set.indexOf(true, from));
      const clear = m.set.indexOf(false, from);
      t.is(b.nextClear(from), clear < 0 ? b.bits : clear);
      t.is(b.isSet(from), m.set[from] === true);
    }),
    { numRuns: 200 },
  );
});

test('exactly the pages whose bytes changed are dirty', (t) => {
  const pages = 4;
  const b = new Bitmap(pages * PAGE_BITS);
  const n = fc.nat({ max: pages * PAGE_BITS - 1 });
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), n, n), { maxLength: 6 }), (steps) => {
      const before = b.bytes.slice();
      for (const [set, x, y] of steps) {
        if (set) b.setRange(Math.min(x, y), Math.max(x, y));
        else b.clearRange(Math.min(x, y), Math.max(x, y));
      }
      for (let p = 0; p < pages; p++) {
        const same = Buffer.compare(
          b.bytes.subarray(p * 4096, p * 4096 + 4096),
          before.subarray(p * 4096, p * 4096 + 4096),
        );
        if (same !== 0) t.true(b.isPageDirty(p)); // a page changed there and back may be dirty too
        if (b.isPageDirty(p)) t.true(steps.length > 0);
      }
      const taken: number[] = [];
      t.is(b.takeDirtyPages(taken), taken.length);
      t.is(b.dirtyPages, 0);
      t.is(b.nextDirtyPage(0), -1);
    }),
  );
  b.clearAll();
  b.takeDirtyPages([]);
  b.clearAll();
  t.is(b.dirtyPages, 0, 'nothing changed');
  b.setRange(PAGE_BITS, PAGE_BITS);
  t.deepEqual([b.isPageDirty(0), b.isPageDirty(1)], [false, true]);
  b.markPageClean(1);
  b.markPageDirty(1);
  t.is(b.nextDirtyPage(0), 1);
  b.markPageDirty(99);
  t.is(b.dirtyPages, 1);
});

test('setting covers every block touched; clearing only blocks covered whole', (t) => {
  const b = new Bitmap(10);
  const device = 77; // the last block, 9, has 5 sectors
  t.is(b.setSectors(7, 2), 2); // ends of blocks 0 and 1
  t.deepEqual([b.isSet(0), b.isSet(1), b.isSet(2)], [true, true, false]);
  t.is(b.clearSectors(1, 15, device), 1); // block 1 whole, block 0 not
  t.deepEqual([b.isSet(0), b.isSet(1)], [true, false]);
  t.is(b.clearSectors(1, 6, device), 0);
  t.is(b.clearSectors(0, 7, device), 0);
  b.setAll();
  t.is(b.clearSectors(72, 4, device), 0);
  t.is(b.clearSectors(73, 4, device), 0);
  t.is(b.clearSectors(72, 5, device), 1); // covered to the end of the device
  t.is(b.clearSectors(72, 8, device), 0); // beyond it: the same block
  t.false(b.isSet(9));
  t.is(b.setSectors(76, 1), 1);
  t.is(b.setSectors(5, 0), 0);
  t.true(b.anySectors(76, 1));
  b.clearAll();
  b.setSectors(16, 8);
  t.deepEqual(
    [b.anySectors(0, 16), b.anySectors(0, 17), b.anySectors(23, 1), b.anySectors(24, 9)],
    [false, true, true, false],
  );
});

test('loading from disk counts, and forgets bits past the end', (t) => {
  const b = new Bitmap(1001);
  b.bytes.fill(0xff);
  b.loaded();
  t.is(b.count, 1001);
  t.is(b.dirtyPages, 0);
  t.is(b.bytes[125], 1);
  t.true(b.bytes.subarray(126).every((x) => x === 0));
});

test('a bitmap of no bits', (t) => {
  const b = new Bitmap(0);
  t.is(b.setAll(), 0);
  t.is(b.nextSet(0), -1);
  t.is(b.nextClear(0), 0);
  b.resize(9, true);
  t.is(b.count, 9);
});

// Bit numbers pass 2^31 above 8 TiB.
test('16 TiB and more', (t) => {
  const bits = 2 ** 32 + 100;
  const b = new Bitmap(bits);
  t.is(b.setRange(2 ** 32 - 3, 2 ** 32 + 40), 44);
  t.is(b.count, 44);
  t.is(b.nextSet(5), 2 ** 32 - 3);
  t.is(b.nextSet(2 ** 32 + 1), 2 ** 32 + 1);
  t.is(b.nextSet(2 ** 32 + 41), -1);
  t.is(b.clearSectors((2 ** 32 - 3) * 8, 44 * 8, bits * 8), 44);
  t.is(b.count, 0);
});
