/**
 * twinbeat demo: two nodes on this machine and everything that an administrator would do and see, at its own pace, with a client that
 * never stops committing. The last line counts: every acknowledged row has to be found.
 *
 *     make-up: create-md, initial sync, mkfs, MariaDB, heartbeat     (narrated; commands as one would type them)
 *     1 switch-over (hb_standby)   2 power cut of the active node, take-over   3 the dead node returns, changed blocks only
 *
 * Nothing is hard-coded: rows come from the client's journal and from the database, times from the client's journal.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Acknowledged, longestGap, lostRows, readJournal, wallMs } from './demo-client.js';
import { Show, seconds } from './demo-show.js';
import { unprivilegedDemo } from './demo-unprivileged.js';
import { Pair } from './pair.js';
import { SERVICE_ADDRESS } from './pair-cable.js';
import { Cluster } from './pair-cluster.js';
import { DEVICE, RESOURCE } from './pair-config.js';
import { waitUntil } from './pair-run.js';
import type { World } from './world.js';

export interface DemoOptions {
  readonly keep: boolean;
  readonly diskMiB: number;
}

/** Rows that have to be acknowledged before the next thing happens: a client in full swing. */
const ROWS_BETWEEN = 200;
const CLIENT_LIMIT_MS = 120_000;

