/**
 * A pair for tests of the replicated device itself: both daemons with their angels and the resource up, no heartbeat, and checks of
 * both lower disks from beside the nodes.
 */
import { readFileSync } from 'node:fs';
import { Cluster } from '../../src/cli/pair-cluster.js';
import { DEVICE, drbdConf, RESOURCE } from '../../src/cli/pair-config.js';
import { run, waitUntil } from '../../src/cli/pair-run.js';

export const LIMIT_MS = 120_000;
export const WANTS = ['root', 'loop', 'netns', 'fuse', 'ip', 'nsenter', 'losetup'];
/** The pair's own configuration, but a dead peer is noticed sooner: the tests wait for that. */
const QUICK_PING: readonly (readonly [RegExp, string])[] = [
  [/ping-int 2;.*/, 'ping-int 1;\n        ping-timeout 5;'],
  [/connect-int 3;/, 'connect-int 1;'],
];

export interface DiskPairOptions {
  readonly diskMiB: number;
  /** 'clear': both disks are declared equal (they are new and empty). 'sync': node 0 is the source of a whole resync. */
  readonly initial: 'clear' | 'sync';
  readonly alExtents: number; // of 4 MiB each
}

export const SMALL_PAIR: DiskPairOptions = { diskMiB: 64, initial: 'clear', alExtents: 1237 };

/** Two nodes, Connected, UpToDate/UpToDate; node 0 Primary. */
export async function diskPair(given: Partial<DiskPairOptions> = {}): Promise<Cluster> {
  const options = { ...SMALL_PAIR, ...given };
  const cluster = await Cluster.create({ kind: 'ledger', diskMiB: options.diskMiB });
  try {
    let conf = drbdConf([cluster.node(0).name, cluster.node(1).name]);
    for (const [from, to] of QUICK_PING) conf = conf.replace(from, to);
    conf = conf.replace('c-max-rate', `al-extents ${options.alExtents};\n        c-max-rate`);
    for (const index of [0, 1] as const) {
      await cluster.node(index).writeFile('/etc/drbd.conf', conf);
      await cluster.createMetaData(index);
      await bootDrbd(cluster, index);
    }
    if (options.initial === 'clear') {
      await until(cluster, 'the nodes are connected', async () =>
        /cs:Connected/.test(await cluster.procDrbd(0)),
      );
      await cluster.type(0, 'drbdadm', '--', '--clear-bitmap', 'new-current-uuid', RESOURCE);
      await cluster.type(0, 'drbdadm', 'primary', RESOURCE);
    } else {
      await cluster.type(0, 'drbdadm', 'primary', '--force', RESOURCE);
    }
    await cluster.waitInSync(0);
  } catch (e) {
    await cluster.destroy();
    throw e;
  }
  return cluster;
}

/** As `Cluster.boot` without heartbeat; the node may be on already. */
export async function bootDrbd(cluster: Cluster, index: 0 | 1): Promise<void> {
  await cluster.pair.powerOn(index);
  await cluster.startDrbd(index);
  await cluster.up(index);
}

/** Waits, and on failure tells what both nodes say. */
export async function until(
  cluster: Cluster,
  what: string,
  ready: () => Promise<boolean>,
): Promise<void> {
  if (await waitUntil(ready, LIMIT_MS, 20)) return;
  throw new Error(`still not after ${LIMIT_MS / 1000} s: ${what}\n${await testimony(cluster)}`);
}

/** /proc/drbd and the ends of the logs of the nodes that are on. */
export async function testimony(cluster: Cluster): Promise<string> {
  const parts: string[] = [];
  for (const node of cluster.pair.nodes) {
    if (!node.isOn) continue;
    const proc = await node.exec(['cat', '/run/twinbeat/proc/drbd'], { timeoutMs: 5_000 });
    const log = readFileSync(node.log('drbdd'), 'utf8').split('\n').slice(-40).join('\n');
    parts.push(`--- ${node.name}\n${proc.stdout}${log}`);
  }
  return parts.join('\n');
}

/** The peer is gone, for this node. */
export function waitAlone(cluster: Cluster, index: 0 | 1): Promise<void> {
  return until(cluster, `${cluster.node(index).name} notices that it is alone`, async () => {
    const { cs } = await cluster.status(index);
    return cs === 'WFConnection' || cs === 'StandAlone';
  });
}

/** Bytes of the replicated area, as the device of a node that can be opened tells. */
export async function deviceBytes(cluster: Cluster, index: 0 | 1): Promise<number> {
  return Number(await cluster.node(index).must(['blockdev', '--getsize64', DEVICE]));
}

/** sha256 of the replicated area of a lower disk, past the page cache. */
export async function lowerHash(cluster: Cluster, index: 0 | 1, bytes: number): Promise<string> {
  const device = cluster.node(index).lowerDevice;
  const read = `dd if=${device} bs=1M count=${bytes} iflag=direct,fullblock,count_bytes status=none | sha256sum`;
  const ran = await run(['sh', '-c', read]);
  if (ran.status !== 0 || ran.stderr !== '') throw new Error(`${device}: ${ran.stderr}`);
  return ran.stdout.slice(0, 64);
}

/**
 * Hash of both lower disks; throws where they differ, naming blocks. Nobody may be writing. A flush first: what the peer has
 * acknowledged it has written, but to its disk's cache only.
 */
export async function sameDisks(cluster: Cluster, active: 0 | 1, bytes: number): Promise<string> {
  // A machine that stood still for a moment has lost its connection: what was written meanwhile is copied first.
  await cluster.waitInSync(active);
  await cluster.node(active).must(['blockdev', '--flushbufs', DEVICE]);
  const [a, b] = await Promise.all([lowerHash(cluster, 0, bytes), lowerHash(cluster, 1, bytes)]);
  if (a === b) return a;
  const [x, y] = cluster.pair.nodes.map((node) => node.lowerDevice);
  const diff = `cmp -l -n ${bytes} ${x} ${y} | awk '{ b = int(($1 - 1) / 4096); if (b != last) { print b; last = b } }' | head -40`;
  const blocks = (await run(['sh', '-c', diff])).stdout.trim().split('\n').join(' ');
  throw new Error(`the disks differ in blocks ${blocks}\n${await testimony(cluster)}`);
}

/** KiB that the file below a node's lower disk occupies: less after a discard. */
export async function allocatedKiB(cluster: Cluster, index: 0 | 1): Promise<number> {
  const ran = await run(['stat', '-c', '%b', `${cluster.node(index).dir}/disk.img`]);
  return Number(ran.stdout) / 2;
}
