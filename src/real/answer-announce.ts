/** Addresses are announced by their script's `announce`. What comes of it is of no consequence: the address may be gone by then. */
import type { Answers } from '../host/heartbeat-questions.js';
import { LimitedRun } from './limited-run.js';
import { findScript } from './resource-command.js';

const LIMIT_MS = 10_000;

export function announceAnswer(root: string): Answers['announce'] {
  return (_config, { resource }, answered) => {
    const programs = new LimitedRun(root, LIMIT_MS);
    const announce = async (): Promise<void> => {
      const program = await findScript(root, resource.script);
      if (program !== null) await programs.run(program, [...resource.args, 'announce'], null);
    };
    const end = (): void => {
      programs.end();
      setImmediate(answered, null); // what the machines throw is not for a promise
    };
    announce().then(end, end);
  };
}
