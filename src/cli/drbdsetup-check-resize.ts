/**
 * drbdsetup check-resize: the size of the lower device of a running volume is noted where drbdmeta looks when internal
 * meta-data are not at the end of the device (drbdmeta-last-known.ts). drbdadm runs it after each resize. Source:
 * drbdsetup 8.4 observed. (The original notes the size that the device has by then. One that has grown once more has no meta-data
 * at that end: with the next attach they would not be found, on neither node. Here it is the size by which drbdd has them.)
 */
import type { RunningGeneration, RunningVolume } from '../host/control.js';
import { LastKnown } from './drbdmeta-last-known.js';
import type { Words } from './drbdsetup-args.js';
import { EXIT_USAGE } from './drbdsetup-args.js';
import { ask, runningResources, unknownMinor } from './drbdsetup-client.js';
import type { World } from './world.js';

export async function checkResize(words: Words, world: World): Promise<number> {
  const minor = words.minor();
  words.end();
  const running = await runningResources(world, false);
  if (!running) return EXIT_USAGE;
  const volume = running.flatMap((r) => r.volumes).find((v) => v.minor === minor);
  if (!volume) return unknownMinor(world, minor);
  const known = new LastKnown({ world, minor });
  const { disk } = volume;
  if (!disk) return 0;
  if (disk.metaIndex !== 'internal') {
    known.remove();
    return 0;
  }
  return note(world, known, minor, disk);
}

async function note(
  world: World,
  known: LastKnown,
  minor: number,
  disk: NonNullable<RunningVolume['disk']>,
): Promise<number> {
  const answer = await ask(world, { verb: 'get-gi', minor }, `${minor}`);
  if (!answer.ok) return answer.status;
  const { deviceUuid } = answer.value as RunningGeneration;
  const sizeBytes = (disk.lowerSectors ?? 0) * 512;
  if (sizeBytes === 0) return 0;
  const uuid = BigInt(`0x${deviceUuid}`);
  const before = known.load();
  if (before?.sizeBytes !== sizeBytes || before.uuid !== uuid)
    known.save({ sizeBytes, path: disk.disk, uuid });
  return 0;
}
