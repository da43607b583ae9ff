/**
 * The end of a connection whose handshake is refused: the peer is given the time to read and to judge for itself.
 *
 * Used where both nodes compare the same and both refuse, each by itself: a split brain, unrelated data, settings that differ. But a
 * kernel whose peer closes the meta socket before it has read the last packet of the handshake (it writes meta-data in between) takes
 * that for a lost connection: "meta connection shut down by peer", it waits in WFConnection, and its split-brain handler never runs. So
 * the sockets stay until the peer ends them, or until the time is over after which a peer counts as one that does not answer (`timeout`):
 *
 *     refused --resolves conflicts--> data socket closed --the peer ends the meta socket--> over
 *             --does not------------> both open ----------the peer ends one of them ------> over
 *
 * Of two nodes one resolves conflicts. It closes the data socket at once, behind what it has said there; if both waited, both would wait
 * for the time. To a kernel that end comes behind all it needs to judge.
 */

export interface PartingStreams {
  readonly data: number;
  readonly meta: number;
}

export class Parting {
  readonly #close: (stream: number) => void;
  readonly #over: () => void;
  readonly #open: number[];
  #done = false;

  constructor(
    streams: PartingStreams,
    resolvesConflicts: boolean,
    close: (stream: number) => void,
    over: () => void,
  ) {
    this.#close = close;
    this.#over = over;
    if (resolvesConflicts) close(streams.data);
    this.#open = resolvesConflicts ? [streams.meta] : [streams.data, streams.meta];
  }

  get over(): boolean {
    return this.#done;
  }

  /** The peer has ended a socket, the time is over, or an operator does not want to wait. Only the first one counts. */
  end(): void {
    if (this.#done) return;
    this.#done = true;
    for (const stream of this.#open) this.#close(stream);
    this.#over();
  }
}
