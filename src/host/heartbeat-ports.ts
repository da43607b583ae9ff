/**
 * What the lives of heartbeat (host/heartbeat-lives.ts) ask of their host: clock, sockets, scripts, files, reboot, log.
 * real/heartbeat-daemon.ts implements it on Node, sim/sim-heartbeat.ts on a seed.
 */
import type { DigestSource, RandomSource } from '../base/ports.js';
import type { AuthKeys } from '../config/authkeys.js';
import type { HaCf, HaCfMessage } from '../config/ha-cf.js';
import type { HaResource, HaResourceGroup } from '../config/haresources.js';
import type { TwinbeatIni } from '../config/twinbeat-ini.js';
import type { Action, ScriptOutcome } from '../resource-manager/group-operation.js';
import type { Ask } from './heartbeat-questions.js';
import type { NodeLogLevel } from './node-ports.js';
import type { Outside } from './outside.js';
import type { Timers } from './timers.js';

/** Everything that /etc/ha.d and /etc/twinbeat.ini say. */
export interface HeartbeatConfig {
  readonly node: string;
  readonly haCf: HaCf;
  readonly groups: readonly HaResourceGroup[];
  readonly authkeys: AuthKeys;
  readonly ini: TwinbeatIni;
}

export type ConfigMessage = Pick<HaCfMessage, 'level' | 'text'>;

/** Modification times, to see at SIGHUP what changed. Null: the file cannot be looked at. */
export type ConfigTimes = Readonly<Record<'haCf' | 'haresources' | 'authkeys', number | null>> & {
  readonly twinbeatIni?: number | null; // it may be absent
};

export interface ConfigSource {
  /** Null: refused; the messages say why. */
  load(): { readonly config: HeartbeatConfig | null; readonly messages: readonly ConfigMessage[] };
  times(): ConfigTimes;
  /** Of each key, by its number: a digest of its method and word (file-digests.ts). */
  keyWords(authkeys: AuthKeys): Readonly<Record<number, string>>;
}

export interface LivesClock {
  /** Monotonic, with one origin for all processes of a boot: the state file tells a successor such times. */
  nowMs(): number;
  /** Since 1970. May jump. */
  wallMs(): number;
}

/** Media of one life. */
export interface Media {
  /** Of each medium that is not ping, in the order of ha.cf. */
  readonly links: readonly string[];
  /** On every medium. One that is not usable now loses it. */
  send(datagram: Uint8Array): void;
  /** Nothing is received from now on; `closed` is called once, never inside this call. */
  close(closed: () => void): void;
}

/** Nothing here is called inside `open`. */
export interface MediaEvents {
  /** The first attempt at each medium is over, well or not. */
  opened(): void;
  received(datagram: Uint8Array, link: string): void;
  pingAnswered(name: string): void;
}

/** A process that runs, not to be mistaken for a later one with its number. */
export interface ScriptProcess {
  readonly pid: number;
  readonly start: string; // when it began, as the kernel writes it
}

export interface ScriptEvents {
  /** It runs now (may come inside `run`); null: it does not run any more. Not called for one that cannot be run. */
  running(script: ScriptProcess | null): void;
  /** Once, never inside `run`. */
  done(outcome: ScriptOutcome): void;
}

export interface ScriptRunner {
  run(config: HeartbeatConfig, resource: HaResource, action: Action, events: ScriptEvents): void;
  isRunning(script: ScriptProcess): boolean;
  /** To the script and everything that it started, if it still runs. */
  kill(script: ScriptProcess, signal: 'SIGTERM' | 'SIGKILL'): void;
}

/** hb_generation, hb_uuid, `peers` and the standing outlive a power cut, the state file only a process. */
export type LivesFile = 'generation' | 'uuid' | 'peers' | 'standing' | 'state';

export interface LivesFiles {
  /** Null: there is none. */
  read(file: LivesFile): Uint8Array | null;
  /**
   * After a crash there is the old content or the new. `durable`: also after a power cut, from the return on; `peers`, which is
   * written while services run, a little later, so that a disk that hangs does not silence the node.
   */
  write(file: LivesFile, content: Uint8Array, durable: boolean): void;
  /** Harmless when there is none. */
  remove(file: LivesFile): void;
}

/** A program that takes the machine down. */
export interface RebootWay {
  readonly program: string;
  readonly args: readonly string[];
}

export interface LivesHost {
  readonly pid: number;
  readonly clock: LivesClock;
  readonly timers: Timers;
  readonly random: RandomSource;
  readonly digests: DigestSource;
  readonly files: LivesFiles;
  readonly scripts: ScriptRunner;
  readonly config: ConfigSource;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The line of /proc/loadavg. */
  loadavg(): string;
  openMedia(config: HeartbeatConfig, events: MediaEvents): Media;
  /** `ended(worked)` is called once, never inside; null where no reboot is to be had. */
  readonly reboot: ((way: RebootWay, ended: (worked: boolean) => void) => void) | null;
  /** dopd: `ended` with the exit status, null for one that did not end by itself; once, never inside. */
  runDrbdadmOutdate(resource: string, ended: (status: number | null) => void): void;
  readonly ask: Ask;
  /** Where there are none, nobody is told. */
  readonly outside?: Outside | undefined;
  log(level: NodeLogLevel, text: string): void;
  /** A new configuration is in force. */
  configured(config: HeartbeatConfig): void;
  /** Nothing will come any more: the process is to end with this status. */
  ended(status: number): void;
}
