/**
 * A kernel and ours through random operators and faults from a seed (kernel-mixed.ts). `make test` plays some steps of one seed,
 * .ci/run 20 of three, `make test-kernel` 200 of three; `make test-kernel SEED=7 STEPS=31` plays that one again.
 */
import test from 'ava';
import { need } from '../support/need.js';
import { HOST_NEEDS } from './host-seat.js';
import { PART } from './kernel-folders.js';
import { mixedRun } from './kernel-mixed-run.js';
import { KERNEL_NEEDS } from './kernel-vm.js';

const seed = process.env['SEED'];
const SEEDS = seed ? [Number(seed)] : PART === 'small' ? [2] : [1, 2, 3];
const STEPS = Number(process.env['STEPS'] || { small: 12, ci: 20, all: 200 }[PART]);

for (const seed of SEEDS)
  test(`${STEPS} steps from seed ${seed}`, async (t) => {
    if (!need(t, ...KERNEL_NEEDS, ...HOST_NEEDS)) return;
    t.timeout(30 * 60_000, 'the run takes longer than any machine should need');
    const lines: string[] = [];
    const result = await mixedRun(seed, STEPS, (line) => lines.push(line));
    t.log(lines.slice(-5).join('\n'));
    t.log([...result.counts].map(([name, count]) => `${name} ${count}`).join(', '));
    t.is(result.failure, null);
  });
