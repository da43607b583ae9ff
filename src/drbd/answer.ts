/**
 * When a request of the application is answered, and whether with success: from its two legs (app-request.ts) and what the state makes
 * of them (enough.ts). app-io.ts asks in this order:
 *
 *     peerAllowsAnswer   what the peer has done so far is what the protocol asks for
 *     waitsForThaw       what only one node has is not answered while a new generation is on its way to disk, or I/O is frozen
 *     isDone             success, or EIO
 */
import {
  type AppRequest,
  LEG_FAILED,
  LEG_NONE,
  LEG_OK,
  LEG_PENDING,
  OP_FLUSH,
  OP_READ,
} from './app-request.js';
import { countsHere, countsThere, holdsData, peerParts } from './enough.js';
import type { Volume } from './volume.js';

/** The leg of the network allows an answer. Where only the end of an epoch will, the epoch is ended. */
export function peerAllowsAnswer(v: Volume, r: AppRequest): boolean {
  const { link } = v;
  const onlyThere = r.local !== LEG_OK || !countsHere(v, r);
  if (r.net === LEG_OK && r.fua && r.inLog && link) {
    // Received is not durable, and no disk here is. (The originals answer.) Nor is written, where the packet cannot ask for it.
    const received = r.asked === 'B' && onlyThere;
    if (received || (r.asked === 'C' && !link.sendsFua && !r.goesOn)) {
      link.transferLog.closeIfOpen(r.epoch);
      return false;
    }
  }
  if (r.refused) return false;
  if (r.net !== LEG_PENDING) return true;
  if (r.op === OP_READ || r.op === OP_FLUSH || r.sending) return false;
  if (link === null || r.asked !== 'A') return false;
  if (countsHere(v, r)) return true;
  // Only the end of its epoch tells that it is there, and who waits for that need not wait for a pause of all writes first.
  if (r.inLog && !link.acknowledgesAnyLetter(r)) link.transferLog.closeIfOpen(r.epoch);
  return false;
}

/** It is over, and must not be answered as yet. `isFrozen`: what only this node has is not answered. */
export function waitsForThaw(v: Volume, r: AppRequest, isFrozen: boolean): boolean {
  // Begun for this disk only, it is no more on the peer than one that was lost on its way.
  const unfenced = v.state.suspFen !== 0;
  const alone = r.net === LEG_NONE && unfenced;
  const here = isDoneHere(v, r);
  const nowhere = !here && !countsThere(v, r);
  const onlyThere = !here && v.untold !== null; // and the peer does not know that it is the only one
  // Of a flush: the peer's disk failed meanwhile. What is durable here alone belongs to a generation that has to be on disk first.
  const notThere = r.op === OP_FLUSH && r.net !== LEG_NONE && !countsThere(v, r);
  const lost = alone || nowhere || onlyThere || notThere || r.net === LEG_FAILED;
  const early = peerParts(v) && !here && r.net !== LEG_FAILED;
  return r.op !== OP_READ && (early || (lost && isFrozen));
}

/** The disk here has it, and that is enough. */
export function isDoneHere(v: Volume, r: AppRequest): boolean {
  return r.local === LEG_OK && countsHere(v, r);
}

/** A copy that counts has it. */
export function isDone(v: Volume, r: AppRequest): boolean {
  if (isDoneHere(v, r)) return true;
  // A local failure that the state cannot tell (pass_on at the source of a resync): later reads would not see the write.
  const hidden = r.local === LEG_FAILED && holdsData(v);
  return !hidden && countsThere(v, r);
}
