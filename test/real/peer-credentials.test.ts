/** Who is at the other end of a UNIX socket: another process, of another user. */
import { execFile } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import test from 'ava';
import { peerCredentials } from '../../src/real/native-addon.js';
import { need } from '../support/need.js';

const NOBODY = 65_534;

/** Node does not name the descriptor of a socket in its interface. */
function descriptorOf(socket: Socket): number {
  return (socket as unknown as { readonly _handle: { readonly fd: number } })._handle.fd;
}

test('a process of another user is known by its numbers', async (t) => {
  if (!need(t, 'root', 'setpriv', 'socat', resolve('build/native/twinbeat.node'))) return;
  const dir = mkdtempSync(join(tmpdir(), 'peer-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  chmodSync(dir, 0o755);
  const path = join(dir, 'socket');
  const server = createServer();
  t.teardown(() => server.close());
  await new Promise<void>((done) => server.listen(path, done));
  chmodSync(path, 0o666);
  const connected = new Promise<Socket>((done) => server.once('connection', done));
  const nobody = ['--reuid', String(NOBODY), '--regid', String(NOBODY), '--clear-groups'];
  const child = execFile('setpriv', [...nobody, 'socat', '-u', `UNIX-CONNECT:${path}`, '-']);
  const socket = await connected;
  t.deepEqual(peerCredentials(descriptorOf(socket)), {
    pid: child.pid ?? 0,
    uid: NOBODY,
    gid: NOBODY,
  });
  socket.destroy();
});

test('what is no socket has nobody', (t) => {
  if (!need(t, resolve('build/native/twinbeat.node'))) return;
  const file = openSync('/dev/null', 'r');
  t.teardown(() => closeSync(file));
  t.throws(() => peerCredentials(file), { message: /^SO_PEERCRED: / });
});
