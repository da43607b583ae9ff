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
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { configTimes } from '../../src/real/heartbeat-config.js';

test('modification times; of a file that cannot be looked at none, not that of 1970', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'twinbeat-times-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const dir = join(root, 'etc', 'ha.d');
  mkdirSync(dir, { recursive: true });
  for (const [i, name] of ['ha.cf', 'haresources', 'authkeys'].entries()) {
    writeFileSync(join(dir, name), '');
    utimesSync(join(dir, name), i, i);
  }
  t.deepEqual(configTimes(root), { haCf: 0, haresources: 1000, authkeys: 2000 });
  unlinkSync(join(dir, 'ha.cf'));
  unlinkSync(join(dir, 'authkeys'));
  symlinkSync('authkeys', join(dir, 'authkeys'));
  t.deepEqual(configTimes(root), { haCf: null, haresources: 1000, authkeys: null });
});
