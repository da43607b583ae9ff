/** The world of the conformance suite for engines on the real system: files, loopback, real time. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { Io } from '../../src/host/io.js';
import type { Rig } from '../host/io-conformance.js';
import { ownAddress } from '../support/engines.js';
import { until } from '../support/until.js';

export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Listens with a backlog of one in a process that never accepts. */
const HOLE = `
const handle = require('net')._createServerHandle('127.0.0.1', 0, 4);
handle.listen(1);
const out = {};
handle.getsockname(out);
require('fs').writeSync(1, String(out.port) + '\\n');
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
`;

async function blackHole(t: ExecutionContext): Promise<number> {
  const child = spawn(process.execPath, ['-e', HOLE], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const port = await new Promise<number>((resolve) =>
    child.stdout.once('data', (text) => resolve(Number(String(text).trim()))),
  );
  // Fill its backlog.
  for (let i = 0; i < 3; i++) {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.unref();
    t.teardown(() => socket.destroy());
  }
  return port;
}

export async function realRig(t: ExecutionContext, io: Io): Promise<Rig> {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-io-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  let names = 0;
  let closed: Promise<void> | null = null;
  return {
    io,
    until: (ready, what) => until(ready, what, 1),
    disk: (sizeBytes) => {
      const path = join(dir, `disk${names++}`);
      writeFileSync(path, '');
      truncateSync(path, sizeBytes);
      return path;
    },
    growDisk: (path, sizeBytes) => truncateSync(path, sizeBytes),
    // An address of its own: a port of 127.0.0.1 may be anybody's next one.
    tcp: async () => ({ family: 'ipv4', host: ownAddress(), port: await freePort() }),
    blackHole: async () => ({ family: 'ipv4', host: '127.0.0.1', port: await blackHole(t) }),
    secondHost: '127.0.0.2',
    foreignHost: '192.0.2.1',
    unixPath: () => join(dir, `socket${names++}`),
    close: () => {
      closed ??= io.destroy();
      return closed;
    },
  };
}
