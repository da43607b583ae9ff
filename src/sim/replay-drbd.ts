/**
 * Feeds a recording of drbdd to the same machines: DrbdLoop, DrbdControl and the replication engine, with a port and
 * surroundings that answer from the recording (replay-io.ts). Turn by turn it must ask, do and log the same.
 */
import type { DigestSource } from '../base/ports.js';
import type { Decision } from '../drbd/ports.js';
import { encodeState } from '../drbd/state.js';
import type { PoolCounts } from '../host/buffer-pool.js';
import type { ControlRequest } from '../host/control.js';
import { DrbdControl } from '../host/drbd-control.js';
import { DrbdLoop } from '../host/drbd-loop.js';
import { E } from '../host/flight-effects.js';
import { R } from '../host/flight-format.js';
import { parseFlightJson } from '../host/flight-json.js';
import { packetNames } from '../host/flight-packets.js';
import { FlightError, type FlightFile } from '../host/flight-read.js';
import { describeRequest, LEVELS, replyText } from '../host/recording-hooks.js';
import type { Replay, ReplayResult } from './replay.js';
import { changeEvents, type ReplayEvent, syncEvents } from './replay-explain.js';
import { ReplayIo } from './replay-io.js';
import { type Difference, describeRecord, EndOfRecording, ReplayLog } from './replay-log.js';

const START_WORDS = 'the machine was started';

export class DrbdReplay implements Replay {
  readonly file: FlightFile;
  readonly whole = true;
  readonly loop: DrbdLoop;
  readonly #log: ReplayLog;
  readonly #io: ReplayIo;
  readonly #control: DrbdControl;
  readonly #digests: DigestSource;
  readonly #emit: (event: ReplayEvent) => void;
  readonly #timers = new Map<number, () => void>();
  readonly #handlers = new Map<number, (exit: number) => void>();
  readonly #fronts = new Map<number, ReplayFront>();
  #nextTimer = 0;
  #nextHandler = 0;
  #callbacks = 0;
  #cause: () => string = () => START_WORDS;
  #inputs = 0;
  #end = '';

