/**
 * The table of `drbdadm adjust-with-progress`, which the init script shows at boot: a row per phase, in it the resources
 * that have something to do there, and what failed. A failure ends nothing but what needs it: whose resource or minor
 * could not be made is left out of later rows.
 *
 *     [
 *          create res: r0 r1
 *        prepare disk: r0:failed(new-minor:10) r1
 *         adjust disk: [skipped:r0] r1
 *          adjust net: [skipped:r0] r1
 *     ]
 *
 * Source: drbdadm-84 9.22 observed with programs that fail on purpose. The original drops what the programs say; here it
 * follows below the table.
 */
import type { LocalResource } from '../config/drbd-conf-resolve.js';
import { type Adm, PHASES, type Phase } from './drbdadm-verbs.js';

const LABELS: Readonly<Record<Phase, string>> = {
  create: 'create res',
  resource: 'adjust res',
  minor: 'prepare disk',
  disk: 'adjust disk',
  'net-end': 'prepare net',
  net: 'adjust net',
};
const LABEL_COLUMNS = 15;

/** Runs what was queued. 1 when something failed. */
export async function runWithTable(adm: Adm): Promise<number> {
  const { deferred, runner, world } = adm;
  const failed = new Set<LocalResource>(); // in a phase that all later ones build on
  const complaints: string[] = [];
  let status = 0;
  world.out('[');
  for (const phase of PHASES) {
    const skipped = new Set(failed);
    let row: LocalResource | null | 'none' = 'none'; // whose name was printed last
    const name = (r: LocalResource, text: string): void => {
      if (row === 'none') world.out(`\n${LABELS[phase].padStart(LABEL_COLUMNS)}:`);
      if (row !== r) world.out(` ${text}`);
      row = r;
    };
    for (const { resource, verb, run } of deferred.filter((d) => d.phase === phase)) {
      if (failed.has(resource)) {
        if (skipped.has(resource)) name(resource, `[skipped:${resource.conf.name}]`);
        continue;
      }
      // The handlers are given to drbdd beside the original's commands: they have no place in its table.
      if (verb !== 'handlers') name(resource, resource.conf.name);
      const { status: result, command } = await runner.quietly(run, complaints);
      if (result === 0) continue;
      name(resource, resource.conf.name);
      world.out(`:failed(${command ?? verb}:${result})`);
      status = 1;
      if (phase === 'create' || phase === 'minor') failed.add(resource);
    }
  }
  world.out('\n]\n');
  for (const text of complaints) world.err(text);
  return status;
}
