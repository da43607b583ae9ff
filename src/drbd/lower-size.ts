/**
 * The lower device has another size than when it was attached: what it has room for, and where its meta-data belong.
 *
 * Internal meta-data are found from the end of the device, so they move when it has grown (docs/METADATA.md, sections 2, 3):
 *
 *     old:  | data .... | bitmap | log | superblock |
 *     new:  | data ............ | bitmap  | log | superblock |        the areas may overlap
 *
 * Whatever happens in between, a device with meta-data is left, the old or the new. Where the areas are apart: bitmap and log
 * are written to the new place, made durable, then the superblock, and only then is the old place erased (it is data now, the same on
 * both nodes); until then it is not touched, and nothing that would have to be written there is done (MetaStore.alone, LogGate.pause). Where they overlap
 * the superblock is written first (its place is always behind the old area), and asks for a full sync until all the rest is
 * there. Meanwhile writes to extents of the log go on; others wait for their transaction.
 *
 * As soon as the new superblock is there its place is noted, for the device may grow again before the next attach: the one at the
 * noted place is what is found then. The old one is erased before what it tells of: a superblock whose log is gone would be
 * believed, and a Primary's last writes would never reach its peer.
 *
 * What the peer has been told in a handshake holds until that is over, for it decides by that: more room counts from then on.
 *
 * Old meta-data at the place of a smaller device are found by `drbdmeta apply-al` and `check-resize`, which know the last size.
 */
import {
  isRefused,
  layoutOfDevice,
  type MetaLayout,
  sameLayout,
  superblockSector,
  usableSectors,
} from '../md/layout.js';
import { MDF } from '../md/superblock.js';
import type { Core } from './core.js';
import type { MetaStore } from './meta-store.js';
import { Conns } from './state.js';
import type { Volume } from './volume.js';

/** `trouble`: why the room cannot be used; then nothing has changed. */
type Examined = (hasChanged: boolean, trouble: string) => void;
type Result = (result: number) => void;

interface Move {
  readonly from: MetaLayout;
  readonly to: MetaLayout;
  readonly isThere: () => void; // the new superblock is durable
}

