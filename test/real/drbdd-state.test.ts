/** What drbdd leaves for a successor in /run: written whole, read only when it is right. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ExposedFiles, loadExposed, loadState, saveState } from '../../src/real/drbdd-state.js';
import { RunFile } from '../../src/real/run-file.js';

function directory(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-state-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test('exposed generations: one or two by minor, the last word counts', (t) => {
  const run = directory(t);
  t.deepEqual(loadExposed(run), {}, 'nothing was exposed yet');
  const files = new ExposedFiles(run);
  files.save(0, [0xe121bd0ab5ccee23n]);
  files.save(17, [0xffffffffffffffffn, 0x4n]);
  t.deepEqual(loadExposed(run), { 0: ['E121BD0AB5CCEE23'], 17: ['FFFFFFFFFFFFFFFF', '4'] });
  files.save(17, [0xffffffffffffffffn]);
  t.deepEqual(loadExposed(run)[17], ['FFFFFFFFFFFFFFFF']);
  t.deepEqual(readdirSync(join(run, 'exposed')).sort(), ['0', '17']);
});

test('exposed generations: what is no such file is not believed, and hides no other', (t) => {
  const run = directory(t);
  new ExposedFiles(run).save(3, [0xabcn]);
  const put = (name: string, text: string): void => writeFileSync(join(run, 'exposed', name), text);
  put('1', '');
  put('2', 'a1');
  put('4', '123456789ABCDEF01');
  put('5', 'A1 B2 C3');
  put('6', 'A1\n');
  put('7', 'A1  B2');
  put('8', '\0\xff');
  put('9.new', 'A1'); // its writer died before the rename
  put('x', 'A1');
  t.deepEqual(loadExposed(run), { 3: ['ABC'] });
});

test('exposed generations: a directory that cannot be read is not taken for an empty one', (t) => {
  const run = directory(t);
  writeFileSync(join(run, 'exposed'), '');
  t.throws(() => loadExposed(run), { code: 'ENOTDIR' });
  rmSync(join(run, 'exposed'));
  mkdirSync(join(run, 'exposed', '0'), { recursive: true });
  t.throws(() => loadExposed(run), { code: 'EISDIR' });
});

test('the state: absent, whole, cut off, of another version', (t) => {
  const path = join(directory(t), 'state');
  t.is(loadState(path), null);
  const state = { version: 1, resources: [], primaries: [3], handlers: {} } as const;
  saveState(new RunFile(path), state);
  t.deepEqual(loadState(path), state);
  writeFileSync(path, '{"version":1,"reso');
  t.throws(() => loadState(path));
  writeFileSync(path, '{"version":2}');
  t.throws(() => loadState(path), { message: /of another version \(2\)/ });
});
