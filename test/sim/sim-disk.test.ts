/** The simulated disk against a slow, obvious model: what a read sees, and what a power cut may leave. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { DEFAULT_SIM_DISK, SimDisk } from '../../src/sim/sim-disk.js';

const SECTORS = 700; // across several chunks

/** Per sector all contents that a power cut may leave, the one of now last; a content is named by a number. */
class Model {
  readonly versions: { order: number; byte: number }[][] = Array.from({ length: SECTORS }, () => [
    { order: 0, byte: 0 },
  ]);

  change(order: number, sector: number, sectors: number, byte: number, stable: boolean): void {
    for (let i = sector; i < sector + sectors; i++) {
      const versions = this.versions[i] as { order: number; byte: number }[];
      if (stable) versions.length = 0;
      versions.push({ order, byte });
    }
  }

  flush(order: number): void {
    for (const versions of this.versions) {
      const last = versions.findLastIndex((v) => v.order <= order);
      versions.splice(0, last);
    }
  }
}

function disk(seed: number, sizeBytes = SECTORS * 512): SimDisk {
  return new SimDisk({ ...DEFAULT_SIM_DISK, sizeBytes }, new Prng(seed));
}

function byteOf(d: SimDisk, sector: number): number {
  const bytes = d.content(sector * 512, 512);
  return bytes.every((b) => b === bytes[0]) ? (bytes[0] as number) : -1;
}

test('reads and power cuts agree with the model, whatever was written, flushed, zeroed', (t) => {
  const seen = { old: 0, middle: 0, fresh: 0 };
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Prng(seed);
    const d = disk(seed);
    const model = new Model();
    const flushes: { token: number; order: number }[] = [];
    let order = 0;
    for (let round = 0; round < 5; round++) {
      for (let step = 0; step < 60; step++) {
        const dice = random.below(20);
        const sector = random.below(SECTORS);
        const sectors = 1 + random.below(Math.min(SECTORS - sector, dice < 2 ? SECTORS : 16));
        if (dice < 14) {
          const byte = 1 + random.below(255);
          const stable = dice === 13;
          d.write(sector * 512, new Uint8Array(sectors * 512).fill(byte), stable);
          model.change(++order, sector, sectors, byte, stable);
        } else if (dice < 16) {
          if (dice === 14) d.zero(sector * 512, sectors * 512);
          else d.discard(sector * 512, sectors * 512);
          model.change(++order, sector, sectors, 0, false);
        } else if (dice === 16) {
          flushes.push({ token: d.flushBegin(), order });
        } else if (dice === 17 && flushes.length > 0) {
          const [flush] = flushes.splice(random.below(flushes.length), 1);
          d.flushEnd(flush?.token ?? 0);
          model.flush(flush?.order ?? 0);
        } else {
          const bytes = d.content(sector * 512, sectors * 512);
          for (let i = 0; i < sectors; i++) {
            const expected = model.versions[sector + i]?.at(-1)?.byte;
            if (!bytes.subarray(i * 512, i * 512 + 512).every((b) => b === expected)) {
              t.fail(`seed ${seed}: sector ${sector + i}`);
            }
          }
        }
      }
      const inFlight = { offsetBytes: 5 * 512, bytes: new Uint8Array(4096).fill(77) };
      model.change(++order, 5, 8, 77, false);
      d.powerCut([inFlight]);
      flushes.length = 0;
      t.is(d.volatileSectors, 0);
      for (const [sector, versions] of model.versions.entries()) {
        const byte = byteOf(d, sector);
        const which = versions.findLastIndex((v) => v.byte === byte);
        if (which < 0) t.fail(`seed ${seed}: sector ${sector} holds ${byte}`);
        if (versions.length > 2) {
          seen[which === 0 ? 'old' : which === versions.length - 1 ? 'fresh' : 'middle']++;
        }
        versions.splice(0, versions.length, { order, byte });
      }
    }
  }
  t.true(Math.min(seen.old, seen.middle, seen.fresh) > 300, JSON.stringify(seen));
});

