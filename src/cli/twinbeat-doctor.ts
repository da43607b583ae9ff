/**
 * twinbeat doctor: what is wrong with this node's files and this machine before somebody needs them. It reads and says; it changes
 * nothing. Exit status 0: nothing found, 1: warnings, 2: errors. Source: docs/DOCTOR.md.
 */
import { CHECKS } from './doctor-checks.js';
import { exitStatus, findings } from './doctor-finding.js';
import { gather } from './doctor-gather.js';
import { type Machine, realMachine } from './doctor-machine.js';
import { showMain } from './doctor-show.js';
import { doctorText } from './doctor-text.js';
import type { World } from './world.js';

export interface DoctorFlags {
  readonly json?: true;
  readonly show?: string;
  readonly configFile?: string;
}

export async function doctorMain(
  flags: DoctorFlags,
  world: World,
  machine: Machine = realMachine(world),
): Promise<number> {
  const { facts, notSeen } = await gather(world.root, machine, flags.configFile ?? null);
  if (flags.show !== undefined) return showMain(flags.show, facts, world);
  const found = findings(CHECKS, facts);
  const { node } = facts;
  world.out(
    flags.json
      ? `${JSON.stringify({ node, findings: found, notSeen })}\n`
      : doctorText(node, found, notSeen),
  );
  return exitStatus(found);
}
