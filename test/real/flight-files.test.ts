/** The copy of a recording: what it has is what the live one had, however far it was behind and wherever the ring wraps. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { R } from '../../src/host/flight-format.js';
import { FlightFile } from '../../src/host/flight-read.js';
import { FlightRecorder } from '../../src/host/flight-recorder.js';
import { FlightKeeper, flightChecksum, flightMemory } from '../../src/real/flight-files.js';

/** The numbers of all records that are left. */
function numbersOf(bytes: Uint8Array): number[] {
  const cursor = FlightFile.read('x', bytes, flightChecksum).records();
  const out: number[] = [];
  for (let r = cursor.next(); r.kind !== 0; r = cursor.next())
    if (r.kind === R.TIMER) out.push(r.a);
  return out;
}

for (const seed of [1, 2, 3]) {
  test(`a copy that is brought up to date now and then has the same (seed ${seed})`, async (t) => {
    const root = mkdtempSync(join(tmpdir(), 'twinbeat-flight-'));
    t.teardown(() => rmSync(root, { recursive: true, force: true }));
    const keeper = FlightKeeper.prepare({
      root,
      daemon: 'drbdd',
      node: 'alpha',
      sizeMiB: 1,
      lives: 2,
      wallMs: 0,
      pid: 1,
      warn: (text) => t.fail(text),
    });
    if (!keeper) return;
    const { node, life } = keeper.plan;
    const start = { daemon: 'drbdd', version: '1', node, life, setup: null } as const;
    const memory = flightMemory(keeper.plan);
    const rec = new FlightRecorder(memory, start, 5);
    await keeper.start();
    const prng = new Prng(seed);
    const copy = join(root, `var/lib/twinbeat/flight/drbdd-${life}.flight`);
    let next = 0;
    for (let round = 0; round < 12; round++) {
      // From a part of a block to more than the whole ring.
      const count = prng.below(2) === 0 ? prng.below(10_000) : prng.below(400_000);
      for (const last = next + count; next < last; next++) {
        const r = rec.record(R.TIMER, 16);
        r.number(next);
        r.commit();
      }
      rec.submitted(5 + 200 * (round + 1)); // sealed
      await keeper.copy();
      const copied = numbersOf(readFileSync(copy));
      t.is(copied.at(-1), next - 1);
      const live = numbersOf(memory.memory).slice(-copied.length);
      t.true(copied.every((x, i) => x === live[i]));
    }
    rec.stop('over');
    await keeper.end();
    const copied = numbersOf(readFileSync(copy));
    t.deepEqual(copied, numbersOf(memory.memory).slice(-copied.length));
    t.is(copied.at(-1), next - 1);
  });
}
