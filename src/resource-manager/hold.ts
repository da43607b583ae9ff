/** What a node owns: its own groups (local), the other node's (foreign), in the owner's own terms. */

export type Hold = 'none' | 'local' | 'foreign' | 'all';

const HOLDS: readonly Hold[] = ['none', 'local', 'foreign', 'all']; // index: bit 0 local, bit 1 foreign

export function parseHold(text: string | null): Hold | null {
  return HOLDS.find((hold) => hold === text) ?? null;
}

function fromBits(bits: number): Hold {
  return HOLDS[bits & 3] ?? 'none';
}

export function plus(a: Hold, b: Hold): Hold {
  return fromBits(HOLDS.indexOf(a) | HOLDS.indexOf(b));
}

export function minus(a: Hold, b: Hold): Hold {
  return fromBits(HOLDS.indexOf(a) & ~HOLDS.indexOf(b));
}

export function both(a: Hold, b: Hold): Hold {
  return fromBits(HOLDS.indexOf(a) & HOLDS.indexOf(b));
}

export function includes(a: Hold, b: 'local' | 'foreign'): boolean {
  return both(a, b) === b;
}

/** The same groups in the other node's terms. */
export function swapped(hold: Hold): Hold {
  return hold === 'local' ? 'foreign' : hold === 'foreign' ? 'local' : hold;
}
