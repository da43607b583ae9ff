/**
 * Heartbeat on a simulated node: one process after the other, each with the lives of host/heartbeat-lives on simulated
 * time, datagrams and scripts.
 *
 *     off --start--> booting (the program loads) --> running --stop: orderly, when nothing is half done--> off
 *                                     running --kill--> off (--respawnMs--> booting, under an angel)
 *
 * What a killed process started goes on: scripts to their end, with all their effects. Its files stay; a power cut leaves
 * those of /var/lib. What the node hears while the process stands still waits in the socket, up to a bound.
 */
import type { DigestSource } from '../base/ports.js';
import type { Prng } from '../base/prng.js';
import type { HaResource } from '../config/haresources.js';
import { watchdogLimitMs } from '../host/arbiter-config.js';
import type { Bound } from '../host/bound.js';
import { DRBDADM_LIMIT_MS, UNREACHABLE } from '../host/dopd.js';
import { keyWords } from '../host/file-digests.js';
import type {
  HeartbeatReply,
  HeartbeatReport,
  HeartbeatRequest,
} from '../host/heartbeat-control.js';
import { HeartbeatLives } from '../host/heartbeat-lives.js';
import type { HeartbeatNode } from '../host/heartbeat-node.js';
import type {
  ConfigTimes,
  HeartbeatConfig,
  LivesHost,
  Media,
  MediaEvents,
  ScriptEvents,
} from '../host/heartbeat-ports.js';
import type { Answers } from '../host/heartbeat-questions.js';
import type { NodeLogLevel } from '../host/node-ports.js';
import type { LivesCalls, RecordedLives } from '../host/recording-heartbeat.js';
import type { RecoverWish } from '../host/recover-link.js';
import { ScriptWatch } from '../host/script-watch.js';
import type { Action } from '../resource-manager/group-operation.js';
import type { Hold } from '../resource-manager/hold.js';
import { decodeHaMessage, fieldOf, type HaMessage } from '../wire/hamsg.js';
import type { NodeName } from './config.js';
import { HEARTBEAT_PORT, type HeartbeatTexts, readHeartbeatTexts } from './heartbeat-config.js';
import { HeartbeatFiles } from './heartbeat-files.js';
import type { NodeClock, ProcessClock } from './node-clock.js';
import type { SimNet } from './sim-net.js';
import type { SimScripts } from './sim-scripts.js';
import type { SimWatchdog } from './sim-watchdog.js';

export interface SimHeartbeatHost {
  readonly node: NodeName;
  readonly clock: NodeClock;
  readonly net: Pick<SimNet, 'bindDatagram' | 'unbindDatagram' | 'sendDatagram'>;
  readonly random: Prng;
  readonly digests: DigestSource;
  readonly scripts: SimScripts;
  /** `drbdadm outdate` on this node, for the peer's dopd; null: it did not end by itself. May answer inside. */
  drbdadmOutdate(resource: string, ended: (status: number | null) => void): void;
  /** `reboot -nf`: a group cannot be stopped. */
  powerOff(): void;
  /** What the world of this node answers. It may answer inside. */
  readonly answers: Answers;
  log(level: NodeLogLevel, text: string): void;
  /** Whether a ping node answers this node now; without it, none does. */
  readonly ping?: (name: string) => boolean;
  /** That of the machine, for `watchdog` of ha.cf; without it, a line of that name does nothing. */
  readonly watchdog?: SimWatchdog;
  /** A process with a flight recorder. */
  readonly record?: (host: LivesHost, config: HeartbeatConfig) => RecordedLives;
  /** How long the program takes to load, random in [min, max). */
  readonly loadMs: readonly [number, number];
  /** Under an angel: the pause after which a killed process is started again. Null: nobody does. */
  readonly respawnMs: number | null;
}

/** What a socket keeps for a process that does not read: 208 KiB of small datagrams. The newest are lost. */
const SOCKET_DATAGRAMS = 256;
/** The angel tells a successor to end this long after it has started it. */
const TERM_AGAIN_MS = 2000;
/** As real/heartbeat-daemon: between two lives the watchdog is fed so often where nothing runs. */
const FEED_MS = 500;
/** drbd-peer-outdater waits this much longer than dopd. */
const OUTDATER_MARGIN_MS = 2000;

type Phase = 'off' | 'booting' | 'running';

const FILES = ['haCf', 'haresources', 'authkeys'] as const;

