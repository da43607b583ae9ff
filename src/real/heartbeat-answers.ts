/** The real world's answers to the questions of the lives of heartbeat: one file and one function for each kind. */

import type { LivesHost } from '../host/heartbeat-ports.js';
import type { Answers } from '../host/heartbeat-questions.js';
import { Fencing } from './answer-fence.js';

export function realAnswers(root: string, log: LivesHost['log']): Answers {
  const fencing = new Fencing({ root, log });
  return {
    fence: (config, { node }, answered) => fencing.answer(config, node, answered),
  };
}
