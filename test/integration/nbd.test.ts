/** The NBD export against real clients: libnbd's and qemu's programs and fio. */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { SMALL_POOL } from '../../src/host/buffer-pool.js';
import type { IoOwner } from '../../src/host/io.js';
import { NbdServer } from '../../src/host/nbd-server.js';
import { openIo } from '../../src/real/open-io.js';
import {
  Command,
  CommandFlag,
  encodeExportQuery,
  encodeOption,
  Option,
  putRequest,
} from '../../src/wire/nbd.js';
import { command, succeed } from '../support/command.js';
import { need } from '../support/need.js';
import { PlainVolume } from '../support/plain-volume.js';
import { until } from '../support/until.js';

interface Export {
  readonly volume: PlainVolume;
  readonly server: NbdServer;
  readonly uri: string;
  readonly socket: string;
  readonly disk: string;
  readonly log: string[];
}

async function serve(t: ExecutionContext, sizeBytes: number): Promise<Export> {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-nbd-'));
  const disk = join(dir, 'disk');
  writeFileSync(disk, '');
  truncateSync(disk, sizeBytes);
  const { io } = openIo({ engine: 'auto', pool: SMALL_POOL, streams: 32 });
  const handle = await new Promise<number>((resolve) => {
    const owner: IoOwner = { ioDone: (_index, result) => resolve(result) };
    io.openDisk(disk, { write: true, exclusive: false }, io.register(owner));
    io.submit();
  });
  const volume = new PlainVolume(io, handle, 0);
  const socket = join(dir, 'socket');
  const log: string[] = [];
  const exports = new Map([['r0', volume]]);
  const server = new NbdServer({ io, exports: () => exports, log: (text) => log.push(text) });
  io.onBatchEnd(() => {
    server.turn();
    io.submit();
  });
  t.is(server.listen({ family: 'unix', path: socket }), 0);
  io.submit();
  t.teardown(async () => {
    server.close();
    await io.destroy();
    rmSync(dir, { recursive: true });
  });
  return { volume, server, uri: `nbd+unix:///r0?socket=${socket}`, socket, disk, log };
}

test('nbdinfo sees size, abilities and the list of exports', async (t) => {
  if (!need(t, 'nbdinfo')) return;
  const { uri, volume } = await serve(t, 8 << 20);
  const { exports } = JSON.parse(await succeed('nbdinfo', '--json', uri)) as {
    exports: Record<string, unknown>[];
  };
  const info = exports[0] ?? {};
  t.is(info['export-size'], 8 << 20);
  t.is(info['is_read_only'], false);
  for (const can of ['can_flush', 'can_fua', 'can_trim', 'can_zero', 'can_multi_conn']) {
    t.is(info[can], true, can);
  }
  t.is(info['block_size_minimum'], 512);
  t.is(info['block_size_maximum'], 1 << 20);
  const list = await succeed('nbdinfo', '--list', uri);
  t.regex(list, /export="r0"/);
  t.is(volume.writers, 0, 'every question closed what it opened');
});

test('nbdcopy brings a file there and back over several connections', async (t) => {
  if (!need(t, 'nbdcopy')) return;
  const { uri, disk } = await serve(t, 8 << 20);
  const from = `${disk}.from`;
  const back = `${disk}.back`;
  const bytes = Buffer.alloc(8 << 20);
  for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i);
  writeFileSync(from, bytes);
  await succeed('nbdcopy', '--flush', '--connections=4', from, uri);
  t.true(readFileSync(disk).equals(bytes), 'the disk holds the file');
  await succeed('nbdcopy', uri, back);
  t.true(readFileSync(back).equals(bytes), 'and gives it back');
});

test('qemu-io writes, zeroes, trims and reads back', async (t) => {
  if (!need(t, 'qemu-io')) return;
  const { uri, volume } = await serve(t, 8 << 20);
  const steps = [
    'write -P 0xaa 0 1M',
    'write -f -P 0xbb 1M 64k',
    'write -z 1M 4k',
    'write -zu 2M 1M',
    'discard 3M 1M',
    'flush',
    'read -P 0xaa 0 1M',
    'read -P 0 1M 4k',
    'read -P 0xbb 1028k 60k',
    'read -P 0 2M 1M',
  ];
  const args = steps.flatMap((step) => ['-c', step]);
  const out = await succeed('qemu-io', '-f', 'raw', '-t', 'none', '-d', 'unmap', ...args, uri);
  t.notRegex(out, /verification failed/i);
  t.true(volume.asked.fua > 0);
  t.true(volume.asked.flush > 0);
  t.true(volume.asked.discard > 0);
  t.true(volume.asked.zero > 1);
});

test('fio verifies random writes at queue depth 32', async (t) => {
  if (!need(t, 'fio')) return;
  if (!(await command('fio', '--enghelp')).stdout.includes('nbd')) {
    need(t, 'fio with the nbd engine');
    return;
  }
  const { uri, volume } = await serve(t, 16 << 20);
  await succeed(
    'fio',
    ...[
      '--name=v',
      '--verify_state_save=0',
      '--ioengine=nbd',
      `--uri=${uri}`,
      '--rw=randwrite',
      '--bsrange=4k-128k',
    ],
    ...['--iodepth=32', '--size=16m', '--verify=crc32c', '--verify_fatal=1', '--do_verify=1'],
  );
  t.true(volume.asked.write > 100);
});

