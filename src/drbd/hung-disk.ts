/**
 * A disk that does not answer: noticed after `disk-timeout`, and let go without its answer (`detach --force`, spec of drbd.conf,
 * disk-timeout; docs/STATES.md). What was under way fails, as with any error of the disk; the peer's copy goes on.
 *
 * It may still do what it was given, at any time: its buffers are not used for anything else until they are back
 * (`abandonDisk`), meta-data are not composed in them, and nobody attaches that disk before. (The originals attach it again, and
 * give the pages of a hung request to others.)
 */
import { LEG_PENDING } from './app-request.js';
import type { Core } from './core.js';
import { Disks } from './state.js';
import type { Volume } from './volume.js';

/** `detach --force`: a disk that works is done with its requests by then, and its bitmap is written. */
const FORCE_GRACE_MS = 1000;
/** How often the requests are looked at within the time that they have. */
const LOOKS = 8;

/** Looks at what the local disk has, while disk-timeout is set. */
export class DiskWatch {
  readonly #volume: Volume;
  #lookAtMs = Number.POSITIVE_INFINITY;
  #lookedMs = 0;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  get deadlineMs(): number {
    const v = this.#volume;
    const { diskTimeoutDs } = v.diskOptions;
    const busy = v.app.local > 0 || v.peerIo.local > 0 || v.store?.asked === true;
    if (diskTimeoutDs === 0 || !busy || !v.diskUsable()) this.#lookAtMs = Number.POSITIVE_INFINITY;
    else if (this.#lookAtMs === Number.POSITIVE_INFINITY) {
      this.#lookAtMs = v.core.port.nowMs() + (diskTimeoutDs * 100) / LOOKS;
    }
    return this.#lookAtMs;
  }

  tick(nowMs: number): void {
    if (nowMs < this.#lookAtMs) return;
    this.#lookAtMs = Number.POSITIVE_INFINITY;
    const v = this.#volume;
    if (!v.diskUsable()) return;
    const timeoutMs = v.diskOptions.diskTimeoutDs * 100;
    // Nobody looked: this process was stopped, and what the disk has ended meanwhile may not have been heard.
    const afresh = nowMs - this.#lookedMs > timeoutMs / 2;
    this.#lookedMs = nowMs;
    if (nowMs - owesSinceMs(v, nowMs, afresh) < timeoutMs) return;
    v.core.host.log('error', v.name, 'Local backing device failed to meet the disk-timeout');
    v.diskHangs();
    giveUpDisk(v);
  }
}

/**
 * Since when the disk was seen to owe an answer. Only the times of looks count: that at which something was asked may be from
 * before a long rest (`DataPort.nowMs`), and a disk that works would be let go.
 */
function owesSinceMs(v: Volume, nowMs: number, afresh: boolean): number {
  let since = nowMs;
  if (v.store?.asked) {
    if (afresh || v.store.sinceMs === 0) v.store.sinceMs = nowMs;
    since = v.store.sinceMs;
  }
  v.core.app.each((r) => {
    if (r.owner !== v.app || r.local !== LEG_PENDING) return;
    if (afresh || r.diskSinceMs === 0) r.diskSinceMs = nowMs;
    since = Math.min(since, r.diskSinceMs);
  });
  v.core.peer.each((p) => {
    if (p.owner !== v.peerIo || p.diskSinceMs < 0) return;
    if (afresh || p.diskSinceMs === 0) p.diskSinceMs = nowMs;
    since = Math.min(since, p.diskSinceMs);
  });
  const look = (b: { diskSinceMs: number }): void => {
    if (afresh || b.diskSinceMs === 0) b.diskSinceMs = nowMs;
    since = Math.min(since, b.diskSinceMs);
  };
  v.verify.reads.eachReading(look);
  v.resync.checksums.eachReading(look);
  return since;
}

/** `detach --force`: the disk has a moment to end what it has. */
export function giveUpSoon(v: Volume): void {
  const disk = v.dataDisk;
  v.resource.after(FORCE_GRACE_MS, () => {
    if (disk >= 0 && v.dataDisk === disk && v.state.disk === Disks.Failed) giveUpDisk(v);
  });
}

/** The disk is being detached: nothing of it is waited for any more. */
function giveUpDisk(v: Volume): void {
  const { core, dataDisk, metaHandle, lowerDisk, metaDisk } = v;
  const isGoing = v.detaching || v.untold !== null; // or its handler runs, and it is closed behind that
  if (!isGoing || dataDisk < 0 || v.store?.dead === true) return;
  v.store?.abandon();
  core.host.log('error', v.name, 'The disk does not answer: its requests are given up');
  owe(core, v.name, dataDisk, lowerDisk);
  if (metaHandle >= 0 && metaHandle !== dataDisk) owe(core, v.name, metaHandle, metaDisk);
}

function owe(core: Core, name: string, handle: number, path: string): void {
  core.owed.set(path, (core.owed.get(path) ?? 0) + 1);
  const back = core.cold(() => {
    const left = (core.owed.get(path) ?? 1) - 1;
    if (left > 0) core.owed.set(path, left);
    else core.owed.delete(path);
    core.host.log('info', name, `${path} has ended all that it was given`);
  });
  core.port.abandonDisk(handle, back);
}

/** Why a disk cannot be attached now, or null. */
export function stillOwed(core: Core, path: string): string | null {
  if (!core.owed.has(path)) return null;
  return (
    `${path} did not answer and was let go; it has not ended what it was given, and could still write that over newer data. ` +
    'Make the disk answer (or remove it from the machine), then attach it'
  );
}
