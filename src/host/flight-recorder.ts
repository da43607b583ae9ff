/**
 * What all parts of a flight recorder share: the two rings, the clock that the machine sees, the hash of what it did, and
 * where an input happens. The parts: recording-io.ts (the port), recording-hooks.ts (everything else of drbdd),
 * recording-heartbeat.ts. docs/FLIGHT-RECORDER.md says what is in a recording.
 *
 * The machine sees the clock in whole microseconds and only as it was at its last input or `submit`: exactly what is
 * recorded, so a replay sees the same.
 */

import { mix, mixEffect } from './flight-effects.js';
import {
  COLD,
  type Daemon,
  type FlightHead,
  FORMAT,
  HEAD_BYTES,
  HEAD_MAGIC,
  PIECE_BYTES,
  R,
  SEAL_MS,
} from './flight-format.js';
import { flightJson } from './flight-json.js';
import { type Checksum, FlightRing, SMALL_RECORD_BYTES } from './flight-ring.js';

// V8 reads an imported constant anew at each use (a cell, a check that it is set); one of this module is part of the code. For what is
// in the way of each write.
const { TIME } = R;
const SMALL_BYTES = SMALL_RECORD_BYTES;
const SEAL_US = SEAL_MS * 1000;
const mixed = mixEffect;

/** The wall clock is noted when so much has passed. */
const WALL_EVERY_US = 10_000_000;

export interface FlightMemory {
  /** fileBytes(coldBlocks, hotBlocks) of it, all zero. */
  readonly memory: Uint8Array;
  readonly coldBlocks: number;
  readonly hotBlocks: number;
  readonly checksum: Checksum;
  readonly wallMs: () => number;
}

export interface FlightStart {
  readonly daemon: Daemon;
  readonly version: string;
  readonly node: string;
  readonly life: string;
  readonly setup: unknown;
}

/** What began the work that is being done: for the cause of a decision. */
export interface Input {
  kind: number;
  a: number;
  b: number;
  text: string;
}

export class FlightRecorder {
  readonly hot: FlightRing;
  readonly cold: FlightRing;
  readonly #wall: () => number;
  #raw: number;
  #us: number;
  #nowMs: number;
  #sealUs: number;
  #wallUs: number;
  #coldUs = 0; // when the block of the cold ring began
  /** Of all effects so far. */
  hash = 0;
  /** > 0: inside a callback of the machine. */
  depth = 0;
  /** Callbacks since the last input that came from outside. */
  callbacks = 0;
  stopped = false;
  readonly input: Input = { kind: 0, a: 0, b: 0, text: '' };

  constructor(memory: FlightMemory, start: FlightStart, rawMs: number) {
    const { coldBlocks, hotBlocks, checksum } = memory;
    this.cold = new FlightRing(memory.memory, HEAD_BYTES, coldBlocks, checksum);
    const hotAt = HEAD_BYTES + coldBlocks * (1 << 16);
    this.hot = new FlightRing(memory.memory, hotAt, hotBlocks, checksum);
    this.#wall = memory.wallMs;
    this.#raw = rawMs;
    this.#us = Math.floor(rawMs * 1000);
    this.#nowMs = this.#us / 1000;
    this.#sealUs = this.#us;
    this.#wallUs = this.#us;
    const wallMs = memory.wallMs();
    const head: FlightHead = {
      format: FORMAT,
      ...start,
      wallMs,
      us: this.#us,
      coldBlocks,
      hotBlocks,
    };
    writeHead(memory.memory, head, checksum);
    this.hot.begin(this.#us, wallMs);
    this.cold.begin(this.#us, wallMs);
    this.#coldUs = this.#us;
  }

  /** The clock as the machine sees it. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** The next record of the hot ring, of up to `bytes`; `commit` ends it. */
  record(kind: number, bytes: number): FlightRing {
    const { hot } = this;
    if (hot.full(bytes)) hot.begin(this.#us, this.#wall());
    hot.byte(kind);
    return hot;
  }

  /** The hot ring, with room for a record of numbers and `bytes` more. */
  small(bytes = 0): FlightRing {
    const { hot } = this;
    if (hot.full(SMALL_BYTES + bytes)) hot.begin(this.#us, this.#wall());
    return hot;
  }

  /** An input is coming: the clock, and whether it happens inside a callback. */
  begin(rawMs: number, kind: number, a: number, b: number): void {
    if (this.depth > 0) {
      const r = this.record(R.INSIDE, 8);
      r.number(this.callbacks);
      r.commit();
    } else this.callbacks = 0;
    if (rawMs !== this.#raw) this.#time(TIME, rawMs);
    const { input } = this;
    input.kind = kind;
    input.a = a;
    input.b = b;
  }

  /** The port has been told to submit; its clock may have moved. */
  submitted(rawMs: number): void {
    this.#time(R.SUBMIT, rawMs);
  }

  #time(kind: number, rawMs: number): void {
    let delta = Math.floor(rawMs * 1000 - this.#us);
    if (delta < 0) delta = 0;
    const us = this.#us + delta;
    if (kind === TIME) this.small().put1(TIME, delta);
    else {
      const r = this.record(kind, 16);
      r.number(delta);
      r.u32(this.hash);
      r.commit();
    }
    this.#raw = rawMs;
    this.#us = us;
    this.#nowMs = us / 1000;
    if (us - this.#sealUs >= SEAL_US) this.#seal(us);
  }

  #seal(us: number): void {
    this.#sealUs = us;
    if (us - this.#wallUs >= WALL_EVERY_US) {
      this.#wallUs = us;
      const r = this.record(R.WALL, 16);
      r.f64(this.#wall());
      r.commit();
    }
    this.hot.seal();
    this.cold.seal();
  }

  /** Something that is rare enough to be kept long. */
  note(what: Readonly<Record<string, unknown>>): void {
    if (this.stopped) return;
    const text = flightJson(what);
    const bytes = Math.min(text.length * 3, PIECE_BYTES) + 32;
    const { cold } = this;
    if (cold.full(bytes)) {
      cold.begin(this.#us, this.#wall());
      this.#coldUs = this.#us;
    }
    cold.byte(COLD);
    cold.number(this.#us - this.#coldUs);
    cold.text(text);
    cold.commit();
  }

  fold(value: number): void {
    this.hash = mix(this.hash, value);
  }

  /** An effect into the hash. */
  effect(kind: number, handle: number, offsetBytes: number, length: number, tag: number): void {
    this.hash = mixed(this.hash, kind, handle, offsetBytes, length, tag);
  }

  /** The life ends; nothing is recorded after it. */
  stop(why: string): void {
    if (this.stopped) return;
    this.note({ type: 'stop', why });
    const r = this.record(R.STOP, PIECE_BYTES + 8);
    r.text(why);
    r.commit();
    this.stopped = true;
    this.hot.seal();
    this.cold.seal();
  }
}

function writeHead(memory: Uint8Array, head: FlightHead, checksum: Checksum): void {
  const json = new TextEncoder().encode(JSON.stringify(head));
  const at = HEAD_MAGIC.length;
  const room = HEAD_BYTES - at - 8;
  if (json.length > room) throw new Error('the head of a recording fits its page');
  memory.set(json, at + 8);
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  view.setUint32(at, json.length, true);
  view.setUint32(at + 4, checksum(json) >>> 0, true);
  for (let i = 0; i < at; i++) memory[i] = HEAD_MAGIC.charCodeAt(i);
}
