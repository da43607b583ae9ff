/**
 * Everything around the replication engine that is no I/O, with a flight recorder in it: randomness, digests, timers,
 * handlers, the log, requests of operators, and what front ends ask of volumes.
 *
 * A front end may ask for more inside an answer (`blockDone`) or at the end of a turn: such an input is recorded with the
 * number of the callback that it happened in, so that the replay has it happen there, too.
 */
import type { DigestSource, RandomSource } from '../base/ports.js';
import type { Decision, LogLevel } from '../drbd/ports.js';
import { encodeState } from '../drbd/state.js';
import { stateLine } from '../drbd/state-text.js';
import type { BlockVolume, FrontEnd } from './block.js';
import type { ControlReply, ControlRequest } from './control.js';
import type { DrbdControl, Reply } from './drbd-control.js';
import type { DrbdHooks, DrbdLoop, FrontPart } from './drbd-loop.js';
import { E } from './flight-effects.js';
import { PIECE_BYTES, R } from './flight-format.js';
import { flightJson } from './flight-json.js';
import { type FlightMemory, FlightRecorder, type FlightStart } from './flight-recorder.js';
import type { FlightRing } from './flight-ring.js';
import type { Io } from './io.js';
import { RecordingIo } from './recording-io.js';
import type { TimerId, Timers } from './timers.js';

export const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];
const KEY_BYTES = 32;
// V8 reads an imported constant anew at each use (a cell, a check that it is set); one of this module is part of the code. For what is
// in the way of each write.
const { READ, WRITE, WRITE_FUA } = R;
const BLOCK_DONE = E.blockDone;

/** A recorder between the engine and everything that it touches. */
export class RecordedDrbd {
  readonly recorder: FlightRecorder;
  /** For the DrbdLoop; front ends use the port below. */
  readonly io: RecordingIo;
  readonly hooks: DrbdHooks;
  readonly #below: Io;
  readonly #volumes = new WeakMap<BlockVolume, RecordedVolume>();
  readonly #fronts = new Map<FrontEnd, RecordedFront>();
  readonly #parts: FrontPart[] = [];
  #nextTimer = 0;
  #nextHandler = 0;
  #nextFront = 0;

  constructor(io: Io, hooks: DrbdHooks, memory: FlightMemory, start: FlightStart) {
    io.submit(); // the clock of now
    this.#below = io;
    this.recorder = new FlightRecorder(memory, start, io.nowMs());
    const key = hooks.random.bytes(KEY_BYTES); // never written anywhere
    const stand = (bytes: Uint8Array): Uint8Array => standIn(hooks.digests, key, bytes);
    this.io = new RecordingIo(io, this.recorder, stand);
    this.hooks = this.#wrap(hooks, stand);
  }

  /** After the loop is made: its front ends are called through the recorder. */
  join(loop: DrbdLoop): void {
    loop.addFront({
      turn: () => {
        this.#callback();
        for (let i = 0; i < this.#parts.length; i++) (this.#parts[i] as FrontPart).turn();
        this.recorder.depth--;
      },
    });
  }

  addFront(part: FrontPart): void {
    this.#parts.push(part);
  }

  removeFront(part: FrontPart): void {
    const i = this.#parts.indexOf(part);
    if (i >= 0) this.#parts.splice(i, 1);
  }

  #callback(): void {
    this.recorder.callbacks++;
    this.recorder.depth++;
  }

  begin(kind: number, a: number, b: number): void {
    this.recorder.begin(this.#below.nowMs(), kind, a, b);
  }

  // ---- what comes from outside

  /** A turn of its own: the clock may have stood since the last one. */
  #beginTurn(kind: number, a: number, b: number): void {
    if (this.recorder.depth === 0) this.#below.refresh();
    this.begin(kind, a, b);
  }

  /** A turn in which front ends begin or end something. */
  enter<T>(loop: DrbdLoop, work: () => T): T {
    const rec = this.recorder;
    if (!rec.stopped) {
      this.#beginTurn(R.ENTER, 0, 0);
      rec.record(R.ENTER, 8).commit();
    }
    return loop.enter(() => {
      this.#callback();
      try {
        return work();
      } finally {
        rec.depth--;
      }
    });
  }

