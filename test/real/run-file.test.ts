/** What a daemon leaves in /run: replaced whole, or not at all, also where there is no space any more. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { RunFile, readRunFile } from '../../src/real/run-file.js';
import { need } from '../support/need.js';

function directory(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-run-file-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const text = (path: string): string | null => {
  const content = readRunFile(path);
  return content && Buffer.from(content).toString();
};

test('the last content counts, in one file, readable by its owner alone', (t) => {
  const path = join(directory(t), 'deep/state');
  t.is(readRunFile(path), null);
  const file = new RunFile(path);
  for (const content of ['one', '', 'three\n', 'x'.repeat(3000), 'five']) {
    file.write(bytes(content));
    t.is(text(path), content);
  }
  t.deepEqual(readdirSync(join(path, '..')), ['state']);
  t.is(statSync(path).mode & 0o777, 0o600);
  t.is(statSync(path).size, 8192);
  file.write(bytes('y'.repeat(10_000)));
  t.is(text(path), 'y'.repeat(10_000));
  file.remove();
  file.remove();
  t.is(readRunFile(path), null);
  file.write(bytes('again'));
  t.is(text(path), 'again');
});

test('a write that was cut off leaves what was before', (t) => {
  const path = join(directory(t), 'state');
  const file = new RunFile(path);
  for (const content of ['first', 'second', 'third']) file.write(bytes(content));
  const whole = readFileSync(path);
  const at = whole.indexOf('third');
  for (const spoilt of [at, at + 4, whole.lastIndexOf('twinbeat', at)]) {
    const torn = Buffer.from(whole);
    torn[spoilt] = 0;
    writeFileSync(path, torn);
    t.is(text(path), 'second', `byte ${spoilt}`);
  }
});

test('a successor goes on in the same file; what is no such file is read as it is, and replaced', (t) => {
  const path = join(directory(t), 'state');
  const first = new RunFile(path);
  for (let i = 0; i < 5; i++) first.write(bytes(`first ${i}`));
  const { ino } = statSync(path);
  const second = new RunFile(path);
  second.write(bytes('second'));
  t.is(text(path), 'second');
  t.is(statSync(path).ino, ino);
  rmSync(path);
  second.write(bytes('made anew'));
  t.is(text(path), 'made anew');
  writeFileSync(path, '{"of":"an older version"}');
  t.is(text(path), '{"of":"an older version"}');
  new RunFile(path).write(bytes('third'));
  t.is(text(path), 'third');
});

test('a full /run: what is there is replaced all the same; it does not grow, and nothing is lost', (t) => {
  if (!need(t, 'root', 'mount')) return;
  const dir = directory(t);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', dir]);
  t.teardown(() => execFileSync('umount', ['-l', dir]));
  const path = join(dir, 'state');
  const file = new RunFile(path, 5000);
  file.write(bytes('before'));
  t.throws(() => writeFileSync(join(dir, 'log'), Buffer.alloc(1 << 20)), { code: 'ENOSPC' });
  for (let i = 0; i < 10; i++) {
    file.write(bytes(`${i}`.repeat(500 * i)));
    t.is(text(path), `${i}`.repeat(500 * i));
  }
  const successor = new RunFile(path, 5000);
  for (let i = 0; i < 4; i++) successor.write(bytes(`successor ${i}`));
  t.is(text(path), 'successor 3');
  t.throws(() => successor.write(bytes('z'.repeat(20_000))), { code: 'ENOSPC' });
  t.is(text(path), 'successor 3');
  successor.write(bytes('goes on'));
  t.is(text(path), 'goes on');
  t.deepEqual(readdirSync(dir).sort(), ['log', 'state']);
});

test('killed at any moment: the content is one that was written', async (t) => {
  const path = join(directory(t), 'state');
  const module = new URL('../../src/real/run-file.js', import.meta.url).href;
  const writer = `
    import { RunFile } from '${module}';
    const file = new RunFile(${JSON.stringify(path)}, 100_000);
    for (let i = 0; ; i++) {
      file.write(Buffer.from(String(i).padEnd(90_000, String(i % 10))));
      if (i === 0) process.stdout.write('begun');
    }`;
  for (let round = 0; round < 5; round++) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', writer], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    const content = text(path) ?? '';
    const written = [1, 2, 3, 4, 5, 6, 7].some((digits) => {
      const i = Number(content.slice(0, digits));
      return content === String(i).padEnd(90_000, String(i % 10));
    });
    t.true(written, content.slice(0, 20));
  }
});