export class SimHeartbeat {
  readonly files = new HeartbeatFiles();
  /** Files that cannot be looked at. */
  readonly hidden = new Set<keyof ConfigTimes>();
  readonly #host: SimHeartbeatHost;
  #texts: HeartbeatTexts;
  readonly #times = { haCf: 1, haresources: 1, authkeys: 1, twinbeatIni: 1 }; // "modification times"
  #phase: Phase = 'off';
  #process: ProcessClock | null = null;
  #lives: HeartbeatLives | null = null;
  #calls: LivesCalls | null = null; // the same, through its recorder if it has one
  #angel: ProcessClock | null = null; // that waits before it starts the next one
  #stopping = false; // the angel was told to end
  #lastPid = 100;
  readonly #bound = new Set<string>(); // networks
  readonly #gone = new Set<() => void>(); // who waits for an answer of this process
  readonly #outdaters = new Set<ProcessClock>();

  constructor(host: SimHeartbeatHost, texts: HeartbeatTexts) {
    this.#host = host;
    this.#texts = texts;
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** The machines of the present life, to look at. */
  get node(): HeartbeatNode | null {
    return this.#lives?.node ?? null;
  }

  /** What may run here, as far as the process knows. */
  get mayRun(): Hold {
    return this.#lives?.mayRun ?? 'none';
  }

  /** What cl_status would show; null while no process runs. */
  get report(): HeartbeatReport | null {
    return this.#lives?.report() ?? null;
  }

  /** What `twinbeat bound` would show. */
  get bounds(): readonly Bound[] {
    return this.#lives?.bounds() ?? [];
  }

  /** Starts the program; nothing when it runs already. */
  start(): void {
    if (this.#phase !== 'off' || this.#angel) return;
    this.#phase = 'booting';
    const process = this.#host.clock.process();
    this.#process = process;
    const [min, max] = this.#host.loadMs;
    const loadMs = min + (this.#host.random.u32() / 0x100000000) * (max - min);
    process.after(loadMs, () => this.#run(process));
  }

  #run(process: ProcessClock): void {
    const { config, messages } = readHeartbeatTexts(this.#host.node, this.#texts);
    for (const { level, text } of messages) {
      if (level === 'ERROR') this.#host.log('ERROR', text);
    }
    if (!config) {
      this.#stopping = false;
      this.#end();
      return;
    }
    this.#phase = 'running';
    const recorded = this.#host.record?.(this.#livesHost(process), config);
    this.#lives = recorded?.lives ?? new HeartbeatLives(this.#livesHost(process), config);
    this.#calls = recorded ?? this.#lives;
    if (this.#host.watchdog) this.#watch(this.#host.watchdog, process, config);
    this.#calls.start();
    if (this.#stopping) process.after(TERM_AGAIN_MS, () => this.#calls?.stop());
  }

  /** As real/heartbeat-daemon: fed at the start, with each status of ours, and between two lives where nothing may run. */
  #watch(watchdog: SimWatchdog, process: ProcessClock, config: HeartbeatConfig): void {
    configureWatchdog(watchdog, config);
    watchdog.feed();
    const between = () => {
      const lives = this.#lives;
      if (lives && lives.node === null && lives.mayRun === 'none') watchdog.bridge();
      process.after(FEED_MS, between);
    };
    process.after(FEED_MS, between);
  }

  /** SIGKILL, or a crash. What it started goes on. */
  kill(): void {
    if (this.#phase === 'off') return;
    this.#end();
    const { respawnMs, clock } = this.#host;
    if (respawnMs === null) return;
    const angel = clock.process();
    this.#angel = angel;
    angel.after(respawnMs, () => {
      this.#angel = null;
      this.start();
    });
  }

  /** SIGSTOP. */
  pause(): void {
    this.#process?.pause();
  }

  /** SIGCONT. */
  resume(): void {
    this.#process?.resume();
  }

  get paused(): boolean {
    return this.#process?.paused ?? false;
  }

  /** SIGTERM, to the angel if there is one: a process that dies of it before it can listen is started and told again. */
  stop(): void {
    this.#stopping =
      this.#host.respawnMs !== null && (this.#phase !== 'off' || this.#angel !== null);
    if (this.#phase === 'booting') this.kill();
    else this.#process?.after(0, () => this.#calls?.stop());
  }

  /** The files were edited; `reload` makes it look. */
  configure(texts: HeartbeatTexts): void {
    for (const file of FILES) if (texts[file] !== this.#texts[file]) this.#times[file]++;
    if (iniOf(texts) !== iniOf(this.#texts)) this.#times.twinbeatIni++;
    this.#texts = texts;
  }

  /** SIGHUP. */
  reload(): void {
    this.#process?.after(0, () => this.#calls?.reload());
  }

  /** hb_standby; `done` gets null, or why it is refused. */
  standby(resources: Hold, done: (refusal: string | null) => void = () => {}): void {
    this.#ask({ verb: 'standby', resources }, (reply) => done(reply.ok ? null : reply.text));
  }

  /** hb_takeover. */
  takeover(resources: Hold | 'failback', done: (refusal: string | null) => void = () => {}): void {
    this.#ask({ verb: 'takeover', resources }, (reply) => done(reply.ok ? null : reply.text));
  }

  /** twinbeat recover; `done` gets null, or why it is refused. */
  recover(
    node: string,
    wish: Partial<RecoverWish> = {},
    done: (refusal: string | null) => void = () => {},
  ): void {
    const { force = false, activatePrimary = false } = wish;
    this.#ask({ verb: 'recover', node, force, activatePrimary }, (reply) =>
      done(reply.ok ? null : reply.text),
    );
  }

  /** What a script of the original writes to the FIFO. */
  writeFifo(message: HaMessage): void {
    this.#process?.after(0, () => this.#calls?.send(message));
  }

  /** drbd-peer-outdater on this node: its exit status. Nothing comes after a power cut. */
  outdatePeer(
    peer: string,
    resource: string,
    timeoutMs: number,
    done: (exit: number) => void,
  ): void {
    const outdater = this.#host.clock.process();
    const finish = (exit: number) => {
      if (!this.#outdaters.delete(outdater)) return;
      outdater.end();
      done(exit);
    };
    this.#outdaters.add(outdater);
    outdater.after(timeoutMs + OUTDATER_MARGIN_MS, () => finish(UNREACHABLE));
    this.#ask({ verb: 'outdate', peer, resource, timeoutMs }, (reply) => {
      finish(reply.ok && typeof reply.value === 'number' ? reply.value : UNREACHABLE);
    });
  }

  /** cl_status clientstatus: what it prints, null for no answer in time. */
  clientStatus(
    node: string,
    client: string,
    timeoutMs: number,
    done: (status: string | null) => void,
  ): void {
    this.#ask({ verb: 'clientstatus', node, client, timeoutMs }, (reply) =>
      done(reply.ok && typeof reply.value === 'string' ? reply.value : null),
    );
  }

  /** On the control socket; a process that dies meanwhile closes it. */
  #ask(request: HeartbeatRequest, done: (reply: HeartbeatReply) => void): void {
    const process = this.#process;
    if (!process || !this.#lives) {
      done({ ok: false, text: 'heartbeat is not running' });
      return;
    }
    const lost = () => {
      this.#gone.delete(lost);
      done({ ok: false, text: 'heartbeat ended' });
    };
    this.#gone.add(lost);
    process.after(0, () => {
      this.#calls?.answer(request, (reply) => {
        if (this.#gone.delete(lost)) done(reply);
      });
    });
  }

  /** The machine loses its power; `start` after it has come back. */
  powerCut(): void {
    this.#gone.clear();
    for (const outdater of this.#outdaters) outdater.end();
    this.#outdaters.clear();
    this.#angel?.end();
    this.#angel = null;
    this.#stopping = false;
    this.#end();
    this.files.powerCut();
  }

  #end(): void {
    this.#phase = 'off';
    this.#process?.end();
    this.#process = null;
    this.#lives = null;
    this.#calls = null;
    const { net, node } = this.#host;
    for (const network of this.#bound) net.unbindDatagram(node, network, HEARTBEAT_PORT);
    this.#bound.clear();
    for (const lost of [...this.#gone]) lost();
  }

  // ---- ports of the lives

  #livesHost(process: ProcessClock): LivesHost {
    const host = this.#host;
    return {
      pid: ++this.#lastPid,
      clock: { nowMs: () => process.nowMs, wallMs: () => process.wallMs },
      timers: process,
      random: {
        u32: () => host.random.u32(),
        bytes: (count) => Uint8Array.from({ length: count }, () => host.random.below(256)),
      },
      digests: host.digests,
      files: this.files,
      scripts: {
        run: (config, resource, action, events) =>
          this.#runScript(process, config, resource, action, events),
        isRunning: ({ pid, start }) => host.scripts.isRunning(pid, start),
        kill: ({ pid, start }, signal) => host.scripts.kill(pid, start, signal),
      },
      config: {
        load: () => readHeartbeatTexts(host.node, this.#texts),
        keyWords: (authkeys) => keyWords(authkeys, host.digests),
        times: () => {
          const times = this.#times;
          const of = (file: keyof typeof times) => (this.hidden.has(file) ? null : times[file]);
          return {
            haCf: of('haCf'),
            haresources: of('haresources'),
            authkeys: of('authkeys'),
            twinbeatIni: of('twinbeatIni'),
          };
        },
      },
      environment: {},
      loadavg: () => '0.00 0.00 0.00 1/1 1',
      openMedia: (config, events) => this.#openMedia(process, config, events),
      reboot: () => {
        host.watchdog?.condemn();
        process.after(0, () => host.powerOff());
      },
      runDrbdadmOutdate: (resource, ended) => this.#runOutdate(process, resource, ended),
      ask: (config, kind, ask, answered) =>
        host.answers[kind](config, ask, (answer) => process.after(0, () => answered(answer))),
      log: host.log,
      configured: (config) => {
        if (host.watchdog) configureWatchdog(host.watchdog, config);
      },
      ended: () => {
        host.watchdog?.release();
        this.#stopping = false;
        this.#end();
      },
    };
  }

  #openMedia(process: ProcessClock, config: HeartbeatConfig, events: MediaEvents): Media {
    const { net, node } = this.#host;
    const networks = [...new Set(config.haCf.media.map((medium) => medium.device))];
    let isClosed = false;
    for (const network of networks) {
      let waiting = 0;
      net.bindDatagram(node, network, HEARTBEAT_PORT, (bytes) => {
        if (waiting >= SOCKET_DATAGRAMS) return;
        waiting++;
        process.after(0, () => {
          waiting--;
          if (!isClosed) events.received(bytes, network);
        });
      });
      this.#bound.add(network);
    }
    process.after(0, () => {
      if (!isClosed) events.opened();
    });
    const ping = (name: string) => {
      if (isClosed) return;
      if (this.#host.ping?.(name)) events.pingAnswered(name);
      process.after(config.haCf.keepaliveMs, () => ping(name));
    };
    for (const { name } of config.haCf.pings) process.after(0, () => ping(name));
    return {
      links: networks,
      send: (datagram) => {
        for (const network of networks) net.sendDatagram(node, network, HEARTBEAT_PORT, datagram);
        const { watchdog } = this.#host;
        if (watchdog && isStatus(datagram) && this.#lives?.mayFeed()) watchdog.feed();
      },
      close: (closed) => {
        isClosed = true;
        for (const network of networks) {
          net.unbindDatagram(node, network, HEARTBEAT_PORT);
          this.#bound.delete(network);
        }
        process.after(0, closed);
      },
    };
  }

  #runScript(
    process: ProcessClock,
    config: HeartbeatConfig,
    resource: HaResource,
    action: Action,
    events: ScriptEvents,
  ): void {
    const { scripts, log } = this.#host;
    const script = scripts.start(resource, action, (outcome) => {
      process.after(0, () => {
        watch.end();
        events.running(null);
        // What ends after a signal has not ended by itself.
        const killed = { exitStatus: null, output: outcome.output, failure: 'killed' } as const;
        events.done(watch.killed ? killed : outcome);
      });
    });
    if (!script) {
      const outcome = { exitStatus: null, output: '', failure: 'missing' } as const;
      process.after(0, () => events.done(outcome));
      return;
    }
    const { pid, text } = script;
    const watch = new ScriptWatch(`${text} ${action}`, config.ini.heartbeat.scriptTimeoutS * 1000, {
      timers: process,
      nowMs: () => process.nowMs,
      kill: (signal) => script.kill(signal),
      log,
    });
    events.running({ pid, start: scripts.startOf(pid) });
  }

  #runOutdate(
    process: ProcessClock,
    resource: string,
    ended: (status: number | null) => void,
  ): void {
    let isOver = false;
    const finish = (status: number | null) => {
      if (!isOver) ended(status);
      isOver = true;
    };
    process.after(DRBDADM_LIMIT_MS, () => finish(null));
    this.#host.drbdadmOutdate(resource, (status) => process.after(0, () => finish(status)));
  }
}

/** What of it is in twinbeat.ini. */
function iniOf(texts: HeartbeatTexts): string {
  return JSON.stringify({ ...texts, haCf: '', haresources: '', authkeys: '' });
}

function configureWatchdog(watchdog: SimWatchdog, config: HeartbeatConfig): void {
  const { watchdog: device, deadtimeMs } = config.haCf;
  watchdog.configure(device !== null, deadtimeMs, watchdogLimitMs(config));
}

function isStatus(datagram: Uint8Array): boolean {
  const decoded = decodeHaMessage(datagram);
  return decoded.ok && fieldOf(decoded.message, 't') === 'status';
}