  request(control: DrbdControl, request: ControlRequest, reply: Reply): void {
    const rec = this.recorder;
    const asks = request.verb === 'status' || request.verb === 'running';
    if (!rec.stopped) {
      const safe = flightJson(request);
      this.#beginTurn(R.REQUEST, 0, 0);
      rec.input.text = describeRequest(request);
      this.#text(R.REQUEST, safe);
      if (!asks) rec.note({ type: 'request', request });
    }
    control.handle(request, (answer) => {
      if (!asks) this.#replied(answer);
      reply(answer);
    });
  }

  resumePrimary(control: DrbdControl, minor: number, reply: Reply): void {
    const rec = this.recorder;
    if (!rec.stopped) {
      this.#beginTurn(R.RESUME, minor, 0);
      const r = rec.record(R.RESUME, 16);
      r.number(minor);
      r.commit();
      rec.note({ type: 'resume', minor });
    }
    control.resumePrimary(minor, (answer) => {
      this.#replied(answer);
      reply(answer);
    });
  }

  #replied(answer: ControlReply): void {
    if (this.recorder.stopped) return;
    this.#text(R.REPLY, replyText(answer));
    this.recorder.note({ type: 'reply', text: replyText(answer) });
  }

  #text(kind: number, text: string): void {
    const r = this.recorder.record(kind, Math.min(text.length * 3, PIECE_BYTES) + 16);
    r.text(text);
    r.commit();
  }

  // ---- volumes for front ends

  volume(volume: BlockVolume): BlockVolume {
    let recorded = this.#volumes.get(volume);
    if (!recorded) {
      recorded = new RecordedVolume(this, volume);
      this.#volumes.set(volume, recorded);
    }
    return recorded;
  }

  front(front: FrontEnd): RecordedFront {
    let recorded = this.#fronts.get(front);
    if (!recorded) {
      recorded = new RecordedFront(this.recorder, front, this.#nextFront++);
      this.#fronts.set(front, recorded);
    }
    return recorded;
  }

  // ---- hooks

  #wrap(hooks: DrbdHooks, stand: (bytes: Uint8Array) => Uint8Array): DrbdHooks {
    const rec = this.recorder;
    return {
      random: this.#random(hooks.random),
      digests: this.#digests(hooks.digests, stand),
      timers: this.#timers(hooks.timers),
      log: (level, object, text) => {
        if (!rec.stopped) {
          const r = rec.record(R.LOG, (object.length + text.length) * 3 + 32);
          r.byte(LEVELS.indexOf(level));
          r.text(object);
          r.text(text);
          r.commit();
          if (level !== 'debug') rec.note({ type: 'log', level, object, text });
        }
        hooks.log(level, object, text);
      },
      handler: (event, resource, minor, done) => this.#handler(hooks, event, resource, minor, done),
      sizeChanged: (minor) => hooks.sizeChanged(minor),
      exposed: (minor, generations) => hooks.exposed(minor, generations),
      stateChanged: (resource) => hooks.stateChanged(resource),
      toBeSaved: (resource) => hooks.toBeSaved?.(resource),
      decision: (d) => {
        if (!rec.stopped) this.#decision(d);
        hooks.decision?.(d);
      },
    };
  }

  #decision(d: Decision): void {
    const rec = this.recorder;
    if (d.type === 'change' && d.commit && d.result.code >= 1) {
      const r = rec.record(R.STATE, 24);
      r.number(d.minor);
      r.u32(encodeState(d.old));
      r.u32(encodeState(d.result.state));
      r.commit();
    }
    rec.note({ ...d, cause: this.io.describeInput() });
  }

  #handler(
    hooks: DrbdHooks,
    event: string,
    resource: string,
    minor: number | null,
    done: (exit: number) => void,
  ): void {
    const rec = this.recorder;
    const id = this.#nextHandler++;
    if (!rec.stopped) {
      const r = rec.record(R.HANDLER, (event.length + resource.length) * 3 + 48);
      r.number(id);
      r.text(event);
      r.text(resource);
      r.number(minor === null ? 0 : minor + 1);
      r.commit();
      rec.note({ type: 'handler', event, resource, minor });
    }
    this.#callback();
    hooks.handler(event, resource, minor, (exit) => {
      if (!rec.stopped) {
        this.#beginTurn(R.HANDLER_DONE, id, exit);
        const r = rec.record(R.HANDLER_DONE, 16);
        r.number(id);
        r.signed(exit);
        r.commit();
        rec.note({ type: 'handler-done', event, resource, exit });
      }
      done(exit);
    });
    rec.depth--;
  }

  #random(random: RandomSource): RandomSource {
    const rec = this.recorder;
    return {
      u32: () => {
        const value = random.u32();
        if (!rec.stopped) {
          const r = rec.record(R.RANDOM, 8);
          r.u32(value);
          r.commit();
        }
        return value;
      },
      bytes: (count) => {
        const bytes = random.bytes(count);
        this.#bytes(R.RANDOM_BYTES, bytes, 0, count);
        return bytes;
      },
    };
  }

  #digests(digests: DigestSource, stand: (bytes: Uint8Array) => Uint8Array): DigestSource {
    return {
      digestBytes: (algorithm) => digests.digestBytes(algorithm),
      hasHmac: (algorithm) => digests.hasHmac(algorithm),
      hmac: (algorithm, key, message) => {
        const result = digests.hmac(algorithm, key, message);
        this.#bytes(R.HMAC, stand(result), 0, result.length);
        return result;
      },
      digest: (algorithm, data, start, end, out, at) => {
        digests.digest(algorithm, data, start, end, out, at);
        this.#bytes(R.DIGEST, out, at, at + digests.digestBytes(algorithm));
      },
      isZero: (data, start, end) => {
        const result = digests.isZero(data, start, end);
        this.#bytes(R.DIGEST, Uint8Array.of(result ? 1 : 0), 0, 1);
        return result;
      },
    };
  }

  #bytes(kind: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.recorder.stopped) return;
    const r = this.recorder.record(kind, end - start + 16);
    r.number(end - start);
    r.bytes(bytes, start, end);
    r.commit();
  }

  #timers(timers: Timers): Timers {
    const rec = this.recorder;
    return {
      after: (delayMs, run): TimerId => {
        const id = this.#nextTimer++;
        rec.fold(E.timer);
        return timers.after(delayMs, () => {
          if (!rec.stopped) {
            this.begin(R.TIMER, id, 0);
            const r = rec.record(R.TIMER, 16);
            r.number(id);
            r.commit();
          }
          run();
        });
      },
      cancel: (timer) => timers.cancel(timer),
    };
  }
}

