/**
 * The lives of heartbeat (heartbeat-lives.ts) with a flight recorder around them: between them and their host. All that the host
 * tells them or answers is written down; what they do goes into a hash, log lines and answers as they are.
 *
 * Keys are not: of a datagram its fields and whether its signature was right are recorded, of the configuration everything but
 * the keys and what a fencing device is told. A replay signs with keys of its own.
 */
import type { AuthKey } from '../config/authkeys.js';
import { decodeHaMessage, type HaMessage } from '../wire/hamsg.js';
import { isAuthentic } from '../wire/hamsg-auth.js';
import { E, foldText } from './flight-effects.js';
import { PIECE_BYTES, R } from './flight-format.js';
import { flightJson } from './flight-json.js';
import { type FlightMemory, FlightRecorder, type FlightStart } from './flight-recorder.js';
import type { HeartbeatReply, HeartbeatRequest } from './heartbeat-control.js';
import { LineEncoder, linesOf } from './heartbeat-lines.js';
import { HeartbeatLives } from './heartbeat-lives.js';
import type { HeartbeatConfig, LivesHost, Media, MediaEvents } from './heartbeat-ports.js';

/** What a daemon calls. */
export type LivesCalls = Pick<HeartbeatLives, 'start' | 'stop' | 'reload' | 'send' | 'answer'>;

/** What stands for a key. */
export const NO_KEY = 'not-recorded';
const PART_CHARS = 2000; // three bytes each at most: within PIECE_BYTES
export const HEARTBEAT_LEVELS = ['debug', 'info', 'WARN', 'ERROR', 'CRIT'] as const;

/** What stands for a secret. `place`: what it is for. */
export type Hide = (place: string, secret: string) => string;

/**
 * A replay compares configurations, as the lives do: the secret that a place has first is NO_KEY, the next other one has a number. Nothing
 * else of them is in a recording. Kept are as many as an operator writes while a daemon runs.
 */
export class HiddenKeys {
  readonly #seen = new Map<string, string[]>(); // of each place

  readonly hide: Hide = (place, secret) => {
    const seen = this.#seen.get(place) ?? [];
    this.#seen.set(place, seen);
    if (!seen.includes(secret)) seen.push(secret);
    const number = seen.indexOf(secret) + 1;
    return number === 1 ? NO_KEY : `${NO_KEY}-${number}`;
  };
}

export function withoutKeys(config: HeartbeatConfig, hide: Hide = () => NO_KEY): HeartbeatConfig {
  const { authkeys, haCf, ini } = config;
  const hidden = (place: string, secret: string) => (secret === '' ? '' : hide(place, secret));
  const ofKey = (key: AuthKey) => ({ ...key, key: hidden(`key ${key.number}`, key.key) });
  const { current, keys } = authkeys;
  const stonith = haCf.stonith.map((device) => ({
    ...device,
    params: device.params.map((param, index) => hide(`parameter ${index}`, param)),
  }));
  const options = hidden('options', ini.fence.options);
  const key = hidden('witness', ini.witness.key);
  return {
    ...config,
    authkeys: { current: ofKey(current), keys: keys.map(ofKey) },
    haCf: { ...haCf, stonith },
    ini: { ...ini, fence: { ...ini.fence, options }, witness: { ...ini.witness, key } },
  };
}

/** The fields of a sent datagram: with keys of its own a replay signs otherwise. */
export function foldDatagram(f: { hash: number }, datagram: Uint8Array): void {
  const decoded = decodeHaMessage(datagram);
  if (decoded.ok) for (const line of linesOf(decoded.message)) foldText(f, line);
}

export class RecordedLives implements LivesCalls {
  /** The machines, to look at. */
  readonly lives: HeartbeatLives;
  readonly recorder: FlightRecorder;
  readonly #host: LivesHost;
  readonly #lines = new LineEncoder();
  readonly #hidden = new HiddenKeys();
  #nextTimer = 0;
  #nextCall = 0;

