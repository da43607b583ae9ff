/**
 * A pair for peer-bench: two drbdd on loopback over the two files that peer-bench gives, in sync, with the near node
 * Primary. `node build/bench/pair-target.js nbd|dev` prints the READY line that bench/README.md describes.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const SRC = join(dirname(fileURLToPath(import.meta.url)), '../src/bin');
const kind = process.argv[2] === 'dev' ? 'dev' : 'nbd';
const disks = [process.env['PEER_BENCH_REPLICA0'] ?? '', process.env['PEER_BENCH_REPLICA1'] ?? ''];
if (disks.some((d) => d === ''))
  throw new Error('peer-bench gives the disks in PEER_BENCH_REPLICA0 and 1');

const dir = mkdtempSync(join(tmpdir(), 'twinbeat-bench-'));
const NAMES = ['near', 'far'] as const;
const roots = NAMES.map((name) => join(dir, name));

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', () => done()));
  const address = server.address();
  await new Promise<void>((done) => server.close(() => done()));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

function environment(i: number): NodeJS.ProcessEnv {
  return { ...process.env, TWINBEAT_ROOT: roots[i], __DRBD_NODE__: NAMES[i] };
}

async function drbdadm(i: number, ...args: readonly string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [join(SRC, 'drbdadm.js'), ...args], {
    env: environment(i),
  });
  return stdout;
}

const ports = [await freePort(), await freePort()];
const host = (i: number): string => `  on ${NAMES[i]} {
    device /dev/drbd${i} minor ${i};
    disk ${disks[i]};
    address 127.0.0.1:${ports[i]};
    meta-disk internal;
  }`;
// Options as they come, but for room: 1 MiB writes at depth 32 are more than max-buffers' default.
const config = `global { usage-count no; disable-ip-verification; }
resource r0 {
  net { protocol C; max-buffers 8192; ${process.env['TWINBEAT_BENCH_NET'] ?? ''} }
  disk { ${process.env['TWINBEAT_BENCH_DISK'] ?? ''} }
${host(0)}
${host(1)}
}
`;
const daemons: ChildProcess[] = [];
for (const [i, root] of roots.entries()) {
  mkdirSync(join(root, 'etc'), { recursive: true });
  mkdirSync(join(root, 'dev'), { recursive: true });
  writeFileSync(join(root, 'etc/drbd.conf'), config);
  const driver = kind === 'dev' && i === 0 ? 'fuse' : 'export';
  writeFileSync(
    join(root, 'etc/twinbeat.ini'),
    `[drbdd]\ndevice-driver = ${driver}\npool-mib = 256\n${process.env['TWINBEAT_BENCH_INI'] ?? ''}`,
  );
  const daemon = spawn(process.execPath, [join(SRC, 'drbdd.js')], {
    env: environment(i),
    stdio: ['ignore', 'ignore', process.env['TWINBEAT_BENCH_LOG'] ? 'inherit' : 'ignore'],
  });
  daemons.push(daemon);
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await holds().catch(() => false)) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`not within 30 s: ${what}`);
}

let ending = false;
async function end(): Promise<void> {
  if (ending) return;
  ending = true;
  for (const daemon of daemons) daemon.kill('SIGTERM');
  await Promise.all(
    daemons.map((d) => (d.exitCode === null ? new Promise((done) => d.once('exit', done)) : null)),
  );
  rmSync(dir, { recursive: true, force: true });
  process.exit(0);
}
process.on('SIGTERM', () => void end());
process.on('SIGINT', () => void end());

try {
  for (const i of [0, 1]) {
    await until(`drbdd of ${NAMES[i]}`, async () => (await drbdadm(i, 'sh-nop')) === '');
    await drbdadm(i, 'create-md', '--force', 'r0');
    await until(`${NAMES[i]} up`, async () => {
      await drbdadm(i, 'up', 'r0');
      return true;
    });
  }
  await until('connected', async () => (await drbdadm(0, 'cstate', 'r0')).trim() === 'Connected');
  await drbdadm(0, 'new-current-uuid', '--clear-bitmap', 'r0/0');
  await drbdadm(0, 'primary', 'r0');
  const pids = daemons.map((d) => d.pid).join(',');
  const where =
    kind === 'nbd'
      ? `nbd:nbd+unix:///r0?socket=${roots[0]}/run/twinbeat/export.sock`
      : `dev:${(await run('readlink', ['-f', join(roots[0] ?? '', 'dev/drbd0')])).stdout.trim()}`;
  process.stdout.write(`READY ${where} pids=${pids}\n`);
} catch (e) {
  process.stderr.write(`${e instanceof Error ? e.stack : String(e)}\n`);
  await end();
}