  constructor(file: FlightFile, digests: DigestSource, emit: (event: ReplayEvent) => void) {
    const setup = file.head.setup as { readonly pool?: PoolCounts } | null;
    if (!setup?.pool) {
      throw new FlightError(
        'damaged',
        `${file.name}: the head has no counts of buffers`,
        'copy it again',
      );
    }
    this.file = file;
    this.#digests = digests;
    this.#emit = emit;
    this.#log = new ReplayLog(file);
    this.#io = new ReplayIo(file, this.#log, setup.pool);
    this.loop = new DrbdLoop(this.#io, this.#hooks());
    this.#control = new DrbdControl(this.loop, file.head.version);
    this.loop.addFront({ turn: () => this.#inside() });
  }

  /** When the next input happened; null at the end. */
  get nextWallMs(): number | null {
    return this.#log.rec.kind === 0 ? null : this.#log.dueWallMs;
  }

  /** Runs while the next input happened before `untilWallMs`; true when the recording is at its end. */
  run(untilWallMs: number): ReplayResult | null {
    try {
      while (this.#log.rec.kind !== 0) {
        if (this.#log.dueWallMs > untilWallMs) return null;
        this.#callbacks = 0;
        this.#step();
      }
    } catch (e) {
      return this.#over(e);
    }
    return this.#result(null, '');
  }

  #over(e: unknown): ReplayResult {
    if (this.#log.first) return this.#result(this.#log.first, '');
    if (e instanceof EndOfRecording) return this.#result(null, '');
    if (e instanceof FlightError) throw e;
    const text = e instanceof Error ? e.message : String(e);
    const { rec } = this.#log;
    // It broke with the last input, as it did then; or it did not break then.
    const last =
      rec.kind === 0 || rec.kind === R.STOP || rec.kind === R.LEFT || rec.kind === R.BYTES;
    if (last) return this.#result(null, text);
    return this.#result(this.#log.differs(describeRecord(rec), `it broke: ${text}`), '');
  }

  #result(difference: Difference | null, broke: string): ReplayResult {
    return { difference, broke, inputs: this.#inputs, end: this.#end };
  }

  // ---- inputs

  /** One record that is due: an input, or what is noted beside. */
  #step(): void {
    const log = this.#log;
    const { rec } = log;
    const { kind, a, b, c, d, e, text } = rec;
    if (kind === R.TIME) {
      log.advance();
      return;
    }
    this.#inputs++;
    this.#io.data = null;
    if (kind >= R.DONE_KIND && kind < R.DONE_KIND + 16) {
      log.advance();
      this.#done(kind - R.DONE_KIND, a, b);
      return;
    }
    if (kind >= R.READ && kind <= R.RELEASE) {
      log.advance();
      this.#front(kind, a, b, c, d, e);
      return;
    }
    switch (kind) {
      case R.CONTENT:
        this.#content();
        return;
      case R.BATCH:
        this.#io.compare(a);
        log.advance();
        this.#cause = () => 'the end of a batch of completions';
        this.#io.batchEnd();
        return;
      case R.DATA:
        log.advance();
        this.#cause = () => this.#dataCause();
        this.#io.streamData(a, b);
        return;
      case R.END:
        log.advance();
        this.#cause = () => `the peer's stream ended (${b === 0 ? 'closed' : `errno ${b}`})`;
        this.#io.streamEnd(a, b);
        return;
      case R.ACCEPT:
        log.advance();
        this.#cause = () => `a connection from ${text} was accepted`;
        this.#io.accepted(a, b, text);
        return;
      case R.TIMER: {
        const run = this.#timers.get(a);
        if (!run) throw this.#log.differs(`timer ${a}`, 'no such timer');
        this.#timers.delete(a);
        log.advance();
        this.#cause = () => 'a time was reached';
        run();
        return;
      }
      case R.HANDLER_DONE: {
        const done = this.#handlers.get(a);
        if (!done) throw this.#log.differs(`the end of handler ${a}`, 'no such handler');
        this.#handlers.delete(a);
        log.advance();
        this.#cause = () => `a handler ended with exit status ${b}`;
        done(b);
        return;
      }
      case R.ENTER:
        log.advance();
        this.#cause = () => 'a device was made or ended';
        this.loop.enter(() => this.#inside());
        return;
      case R.REQUEST:
        this.#request(text);
        return;
      case R.RESUME:
        log.advance();
        this.#cause = () => `a restarted engine: minor ${a} was Primary`;
        this.#control.resumePrimary(a, (answer) => this.#replied(replyText(answer)));
        return;
      case R.STOP:
        this.#end = text;
        log.advance();
        return;
      default:
        throw this.#log.differs(describeRecord(rec), 'nothing of that');
    }
  }

  /** Inputs that happened inside this callback. */
  #inside(): void {
    this.#callbacks++;
    const mine = this.#callbacks;
    const log = this.#log;
    while (log.due(R.INSIDE) && log.rec.a === mine) {
      log.advance();
      const cause = this.#cause;
      while (log.due(R.TIME)) this.#step();
      this.#step();
      this.#cause = cause;
    }
  }

  #done(kind: number, slot: number, result: number): void {
    const what = this.#io.whatOf((kind << 20) | slot);
    this.#cause = () =>
      result < 0 ? `${what} failed (errno ${-result})` : `${what === '' ? 'I/O' : what} was done`;
    this.#io.done(kind, slot, result);
  }

  #content(): void {
    const { rec } = this.#log;
    const pieces: { count: number; bytes: Uint8Array }[] = [];
    while (rec.kind === R.CONTENT) {
      pieces.push({ count: rec.a, bytes: rec.bytes });
      this.#log.advance();
    }
    if (rec.kind === 0) throw new EndOfRecording();
    this.#io.content(pieces, rec.a);
    this.#step();
  }

  #dataCause(): string {
    const { data } = this.#io;
    const names = data ? packetNames(this.#io.poolView, data.start, data.end) : '';
    return names === '' ? 'bytes from the peer' : `the peer sent ${names}`;
  }

  #request(text: string): void {
    const log = this.#log;
    const request = parseFlightJson(text) as ControlRequest | null;
    const { place } = log.rec;
    log.advance();
    if (!request || typeof request.verb !== 'string') {
      throw new FlightError(
        'damaged',
        `${this.file.name}: byte ${place}: a request`,
        'copy it again',
      );
    }
    const words = describeRequest(request);
    this.#cause = () => `an operator asked: ${words}`;
    const asks = request.verb === 'status' || request.verb === 'running';
    if (!asks) this.#event('request', words, '', []);
    this.#control.handle(request, (answer) => {
      if (!asks) this.#replied(replyText(answer));
    });
  }

  #replied(text: string): void {
    const r = this.#log.expect(R.REPLY, `the answer "${text}"`);
    if (r.text !== text) {
      throw this.#log.differs(`the answer "${r.text}"`, `the answer "${text}"`);
    }
    this.#log.advance();
    if (text !== 'ok') this.#event('request', `refused: ${text}`, this.#cause(), []);
  }

  // ---- front ends

  #front(kind: number, a: number, b: number, c: number, d: number, e: number): void {
    this.#cause = () => 'the device was used';
    const minor = kind === R.OPEN || kind === R.RELEASE ? a : c;
    const volume = this.loop.engine.volume(minor);
    if (!volume) {
      throw this.#log.differs(`use of minor ${minor}`, 'no such minor');
    }
    if (kind === R.OPEN) {
      volume.open(b === 1);
      return;
    }
    if (kind === R.RELEASE) {
      volume.release(b === 1);
      return;
    }
    let front = this.#fronts.get(a);
    if (!front) {
      front = new ReplayFront(this.#io, a, () => this.#inside());
      this.#fronts.set(a, front);
    }
    switch (kind) {
      case R.READ:
        volume.read(front, b, d, front.take(b, e), e);
        return;
      case R.WRITE:
      case R.WRITE_FUA:
        volume.write(front, b, d, this.#io.frontAlloc(e), e, kind === R.WRITE_FUA);
        return;
      case R.FLUSH:
        volume.flush(front, b);
        return;
      case R.DISCARD:
        volume.discard(front, b, d, e);
        return;
      default:
        volume.writeZeroes(front, b, d, e, kind === R.ZEROES_UNMAP);
    }
  }

  // ---- surroundings

  #hooks() {
    const log = () => this.#log;
    const answer = (kind: number, asked: string): Uint8Array => {
      const bytes = log().expect(kind, asked).bytes.slice();
      log().advance();
      return bytes;
    };
    return {
      random: {
        u32: (): number => {
          const { a } = log().expect(R.RANDOM, 'a random number is asked for');
          log().advance();
          return a;
        },
        bytes: (): Uint8Array => answer(R.RANDOM_BYTES, 'random bytes are asked for'),
      },
      digests: {
        digestBytes: (algorithm: string) => this.#digests.digestBytes(algorithm),
        hasHmac: (algorithm: string) => this.#digests.hasHmac(algorithm),
        hmac: () => answer(R.HMAC, 'a challenge is answered'),
        digest: (
          _algorithm: string,
          _data: Uint8Array,
          _start: number,
          _end: number,
          out: Uint8Array,
          at: number,
        ) => out.set(answer(R.DIGEST, 'a block is digested'), at),
        isZero: () => answer(R.DIGEST, 'a block is looked at')[0] === 1,
      },
      timers: {
        after: (_delayMs: number, run: () => void): object => {
          const id = this.#nextTimer++;
          this.#io.fold(E.timer);
          this.#timers.set(id, run);
          return { id };
        },
        cancel: (timer: object) => {
          this.#timers.delete((timer as { readonly id: number }).id);
        },
      },
      log: (level: string, object: string, text: string) => this.#logged(level, object, text),
      handler: (
        event: string,
        resource: string,
        minor: number | null,
        done: (exit: number) => void,
      ) => this.#handler(event, resource, minor, done),
      sizeChanged: () => {},
      exposed: () => {},
      stateChanged: () => this.#control.stateChanged(),
      decision: (d: Decision) => this.#decided(d),
    };
  }

  #logged(level: string, object: string, text: string): void {
    const said = `the log line "${object}: ${text}"`;
    const r = this.#log.expect(R.LOG, said);
    if (r.text !== object || r.text2 !== text || LEVELS[r.a] !== level) {
      throw this.#log.differs(describeRecord(r), said);
    }
    this.#log.advance();
    if (level !== 'debug') this.#event('log', `${object}: ${text}`, '', []);
  }

  #handler(
    event: string,
    resource: string,
    minor: number | null,
    done: (exit: number) => void,
  ): void {
    const id = this.#nextHandler++;
    const r = this.#log.expect(R.HANDLER, `the handler ${event} of ${resource}`);
    if (r.text !== event || r.text2 !== resource || r.b !== (minor === null ? 0 : minor + 1)) {
      throw this.#log.differs(describeRecord(r), `the handler ${event} of ${resource}`);
    }
    this.#log.advance();
    this.#event('handler', `${resource}: handler ${event}`, this.#cause(), []);
    this.#handlers.set(id, done);
    this.#inside();
  }

  #decided(d: Decision): void {
    if (d.type === 'change' && d.commit && d.result.code >= 1) {
      const state = encodeState(d.result.state);
      const r = this.#log.expect(R.STATE, `minor ${d.minor} changes its state`);
      if (r.a !== d.minor || r.b !== encodeState(d.old) || r.c !== state) {
        throw this.#log.differs(describeRecord(r), `another one: state ${state.toString(16)}`);
      }
      this.#log.advance();
    }
    const cause = this.#cause();
    const parts = d.type === 'change' ? changeEvents(d) : syncEvents(d);
    for (const { kind, what, why } of parts) this.#event(kind, what, cause, why);
  }

  #event(kind: ReplayEvent['kind'], what: string, cause: string, why: readonly string[]): void {
    this.#emit({
      wallMs: this.#log.wallMs,
      node: this.file.head.node,
      daemon: 'drbdd',
      kind,
      what,
      cause,
      why,
    });
  }
}

/** A front end as the recording has it. */
class ReplayFront {
  readonly #io: ReplayIo;
  readonly #id: number;
  readonly #inside: () => void;
  readonly #reads = new Map<number, number>(); // tag -> buffer

  constructor(io: ReplayIo, id: number, inside: () => void) {
    this.#io = io;
    this.#id = id;
    this.#inside = inside;
  }

  /** A buffer for a read. */
  take(tag: number, bytes: number): number {
    const at = this.#io.frontAlloc(bytes);
    this.#reads.set(tag, at);
    return at;
  }

  bufferMoved(tag: number, at: number): void {
    this.#reads.set(tag, at);
  }

  blockDone(tag: number, error: number): void {
    this.#io.effect(E.blockDone, this.#id, error, 0, tag);
    const at = this.#reads.get(tag);
    if (at !== undefined) {
      this.#reads.delete(tag);
      this.#io.free(at);
    }
    this.#inside();
  }
}
