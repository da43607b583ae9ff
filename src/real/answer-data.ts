/** The disks of a resource, by `drbdadm dstate`: a line `OWN/PEER` for each volume (drbdadm(8)). */
import type { Answers } from '../host/heartbeat-questions.js';
import type { DataState } from '../resource-manager/answers.js';
import { LimitedRun } from './limited-run.js';

const LIMIT_MS = 10_000;
const DISKS = /^([A-Za-z]+)\/([A-Za-z]+)$/;

/** Null: it says something else. */
export function parseDiskStates(text: string): DataState | null {
  const own: string[] = [];
  const peer: string[] = [];
  for (const line of text.split('\n').filter(Boolean)) {
    const [, here, there] = DISKS.exec(line.trim()) ?? [];
    if (here === undefined || there === undefined) return null;
    own.push(here);
    peer.push(there);
  }
  return { own, peer };
}

export function dataAnswer(root: string): Answers['data'] {
  return (_config, { resource }, answered) => {
    const programs = new LimitedRun(root, LIMIT_MS);
    void programs.run('drbdadm', ['dstate', resource], null).then(({ status, out }) => {
      programs.end();
      // What the machines throw is not for a promise.
      setImmediate(answered, status === 0 ? parseDiskStates(out) : null);
    });
  };
}
