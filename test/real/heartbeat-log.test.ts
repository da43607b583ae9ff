/** Heartbeat's log: the lines of the original, and a log that takes nothing holds nobody up. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { HeartbeatLog, type LogOptions, logLine } from '../../src/real/heartbeat-log.js';
import { fileTarget, LogWriter, MAX_LINES } from '../../src/real/log-writer.js';
import { hangDirectory } from '../support/hung-directory.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';

function directory(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'heartbeat-log-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function options(root: string, more: Partial<LogOptions>): LogOptions {
  return {
    ...{ root, node: 'node-a', logfile: '/log', debugfile: null, logfacility: 'none' },
    ...{ syslogFormat: true, json: false, stderr: false, debug: false },
    ...more,
  };
}

function lines(path: string): string[] {
  return readFileSync(path, 'utf8').replace(/\n$/, '').split('\n');
}

// 8.1: `syslogmsgfmt`.
test('both forms of a line', (t) => {
  const time = new Date(2026, 10, 2, 3, 4, 5).getTime();
  const line = { time, pid: 27, node: 'node-a', severity: 'WARN' as const, msg: 'x' };
  t.is(logLine(line, true), 'Nov 02 03:04:05 node-a heartbeat: [27]: WARN: x\n');
  t.is(logLine(line, false), 'heartbeat[27]: 2026/11/02_03:04:05 WARN: x\n');
});

test('logfile without debug, debugfile with; what backslashes and blanks they have stays', async (t) => {
  const root = directory(t);
  const log = new HeartbeatLog(options(root, { debugfile: '/debug' }));
  const text = "  a \\n b\\\\ %s 'c' ü ";
  log.log('debug', 'for the curious');
  log.log('info', text);
  t.true(await log.end());
  t.deepEqual(
    lines(join(root, 'debug')).map((line) => line.replace(/^.*\[\d+\]: /, '')),
    ['debug: for the curious', `info: ${text}`],
  );
  t.deepEqual(
    lines(join(root, 'log')).map((line) => line.replace(/^.*\[\d+\]: /, '')),
    [`info: ${text}`],
  );
});

test('a log that was renamed is begun anew; another format holds from the next line on', async (t) => {
  const root = directory(t);
  const path = join(root, 'log');
  const log = new HeartbeatLog(options(root, {}));
  log.log('info', 'before');
  await until(() => {
    try {
      return lines(path).length === 1;
    } catch {
      return false;
    }
  }, 'the first line');
  renameSync(path, `${path}.1`);
  log.log('info', 'after');
  log.configure(options(root, { json: true }));
  log.log('ERROR', 'json');
  t.true(await log.end());
  const [after = '', json = ''] = lines(path);
  t.regex(after, /info: after$/);
  t.like(JSON.parse(json), { msg: 'json', severity: 'ERROR', node: 'node-a' });
});

test('a FIFO that nobody reads: lines wait, some are counted, the rest arrives; the end comes in time', async (t) => {
  const fifo = join(directory(t), 'fifo');
  execFileSync('mkfifo', [fifo]);
  const writer = new LogWriter(fileTarget(fifo), (count) => `${count} missing\n`);
  const line = (i: number) => `${i} ${'x'.repeat(200)}\n`;
  const last = 3 * MAX_LINES;
  const beforeMs = performance.now();
  for (let i = 0; i <= last; i++) writer.add(line(i));
  t.true(performance.now() - beforeMs < 1000, 'nobody waits');
  // Somebody reads: a reader that never goes, since the writer opens the FIFO for each line.
  const reader = await open(fifo, 'r+');
  t.teardown(() => reader.close());
  let text = '';
  const bytes = Buffer.alloc(1 << 16);
  while (!text.includes('missing\n')) {
    const { bytesRead } = await reader.read(bytes);
    text += bytes.toString('utf8', 0, bytesRead);
  }
  const got = text.trimEnd().split('\n');
  const missing = Number(/^(\d+) missing$/.exec(got.at(-1) ?? '')?.[1]);
  t.true(missing > 0);
  t.is(got.length - 1 + missing, last + 1, 'each line arrived or was counted');
  t.deepEqual(
    got.slice(0, -1),
    got.slice(0, -1).map((_, i) => line(i).trimEnd()),
    'in their order',
  );
  t.true(await writer.end());
});

test('a directory that hangs: the log ends in time and says that it is not whole', async (t) => {
  if (!need(t, 'root', 'fuse', 'mount')) return;
  const root = directory(t);
  const hung = hangDirectory(join(root, 'hung'));
  t.teardown(() => hung.release());
  const log = new HeartbeatLog(options(root, { logfile: '/hung/log', debugfile: '/debug' }));
  log.log('info', 'said');
  t.false(await log.end());
  t.regex(lines(join(root, 'debug'))[0] ?? '', /info: said$/, 'the other file has it');
});

test('a program that cannot be run: the lines wait for it, and the end does not', async (t) => {
  const target = { program: '/no/such/program', args: [], toStderr: false };
  const writer = new LogWriter(target, (count) => `${count} missing\n`);
  writer.add('a\n');
  writer.add('b\n');
  t.false(await writer.end());
});