  constructor(host: LivesHost, config: HeartbeatConfig, memory: FlightMemory, start: FlightStart) {
    this.#host = host;
    this.recorder = new FlightRecorder(memory, start, host.clock.nowMs());
    const { HA_STOPRETRYMAX } = host.environment;
    this.#answer({
      config: withoutKeys(config, this.#hidden.hide),
      pid: host.pid,
      reboot: host.reboot !== null,
      environment: HA_STOPRETRYMAX === undefined ? {} : { HA_STOPRETRYMAX },
    });
    const wrapped = this.#wrap();
    this.lives = new HeartbeatLives(wrapped, config);
  }

  // ---- records

  #parts(text: string): string {
    let rest = text;
    for (; rest.length > PART_CHARS; rest = rest.slice(PART_CHARS)) {
      const r = this.recorder.record(R.PART, PIECE_BYTES + 16);
      r.text(rest.slice(0, PART_CHARS));
      r.commit();
    }
    return rest;
  }

  #input(what: Readonly<Record<string, unknown>>): void {
    const rec = this.recorder;
    if (rec.stopped) return;
    rec.begin(this.#host.clock.nowMs(), R.BEAT, 0, 0);
    const rest = this.#parts(flightJson(what));
    const r = rec.record(R.BEAT, rest.length * 3 + 32);
    r.u32(rec.hash);
    r.text(rest);
    r.commit();
    // The rings are sealed when time passes.
    rec.submitted(this.#host.clock.nowMs());
  }

  #answer(what: unknown): void {
    if (this.recorder.stopped) return;
    const rest = this.#parts(flightJson(what));
    const r = this.recorder.record(R.BEAT_ANSWER, rest.length * 3 + 32);
    r.text(rest);
    r.commit();
  }

  /** What the host does may tell something before it returns. */
  #callback<T>(work: () => T): T {
    const rec = this.recorder;
    rec.callbacks++;
    rec.depth++;
    try {
      return work();
    } finally {
      rec.depth--;
    }
  }

  // ---- what the daemon calls

  start(): void {
    this.#input({ k: 'start' });
    this.lives.start();
  }

  stop(): void {
    this.#input({ k: 'stop' });
    this.recorder.note({ type: 'asked', what: 'stop' });
    this.lives.stop();
  }

  reload(): void {
    this.#input({ k: 'reload' });
    this.recorder.note({ type: 'asked', what: 'reload' });
    this.lives.reload();
  }

  send(message: HaMessage): void {
    this.#input({ k: 'send', message });
    this.lives.send(message);
  }

  answer(request: HeartbeatRequest, reply: (reply: HeartbeatReply) => void): void {
    if (request.verb === 'status' || request.verb === 'bound') {
      this.lives.answer(request, reply, this.#host.clock.nowMs()); // looks, and changes nothing
      return;
    }
    this.#input({ k: 'answer', request });
    this.recorder.note({ type: 'asked', what: request.verb, request });
    this.lives.answer(request, (answer) => {
      if (!this.recorder.stopped) {
        const text = flightJson(answer);
        const r = this.recorder.record(R.REPLY, Math.min(text.length * 3, PIECE_BYTES) + 16);
        r.text(text);
        r.commit();
      }
      reply(answer);
    });
  }

  // ---- the host, recorded

  #wrap(): LivesHost {
    const host = this.#host;
    const rec = this.recorder;
    return {
      pid: host.pid,
      environment: host.environment,
      digests: host.digests,
      outside: host.outside,
      clock: {
        nowMs: () => (rec.stopped ? host.clock.nowMs() : rec.nowMs),
        wallMs: () => this.#told(host.clock.wallMs()),
      },
      random: {
        u32: () => this.#told(host.random.u32()),
        bytes: (count) => this.#told(host.random.bytes(count)),
      },
      timers: {
        after: (delayMs, run) => {
          const id = this.#nextTimer++;
          rec.effect(E.timer, 0, 0, Math.round(delayMs), id);
          return host.timers.after(delayMs, () => {
            this.#input({ k: 'timer', id });
            run();
          });
        },
        cancel: (timer) => host.timers.cancel(timer),
      },
      files: {
        read: (file) => this.#told(host.files.read(file)),
        write: (file, content, durable) => {
          foldText(rec, `${file} ${String.fromCharCode(...content)}`);
          host.files.write(file, content, durable);
        },
        remove: (file) => host.files.remove(file),
      },
      scripts: {
        run: (config, resource, action, events) => {
          const id = this.#nextCall++;
          foldText(rec, `${resource.text} ${action}`);
          rec.note({ type: 'script', resource: resource.text, action });
          this.#callback(() =>
            host.scripts.run(config, resource, action, {
              running: (script) => {
                this.#input({ k: 'running', id, script });
                events.running(script);
              },
              done: (outcome) => {
                this.#input({ k: 'done', id, outcome });
                rec.note({ type: 'script-done', resource: resource.text, action, outcome });
                events.done(outcome);
              },
            }),
          );
        },
        isRunning: (script) => this.#told(host.scripts.isRunning(script)),
        kill: (script, signal) => {
          foldText(rec, `${signal} ${script.pid}`);
          host.scripts.kill(script, signal);
        },
      },
      config: {
        load: () => {
          const loaded = host.config.load();
          const { config, messages } = loaded;
          const recorded = config && withoutKeys(config, this.#hidden.hide);
          this.#answer({ config: recorded, messages });
          return loaded;
        },
        times: () => this.#told(host.config.times()),
        keyWords: (authkeys) => this.#told(host.config.keyWords(authkeys)), // a replay has no keys
      },
      loadavg: () => this.#told(host.loadavg()),
      openMedia: (config, events) => this.#openMedia(config, events),
      reboot:
        host.reboot &&
        ((way, ended) => {
          const id = this.#nextCall++;
          foldText(rec, way.program);
          this.#callback(() =>
            host.reboot?.(way, (worked) => {
              this.#input({ k: 'rebooted', id, worked });
              ended(worked);
            }),
          );
        }),
      runDrbdadmOutdate: (resource, ended) => {
        const id = this.#nextCall++;
        foldText(rec, resource);
        this.#callback(() =>
          host.runDrbdadmOutdate(resource, (status) => {
            this.#input({ k: 'outdated', id, status });
            ended(status);
          }),
        );
      },
      ask: (config, kind, ask, answered) => {
        const id = this.#nextCall++;
        foldText(rec, `${kind} ${flightJson(ask)}`);
        rec.note({ type: 'question', kind, ask });
        this.#callback(() =>
          host.ask(config, kind, ask, (answer) => {
            this.#input({ k: 'answered', id, answer });
            rec.note({ type: 'answer', kind, answer });
            answered(answer);
          }),
        );
      },
      log: (level, text) => {
        if (!rec.stopped) {
          const r = rec.record(R.LOG, text.length * 3 + 32);
          r.byte(HEARTBEAT_LEVELS.indexOf(level));
          r.text('heartbeat');
          r.text(text);
          r.commit();
          if (level !== 'debug') rec.note({ type: 'log', level, object: 'heartbeat', text });
        }
        host.log(level, text);
      },
      configured: (config) => host.configured(config),
      ended: (status) => {
        rec.stop(`ended with status ${status}`);
        host.ended(status);
      },
    };
  }

  /** An answer of the host. */
  #told<T>(value: T): T {
    this.#answer(value);
    return value;
  }

  #openMedia(config: HeartbeatConfig, events: MediaEvents): Media {
    const rec = this.recorder;
    const id = this.#nextCall++;
    const media = this.#callback(() =>
      this.#host.openMedia(config, {
        opened: () => {
          this.#input({ k: 'opened', id });
          events.opened();
        },
        received: (datagram, link) => {
          this.#received(id, datagram, link);
          events.received(datagram, link);
        },
        pingAnswered: (name) => {
          this.#input({ k: 'ping', id, name });
          events.pingAnswered(name);
        },
      }),
    );
    this.#answer(media.links);
    return {
      links: media.links,
      send: (datagram) => {
        if (!rec.stopped) foldDatagram(rec, datagram);
        media.send(datagram);
      },
      close: (closed) => {
        this.#callback(() =>
          media.close(() => {
            this.#input({ k: 'closed', id });
            closed();
          }),
        );
      },
    };
  }

  /** Fields and verdict; what is not signed by us is recorded as it came. */
  #received(id: number, datagram: Uint8Array, link: string): void {
    if (this.recorder.stopped) return;
    const decoded = decodeHaMessage(datagram);
    if (!decoded.ok || !isAuthentic(decoded, this.lives.authkeys, this.#host.digests)) {
      this.#input({ k: 'foreign', id, link, datagram });
      return;
    }
    const { message, form } = decoded;
    const auth = message.some((f) => f.name === 'auth');
    this.#input({ k: 'rx', id, link, form, auth, ...this.#lines.encode(link, message) });
  }
}
