import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ControlClient, ControlLostError } from '../../src/cli/control-client.js';

function makeRoot(t: ExecutionContext): string {
  const root = mkdtempSync(join(tmpdir(), 'tbc-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(join(root, 'run/twinbeat'), { recursive: true });
  return root;
}

/** A daemon whose behaviour per connection is `serve`. */
async function daemon(
  t: ExecutionContext,
  root: string,
  serve: (s: Socket) => void,
): Promise<Server> {
  const server = createServer(serve);
  await new Promise<void>((resolve) =>
    server.listen(join(root, 'run/twinbeat/drbdd.sock'), () => resolve()),
  );
  t.teardown(() => server.close());
  return server;
}

test('replies find their requests in any order and in any splitting', async (t) => {
  const root = makeRoot(t);
  await daemon(t, root, (socket) => {
    let text = '';
    socket.on('data', (b) => {
      text += b.toString();
      const lines = text.split('\n').filter((l) => l);
      if (lines.length < 2) return;
      const asked = lines.map((l) => JSON.parse(l) as { id: number; request: { verb: string } });
      const answers = asked
        .reverse()
        .map((a) => JSON.stringify({ id: a.id, reply: { ok: true, value: a.request.verb } }))
        .join('\n');
      for (const byte of Buffer.from(`${answers}\n`)) socket.write(Buffer.of(byte));
    });
  });
  const client = await ControlClient.connect(root);
  if (!client) return t.fail('no client');
  t.teardown(() => client.close());
  const replies = await Promise.all([
    client.request({ verb: 'status' }),
    client.request({ verb: 'running' }),
  ]);
  t.deepEqual(replies, [
    { ok: true, value: 'status' },
    { ok: true, value: 'running' },
  ]);
});

test('no socket file is not running; a file without listener is dead; both give null', async (t) => {
  const root = makeRoot(t);
  t.is(await ControlClient.connect(root), null);
  const missing = await ControlClient.open(root);
  t.is(missing.client === null && missing.kind, 'not-running');
  // A socket file stays behind when its maker is killed.
  const maker = spawnSync(process.execPath, [
    '-e',
    'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, 9))',
    join(root, 'run/twinbeat/drbdd.sock'),
  ]);
  t.is(maker.signal, 'SIGKILL');
  t.is(await ControlClient.connect(root), null);
  const dead = await ControlClient.open(root);
  t.is(dead.client === null && dead.kind, 'dead');
});

test('a connection that ends fails what waits, and what comes later', async (t) => {
  const root = makeRoot(t);
  await daemon(t, root, (socket) => socket.once('data', () => socket.destroy()));
  const client = await ControlClient.connect(root);
  if (!client) return t.fail('no client');
  await t.throwsAsync(client.request({ verb: 'status' }), { instanceOf: ControlLostError });
  await t.throwsAsync(client.request({ verb: 'status' }), { instanceOf: ControlLostError });
});

test('an answer that is no reply ends the connection and says so', async (t) => {
  const root = makeRoot(t);
  await daemon(t, root, (socket) => socket.once('data', () => void socket.write('hello\n')));
  const client = await ControlClient.connect(root);
  if (!client) return t.fail('no client');
  await t.throwsAsync(client.request({ verb: 'status' }), { message: /control protocol/ });
});
