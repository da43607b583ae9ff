/**
 * Memory of both daemons under a write load that does not end: fio with 4 KiB random writes, QD32, on the device of a pair. Resident
 * memory is asked of the kernel; what V8 allocates per write follows from the garbage collections it traces: between two of them the
 * young generation fills once.
 *
 *     node build/test/soak/memory.js [--seconds 600] [--warmup 30] [--limit 60]
 *
 * Ends with status 1 when resident memory rises by more than `limit` KiB a minute (least squares, after the warm-up), on either node.
 */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PROJECT } from '../../src/cli/pair.js';
import type { Cluster } from '../../src/cli/pair-cluster.js';
import { DEVICE, RESOURCE } from '../../src/cli/pair-config.js';
import type { Spawned } from '../../src/cli/pair-namespace.js';
import type { PairNode } from '../../src/cli/pair-node.js';
import { diskPair, until } from '../support/disk-pair.js';
import { argument, say } from './soak-support.js';

const seconds = argument('seconds', 600);
const warmup = argument('warmup', 30);
const limitKiBPerMinute = argument('limit', 60);
const SAMPLE_MS = 5_000;
const LOG = 'drbdd-traced';

interface Sample {
  readonly atS: number;
  readonly rssKiB: number;
}

function rssKiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** KiB a minute, by least squares. */
function slope(samples: readonly Sample[]): number {
  const n = samples.length;
  const meanX = samples.reduce((sum, s) => sum + s.atS, 0) / n;
  const meanY = samples.reduce((sum, s) => sum + s.rssKiB, 0) / n;
  let above = 0;
  let below = 0;
  for (const s of samples) {
    above += (s.atS - meanX) * (s.rssKiB - meanY);
    below += (s.atS - meanX) ** 2;
  }
  return below === 0 ? 0 : (above / below) * 60;
}

interface Collected {
  readonly scavenges: number;
  readonly markSweeps: number;
  readonly bytes: number; // freed by scavenges and added by what survived: about what was allocated
  readonly heapMiB: number; // used after the last collection
}

/**
 * Lines of --trace-gc from offset `from` of the log, of the isolate with the most collections (the engine thread under load): the heap
 * after one collection and before the next differ by what was allocated in between.
 */
