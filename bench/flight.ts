/**
 * What the flight recorder costs: pairs of daemons, one with it and one without, are written to by fio in turn (4 KiB, random,
 * queue depth 32), for a short while each. Each round starts two new pairs: two processes of the same program differ by
 * more than the recorder costs, for as long as they live. The mean of the rounds' ratios with its 95 % confidence interval.
 * Replicas are in memory, or in files of DIRECTORY. `node build/bench/flight.js [ROUNDS [SECONDS [DIRECTORY]]]`; needs fio with
 * its nbd engine. FLIGHT_PIN=1: both daemons on one processor and fio on another one, so that where they run is no part of the noise, and
 * the processor is the limit.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const HERE = dirname(fileURLToPath(import.meta.url));
const rounds = Number(process.argv[2] ?? '20');
const seconds = Number(process.argv[3] ?? '2');
const DISK_BYTES = 256 << 20;

interface Target {
  readonly process: ChildProcess;
  readonly uri: string;
  readonly pids: readonly number[];
}

/** The command, on that processor. */
function on(cpu: number, command: readonly string[]): readonly string[] {
  return process.env['FLIGHT_PIN'] ? ['taskset', '-c', `${cpu}`, ...command] : command;
}

const dir = mkdtempSync(join(process.argv[4] ?? '/dev/shm', 'twinbeat-flight-'));

async function start(name: string, enabled: 'yes' | 'no'): Promise<Target> {
  const disks = ['0', '1'].map((n) => join(dir, `${name}${n}`));
  for (const disk of disks) {
    writeFileSync(disk, '');
    truncateSync(disk, DISK_BYTES);
  }
  const [program, ...words] = on(0, [process.execPath, join(HERE, 'pair-target.js'), 'nbd']);
  const child = spawn(program ?? '', words, {
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

/** CPU time of both daemons so far, in microseconds: that of all their threads. */
function cpuUs(target: Target): number {
  let us = 0;
  for (const pid of target.pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const [ns = ''] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ');
      us += Number(ns) / 1000;
    }
  }
  return us;
}

interface Sample {
  readonly iops: number;
  readonly cpuUs: number; // per write, both nodes
}

async function measure(target: Target, seconds: number): Promise<Sample> {
  const before = cpuUs(target);
  const [program, ...words] = on(1, [
    'fio',
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
  const { stdout } = await run(program ?? '', words);
  // The engine says something first.
  const result = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
    jobs: { write: { iops: number; total_ios: number } }[];
  };
  const write = result.jobs[0]?.write ?? { iops: 0, total_ios: 1 };
  return { iops: write.iops, cpuUs: (cpuUs(target) - before) / write.total_ios };
}

/** Geometric mean of ratios, and the 95 % confidence interval of it (normal: twenty rounds and more). */
function mean(ratios: readonly number[]): string {
  const logs = ratios.map(Math.log);
  const n = logs.length;
  const middle = logs.reduce((a, b) => a + b, 0) / n;
  const variance = logs.reduce((a, b) => a + (b - middle) ** 2, 0) / Math.max(1, n - 1);
  const half = 1.96 * Math.sqrt(variance / n);
  const text = (x: number): string => Math.exp(x).toFixed(3);
  return `${text(middle)} [${text(middle - half)}..${text(middle + half)}]`;
}

async function stop(target: Target): Promise<void> {
  target.process.kill('SIGTERM');
  if (target.process.exitCode === null) {
    await new Promise((done) => target.process.once('exit', done));
  }
}

const targets: Target[] = [];
try {
  const ratios: number[] = [];
  const cpus: number[] = [];
  for (let i = 0; i < rounds; i++) {
    // Each round in the other order: whatever drifts hits both.
    const order = i % 2 === 0 ? (['yes', 'no'] as const) : (['no', 'yes'] as const);
    for (const enabled of order) targets.push(await start(enabled, enabled));
    const samples: Sample[] = [];
    for (const target of targets) await measure(target, 1);
    for (const target of targets) samples.push(await measure(target, seconds));
    const [a, b] = samples as [Sample, Sample];
    const [w, o] = order[0] === 'yes' ? [a, b] : [b, a];
    ratios.push(w.iops / o.iops);
    cpus.push(w.cpuUs / o.cpuUs);
    console.log(
      `round ${i + 1}: with ${w.iops.toFixed(0)} IOPS ${w.cpuUs.toFixed(2)} us CPU a write, ` +
        `without ${o.iops.toFixed(0)} ${o.cpuUs.toFixed(2)}: ` +
        `${(w.iops / o.iops).toFixed(3)} ${(w.cpuUs / o.cpuUs).toFixed(3)}`,
    );
    for (const target of targets.splice(0)) await stop(target);
  }
  console.log(
    `flight recorder, 4 KiB random writes, QD32, ${process.argv[4] ?? 'in memory'}: ` +
      `IOPS x ${mean(ratios)}, CPU a write x ${mean(cpus)}, ${rounds} rounds of ${seconds} s`,
  );
} finally {
  for (const target of targets) await stop(target);
  rmSync(dir, { recursive: true, force: true });
}
