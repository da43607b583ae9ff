/** A serial line, as a pair of pseudo-terminals: both directions, a line that takes nothing, one that goes and comes back. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { SerialMedium } from '../../src/real/serial-medium.js';
import { latin1Bytes, latin1Text } from '../../src/wire/hamsg.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';

interface Cable {
  readonly ends: readonly [string, string];
  plug(): Promise<void>;
  unplug(): Promise<void>;
}

function cable(t: ExecutionContext): Cable {
  const dir = mkdtempSync(join(tmpdir(), 'serial-'));
  const ends = [join(dir, 'a'), join(dir, 'b')] as const;
  let socat: ChildProcess | null = null;
  const plug = async () => {
    socat = spawn(
      'socat',
      ends.map((end) => `PTY,link=${end},raw,echo=0`),
      { stdio: 'ignore' },
    );
    await until(() => ends.every((end) => existsSync(end)), 'the pseudo-terminals');
  };
  const unplug = async () => {
    const child = socat;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise((done) => child.on('exit', done));
    child.kill('SIGTERM');
    await gone;
  };
  t.teardown(async () => {
    await unplug();
    rmSync(dir, { recursive: true, force: true });
  });
  return { ends, plug, unplug };
}

function medium(t: ExecutionContext, device: string) {
  const got: string[] = [];
  const logs: string[] = [];
  const host = {
    received: (bytes: Uint8Array) => void got.push(latin1Text(bytes)),
    log: (level: string, text: string) => void logs.push(`${level}: ${text}`),
  };
  const serial = new SerialMedium({ type: 'serial', device, baud: 115_200 }, host);
  t.teardown(() => serial.close());
  return { serial, got, logs };
}

function message(i: number): string {
  return `>>>\nt=status\nseq=${i}\nauth=1 ab\n<<<\n`;
}

test('messages in both directions, whole and in order', async (t) => {
  if (!need(t, 'socat', 'stty')) return;
  const { ends, plug } = cable(t);
  await plug();
  const a = medium(t, ends[0]);
  const b = medium(t, ends[1]);
  await Promise.all([a.serial.open(), b.serial.open()]);
  for (let i = 1; i <= 20; i++) {
    a.serial.send(latin1Bytes(message(i)));
    b.serial.send(latin1Bytes(message(100 + i)));
  }
  await until(() => a.got.length === 20 && b.got.length === 20, 'all of them');
  t.deepEqual(
    b.got,
    Array.from({ length: 20 }, (_, i) => message(i + 1)),
  );
  t.deepEqual(
    a.got,
    Array.from({ length: 20 }, (_, i) => message(i + 101)),
  );
  t.deepEqual(a.logs, [`info: Starting serial heartbeat on tty ${ends[0]} (115200 baud)`]);
});

test('a line that takes nothing holds nobody up; messages are lost whole, and later ones arrive', async (t) => {
  if (!need(t, 'socat', 'stty')) return;
  const { ends, plug } = cable(t);
  await plug();
  const a = medium(t, ends[0]);
  await a.serial.open();
  const startMs = performance.now();
  let sent = 0;
  while (!a.logs.some((line) => line.startsWith('WARN')))
    a.serial.send(latin1Bytes(message(++sent)));
  t.true(performance.now() - startMs < 5000);
  const b = medium(t, ends[1]);
  await b.serial.open();
  await until(() => {
    a.serial.send(latin1Bytes(message(999_999)));
    return b.got.includes(message(999_999));
  }, 'a message of now');
  const numbers = b.got.map((text) => Number(/seq=(\d+)/.exec(text)?.[1]));
  t.deepEqual(
    numbers,
    [...numbers].sort((x, y) => x - y),
    'in order',
  );
  for (const text of b.got) t.regex(text, /^>>>\nt=status\nseq=\d+\nauth=1 ab\n<<<\n$/);
});

test('a line that is not there, or hung up, is said once and opened when it is back', async (t) => {
  if (!need(t, 'socat', 'stty')) return;
  const { ends, plug, unplug } = cable(t);
  const a = medium(t, ends[0]);
  await a.serial.open();
  await a.serial.open();
  t.is(a.logs.length, 1);
  t.regex(a.logs[0] ?? '', /^ERROR: serial .*No such file or directory/);
  await plug();
  await a.serial.open();
  t.is(a.logs.length, 2);
  await unplug();
  await until(() => a.logs.length === 3, 'the end is noticed');
  await plug();
  const b = medium(t, ends[1]);
  await Promise.all([a.serial.open(), b.serial.open()]);
  b.serial.send(latin1Bytes(message(7)));
  await until(() => a.got.includes(message(7)), 'it is heard again');
});