test('a write is torn, or not; caches that write in order and caches that do not', (t) => {
  const patterns = new Map<string, number>();
  for (let seed = 1; seed <= 1500; seed++) {
    const d = disk(seed);
    for (const i of [1, 2, 3]) d.write(i * 8192, new Uint8Array(1024).fill(i), false);
    d.powerCut([]);
    const pattern = [1, 2, 3]
      .map((i) => `${byteOf(d, i * 16) && 1}${byteOf(d, i * 16 + 1) && 1}`)
      .join(' ');
    patterns.set(pattern, (patterns.get(pattern) ?? 0) + 1);
  }
  t.is(patterns.size, 64);
  for (const pattern of ['00 00 00', '11 11 11', '11 00 00', '11 11 00']) {
    t.true((patterns.get(pattern) ?? 0) > 10, pattern);
  }
});

test('the cache has a size: what is older is stable though nobody flushed', (t) => {
  const d = disk(1, 64 << 20);
  for (let i = 0; i < 24; i++) d.write(i << 20, new Uint8Array(1 << 20).fill(i + 1), false);
  const volatile = d.volatileSectors / 2048;
  t.true(volatile >= 4 && volatile <= 8, `${volatile} MiB`);
  d.zero(0, 32 << 20); // longer than the cache
  t.true(d.volatileSectors <= 8 * 2048);
  d.powerCut([]);
  t.is(byteOf(d, 0), 0);

  const fua = disk(2, 1 << 20);
  fua.write(0, new Uint8Array(512).fill(1), false);
  for (let i = 0; i < 20_000; i++) fua.write(512, new Uint8Array(512).fill(2), true);
  t.is(fua.volatileSectors, 0);
});

test('an image is what the disk held then, whatever is written since to either', (t) => {
  const random = new Prng(3);
  const d = disk(3);
  const other = disk(4);
  const scribble = (): void => {
    for (let i = 0; i < 20; i++) {
      const bytes = new Uint8Array(4096).fill(1 + random.below(255));
      d.write(random.below(SECTORS - 8) * 512, bytes, false);
    }
  };
  scribble();
  const [before, image] = [d.content(0, SECTORS * 512), d.snapshot()];
  other.restore(image);
  t.is(d.equals(other, 0, SECTORS), -1);
  scribble();
  other.zero(0, 512);
  const later = d.content(0, SECTORS * 512);
  t.notDeepEqual(later, before);
  d.restore(image);
  t.deepEqual(d.content(0, SECTORS * 512), before);
  d.powerCut([]); // nothing of the time after the image comes back
  t.deepEqual(d.content(0, SECTORS * 512), before);
  d.blank();
  t.true(d.content(0, SECTORS * 512).every((b) => b === 0));
  d.restore(image);
  t.deepEqual(d.content(0, SECTORS * 512), before);
});

test('equals names the first sector that differs, within the range that was asked', (t) => {
  const [a, b] = [disk(5), disk(6)];
  t.is(a.equals(b, 0, SECTORS), -1);
  a.write(300 * 512, new Uint8Array(512), false); // zeroes that were written are zeroes
  t.is(a.equals(b, 0, SECTORS), -1);
  for (const sector of [127, 128, 300, SECTORS - 1]) {
    const bytes = new Uint8Array(512);
    bytes[511] = 1;
    a.write(sector * 512, bytes, false);
  }
  t.is(a.equals(b, 0, SECTORS), 127);
  t.is(b.equals(a, 128, 1), 128);
  t.is(a.equals(b, 129, SECTORS - 129), 300);
  t.is(a.equals(b, 129, 171), -1);
  t.is(a.equals(b, 301, SECTORS - 301), SECTORS - 1);
});

