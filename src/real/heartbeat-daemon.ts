/**
 * The heartbeat daemon on Node: gives the lives of host/heartbeat-lives their sockets, clock, scripts, files and signals.
 * What it decides is decided there.
 */
import { readFileSync } from 'node:fs';
import { watchdogLimitMs } from '../host/arbiter-config.js';
import { keyWords } from '../host/file-digests.js';
import { HeartbeatLives } from '../host/heartbeat-lives.js';
import type {
  ConfigSource,
  HeartbeatConfig,
  LivesHost,
  Media,
  RebootWay,
} from '../host/heartbeat-ports.js';
import { askOf } from '../host/heartbeat-questions.js';
import { VERSION } from '../host/heartbeat-report.js';
import type { NodeLogLevel } from '../host/node-ports.js';
import { type LivesCalls, RecordedLives } from '../host/recording-heartbeat.js';
import { decodeHaMessage, fieldOf } from '../wire/hamsg.js';
import { endChecks } from './answer-check.js';
import { checkFenceDevice } from './answer-fence.js';
import { FlightKeeper, flightMemory } from './flight-files.js';
import { realAnswers } from './heartbeat-answers.js';
import { configTimes, filesAnswer } from './heartbeat-config.js';
import { HeartbeatControlServer } from './heartbeat-control-server.js';
import { HeartbeatFifo } from './heartbeat-fifo.js';
import {
  type KeptFiles,
  livesFiles,
  makeRsctmp,
  monotonicMs,
  processStart,
  removePidFile,
  writePidFile,
} from './heartbeat-files.js';
import { HeartbeatLog, type LogOptions, logOptions } from './heartbeat-log.js';
import { openMedia } from './heartbeat-media.js';
import { runDrbdadmOutdate, runReboot } from './heartbeat-programs.js';
import { runScript, scriptEnvironment } from './heartbeat-script.js';
import { exitNow } from './native-addon.js';
import { nodeDigests, nodeRandom, nodeTimers } from './node-ports.js';
import { OutsidePrograms } from './outside-programs.js';
import { becomeRealtime } from './realtime.js';
import { TestingLoss } from './testing-loss.js';
import { Watchdog } from './watchdog.js';
import { hasHangingThread, within } from './within.js';

/** Of the size that [flight] gives to drbdd. */
const FLIGHT_SHARE = 4;

const SLOW_MS = 5000;
/** Between two lives no status is sent: where nothing runs then, the watchdog is fed as often. */
const FEED_MS = 500;
/** The recording has so long at the end. */
const END_MS = 2000;

export class HeartbeatDaemon {
  readonly #root: string;
  readonly #foreground: boolean;
  readonly #version: string;
  readonly #control: HeartbeatControlServer;
  readonly #fifo: HeartbeatFifo;
  readonly #lives: LivesCalls;
  readonly #machines: HeartbeatLives;
  readonly #watchdog: Watchdog;
  readonly #checks = new Set<number>(); // process groups
  readonly #outside: OutsidePrograms;
  #feeding: NodeJS.Timeout | null = null;
  readonly #flight: FlightKeeper | null;
  readonly #recorded: RecordedLives | null;
  readonly #log: HeartbeatLog;
  readonly #loss: TestingLoss;
  readonly #config: HeartbeatConfig; // of the start
  #reloading = false;
  #ended: ((status: number) => void) | null = null;

