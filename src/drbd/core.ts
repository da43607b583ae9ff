/**
 * What all volumes and links of a node share: the port, the tables behind tags, and the end of a turn.
 *
 * A tag is owner << 24 | kind << 20 | slot. `Core` is the one owner of the engine: it looks the slot up in the table
 * of its kind and calls the object's own handler. Rare operations (meta-data, attach) use `cold`: a continuation per
 * operation, which would be too dear for application I/O.
 */
import { assert } from '../base/assert.js';
import { AnswerBuffers } from './answer-buffers.js';
import { AppRequest } from './app-request.js';
import { PeerRequest } from './peer-request.js';
import type { DataPort, EngineHost } from './ports.js';
import { ResyncOrder } from './resync-after.js';
import { Slots } from './slots.js';
import { StalledLinks } from './stalled-links.js';

const KIND_BITS = 20;
const SLOT_MASK = (1 << KIND_BITS) - 1;
export const KIND_APP_LOCAL = 0;
export const KIND_APP_SENT = 1;
export const KIND_PEER_RECEIVED = 2;
export const KIND_PEER_DISK = 3;
export const KIND_PEER_SENT = 4;
export const KIND_OUTBOX = 5;
export const KIND_COLD = 6;

/**
 * Application requests that exist at once, finished ones whose epoch is not acknowledged included. Bounded before
 * that by the front ends (128 of FUSE) and max-epoch-size.
 */
const APP_SLOTS = 65536;
/**
 * Requests of peers at once. The receive window (max-buffers) bounds what they write, and their own max-buffers what they read: half of
 * it, so 65536 blocks of a volume at the most. Where reads had all slots, the connection would not be read, whoever waits for that.
 */
const PEER_SLOTS = 1 << 17;
/** Twice those: each may have a flush before it. */
const COLD_SLOTS = 65536;

/** Whoever owns outgoing small packets gets their completions. */
export interface SendOwner {
  outboxSent(buffer: number, result: number): void;
}

/** Something that holds packets back until the end of the turn. */
export interface Flusher {
  flush(): void;
}

/** Something that wants a call at the end of each turn. */
export interface TurnEnd {
  turnEnd(): void;
}

export interface FrontEnd {
  blockDone(tag: number, error: number): void;
  /** A read goes on in another buffer, which is the front end's now; the one before is not. */
  bufferMoved(tag: number, at: number): void;
}

interface Cold {
  readonly index: number;
  done: ((result: number) => void) | null;
}

export class Core {
  readonly port: DataPort;
  readonly host: EngineHost;
  readonly app: Slots<AppRequest>;
  readonly peer: Slots<PeerRequest>;
  /** Disks that were given up and have not ended what they were given (hung-disk.ts): path -> handles. */
  readonly owed = new Map<string, number>();
  /** Of the volumes of all resources. */
  readonly resyncOrder = new ResyncOrder();
  /** For what peers read. */
  readonly answers: AnswerBuffers;
  /** Of all resources: they share the buffers. */
  readonly stalledLinks = new StalledLinks();
  readonly #cold: Slots<Cold>;
  readonly #tagBase: number;
  readonly #sendOwners = new Map<number, SendOwner>();
  #nextSendOwner = 0;
  readonly #turnEnds: TurnEnd[] = [];
  #turnEndAt = -1; // the one that is being called
  readonly #flushers: Flusher[] = [];

  // Answers to front ends, given at the end of the turn: never inside the call that asked.
  readonly #doneFront: (FrontEnd | null)[] = [];
  readonly #doneTag: number[] = [];
  readonly #doneError: number[] = [];
  #doneCount = 0;

  constructor(port: DataPort, host: EngineHost, tagBase: number) {
    this.port = port;
    this.answers = new AnswerBuffers(port);
    this.host = host;
    this.#tagBase = tagBase;
    this.app = new Slots(APP_SLOTS, (index) => new AppRequest(index));
    this.peer = new Slots(PEER_SLOTS, (index) => new PeerRequest(index));
    this.#cold = new Slots(COLD_SLOTS, (index) => ({ index, done: null }));
  }

  tag(kind: number, slot: number): number {
    return this.#tagBase + kind * (SLOT_MASK + 1) + slot;
  }

  /** A tag for one rare operation; `done` is called once with its result. */
  cold(done: (result: number) => void): number {
    const slot = this.#cold.take();
    assert(slot !== null, 'rare operations are few');
    slot.done = done;
    return this.tag(KIND_COLD, slot.index);
  }

