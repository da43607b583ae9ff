/** What heartbeat sees of its files at a reload. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { configTimes, filesAnswer, loadConfig } from '../../src/real/heartbeat-config.js';

test('modification times; of a file that cannot be looked at none, not that of 1970', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'twinbeat-times-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const dir = join(root, 'etc', 'ha.d');
  mkdirSync(dir, { recursive: true });
  for (const [i, name] of ['ha.cf', 'haresources', 'authkeys'].entries()) {
    writeFileSync(join(dir, name), '');
    utimesSync(join(dir, name), i, i);
  }
  t.deepEqual(configTimes(root), {
    haCf: 0,
    haresources: 1000,
    authkeys: 2000,
    twinbeatIni: null,
  });
  unlinkSync(join(dir, 'ha.cf'));
  unlinkSync(join(dir, 'authkeys'));
  symlinkSync('authkeys', join(dir, 'authkeys'));
  t.deepEqual(configTimes(root), {
    haCf: null,
    haresources: 1000,
    authkeys: null,
    twinbeatIni: null,
  });
});

test('a twinbeat.ini that cannot be read is refused: its defaults would take over without a fence', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'twinbeat-config-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const dir = join(root, 'etc', 'ha.d');
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'ha.cf'), `ucast lo 127.0.0.1\nnode ${hostname()} beta\n`);
  writeFileSync(join(dir, 'haresources'), '');
  writeFileSync(join(dir, 'authkeys'), 'auth 1\n1 crc\n', { mode: 0o600 });
  t.not(loadConfig(root).config, null, 'it may be absent');
  mkdirSync(join(root, 'etc/twinbeat.ini'));
  const { config, messages } = loadConfig(root);
  t.is(config, null);
  t.true(messages.some(({ text }) => /^Cannot open \[\/etc\/twinbeat.ini\]: EISDIR/.test(text)));
});

function written(t: ExecutionContext, haCf = ''): string {
  const root = mkdtempSync(join(tmpdir(), 'twinbeat-config-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const dir = join(root, 'etc', 'ha.d');
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'ha.cf'), `${haCf}ucast lo 127.0.0.1\nnode ${hostname()} beta\n`);
  writeFileSync(join(dir, 'haresources'), '');
  writeFileSync(join(dir, 'authkeys'), 'auth 1\n1 crc\n', { mode: 0o600 });
  return root;
}

test('[fence] agent that cannot be run is refused: who finds out when it is needed takes nothing over', (t) => {
  const root = written(t);
  const agent = join(root, 'fence_here');
  const load = (name: string) => {
    writeFileSync(join(root, 'etc/twinbeat.ini'), `[fence]\nagent = ${name}\n`);
    const { config, messages } = loadConfig(root);
    return [config !== null, messages.filter(({ level }) => level === 'ERROR')[0]?.text];
  };
  const refused = (name: string) => [
    false,
    `/etc/twinbeat.ini: expected a program that can be run in [fence] agent, got ${name}`,
  ];
  t.deepEqual(load(agent), refused(agent));
  writeFileSync(agent, '');
  t.deepEqual(load(agent), refused(agent));
  chmodSync(agent, 0o755);
  t.deepEqual(load(agent), [true, undefined]);
  t.deepEqual(load('fence_nowhere'), refused('fence_nowhere'));
});

// A file system that hangs: a pipe that nobody writes to.
test('a reload waits for the file of the plug-in, before anything is read without waiting', async (t) => {
  const root = written(t, 'stonith external/null /etc/ha.d/stonith.cfg\n');
  const file = join(root, 'etc/ha.d/stonith.cfg');
  execFileSync('mkfifo', [file]);
  let isOver = false;
  const answered = filesAnswer(root).then(() => {
    isOver = true;
  });
  // Opening it for writing succeeds when it is being read, and not before.
  const fifo = await open(file, 'w');
  t.false(isOver);
  await fifo.close();
  await answered;
  t.true(isOver);
});
