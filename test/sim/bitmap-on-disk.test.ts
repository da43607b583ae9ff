/** A bit that is clear in the bitmap on disk says that its block is durable: so the block is, before. */
import test from 'ava';
import type { MetaLayout } from '../../src/md/layout.js';
import { SimPair, type SimPairNode } from '../support/sim-pair.js';

/** Byte `index` of the bitmap as the disk has it. */
function byteOnDisk(node: SimPairNode, index: number): number {
  const layout = node.volume.store?.layout as MetaLayout;
  return node.disk.content(layout.bitmapSector * 512 + index, 1)[0] as number;
}

test('a bit that is cleared while the data are being flushed stays set on disk until the next flush', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  const node = pair.alpha;
  node.attach(); // fresh: every bit is set
  const { volume } = node;
  const write = (): (() => boolean) => {
    let done = false;
    node.loop.enter(() =>
      volume.writeBitmap((result) => {
        t.is(result, 0);
        done = true;
      }),
    );
    return () => done;
  };
  node.loop.enter(() => volume.setInSync(0, 8));
  const first = write();
  node.loop.enter(() => volume.setInSync(8, 16)); // the flush may have been begun before this block was written
  pair.until(first, 'the bitmap is on disk');
  t.is(byteOnDisk(node, 0), 0b1111_1110);
  pair.until(write(), 'the bitmap is on disk again');
  t.is(byteOnDisk(node, 0), 0b1111_1100);
});

test('writes that are asked for at once do not mix, and every page is written in its newest state', (t) => {
  const pair = new SimPair(1, { sizeBytes: 200 << 20 }); // bits on two pages
  const node = pair.alpha;
  node.attach();
  const { volume } = node;
  let left = 3;
  for (let i = 0; i < 3; i++) {
    const sector = i % 2 === 0 ? i * 8 : 40_000 * 8 + i * 8;
    node.loop.enter(() => {
      volume.setInSync(sector, sector + 8);
      volume.writeBitmap(() => {
        left--;
        if (left === 2) volume.writeBitmap(); // from within: behind the others
      });
    });
  }
  pair.until(() => left === 0 && (volume.store?.idle ?? false), 'the bitmap is on disk');
  t.is(byteOnDisk(node, 0), 0b1111_1010);
  t.is(byteOnDisk(node, 5000), 0b1111_1101);
});
