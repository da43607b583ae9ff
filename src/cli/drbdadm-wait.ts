/**
 * `drbdadm wait-con-int`: wait at boot until the peers are there, with the dialogue that lets an operator go on without.
 * Source: drbdadm 9.22 observed.
 */
import type { LocalResource } from '../config/drbd-conf-resolve.js';
import { waitConnect } from './drbdadm-commands.js';
import type { Adm } from './drbdadm-verbs.js';

const DOTS = 10; // seconds of quiet waiting before the dialogue

export async function waitConnectInteractive(
  adm: Adm,
  resources: readonly LocalResource[],
): Promise<number> {
  const { world, runner } = adm;
  const waits = resources.flatMap((r) =>
    (r.me?.volumes ?? []).map((volume) =>
      runner.run(waitConnect(r, volume), r.conf.name, 'forever'),
    ),
  );
  let statuses: readonly number[] | null = null;
  const all = Promise.all(waits).then((list) => {
    statuses = list;
  });
  if (adm.args.dryRun) {
    await all;
    return 0;
  }
  const second = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1000));
  for (let i = 0; i < DOTS && statuses === null; i++) {
    await Promise.race([all, second()]);
    if (statuses === null) world.out('.');
  }
  if (statuses === null) {
    world.out(box(resources[0]));
    await Promise.race([all, world.stdin.isTTY ? untilYes(adm) : all]);
  }
  world.out('\n');
  const failed: readonly number[] = statuses ?? [];
  return failed.includes(20) ? 20 : 0;
}

async function untilYes({ world }: Adm): Promise<void> {
  world.out(" To abort waiting enter 'yes' [ -- ]: ");
  for (;;) {
    const line = await world.stdin.readLine();
    if (line === 'yes') return;
    if (line === null) await new Promise<never>(() => {}); // no more input: wait for the peers
    world.out(" To abort waiting enter 'yes' [ -- ]:");
  }
}

function box(first: LocalResource | undefined): string {
  const option = (name: string): string =>
    first?.conf.startup.find((o) => o.name === name)?.value ?? '0';
  return [
    '',
    '***************************************************************',
    " DRBD's startup script waits for the peer node(s) to appear.",
    ' - If this node was already a degraded cluster before the',
    `   reboot, the timeout is ${option('degr-wfc-timeout')} seconds. [degr-wfc-timeout]`,
    ' - If the peer was available before the reboot, the timeout',
    `   is ${option('wfc-timeout')} seconds. [wfc-timeout]`,
    `   (These values are for resource '${first?.conf.name ?? ''}'; 0 sec -> wait forever)`,
    '',
  ].join('\n');
}
