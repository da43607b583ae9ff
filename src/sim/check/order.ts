/**
 * I6: what a crashed Secondary holds is a state that existed between two barriers of the Primary: if a write is there, then
 * everything is that had been made durable before it was begun. Checked on the disk of each Secondary that loses its power
 * (not of a resync's target: that one is Inconsistent, and says so).
 */
import { Disks, Roles, type State } from '../../drbd/state.js';
import type { SimNode } from '../sim-node.js';
import type { World } from '../world.js';
import { Checker } from './checker.js';

export class Order extends Checker {
  readonly #last: Record<string, { state: State; sectors: number } | undefined> = {};

  constructor(world: World) {
    super(world, 'order', 'I6');
  }

  override changed(node: SimNode, _old: State | null, next: State): void {
    const sectors = node.drbdd?.volume?.sizeSectors ?? 0;
    this.#last[node.name] = { state: next, sectors };
  }

  override died(node: SimNode, power: boolean): void {
    const last = this.#last[node.name];
    delete this.#last[node.name];
    if (!power || !last || last.state.role === Roles.Primary) return;
    if (last.state.disk < Disks.Outdated || last.state.disk === Disks.DUnknown) return;
    const { truth, ledger } = this.world;
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
