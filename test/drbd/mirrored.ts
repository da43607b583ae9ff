/** The other node's view: what the peer compares while we compare this. */
import type { CompareInput } from '../../src/drbd/uuid-compare.js';

export function mirrored<T extends CompareInput>(input: T): T {
  return {
    ...input,
    self: input.peer,
    peer: input.self,
    role: input.peerRole,
    peerRole: input.role,
    crashedPrimary: input.peerCrashedPrimary,
    peerCrashedPrimary: input.crashedPrimary,
    resolveConflicts: !input.resolveConflicts,
  };
}
