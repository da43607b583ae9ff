/**
 * The target of a resync whose source pulls ahead (congestion.ts), a kernel maybe. What it has stored since the resync began is in
 * doubt then: the source may have written there between its last packet and our answer. A kernel marks that, but
 *
 * - announces only bits that were not set before, and those of a block under way are;
 * - takes our answer, which it reads afterwards, for one to what it has now, and clears them.
 *
 * So both nodes would call the block equal. (Two kernels do.) Which answers it had read when it pulled ahead, nothing tells: all that was to be
 * copied when this resync began is to be copied once more.
 */
import { Bitmap } from '../md/bitmap.js';
import type { Volume } from './volume.js';

export class Behind {
  readonly #volume: Volume;
  #before: Bitmap | null = null;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** This node becomes the target. The option is that of both nodes; where it is not, there is nothing to go back to. */
  resyncBegins(): void {
    const { bitmap, resource, link } = this.#volume;
    this.#before = null;
    if (!bitmap || !link?.sendsOutOfSync || resource.netOptions.onCongestion !== 'pull-ahead')
      return;
    this.#before = new Bitmap(bitmap.bits);
    this.#before.bytes.set(bitmap.bytes);
    this.#before.loaded();
  }

  /** Bits are set in the meantime. */
  marked(sector: number, endSector: number): void {
    this.#before?.setSectors(sector, endSector - sector);
  }

  resyncIsOver(): void {
    this.#before = null;
  }

  /** The source is Ahead out of this resync. */
  pulledAhead(): void {
    const before = this.#before;
    this.#before = null;
    this.#markAgain(before);
  }

  /** The disk has failed to flush, and is gone on with (pass_on): what it had stored may be gone, and its bits are clear on both nodes. */
  cacheLost(): void {
    this.#markAgain(this.#before);
  }

  #markAgain(before: Bitmap | null): void {
    const v = this.#volume;
    if (!v.bitmap) return;
    if (before && before.bits === v.bitmap.bits) {
      for (let first = before.nextSet(0); first >= 0; ) {
        const end = before.nextClear(first);
        v.setOutOfSync(first * 8, end * 8);
        first = before.nextSet(end);
      }
    } else v.setOutOfSync(0, v.sizeSectors);
    v.writeBitmap((result) => {
      if (result < 0) v.metaFailed(-result);
    });
  }
}
