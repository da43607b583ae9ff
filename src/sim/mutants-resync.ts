/** Planted bugs of resynchronisation: who copies what from whom, and when a block counts as equal. See mutants.ts. */
import type { Mutant } from './mutants.js';

export const RESYNC_MUTANTS: readonly Mutant[] = [
  {
    name: 'bit-cleared-when-sent',
    what: 'the SyncSource clears a bit when it has sent the block, not when the target has stored it',
    file: 'drbd/peer-io.js',
    find: 'const sent = ok && !cancelled && !thin && link.sendReply(v, p);',
    replace:
      'const sent = ok && !cancelled && !thin && link.sendReply(v, p); if (sent && resync) v.setInSync(p.sector, p.endSector);',
  },
  {
    name: 'bit-cleared-when-received',
    what: 'the SyncTarget clears a bit when the block has arrived, not when it is written',
    file: 'drbd/peer-io.js',
    find: 'this.resyncWrites++;',
    replace: '{ this.resyncWrites++; this.#volume.setInSync(p.sector, p.endSector); }',
  },
  {
    name: 'bit-cleared-for-part',
    what: 'a write during a resync that covers a part of a 4 KiB block clears its bit',
    file: 'md/bitmap.js',
    find: 'const first = Math.ceil(sector / BLOCK_SECTORS);',
    replace: 'const first = Math.floor(sector / BLOCK_SECTORS);',
  },
  {
    name: 'bitmap-before-data',
    what: 'the SyncTarget writes its bitmap before the blocks that it stored are durable',
    file: 'drbd/meta-store.js',
    find: 'this.#dataUnflushed || always',
    replace: 'always',
  },
  {
    name: 'resync-overtakes-write',
    what: 'a resync block is read while a write to it is under way: the older data arrive last',
    file: 'drbd/peer-io.js',
    find: 'if (this.#volume.intervals.enter(p))\n            this.#submitRead(p);',
    replace: 'this.#submitRead(p);',
  },
  {
    name: 'checksum-not-compared',
    what: 'the SyncSource calls every block equal whose checksum it gets (csums-alg)',
    file: 'drbd/block-digest.js',
    find: 'i < digestBytes',
    replace: 'i < 0',
  },
  {
    name: 'target-write-not-held',
    what: 'a Primary that is a SyncTarget writes into blocks that it has asked for',
    file: 'drbd/app-io.js',
    find: 'if (v.resync.fetching(r.sector, r.endSector)) {',
    replace: 'if (false) {',
  },
  {
    name: 'peer-bitmap-ignored',
    what: "in the exchange of bitmaps the peer's bits are not merged",
    file: 'drbd/resync-beginning.js',
    find: 'new BitmapReceiver({ words, bits: bitmap.bits }, link)',
    replace: 'new BitmapReceiver({ words: words.slice(), bits: bitmap.bits }, link)',
  },
  {
    name: 'out-of-sync-not-told',
    what: 'a write during the exchange of bitmaps is marked here and not told to the peer',
    file: 'drbd/app-io.js',
    find: 'if (link && (s.conn === Conns.WFBitMapS || announced)) {',
    replace: 'if (false) {',
  },
  {
    name: 'new-storage-not-copied',
    what: 'nobody begins the resync of the part that a device has grown by',
    file: 'drbd/growth.js',
    find: 'if (this.#isSource(link))\n            this.#begin(link);',
    replace: 'if (this.#isSource(link))\n            return;',
  },
  {
    name: 'new-storage-not-marked',
    what: 'the part that a device has grown by counts as equal on both nodes',
    file: 'drbd/growth.js',
    find: 'bitmap.resize(bitsOfSectors(size), isNew);',
    replace: 'bitmap.resize(bitsOfSectors(size), false);',
  },
  {
    name: 'inconsistent-source',
    what: 'of a good and an Inconsistent copy the Inconsistent one is to be the source',
    file: 'drbd/sync-decision.js',
    find: 'const good = myDisk > Inconsistent ? 1 : -1;',
    replace: 'const good = myDisk > Inconsistent ? -1 : 1;',
  },
  {
    name: 'discard-my-data-reversed',
    what: 'after a split brain the data of the other node are discarded than connect --discard-my-data said',
    file: 'drbd/sync-decision.js',
    find: 'hg = byHand;',
    replace: 'hg = -byHand;',
  },
  {
    name: 'zero-changes-wrong-victim',
    what: 'after-sb-0pri discard-zero-changes discards the changes and keeps the node without any',
    file: 'drbd/after-split-brain.js',
    find: 'if (i.peerBits === 0)\n        return 1;\n    return i.selfBits === 0 ? -1 : UNSOLVED;',
    replace: 'if (i.peerBits === 0) return -1;\n    return i.selfBits === 0 ? 1 : UNSOLVED;',
  },
];
