/**
 * drbdsetup check-resize: the size of the lower device of a running volume is noted where drbdmeta looks when internal
 * meta-data are not at the end of the device (drbdmeta-last-known.ts). drbdadm runs it after each resize. Source:
 * drbdsetup 8.4 observed.
 */
import { closeSync, openSync } from 'node:fs';
import type { RunningGeneration, RunningVolume } from '../host/control.js';
import { deviceBytes } from './drbdmeta-device.js';
import { LastKnown } from './drbdmeta-last-known.js';
import type { Words } from './drbdsetup-args.js';
import { EXIT_USAGE } from './drbdsetup-args.js';
import { ask, EXIT_FAILURE, runningResources, unknownMinor } from './drbdsetup-client.js';
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
  return note(world, known, minor, disk.disk);
}

async function note(
  world: World,
  known: LastKnown,
  minor: number,
  path: NonNullable<RunningVolume['disk']>['disk'],
): Promise<number> {
  const answer = await ask(world, { verb: 'get-gi', minor }, `${minor}`);
  if (!answer.ok) return answer.status;
  const { deviceUuid } = answer.value as RunningGeneration;
  let sizeBytes: number;
  try {
    const fd = openSync(path, 'r');
    try {
      sizeBytes = deviceBytes(fd);
    } finally {
      closeSync(fd);
    }
  } catch (e) {
    world.err(
      `${minor}: the size of ${path} is not known: ${e instanceof Error ? e.message : e}\n`,
    );
    return EXIT_FAILURE;
  }
  const uuid = BigInt(`0x${deviceUuid}`);
  const before = known.load();
  if (before?.sizeBytes !== sizeBytes || before.uuid !== uuid)
    known.save({ sizeBytes, path, uuid });
  return 0;
}
