/**
 * Requests of a resource that have not been answered. One that waits (for the peer, for a handler, for I/O) may be overtaken by
 * `down` (change-order.ts): then the resource is no more, nothing of it goes on, and whoever asked is told so.
 */
import type { Resource } from '../drbd/resource.js';
import type { ControlReply } from './control.js';

type Reply = (reply: ControlReply) => void;

export class OpenRequests {
  readonly #open = new Map<Resource, Set<Reply>>();

  /** The reply to give instead: it counts once, and not after `removed`. */
  of(r: Resource, reply: Reply): Reply {
    const open = this.#open.get(r) ?? new Set();
    this.#open.set(r, open);
    const once = (answer: ControlReply): void => {
      if (!open.delete(once)) return;
      if (open.size === 0 && this.#open.get(r) === open) this.#open.delete(r);
      reply(answer);
    };
    open.add(once);
    return once;
  }

  /** The resource is gone: all that are open get this answer. */
  removed(r: Resource, answer: ControlReply): void {
    for (const reply of [...(this.#open.get(r) ?? [])]) reply(answer);
  }
}