test('a Secondary is listed but refused with the reason', async (t) => {
  if (!need(t, 'nbdinfo', 'qemu-io')) return;
  const { uri, volume } = await serve(t, 1 << 20);
  volume.role = 'Secondary';
  const info = await command('nbdinfo', '--size', uri);
  t.not(info.code, 0);
  const qemu = await command('qemu-io', '-f', 'raw', '-c', 'read 0 512', uri);
  t.not(qemu.code, 0);
  t.regex(qemu.stderr + qemu.stdout, /'r0' is Secondary here/);
});

/** A raw client: sends bytes, collects what comes until the server closes or `wanted` bytes are there. */
function raw(socket: string, send: Uint8Array, wanted: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const client = net.connect(socket);
    const parts: Buffer[] = [];
    let count = 0;
    client.on('data', (chunk) => {
      parts.push(chunk);
      count += chunk.length;
      if (count >= wanted) client.destroy();
    });
    client.on('error', reject);
    client.on('close', () => resolve(Buffer.concat(parts)));
    client.write(send);
  });
}

const START = Buffer.concat([
  Buffer.from([0, 0, 0, 3]), // client flags: fixed newstyle, no zeroes
  encodeOption(Option.GO, encodeExportQuery({ name: 'r0', infos: [] })),
]);
const HANDSHAKE_BYTES = 18 + 20 + 12 + 20 + 14 + 20;

function request(type: number, flags: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(28);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  putRequest(view, 0, type, flags, 0xdeadbeef, 0x80000001, offset, length);
  return bytes;
}

test('requests beyond the end, unaligned or unknown are refused, the connection goes on', async (t) => {
  const { socket } = await serve(t, 1 << 20);
  const wrong: [Buffer, number][] = [
    [request(Command.READ, 0, 1 << 20, 512), 22],
    [Buffer.concat([request(Command.WRITE, 0, (1 << 20) - 512, 1024), Buffer.alloc(1024)]), 28],
    [request(Command.READ, 0, 100, 512), 22],
    [request(Command.READ, 0, 0, 2 << 20), 22],
    [request(Command.TRIM, 0, 1 << 20, 512), 28],
    [request(Command.WRITE_ZEROES, CommandFlag.FUA, 2 ** 52, 512), 28],
    [request(77, 0, 0, 512), 22],
    [request(Command.FLUSH, 0, 0, 0), 0],
  ];
  const send = Buffer.concat([START, ...wrong.map(([bytes]) => bytes)]);
  const got = await raw(socket, send, HANDSHAKE_BYTES + wrong.length * 16);
  const replies = got.subarray(HANDSHAKE_BYTES);
  t.is(replies.length, wrong.length * 16);
  const errors: number[] = [];
  for (let at = 0; at < replies.length; at += 16) {
    t.is(replies.readUInt32BE(at), 0x67446698);
    t.is(replies.readUInt32BE(at + 8), 0xdeadbeef);
    t.is(replies.readUInt32BE(at + 12), 0x80000001);
    errors.push(replies.readUInt32BE(at + 4));
  }
  const sorted = (list: number[]) => [...list].sort((a, b) => a - b);
  t.deepEqual(sorted(errors), sorted(wrong.map(([, error]) => error)));
});

test('garbage and oversized writes close their own connection and no other', async (t) => {
  const { socket, volume, server, log } = await serve(t, 1 << 20);
  const good = net.connect(socket);
  t.teardown(() => good.destroy());
  await new Promise<void>((resolve) => good.once('data', () => resolve()));
  for (const bad of [
    Buffer.alloc(4, 0xff), // unknown client flags
    Buffer.concat([START.subarray(0, 4), Buffer.alloc(16, 7)]), // no option
    Buffer.concat([START, Buffer.alloc(28, 9)]), // no request
    Buffer.concat([START, request(Command.WRITE, 0, 0, 0xfffffe00)]),
  ]) {
    await raw(socket, bad, Number.POSITIVE_INFINITY);
  }
  t.is(log.length, 4, log.join('\n'));
  t.is(server.connections, 1);
  t.is(volume.writers, 0, 'a closed connection releases the volume');
  good.write(START);
  const answer = await new Promise<Buffer>((resolve) => good.once('data', resolve));
  t.true(answer.length > 0);
});

test('a client that goes in the middle of a write leaves nothing behind', async (t) => {
  const { socket, volume, server } = await serve(t, 1 << 20);
  const half = Buffer.concat([START, request(Command.WRITE, 0, 0, 65536), Buffer.alloc(1000)]);
  await raw(socket, half, HANDSHAKE_BYTES);
  await until(() => server.connections === 0, 'the end of its connection', 1);
  t.is(volume.asked.write, 0);
  t.is(volume.writers, 0);
});

test('twelve connections with more in work than there are buffers all get their data', async (t) => {
  const { socket, disk } = await serve(t, 1 << 20);
  const bytes = Buffer.alloc(1 << 20);
  for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(i, i);
  writeFileSync(disk, bytes);
  // SMALL_POOL has 8 buffers of 1 MiB; 12 clients ask for three each at once.
  const three = [0, 1, 2].map(() => request(Command.READ, 0, 0, 1 << 20));
  const wanted = HANDSHAKE_BYTES + 3 * (16 + (1 << 20));
  const send = Buffer.concat([START, ...three]);
  const got = await Promise.all(Array.from({ length: 12 }, () => raw(socket, send, wanted)));
  for (const all of got) {
    t.is(all.length, wanted);
    t.true(all.subarray(wanted - (1 << 20)).equals(bytes));
  }
});
