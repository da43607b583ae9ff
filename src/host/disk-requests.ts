/**
 * What is under way on one open disk, for engines that count it themselves (the native one does in C++): so that a disk that
 * does not answer can be abandoned (`Io.abandonDisk`).
 */
import { ERRNO } from './errno.js';

type Told = (result: number) => void;

interface Request {
  /** The memory that it moves, or -1. */
  readonly at: number;
  /** Null: it was told of already, as failed. */
  told: Told | null;
}

/** Memory that a disk has, although it is not waited for. */
export interface Holder {
  hold(at: number): void;
  release(at: number): void;
}

export class DiskRequests {
  readonly #holder: Holder;
  readonly #under = new Set<Request>();
  #back: (() => void) | null = null;
  #abandoned = false;

  constructor(holder: Holder) {
    this.#holder = holder;
  }

  /** Nothing is waited for any more: what comes now fails at once. */
  get abandoned(): boolean {
    return this.#abandoned;
  }

  /** Something of it is still with the disk. */
  get busy(): boolean {
    return this.#under.size > 0;
  }

  /** The disk begins with it; the result is what ends it. */
  begin(at: number, told: Told): Told {
    const request: Request = { at, told };
    this.#under.add(request);
    return (result) => {
      this.#under.delete(request);
      if (request.told) {
        request.told(result);
        return;
      }
      if (at >= 0) this.#holder.release(at);
      if (this.#under.size === 0) this.#back?.();
    };
  }

  /** All that is under way fails at once; `back` when the last of it is over. */
  abandon(back: () => void): void {
    this.#abandoned = true;
    for (const request of this.#under) {
      const { told, at } = request;
      request.told = null;
      if (at >= 0) this.#holder.hold(at);
      told?.(-ERRNO.ETIMEDOUT);
    }
    if (this.#under.size === 0) back();
    else this.#back = back;
  }
}
