/**
 * The links of a node that have stopped reading, since there was no buffer (or slot, or room in the window) for what came next. When
 * something was freed, who holds least is asked first. Otherwise the connection that freed it would take it again at once: one with a
 * slow disk has had all buffers in the end, and keeps them, and the others read nothing for as long as its peer writes.
 */
export interface Reader {
  /** Bytes of its peer's requests. */
  readonly held: number;
  /** Something was freed: it goes on, or stays where it is. */
  retry(): void;
}

export class StalledLinks {
  readonly #waiting = new Set<Reader>();

  /** It cannot go on. */
  add(reader: Reader): void {
    this.#waiting.add(reader);
  }

  remove(reader: Reader): void {
    this.#waiting.delete(reader);
  }

  /** By what `own` had brought. */
  freed(own: Reader): void {
    const others = this.#waiting.size - (this.#waiting.has(own) ? 1 : 0);
    if (others === 0) own.retry();
    else {
      const inTurn = [...this.#waiting].sort((a, b) => a.held - b.held);
      for (const reader of inTurn) reader.retry();
    }
  }
}
