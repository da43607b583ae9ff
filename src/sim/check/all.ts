/** Every checker of a run, in the order in which they look. */
import type { ReplicatedDevice } from '../replicated-device.js';
import type { World } from '../world.js';
import { Acknowledgement } from './acknowledgement.js';
import { Bits } from './bits.js';
import { Bounds } from './bounds.js';
import type { DeviceChecker, WorldChecker } from './checker.js';
import { Decision } from './decision.js';
import { Durable } from './durable.js';
import { Equal } from './equal.js';
import { Fencing } from './fencing.js';
import { Group } from './group.js';
import { Log } from './log.js';
import { Membership } from './membership.js';
import { Order } from './order.js';
import { Outdated } from './outdated.js';
import { Progress } from './progress.js';
import { Promotion } from './promotion.js';
import { Reads } from './reads.js';
import { ResyncOrder } from './resync-order.js';
import { Source } from './source.js';
import { TwoPrimaries } from './two-primaries.js';

/** Of each replicated device. */
export const CHECKERS: readonly ((device: ReplicatedDevice) => DeviceChecker)[] = [
  (d) => new Promotion(d),
  (d) => new TwoPrimaries(d),
  (d) => new Equal(d),
  (d) => new Bits(d),
  (d) => new Source(d),
  (d) => new ResyncOrder(d),
  (d) => new Order(d),
  (d) => new Acknowledgement(d),
  (d) => new Durable(d),
  (d) => new Fencing(d),
  (d) => new Decision(d),
  (d) => new Outdated(d),
  (d) => new Progress(d),
  (d) => new Reads(d),
  (d) => new Bounds(d),
  (d) => new Log(d),
];

export const WORLD_CHECKERS: readonly ((world: World) => WorldChecker)[] = [
  (w) => new Group(w),
  (w) => new Membership(w),
];
