/** A simulated node's answer to a check: its script's `monitor`, killed at its time limit as real/answer-check does. */
import type { Answers } from '../host/heartbeat-questions.js';
import type { ScriptOutcome } from '../resource-manager/group-operation.js';
import type { NodeClock } from './node-clock.js';
import type { SimScripts } from './sim-scripts.js';

const MISSING: ScriptOutcome = { exitStatus: null, output: '', failure: 'missing' };
const KILLED: ScriptOutcome = { exitStatus: null, output: '', failure: 'killed' };

export function checkAnswer(scripts: SimScripts, clock: NodeClock): Answers['check'] {
  return (_config, { resource, timeoutMs }, answered) => {
    let isOver = false;
    const finish = (outcome: ScriptOutcome): void => {
      if (isOver) return;
      isOver = true;
      clock.cancel(limit);
      answered(outcome);
    };
    const limit = clock.after(timeoutMs, () => {
      finish(KILLED);
      script?.kill('SIGKILL');
    });
    const script = scripts.check(resource, finish);
    if (!script) finish(MISSING);
  };
}
