/**
 * The state for a successor is written by one at a time. Who asks while it is being gathered may have changed what was
 * looked at already: it gets the next round, together with all others that ask meanwhile.
 */
export class StateSaver {
  readonly #save: () => Promise<void>;
  #running: Promise<void> | null = null;
  #next: Promise<void> | null = null;

  constructor(save: () => Promise<void>) {
    this.#save = save;
  }

  /** Settles with a round that began after the call. */
  save(): Promise<void> {
    if (!this.#running) return this.#begin();
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = null;
        return this.#begin();
      });
    return this.#next;
  }

  #begin(): Promise<void> {
    const round = this.#save().finally(() => {
      if (this.#running === round) this.#running = null;
    });
    this.#running = round;
    return round;
  }
}
