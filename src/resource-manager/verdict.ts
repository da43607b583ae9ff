/**
 * What the answer of a resource to `status` means. One table, by the kind of the resource; docs/RESOURCES.md has it with
 * what follows, test/resource-manager/verdict.test.ts holds that page to the code.
 *
 *     running   it runs
 *     stopped   it does not run. Only this lets a start happen
 *     failed    it was asked, and is neither: half of it may run
 *     unknown   nothing is known: it could not be asked, or has said nothing
 *
 * Sources: heartbeat 3.0.6 observed (a script's words count, not its exit status), LSB (0 runs, 3 does not), the OCF resource
 * agent API (0 runs, 7 does not, 2 to 6 are about the call), systemctl(1).
 */
import type { HaResource } from '../config/haresources.js';
import type { ScriptOutcome } from './group-operation.js';

export type Verdict = 'running' | 'stopped' | 'failed' | 'unknown';

/** LSB's and OCF's words for "stopped", and a script without a `status` of its own. The original starts after any. */
const SILENT_STOPPED: ReadonlySet<number | null> = new Set([0, 3, 7]);

const OCF_SUCCESS = 0;
const OCF_NOT_RUNNING = 7;
/** OCF_ERR_ARGS to OCF_ERR_CONFIGURED: the agent could not look at the resource. */
const OCF_NOT_ASKED: ReadonlySet<number | null> = new Set([2, 3, 4, 5, 6]);

const UNIT_RUNS: ReadonlySet<string> = new Set(['active', 'reloading', 'refreshing']);

/** Whether the output of a script's `status` says that it runs. The exit status does not count. */
export function saysRunning(output: string): boolean {
  if (/[nN][oO][tT] .*[rR]unning/s.test(output)) return false; // also 'is not currently running', as the original's pattern
  return /[rR]unning|OK/.test(output);
}

/** Whether a script has said nothing at all. */
export function isSilent(outcome: ScriptOutcome): boolean {
  return outcome.failure === null && outcome.output.trim() === '';
}

/** What `outcome`, of `status`, says of the resource. */
export function judge(resource: HaResource, outcome: ScriptOutcome): Verdict {
  if (outcome.failure !== null) return 'unknown';
  if (resource.kind === 'ocf') return judgeAgent(outcome.exitStatus);
  if (resource.kind === 'systemd') return judgeUnit(outcome);
  if (isSilent(outcome)) return SILENT_STOPPED.has(outcome.exitStatus) ? 'stopped' : 'unknown';
  return saysRunning(outcome.output) ? 'running' : 'stopped';
}

function judgeAgent(exitStatus: number | null): Verdict {
  if (exitStatus === OCF_SUCCESS) return 'running';
  if (exitStatus === OCF_NOT_RUNNING) return 'stopped';
  return OCF_NOT_ASKED.has(exitStatus) ? 'unknown' : 'failed';
}

/** Of `systemctl show -p ActiveState,SubState`. A unit that fails, starts or stops may have processes. */
function judgeUnit({ exitStatus, output }: ScriptOutcome): Verdict {
  const state = /^ActiveState=(.+)$/m.exec(output)?.[1];
  if (exitStatus !== 0 || state === undefined) return 'unknown';
  if (state === 'inactive') return 'stopped';
  return UNIT_RUNS.has(state) ? 'running' : 'failed';
}
