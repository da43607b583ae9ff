/** drbdadm with this project's drbdsetup and drbdmeta, which it runs in its own process. */
import { drbdadm } from './drbdadm-core.js';
import { main as drbdmeta } from './drbdmeta.js';
import { main as drbdsetup } from './drbdsetup.js';
import type { World } from './world.js';

export function main(argv: readonly string[], world: World): Promise<number> {
  return drbdadm(argv, world, { drbdsetup, drbdmeta });
}
