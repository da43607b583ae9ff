/**
 * The log of a daemon: pino, as JSON lines or as one readable line each, in the words of the originals. To standard
 * error, which the service manager or `--log FILE` takes.
 */
import { createWriteStream } from 'node:fs';
import { hostname } from 'node:os';
import { type Logger, pino } from 'pino';

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const LEVELS: Readonly<Record<number, string>> = {
  20: 'debug',
  30: 'info',
  40: 'WARN',
  50: 'ERROR',
  60: 'CRIT',
};

/** `Nov 21 03:00:00 alpha drbdd[12]: drbd0: text`, as syslog would have it. */
function line(program: string, json: string): string {
  const record = JSON.parse(json) as {
    readonly level: number;
    readonly time: number;
    readonly object?: string;
    readonly msg: string;
  };
  const t = new Date(record.time);
  const two = (n: number): string => String(n).padStart(2, '0');
  const day = String(t.getDate()).padStart(2, ' ');
  const when = `${MONTHS[t.getMonth()]} ${day} ${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
  const level = record.level === 30 ? '' : `${LEVELS[record.level] ?? record.level}: `;
  const object = record.object === undefined ? '' : `${record.object}: `;
  return `${when} ${hostname()} ${program}[${process.pid}]: ${level}${object}${record.msg}\n`;
}

export function openLog(
  program: string,
  level: string,
  format: 'text' | 'json',
  file: string | null,
): Logger {
  const target = file === null ? process.stderr : createWriteStream(file, { flags: 'a' });
  const destination = {
    write: (json: string): void => {
      target.write(format === 'json' ? json : line(program, json));
    },
  };
  return pino({ level, base: { program, pid: process.pid } }, destination);
}
