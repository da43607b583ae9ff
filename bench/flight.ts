/**
 * What the flight recorder costs: two pairs of daemons, one with it and one without, are written to by fio in turn (4 KiB,
 * random, queue depth 32), for a short while each. The ratio of each round, and their median. Replicas are in memory, or in
 * files of DIRECTORY. Both pairs run all the time: an idle one costs nothing.
 * `node build/bench/flight.js [ROUNDS [SECONDS [DIRECTORY]]]`; needs fio with its nbd engine.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const HERE = dirname(fileURLToPath(import.meta.url));
const rounds = Number(process.argv[2] ?? '8');
const seconds = Number(process.argv[3] ?? '3');
const DISK_BYTES = 256 << 20;

interface Target {
  readonly process: ChildProcess;
  readonly uri: string;
  readonly pids: readonly number[];
}

const dir = mkdtempSync(join(process.argv[4] ?? '/dev/shm', 'twinbeat-flight-'));

async function start(name: string, enabled: 'yes' | 'no'): Promise<Target> {
  const disks = ['0', '1'].map((n) => join(dir, `${name}${n}`));
  for (const disk of disks) {
    writeFileSync(disk, '');
    truncateSync(disk, DISK_BYTES);
  }
  const child = spawn(process.execPath, [join(HERE, 'pair-target.js'), 'nbd'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      TMPDIR: dir,
      PEER_BENCH_REPLICA0: disks[0],
      PEER_BENCH_REPLICA1: disks[1],
      TWINBEAT_BENCH_INI: `[flight]\nenabled = ${enabled}\n`,
    },
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const ready = /^READY nbd:(\S+) pids=([\d,]+)/.exec(line);
    if (ready) {
      return { process: child, uri: ready[1] ?? '', pids: (ready[2] ?? '').split(',').map(Number) };
    }
  }
  throw new Error(`${name} did not start`);
}

/** CPU time of both daemons so far, in microseconds. */
function cpuUs(target: Target): number {
  return target.pids.reduce((sum, pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return sum + (Number(fields[11]) + Number(fields[12])) * 10_000; // ticks of 1/100 s
  }, 0);
}

interface Sample {
  readonly iops: number;
  readonly cpuUs: number; // per write, both nodes
}

async function measure(target: Target): Promise<Sample> {
  const before = cpuUs(target);
  const { stdout } = await run('fio', [
    '--name=w',
    '--ioengine=nbd',
    `--uri=${target.uri}`,
    '--rw=randwrite',
    '--bs=4k',
    '--iodepth=32',
    `--size=${DISK_BYTES / 2}`,
    `--runtime=${seconds}`,
    '--time_based',
    '--output-format=json',
  ]);
  // The engine says something first.
  const result = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
    jobs: { write: { iops: number; total_ios: number } }[];
  };
  const write = result.jobs[0]?.write ?? { iops: 0, total_ios: 1 };
  return { iops: write.iops, cpuUs: (cpuUs(target) - before) / write.total_ios };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

const targets: Target[] = [];
try {
  const on = await start('on', 'yes');
  targets.push(on);
  const off = await start('off', 'no');
  targets.push(off);
  await measure(on);
  await measure(off);
  const ratios: number[] = [];
  const cpus: number[] = [];
  for (let i = 0; i < rounds; i++) {
    // Each round in the other order: whatever drifts hits both.
    const first = i % 2 === 0 ? on : off;
    const a = await measure(first);
    const b = await measure(first === on ? off : on);
    const [w, o] = first === on ? [a, b] : [b, a];
    ratios.push(w.iops / o.iops);
    cpus.push(w.cpuUs / o.cpuUs);
    console.log(
      `round ${i + 1}: with ${w.iops.toFixed(0)} IOPS ${w.cpuUs.toFixed(2)} us CPU a write, ` +
        `without ${o.iops.toFixed(0)} ${o.cpuUs.toFixed(2)}: ` +
        `${(w.iops / o.iops).toFixed(3)} ${(w.cpuUs / o.cpuUs).toFixed(3)}`,
    );
  }
  const range = (of: readonly number[]): string =>
    `${median(of).toFixed(3)} (${Math.min(...of).toFixed(3)}..${Math.max(...of).toFixed(3)})`;
  console.log(
    `flight recorder, 4 KiB random writes, QD32, ${process.argv[4] ?? 'in memory'}: IOPS x ${range(ratios)}, CPU a write x ${range(cpus)}`,
  );
} finally {
  for (const t of targets) t.process.kill('SIGTERM');
  await Promise.all(
    targets.map((t) =>
      t.process.exitCode === null ? new Promise((done) => t.process.once('exit', done)) : null,
    ),
  );
  rmSync(dir, { recursive: true, force: true });
}