  /**
   * `load`: as `config` was read, for a reload. `version`: of this project, for its recordings. `kept`: what /var/lib/twinbeat
   * knows.
   */
  constructor(
    root: string,
    config: HeartbeatConfig,
    load: ConfigSource['load'],
    foreground: boolean,
    version: string,
    kept: KeptFiles,
  ) {
    this.#version = version;
    this.#root = root;
    this.#foreground = foreground;
    this.#log = new HeartbeatLog(this.#logOptions(config));
    this.#config = config;
    this.#loss = new TestingLoss(root, (level, text) => this.log(level, text));
    this.#watchdog = new Watchdog((level, text) => this.log(level, text));
    const reboot: LivesHost['reboot'] =
      root === '' ? (way, ended) => this.#reboot(way, ended) : null;
    const log: LivesHost['log'] = (level, text) => this.log(level, text);
    this.#outside = new OutsidePrograms(
      {
        ...{ root, reboot, timers: nodeTimers, log },
        node: () => this.#machines.node,
        report: () => this.#machines.report(monotonicMs()),
        send: (message) => this.#lives.send(message),
        clientOnline: (client, online) =>
          this.#lives.answer({ verb: 'client', client, online }, () => undefined),
      },
      config,
    );
    const host: LivesHost = {
      pid: process.pid,
      clock: { nowMs: monotonicMs, wallMs: () => Date.now() },
      timers: nodeTimers,
      random: nodeRandom,
      digests: nodeDigests,
      files: livesFiles(root, (text) => this.log('WARN', text), kept),
      scripts: {
        run: (current, resource, action, events) =>
          runScript(this.#scriptHost(current, events.running), resource, action, events.done),
        isRunning: ({ pid, start }) => processStart(pid) === start,
        kill: ({ pid, start }, signal) => {
          if (processStart(pid) !== start) return;
          try {
            process.kill(-pid, signal);
          } catch {
            // It has just ended.
          }
        },
      },
      config: {
        load,
        times: () => configTimes(root),
        keyWords: (authkeys) => keyWords(authkeys, nodeDigests),
      },
      environment: process.env,
      loadavg,
      openMedia: (current, events) =>
        this.#watched(
          openMedia(current, events, this.#loss, (level, text) => this.log(level, text)),
        ),
      reboot,
      outside: this.#outside,
      runDrbdadmOutdate: (resource, ended) =>
        runDrbdadmOutdate(resource, (text) => this.log('ERROR', text), ended),
      ask: askOf(realAnswers(root, (level, text) => this.log(level, text), this.#checks)),
      log: (level, text) => this.log(level, text),
      configured: (current) => {
        this.#log.configure(this.#logOptions(current));
        this.#setWatchdog(current);
        this.#outside.configure(current);
        this.#checkFenceDevice(current);
      },
      ended: (status) => this.#end(status),
    };
    this.#flight = this.#keeper(config);
    this.#recorded = this.#recorder(host, config);
    this.#machines = this.#recorded?.lives ?? new HeartbeatLives(host, config);
    this.#lives = this.#recorded ?? this.#machines;
    this.#control = new HeartbeatControlServer(
      root,
      (request) => new Promise((reply) => this.#lives.answer(request, reply)),
    );
    this.#fifo = new HeartbeatFifo(root, {
      received: (message) => this.#lives.send(message),
      log: (level, text) => this.log(level, text),
    });
  }

