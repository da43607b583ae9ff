/** What a checker is told, and when. Each watches one rule; it counts how often it looked, and reports through the world. */
import type { State } from '../../drbd/state.js';
import type { NodeName } from '../config.js';
import type { DeviceOp } from '../sim-device.js';
import type { SimNode } from '../sim-node.js';
import type { ScriptTrace } from '../sim-scripts.js';
import type { World } from '../world.js';

export class Checker {
  readonly name: string;
  readonly invariant: string;
  protected readonly world: World;

  constructor(world: World, name: string, invariant: string) {
    this.world = world;
    this.name = name;
    this.invariant = invariant;
  }

  protected look(): void {
    this.world.count(this.name);
  }

  protected violate(text: string): void {
    this.world.violate(this.invariant, this.name, text);
  }

  /** The volume's state on a node is another one now. `old` is null for the first of a life. */
  changed(_node: SimNode, _old: State | null, _next: State): void {}
  /** drbdd died, and with `power` its machine. */
  died(_node: SimNode, _power: boolean): void {}
  /** The client's write was acknowledged. */
  acknowledged(
    _node: SimNode,
    _id: number,
    _sector: number,
    _sectors: number,
    _fua: boolean,
  ): void {}
  /** The client's flush was answered well; the ledger knows what is durable by that. */
  flushed(_node: SimNode): void {}
  /** Any request of the client was answered: 0 or errno. `tookMs`: by the node's clock. */
  answered(_node: SimNode, _error: number, _op: DeviceOp, _tookMs: number): void {}
  handled(_node: SimNode, _event: string, _exit: number): void {}

  /** An operator asks for something: drbdadm begins. */
  asked(_node: SimNode, _verb: string): void {}
  logged(_node: NodeName, _object: string, _level: string, _text: string): void {}
  /** A resource script began or ended. */
  scripted(_node: SimNode, _script: ScriptTrace): void {}
  /** Some time passed. */
  tick(): void {}
  /** Faults are over, and everything has come to rest. */
  end(): void {}
}
