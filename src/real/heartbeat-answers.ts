/** The real world's answers to the questions of the lives of heartbeat: one file and one function for each kind. */

import type { LivesHost } from '../host/heartbeat-ports.js';
import type { Answers } from '../host/heartbeat-questions.js';
import { announceAnswer } from './answer-announce.js';
import { arbiterAnswer } from './answer-arbiter.js';
import { checkAnswer } from './answer-check.js';
import { dataAnswer } from './answer-data.js';
import { digestsAnswer } from './answer-digests.js';
import { Fencing } from './answer-fence.js';
import { standingAnswer } from './answer-standing.js';

/** `checks`: process groups of the checks that run now. */
export function realAnswers(root: string, log: LivesHost['log'], checks: Set<number>): Answers {
  const fencing = new Fencing({ root, log });
  return {
    fence: (config, { node }, answered) => fencing.answer(config, node, answered),
    arbiter: arbiterAnswer((text) => log('WARN', text)),
    data: dataAnswer(root),
    check: checkAnswer(root, checks),
    announce: announceAnswer(root),
    digests: digestsAnswer(root),
    standing: standingAnswer(root, (text) => log('ERROR', text)),
  };
}
