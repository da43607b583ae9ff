/** The file of the other nodes' generations: written aside, whole, the newest last. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { loadPeers, savePeers } from '../../src/host/heartbeat-state.js';
import { livesFiles, PEERS_FILE } from '../../src/real/heartbeat-files.js';
import { until } from '../support/until.js';

function directory(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-peers-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test('written again and again: the newest is there in the end, and nothing beside it', async (t) => {
  const root = directory(t);
  const failures: string[] = [];
  const files = livesFiles(root, (text) => failures.push(text));
  t.deepEqual(loadPeers(files), new Map());
  for (let generation = 1; generation <= 100; generation++) {
    savePeers(files, new Map([['b', generation]]));
  }
  t.false(existsSync(root + PEERS_FILE), 'not inside the call: the disk may hang');
  await until(
    () => existsSync(root + PEERS_FILE) && readFileSync(root + PEERS_FILE, 'latin1') === 'b 100\n',
    'the newest',
  );
  t.deepEqual(loadPeers(livesFiles(root)), new Map([['b', 100]]));
  t.deepEqual(readdirSync(dirname(root + PEERS_FILE)), ['heartbeat.peers']);
  t.deepEqual(failures, []);
});

test('it cannot be written, or read: said, and nothing is known', async (t) => {
  const root = directory(t);
  const failures: string[] = [];
  const files = livesFiles(root, (text) => failures.push(text));
  mkdirSync(join(root, 'var/lib'), { recursive: true });
  writeFileSync(join(root, 'var/lib/twinbeat'), '');
  savePeers(files, new Map([['b', 7]]));
  await until(() => failures.length > 0, 'what failed');
  t.regex(failures.join('\n'), /^cannot write .*heartbeat\.peers: /);
  rmSync(join(root, 'var/lib/twinbeat'));
  mkdirSync(root + PEERS_FILE, { recursive: true });
  failures.length = 0;
  t.deepEqual(loadPeers(files), new Map());
  t.regex(failures.join('\n'), /^cannot read .*heartbeat\.peers: EISDIR/);
});
