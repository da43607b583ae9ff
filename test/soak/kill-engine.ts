/**
 * The engine dies under a committing MariaDB: SIGKILL of drbdd (never of its angel) on the Primary and on the Secondary, and the
 * polite way, `twinbeat restart drbdd`. Nobody may see an error: the server keeps running, every acknowledged row is there, the
 * file system stays writable, and at the end both disks are identical.
 *
 *     node build/test/soak/kill-engine.js [--kills 30] [--restarts 10] [--size 256]
 */
import { longestGap, wallMs } from '../../src/cli/demo-client.js';
import { Cluster } from '../../src/cli/pair-cluster.js';
import { MOUNT_POINT } from '../../src/cli/pair-config.js';
import { kill, processName, waitUntil } from '../../src/cli/pair-run.js';
import {
  argument,
  Committer,
  engineOf,
  identicalDisks,
  innodbComplaints,
  LIMIT_MS,
  say,
  spread,
} from './soak-support.js';

const ROWS_BETWEEN = 50;
const PRIMARY = 0;
const SECONDARY = 1;

const kills = argument('kills', 30);
const restarts = argument('restarts', 10);
const cluster = await Cluster.create({ diskMiB: argument('size', 256) });
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void cluster.destroy().finally(() => process.exit(130)));
}

/**
 * The angel takes a death within 5 s of the start for a sign of trouble and makes pauses that grow to 10 s; what is measured here
 * is the restart of an engine that was well.
 */
const SETTLED_MS = 6_000;

async function settled(index: 0 | 1): Promise<void> {
  const name = processName(engineOf(cluster.node(index)));
  const age = async (): Promise<boolean> => {
    const uptime = await cluster.node(index).must(['cut', '-d ', '-f1', '/proc/uptime']);
    return Number(uptime) * 1000 - name.startTicks * 10 > SETTLED_MS; // 100 ticks a second
  };
  if (!(await waitUntil(age, LIMIT_MS, 200))) throw new Error('the engine does not get old');
}

const problems: string[] = [];

async function check(client: Committer): Promise<void> {
  const { lost, back } = await client.check();
  if (lost.length > 0) problems.push(`lost rows: ${lost.slice(0, 20).join(' ')}`);
  if (back.length > 0) problems.push(`removed, and there again: ${back.slice(0, 20).join(' ')}`);
  await client.makeRoom();
}

/** Interrupt the engine on a node `times` times; the client's pauses. Each time after the pair is in sync again. */
async function round(
  what: string,
  index: 0 | 1,
  times: number,
  client: Committer,
  interrupt: () => Promise<void>,
): Promise<void> {
  const pauses: number[] = [];
  for (let n = 0; n < times; n++) {
    await client.more(ROWS_BETWEEN);
    await cluster.waitInSync(PRIMARY);
    if (client.isSlow) await check(client);
    await settled(index);
    // At a moment of its own each time: somewhere within a row.
    await new Promise((next) => setTimeout(next, Math.random() * 20));
    const startMs = wallMs();
    await interrupt();
    const gap = longestGap(await client.more(ROWS_BETWEEN), startMs);
    pauses.push(gap.toMs - gap.fromMs);
  }
  if (times > 0) say(`${what}: ${times} times, pause min / median / max ${spread(pauses)}`);
}

async function killEngine(index: 0 | 1): Promise<void> {
  const pid = engineOf(cluster.node(index));
  if (!kill(pid)) throw new Error(`drbdd of ${cluster.node(index).name} (${pid}) is gone already`);
}

try {
  await cluster.setUp();
  const client = new Committer(cluster);
  await client.start(PRIMARY, 60_000); // a commit that waits for the engine is not given up
  const server = await cluster.node(PRIMARY).exec(['pidof', 'mariadbd']);
  await round('kill -9 of drbdd on the Primary', PRIMARY, kills, client, () => killEngine(PRIMARY));
  await round('kill -9 of drbdd on the Secondary', SECONDARY, kills, client, () =>
    killEngine(SECONDARY),
  );
  for (const index of [PRIMARY, SECONDARY] as const) {
    const role = index === PRIMARY ? 'Primary' : 'Secondary';
    await round(`twinbeat restart drbdd on the ${role}`, index, restarts, client, async () => {
      await cluster.node(index).must(['twinbeat', 'restart', 'drbdd']);
    });
  }
  await client.more(ROWS_BETWEEN);
  await cluster.waitInSync(PRIMARY);

  const node = cluster.node(PRIMARY);
  await check(client);
  if (!(await identicalDisks(cluster, PRIMARY))) problems.push('the disks differ');
  problems.push(...(await innodbComplaints(cluster, PRIMARY)));
  const now = await node.exec(['pidof', 'mariadbd']);
  if (now.stdout !== server.stdout) problems.push('the server was restarted');
  const touched = await node.exec(['touch', `${MOUNT_POINT}/still-writable`]);
  if (touched.status !== 0) problems.push(touched.stderr.trim());
  await client.stop();
  for (const problem of problems) say(`   ${problem}`);
  say(
    `kill-engine: ${client.acknowledged} rows acknowledged, ${client.lostRows} lost, ${problems.length} problems`,
  );
  process.exitCode = problems.length === 0 ? 0 : 1;
} catch (e) {
  say(`kill-engine: failed: ${e instanceof Error ? (e.stack ?? e.message) : String(e)}`);
  process.exitCode = 1;
} finally {
  await cluster.destroy();
}
