/** The addon's life: garbage collection, workers that load it anew, ends in the middle of I/O. Each in a process of its own. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';

const ENGINE = new URL('../../src/real/native-io.js', import.meta.url).href;

/** Code that starts an engine with a disk and a connection, all busy. */
const BUSY = `
import { NativeIo } from '${ENGINE}';
const POOL = { head: 64, small: 256, medium: 8, large: 4 };
const PLAIN = { sendBufferBytes: 0, receiveBufferBytes: 0 };
export function busy(path, socket, started) {
  const io = new NativeIo({ pool: POOL, streams: 4 });
  io.onBatchEnd(() => io.submit());
  const buffers = Array.from({ length: 64 }, () => io.alloc(4096));
  const big = io.alloc(1 << 20);
  let disk = -1, writes = 0, next = 0;
  const write = (i) => io.writeDisk(disk, (next++ % 1024) * 4096, buffers[i], 4096, false, base + i);
  const base = io.register({
    ioDone: (i, result) => {
      if (i === 1000) { disk = result; for (let k = 0; k < 64; k++) write(k); return; }
      if (i === 1001) {
        io.attachStream(result, { streamData() {}, streamEnd() {} });
        for (let k = 0; k < 20; k++) io.send(result, big, 1 << 20, 0xffffffff);
        io.receive(result, 0, io.alloc(65536), 65536, 0xffffffff);
        return;
      }
      if (result !== 4096) throw new Error('write: ' + result);
      if (++writes === 500) started(io);
      write(i);
    },
  });
  io.listen({ family: 'unix', path: socket }, PLAIN, { accepted() {} });
  io.openDisk(path, { write: true, exclusive: false }, base + 1000);
  io.connect({ family: 'unix', path: socket }, null, 1000, PLAIN, base + 1001);
  io.submit();
}
`;

interface Outcome {
  readonly code: number | string | null;
  readonly out: string;
}

async function run(t: ExecutionContext, program: string): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-life-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'disk'), '');
  truncateSync(join(dir, 'disk'), 1024 * 4096);
  writeFileSync(join(dir, 'busy.mjs'), BUSY);
  writeFileSync(join(dir, 'main.mjs'), program);
  return new Promise((resolve) => {
    const args = ['--expose-gc', join(dir, 'main.mjs'), dir];
    execFile(process.execPath, args, { timeout: 60_000 }, (error, stdout, stderr) =>
      resolve({ code: error ? (error.code ?? error.signal ?? null) : 0, out: stdout + stderr }),
    );
  });
}

function native(title: string, program: string, want: { code: number; out: RegExp }): void {
  test(title, async (t) => {
    if (!need(t, 'io_uring')) return;
    const { code, out } = await run(t, program);
    t.regex(out, want.out);
    t.is(code, want.code, out);
  });
}

native(
  'process.exit in the middle of I/O',
  `import { busy } from './busy.mjs';
   const dir = process.argv[2];
   busy(dir + '/disk', dir + '/s', () => { console.log('busy'); process.exit(7); });`,
  { code: 7, out: /^busy\n$/ },
);

native(
  'an exception in a completion ends the process with its message, not a crash',
  `import { busy } from './busy.mjs';
   const dir = process.argv[2];
   busy(dir + '/disk', dir + '/s', () => { throw new Error('from a completion'); });`,
  { code: 1, out: /Error: from a completion/ },
);

native(
  'two workers with an engine each; one ends by itself, one is terminated, both in the middle of I/O',
  `import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
   import { busy } from './busy.mjs';
   if (!isMainThread) {
     const { dir, name } = workerData;
     busy(dir + '/disk', dir + '/' + name, () => {
       parentPort.postMessage('busy');
       if (name === 'own') process.exit(3);
     });
   } else {
     const dir = process.argv[2];
     for (let round = 0; round < 3; round++) {
       const ends = ['own', 'terminated'].map((name) => new Promise((resolve, reject) => {
         const w = new Worker(new URL(import.meta.url), { workerData: { dir, name } });
         w.on('error', reject);
         w.on('message', () => { if (name === 'terminated') void w.terminate(); });
         w.on('exit', resolve);
       }));
       console.log((await Promise.all(ends)).join());
     }
   }`,
  { code: 0, out: /^(3,1\n){3}$/ },
);

native(
  'engines come and go: memory is given back after destroy',
  `import { NativeIo } from '${ENGINE}';
   const POOL = { head: 64, small: 256, medium: 8, large: 16 };
   const turn = () => new Promise((r) => setImmediate(r));
   let after10 = 0;
   for (let i = 0; i < 40; i++) {
     const io = new NativeIo({ pool: POOL, streams: 4 });
     io.pool.fill(i);
     await io.destroy();
     await turn();
     gc();
     await turn();
     if (i === 9) after10 = process.memoryUsage().rss;
   }
   gc(); await turn(); gc(); await turn();
   const grown = (process.memoryUsage().rss - after10) / (1 << 20);
   console.log(grown < 40 ? 'steady' : 'grown by ' + grown + ' MiB');`,
  { code: 0, out: /^steady\n$/ },
);

native(
  'the pool outlives its engine while somebody holds it, and garbage collection does not take a busy engine',
  `import { busy } from './busy.mjs';
   const dir = process.argv[2];
   let pool = null;
   busy(dir + '/disk', dir + '/s', (io) => {
     pool = io.pool;
     let rounds = 0;
     const timer = setInterval(() => {
       gc();
       if (++rounds < 10) return;
       clearInterval(timer);
       process.exitCode = 0;
       pool.fill(9);
       console.log('alive', pool[pool.length - 1]);
       process.exit();
     }, 5);
   });`,
  { code: 0, out: /^alive 9\n$/ },
);
