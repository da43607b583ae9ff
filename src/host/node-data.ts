/** Whether the disks of a node are good enough for its groups: asked of our own drbd, resource after resource. */
import type { HaResourceGroup } from '../config/haresources.js';
import type { DataState, DataVerdict, OwnDataVerdict } from '../resource-manager/answers.js';
import type { Hold } from '../resource-manager/hold.js';
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

/** The scopes of which every group needs disks of drbd. One without groups is no reason to ask. */
export function scopesOnDisks(groups: readonly HaResourceGroup[], node: string): Hold {
  const isOn = (ofScope: readonly HaResourceGroup[]) =>
    ofScope.every((group) => drbdResources([group]).length > 0);
  const local = isOn(groups.filter((group) => group.node === node));
  const foreign = isOn(groups.filter((group) => group.node !== node));
  if (groups.length === 0 || !(local || foreign)) return 'none';
  if (local && foreign) return 'all';
  return local ? 'local' : 'foreign';
}

/**
 * Not when each of the groups needs a disk of ours that is Outdated or Inconsistent, without a better one of the peer's to read from: it
 * cannot be promoted then. What nobody can say is left to the scripts. `done` is told once, at once when there is nothing
 * to ask; never when the life has ended.
 */
export function askOwnData(
  ask: NodeAsk,
  peer: string,
  groups: readonly HaResourceGroup[],
  nowMs: number,
  done: (verdict: OwnDataVerdict, nowMs: number) => void,
): void {
  const bad = new Map<string, string>(); // resource of drbd -> its state here
  const all = drbdResources(groups);
  const next = (index: number, atMs: number): void => {
    const resource = all[index];
    if (resource === undefined) {
      done(ownVerdict(groups, bad, peer), atMs);
      return;
    }
    ask('data', { resource }, (state, answeredMs) => {
      const own = state && worse(state);
      if (own) bad.set(resource, own);
      next(index + 1, answeredMs);
    });
  };
  next(0, nowMs);
}

/** The state of the first volume that cannot be promoted; null: there is none. */
function worse({ own, peer }: DataState): string | null {
  const isBad = (state: string, index: number) =>
    (state === 'Outdated' || state === 'Inconsistent') && peer[index] !== 'UpToDate';
  return own.find(isBad) ?? null;
}

function ownVerdict(
  groups: readonly HaResourceGroup[],
  bad: ReadonlyMap<string, string>,
  peer: string,
): OwnDataVerdict {
  const badOf = (group: HaResourceGroup) => drbdResources([group]).filter((name) => bad.has(name));
  if (groups.length === 0 || groups.some((group) => badOf(group).length === 0))
    return { isGood: true };
  const names = [...bad].map(([name, state]) => `${name} (${state})`).join(', ');
  const force = [...bad.keys()].map((name) => `drbdadm primary --force ${name}`).join('; ');
  return {
    isGood: false,
    why: `the data here are older than those of ${peer}, or half of a resync: ${names}`,
    force,
  };
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
