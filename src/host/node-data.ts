/** Whether the other node's disks are good enough for its groups: asked of our own drbd, resource after resource. */
import type { HaResourceGroup } from '../config/haresources.js';
import type { DataVerdict } from '../resource-manager/answers.js';
import type { NodeAsk } from './heartbeat-questions.js';

const GOOD: DataVerdict = { isGood: true };

/** The resources of drbd that groups promote by drbddisk, as it is told them: `all` for all. */
export function drbdResources(groups: readonly HaResourceGroup[]): string[] {
  const names = groups.flatMap((group) =>
    group.resources.flatMap(({ kind, script, args }) =>
      kind === 'heartbeat' && script === 'drbddisk' ? [args[0] ?? 'all'] : [],
    ),
  );
  return [...new Set(names)];
}

/** `done` is told once; never when the life has ended. */
export function askPeersData(
  ask: NodeAsk,
  peer: string,
  resources: readonly string[],
  done: (verdict: DataVerdict, nowMs: number) => void,
): void {
  const [resource, ...rest] = resources;
  if (resource === undefined) return;
  ask('data', { resource }, (state, nowMs) => {
    const bad = state?.peer.find((disk) => disk !== 'UpToDate');
    if (!state || state.peer.length === 0) {
      const why = `drbdadm does not say whether the data of ${resource} are up to date on ${peer}`;
      done({ isGood: false, why }, nowMs);
    } else if (bad !== undefined) {
      const why = `the data of ${resource} are not up to date on ${peer} (${bad})`;
      done({ isGood: false, why }, nowMs);
    } else if (rest.length === 0) done(GOOD, nowMs);
    else askPeersData(ask, peer, rest, done);
  });
}