export async function demoMain(options: DemoOptions, world: World): Promise<number> {
  const show = new Show(world, process.stdout.isTTY === true);
  if (process.getuid?.() !== 0) return unprivilegedDemo(show);
  const cluster = await Cluster.create({ diskMiB: options.diskMiB, narrator: show });
  let interrupted = false;
  const interrupt = (): void => {
    if (interrupted) return;
    interrupted = true;
    show.end('interrupted: clearing away');
    void cluster.destroy().finally(() => process.exit(130));
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  let kept = false;
  try {
    const verdict = await play(cluster, show, options);
    if (options.keep) {
      cluster.pair.keep();
      kept = true;
      tellKept(cluster, show);
    }
    show.end('');
    show.end(verdict.line);
    return verdict.lost === 0 ? 0 : 1;
  } catch (e) {
    if (interrupted) await new Promise(() => undefined); // the handler ends the process
    show.end(`demo: failed: ${e instanceof Error ? e.message : String(e)}`);
    return 1;
  } finally {
    if (!kept && !interrupted) await cluster.destroy();
  }
}

interface Verdict {
  readonly line: string;
  readonly lost: number;
}

async function play(cluster: Cluster, show: Show, options: DemoOptions): Promise<Verdict> {
  const [alpha, beta] = cluster.pair.nodes;
  const service = cluster.kind === 'mysql' ? 'MariaDB' : 'the ledger (no MariaDB installed)';
  show.step(
    `Two nodes, ${alpha.name} and ${beta.name}, each with a disk of ${options.diskMiB} MiB`,
  );
  show.line('Both have the same /etc/drbd.conf and /etc/ha.d/{ha.cf,haresources,authkeys}:');
  show.line((await alpha.must(['cat', '/etc/ha.d/haresources'])).trim());
  for (const i of [0, 1] as const) await cluster.createMetaData(i);

  show.step('The engines start, and the disks become one');
  for (const i of [0, 1] as const) {
    await cluster.startDrbd(i);
    await cluster.up(i);
  }
  await cluster.type(0, 'drbdadm', 'primary', '--force', RESOURCE);
  await cluster.waitInSync(0);
  show.command(alpha.name, 'cat /run/twinbeat/proc/drbd');
  show.line(await cluster.procDrbd(0));

  show.step(`A file system on ${DEVICE}, and ${service} on it`);
  await cluster.makeData(0);

  show.step('Heartbeat takes over: it starts the group on its home node');
  for (const i of [0, 1] as const) await cluster.startHeartbeat(i);
  await cluster.waitService(0);

  show.step(`A client commits one row after the other at ${SERVICE_ADDRESS}`);
  const journal = join(cluster.pair.dir, 'journal');
  const client = await cluster.startClient(journal);
  await moreRows(cluster, journal, show);
  await cluster.waitAtRest();

  show.step(`Planned: ${alpha.name} goes to standby`);
  const switchMs = wallMs();
  await cluster.type(0, 'hb_standby');
  await cluster.waitService(1);
  const switched = await moreRows(cluster, journal, show);
  const pause = longestGap(switched, switchMs);
  const switchoverMs = pause.toMs - pause.fromMs;
  show.line(`the client waited ${seconds(switchoverMs)} s`);
  await cluster.waitAtRest();
  await cluster.waitInSync(1);

  show.step(`The power of ${beta.name} fails: everything on it gets SIGKILL in the same moment`);
  const cutMs = wallMs();
  await beta.powerCut();
  await cluster.waitService(0);
  const failed = await moreRows(cluster, journal, show);
  // From the cut: commits whose answers were on their way may come after it, before the long silence.
  const failoverMs = longestGap(failed, cutMs).toMs - cutMs;
  show.line(`the client waited ${seconds(failoverMs)} s`);
  const { oosKiB } = await cluster.status(0);
  show.command(alpha.name, 'cat /run/twinbeat/proc/drbd');
  show.line(await cluster.procDrbd(0));

  show.step(`${beta.name} returns: of ${options.diskMiB * 1024} KiB only what changed is sent`);
  const sentBefore = (await cluster.status(0)).sentKiB;
  await cluster.boot(1);
  await cluster.waitInSync(0);
  const sentKiB = (await cluster.status(0)).sentKiB - sentBefore;
  show.line(
    `${oosKiB} KiB were out of sync shortly before; ${sentKiB} KiB sent, new rows included`,
  );
  show.command(alpha.name, `drbdadm status ${RESOURCE}`);
  show.line(await alpha.must(['drbdadm', 'status', RESOURCE]));

  show.step('The count');
  await moreRows(cluster, journal, show);
  client.kill('SIGTERM');
  await client.done;
  const acknowledged = readJournal(journal);
  const found = await cluster.rows();
  const lost = lostRows(acknowledged, found);
  if (lost.length > 0) show.line(`lost: ${lost.slice(0, 20).join(' ')}`);
  return {
    lost: lost.length,
    line:
      `demo: ${acknowledged.length} rows acknowledged, ${acknowledged.length - lost.length} found, ` +
      `${lost.length} lost; switchover ${seconds(switchoverMs)} s; ` +
      `failover ${seconds(failoverMs)} s (deadtime ${cluster.timing.deadtimeS} s)`,
  };
}

/** Until the client has had that many more rows acknowledged. */
async function moreRows(cluster: Cluster, journal: string, show: Show): Promise<Acknowledged[]> {
  const count = (): number => (existsSync(journal) ? readJournal(journal).length : 0);
  const goal = count() + ROWS_BETWEEN;
  const done = await waitUntil(
    () => {
      show.progress(`${count()} rows acknowledged`);
      return count() >= goal;
    },
    CLIENT_LIMIT_MS,
    100,
  );
  if (!done) {
    const log = readFileSync(join(cluster.pair.dir, 'client.out'), 'utf8').slice(-1_000);
    throw new Error(`the client is stuck at row ${count() + 1}:\n${log}`);
  }
  return readJournal(journal);
}

function tellKept(cluster: Cluster, show: Show): void {
  const { dir } = cluster.pair;
  show.step('The pair stays. Five commands to try:');
  show.line(`${dir}/alpha cat /run/twinbeat/proc/drbd`);
  show.line(`${dir}/alpha drbdadm status`);
  show.line(`${dir}/alpha hb_standby`);
  show.line(`${dir}/beta sh -c 'ip addr show eth0; ls /drbd'`);
  show.line('twinbeat demo --down');
}

/** End what `--keep` left. */
export async function demoDown(world: World): Promise<number> {
  const kept = Pair.kept();
  for (const dir of kept) {
    await Pair.remove(dir);
    world.out(`${dir} removed\n`);
  }
  if (kept.length === 0) world.out('no pair was left running\n');
  return 0;
}
