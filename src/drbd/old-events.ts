/**
 * What `drbdsetup events` (of 8.3, still there in 8.4) reports: a volume's whole state at each change, and how far a resync is.
 * Source: drbdsetup-84 9.22 observed with kernel DRBD 8.4.11; the kernel tells of progress when a resync extent of 16 MiB is in sync,
 * drbdd every two seconds in which some is made. Pure.
 */
import { permilleDone } from './progress.js';
import { Conns, connName, diskName, isSuspended, roleName, type State } from './state.js';
import type { NodeStatus, ResourceStatus, VolumeStatus } from './status.js';

/** All volumes of a resource; none: it is gone. */
export interface StatesEvent {
  readonly action: 'states';
  readonly name: string;
  readonly volumes: readonly {
    readonly volume: number;
    readonly minor: number;
    readonly state: string;
  }[];
}

export interface ProgressEvent {
  readonly action: 'progress';
  readonly name: string;
  readonly volume: number;
  readonly minor: number;
  readonly permille: number;
}

export function statesEvent(name: string, r: ResourceStatus | null): StatesEvent {
  const volumes = (r?.volumes ?? []).map((v) => ({
    volume: v.volume,
    minor: v.minor,
    state: oldState(v.state),
  }));
  return { action: 'states', name, volumes };
}

function oldState(s: State): string {
  const flags = [
    isSuspended(s) ? 's' : 'r',
    s.aftrIsp ? 'a' : '-',
    s.peerIsp ? 'p' : '-',
    s.userIsp ? 'u' : '-',
  ].join('');
  return (
    `{ cs:${connName(s.conn)} ro:${roleName(s.role)}/${roleName(s.peer)} ` +
    `ds:${diskName(s.disk)}/${diskName(s.pdsk)} ${flags} }`
  );
}

/** What blocks a resync has done since it was asked last; nothing for one that stands still, or is over. */
export class ProgressWatch {
  readonly #left = new Map<number, number>(); // by minor, of a resync that runs

  look(status: NodeStatus): ProgressEvent[] {
    const events: ProgressEvent[] = [];
    for (const v of status.resources.flatMap((r) => r.volumes)) {
      const { conn } = v.state;
      const runs = conn === Conns.SyncSource || conn === Conns.SyncTarget;
      const { progress } = v;
      if (!runs || !progress) {
        this.#left.delete(v.minor);
        continue;
      }
      const { leftBits, totalBits } = progress;
      const before = this.#left.get(v.minor) ?? totalBits;
      this.#left.set(v.minor, leftBits);
      if (leftBits < before) events.push(progressEvent(v, permilleDone(progress)));
    }
    return events;
  }
}

function progressEvent(v: VolumeStatus, permille: number): ProgressEvent {
  return { action: 'progress', name: v.resource, volume: v.volume, minor: v.minor, permille };
}