/** Of one front end: its answers, and what it asks inside them. */
export class RecordedFront implements FrontEnd {
  readonly #recorder: FlightRecorder;
  readonly #front: FrontEnd;
  readonly id: number;

  constructor(recorder: FlightRecorder, front: FrontEnd, id: number) {
    this.#recorder = recorder;
    this.#front = front;
    this.id = id;
  }

  bufferMoved(tag: number, at: number): void {
    this.#front.bufferMoved(tag, at);
  }

  blockDone(tag: number, error: number): void {
    const rec = this.#recorder;
    rec.effect(BLOCK_DONE, this.id, error, 0, tag);
    rec.callbacks++;
    rec.depth++;
    this.#front.blockDone(tag, error);
    rec.depth--;
  }
}

class RecordedVolume implements BlockVolume {
  readonly minor: number;
  readonly #recorded: RecordedDrbd;
  readonly #rec: FlightRecorder;
  readonly #volume: BlockVolume;
  #last: FrontEnd | null = null; // and its recorded one: there is one per volume, usually
  #lastFront: RecordedFront | null = null;

  constructor(recorded: RecordedDrbd, volume: BlockVolume) {
    this.#recorded = recorded;
    this.#rec = recorded.recorder;
    this.#volume = volume;
    this.minor = volume.minor;
  }

  get sizeSectors(): number {
    return this.#volume.sizeSectors;
  }
  get logicalBlockBytes(): number {
    return this.#volume.logicalBlockBytes;
  }

