/**
 * Asks a resource's script whether the resource is well: `monitor`, or `status` of a script that has no such action.
 *
 *     monitor   by its exit status: 0 good, 10 degraded, anything else failed (docs/RESOURCES.md)
 *     status    as a take judges it (resource-manager/verdict.ts): running is 0, stopped 3, everything else 1; OCF agents and units, too
 *
 * The scripts of this project have `monitor`, wherever a link to them lies; of another one a label of a `case` says so.
 * The answer comes at the time limit at the latest. What runs then is killed with its process group; while something of it
 * is there all the same (in the kernel), no further check of that resource is started: they would heap up.
 */
import type { ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { HaResource } from '../config/haresources.js';
import type { Answers } from '../host/heartbeat-questions.js';
import type { ScriptOutcome } from '../resource-manager/group-operation.js';
import { judge } from '../resource-manager/verdict.js';
import { outputFile, readOutput } from './child-output.js';
import { scriptEnvironment } from './heartbeat-script.js';
import {
  findScript,
  ownResourceDir,
  type ResourceCommand,
  resourceCommand,
} from './resource-command.js';
import { couldNotRun, killGroup, spawnAside } from './spawn-aside.js';

/** By its exit status, or as the `status` of a take. */
type CheckAction = 'monitor' | 'status';

interface Check {
  readonly command: ResourceCommand;
  readonly action: CheckAction;
}

const MISSING: ScriptOutcome = { exitStatus: null, output: '', failure: 'missing' };
const KILLED: ScriptOutcome = { exitStatus: null, output: '', failure: 'killed' };
/** The first lines say why; the rest would only fill the recordings. */
const MAX_OUTPUT_CHARS = 1000;
/** What lies there may be a program of any size: no more of it is looked through while the node has to be heard. */
const MAX_SCRIPT_BYTES = 256 << 10;
/** Looking for a script on a file system that hangs costs a thread of Node's few. */
const MAX_HANGING_LOOKS = 2;

/** `monitor)`, `status | monitor)`, `*:monitor)`, ... of a shell's `case`. */
const MONITOR_LABEL =
  /(?:^|\bin|;;)[ \t]*(?:\([ \t]*)?(?:[^\s()#;|]+[ \t]*\|[ \t]*)*["']?(?:[^\s()#;|]*:)?monitor["']?[ \t]*[|)]/m;

export function hasMonitor(script: string): boolean {
  return MONITOR_LABEL.test(script.replace(/^[ \t]*#.*$/gm, ''));
}

async function actionOf(path: string): Promise<CheckAction> {
  if (dirname(await realpath(path)) === ownResourceDir()) return 'monitor';
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_SCRIPT_BYTES), 0);
    return hasMonitor(buffer.toString('latin1', 0, bytesRead)) ? 'monitor' : 'status';
  } finally {
    await file.close();
  }
}

/** What is to be run; null: there is no such program. */
async function checkOf(
  root: string,
  resource: HaResource,
  timeoutMs: number,
): Promise<Check | null> {
  if (resource.kind !== 'heartbeat') {
    const command = await resourceCommand(root, resource, 'status', timeoutMs);
    return command && { command, action: 'status' };
  }
  const program = await findScript(root, resource.script);
  if (program === null) return null;
  const action = await actionOf(program);
  return { command: { program, words: [...resource.args, action], env: {} }, action };
}

function judged(
  resource: HaResource,
  action: CheckAction,
  exitStatus: number,
  said: string,
): ScriptOutcome {
  const outcome = { exitStatus, output: said.slice(0, MAX_OUTPUT_CHARS), failure: null } as const;
  if (action === 'monitor') return outcome;
  const verdict = judge(resource, { ...outcome, output: said });
  return { ...outcome, exitStatus: verdict === 'running' ? 0 : verdict === 'stopped' ? 3 : 1 };
}

/** Of a daemon that ends: nobody would kill them when their time is over. */
export function endChecks(running: ReadonlySet<number>): void {
  for (const pid of running) killGroup(pid, 'SIGKILL');
}

/** `running`: process groups of the checks that run now. */
export function checkAnswer(root: string, running = new Set<number>()): Answers['check'] {
  const left = new Map<string, number>(); // by resource: what did not end when it was killed
  let hangingLooks = 0;
  const overrun = (resource: HaResource, by: number): void => {
    const count = (left.get(resource.text) ?? 0) + by;
    if (count > 0) left.set(resource.text, count);
    else left.delete(resource.text);
  };
  return (config, { resource, timeoutMs }, answered) => {
    let child: ChildProcess | null = null;
    let isOver = false;
    let hasEnded = false; // nothing of it is there any more
    let isLooking = true;
    const finish = (outcome: ScriptOutcome): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(limit);
      setImmediate(answered, outcome); // what the machines throw is not for a promise
    };
    const ended = (outcome: ScriptOutcome): void => {
      if (hasEnded) return;
      hasEnded = true;
      if (isOver) overrun(resource, -1);
      else finish(outcome);
    };
    const limit = setTimeout(() => {
      if (!hasEnded) overrun(resource, 1);
      if (!hasEnded && isLooking) hangingLooks++;
      finish(KILLED);
      if (child?.pid !== undefined) killGroup(child.pid, 'SIGKILL');
    }, timeoutMs);
    if (left.has(resource.text) || hangingLooks >= MAX_HANGING_LOOKS) {
      hasEnded = true; // it fails in its time, as the one that hangs
      return;
    }
    const looked = (): void => {
      isLooking = false;
      if (isOver) hangingLooks--;
    };
    const begin = async (): Promise<void> => {
      const check = await checkOf(root, resource, timeoutMs);
      looked();
      if (check === null || isOver) ended(MISSING);
      else child = run(resource, check, scriptEnvironment(config), ended);
    };
    begin().catch(() => {
      if (isLooking) looked();
      ended(MISSING); // it was taken away meanwhile
    });
  };

  function run(
    resource: HaResource,
    { command, action }: Check,
    env: Readonly<Record<string, string>>,
    ended: (outcome: ScriptOutcome) => void,
  ): ChildProcess {
    const fd = outputFile(root);
    let child: ChildProcess;
    try {
      child = spawnAside(command.program, command.words, {
        cwd: '/',
        env: { ...process.env, ...env, ...command.env },
        stdio: ['ignore', fd, fd],
        detached: true, // a process group of its own
      });
    } catch (e) {
      closeSync(fd);
      throw e;
    }
    const { pid } = child;
    if (pid !== undefined) running.add(pid);
    let isClosed = false;
    const close = (): string => {
      if (isClosed) return '';
      isClosed = true;
      if (pid !== undefined) running.delete(pid);
      const said = readOutput(fd);
      closeSync(fd);
      return said;
    };
    child.on('error', () => {
      close();
      ended(MISSING);
    });
    child.on('exit', (status) => {
      const said = close();
      if (status === null) ended(KILLED);
      else ended(couldNotRun(status, said) ? MISSING : judged(resource, action, status, said));
    });
    return child;
  }
}
