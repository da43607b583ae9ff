/** Plays a mixed run (kernel-mixed.ts): so many steps from a seed, and says how it went. */
import { HostSeat } from './host-seat.js';
import { Mixed, type MixedStep } from './kernel-mixed.js';
import { STEPS } from './kernel-mixed-steps.js';
import { DISKS_MIB, KernelSeat, SEATS, SeatPair } from './kernel-seat.js';
import { KernelVm } from './kernel-vm.js';

export interface MixedResult {
  readonly steps: number;
  readonly counts: ReadonlyMap<string, number>;
  /** Null when all went well; otherwise what to read. */
  readonly failure: string | null;
}

/** What CI plays, and what is played again to look at it. */
const SHORT_RUN_STEPS = 40;

function drawStep(m: Mixed): MixedStep {
  let at = m.random.below(STEPS.reduce((sum, step) => sum + step.weight, 0));
  for (const step of STEPS) {
    at -= step.weight;
    if (at < 0) return step;
  }
  throw new Error('no step');
}

/** Ours is alice in even seeds, bob in odd ones. */
export async function mixedRun(
  seed: number,
  steps: number,
  say: (line: string) => void,
): Promise<MixedResult> {
  const vm = await KernelVm.start(DISKS_MIB);
  const ours = seed % 2 === 0 ? 'alice' : 'bob';
  const counts = new Map<string, number>();
  let host: HostSeat | null = null;
  let pair: SeatPair | null = null;
  let at = 0;
  let doing: Mixed | null = null;
  try {
    host = await HostSeat.create(ours);
    const kernel = new KernelSeat(vm);
    pair = await (ours === 'alice' ? SeatPair.of(host, kernel) : SeatPair.of(kernel, host));
    const m = new Mixed(pair, seed, (to) => vm.cable(to));
    doing = m;
    await m.begin(steps > SHORT_RUN_STEPS);
    for (at = 1; at <= steps; at++) {
      const step = drawStep(m);
      m.done.length = 0;
      counts.set(step.name, (counts.get(step.name) ?? 0) + 1);
      const startMs = Date.now();
      m.done.push(`step ${at}: ${step.name}, ${m.primary} is Primary, ours is ${ours}`);
      await step.run(m);
      await m.check();
      say(`${at} ${step.name}: ${Date.now() - startMs} ms`);
    }
    await m.end();
    return { steps, counts, failure: null };
  } catch (error) {
    const reports: string[] = [];
    for (const name of SEATS)
      reports.push(`--- ${name}\n${await pair?.seats[name].report().catch(String)}`);
    const failure = `seed ${seed}: ${String(error)}\n${doing?.done.join('\n')}\n${reports.join('\n')}
replay: make test-kernel SEED=${seed} STEPS=${at}`;
    return { steps: at, counts, failure };
  } finally {
    pair?.close();
    await host?.remove();
    await vm.remove();
  }
}
