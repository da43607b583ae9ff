/**
 * The device of a volume gets another size, and its new part is brought in sync.
 *
 *     grow: bits of the new part set -> bitmap on disk -> size in the superblock -> users see it
 *           -> one node begins a resync of what the bits say; the other one waits for it
 *
 * Who begins: the Primary; of equal roles the node that accepted the second socket (RESOLVE_CONFLICTS), as the kernel.
 *
 * - `online`: the size changed while connected (resize). A kernel does the same at its end: the source goes on with
 *   P_SYNC_UUID, without an exchange of bitmaps, and the target waits for that.
 * - `met`: it changed in the handshake, at an attach, or the connection was lost before the resync began. A kernel leaves
 *   the bits where they are for ever ("No resync, but N bits in bitmap!"). Here the source begins a generation and has the
 *   bitmaps compared on the same connection. A kernel that would have to be the source does not know of it: as a Primary it
 *   begins a generation when the connection is lost, so it is dropped once (with fencing that is for an operator to do); until
 *   somebody is Primary, nobody uses the device.
 *
 * That the new part needs a resync must not be forgotten. So the size in the superblock stays what it was until something
 * else there says so: the mark of a Primary, a bitmap UUID, an Inconsistent disk. A node that loses its power before that comes
 * back with the old size, and grows anew when it meets its peer. Source: docs/STATES.md, sizes.
 */
import { BLOCK_SECTORS, bitsOfSectors } from '../md/units.js';
import { beginGeneration } from './changes.js';
import type { Core } from './core.js';
import type { Link } from './link.js';
import { Conns, Disks, isResyncing, Roles, type State } from './state.js';
import type { Volume } from './volume.js';

/** A peer that is to be the source and has not begun by then is a kernel that does not know of it. */
const SOURCE_WAIT_MS = 5000;