function collected(node: PairNode, from: number): Collected {
  const text = readFileSync(node.log(LOG)).subarray(from).toString('latin1');
  const isolates = new Map<
    string,
    { scavenges: number; marks: number; mib: number; last: number }
  >();
  const line =
    /\[\d+:(0x[0-9a-f]+)(?::\d+)?\]\s+\d+ ms: (Scavenge|Mark-Compact).*? ([\d.]+) \([\d.]+\) -> ([\d.]+) \(/g;
  for (const [, isolate = '', kind, before, after] of text.matchAll(line)) {
    const one = isolates.get(isolate) ?? { scavenges: 0, marks: 0, mib: 0, last: -1 };
    if (one.last >= 0) one.mib += Math.max(0, Number(before) - one.last);
    one.last = Number(after);
    if (kind === 'Scavenge') one.scavenges++;
    else one.marks++;
    isolates.set(isolate, one);
  }
  const [most] = [...isolates.values()].sort((a, b) => b.mib - a.mib);
  if (!most) return { scavenges: 0, markSweeps: 0, bytes: 0, heapMiB: 0 };
  return {
    scavenges: most.scavenges,
    markSweeps: most.marks,
    bytes: most.mib * 1_048_576,
    heapMiB: most.last,
  };
}

/** The pair's daemons again, without angels and with the collector's trace. */
async function traced(cluster: Cluster, index: 0 | 1): Promise<Spawned> {
  const node = cluster.node(index);
  await node.must(['drbdadm', 'down', RESOURCE]);
  await node.must(['sh', '-c', 'kill $(cat /run/twinbeat/drbdd.pid)']);
  const gone = async () =>
    (await node.exec(['test', '-e', '/run/twinbeat/drbdd.pid'])).status !== 0;
  await until(cluster, 'drbdd has ended', gone);
  const program = join(PROJECT, 'build', 'src', 'bin', 'drbdd.js');
  const daemon = await node.spawn([process.execPath, '--trace-gc', program], LOG);
  const answers = async () => (await node.exec(['drbdsetup', 'status'])).status === 0;
  await until(cluster, 'drbdd answers', answers);
  await node.must(['drbdadm', 'up', RESOURCE]);
  return daemon;
}

const cluster = await diskPair({ diskMiB: 256 });
process.once('SIGINT', () => void cluster.destroy().finally(() => process.exit(130)));
try {
  const daemons = [await traced(cluster, 0), await traced(cluster, 1)] as const;
  await until(cluster, 'connected', async () => /cs:Connected/.test(await cluster.procDrbd(0)));
  await cluster.type(0, 'drbdadm', 'primary', RESOURCE);
  await cluster.waitInSync(0);

  const fio = async (runtimeS: number): Promise<{ ios: number; iops: number }> => {
    const said = await cluster
      .node(0)
      .must([
        ...['fio', '--name=load', `--filename=${DEVICE}`, '--allow_file_create=0', '--direct=1'],
        ...['--ioengine=libaio', '--rw=randwrite', '--bs=4k', '--iodepth=32', '--time_based'],
        ...[`--runtime=${runtimeS}`, '--output-format=json', '--aux-path=/tmp'],
      ]);
    const report = JSON.parse(said.slice(said.indexOf('{'))) as {
      jobs: { error: number; write: { total_ios: number; iops: number } }[];
    };
    const [job] = report.jobs;
    if (job?.error !== 0) throw new Error(`fio: ${said.slice(-2_000)}`);
    return { ios: job.write.total_ios, iops: job.write.iops };
  };
  await fio(warmup);
  const offsets = cluster.pair.nodes.map((node) => statSync(node.log(LOG)).size);
  const samples: [Sample[], Sample[]] = [[], []];
  const startMs = performance.now();
  const sample = (): void => {
    const atS = (performance.now() - startMs) / 1000;
    for (const i of [0, 1] as const) samples[i].push({ atS, rssKiB: rssKiB(daemons[i].pid) });
  };
  sample();
  const timer = setInterval(sample, SAMPLE_MS);
  const load = await fio(seconds).finally(() => clearInterval(timer));
  sample();
  say(`memory: ${load.ios} writes of 4 KiB in ${seconds} s, ${load.iops.toFixed(0)} IOPS`);
  for (const i of [0, 1] as const) {
    const mine = samples[i];
    const rise = slope(mine);
    const gc = collected(cluster.node(i), offsets[i] ?? 0);
    const perWrite = gc.bytes / load.ios;
    const most = Math.max(...mine.map((s) => s.rssKiB));
    say(
      `${i === 0 ? 'Primary  ' : 'Secondary'} RSS first ${mine[0]?.rssKiB} KiB, last ${mine.at(-1)?.rssKiB}, most ${most}, ` +
        `slope ${rise.toFixed(1)} KiB/min; heap used ${gc.heapMiB} MiB; ${gc.scavenges} scavenges, ` +
        `${gc.markSweeps} mark-sweeps; ${perWrite.toFixed(1)} bytes allocated per write, ` +
        `${((gc.scavenges / load.ios) * 100_000).toFixed(2)} scavenges per 100,000 writes`,
    );
    if (rise > limitKiBPerMinute) {
      say(`   more than ${limitKiBPerMinute} KiB/min`);
      process.exitCode = 1;
    }
  }
} catch (e) {
  say(`memory: failed: ${e instanceof Error ? (e.stack ?? e.message) : String(e)}`);
  process.exitCode = 1;
} finally {
  await cluster.destroy();
}
