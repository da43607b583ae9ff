/**
 * Which history of the data each node's disk belongs to, and what may have happened to it that no rule forbids: the power
 * went while writes were volatile, a Primary wrote alone without having fenced its peer, an operator used force. The checkers
 * judge what they find by it.
 */
import { NODES, type NodeName, peerOf } from './config.js';
import { type Ledger, type Lineage, SECTOR_BYTES, type Sectors } from './ledger.js';

type PerNode<T> = Record<NodeName, T>;

export const FORCED = 'primary --force';

export class Truth {
  readonly ledger: Ledger;
  /** The history that a node's disk is a copy of, maybe an old one. */
  readonly lineage: PerNode<Lineage>;
  /** The node's disk may have lost what was acknowledged and not durable. */
  readonly lostVolatile: PerNode<boolean> = { alpha: false, beta: false };
  /** It lost its power as the Primary, with a good disk, and nobody was Primary since, nor were the copies made the same. */
  readonly crashedPrimary: PerNode<boolean> = { alpha: false, beta: false };
  /** Writes that were acknowledged here and are not at the peer, since both were last in sync. */
  readonly aloneWrites: PerNode<number> = { alpha: 0, beta: 0 };
  /** Why some of them may be missing on a peer that becomes Primary; null: there is no excuse. */
  readonly aloneExcuse: PerNode<string | null> = { alpha: null, beta: null };
  /** An operator took this copy whatever it is. */
  readonly forced: PerNode<string | null> = { alpha: null, beta: null };
  readonly #tookOverAt: PerNode<number> = { alpha: -1, beta: -1 };
  readonly #orders: PerNode<number> = { alpha: 0, beta: 0 }; // that are not answered

  /** Writes were answered under A or B since the nodes were last in sync under C. */
  async = false;
  /** Since when a flush says nothing of the other copy; null: they are in sync. They begin apart. */
  #partedAt: number | null = 0;

  constructor(ledger: Ledger, sizeBytes: number, dataBytes = sizeBytes) {
    this.ledger = ledger;
    const first = ledger.lineage(sizeBytes / SECTOR_BYTES, dataBytes / SECTOR_BYTES);
    this.lineage = { alpha: first, beta: first };
  }

  /** A disk has grown. */
  grown(sizeBytes: number): void {
    for (const node of NODES) this.lineage[node].extend(sizeBytes / SECTOR_BYTES);
  }

  /** The copies do not follow each other any more. */
  parted(): void {
    this.#partedAt ??= this.ledger.now;
  }

  /** `peerToo`: its disk has it all the same; it was taken there before the connection broke, and only the answer came late. */
  wroteAlone(node: NodeName, excuse: string | null, peerToo = false): void {
    if (!peerToo) this.aloneWrites[node]++;
    if (excuse !== null) this.mayWriteAlone(node, excuse);
  }

  /** What is written there from now on may be missing on the peer. */
  mayWriteAlone(node: NodeName, excuse: string): void {
    this.aloneExcuse[node] ??= excuse;
  }

  powerCut(node: NodeName, primary: boolean): void {
    this.lostVolatile[node] = true;
    this.#orders[node] = 0;
    if (primary) this.crashedPrimary[node] = true;
  }

  /** Somebody is Primary: what its users see is the data, and an older copy is no newer one any more. */
  promoted(): void {
    for (const node of NODES) this.crashedPrimary[node] = false;
  }

  /** A resync makes `target` a copy of the other. */
  resyncBegins(target: NodeName): void {
    this.lineage[target] = this.lineage[peerOf(target)];
    this.crashedPrimary[target] = false;
    if (this.lostVolatile[peerOf(target)]) this.lostVolatile[target] = true;
    this.#forget(target);
  }

  /** It has no data of its own, and reads those of the peer. */
  follows(node: NodeName): void {
    this.lineage[node] = this.lineage[peerOf(node)];
  }

  /** Both are UpToDate and connected. `leader`: whose data it is, where one is Primary. */
  inSync(leader: NodeName | null): void {
    this.#partedAt = null;
    this.promoted();
    if (leader !== null) this.lineage[peerOf(leader)] = this.lineage[leader];
    for (const node of NODES) this.#forget(node);
    const lost =
      leader === null
        ? this.lostVolatile.alpha || this.lostVolatile.beta
        : this.lostVolatile[leader];
    this.lostVolatile.alpha = lost;
    this.lostVolatile.beta = lost;
  }

  /** A copy that may lack something is Primary, and nobody has seen anything of it yet. */
  tookOver(node: NodeName): void {
    this.#tookOverAt[node] = this.ledger.answers;
  }

  /**
   * The users of a Primary see the peer's data: that was Primary meanwhile, maybe, and nobody has written there. Where the own copy was
   * an older one, or both had lost their power, and its disk was gone before anybody had an answer of it, it is the peer's that counts.
   */
  uses(node: NodeName, content: Uint8Array): void {
    const { ledger } = this;
    const peer = peerOf(node);
    const theirs = this.lineage[peer];
    const own = this.lineage[node];
    if (theirs.parent === own && theirs.writes === 0) this.lineage[peer] = own;
    const isUnseen = this.#tookOverAt[node] === ledger.answers;
    if (isUnseen && own.parent === theirs && own.writes === 0) this.lineage[node] = theirs;
    if (!isUnseen || !this.lostVolatile[peer]) return;
    if (ledger.firstBad(own, content, 'durable') === null) ledger.rebase(own, content);
  }

  force(node: NodeName, why: string): void {
    this.forced[node] = why;
  }

  /** primary --force is asked for: it may have to wait, and is carried out whatever has become of the copy by then. */
  orders(node: NodeName): void {
    this.#orders[node]++;
    this.force(node, FORCED);
  }

  /** And is answered. */
  answered(node: NodeName, done: boolean): void {
    this.#orders[node] = Math.max(0, this.#orders[node] - 1);
    if (done) this.force(node, FORCED);
  }

  /** Another disk, or an old image of it: nothing is promised for it until it was synchronised. */
  replaced(node: NodeName): void {
    this.forced[node] = 'the disk was replaced';
    this.forced[peerOf(node)] = 'the other disk was replaced'; // it may be the older copy, and the only one
  }

  /**
   * A disk that hung and was let go has stored meta-data that it was given before: they call it the newer copy, and its node may have gone
   * on with the peer's since. Whoever lets go what still works (`disk-timeout`) is told so in docs/STATES.md.
   */
  storedLate(node: NodeName): void {
    this.forced[node] = 'a disk that hung stored its meta-data late';
  }

  #forget(node: NodeName): void {
    this.aloneWrites[node] = 0;
    this.aloneExcuse[node] = null;
    this.forced[node] = this.#orders[node] > 0 ? FORCED : null;
  }

  /** This copy is the data from now on, whatever the other one says. */
  fork(node: NodeName, underWay: readonly number[]): void {
    const { lineage, ledger } = this;
    lineage[node] = ledger.fork(lineage[node], underWay, this.#partedAt ?? ledger.now);
  }

  /** And that is what it holds: all of the device, which may be smaller than the other's. `except`: see Ledger.rebase. */
  takes(
    node: NodeName,
    underWay: readonly number[],
    content: Uint8Array,
    except: readonly Sectors[] = [],
  ): void {
    this.fork(node, underWay);
    this.lineage[node].forget(content.length / SECTOR_BYTES);
    this.ledger.rebase(this.lineage[node], content, except);
  }
}
