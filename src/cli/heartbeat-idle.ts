/**
 * `heartbeat --verify-idle`, for the init script: nothing of haresources runs before heartbeat does. What runs all the same was
 * started by somebody else (its unit is enabled, its address is configured), and runs twice when the other node has it.
 *
 * The original asks the first resource of each group alone. Words as there: `ResourceManager verifyallidle`.
 */
import type { HaResource } from '../config/haresources.js';
import type { HeartbeatConfig } from '../host/heartbeat-ports.js';
import { livesFiles } from '../real/heartbeat-files.js';
import { runScript, scriptEnvironment } from '../real/heartbeat-script.js';
import type { ScriptOutcome } from '../resource-manager/group-operation.js';
import { judge } from '../resource-manager/verdict.js';
import type { World } from './world.js';

/** A boot does not wait for ever for a script that hangs. */
const LIMIT_MS = 60_000;

function askStatus(root: string, config: HeartbeatConfig, resource: HaResource) {
  const host = {
    root,
    env: scriptEnvironment(config),
    timeoutMs: LIMIT_MS,
    log: () => {},
    running: () => {},
  };
  return new Promise<ScriptOutcome>((done) => runScript(host, resource, 'status', done));
}

/** The number of resources that run, at most 99: the exit status. */
export async function verifyIdle(world: World, config: HeartbeatConfig): Promise<number> {
  if (livesFiles(world.root).read('state') !== null) {
    world.err(
      'info: the last heartbeat was killed: the next one looks after what it left running\n',
    );
    return 0;
  }
  let active = 0;
  for (const resource of config.groups.flatMap((group) => group.resources)) {
    const verdict = judge(resource, await askStatus(world.root, config, resource));
    if (verdict === 'stopped' || verdict === 'unknown') continue;
    active++;
    const is = verdict === 'running' ? 'is active' : 'is neither running nor stopped';
    world.err(`CRITICAL: Resource ${resource.text} ${is}, and should not be!\n`);
    world.err('CRITICAL: Non-idle resources can affect data integrity!\n');
  }
  return Math.min(active, 99);
}
