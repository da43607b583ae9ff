/**
 * Small packets of one stream, gathered: all that a turn produces leaves in one send.
 *
 * A few buffers are used in turn. A buffer is filled from its start again when everything sent from it has been
 * taken by the kernel. When none has room the peer has stopped reading although every kind of small packet is bounded
 * by requests in flight, so the link is given up (`reserve` returns -1).
 */
import { assert } from '../base/assert.js';
import { type Core, KIND_OUTBOX, type SendOwner } from './core.js';

const BUFFERS = 8;
const BUFFER_BYTES = 65536;

export class Outbox implements SendOwner {
  readonly #core: Core;
  readonly #stream: number;
  readonly #id: number;
  readonly #base: number[] = [];
  readonly #used = new Int32Array(BUFFERS); // bytes filled
  readonly #pending = new Int32Array(BUFFERS); // sends in flight
  #current = 0;
  #from = 0; // first byte not yet queued, in the current buffer
  #open = true;

  constructor(core: Core, stream: number) {
    this.#core = core;
    this.#stream = stream;
    this.#id = core.registerSender(this);
    for (let i = 0; i < 2; i++) this.#addBuffer();
  }

  /** Room for `bytes` more behind what was written before; the pool offset, or -1 (see above). */
  reserve(bytes: number): number {
    assert(bytes <= BUFFER_BYTES, 'a small packet');
    if (this.#base.length === 0 && !this.#addBuffer()) return -1;
    let used = this.#used[this.#current] as number;
    if (used + bytes > BUFFER_BYTES) {
      this.flush();
      if (!this.#nextBuffer()) return -1;
      used = 0;
    }
    this.#used[this.#current] = used + bytes;
    return (this.#base[this.#current] as number) + used;
  }

  /** Queue what was reserved since the last flush. Call before anything else is sent on the stream. */
  flush(): void {
    const used = this.#used[this.#current] as number;
    if (used === this.#from || !this.#open) return;
    const core = this.#core;
    const base = this.#base[this.#current] as number;
    this.#pending[this.#current] = (this.#pending[this.#current] as number) + 1;
    core.port.send(
      this.#stream,
      base + this.#from,
      used - this.#from,
      core.tag(KIND_OUTBOX, this.#id * 16 + this.#current),
    );
    this.#from = used;
  }

  outboxSent(buffer: number, _result: number): void {
    const pending = (this.#pending[buffer] as number) - 1;
    this.#pending[buffer] = pending;
    if (!this.#open) {
      this.#releaseIfIdle();
      return;
    }
    if (pending > 0) return;
    if (buffer === this.#current) {
      if (this.#used[buffer] === this.#from) {
        this.#used[buffer] = 0; // all taken: fill it again from the start
        this.#from = 0;
      }
    } else {
      this.#used[buffer] = 0;
    }
  }

  /** The stream is closed; buffers go back when the last send has completed. */
  close(): void {
    this.#open = false;
    this.#releaseIfIdle();
  }

  #releaseIfIdle(): void {
    for (let i = 0; i < this.#base.length; i++) if ((this.#pending[i] as number) > 0) return;
    for (const at of this.#base) this.#core.port.free(at);
    this.#base.length = 0;
    this.#core.forgetSender(this.#id);
  }

  #nextBuffer(): boolean {
    for (let i = 0; i < this.#base.length; i++) {
      if (i !== this.#current && this.#pending[i] === 0) {
        this.#current = i;
        this.#used[i] = 0;
        this.#from = 0;
        return true;
      }
    }
    if (this.#base.length >= BUFFERS || !this.#addBuffer()) return false;
    this.#current = this.#base.length - 1;
    this.#from = 0;
    return true;
  }

  #addBuffer(): boolean {
    const at = this.#core.port.alloc(BUFFER_BYTES, 'spare');
    if (at < 0) return false;
    this.#base.push(at);
    return true;
  }
}
