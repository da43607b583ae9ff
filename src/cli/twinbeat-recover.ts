/**
 * twinbeat recover NODE: an operator says that a node which is FAILED_OFFLINE may run resources again. Either node's heartbeat is
 * asked. Where none runs, the standing of this node is changed on its disk, after the same checks. Source: docs/HEALTH.md.
 */
import type { HeartbeatConfig } from '../host/heartbeat-ports.js';
import { isRecoverable } from '../host/node-health.js';
import { RECOVER_LIMIT_MS } from '../host/recover-link.js';
import { checkAnswer } from '../real/answer-check.js';
import { writeStanding } from '../real/answer-standing.js';
import { loadConfig, ownNodeName } from '../real/heartbeat-config.js';
import { daemonPid, livesFiles } from '../real/heartbeat-files.js';
import type { ScriptOutcome } from '../resource-manager/group-operation.js';
import { wordsOf } from '../resource-manager/health-ladder.js';
import { OK, parseStanding } from '../resource-manager/standing.js';
import { askHeartbeat } from './heartbeat-client.js';
import type { World } from './world.js';

export interface RecoverFlags {
  readonly activatePrimary?: true;
  readonly force?: true;
}

const MARGIN_MS = 5000;

export async function recoverMain(
  name: string,
  flags: RecoverFlags,
  world: World,
): Promise<number> {
  const node = name.toLowerCase();
  const force = flags.force === true;
  const activatePrimary = flags.activatePrimary === true;
  const request = { verb: 'recover', node, force, activatePrimary } as const;
  const answer = await askHeartbeat(world.root, request, RECOVER_LIMIT_MS + MARGIN_MS);
  let refusal: string | null;
  if (answer.ok === null && daemonPid(world.root)?.running !== true) {
    refusal = await recoverHere(node, force, world);
    if (refusal === null) world.out('Heartbeat does not run here: start it when it shall.\n');
  } else if (answer.ok === null) refusal = answer.reason;
  else refusal = answer.ok ? null : answer.text;
  if (refusal !== null) {
    world.err(`twinbeat recover: ${refusal}\n`);
    return 1;
  }
  world.out(`Node ${node} is recovered.\n`);
  return 0;
}

/** Null when it worked. Nobody reads the file meanwhile: no heartbeat runs. */
async function recoverHere(node: string, force: boolean, { root }: World): Promise<string | null> {
  if (node !== ownNodeName(root)) return `heartbeat is not running; it has to ask node ${node}`;
  const content = livesFiles(root).read('standing');
  const standing = parseStanding(content && new TextDecoder().decode(content));
  if (standing.state === 'ok') return `node ${node} is not FAILED_OFFLINE`;
  if (!force) {
    const { config } = loadConfig(root);
    if (!config)
      return 'the configuration is refused, so nothing can be checked; see heartbeat -v, or --force';
    const failed = await firstFailed(root, config);
    if (failed !== null) return `${failed}; --force recovers it all the same`;
  }
  await writeStanding(root, OK);
  return null;
}

async function firstFailed(root: string, config: HeartbeatConfig): Promise<string | null> {
  const check = checkAnswer(root);
  const timeoutMs = config.ini.health.timeoutS * 1000;
  for (const resource of config.groups.flatMap((group) => group.resources)) {
    const outcome = await new Promise<ScriptOutcome>((done) =>
      check(config, { resource, timeoutMs }, done),
    );
    if (!isRecoverable(outcome)) return `the check of ${resource.text} fails: ${wordsOf(outcome)}`;
  }
  return null;
}
