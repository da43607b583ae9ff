/** Checks that stay on in production. A failure is a bug here: the process stops and the peer takes over. */

export class InvariantError extends Error {
  override name = 'InvariantError';
}

/** Throws InvariantError unless `condition` holds. `what` names the invariant, not the failure. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new InvariantError(what);
}

/** For the default branch of a switch over a union: does not compile while a case is missing. */
export function unreachable(value: never, what: string): never {
  throw new InvariantError(`${what}: ${String(value)}`);
}