  #keeper({ node, ini }: HeartbeatConfig): FlightKeeper | null {
    if (ini.flight.enabled === 'no') return null;
    return FlightKeeper.prepare({
      root: this.#root,
      daemon: 'heartbeat',
      node,
      sizeMiB: ini.flight.sizeMiB / FLIGHT_SHARE,
      lives: ini.flight.lives,
      wallMs: Date.now(),
      pid: process.pid,
      warn: (text) => this.log('WARN', text),
    });
  }

  #recorder(host: LivesHost, config: HeartbeatConfig): RecordedLives | null {
    const plan = this.#flight?.plan;
    if (!plan) return null;
    try {
      const memory = flightMemory(plan);
      const { node, life } = plan;
      const version = this.#version;
      return new RecordedLives(host, config, memory, {
        daemon: 'heartbeat',
        version,
        node,
        life,
        setup: {},
      });
    } catch (e) {
      const text = e instanceof Error ? e.message : String(e);
      this.log('WARN', `flight recorder: off: ${text}`);
      return null;
    }
  }

  #logOptions({ haCf, node, ini }: HeartbeatConfig): LogOptions {
    const json = ini.heartbeat.logFormat === 'json';
    return logOptions(haCf, node, this.#root, json, this.#foreground);
  }

  log(level: NodeLogLevel, text: string): void {
    this.#log.log(level, text);
  }

  /** Runs until the daemon is told to end; the result is its exit status. */
  async run(): Promise<number> {
    const ended = new Promise<number>((resolve) => {
      this.#ended = resolve;
    });
    makeRsctmp(this.#root);
    writePidFile(this.#root);
    // Who reads them may go. A program then ends quietly (cli/world.ts): not one that runs services.
    for (const stream of [process.stdout, process.stderr]) {
      stream.removeAllListeners('error');
      stream.on('error', () => {});
    }
    process.on('SIGTERM', () => this.#lives.stop());
    process.on('SIGINT', () => this.#lives.stop());
    process.on('SIGHUP', () => void this.#reload());
    this.log('info', `heartbeat: version ${VERSION} (twinbeat)`);
    await this.#control.listen();
    this.#fifo.open();
    this.#loss.read();
    becomeRealtime(this.#config.haCf, (level, text) => this.log(level, text));
    if (this.#recorded) void this.#flight?.start();
    this.#setWatchdog(this.#config);
    this.#watchdog.feed(monotonicMs());
    this.#feeding = setInterval(() => this.#feedBetween(), FEED_MS);
    this.#lives.start();
    this.#checkFenceDevice(this.#config);
    return ended;
  }

  #checkFenceDevice(config: HeartbeatConfig): void {
    const host = {
      root: this.#root,
      log: (level: NodeLogLevel, text: string) => this.log(level, text),
    };
    void checkFenceDevice(host, config);
  }

  /**
   * Not while something may run here: a reload keeps it, or a killed daemon left it. The other node takes it over a deadtime after our
   * last status, so a machine without a life by then has to go down.
   */
  #feedBetween(): void {
    if (this.#machines.node !== null || this.#machines.mayRun !== 'none') return;
    this.#watchdog.bridge(monotonicMs());
  }

  #setWatchdog(config: HeartbeatConfig): void {
    const { watchdog, deadtimeMs } = config.haCf;
    this.#watchdog.configure(watchdog, deadtimeMs, watchdogLimitMs(config));
  }

  /** The watchdog is fed by what sends our status, and by nothing else while a life may run something. */
  #watched(media: Media): Media {
    return {
      links: media.links,
      send: (datagram) => {
        media.send(datagram);
        if (isStatus(datagram) && this.#machines.mayFeed()) this.#watchdog.feed(monotonicMs());
      },
      close: (closed) => media.close(closed),
    };
  }

  /** Also when the program that should take the machine down hangs. */
  #reboot(way: RebootWay, ended: (worked: boolean) => void): void {
    this.#watchdog.condemn();
    runReboot(way, ended);
  }

  /** When the files can be read: the node must be heard while they cannot. */
  async #reload(): Promise<void> {
    if (this.#reloading) {
      this.log('WARN', 'reload: the files of the last one do not answer yet');
      return;
    }
    this.#reloading = true;
    const slow = setTimeout(() => {
      this.log('WARN', 'reload: /etc/ha.d or /var/lib/heartbeat does not answer; waiting for it');
    }, SLOW_MS);
    await Promise.all([filesAnswer(this.#root), this.#loss.readAgain()]);
    clearTimeout(slow);
    this.#reloading = false;
    this.#lives.reload();
  }

  #end(status: number): void {
    if (this.#feeding) clearInterval(this.#feeding);
    this.#watchdog.release();
    endChecks(this.#checks);
    this.#control.close();
    this.#fifo.close();
    void this.#finish(status);
  }

  /** The recording and the last lines of the log, within a bound each: /var may hang. */
  async #finish(status: number): Promise<void> {
    await this.#outside.end();
    const copied = this.#recorded && this.#flight ? this.#flight.end() : Promise.resolve();
    // A recording that cannot be written does not keep it from ending, either.
    const isCopied = await within(
      END_MS,
      copied.catch(() => {}),
    );
    await this.#log.end();
    removePidFile(this.#root);
    // Threads of Node that hang in the kernel would keep process.exit() waiting.
    if (!isCopied || hasHangingThread()) exitNow(status);
    this.#ended?.(status);
  }

  #scriptHost(
    config: HeartbeatConfig,
    running: (script: { readonly pid: number; readonly start: string } | null) => void,
  ) {
    return {
      root: this.#root,
      timeoutMs: config.ini.heartbeat.scriptTimeoutS * 1000,
      env: scriptEnvironment(config),
      log: (level: NodeLogLevel, text: string) => this.log(level, text),
      running: (pid: number | null) => {
        const start = pid === null ? null : processStart(pid);
        running(pid === null || start === null ? null : { pid, start });
      },
    };
  }
}

function loadavg(): string {
  try {
    return readFileSync('/proc/loadavg', 'latin1').trim();
  } catch {
    return '0.00 0.00 0.00 1/1 1';
  }
}

function isStatus(datagram: Uint8Array): boolean {
  const decoded = decodeHaMessage(datagram);
  return decoded.ok && fieldOf(decoded.message, 't') === 'status';
}
