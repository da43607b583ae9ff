/**
 * twinbeat restart drbdd: the engine is replaced under its mounted file systems. Asks drbdd to hand over (it stops taking requests,
 * saves its state and exits with the restart code), then waits until its successor, started by the angel, serves every volume
 * that was attached before. I/O waits meanwhile; nobody sees an error.
 */

import { diskName } from '../drbd/state.js';
import type { NodeStatus } from '../drbd/status.js';
import { ControlClient, ControlLostError } from './control-client.js';
import { UsageError, type World } from './world.js';

const LIMIT_MS = 60_000;
const RETRY_MS = 10;

export async function restartMain(daemon: string, world: World): Promise<number> {
  if (daemon !== 'drbdd') {
    throw new UsageError(`twinbeat restart: only drbdd can be restarted so, not ${daemon}`, 2);
  }
  const opened = await ControlClient.open(world.root);
  if (!opened.client) {
    world.err(`twinbeat: ${opened.reason}\n`);
    return 1;
  }
  const before = await status(opened.client);
  const startMs = performance.now();
  try {
    const reply = await opened.client.request({ verb: 'restart' }, LIMIT_MS);
    if (!reply.ok) {
      world.err(`twinbeat: drbdd refuses: ${reply.text}\n`);
      for (const line of [...reply.info, ...reply.next]) world.err(`  ${line}\n`);
      return 1;
    }
    await lost(opened.client);
  } catch (e) {
    // It may be gone before its answer is read; whether a successor is there is looked at next.
    if (!(e instanceof ControlLostError)) throw e;
  } finally {
    opened.client.close();
  }
  const wanted = attached(before);
  while (performance.now() - startMs < LIMIT_MS) {
    const successor = await ControlClient.connect(world.root);
    if (successor) {
      try {
        const now = attached(await status(successor));
        if (wanted.every((minor) => now.includes(minor))) {
          const ms = Math.round(performance.now() - startMs);
          world.out(`drbdd restarted in ${ms} ms, ${wanted.length} volumes attached\n`);
          return 0;
        }
      } catch (e) {
        if (!(e instanceof ControlLostError)) throw e;
      } finally {
        successor.close();
      }
    }
    await new Promise((done) => setTimeout(done, RETRY_MS));
  }
  world.err(`twinbeat: drbdd did not come back within ${LIMIT_MS / 1000} s; see its log\n`);
  return 1;
}

async function status(client: ControlClient): Promise<NodeStatus> {
  const reply = await client.request({ verb: 'status' }, LIMIT_MS);
  if (!reply.ok) throw new Error(`drbdd gives no status: ${reply.text}`);
  return reply.value as NodeStatus; // same version, same file
}

/** Minors with a disk. */
function attached(node: NodeStatus): number[] {
  return node.resources
    .flatMap((r) => r.volumes)
    .filter((v) => diskName(v.state.disk) !== 'Diskless')
    .map((v) => v.minor);
}

/** Until the old process has closed its end. */
async function lost(client: ControlClient): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  try {
    while (performance.now() < end) {
      await client.request({ verb: 'status' }, 1_000);
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  } catch (e) {
    if (!(e instanceof ControlLostError)) throw e;
  }
}
