/** A simulated node's answer when its standing is to be kept: in a file that outlives a power cut. */
import type { LivesFiles } from '../host/heartbeat-ports.js';
import type { Answers } from '../host/heartbeat-questions.js';
import { formatStanding } from '../resource-manager/standing.js';

export function standingAnswer(files: LivesFiles): Answers['standing'] {
  return (_config, { standing }, answered) => {
    files.write('standing', new TextEncoder().encode(formatStanding(standing)), true);
    answered(true);
  };
}
