/**
 * I1: a write acknowledged under protocol C is on every node that can become Primary without force. Checked where it
 * counts: at each promotion the whole disk is read and compared with what was promised.
 *
 * What may be missing: unflushed writes after this disk lost power as the only current copy, or, where this node reads through
 * its peer, after the peer's did as that of the Primary; what the other Primary wrote alone when nothing fenced this node
 * (fencing dont-care, a handler that could not reach it); under A and B what was on its way, but never out of order.
 */
import { Conns, Disks, Roles, type State } from '../../drbd/state.js';
import type { Counted } from '../ledger.js';
import type { Replica } from '../replica.js';
import { inSync, type ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';

export class Promotion extends DeviceChecker {
  constructor(device: ReplicatedDevice) {
    super(device, 'promotion', 'I1');
  }

  override changed(node: Replica, old: State | null, next: State): void {
    if (next.role !== Roles.Primary || old === null) return;
    const { truth, ledger } = this.device;
    const { name } = node;
    if (old.role === Roles.Primary) {
      // primary --force on a Primary with a bad disk: what is on it counts from now on.
      const isTaken = old.disk < Disks.Consistent && next.disk === Disks.UpToDate;
      const isCopied = old.conn === Conns.SyncTarget; // the end of a resync
      const isKept = old.conn >= Conns.Connected && next.conn < Conns.Connected; // an invalidate that did not begin
      if (isTaken && !isCopied && !isKept && truth.forced[name] !== null) {
        truth.takes(name, node.client?.writesUnderWay ?? [], dataOf(node));
      }
      return;
    }
    // The other one goes on by itself: two histories from here on.
    if (node.peer.state?.role === Roles.Primary)
      truth.fork(name, node.client?.writesUnderWay ?? []);
    const own = next.disk === Disks.UpToDate;
    // Without a disk it has written nothing that the peer lacks, whoever was Primary there meanwhile: its data are the peer's.
    const through = next.disk < Disks.Inconsistent && next.conn >= Conns.Connected;
    if (through && truth.aloneWrites[name] === 0) truth.follows(name);
    // Read through a peer that lost its power as the Primary: what that one had not flushed was promised to nobody. It counts as
    // the newer one of the two (rule 40), and a copy that was let go since could not have kept it either.
    const lost = truth.lostVolatile[name] || (!own && truth.crashedPrimary[node.peer.name]);
    truth.promoted();
    const content = own ? dataOf(node) : throughPeer(node);
    if (content === null) return;
    const lineage = truth.lineage[name];
    this.look();
    const counted: Counted = lost ? 'durable' : 'acknowledged';
    const bad =
      ledger.firstBad(lineage, content, counted) ??
      ledger.firstBeyond(lineage, content.length / 512, counted);
    if (bad === null) {
      // What this copy lost with the power is lost by a decision that the other one, where it is whole, may not hear of.
      const alone = next.conn < Conns.Connected ? this.device.aloneExcuse(node) : null;
      if (counted === 'durable' && alone !== null) truth.mayWriteAlone(name, alone);
      ledger.rebase(lineage, content);
      if (lost) truth.tookOver(name);
      truth.lostVolatile[name] = false;
      return;
    }
    const excuse = this.#excuse(node, own, content);
    if (excuse === null || bad.judgement === 'torn') {
      this.device.badSector(this.name, `promotion of ${name}`, name, bad);
      return;
    }
    this.device.trace.line(
      this.device.nowMs,
      name,
      'truth',
      `older data become Primary: ${excuse}`,
    );
    truth.takes(name, node.client?.writesUnderWay ?? [], content);
    truth.tookOver(name);
    // Read through the peer: it is the peer's copy that counts now. And in sync with it, the other copy is the same.
    const other = node.peer.state;
    const isSame = inSync(next) && other !== null && inSync(other);
    if (next.disk !== Disks.UpToDate || isSame) truth.lineage[node.peer.name] = truth.lineage[name];
    truth.lostVolatile[name] = false;
  }

  #excuse(node: Replica, ownCopy: boolean, content: Uint8Array): string | null {
    const { truth, ledger } = this.device;
    const forced = truth.forced[node.name] ?? truth.forced[node.peer.name];
    if (forced !== null) return forced;
    const alone = truth.aloneExcuse[node.peer.name];
    if (alone !== null) return alone;
    // Through the peer it is the peer's copy that was never fenced: what this node wrote alone was on a disk that is gone.
    const peerLacks = truth.aloneExcuse[node.name];
    if (!ownCopy && peerLacks !== null) return peerLacks;
    if (truth.async) {
      const lineage = truth.lineage[node.name];
      if (ledger.firstBad(lineage, content, ledger.youngest(content)) === null) {
        return 'protocol A or B';
      }
    }
    return null;
  }
}

/** All data of a node's disk, as its reads would see them now. */
export function dataOf(node: Replica): Uint8Array {
  const sectors = node.volume?.sizeSectors ?? 0;
  return node.disk.content(0, sectors * 512);
}

/**
 * What reads on a node that is being synchronised give: its peer's blocks where its bitmap says so. Null: nothing, the peer has left a
 * connection that this node takes for one.
 */
function throughPeer(node: Replica): Uint8Array | null {
  const v = node.volume;
  if ((node.peer.state?.conn ?? Conns.StandAlone) < Conns.WFReportParams) return null;
  if (!v || v.state.conn < Conns.Connected || node.peer.state?.disk !== Disks.UpToDate) return null;
  const content = dataOf(node.peer);
  const { bitmap } = v;
  if (bitmap === null || v.state.conn !== Conns.SyncTarget) return content;
  const own = dataOf(node);
  for (let at = 0; at < content.length; at += 4096) {
    if (!bitmap.isSet(at / 4096)) content.set(own.subarray(at, at + 4096), at);
  }
  return content;
}
