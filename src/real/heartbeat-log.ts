/**
 * Heartbeat's log, through pino: to logfile (all but debug) and debugfile (everything) in the lines of the original, to
 * syslog by logger(1) when a logfacility or nothing is configured, to stderr in the foreground.
 *
 *     Nov 21 00:07:15 node-a heartbeat: [27]: info: Link node-b:eth0 up.      syslogmsgfmt true (default)
 *     heartbeat[27]: 2026/11/21_00:07:15 info: Link node-b:eth0 up.           syslogmsgfmt false
 *
 * `log-format = json` of twinbeat.ini gives pino's own lines instead. A log that cannot be written never stops the
 * daemon. Source: docs/HEARTBEAT.md, logging.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { type Logger, multistream, pino } from 'pino';
import type { HaCf } from '../config/ha-cf.js';
import type { NodeLogLevel } from '../host/heartbeat-node.js';

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

export class HeartbeatLog {
  readonly #logger: Logger;
  readonly #options: LogOptions;
  #syslog: ChildProcess | null = null;

  constructor(options: LogOptions) {
    this.#options = options;
    const streams: { level: PinoLevel; stream: { write(text: string): void } }[] = [];
    const format = (text: string) =>
      options.json ? text : logLine(JSON.parse(text) as Line, options.syslogFormat);
    const toFile = (path: string) => ({
      write: (text: string) => {
        try {
          appendFileSync(path, format(text));
        } catch {
          // a full or missing disk for logs must not end the service
        }
      },
    });
    const { logfile, debugfile, logfacility, root } = options;
    if (debugfile && debugfile !== '/dev/null') {
      streams.push({ level: 'debug', stream: toFile(root + debugfile) });
    }
    if (logfile && logfile !== '/dev/null' && logfile !== debugfile) {
      streams.push({ level: 'info', stream: toFile(root + logfile) });
    }
    if (options.stderr) {
      const level = options.debug ? 'debug' : 'info';
      streams.push({
        level,
        stream: { write: (text) => void process.stderr.write(format(text)) },
      });
    }
    const hasFile = streams.length > 0;
    if (logfacility !== 'none' && (logfacility !== null || !hasFile)) {
      const facility = FACILITIES[logfacility ?? 'daemon'] ?? 3;
      streams.push({
        level: 'info',
        stream: { write: (text) => this.#toSyslog(JSON.parse(text) as Line, facility) },
      });
    }
    this.#logger = pino(
      { level: 'debug', base: { pid: process.pid, node: options.node } },
      multistream(streams),
    );
  }

  static fromConfig(
    config: HaCf,
    node: string,
    root: string,
    json: boolean,
    foreground: boolean,
  ): HeartbeatLog {
    const { logfile, debugfile, logfacility, syslogmsgfmt, debug } = config;
    return new HeartbeatLog({
      ...{ root, node, logfile, debugfile, logfacility, json },
      syslogFormat: syslogmsgfmt,
      stderr: foreground,
      debug: debug > 0,
    });
  }

  log(severity: NodeLogLevel, msg: string): void {
    this.#logger[LEVELS[severity]]({ severity }, msg);
  }

  get options(): LogOptions {
    return this.#options;
  }

  /** One logger(1) for all lines; `<N>` in front of each names facility and severity. */
  #toSyslog(line: Line, facility: number): void {
    if (!this.#syslog) {
      const child = spawn('logger', ['-t', `heartbeat: [${process.pid}]`, '--prio-prefix'], {
        stdio: ['pipe', 'ignore', 'ignore'],
        detached: true,
      });
      this.#syslog = child;
      const gone = () => {
        if (this.#syslog === child) this.#syslog = null;
      };
      child.on('error', gone);
      child.on('exit', gone);
      child.stdin.on('error', gone);
      child.unref();
    }
    this.#syslog.stdin?.write(
      `<${facility * 8 + SYSLOG[line.severity]}>${line.severity}: ${line.msg.replaceAll('\n', ' ')}\n`,
    );
  }
}
