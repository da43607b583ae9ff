/**
 * What programs outside the machines are told of a life: children of ha.cf, clients on the client API, event scripts of rc.d
 * (real/outside-programs.ts). Nothing of it is answered, and nobody may call back inside: what those programs want comes as a
 * message or a request, as from any program. So there is nothing to record here.
 */
import type { HaMessage } from '../wire/hamsg.js';

export interface Outside {
  /** Communication is up. */
  active(): void;
  /** A message of the cluster as it is acted upon: of the other node, or of our own to all. */
  heard(message: HaMessage): void;
  /** A node is held for dead, or its link changed: nobody sent a message that says so. */
  nodeDead(node: string): void;
  link(node: string, link: string, status: 'up' | 'dead'): void;
  /** Everything is released: this life is over. */
  released(): void;
}
