/**
 * ha.cf: what heartbeat is told, as typed settings, with the original's messages for what it refuses.
 *
 *     text --parseHaCf--> directives (ha-cf-directives.ts), one setter each --checkHaCf--> derived values, cross checks
 *
 * The checks across directives run only when every line was good, as in the original. Every error of the original is
 * repeated in its words; where the original says nothing (`deadtime 10s`) or little, a line of ours with
 * `FILE:LINE:COL: expected X, got Y` stands in front of it. Nothing is half applied: with any error there is no
 * configuration. What only the system knows (users, interfaces) is passed in as `HaCfSystem`.
 *
 * Source: ha.cf(5); heartbeat 3.0.6 observed, docs/CONFIGURATION.md.
 */
import { firstWord } from './blanks.js';
import { DIRECTIVES, MEDIUM_DIRECTIVES, UNHEEDED } from './ha-cf-directives.js';

export type AutoFailback = 'on' | 'off' | 'legacy';

/** One way to reach the peers. `port` is the udpport in force where the line stands. */
export type Medium =
  | { readonly type: 'bcast'; readonly device: string; readonly port: number }
  | {
      readonly type: 'mcast' | 'mcast6';
      readonly device: string;
      readonly group: string;
      readonly port: number;
      readonly ttl: number;
      readonly loop: boolean;
    }
  | {
      readonly type: 'ucast' | 'ucast6';
      readonly device: string;
      readonly host: string; // address or name
      readonly port: number;
    }
  | { readonly type: 'serial'; readonly device: string; readonly baud: number };

/** A node that only answers ICMP echo: `ping HOST`, or a group that is alive while one of its members answers. */
export interface PingNode {
  readonly name: string;
  readonly type: 'ping' | 'ping6' | 'ping_group';
  readonly members: readonly string[];
}

/** `respawn` or `failfast` USER COMMAND. */
export interface RespawnClient {
  readonly user: string;
  readonly path: string;
  readonly args: readonly string[];
  readonly failfast: boolean; // the machine is rebooted when it dies
}

export interface ApiAuth {
  readonly client: string;
  readonly uids: readonly string[]; // names or numbers
  readonly gids: readonly string[];
}

/** A device that resets the other node. */
export interface StonithDevice {
  readonly host: string | null; // of stonith_host: this node or '*'; null: of a `stonith` line
  readonly type: string; // of a plug-in, as `stonith -L` lists them
  readonly file: string | null; // with the parameters
  readonly params: readonly string[]; // secret; joined by blanks they are what is written
}

export interface HaCf {
  readonly nodes: readonly string[]; // lower case, in the order of the file; repeated names are kept
  readonly media: readonly Medium[];
  readonly pings: readonly PingNode[];
  readonly keepaliveMs: number;
  readonly deadtimeMs: number;
  readonly warntimeMs: number;
  readonly initdeadMs: number;
  readonly deadpingMs: number;
  readonly hopfudge: number;
  readonly udpport: number;
  readonly baud: number;
  readonly autoFailback: AutoFailback;
  readonly respawns: readonly RespawnClient[];
  readonly apiauths: readonly ApiAuth[];
  readonly stonith: readonly StonithDevice[]; // that this node may use; the last one is used
  readonly watchdog: string | null;
  readonly logfacility: string | null; // null: not given; 'none' switches syslog off
  readonly logfile: string | null;
  readonly debugfile: string | null;
  readonly useLogd: boolean;
  readonly connLogdTimeMs: number;
  readonly syslogmsgfmt: boolean;
  readonly logBadpack: boolean;
  readonly debug: number;
  readonly realtime: boolean;
  readonly rtprio: number;
  readonly memreserveKiB: number;
  readonly hbgenmethod: 'file' | 'time';
  readonly uuidfrom: 'file' | 'nodename';
  readonly msgfmt: 'classic' | 'netstring';
  readonly maxRexmitDelayMs: number;
  readonly compression: 'zlib' | 'bz2';
  readonly compressionThresholdKiB: number;
  readonly traditionalCompression: boolean;
  readonly coredumps: boolean;
  readonly coreroot: string | null;
  readonly cluster: string;
  readonly env: Readonly<Record<string, string>>; // exported to children as HA_NAME
  /** Recorded directives as written: `cl_status hbparameter`, HA_<name> of scripts and children. */
  readonly parameters: Readonly<Record<string, string>>;
}

export type HaCfLevel = 'ERROR' | 'WARN' | 'info' | 'debug' | 'stderr';

