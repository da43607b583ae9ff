/** A simulated pair whose disks, and then the device, get another size (docs/STATES.md, sizes). */
import { detach } from '../../src/drbd/disk-verbs.js';
import { resize as resizeVolume } from '../../src/drbd/resize.js';
import { setSecondary } from '../../src/drbd/roles.js';
import { superblockSector } from '../../src/md/layout.js';
import { decodeSuperblock } from '../../src/md/superblock.js';
import { findMetaData } from '../../src/sim/moved-meta.js';
import { block, type SimPair, type SimPairNode } from './sim-pair.js';

export const MIB = 1 << 20;
/** Of both disks, which begin with 2 MiB. */
export const GROWN = 4 * MIB;

interface Asked {
  readonly sizeSectors?: number;
  readonly assumeClean?: boolean;
  readonly assumePeerHasSpace?: boolean;
  readonly alStripes?: number;
  readonly alStripeSizeKib?: number;
}

/** As `drbdadm resize` asks without options. */
export const PLAIN = {
  sizeSectors: 0,
  assumeClean: false,
  assumePeerHasSpace: false,
  alStripes: null,
  alStripeSizeKib: null,
};

/** Asked of drbdd there, and answered. */
export const resize = (node: SimPairNode, asked: Asked = {}) =>
  node.control({
    verb: 'resize',
    minor: 0,
    ...PLAIN,
    ...asked,
  });

export const both = (pair: SimPair): SimPairNode[] => [pair.alpha, pair.beta];

export function grow(pair: SimPair, bytes = GROWN): void {
  for (const node of both(pair)) node.disk.resize(bytes);
}

/** Both are in sync, of one size, larger than before; the meta-data are at the end of the disks and say the same. */
export function grown(
  t: { is: (a: unknown, b: unknown, m?: string) => void; true: (a: boolean, m?: string) => void },
  pair: SimPair,
  what = '',
) {
  pair.settled();
  pair.until(() => both(pair).every((n) => n.volume.bitmap?.count === 0), `${what}: no bits`);
  pair.run(200);
  t.true(pair.alpha.volume.sizeSectors > (3 * MIB) / 512, what);
  t.is(pair.alpha.volume.sizeSectors, pair.beta.volume.sizeSectors, what);
  t.is(pair.firstDifference(), -1, what);
  for (const node of both(pair)) {
    const at = superblockSector('internal', node.disk.sizeBytes / 512);
    const sb = decodeSuperblock(node.disk.content(at * 512, 4096));
    t.is(sb.laSizeSectors, node.volume.sizeSectors, `${what}: ${node.name}`);
  }
}

/** What the disks hold beside the device is not alike by itself. */
export function different(pair: SimPair): void {
  pair.alpha.disk.resize(GROWN);
  pair.beta.disk.resize(GROWN);
  for (let at = 2 * MIB; at < GROWN; at += 65536) {
    pair.alpha.disk.write(at, block(7), true);
    pair.beta.disk.write(at, block(9), true);
  }
}

/** Both nodes are taken down, the disks grow, and they come up again. */
export function downAndUp(pair: SimPair): void {
  pair.alpha.ask(setSecondary);
  for (const node of both(pair)) node.disconnect();
  for (const node of both(pair)) node.ask((v, done) => detach(v, false, done));
  different(pair);
  for (const node of both(pair)) findMetaData(node.disk, 2 * MIB);
  for (const node of both(pair)) node.attach();
  for (const node of both(pair)) node.connect();
}

/** The same in the middle of something: nobody waits for the answer. */
export function askResize(node: SimPairNode): void {
  resizeVolume(node.volume, PLAIN, () => {});
}
