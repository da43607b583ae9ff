/** What the log says of scripts that fail or do not say how their resource is. The original's words, where it has some. */
import type { HaResource } from '../config/haresources.js';
import type { Action, ScriptOutcome } from './group-operation.js';
import type { Verdict } from './verdict.js';

const WHAT: Readonly<Record<HaResource['kind'], (script: string) => string>> = {
  heartbeat: (script) => `Cannot locate resource script ${script}`,
  ocf: (script) => `Cannot locate OCF agent ${script}`,
  systemd: (script) => `Cannot locate systemctl for ${script}`,
};

/** A script that did not end with 0, or not at all. */
export function failureWords(
  { text, script, kind }: HaResource,
  action: Action,
  outcome: ScriptOutcome,
): string {
  if (outcome.failure === 'missing') return WHAT[kind](script);
  if (outcome.failure === 'killed') return `${text} ${action} was killed: it did not end in time`;
  return `Return code ${outcome.exitStatus} from ${script} (${text} ${action})`;
}

/** A `status` after which its resource is stopped before it is started. */
export function doubtWords(
  { text, script, kind }: HaResource,
  verdict: Verdict,
  { failure, exitStatus, output }: ScriptOutcome,
): string {
  if (kind === 'heartbeat') {
    return `${script} status says nothing, exit status ${exitStatus}: what does not say whether it runs is stopped before it is started`;
  }
  const is = verdict === 'failed' ? 'is neither running nor stopped' : 'cannot say whether it runs';
  const state = /^ActiveState=.*$/m.exec(output)?.[0] ?? `exit status ${exitStatus}`;
  return `${text} ${is} (${failure ?? state}): it is stopped before it is started`;
}
