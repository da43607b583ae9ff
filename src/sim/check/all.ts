/** Every checker of a run, in the order in which they look. */
import type { World } from '../world.js';
import { Acknowledgement } from './acknowledgement.js';
import { Bits } from './bits.js';
import { Bounds } from './bounds.js';
import type { Checker } from './checker.js';
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
import { Source } from './source.js';
import { TwoPrimaries } from './two-primaries.js';

export const CHECKERS: readonly ((world: World) => Checker)[] = [
  (w) => new Promotion(w),
  (w) => new TwoPrimaries(w),
  (w) => new Equal(w),
  (w) => new Bits(w),
  (w) => new Source(w),
  (w) => new Order(w),
  (w) => new Acknowledgement(w),
  (w) => new Durable(w),
  (w) => new Fencing(w),
  (w) => new Decision(w),
  (w) => new Outdated(w),
  (w) => new Progress(w),
  (w) => new Reads(w),
  (w) => new Bounds(w),
  (w) => new Group(w),
  (w) => new Membership(w),
  (w) => new Log(w),
];