/** A line for the log; `stderr` goes there as it is. `line` is 0 for checks of the whole file. */
export interface HaCfMessage {
  readonly level: HaCfLevel;
  readonly text: string;
  readonly line: number;
}

export interface HaCfSystem {
  readonly ownNode: string; // `uname -n`, any case
  readonly defaultUdpPort: number; // ha-cluster/udp of services, else 694
  userExists(user: string): boolean;
  isExecutable(path: string): boolean;
  isStonithType(type: string): boolean;
  hasStonithConfig(file: string): boolean; // with a line that is not a comment
  /** Null when the interface can be used for it, else the system's reason ("No such device"). */
  interfaceError(device: string, use: 'device' | 'address' | 'broadcast'): string | null;
}

export interface HaCfResult {
  readonly config: HaCf | null; // null: an error among the messages, do not start (exit 6)
  readonly messages: readonly HaCfMessage[];
}

/** HaCf while it is being read. */
export type HaCfDraft = {
  -readonly [K in keyof HaCf]: HaCf[K] extends readonly (infer T)[] ? T[] : HaCf[K];
};

/** What the checks need to know about directives with derived defaults: null is "not given". */
export interface Given {
  warntimeMs: number | null;
  initdeadMs: number | null;
  deadpingMs: number | null;
  autoFailback: boolean;
  useLogd: boolean | null;
  autojoin: string;
  baud: boolean;
  readonly apiClients: Set<string>;
}

function defaults(system: HaCfSystem): HaCfDraft {
  return {
    nodes: [],
    media: [],
    pings: [],
    keepaliveMs: 1000,
    deadtimeMs: 30_000,
    warntimeMs: 0, // this and the next two are derived
    initdeadMs: 0,
    deadpingMs: 0,
    hopfudge: 1,
    udpport: system.defaultUdpPort,
    baud: 19_200,
    autoFailback: 'legacy',
    respawns: [],
    apiauths: [],
    stonith: [],
    watchdog: null,
    logfacility: null,
    logfile: null,
    debugfile: null,
    useLogd: false,
    connLogdTimeMs: 60_000,
    syslogmsgfmt: true,
    logBadpack: true,
    debug: 0,
    realtime: true,
    rtprio: 1,
    memreserveKiB: 6500,
    hbgenmethod: 'file',
    uuidfrom: 'file',
    msgfmt: 'classic',
    maxRexmitDelayMs: 250,
    compression: 'zlib',
    compressionThresholdKiB: 2,
    traditionalCompression: false,
    coredumps: true,
    coreroot: null,
    cluster: 'linux-ha',
    env: {},
    parameters: {},
  };
}

/** `file` is the path as it shall appear in messages. */
export function parseHaCf(text: string, file: string, system: HaCfSystem): HaCfResult {
  const messages: HaCfMessage[] = [];
  const d = defaults(system);
  const given: Given = {
    warntimeMs: null,
    initdeadMs: null,
    deadpingMs: null,
    autoFailback: false,
    useLogd: null,
    autojoin: 'none',
    baud: false,
    apiClients: new Set(),
  };
  let failed = false;
  const unheeded = new Set<string>(); // of which it has been said

  for (const [index, raw] of text.split('\n').entries()) {
    const line = index + 1;
    const content = raw.split('#', 1)[0] ?? '';
    const first = firstWord(content);
    if (!first) continue;
    const { rest } = first;
    let name = first.word;
    const say = (level: HaCfLevel, message: string) =>
      messages.push({ level, text: message, line });
    if (name === 'udp') {
      say('WARN', "WARNING: directive 'udp' replaced by 'bcast'");
      name = 'bcast';
    }
    const directive = DIRECTIVES.get(name);
    if (!directive) {
      say('ERROR', `Illegal directive [${name}] in ${file}`);
      failed = true;
      continue;
    }
    if (UNHEEDED.has(name) && !unheeded.has(name)) {
      unheeded.add(name);
      say('debug', `${file}:${line}: ${name} has no effect here`);
    }
    const values = directive.wholeLine ? [rest] : rest.split(/[ \t\r\f,]+/).filter((v) => v !== '');
    let behind = content.indexOf(first.word) + first.word.length; // the value before this one
    for (const value of values) {
      const at = content.indexOf(value, behind);
      behind = at + value.length;
      const wanted = directive.set(value, { draft: d, given, system, say });
      if (wanted === null) {
        if (directive.recorded) d.parameters = { ...d.parameters, [name]: value };
        continue;
      }
      failed = true;
      if (wanted !== '') {
        const got = value === '' ? 'nothing' : `'${value}'`;
        say('ERROR', `${file}:${line}:${at + 1}: ${name}: expected ${wanted}, got ${got}`);
      }
      if (MEDIUM_DIRECTIVES.has(name)) break; // the original gives up on the line
    }
  }
  if (failed) {
    messages.push({
      level: 'ERROR',
      text: 'Heartbeat not started: configuration error.',
      line: 0,
    });
    return { config: null, messages };
  }
  return { config: checkHaCf(d, given, system, messages) ? d : null, messages };
}

