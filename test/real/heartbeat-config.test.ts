/** What heartbeat sees of its files at a reload. */
import {
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { configTimes, loadConfig } from '../../src/real/heartbeat-config.js';

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
