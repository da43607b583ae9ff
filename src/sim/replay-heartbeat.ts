/**
 * Feeds a recording of heartbeat to the same lives: a host that answers from the recording. Signatures are made and checked
 * with a key of the replay's own.
 */
import type { DigestSource } from '../base/ports.js';
import { E, foldText, mixEffect } from '../host/flight-effects.js';
import { R } from '../host/flight-format.js';
import { flightJson, parseFlightJson } from '../host/flight-json.js';
import { FlightError, type FlightFile } from '../host/flight-read.js';
import type { HeartbeatRequest } from '../host/heartbeat-control.js';
import { LineDecoder, type Lines } from '../host/heartbeat-lines.js';
import { HeartbeatLives } from '../host/heartbeat-lives.js';
import type {
  ConfigMessage,
  HeartbeatConfig,
  LivesHost,
  Media,
  MediaEvents,
  ScriptEvents,
  ScriptProcess,
} from '../host/heartbeat-ports.js';
import { foldDatagram, HEARTBEAT_LEVELS } from '../host/recording-heartbeat.js';
import type { ScriptOutcome } from '../resource-manager/group-operation.js';
import type { HaMessage } from '../wire/hamsg.js';
import { signClassic, signNetstring } from '../wire/hamsg-auth.js';
import type { Replay, ReplayResult } from './replay.js';
import type { ReplayEvent } from './replay-explain.js';
import { describeRecord, EndOfRecording, ReplayLog } from './replay-log.js';

interface Setup {
  readonly config: HeartbeatConfig;
  readonly pid: number;
  readonly reboot: boolean;
  readonly environment: Readonly<Record<string, string>>;
}

interface Question {
  readonly what: string;
  readonly answered: (answer: never) => void; // of its kind: as it was recorded
}

type Input = Readonly<Record<string, unknown>> & { readonly k: string; readonly id: number };

export class HeartbeatReplay implements Replay {
  readonly file: FlightFile;
  readonly whole = true;
  readonly lives: HeartbeatLives;
  readonly #log: ReplayLog;
  readonly #digests: DigestSource;
  readonly #emit: (event: ReplayEvent) => void;
  readonly #lines = new LineDecoder();
  readonly #timers = new Map<number, () => void>();
  readonly #scripts = new Map<number, { readonly events: ScriptEvents; readonly what: string }>();
  readonly #media = new Map<number, MediaEvents>();
  readonly #closing = new Map<number, () => void>();
  readonly #reboots = new Map<number, (worked: boolean) => void>();
  readonly #outdates = new Map<number, (status: number | null) => void>();
  readonly #questions = new Map<number, Question>();
  #nextTimer = 0;
  #nextCall = 0;
  #callbacks = 0;
  #cause = 'heartbeat was started';
  #before = '';
  #inputs = 0;
  #end = '';
  hash = 0;

  constructor(file: FlightFile, digests: DigestSource, emit: (event: ReplayEvent) => void) {
    this.file = file;
    this.#digests = digests;
    this.#emit = emit;
    this.#log = new ReplayLog(file);
    const setup = this.#text(R.BEAT_ANSWER, 'the configuration') as Setup;
    this.lives = new HeartbeatLives(this.#host(setup), setup.config);
  }

  get nextWallMs(): number | null {
    return this.#log.rec.kind === 0 ? null : this.#log.dueWallMs;
  }

  run(untilWallMs: number): ReplayResult | null {
    try {
      while (this.#log.rec.kind !== 0) {
        if (this.#log.dueWallMs > untilWallMs) return null;
        this.#callbacks = 0;
        this.#step();
        this.#look();
      }
    } catch (e) {
      if (this.#log.first) return this.#result('');
      if (e instanceof EndOfRecording) return this.#result('');
      if (e instanceof FlightError) throw e;
      const text = e instanceof Error ? e.message : String(e);
      if (this.#log.rec.kind === 0) return this.#result(text);
      this.#log.differs(describeRecord(this.#log.rec), `it broke: ${text}`);
      return this.#result('');
    }
    return this.#result('');
  }

  #result(broke: string): ReplayResult {
    return { difference: this.#log.first, broke, inputs: this.#inputs, end: this.#end };
  }

  // ---- records

  /** The JSON of the record that is due, its parts put together. */
  #text(kind: number, asked: string): unknown {
    const log = this.#log;
    let text = '';
    while (log.due(R.PART)) {
      text += log.rec.text;
      log.advance();
    }
    const { place } = log.rec;
    text += log.expect(kind, asked).text;
    if (kind === R.BEAT && log.rec.a !== this.hash >>> 0) {
      throw log.differs('other files, scripts or messages', 'these');
    }
    log.advance();
    const value = parseFlightJson(text);
    if (value === null && text !== 'null') {
      throw new FlightError(
        'damaged',
        `${this.file.name}: byte ${place}: not JSON`,
        'copy it again',
      );
    }
    return value;
  }

  #told<T>(asked: string): T {
    return this.#text(R.BEAT_ANSWER, asked) as T;
  }

  #step(): void {
    const log = this.#log;
    if (log.due(R.TIME)) {
      log.advance();
      return;
    }
    if (log.due(R.STOP)) {
      this.#end = log.rec.text;
      log.advance();
      return;
    }
    const isInput = log.due(R.BEAT) || log.due(R.PART);
    if (!isInput) throw log.differs(describeRecord(log.rec), 'nothing of that');
    const input = this.#text(R.BEAT, 'an input') as Input;
    const r = log.expect(R.SUBMIT, 'the clock');
    if (r.b !== this.hash >>> 0) throw log.differs('other files, scripts or messages', 'these');
    log.advance();
    this.#inputs++;
    this.#given(input);
  }

  /** What the host told before its call returned. */
  #inside(): void {
    this.#callbacks++;
    const mine = this.#callbacks;
    const log = this.#log;
    while (log.due(R.INSIDE) && log.rec.a === mine) {
      log.advance();
      while (log.due(R.TIME)) this.#step();
      this.#step();
    }
  }

