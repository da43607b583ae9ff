/**
 * Plays the scenarios of test/golden/kernel-steps with two kernels and writes down what they made of them:
 *
 *     node build/test/integration/record-kernel-steps.js [NAME | VERSION ...]
 *
 * Needed only when a scenario is new or has changed. What it writes is the truth that the tests hold a pair of a kernel and of ours
 * against, so read the difference.
 */
import { writeFileSync } from 'node:fs';
import { readScenario, scenariosAt, tracePath, VERSIONS } from './kernel-folders.js';
import { Play } from './kernel-scenario.js';
import { DISKS_MIB, KernelSeat, SeatPair } from './kernel-seat.js';
import { KernelVm } from './kernel-vm.js';

const wanted = process.argv.slice(2);
const numbers = wanted.filter((word) => /^\d+$/.test(word)).map(Number);
const names = wanted.filter((word) => !/^\d+$/.test(word));

const [x, y] = await Promise.all([KernelVm.start(DISKS_MIB), KernelVm.start(DISKS_MIB)]);
try {
  const pair = await SeatPair.of(new KernelSeat(x), new KernelSeat(y));
  for (const version of VERSIONS) {
    if (numbers.length > 0 && !numbers.includes(version)) continue;
    for (const name of scenariosAt(version)) {
      if (names.length > 0 && !names.includes(name)) continue;
      const startMs = Date.now();
      const play = new Play(
        pair,
        readScenario(name, version),
        { cable: (to) => x.cable(to) },
        null,
      );
      try {
        const trace = await play.run();
        writeFileSync(tracePath(name, version), trace.map((line) => `${line}\n`).join(''));
        console.log(`${name} at ${version}: ${Date.now() - startMs} ms`);
      } catch (error) {
        console.log(`${name} at ${version}: NOT recorded\n${play.trace.join('\n')}\n${error}`);
      }
    }
  }
  pair.close();
} finally {
  await Promise.all([x.remove(), y.remove()]);
}
