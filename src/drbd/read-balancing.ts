/**
 * Which of two good disks serves a read: `read-balancing` (drbd.conf; docs/CONFIGURATION.md).
 *
 *     prefer-local, prefer-remote
 *     round-robin              in turns
 *     least-pending            the peer, while more is under way at the disk here than over there
 *     32K-striping ... 1M      stripes of that size in turns: a file read from begin to end keeps both busy
 *     when-congested-remote    as prefer-local: no process sees the queue of a disk
 *
 * A user must not see an older block than before, whichever disk it comes from. So the peer is asked only for what it has for certain:
 * under protocol C, where a write is answered when both have it; not where a write is under way, which one may have and the other not
 * yet; not where an online verify compares; and not where a bit says that the copies may differ. (The originals ask for anything.) What the peer can not deliver is read here.
 */
import type { AppRequest } from './app-request.js';
import { Conns, Disks } from './state.js';
import type { Volume } from './volume.js';

const STRIPE = /^(\d+)([KM])-striping$/;

export class ReadBalancing {
  readonly #volume: Volume;
  #turn = false; // the peer's
  #policy = '';
  #stripeSectors = 0;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** A read that the disk here could serve. */
  asksPeer(r: AppRequest): boolean {
    const policy = this.#volume.diskOptions.readBalancing;
    if (policy === 'prefer-local' || policy === 'when-congested-remote') return false;
    return this.#peerHas(r) && this.#chooses(policy, r.sector);
  }

  #peerHas(r: AppRequest): boolean {
    const v = this.#volume;
    const { conn, pdsk } = v.state;
    if (!v.link || conn < Conns.Connected || pdsk !== Disks.UpToDate) return false;
    if (v.app.promises.inForce(v.link.protocol) !== 'C') return false;
    if (v.intervals.overlaps(r.sector, r.endSector)) return false;
    // The peer holds a block that it answered until it is compared here, which this read's place in the order would hold off.
    if (v.verify.questions.holds(r.sector, r.endSector)) return false;
    return v.bitmap !== null && !v.bitmap.anySectors(r.sector, r.endSector - r.sector);
  }

  #chooses(policy: string, sector: number): boolean {
    if (policy === 'prefer-remote') return true;
    if (policy === 'least-pending') return this.#volume.app.local > this.#volume.app.remote;
    if (policy === 'round-robin') {
      this.#turn = !this.#turn;
      return this.#turn;
    }
    if (policy !== this.#policy) {
      const [, size, unit] = STRIPE.exec(policy) ?? [];
      this.#policy = policy;
      this.#stripeSectors = Number(size ?? 0) * (unit === 'M' ? 2048 : 2);
    }
    return this.#stripeSectors > 0 && Math.floor(sector / this.#stripeSectors) % 2 === 1;
  }
}
