/**
 * Asking drbdd, and saying what it answered, in drbdsetup's words and exit codes:
 *
 *     Failure (10), State change failed (11; 16 no local disk, 17 no UpToDate data, 5 outdate of an Inconsistent disk),
 *     timeout (5), no daemon (20)
 *
 * Below the original's line come ours: the rule and evidence, and the command to try. Source: drbdsetup 8.4 observed.
 */
import { Roles } from '../drbd/state.js';
import type { NodeStatus } from '../drbd/status.js';
import {
  type ControlFailure,
  type ControlReply,
  type ControlRequest,
  exitOf,
  type RunningResource,
} from '../host/control.js';
import { ControlClient, ControlLostError } from './control-client.js';
import type { World } from './world.js';

export const EXIT_FAILURE = 10;
export const EXIT_NO_DAEMON = 20;

/** The kernel's further line below some failures. */
const KERNEL_INFO: ReadonlyMap<number, string> = new Map([
  [127, 'unknown minor'],
  [158, 'unknown resource'],
  [162, 'unknown connection'],
]);

export type Answer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly status: number; readonly failure: ControlFailure | null };

/** Ask once; what goes wrong is printed. `object` stands before the message: '0', 'r0', '??'. */
export async function ask(world: World, request: ControlRequest, object: string): Promise<Answer> {
  const opened = await ControlClient.open(world.root);
  if (!opened.client) {
    world.err(
      `Can not reach drbdd: ${opened.reason}. Is it running? start it: drbdd --keepalive\n`,
    );
    return { ok: false, status: EXIT_NO_DAEMON, failure: null };
  }
  const { client } = opened;
  try {
    const reply: ControlReply = await client.request(request);
    if (reply.ok) return reply;
    printFailure(world, reply, object);
    return { ok: false, status: exitOf(reply), failure: reply };
  } catch (e) {
    if (!(e instanceof ControlLostError)) throw e;
    world.err(
      `Can not reach drbdd: ${e.message}. Whether '${request.verb}' took effect is not known\n`,
    );
    return { ok: false, status: EXIT_NO_DAEMON, failure: null };
  } finally {
    client.close();
  }
}

export function printFailure(world: World, failure: ControlFailure, object: string): void {
  if (failure.kind === 'failure') {
    world.err(`${object}: Failure: (${failure.code}) ${failure.text}\n`);
    const info = KERNEL_INFO.get(failure.code);
    if (info !== undefined) world.err(`additional info from kernel:\n${info}\n`);
  } else if (failure.kind === 'state') {
    world.err(`${object}: State change failed: (${failure.code}) ${failure.text}\n`);
  } else {
    world.err(`${object}: ${failure.text}\n`);
  }
  for (const line of failure.info) world.err(`  ${line}\n`);
  for (const line of failure.next) world.err(`  try: ${line}\n`);
}

export function unknownMinor(world: World, minor: number): number {
  world.err(
    `${minor}: Failure: (127) Device minor not allocated\nadditional info from kernel:\nunknown minor\n`,
  );
  return EXIT_FAILURE;
}

/** The handlers of a resource; exit status. */
export async function sendHandlers(
  world: World,
  request: Extract<ControlRequest, { verb: 'set-handlers' }>,
): Promise<number> {
  const answer = await ask(world, request, request.resource);
  return answer.ok ? 0 : answer.status;
}

/** What runs. Null when it cannot be known (said on standard error); with `isDryRun` a missing daemon runs nothing. */
export async function runningResources(
  world: World,
  isDryRun: boolean,
): Promise<readonly RunningResource[] | null> {
  if (isDryRun) {
    const { client } = await ControlClient.open(world.root);
    if (!client) return [];
    client.close();
  }
  const answer = await ask(world, { verb: 'running' }, 'running');
  if (!answer.ok) return null;
  return Array.isArray(answer.value) ? (answer.value as readonly RunningResource[]) : [];
}

/** Minors that are Primary. Null when it cannot be known (said on standard error). */
export async function primaryMinors(world: World): Promise<ReadonlySet<number> | null> {
  const answer = await ask(world, { verb: 'status' }, 'status');
  if (!answer.ok) return null;
  const volumes = (answer.value as NodeStatus).resources.flatMap((r) => r.volumes);
  return new Set(volumes.filter((v) => v.state.role === Roles.Primary).map((v) => v.minor));
}