  #front(front: FrontEnd): RecordedFront {
    if (front === this.#last && this.#lastFront) return this.#lastFront;
    this.#last = front;
    this.#lastFront = this.#recorded.front(front);
    return this.#lastFront;
  }

  #begin(kind: number): FlightRing {
    this.#recorded.begin(kind, this.minor, 0);
    return this.#rec.small();
  }

  read(front: FrontEnd, tag: number, sector: number, at: number, lengthBytes: number): void {
    const f = this.#front(front);
    if (!this.#rec.stopped) {
      this.#begin(READ).put5(READ, f.id, tag, this.minor, sector, lengthBytes);
    }
    this.#volume.read(f, tag, sector, at, lengthBytes);
  }

  write(
    front: FrontEnd,
    tag: number,
    sector: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
  ): void {
    const f = this.#front(front);
    const kind = fua ? WRITE_FUA : WRITE;
    if (!this.#rec.stopped) {
      this.#begin(kind).put5(kind, f.id, tag, this.minor, sector, lengthBytes);
    }
    this.#volume.write(f, tag, sector, at, lengthBytes, fua);
  }

  flush(front: FrontEnd, tag: number): void {
    const f = this.#front(front);
    if (!this.#rec.stopped) this.#begin(R.FLUSH).put5(R.FLUSH, f.id, tag, this.minor, 0, 0);
    this.#volume.flush(f, tag);
  }

  discard(front: FrontEnd, tag: number, sector: number, lengthSectors: number): void {
    const f = this.#front(front);
    if (!this.#rec.stopped) {
      this.#begin(R.DISCARD).put5(R.DISCARD, f.id, tag, this.minor, sector, lengthSectors);
    }
    this.#volume.discard(f, tag, sector, lengthSectors);
  }

  writeZeroes(
    front: FrontEnd,
    tag: number,
    sector: number,
    lengthSectors: number,
    mayUnmap: boolean,
  ): void {
    const f = this.#front(front);
    const kind = mayUnmap ? R.ZEROES_UNMAP : R.ZEROES;
    if (!this.#rec.stopped) {
      this.#begin(kind).put5(kind, f.id, tag, this.minor, sector, lengthSectors);
    }
    this.#volume.writeZeroes(f, tag, sector, lengthSectors, mayUnmap);
  }

  #opened(kind: number, write: boolean): void {
    if (this.#rec.stopped) return;
    this.#recorded.begin(kind, this.minor, 0);
    const r = this.#rec.record(kind, 16);
    r.number(this.minor);
    r.byte(write ? 1 : 0);
    r.commit();
  }

  open(write: boolean): number {
    this.#opened(R.OPEN, write);
    return this.#volume.open(write);
  }

  release(write: boolean): void {
    this.#opened(R.RELEASE, write);
    this.#volume.release(write);
  }
}

/** Same bytes, same stand-in; without the key nobody learns the bytes from it. */
function standIn(digests: DigestSource, key: Uint8Array, bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length);
  const hash = digests.hmac('sha256', key, bytes);
  for (let i = 0; i < out.length; i++) out[i] = hash[i % hash.length] ?? 0;
  return out;
}

export function replyText(answer: ControlReply): string {
  return answer.ok ? 'ok' : `${answer.kind} ${answer.code}: ${answer.text}`;
}

/** A request in the words of drbdsetup. */
export function describeRequest(request: ControlRequest): string {
  const words: string[] = [request.verb];
  if ('resource' in request) words.push(request.resource ?? 'all');
  if ('minor' in request) words.push(`minor ${request.minor}`);
  if ('force' in request && request.force) words.push('--force');
  if ('discardMyData' in request && request.discardMyData) words.push('--discard-my-data');
  return words.join(' ');
}

/** A decision in one line. */
export function describeDecision(d: Decision): string {
  if (d.type === 'sync') {
    const { rule, compared, refused, result } = d.result;
    return `generations compared: rule ${rule}, ${compared}; ${refused ?? result}`;
  }
  return stateLine('', d.result.state);
}
