/**
 * Heartbeat's log, through pino: to logfile (all but debug) and debugfile (everything) in the lines of the original, to
 * syslog by logger(1) when a logfacility or nothing is configured, to stderr in the foreground.
 *
 *     Nov 21 00:07:15 node-a heartbeat: [27]: info: Link node-b:eth0 up.      syslogmsgfmt true (default)
 *     heartbeat[27]: 2026/11/21_00:07:15 info: Link node-b:eth0 up.           syslogmsgfmt false
 *
 * `log-format = json` of twinbeat.ini gives pino's own lines instead. A log that cannot be written neither stops the
 * daemon nor holds it up: each target has a program that writes for it (log-writer.ts). Source: docs/HEARTBEAT.md, logging.
 */
import { type Logger, multistream, pino } from 'pino';
import type { HaCf } from '../config/ha-cf.js';
import type { NodeLogLevel } from '../host/node-ports.js';
import {
  fileTarget,
  type LogTarget,
  LogWriter,
  STDERR_TARGET,
  syslogTarget,
} from './log-writer.js';

export interface LogOptions {
  readonly root: string;
  readonly node: string;
  readonly logfile: string | null;
  readonly debugfile: string | null;
  readonly logfacility: string | null; // null or 'none': no syslog
  readonly syslogFormat: boolean;
  readonly json: boolean;
  readonly stderr: boolean;
  readonly debug: boolean; // debug lines on stderr too
}

type PinoLevel = 'debug' | 'info' | 'warn' | 'error' | 'fatal';

const LEVELS: Readonly<Record<NodeLogLevel, PinoLevel>> = {
  debug: 'debug',
  info: 'info',
  WARN: 'warn',
  ERROR: 'error',
  CRIT: 'fatal',
};
const SYSLOG: Readonly<Record<NodeLogLevel, number>> = {
  debug: 7,
  info: 6,
  WARN: 4,
  ERROR: 3,
  CRIT: 2,
};
const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
const FACILITIES: Readonly<Record<string, number>> = {
  ...{ kern: 0, user: 1, mail: 2, daemon: 3, auth: 4, syslog: 5, lpr: 6, news: 7, uucp: 8 },
  ...{ cron: 9, security: 4, authpriv: 10, ftp: 11 },
  ...{ local0: 16, local1: 17, local2: 18, local3: 19, local4: 20, local5: 21, local6: 22 },
  local7: 23,
};

interface Line {
  readonly time: number;
  readonly pid: number;
  readonly node: string;
  readonly severity: NodeLogLevel;
  readonly msg: string;
}

function two(n: number): string {
  return String(n).padStart(2, '0');
}

export function logLine(line: Line, syslogFormat: boolean): string {
  const d = new Date(line.time);
  const clock = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  if (syslogFormat) {
    const day = String(d.getDate()).padStart(2, '0');
    return `${MONTHS[d.getMonth()]} ${day} ${clock} ${line.node} heartbeat: [${line.pid}]: ${line.severity}: ${line.msg}\n`;
  }
  const date = `${d.getFullYear()}/${two(d.getMonth() + 1)}/${two(d.getDate())}_${clock}`;
  return `heartbeat[${line.pid}]: ${date} ${line.severity}: ${line.msg}\n`;
}

/** What ha.cf says of the log. `foreground`: to stderr, too. */
export function logOptions(
  config: HaCf,
  node: string,
  root: string,
  json: boolean,
  foreground: boolean,
): LogOptions {
  const { logfile, debugfile, logfacility, syslogmsgfmt, debug } = config;
  return {
    ...{ root, node, logfile, debugfile, logfacility, json },
    syslogFormat: syslogmsgfmt,
    stderr: foreground,
    debug: debug > 0,
  };
}

/** `<N>` in front tells logger(1) facility and severity. */
function syslogLine({ severity, msg }: Line, facility: number): string {
  return `<${facility * 8 + SYSLOG[severity]}>${severity}: ${msg.replaceAll('\n', ' ')}\n`;
}

interface Target {
  readonly to: LogTarget;
  readonly level: PinoLevel; // and above
  readonly format: (json: string) => string;
}

function targetsOf(options: LogOptions): Target[] {
  const { logfile, debugfile, logfacility, root, json, syslogFormat } = options;
  const format = (text: string) => (json ? text : logLine(JSON.parse(text) as Line, syslogFormat));
  const targets: Target[] = [];
  if (debugfile && debugfile !== '/dev/null') {
    targets.push({ to: fileTarget(root + debugfile), level: 'debug', format });
  }
  if (logfile && logfile !== '/dev/null' && logfile !== debugfile) {
    targets.push({ to: fileTarget(root + logfile), level: 'info', format });
  }
  if (options.stderr) {
    targets.push({ to: STDERR_TARGET, level: options.debug ? 'debug' : 'info', format });
  }
  if (logfacility !== 'none' && (logfacility !== null || targets.length === 0)) {
    const facility = FACILITIES[logfacility ?? 'daemon'] ?? 3;
    targets.push({
      to: syslogTarget(`heartbeat: [${process.pid}]`),
      level: 'info',
      format: (text) => syslogLine(JSON.parse(text) as Line, facility),
    });
  }
  return targets;
}

export class HeartbeatLog {
  #logger: Logger;
  #writers: ReadonlyMap<string, LogWriter> = new Map(); // by target

  constructor(options: LogOptions) {
    this.#logger = this.#open(options);
  }

  log(severity: NodeLogLevel, msg: string): void {
    this.#logger[LEVELS[severity]]({ severity }, msg);
  }

  /** From now on so. A target that stays goes on in its order. */
  configure(options: LogOptions): void {
    this.#logger = this.#open(options);
  }

  /** The last lines are written, as far as that is possible within a bound. False: some are not. */
  async end(): Promise<boolean> {
    const ended = await Promise.all([...this.#writers.values()].map((writer) => writer.end()));
    return ended.every((isWritten) => isWritten);
  }

  #open(options: LogOptions): Logger {
    const { node } = options;
    const before = this.#writers;
    const writers = new Map<string, LogWriter>();
    const streams = targetsOf(options).map(({ to, level, format }) => {
      const key = JSON.stringify(to);
      const missing = (count: number): string => {
        const msg = `${count} lines of the log are missing here: they could not be written`;
        const line = { level: 40, time: Date.now(), pid: process.pid, node, severity: 'WARN', msg };
        return format(`${JSON.stringify(line)}\n`);
      };
      const writer = before.get(key) ?? new LogWriter(to, missing);
      writers.set(key, writer);
      return { level, stream: { write: (text: string) => writer.add(format(text)) } };
    });
    this.#writers = writers;
    for (const [key, writer] of before) if (!writers.has(key)) void writer.end();
    return pino({ level: 'debug', base: { pid: process.pid, node } }, multistream(streams));
  }
}
