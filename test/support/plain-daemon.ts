/**
 * A daemon without replication, for tests of everything between a volume and its user: one disk served as minor 0.
 *
 *     node plain-daemon.js ROOT DISK      [below the angel: as often as it dies]
 *
 * Prints one JSON object a line: {"event":"ready","incarnation":n,"loop":...} and the answer to each command line
 * that it reads from stdin: activate, deactivate, secondary, primary, remove, create, holders, resize BYTES, stats, drain,
 * stick FILE, shutdown, exit N.
 */
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';
import { SMALL_POOL } from '../../src/host/buffer-pool.js';
import { DEFAULT_FEED, FuseServer } from '../../src/host/fuse-server.js';
import type { Io, IoOwner } from '../../src/host/io.js';
import { StatusFile } from '../../src/host/status-file.js';
import { type Attachment, angelDescriptors, DeviceManager } from '../../src/real/device-manager.js';
import { fuseMounts } from '../../src/real/fuse-mount.js';
import { openIo } from '../../src/real/open-io.js';
import { PlainVolume } from './plain-volume.js';

const [, , root = '', disk = ''] = process.argv;
const incarnation = Number(process.env['TWINBEAT_INCARNATION'] ?? '1');
const SPEC = { minor: 0, device: '/dev/drbd0', resource: 'r0', volume: 0 };
const LOOP = { blockBytes: 512, discard: true };

function say(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

function openDisk(io: Io, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const owner: IoOwner = {
      ioDone: (_index, result) =>
        result < 0 ? reject(new Error(`errno ${-result}`)) : resolve(result),
    };
    io.openDisk(path, { write: true, exclusive: false }, io.register(owner));
    io.submit();
  });
}

const { io, engine } = openIo({
  engine: process.env['TWINBEAT_ENGINE'] === 'fallback' ? 'fallback' : 'auto',
  pool: SMALL_POOL,
  streams: 4,
});
io.pool.fill(0); // resident: a page that is not there when SIGKILL comes turns an answer into EIO
const volume = new PlainVolume(io, await openDisk(io, disk), 0);
const devices = await DeviceManager.open({
  root,
  descriptors: angelDescriptors(process.env['TWINBEAT_FUSE_FDS']),
  incarnation,
  mounts: fuseMounts(),
});
const servers: { turn(): void }[] = [];
io.onBatchEnd(() => {
  for (const server of servers) server.turn();
  io.submit();
});

let server: FuseServer | null = null;

function serve(attachment: Attachment): void {
  if (attachment.reused) {
    server?.setVolume(volume);
    return;
  }
  server = new FuseServer({
    io,
    descriptor: attachment.descriptor,
    volume,
    successor: attachment.successor,
    openWriters: attachment.openWriters,
    ownerUid: 0,
    feed: DEFAULT_FEED,
    ended: (error) => say({ event: 'ended', error }),
  });
  volume.writers += attachment.openWriters;
  server.start();
  servers.push(server);
  io.submit();
}

const status = await devices.statusFile();
const statusFile = new StatusFile({
  io,
  descriptor: status.descriptor,
  successor: status.successor,
  render: () => `minor 0 ${volume.role}\n`,
  ended: () => {},
});
statusFile.start();
servers.push(statusFile);
io.submit();

const adopted = await devices.adopt(0);
let loop: string | null = null;
if (adopted) {
  serve(adopted);
  loop = await devices.settle(0);
} else {
  serve(await devices.create(SPEC));
  loop = await devices.activate(0, LOOP);
}
say({ event: 'ready', incarnation, engine, loop, pid: process.pid });

async function command(line: string): Promise<object> {
  const [verb, argument = ''] = line.split(' ');
  switch (verb) {
    case 'activate':
      return { loop: await devices.activate(0, LOOP) };
    case 'deactivate':
      return devices.deactivate(0);
    case 'primary':
      volume.role = 'Primary';
      return {};
    case 'secondary':
      volume.role = 'Secondary';
      return {};
    case 'remove': {
      const released = await devices.remove(0);
      return { ...released, parked: released.ok && server?.setVolume(null) };
    }
    case 'create':
      serve(await devices.create(SPEC));
      return {};
    case 'holders':
      return { holders: await devices.holders(0) };
    case 'resize':
      volume.sizeSectors = Number(argument) / 512;
      await devices.resized(0);
      return {};
    case 'stats':
      return { ...volume.asked, readers: volume.readers, writers: volume.writers };
    case 'drain':
      return new Promise((resolve) => {
        server?.drain(() => resolve({ drained: true }));
        server?.turn();
        io.submit();
      });
    case 'stick': {
      // A thread of this very process waits for an answer that this process will never give.
      volume.stuck = true;
      const code = `const fs = require('node:fs');
        fs.readSync(fs.openSync(${JSON.stringify(argument)}), Buffer.alloc(4096));`;
      new Worker(code, { eval: true });
      while (volume.asked.read === 0) await new Promise((resolve) => setImmediate(resolve));
      return {};
    }
    case 'shutdown':
      await devices.shutdown();
      return {};
    default:
      return { error: `unknown: ${line}` };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line.startsWith('exit ')) process.exit(Number(line.slice(5)));
  try {
    say({ answer: line, ...(await command(line)) });
  } catch (error) {
    say({ answer: line, error: String(error) });
  }
}