  #of<T>(table: Map<number, T>, id: number, what: string): T {
    const found = table.get(id);
    if (found === undefined) throw this.#log.differs(what, 'nobody waits for it');
    return found;
  }

  #given(i: Input): void {
    switch (i.k) {
      case 'start':
        this.#cause = 'heartbeat was started';
        this.lives.start();
        return;
      case 'stop':
        this.#cause = 'it was told to stop';
        this.#event('request', 'stop', '');
        this.lives.stop();
        return;
      case 'reload':
        this.#cause = 'SIGHUP: the configuration was looked at again';
        this.#event('request', 'reload', '');
        this.lives.reload();
        return;
      case 'send':
        this.#cause = 'a message of a program of this node';
        this.lives.send(i['message'] as HaMessage);
        return;
      case 'answer':
        this.#request(i['request'] as HeartbeatRequest);
        return;
      case 'timer': {
        const run = this.#of(this.#timers, i.id, `timer ${i.id}`);
        this.#timers.delete(i.id);
        this.#cause = 'a time was reached';
        run();
        return;
      }
      case 'running':
        this.#of(this.#scripts, i.id, 'a script').events.running(
          i['script'] as ScriptProcess | null,
        );
        return;
      case 'done': {
        const script = this.#of(this.#scripts, i.id, 'the end of a script');
        const outcome = i['outcome'] as ScriptOutcome;
        this.#cause = `${script.what} ended: ${outcome.failure ?? outcome.exitStatus}`;
        this.#event('handler', this.#cause, '');
        script.events.done(outcome);
        return;
      }
      case 'rebooted':
        this.#of(this.#reboots, i.id, 'a reboot')(i['worked'] as boolean);
        return;
      case 'outdated':
        this.#cause = `drbdadm outdate ended with ${String(i['status'])}`;
        this.#of(this.#outdates, i.id, 'an outdate')(i['status'] as number | null);
        return;
      case 'answered': {
        const { what, answered } = this.#of(this.#questions, i.id, 'an answer');
        this.#cause = `${what} was answered: ${flightJson(i['answer'])}`;
        this.#event('handler', this.#cause, '');
        answered(i['answer'] as never);
        return;
      }
      default:
        this.#heard(i);
    }
  }

  /** Of media. */
  #heard(i: Input): void {
    if (i.k === 'closed') {
      this.#of(this.#closing, i.id, 'closed media')();
      return;
    }
    const media = this.#of(this.#media, i.id, `media: ${i.k}`);
    const link = String(i['link']);
    switch (i.k) {
      case 'opened':
        media.opened();
        return;
      case 'ping':
        this.#cause = `ping node ${String(i['name'])} answered`;
        media.pingAnswered(String(i['name']));
        return;
      case 'foreign':
        this.#cause = `a datagram on ${link} that is not signed by us`;
        media.received(i['datagram'] as Uint8Array, link);
        return;
      case 'rx': {
        const message = this.#lines.decode(i as unknown as Lines);
        if (!message) throw this.#log.differs('a message', 'its lines do not fit');
        const field = (name: string) => message.find((f) => f.name === name)?.value ?? '';
        this.#cause = `${String(field('src'))} sent ${String(field('t'))} on ${link}`;
        const keys = this.lives.authkeys;
        const datagram =
          i['form'] === 'classic'
            ? signClassic(message, keys, this.#digests)
            : signNetstring(message, keys, this.#digests, i['auth'] === true);
        media.received(datagram, link);
        return;
      }
      default:
        throw this.#log.differs(`an input ${i.k}`, 'no such input is known');
    }
  }

  #request(request: HeartbeatRequest): void {
    const words = flightJson(request);
    this.#cause = `an operator asked: ${request.verb}`;
    this.#event('request', words, '');
    this.lives.answer(request, (answer) => {
      const text = flightJson(answer);
      const r = this.#log.expect(R.REPLY, `the answer ${text}`);
      if (r.text !== text) throw this.#log.differs(`the answer ${r.text}`, `the answer ${text}`);
      this.#log.advance();
      if (!answer.ok) this.#event('request', `refused: ${answer.text}`, '');
    });
  }

  // ---- what is seen

  /** Transitions: what the displays show of nodes, links and resources. */
  #look(): void {
    const { node } = this.lives;
    const shown = node
      ? [
          `life ${this.lives.phase}`,
          `resources ${node.resources.state} holds ${node.resources.hold}`,
          ...[...node.membership.nodes].map(([name, n]) => `node ${name} ${n.status}`),
        ]
      : [`life ${this.lives.phase}`];
    const text = shown.join('\n');
    if (text === this.#before) return;
    const old = new Set(this.#before.split('\n'));
    this.#before = text;
    const changed = shown.filter((line) => !old.has(line));
    if (changed.length > 0) this.#event('transition', changed.join(', '), this.#cause);
  }

  #event(kind: ReplayEvent['kind'], what: string, cause: string): void {
    const { node } = this.file.head;
    this.#emit({
      wallMs: this.#log.wallMs,
      node,
      daemon: 'heartbeat',
      kind,
      what: `heartbeat: ${what}`,
      cause,
      why: [],
    });
  }

  // ---- the host

  #host(setup: Setup): LivesHost {
    return {
      pid: setup.pid,
      environment: setup.environment,
      digests: this.#digests,
      clock: {
        nowMs: () => this.#log.us / 1000,
        wallMs: () => this.#told('the wall clock is asked for'),
      },
      random: {
        u32: () => this.#told('a random number is asked for'),
        bytes: () => this.#told('random bytes are asked for'),
      },
      timers: {
        after: (delayMs, run) => {
          const id = this.#nextTimer++;
          this.hash = mixEffect(this.hash, E.timer, 0, 0, Math.round(delayMs), id);
          this.#timers.set(id, run);
          return { id };
        },
        cancel: (timer) => {
          this.#timers.delete((timer as { readonly id: number }).id);
        },
      },
      files: {
        read: (file) => this.#told(`the file ${file} is read`),
        write: (file, content) => foldText(this, `${file} ${String.fromCharCode(...content)}`),
        remove: () => {},
      },
      scripts: {
        run: (_config, resource, action, events) => {
          const id = this.#nextCall++;
          const what = `${resource.text} ${action}`;
          foldText(this, what);
          this.#scripts.set(id, { events, what });
          this.#event('handler', `runs ${what}`, this.#cause);
          this.#inside();
        },
        isRunning: () => this.#told('whether a script runs'),
        kill: (script, signal) => foldText(this, `${signal} ${script.pid}`),
      },
      config: {
        load: () =>
          this.#told<{
            readonly config: HeartbeatConfig | null;
            readonly messages: readonly ConfigMessage[];
          }>('the configuration is read'),
        times: () => this.#told('the times of the files are asked for'),
        keyWords: () => this.#told('the digests of new keys are asked for'),
      },
      loadavg: () => this.#told('the load is asked for'),
      openMedia: (_config, events) => this.#openMedia(events),
      reboot: setup.reboot
        ? (way, ended) => {
            const id = this.#nextCall++;
            foldText(this, way.program);
            this.#reboots.set(id, ended);
            this.#event('handler', `reboots: ${way.program}`, this.#cause);
            this.#inside();
          }
        : null,
      runDrbdadmOutdate: (resource, ended) => {
        const id = this.#nextCall++;
        foldText(this, resource);
        this.#outdates.set(id, ended);
        this.#event('handler', `runs drbdadm outdate ${resource}`, this.#cause);
        this.#inside();
      },
      ask: (_config, kind, ask, answered) => {
        const id = this.#nextCall++;
        const what = `${kind} ${flightJson(ask)}`;
        foldText(this, what);
        this.#questions.set(id, { what, answered });
        this.#event('handler', `asks ${what}`, this.#cause);
        this.#inside();
      },
      log: (level, text) => {
        const said = `the log line "heartbeat: ${text}"`;
        const r = this.#log.expect(R.LOG, said);
        if (r.text2 !== text || HEARTBEAT_LEVELS[r.a] !== level) {
          throw this.#log.differs(describeRecord(r), said);
        }
        this.#log.advance();
        if (level !== 'debug') this.#event('log', `${level}: ${text}`, '');
      },
      configured: () => {},
      ended: () => {},
    };
  }

  #openMedia(events: MediaEvents): Media {
    const id = this.#nextCall++;
    this.#media.set(id, events);
    this.#inside();
    const links = this.#told<readonly string[]>('media are opened');
    return {
      links,
      send: (datagram) => foldDatagram(this, datagram),
      close: (closed) => {
        this.#closing.set(id, closed);
        this.#inside();
      },
    };
  }
}
