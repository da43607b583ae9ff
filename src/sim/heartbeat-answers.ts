/** A simulated node's answers to the questions of the lives of heartbeat: what a node has where nothing else is said. */
import type { Answers } from '../host/heartbeat-questions.js';

export const NO_ANSWERS: Answers = {
  arbiter: (_config, _ask, answered) => answered({ verdict: 'silent' }),
  fence: (_config, _ask, answered) => answered('none'),
  data: (_config, _ask, answered) => answered({ own: ['UpToDate'], peer: ['UpToDate'] }),
  check: (_config, _ask, answered) => answered({ exitStatus: 0, output: '', failure: null }),
  announce: (_config, _ask, answered) => answered(null),
  digests: (_config, _ask, answered) => answered(null),
  standing: (_config, _ask, answered) => answered(true),
};
