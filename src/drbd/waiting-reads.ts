/**
 * What the peer reads, and there is no buffer for it as yet. The connection is read on meanwhile: what has the buffers may wait for the
 * peer to read, and the peer, in the same situation, for us (base/buffer-use.ts).
 *
 *     packet --a buffer, and nobody waits--> served        packet --> waits --something was freed--> served, in this order
 */
import { keepExpected, restoreExpected } from './block-digest.js';
import type { Core } from './core.js';
import type { PeerRequest } from './peer-request.js';

const NO_DIGEST = new Uint8Array(0);

export class WaitingReads {
  readonly #core: Core;
  /** In their order; with the digest that they are to be compared with. The slots of requests are the bound. */
  readonly #waiting = new Map<PeerRequest, Uint8Array>();

  constructor(core: Core) {
    this.#core = core;
  }

  get count(): number {
    return this.#waiting.size;
  }

  /** A read has come; its digest, if there is one, is pool[digestFrom, digestFrom + p.digestBytes). */
  arrived(p: PeerRequest, digestFrom: number): void {
    const { port, answers } = this.#core;
    p.at = this.#waiting.size > 0 ? -1 : answers.take(this, p.lengthBytes);
    const end = digestFrom + p.digestBytes;
    if (p.at < 0) {
      this.#waiting.set(p, p.digestBytes > 0 ? port.pool.slice(digestFrom, end) : NO_DIGEST);
    } else if (p.digestBytes > 0) keepExpected(this.#core, p.at, digestFrom, p.digestBytes);
    p.owner.beginRead(p);
  }

  /** Buffers may have been freed. */
  serve(): void {
    for (const [p, digest] of this.#waiting) {
      p.at = this.#core.answers.take(this, p.lengthBytes);
      if (p.at < 0) return;
      this.#waiting.delete(p);
      restoreExpected(this.#core, p.at, digest);
      p.owner.bufferThere(p);
    }
  }

  /** The connection is over: nobody waits for an answer. */
  drop(): void {
    this.#core.answers.leaves(this);
    for (const p of this.#waiting.keys()) {
      this.#waiting.delete(p);
      p.owner.dropRead(p);
    }
  }
}
