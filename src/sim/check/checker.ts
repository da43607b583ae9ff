/** What a checker is told, and when. Each watches one rule; it counts how often it looked, and reports what breaks it. */
import type { State } from '../../drbd/state.js';
import type { NodeName } from '../config.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import type { DeviceOp } from '../sim-device.js';
import type { SimNode } from '../sim-node.js';
import type { ScriptTrace } from '../sim-scripts.js';
import type { World } from '../world.js';

interface Watched {
  count(checker: string): void;
  violate(invariant: string, checker: string, text: string): void;
}

/** `Node`: what it watches on each node. */
export abstract class Checker<Node> {
  readonly name: string;
  readonly invariant: string;
  readonly #watched: Watched;

  constructor(watched: Watched, name: string, invariant: string) {
    this.#watched = watched;
    this.name = name;
    this.invariant = invariant;
  }

  protected look(): void {
    this.#watched.count(this.name);
  }

  protected violate(text: string): void {
    this.#watched.violate(this.invariant, this.name, text);
  }

  /** drbdd died, and with `power` its machine. */
  died(_node: Node, _power: boolean): void {}
  logged(_node: NodeName, _object: string, _level: string, _text: string): void {}
  /** Some time passed. */
  tick(): void {}
  /** Faults are over, and everything has come to rest. */
  end(): void {}
}

/** Of one replicated device. It hears nothing of the others. */
export class DeviceChecker extends Checker<Replica> {
  protected readonly device: ReplicatedDevice;

  constructor(device: ReplicatedDevice, name: string, invariant: string) {
    super(device, name, invariant);
    this.device = device;
  }

  /** The volume's state on a node is another one now. `old` is null for the first of a life. */
  changed(_node: Replica, _old: State | null, _next: State): void {}
  /** The client's write was acknowledged. */
  acknowledged(
    _node: Replica,
    _id: number,
    _sector: number,
    _sectors: number,
    _fua: boolean,
  ): void {}
  /** The client's flush was answered well; the ledger knows what is durable by that. */
  flushed(_node: Replica): void {}
  /** Any request of the client was answered: 0 or errno. `tookMs`: by the node's clock. */
  answered(_node: Replica, _error: number, _op: DeviceOp, _tookMs: number): void {}
  handled(_node: Replica, _event: string, _exit: number): void {}

  /** An operator asks for something, of the resource or of a volume: drbdadm begins. */
  asked(_node: Replica, _verb: string): void {}
}

/** Of the whole cluster. */
export class WorldChecker extends Checker<SimNode> {
  protected readonly world: World;

  constructor(world: World, name: string, invariant: string) {
    super(world, name, invariant);
    this.world = world;
  }

  /** A resource script began or ended. */
  scripted(_node: SimNode, _script: ScriptTrace): void {}
}
