/**
 * Blocks that the source of a resync has sent and the target has not stored yet. The answer clears their bits here, but not where
 * this disk has refused a write of the target's users since: the target has that write behind the block, this disk has not.
 *
 *     SyncSource                              SyncTarget, its users write
 *     P_RS_DATA_REPLY, block R        ->      stores R, then W
 *     W fails: bit set, P_NEG_ACK     <-      P_DATA, W
 *     must not clear the bit of W     <-      P_RS_WRITE_ACK for R
 *     sends the block again           <-      (P_NEG_ACK has set its bit, too) P_RS_DATA_REQUEST
 *
 * An answer to what was not sent proves nothing: its bits stay, and are looked at when the resync ends.
 */

/** More than any peer asks for at once (half of max-buffers); the oldest are forgotten, as if they had not been sent. */
export const MOST_REPLIES = 131_072;

interface Reply {
  readonly endSector: number;
  stale: boolean;
}

export class ResyncReplies {
  /** By first sector, in the order in which they were sent: a block may be asked for anew before the answer to the last one is here. */
  readonly #under = new Map<number, Reply[]>();
  #count = 0;

  /** A run begins: what comes late of the one before is not believed. */
  clear(): void {
    this.#under.clear();
    this.#count = 0;
  }

  sent(sector: number, endSector: number): void {
    const reply = { endSector, stale: false };
    const earlier = this.#under.get(sector);
    if (earlier) earlier.push(reply);
    else this.#under.set(sector, [reply]);
    this.#count++;
    if (this.#count > MOST_REPLIES) {
      const [oldest] = this.#under.keys();
      if (oldest !== undefined) this.#take(oldest);
    }
  }

  /** A write of the peer was not taken here. */
  refused(sector: number, endSector: number): void {
    for (const [at, replies] of this.#under) {
      for (const r of replies) if (at < endSector && sector < r.endSector) r.stale = true;
    }
  }

  /** The target has stored the block, or failed to. True: it was sent, and both copies of it are the same. */
  answered(sector: number, endSector: number): boolean {
    const reply = this.#take(sector);
    return reply !== null && reply.endSector === endSector && !reply.stale;
  }

  #take(sector: number): Reply | null {
    const replies = this.#under.get(sector);
    const reply = replies?.shift();
    if (replies?.length === 0) this.#under.delete(sector);
    if (!reply) return null;
    this.#count--;
    return reply;
  }
}