  /** A tag prefix for small packets: tag(KIND_OUTBOX, id * 16 + buffer). */
  registerSender(owner: SendOwner): number {
    assert(this.#sendOwners.size < 65536, 'fewer than 65536 streams at once');
    while (this.#sendOwners.has(this.#nextSendOwner))
      this.#nextSendOwner = (this.#nextSendOwner + 1) % 65536;
    const id = this.#nextSendOwner;
    this.#nextSendOwner = (id + 1) % 65536;
    this.#sendOwners.set(id, owner);
    return id;
  }

  forgetSender(id: number): void {
    this.#sendOwners.delete(id);
  }

  addTurnEnd(part: TurnEnd): void {
    this.#turnEnds.push(part);
  }

  removeTurnEnd(part: TurnEnd): void {
    const i = this.#turnEnds.indexOf(part);
    if (i < 0) return;
    this.#turnEnds.splice(i, 1);
    if (i <= this.#turnEndAt) this.#turnEndAt--; // nobody behind it is passed over in this round
  }

  /** Tell a front end at the end of this turn. */
  answer(front: FrontEnd, tag: number, error: number): void {
    const n = this.#doneCount++;
    this.#doneFront[n] = front;
    this.#doneTag[n] = tag;
    this.#doneError[n] = error;
  }

  /** The request that a peer's block id names, if there is such a slot: the caller checks what it is. */
  appRequest(index: number): AppRequest | null {
    return this.app.find(index);
  }

  /** The I/O port's completion of one of our tags. */
  ioDone(index: number, result: number): void {
    const slot = index & SLOT_MASK;
    switch (index >>> KIND_BITS) {
      case KIND_APP_LOCAL: {
        const request = this.app.at(slot);
        request.owner.localDone(request, result);
        break;
      }
      case KIND_APP_SENT: {
        const request = this.app.at(slot);
        request.owner.sent(request, result);
        break;
      }
      case KIND_PEER_RECEIVED: {
        const request = this.peer.at(slot);
        request.owner.received(request, result);
        break;
      }
      case KIND_PEER_DISK: {
        const request = this.peer.at(slot);
        request.owner.diskDone(request, result);
        break;
      }
      case KIND_PEER_SENT: {
        const request = this.peer.at(slot);
        request.owner.replySent(request, result);
        break;
      }
      case KIND_OUTBOX:
        this.#sendOwners.get(slot >>> 4)?.outboxSent(slot & 15, result);
        break;
      case KIND_COLD: {
        const cold = this.#cold.at(slot);
        const done = cold.done;
        cold.done = null;
        this.#cold.release(slot);
        assert(done !== null, 'a rare operation completes once');
        done(result);
        break;
      }
      default:
        assert(false, `a tag of kind ${index >>> KIND_BITS}`);
    }
  }

  /** Small packets leave last, whatever produced them. */
  addFlusher(part: Flusher): void {
    this.#flushers.push(part);
  }

  removeFlusher(part: Flusher): void {
    const i = this.#flushers.indexOf(part);
    if (i >= 0) this.#flushers.splice(i, 1);
  }

  /** The loop calls this once at the end of each turn, before it submits. */
  turnEnd(): void {
    // Answers start new work, and that may be over at once (a refusal): go on until nobody is to be answered, or has a buffer to wait for.
    let count: number;
    do {
      const parts = this.#turnEnds;
      for (this.#turnEndAt = 0; this.#turnEndAt < parts.length; this.#turnEndAt++) {
        (parts[this.#turnEndAt] as TurnEnd).turnEnd();
      }
      this.#turnEndAt = -1;
      count = this.#doneCount;
      for (let i = 0; i < count; i++) {
        const front = this.#doneFront[i] as FrontEnd;
        this.#doneFront[i] = null;
        front.blockDone(this.#doneTag[i] as number, this.#doneError[i] as number);
      }
      // Those that were added meanwhile move to the front.
      const more = this.#doneCount - count;
      for (let i = 0; i < more; i++) {
        this.#doneFront[i] = this.#doneFront[count + i] as FrontEnd;
        this.#doneTag[i] = this.#doneTag[count + i] as number;
        this.#doneError[i] = this.#doneError[count + i] as number;
        this.#doneFront[count + i] = null;
      }
      this.#doneCount = more;
    } while (count > 0 || this.answers.triesAgain());
    for (let i = 0; i < this.#flushers.length; i++) (this.#flushers[i] as Flusher).flush();
  }
}
