/** What this node's files say, as digests: those that heartbeat has in force, and drbd.conf as drbdadm understands it (`drbdadm dump`). */
import { fileDigests } from '../host/file-digests.js';
import type { Answers } from '../host/heartbeat-questions.js';
import { LimitedRun } from './limited-run.js';
import { nodeDigests } from './node-ports.js';

const LIMIT_MS = 10_000;

/** Comments name this node and its files. Null: no resources. */
export function dumpedConf(text: string): string | null {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !/^\s*#/.test(line));
  return lines.length === 0 ? null : lines.join('\n');
}

export function digestsAnswer(root: string): Answers['digests'] {
  return (config, _ask, answered) => {
    const programs = new LimitedRun(root, LIMIT_MS);
    void programs.run('drbdadm', ['dump'], null).then(({ status, out }) => {
      programs.end();
      const drbdConf = status === 0 ? dumpedConf(out) : null;
      // What the machines throw is not for a promise.
      setImmediate(answered, fileDigests(config, drbdConf, nodeDigests));
    });
  };
}