export class LowerSize {
  readonly #core: Core;
  readonly #volume: Volume;
  #isMoving = false;
  readonly #waiting: Examined[] = [];

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
  }

  /** Looks at the devices again; `done` at once when nothing has to be written, and never while a move or a handshake is under way. */
  examine(done: Examined): void {
    const v = this.#volume;
    if (this.#isMoving) {
      this.#waiting.push(done);
      return;
    }
    if (this.#isMeeting) {
      this.#whenMet(() => this.examine(done));
      return;
    }
    const { store } = v;
    if (!store?.layout || v.dataDisk < 0 || v.detaching) {
      done(false, '');
      return;
    }
    const old = store.layout;
    const data = this.#sectorsOf(v.dataDisk);
    const meta = v.metaHandle === v.dataDisk ? data : this.#sectorsOf(v.metaHandle);
    if (data < 0 || meta < 0) {
      done(false, 'the device does not answer');
      return;
    }
    const wanted = this.#wantedLayout(old, meta);
    if (typeof wanted === 'string') {
      this.#core.host.log('error', v.name, wanted);
      done(false, wanted);
      return;
    }
    if (sameLayout(wanted, old)) {
      const usable = usableSectors(old, data);
      const hasChanged = usable !== v.usableSectors && usable >= v.sizeSectors;
      if (hasChanged) {
        this.#isAt(meta);
        this.#take(usable);
      }
      done(hasChanged, '');
      return;
    }
    const usable = usableSectors(wanted, data);
    if (usable < v.sizeSectors) {
      const text = `meta-data of the new size leave ${usable} sectors, the device has ${v.sizeSectors}`;
      done(false, text);
      return;
    }
    this.#isMoving = true;
    const move = { from: old, to: wanted, isThere: () => this.#isAt(meta) };
    this.#move(store, move, (result) => {
      const over = (): void => {
        this.#isMoving = false;
        if (result >= 0 && v.store === store) this.#take(usable);
        done(result >= 0, result < 0 ? `meta-data can not be written (errno ${-result})` : '');
        for (const next of this.#waiting.splice(0)) this.examine(next);
      };
      if (this.#isMeeting) this.#whenMet(over);
      else over();
    });
  }

  /** The peer has been told what there is room for, and has not been heard. */
  get #isMeeting(): boolean {
    return this.#volume.state.conn === Conns.WFReportParams;
  }

  #whenMet(run: () => void): void {
    this.#volume.resource.when(() => !this.#isMeeting, run);
  }

  #isAt(metaSectors: number): void {
    const v = this.#volume;
    v.lowerSectors = metaSectors;
    v.diskInfo = this.#core.port.diskInfo(v.dataDisk);
    this.#core.host.sizeChanged(v.minor); // not of the device; a successor must know where its meta-data are
  }

  #take(usable: number): void {
    const v = this.#volume;
    const kb = usable / 2;
    this.#core.host.log('info', v.name, `the lower device has room for ${kb} KB now`);
    v.usableSectors = usable;
  }

  #sectorsOf(handle: number): number {
    try {
      return Math.floor(this.#core.port.diskInfo(handle).sizeBytes / 512);
    } catch {
      return -1; // gone: its requests will say so
    }
  }

  /** Where meta-data of that kind are on a device of that size; a sentence if there is no place for them. */
  #wantedLayout(old: MetaLayout, metaSectors: number): MetaLayout | string {
    const { index } = old;
    if (typeof index === 'number') return old; // a slot
    const at = superblockSector(index, metaSectors);
    if (at < old.superblockSector) {
      return `the lower device has become smaller: meta-data are at sector ${old.superblockSector}`;
    }
    if (index === 'internal' && at === old.superblockSector) return old;
    const layout = layoutOfDevice(index, metaSectors, {
      stripes: old.alStripes,
      stripeSize4k: old.alStripeSize4k,
    });
    if (isRefused(layout)) return layout.text;
    if (index === 'internal') return layout;
    // On a device of its own only the bitmap gets more room, behind what it has.
    const isLonger = layout.mdSizeSectors > old.mdSizeSectors;
    const isInPlace = layout.alSector === old.alSector && layout.bitmapSector === old.bitmapSector;
    return isLonger && isInPlace ? layout : old;
  }

  #move(store: MetaStore, move: Move, done: Result): void {
    const v = this.#volume;
    const { from, to } = move;
    v.log.pause((goOn) => {
      store.alone((over) => {
        const finish = (result: number): void => {
          if (result >= 0)
            this.#core.host.log('info', v.name, 'Writing the whole bitmap, md moved');
          over();
          goOn();
          if (result < 0 && v.store === store) v.metaFailed(-result);
          done(result);
        };
        if (v.store !== store || v.detaching || !v.bitmap) finish(-1);
        else if (from.superblockSector === to.superblockSector) {
          store.layout = to; // a longer area: the superblock says so
          this.#superblock(store, move, finish);
        } else if (to.bitmapSector >= from.superblockSector + 8) this.#apart(store, move, finish);
        else this.#overlapping(store, move, finish);
      });
    });
  }

  #apart(store: MetaStore, move: Move, done: Result): void {
    const { from, to } = move;
    this.#inTurn(
      [
        (next) => this.#contents(store, to, next),
        (next) => {
          store.layout = to;
          this.#superblock(store, move, next);
        },
        (next) => this.#erase(store, from, next),
        (next) => store.flushMeta(next),
      ],
      done,
    );
  }

  #overlapping(store: MetaStore, move: Move, done: Result): void {
    const v = this.#volume;
    const { from, to } = move;
    const alDisabled = v.flags & MDF.AL_DISABLED;
    store.layout = to;
    v.flags |= MDF.FULL_SYNC | MDF.AL_DISABLED;
    this.#inTurn(
      [
        (next) => this.#superblock(store, move, next),
        (next) => this.#erase(store, from, next),
        (next) => this.#contents(store, to, next),
        (next) => {
          v.flags = (v.flags & ~(MDF.FULL_SYNC | MDF.AL_DISABLED)) | alDisabled;
          store.putSuperblock(next);
        },
      ],
      done,
    );
  }

  #inTurn(steps: ((next: Result) => void)[], done: Result): void {
    const step = (result: number): void => {
      const next = result < 0 ? undefined : steps.shift();
      if (next) next(step);
      else done(result);
    };
    step(0);
  }

  #superblock(store: MetaStore, { isThere }: Move, done: Result): void {
    store.putSuperblock((result) => {
      if (result >= 0 && this.#volume.store === store) isThere();
      done(result);
    });
  }

  /** The superblock durably before the rest. */
  #erase(store: MetaStore, from: MetaLayout, done: Result): void {
    const { bitmapSector, superblockSector: at } = from;
    this.#inTurn(
      [
        (next) => store.eraseArea(at, at + 8, next),
        (next) => store.flushMeta(next),
        (next) => store.eraseArea(bitmapSector, at, next),
      ],
      done,
    );
  }

  /** Bitmap and log at their new place, durably. */
  #contents(store: MetaStore, to: MetaLayout, done: Result): void {
    const v = this.#volume;
    const { bitmap } = v;
    if (!bitmap) {
      done(-1);
      return;
    }
    store.putBitmap(bitmap, to, (bits) => {
      if (bits < 0) done(bits);
      else v.log.rewriteRing(to, (ring) => (ring < 0 ? done(ring) : store.flushMeta(done)));
    });
  }
}