/** Derived values and the checks across directives; false when one of them refuses the start. */
function checkHaCf(
  d: HaCfDraft,
  given: Given,
  system: HaCfSystem,
  messages: HaCfMessage[],
): boolean {
  const say = (level: HaCfLevel, text: string) => messages.push({ level, text, line: 0 });
  let errors = 0;
  const refuse = (text: string) => {
    say('ERROR', text);
    errors++;
  };
  if (d.media.length === 0) refuse('No heartbeat media defined');
  if (d.nodes.length === 0) refuse('no nodes defined');
  const own = system.ownNode.toLowerCase();
  if (!d.nodes.includes(own)) {
    refuse(`Current node [${own}] not in configuration!`);
    say(
      'info',
      "By default, cluster nodes are named by `uname -n` and must be declared with a 'node' directive in the ha.cf file.",
    );
    say('info', 'See also: http://linux-ha.org/wiki/Ha.cf#node_directive');
  }
  if (d.deadtimeMs <= 2 * d.keepaliveMs) {
    refuse(
      `Dead time [${d.deadtimeMs}] is too small compared to keeplive [${d.keepaliveMs}]`, // their spelling
    );
  }
  d.initdeadMs = given.initdeadMs ?? defaultInitdeadMs(d.deadtimeMs);
  if (d.initdeadMs < d.deadtimeMs) {
    refuse(`Initial dead time [${d.initdeadMs}] is smaller than deadtime [${d.deadtimeMs}]`);
  } else if (d.initdeadMs < 10_000) {
    say('WARN', `Initial dead time [${d.initdeadMs} ms] may be too small!`);
    say('info', 'Initial dead time accounts for slow network startup time');
    say('info', 'It should be >= deadtime and >= 10 seconds');
  }
  d.warntimeMs = given.warntimeMs ?? Math.floor(d.deadtimeMs / 2);
  d.deadpingMs = given.deadpingMs ?? d.deadtimeMs;
  if (d.deadpingMs <= 2 * d.keepaliveMs && given.deadpingMs !== null) {
    refuse(`Ping dead time [${d.deadpingMs}] is too small compared to keeplive [${d.keepaliveMs}]`);
  }
  if (d.autoFailback === 'legacy') {
    say('WARN', "Deprecated 'legacy' auto_failback option selected.");
    say('WARN', "Please convert to 'auto_failback on'.");
    say('WARN', 'See documentation for conversion details.');
  }
  checkLogging(d, given, say);
  if (given.autojoin !== 'none') {
    refuse('R1 style resource management conflicts with  autojoin set');
    refuse('You need either unset autojoin or enable crm');
  }
  return errors === 0;
}

/** initdead when it is not given: a cluster's start needs longer than a heartbeat's silence. */
function defaultInitdeadMs(deadtimeMs: number): number {
  if (deadtimeMs > 10_000) return deadtimeMs;
  return deadtimeMs >= 6000 ? 2 * deadtimeMs : 12_000;
}

function checkLogging(
  d: HaCfDraft,
  given: Given,
  say: (level: HaCfLevel, text: string) => void,
): void {
  const configured = [
    d.logfile === null ? '' : 'logfile',
    d.debugfile === null ? '' : 'debugfile',
    d.logfacility === null ? '' : 'logfacility',
  ].filter((name) => name !== '');
  if (configured.length === 0 && given.useLogd === null) {
    say('info', 'No log entry found in ha.cf -- use logd');
    d.useLogd = true;
  } else {
    d.useLogd = given.useLogd ?? false;
    if (!d.useLogd) {
      say('WARN', 'Logging daemon is disabled --enabling logging daemon is recommended');
    } else if (configured.length > 0) {
      say('WARN', `logd is enabled but ${configured.join('/')} is still configured in ha.cf`);
    }
  }
  if (d.logfacility !== null) {
    d.logfile ??= '/dev/null';
    d.debugfile ??= '/dev/null';
  }
}
