/**
 * make soak CYCLES=20: switch-over and power cut by turns, under a client that commits without a pause. After each: no acknowledged row
 * lost, InnoDB started without complaint, and, once in sync, both lower disks identical over the data area. Rows that the checks of a
 * switch-over and of a power cut have found are removed, so that no number of cycles fills the disk.
 *
 *     node build/test/soak/soak.js [--cycles 20] [--size 256] [--room ROWS]      room: rows between two checks, less than fits
 *
 * Prints a table and ends with exit status 1 when anything was wrong.
 */
import { longestGap, wallMs } from '../../src/cli/demo-client.js';
import { seconds } from '../../src/cli/demo-show.js';
import { Cluster } from '../../src/cli/pair-cluster.js';
import { replayRecordings } from '../support/pair-recordings.js';
import {
  argument,
  Committer,
  identicalDisks,
  innodbComplaints,
  keepTraces,
  say,
} from './soak-support.js';

const ROWS_BETWEEN = 100;
const ROWS_BEFORE = 10;
/** Longer than any take-over on a machine that is not overloaded: the logs are shown. */
const LONG_PAUSE_MS = 12_000;

/** One switch-over (odd) or power cut (even) away from `from`; true when nothing was wrong. */
async function cycle(
  n: number,
  from: 0 | 1,
  cluster: Cluster,
  client: Committer,
): Promise<boolean> {
  const to = from === 0 ? 1 : 0;
  // In full swing: a commit that the last check held up would be the longest pause of this cycle.
  await client.more(ROWS_BEFORE);
  const planned = n % 2 === 1;
  const startMs = wallMs();
  if (planned) await cluster.type(from, 'hb_standby');
  else await cluster.node(from).powerCut();
  await cluster.waitService(to);
  const gap = longestGap(await client.more(ROWS_BETWEEN), startMs);
  const pauseMs = planned ? gap.toMs - gap.fromMs : gap.toMs - startMs;
  const changedKiB = planned ? 0 : (await cluster.status(to)).oosKiB;
  if (!planned) await cluster.boot(from);
  await cluster.waitInSync(to);
  await cluster.waitAtRest();

  const acknowledged = client.acknowledged;
  const { lost, back } = await client.check();
  const complaints = await innodbComplaints(cluster, to);
  const same = await identicalDisks(cluster, to);
  say(
    [
      String(n).padStart(4),
      (planned ? 'switch-over' : 'power cut').padEnd(11),
      `${cluster.node(from).name} -> ${cluster.node(to).name}`.padEnd(14),
      seconds(pauseMs).padStart(7),
      String(changedKiB).padStart(9),
      String(acknowledged).padStart(8),
      String(lost.length).padStart(5),
      (complaints.length === 0 ? 'clean' : 'ERRORS').padEnd(7),
      same ? 'identical' : 'DIFFERENT',
    ].join('  '),
  );
  if (pauseMs > LONG_PAUSE_MS) {
    for (const node of cluster.pair.nodes) {
      const log = await node.exec(['tail', '-n', '40', '/var/log/ha-debug', '/var/log/drbdd.out']);
      say(`      what ${node.name} did meanwhile:\n${log.stdout.replace(/^/gm, '      ')}`);
    }
  }
  for (const line of complaints) say(`      ${line}`);
  tell(lost, back);
  await client.makeRoom();
  return lost.length === 0 && back.length === 0 && complaints.length === 0 && same;
}

function tell(lost: readonly number[], back: readonly number[]): void {
  if (lost.length > 0) say(`      lost: ${lost.slice(0, 20).join(' ')}`);
  if (back.length > 0) say(`      removed, and there again: ${back.slice(0, 20).join(' ')}`);
}

const cycles = argument('cycles', 20);
const cluster = await Cluster.create({ diskMiB: argument('size', 256) });
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void cluster.destroy().finally(() => process.exit(130)));
}
try {
  await cluster.setUp();
  const client = new Committer(cluster);
  const room = argument('room', 0);
  await client.start(0, undefined, room === 0 ? undefined : room);
  await client.more(ROWS_BETWEEN);
  await cluster.waitAtRest();
  say('   #  what         from -> to      pause s  dirty KiB      rows   lost  InnoDB   disks');
  let failures = 0;
  for (let n = 1; n <= cycles; n++) {
    // Each cycle moves the service, so it is on node 0 before every odd one.
    if (await cycle(n, n % 2 === 1 ? 0 : 1, cluster, client)) continue;
    failures++;
    say(`      logs and recordings of both nodes: ${keepTraces(cluster, n)}`);
  }
  await client.stop();
  const { lost, back } = await client.check();
  tell(lost, back);
  if (lost.length + back.length > 0) failures++;
  say(
    `soak: ${cycles} cycles, ${client.acknowledged} rows acknowledged, ${client.lostRows} lost, ${failures} failed`,
  );
  const recordings = replayRecordings(cluster.pair.nodes);
  for (const r of recordings) {
    const kind = r.whole ? 'inputs' : 'decisions (its beginning is overwritten)';
    say(
      `      ${r.name}: ${r.wrong || 'the same'}; ${r.inputs} ${kind}, ${r.transitions} transitions`,
    );
  }
  const wrong = recordings.filter((r) => r.wrong !== '').length;
  say(`soak: ${recordings.length} recordings replayed, ${wrong} of them differ`);
  process.exitCode = failures === 0 && wrong === 0 ? 0 : 1;
} catch (e) {
  say(`soak: failed: ${e instanceof Error ? (e.stack ?? e.message) : String(e)}`);
  process.exitCode = 1;
} finally {
  await cluster.destroy();
}
