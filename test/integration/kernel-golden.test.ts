/**
 * The scenarios that were recorded of two kernels, played by a kernel and the programs of ours, in either seat: the same outcome of
 * every command, the same states, at the end the same generations and bits by Debian's drbdmeta and the same data on both disks.
 */
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { HOST_NEEDS, HostSeat } from './host-seat.js';
import {
  isPlayed,
  readScenario,
  readTrace,
  scenariosAt,
  VERSIONS,
  type Version,
} from './kernel-folders.js';
import { Play } from './kernel-scenario.js';
import { DISKS_MIB, KernelSeat, SEATS, type SeatName, SeatPair } from './kernel-seat.js';
import { KERNEL_NEEDS, KernelVm } from './kernel-vm.js';

let machine: Promise<KernelVm> | null = null;
const pairs = new Map<SeatName, SeatPair>();

/** The pair in which ours has that seat. */
async function pairWith(ours: SeatName): Promise<SeatPair> {
  machine ??= KernelVm.start(DISKS_MIB);
  const kernel = new KernelSeat(await machine);
  let pair = pairs.get(ours);
  if (pair === undefined) {
    const host = await HostSeat.create(ours);
    pair = await (ours === 'alice' ? SeatPair.of(host, kernel) : SeatPair.of(kernel, host));
    pairs.set(ours, pair);
  }
  return pair;
}

test.after.always('the machine goes', async () => {
  for (const [ours, pair] of pairs) {
    pair.close();
    await pair.seats[ours].remove();
  }
  await (await machine)?.remove();
});

async function play(t: ExecutionContext, name: string, version: Version, ours: SeatName) {
  const expected = readTrace(name, version);
  if (expected === null) {
    t.fail(`no trace of two kernels; see record-kernel-steps.ts`);
    return;
  }
  const pair = await pairWith(ours);
  const vm = await machine;
  const run = new Play(
    pair,
    readScenario(name, version),
    { cable: async (to) => vm?.cable(to) },
    expected,
  );
  let ended = false;
  try {
    const trace = await run.run();
    ended = true;
    // As far as both went: a run ends where it differs.
    t.deepEqual(trace, trace.length < expected.length ? expected.slice(0, trace.length) : expected);
    t.false(trace.length < expected.length, `it ended before: ${expected[trace.length]}`);
  } finally {
    if (!ended) t.log(run.trace.join('\n'));
    if (!ended || !t.passed) for (const seat of SEATS) t.log(seat, await pair.seats[seat].report());
  }
}

for (const ours of SEATS)
  for (const version of VERSIONS)
    for (const name of scenariosAt(version))
      if (isPlayed(name, version, ours))
        test.serial(`${name} at ${version}, ${ours} is ours`, async (t) => {
          if (!need(t, ...KERNEL_NEEDS, ...HOST_NEEDS)) return;
          await play(t, name, version, ours);
        });
