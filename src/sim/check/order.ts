/**
 * I6: what a crashed Secondary holds is a state that existed between two barriers of the Primary: if a write is there, then
 * everything is that had been made durable before it was begun. Checked on the disk of each Secondary that loses its power
 * (not of a resync's target: that one is Inconsistent, and says so); and under A and B, where the Primary does not wait for the
 * peer's flush, in what its cache could lose while the writes after a flush arrive. (Under C: durable.ts.)
 */
import { Disks, Roles, type State } from '../../drbd/state.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { peerTakesPart } from './acknowledgement.js';
import { DeviceChecker } from './checker.js';

/** After each flush so many answered writes are a reason to look. */
const LOOKS = 4;

export class Order extends DeviceChecker {
  readonly #last: Record<string, { state: State; sectors: number } | undefined> = {};
  #looks = 0;

  constructor(device: ReplicatedDevice) {
    super(device, 'order', 'I6');
  }

  override changed(node: Replica, _old: State | null, next: State): void {
    const sectors = node.volume?.sizeSectors ?? 0;
    this.#last[node.name] = { state: next, sectors };
  }

  override flushed(): void {
    this.#looks = LOOKS;
  }

  override acknowledged(
    node: Replica,
    _id: number,
    _sector: number,
    _sectors: number,
    fua: boolean,
  ): void {
    if (fua) this.#looks = LOOKS;
    else if (this.#looks > 0 && node.protocol !== 'C' && peerTakesPart(node)) {
      this.#looks--;
      this.#couldBe(node.peer, node);
    }
  }

  /** The newest that its cache may have written, with the oldest that it may have kept elsewhere. */
  #couldBe(holder: Replica, primary: Replica): void {
    const sectors = holder.volume?.sizeSectors ?? 0;
    const { ledger, truth } = this.device;
    const lineage = truth.lineage[primary.name];
    const before = holder.disk.volatileIn(0, sectors);
    this.look();
    let youngest = 0;
    for (const sector of before.keys()) {
      youngest = Math.max(
        youngest,
        ledger.youngest(holder.disk.content(sector * 512, 512), sector),
      );
    }
    for (const [sector, bytes] of before) {
      const bad = ledger.firstBadAt(lineage, sector, bytes, youngest);
      if (bad === null) continue;
      const history = ledger.history(lineage, sector, 6).join('; ');
      this.violate(
        `a power cut of ${holder.name} could leave ${bad.content} in sector ${sector} and keep what was written after a flush. ${history}`,
      );
      return;
    }
  }

  override died(node: Replica, power: boolean): void {
    const last = this.#last[node.name];
    delete this.#last[node.name];
    if (!power || !last || last.state.role === Roles.Primary) return;
    if (last.state.disk < Disks.Outdated || last.state.disk === Disks.DUnknown) return;
    const { truth, ledger } = this.device;
    this.look();
    const content = node.disk.content(0, last.sectors * 512);
    const lineage = truth.lineage[node.name];
    const bad = ledger.firstBad(lineage, content, ledger.youngest(content));
    if (bad === null) return;
    const { sector, judgement } = bad;
    const history = ledger.history(lineage, sector, 6).join('; ');
    this.violate(
      `${node.name} lost power as Secondary: sector ${sector} holds ${bad.content}: ${judgement}. ${history}`,
    );
  }
}