test('equals remembers what was equal and notices every change since', (t) => {
  const random = new Prng(77);
  const [a, b] = [disk(7), disk(8)];
  const images = [a.snapshot(), b.snapshot()];
  let equal = 0;
  for (let i = 0; i < 600; i++) {
    const [sector, d] = [random.below(SECTORS), random.pick([a, b])];
    const bytes = new Uint8Array(512).fill(random.below(2));
    const what = random.below(100);
    if (what < 60) for (const each of [a, b]) each.write(sector * 512, bytes, what < 20);
    else if (what < 70) d.write(sector * 512, bytes, false);
    else if (what < 75) d.zero(sector * 512, (SECTORS - sector) * 512);
    else if (what < 80) for (const each of [a, b]) each.zero(0, SECTORS * 512);
    else if (what < 82) d.corrupt(sector);
    else if (what < 84) d.powerCut([]);
    else if (what < 86) d.blank();
    else if (what < 90) images[random.below(2)] = d.snapshot();
    else if (what < 95) d.restore(random.pick(images));
    const [x, y] = [a.content(0, SECTORS * 512), b.content(0, SECTORS * 512)];
    const same = Buffer.compare(x, y) === 0;
    const at = same ? -1 : x.findIndex((byte, n) => byte !== y[n]);
    if (at < 0) equal++;
    const expected = at < 0 ? -1 : Math.floor(at / 512);
    if (a.equals(b, 0, SECTORS) !== expected) t.fail(`after step ${i}`);
  }
  t.true(equal > 50, `${equal}`);
});

test('corruption changes one sector, for good', (t) => {
  for (let seed = 1; seed <= 30; seed++) {
    const [d, clean] = [disk(seed), disk(seed)];
    for (const each of [d, clean]) {
      each.write(0, new Uint8Array(8192).fill(1), true);
      each.write(0, new Uint8Array(8192).fill(2), false);
    }
    const beforeCut = d.content(2560, 512);
    d.corrupt(5);
    t.notDeepEqual(d.content(2560, 512), beforeCut);
    t.is(d.equals(clean, 0, 5), -1);
    t.is(d.equals(clean, 6, SECTORS - 6), -1);
    d.powerCut([]);
    t.is(byteOf(d, 5), -1); // neither of its versions is whole
    d.write(2560, new Uint8Array(512).fill(9), false);
    t.is(byteOf(d, 5), 9); // until it is written
  }
});

test('a write that fails has left nothing, all or some of its sectors', (t) => {
  const kinds = new Set<string>();
  for (let seed = 1; seed <= 60; seed++) {
    const d = disk(seed);
    d.failWrite(0, new Uint8Array(2048).fill(1));
    const sectors = [0, 1, 2, 3].map((s) => byteOf(d, s));
    t.true(sectors.every((b) => b === 0 || b === 1));
    kinds.add(sectors.join(''));
  }
  t.true(kinds.has('0000'));
  t.true(kinds.size > 5);
});

test('writes that a dead process left behind happen: at once, or when a stuck disk goes on', (t) => {
  const results = new Set<number>();
  for (let seed = 1; seed <= 20; seed++) {
    const d = disk(seed);
    const write = (byte: number) => ({ offsetBytes: 0, bytes: new Uint8Array(512).fill(byte) });
    d.abandon([write(1), write(2)]);
    results.add(byteOf(d, 0)); // in any order
    t.false(d.isClaimed);
    d.stuck = true;
    d.abandon([write(3)]);
    t.true(d.isClaimed);
    t.not(byteOf(d, 0), 3);
    d.stuck = false;
    t.is(byteOf(d, 0), 3);
    t.false(d.isClaimed);
    d.flushEnd(d.flushBegin());
    d.stuck = true;
    d.abandon([write(4)]);
    d.powerCut([]);
    t.true([3, 4].includes(byteOf(d, 0)));
    d.write(0, write(5).bytes, true);
    d.stuck = false; // what the power cut settled does not happen again
    t.is(byteOf(d, 0), 5);
  }
  t.deepEqual([...results].sort(), [1, 2]);
});

test('a large disk costs what was written to it', (t) => {
  const d = disk(9, 2 ** 40);
  const bytes = new Uint8Array(512).fill(1);
  d.write(2 ** 40 - 512, bytes, true);
  t.deepEqual(d.content(2 ** 40 - 512, 512), bytes);
  t.is(byteOf(d, 2 ** 30), 0);
  const image = d.snapshot();
  d.blank();
  d.restore(image);
  t.is(byteOf(d, 2 ** 31 - 1), 1);
});
