/**
 * drbd-peer-outdater: DRBD's outdate-peer (fence-peer) handler by way of heartbeat. Asks the other node's dopd to run
 * `drbdadm outdate`, and tells DRBD by its exit status what became of it.
 *
 *     drbd-peer-outdater [-p PEER] [-r RESOURCE] [-t SECONDS]      else DRBD_PEER, DRBD_RESOURCE, 60
 *
 *     3 peer Inconsistent   4 outdated   5 not reached   6 peer is Primary   20 failed   21 already asked   1 usage
 *
 * Source: docs/HEARTBEAT.md, dopd; the original's program observed.
 */
import { UNREACHABLE } from '../host/dopd.js';
import { askHeartbeat } from './heartbeat-client.js';
import type { World } from './world.js';

const DEFAULT_TIMEOUT_S = 60;
const MARGIN_MS = 2000; // the daemon answers before we give up

export async function main(argv: readonly string[], world: World): Promise<number> {
  let peer = world.env['DRBD_PEER'] ?? '';
  let resource = world.env['DRBD_RESOURCE'] ?? '';
  let timeoutS = DEFAULT_TIMEOUT_S;
  for (let i = 0; i < argv.length; i += 2) {
    const value = argv[i + 1];
    if (value === undefined) return usage(world);
    if (argv[i] === '-p') peer = value;
    else if (argv[i] === '-r') resource = value;
    else if (argv[i] === '-t' && /^\d{1,6}$/.test(value)) timeoutS = Number(value);
    else return usage(world);
  }
  if (peer === '' || resource === '') return usage(world);
  const timeoutMs = timeoutS * 1000;
  const answer = await askHeartbeat(
    world.root,
    { verb: 'outdate', peer: peer.toLowerCase(), resource, timeoutMs },
    timeoutMs + MARGIN_MS,
  );
  if (answer.ok === true && typeof answer.value === 'number') return answer.value;
  const reason = answer.ok === null ? answer.reason : answer.ok ? 'no answer' : answer.text;
  world.err(`drbd-peer-outdater: ${reason}\n`);
  return UNREACHABLE;
}

function usage(world: World): number {
  world.err('usage: drbd-peer-outdater [-p PEER] [-r RESOURCE] [-t SECONDS]\n');
  return 1;
}
