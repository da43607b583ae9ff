/**
 * The I/O engine alone, one comparable line: `node build/bench/io-engine.js [native|fallback] [seconds]`.
 *
 * QD32 4 KiB random writes to a file (O_DIRECT in the native engine), and 4 KiB echo over loopback TCP with one and
 * with 32 messages under way, both ends in this thread.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Prng } from '../src/base/prng.js';
import { SMALL_POOL } from '../src/host/buffer-pool.js';
import { type Io, NO_TAG } from '../src/host/io.js';
import { openIo } from '../src/real/open-io.js';

const FILE_BYTES = 256 << 20;
const PLAIN = { sendBufferBytes: 0, receiveBufferBytes: 0 };

interface Rate {
  readonly perSecond: number;
  readonly cpuUs: number; // per operation, this process
}

/** Runs `start` until `seconds` are over; `count` is called once per operation. */
async function measure(
  seconds: number,
  start: (count: () => boolean) => void,
  idle: () => boolean,
): Promise<Rate> {
  let operations = 0;
  const begin = performance.now();
  const cpu = process.cpuUsage();
  const endMs = begin + seconds * 1000;
  start(() => {
    operations++;
    return performance.now() < endMs;
  });
  while (!idle()) await new Promise((resolve) => setTimeout(resolve, 5));
  const used = process.cpuUsage(cpu);
  const elapsed = (performance.now() - begin) / 1000;
  return { perSecond: operations / elapsed, cpuUs: (used.user + used.system) / operations };
}

function completion(io: Io): (tagOf: (tag: number) => void) => Promise<number> {
  let resolve: (result: number) => void = () => {};
  const tag = io.register({ ioDone: (_index, result) => resolve(result) });
  return (run) =>
    new Promise((r) => {
      resolve = r;
      run(tag);
      io.submit();
    });
}

async function diskWrites(io: Io, path: string, seconds: number, depth: number): Promise<Rate> {
  const once = completion(io);
  const disk = await once((tag) => io.openDisk(path, { write: true, exclusive: false }, tag));
  if (disk < 0) throw new Error(`open ${path}: ${disk}`);
  const random = new Prng(1);
  const buffers = Array.from({ length: depth }, () => io.alloc(4096));
  let running = depth;
  let count: () => boolean = () => false;
  let base = 0;
  const write = (index: number) => {
    const offset = random.below(FILE_BYTES / 4096) * 4096;
    io.writeDisk(disk, offset, buffers[index] as number, 4096, false, base + index);
  };
  base = io.register({
    ioDone: (index, result) => {
      if (result !== 4096) throw new Error(`write: ${result}`);
      if (count()) write(index);
      else running--;
    },
  });
  const rate = await measure(
    seconds,
    (c) => {
      count = c;
      for (let i = 0; i < depth; i++) write(i);
      io.submit();
    },
    () => running === 0,
  );
  for (const at of buffers) io.free(at);
  io.close(disk);
  return rate;
}

async function echo(io: Io, port: number, seconds: number, depth: number): Promise<Rate> {
  const once = completion(io);
  let server = -1;
  const at = { family: 'ipv4', host: '127.0.0.1', port } as const;
  const listener = io.listen(at, PLAIN, {
    accepted: (_l, stream) => {
      server = stream;
      io.attachStream(stream, {
        streamData: (s, start, end) => {
          // Echo whole messages out of a buffer of their own, as a replica does with data.
          let from = start;
          while (end - from >= 4096 + 16) {
            const buffer = io.alloc(4096);
            io.receive(s, 16, buffer, 4096, NO_TAG);
            io.pool.copyWithin(buffer - 16, from, from + 16);
            io.send(s, buffer - 16, 4096 + 16, tag + (buffer >>> 12));
            from += 4096 + 16;
          }
        },
        streamEnd: () => {},
      });
    },
  });
  if (listener < 0) throw new Error(`listen: ${listener}`);
  const tag = io.register({ ioDone: (index) => io.free(index << 12) });
  const client = await once((t) => io.connect(at, null, 1000, PLAIN, t));
  let running = depth;
  let count: () => boolean = () => false;
  const source = io.alloc(65536);
  io.attachStream(client, {
    streamData: (s, start, end) => {
      for (let from = start; end - from >= 4096 + 16; from += 4096 + 16) {
        io.consume(s, 4096 + 16);
        if (count()) io.send(s, source - 16, 4096 + 16, NO_TAG);
        else running--;
      }
    },
    streamEnd: () => {},
  });
  const rate = await measure(
    seconds,
    (c) => {
      count = c;
      for (let i = 0; i < depth; i++) io.send(client, source - 16, 4096 + 16, NO_TAG);
      io.submit();
    },
    () => running === 0,
  );
  for (const handle of [client, server, listener]) io.close(handle);
  io.free(source);
  io.submit();
  return rate;
}

const [which = 'auto', secondsText = '3'] = process.argv.slice(2);
const seconds = Number(secondsText);
const engine = which === 'native' || which === 'fallback' ? which : 'auto';
const opened = openIo({ engine, pool: SMALL_POOL, streams: 8 });
const { io } = opened;
io.onBatchEnd(() => io.submit());
const dir = mkdtempSync(join(tmpdir(), 'twinbeat-bench-'));
try {
  const path = join(dir, 'disk');
  const chunk = new Uint8Array(1 << 20);
  for (let i = 0; i < FILE_BYTES; i += chunk.length) writeFileSync(path, chunk, { flag: 'a' });
  const show = (r: Rate) => `${Math.round(r.perSecond)}/s ${r.cpuUs.toFixed(1)} us CPU`;
  const disk = await diskWrites(io, path, seconds, 32);
  const echo1 = await echo(io, 17877, seconds, 1);
  const echo32 = await echo(io, 17878, seconds, 32);
  console.log(
    `io-engine ${opened.engine}: write 4K QD32 ${show(disk)}; echo 4K x1 ${show(echo1)}; x32 ${show(echo32)}`,
  );
  for (const remark of opened.remarks) console.log(`  ${remark}`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
await io.destroy();