export class Growth {
  readonly #core: Core;
  readonly #volume: Volume;
  #from = 0; // the size on disk, while nothing there guarantees the resync of what is behind it; 0: the size is that of the device
  #due: 'no' | 'online' | 'met' = 'no';
  #grownMs = 0; // when
  #newFrom = 0; // while due: the new part begins in that sector
  #writing = 0; // sizes that are not on disk yet
  #looks = false; // at the end of this turn
  #begins: Link | null = null; // has been begun on that connection
  #wait: object | null = null; // the one that runs, for a peer that is to begin

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
  }

  /** The new part is not in sync, and its resync has not begun. */
  get isDue(): boolean {
    return this.#due !== 'no';
  }

  /** Its resync begins in a moment, here or at the peer. */
  get isBeginning(): boolean {
    const v = this.#volume;
    const { conn, disk, pdsk } = v.state;
    const isGood = conn === Conns.Connected && disk === Disks.UpToDate && pdsk === Disks.UpToDate;
    if (!v.link || !isGood || this.#due !== 'online') return false;
    return this.#isSource(v.link) || this.#core.port.nowMs() < this.#grownMs + SOURCE_WAIT_MS;
  }

  /** So many bits are not those of a new part whose resync has not begun. */
  get oldBits(): number {
    const bits = this.#volume.bitmap?.bits ?? 0;
    return this.isDue ? Math.min(bits, Math.floor(this.#newFrom / BLOCK_SECTORS)) : bits;
  }

  /** The size is on disk, and its users have been told. */
  get isDone(): boolean {
    return this.#writing === 0;
  }

  /** What the superblock says. Once it is the size of the device it stays that. */
  get laSizeSectors(): number {
    if (this.#from > 0 && this.#isKnown) this.#from = 0;
    return this.#from > 0 ? this.#from : this.#volume.sizeSectors;
  }

  /** The meta-data tell that a resync is needed, or none is. */
  get #isKnown(): boolean {
    const { state, uuids, bitmap } = this.#volume;
    const isPrimary = state.role === Roles.Primary;
    const isInSync = this.#due === 'no' && bitmap?.count === 0;
    return isPrimary || uuids.bitmap !== 0n || state.disk === Disks.Inconsistent || isInSync;
  }

  /** A disk is attached: `laSize` is what its superblock says (0: nothing yet), the device has `size`. */
  attached(laSize: number, size: number): void {
    const grows = laSize > 0 && size > laSize;
    this.#from = grows ? laSize : 0;
    this.#due = grows ? 'met' : 'no';
    this.#newFrom = laSize;
    this.#begins = null;
    this.#wait = null;
  }

  /** Another size. `isNew`: what is added may differ; else it is known to be equal (--assume-clean). */
  resize(size: number, isNew: boolean, done: (result: number) => void = () => {}): void {
    const v = this.#volume;
    const old = v.sizeSectors;
    const { bitmap, store } = v;
    v.sizeSectors = size;
    this.#core.host.log('info', v.name, `size = ${Math.floor(size / 2)} KB`);
    if (!bitmap || !store) {
      this.#core.host.sizeChanged(v.minor);
      done(0);
      return;
    }
    bitmap.resize(bitsOfSectors(size), isNew);
    if (size > old && isNew) {
      // The last block may have been there in part only.
      if (old % BLOCK_SECTORS !== 0) bitmap.setSectors(old, 1);
      v.resync.checksums.marked(old, size);
      v.resync.unsaved.marked();
      this.#grown(old);
    }
    if (size <= this.#from) this.#from = 0;
    this.#writing++;
    v.app.admission.holdWrites(); // what is answered there is there after a power cut, too
    store.writeBitmap(bitmap, null, (bits) => {
      const finish = (result: number): void => {
        this.#writing--;
        if (v.sizeSectors === size) this.#core.host.sizeChanged(v.minor);
        v.app.admission.releaseWrites();
        done(result);
      };
      if (bits < 0) finish(bits);
      else store.writeSuperblock(finish);
    });
  }

  #grown(old: number): void {
    const { conn, pdsk } = this.#volume.state;
    if (this.#from === 0) this.#from = old;
    this.#grownMs = this.#core.port.nowMs();
    this.#newFrom = this.isDue ? Math.min(this.#newFrom, old) : old;
    const both = conn >= Conns.Connected && pdsk >= Disks.Inconsistent && pdsk !== Disks.DUnknown;
    this.#due = both ? 'online' : 'met';
    this.#begins = null;
    this.#wait = null;
    this.look();
  }

  stateChanged(old: State, next: State): void {
    if (this.#due === 'no') return;
    const { conn, disk, pdsk } = next;
    if (disk < Disks.Inconsistent && disk !== Disks.Negotiating) {
      this.#due = 'no';
      return;
    }
    // One that was under way as the device grew may be at its end.
    if (isResyncing(next) && !isResyncing(old)) {
      this.#due = 'no';
      return;
    }
    // What the peer's disk comes back with, nobody knows: it is met again.
    if (conn < Conns.Connected || pdsk < Disks.Inconsistent) {
      this.#due = 'met';
      this.#begins = null;
    }
    if (conn !== Conns.Connected) this.#wait = null; // a verify: it has its time when that is over
    // The mark of a Primary has stood for it until now.
    const demoted = old.role === Roles.Primary && next.role !== Roles.Primary;
    if (demoted && this.#from === 0 && (this.#volume.bitmap?.count ?? 0) > 0) {
      this.#volume.crashedPrimary = true;
    }
    this.look();
  }

  /** Something changed: is it time? Never inside this call. */
  look(): void {
    const v = this.#volume;
    if (this.#looks || this.#due === 'no' || v.state.conn !== Conns.Connected) return;
    this.#looks = true;
    v.resource.when(
      () => !v.resource.meeting && !v.resource.changing,
      () => {
        this.#looks = false;
        this.#mayBegin();
      },
    );
  }

  #mayBegin(): void {
    const v = this.#volume;
    const { link } = v;
    const { conn, disk, pdsk } = v.state;
    if (this.#due === 'no' || !link || conn !== Conns.Connected || this.#begins === link) return;
    if (disk !== Disks.UpToDate || pdsk !== Disks.UpToDate) return;
    if ((v.bitmap?.count ?? 0) === 0) {
      this.#due = 'no';
      v.store?.writeSuperblock();
      return;
    }
    if (this.#isSource(link)) this.#begin(link);
    else if (this.#awaitsSource(link)) this.#waitFor(link);
  }

  /** The peer is the source, and may be a kernel that does not know of it. */
  #awaitsSource(link: Link): boolean {
    const { conn, disk, pdsk, peer } = this.#volume.state;
    const isGood = conn === Conns.Connected && disk === Disks.UpToDate && pdsk === Disks.UpToDate;
    return isGood && this.#due === 'met' && peer === Roles.Primary && !this.#isSource(link);
  }

  #isSource(link: Link): boolean {
    const { role, peer } = this.#volume.state;
    return role === peer ? link.resolveConflicts : role === Roles.Primary;
  }

  #begin(link: Link): void {
    const v = this.#volume;
    if (this.#due === 'online') {
      // The peer has, or takes as soon as it hears of it, the same size.
      if ((v.peerSizes?.diskSectors ?? 0) < v.sizeSectors) return;
      this.#begins = link;
      this.#core.host.log('info', v.name, 'Resync of new storage after online grow');
      v.resync.beginning.startMarked();
      return;
    }
    this.#begins = link;
    this.#core.host.log('info', v.name, 'Resync of new storage');
    const compare = (): void => v.resync.beginning.compare();
    beginGeneration(v, true, () => this.whenFree(link, compare), true);
  }

  /**
   * All is ready for the beginning on that connection: `begin` when no other change of state is being agreed on with the peer, or
   * it would take place on one node only. Where it does not make sense any more, it is looked at anew when the state changes.
   */
  whenFree(link: Link, begin: () => void): void {
    const v = this.#volume;
    if (v.link !== link || this.#due === 'no') return;
    if (v.resource.changing) {
      v.resource.when(
        () => !v.resource.changing,
        () => this.whenFree(link, begin),
      );
      return;
    }
    const { conn, disk, pdsk } = v.state;
    const isGood = conn === Conns.Connected && disk === Disks.UpToDate && pdsk === Disks.UpToDate;
    if (isGood && this.#isSource(link)) begin();
    else this.#begins = null;
  }

  #waitFor(link: Link): void {
    const v = this.#volume;
    if (this.#wait) return;
    const wait = {};
    this.#wait = wait;
    v.resource.after(SOURCE_WAIT_MS, () => {
      if (this.#wait !== wait || v.link !== link) return;
      if (!this.#awaitsSource(link)) {
        this.#wait = null; // a disk is gone, or a role another one: it is looked at anew when that changes
        return;
      }
      if (v.diskOptions.fencing === 'dont-care') {
        link.fail('NetworkFailure', 'the peer does not begin the resync of new storage: once more');
        return;
      }
      const text =
        'New storage is not in sync, and the peer does not begin a resync. Here: disconnect, connect';
      this.#core.host.log('error', v.name, text);
    });
  }
}
