/**
 * What a scenario can expect: one table, text -> a look at the world. Each says in one sentence what is the case instead. To
 * add an expectation, add a row; docs/SCENARIOS.md lists them (checked by a test).
 */
import { assert } from '../base/assert.js';
import { connName, Disks, diskName, roleName } from '../drbd/state.js';
import { isQuiet } from './check/equal.js';
import { minorOfWord, type NodeName } from './config.js';
import type { History, NodeHistory } from './history.js';
import type { Replica } from './replica.js';
import type { ReplicatedDevice } from './replicated-device.js';
import { shown } from './run.js';
import type { SimNode } from './sim-node.js';
import { type Chosen, choose, type Pattern, pattern, type Values } from './words.js';
import type { World } from './world.js';

export interface Look {
  readonly world: World;
  readonly history: History;
  readonly values: Values;
  /** What happened before does not count. */
  readonly sinceMs: number;
}

export interface Expectation {
  readonly usage: string;
  readonly pattern: Pattern;
  readonly help: string;
  /** Null: it is so. Otherwise what is the case. */
  readonly look: (look: Look) => string | null;
}

/** So long without an answer: frozen. */
const FROZEN_MS = 1000;

const nodeOf = ({ world, values }: Look): SimNode => world.node(values['NODE'] as NodeName);
const replicaOf = (l: Look): Replica => {
  const minor = minorOfWord(l.world.config, String(l.values['VOLUME'] ?? '0'));
  assert(minor !== null, 'a volume of the cluster');
  return nodeOf(l).replica(minor);
};
const historyOf = (l: Look): NodeHistory => l.history.nodes[l.values['NODE'] as NodeName];
const since = (l: Look): string => `since ${seconds(l.sinceMs)}`;
const seconds = (ms: number): string =>
  Number.isFinite(ms) ? `${(ms / 1000).toFixed(3)} s` : 'never';

function row(usage: string, help: string, look: (look: Look) => string | null): Expectation {
  return { usage, pattern: pattern(usage), help, look };
}

export const EXPECTATIONS: readonly Expectation[] = [
  row(
    'NODE [volume VOLUME] STATE',
    'role, connection or disk of NODE, own/peer as `Primary/Secondary` or `UpToDate/Outdated`; `Unconfigured`, `off`',
    (l) => (isIn(replicaOf(l), String(l.values['STATE'])) ? null : shown(nodeOf(l))),
  ),
  row('NODE [volume VOLUME] not STATE', 'the contrary', (l) =>
    isIn(replicaOf(l), String(l.values['STATE'])) ? shown(nodeOf(l)) : null,
  ),
  row('NODE log TEXT', 'a line of the log of NODE contains TEXT', (l) =>
    logged(l) ? null : `nothing in ${nodeOf(l).name}'s log ${since(l)} contains it`,
  ),
  row('NODE no log TEXT', 'no line does', (l) => {
    const line = logged(l);
    return line ? `at ${seconds(line.timeMs)}: ${line.text}` : null;
  }),
  row('uuid unchanged on NODE', 'current and bitmap UUID are what they were', (l) =>
    generationChange(l),
  ),
  row('uuid changed on NODE', 'a new generation has begun', (l) =>
    generationChange(l) === null ? `it is what it was ${since(l)}` : null,
  ),
  row(
    'I/O frozen on NODE',
    'requests of the client wait, and none was answered for a second',
    (l) => {
      const { client } = nodeOf(l);
      const { answeredMs } = historyOf(l);
      if (!client) return `no client runs on ${nodeOf(l).name}`;
      if (client.pending === 0) return 'no request waits';
      const quiet = l.world.nowMs - answeredMs >= FROZEN_MS;
      return quiet ? null : `a request was answered at ${seconds(answeredMs)}`;
    },
  ),
  row('I/O answered on NODE', 'a request of the client succeeded within the last second', (l) => {
    const { succeededMs } = historyOf(l);
    const recent = l.world.nowMs - succeededMs <= FROZEN_MS;
    return recent ? null : `the last success: ${seconds(succeededMs)}`;
  }),
  row('no I/O error on NODE', 'no request of the client failed', (l) => {
    const errors = historyOf(l).errorsMs.filter((at) => at >= l.sinceMs);
    return errors.length === 0
      ? null
      : `${errors.length} failed ${since(l)}, the first at ${seconds(errors[0] as number)}`;
  }),
  row('I/O errors on NODE', 'a request of the client failed', (l) =>
    historyOf(l).errorsMs.some((at) => at >= l.sinceMs) ? null : `none failed ${since(l)}`,
  ),
  row('serving SERVER', "the service's client runs on that node only, on both, on nobody", (l) => {
    const on = l.world.bothNodes.filter((n) => n.client !== null).map((n) => n.name);
    const is = on.length === 2 ? 'both' : (on[0] ?? 'nobody');
    return is === l.values['SERVER'] ? null : `serving: ${is}`;
  }),
  row(
    'address at SERVER',
    'who has the address of the service; clients go where it was announced last',
    (l) => {
      const on = l.world.bothNodes.filter(
        (n) => n.heartbeat && n.heartbeat.scripts.addresses.size > 0,
      );
      const names = on.map((n) => n.name);
      const is = names.length === 2 ? 'both' : (names[0] ?? 'nobody');
      if (is !== l.values['SERVER']) return `the address is at: ${is}`;
      const last = l.history.announcedBy;
      if (names.length !== 1 || last === is) return null;
      return `clients go to ${last}, which announced it last`;
    },
  ),
  row('rows all', 'every row that was ever acknowledged is there, where it counts', (l) => {
    const { world, history } = l;
    if (history.rows === 0) return 'no row was acknowledged yet';
    const serving = world.bothNodes.filter((n) => n.client !== null);
    const good = world.bothNodes.filter((n) => n.state?.disk === Disks.UpToDate);
    const looked = serving.length > 0 ? serving.filter((n) => good.includes(n)) : good;
    if (looked.length === 0) return 'no node with data that are UpToDate';
    for (const n of looked) {
      const lost = history.lostRows(n.first);
      if (lost > 0) return `${lost} of ${history.rows} rows are not on ${n.name}`;
    }
    return null;
  }),
  row(
    'same data',
    'both nodes hold the same blocks, of all volumes, and nothing is under way',
    ({ world }) => world.devices.reduce<string | null>((wrong, d) => wrong ?? sameData(d), null),
  ),
  row(
    'NODE [volume VOLUME] out of sync NUMBER',
    'so many blocks are marked in the bitmap of NODE',
    (l) => {
      const bits = replicaOf(l).volume?.bitmap?.count ?? null;
      return bits === l.values['NUMBER'] ? null : bits === null ? 'there is no bitmap' : `${bits}`;
    },
  ),
  row(
    'bits exact',
    'both bitmaps have the blocks in which the disks differ, and no others; nothing is under way',
    ({ world }) => world.devices.reduce<string | null>((wrong, d) => wrong ?? bitsExact(d), null),
  ),
  row('split brain', 'both nodes have seen it and said so', (l) => splitBrain(l, 2)),
  row('no split brain', 'neither node has seen one', (l) => splitBrain(l, 0)),
  row('handshakes NODE below NUMBER', 'it began fewer handshakes with its peer', (l) => {
    const count = historyOf(l).handshakesMs.filter((at) => at >= l.sinceMs).length;
    return count < Number(l.values['NUMBER']) ? null : `${count} ${since(l)}`;
  }),
  row('handshakes NODE above NUMBER', 'it began more', (l) => {
    const count = historyOf(l).handshakesMs.filter((at) => at >= l.sinceMs).length;
    return count > Number(l.values['NUMBER']) ? null : `${count} ${since(l)}`;
  }),
  row(
    'resync to NODE below SIZE',
    'NODE was the target of a resync, of less than SIZE in all',
    (l) => {
      const kib = resynced(l);
      if (kib === null) return `none ${since(l)}`;
      return kib < Number(l.values['SIZE']) ? null : `${kib} KiB ${since(l)}`;
    },
  ),
  row('resync to NODE above SIZE', 'the same, of more', (l) => {
    const kib = resynced(l);
    if (kib === null) return `none ${since(l)}`;
    return kib > Number(l.values['SIZE']) ? null : `${kib} KiB ${since(l)}`;
  }),
  row('no resync to NODE', 'NODE was not the target of a resync', (l) => {
    const kib = resynced(l);
    return kib === null ? null : `${kib} KiB ${since(l)}`;
  }),
];

function sameData({ bothNodes, nodes }: ReplicatedDevice): string | null {
  const { alpha, beta } = nodes;
  for (const n of bothNodes) {
    if (!n.volume) return shown(n.node);
    if (!isQuiet(n)) return `I/O is under way on ${n.name}`;
  }
  const [a, b] = [alpha, beta].map((n) => n.volume?.sizeSectors ?? 0);
  if (a !== b || !a) return `the devices have ${a} and ${b} sectors`;
  const sector = alpha.disk.equals(beta.disk, 0, a);
  return sector < 0 ? null : `sector ${sector} differs`;
}

function bitsExact({ bothNodes }: ReplicatedDevice): string | null {
  const [a, b] = bothNodes;
  for (const n of bothNodes) if (!isQuiet(n)) return `I/O is under way on ${n.name}`;
  const size = a?.volume?.sizeSectors ?? 0;
  for (let block = 0; block * 8 < size; block++) {
    const sectors = Math.min(8, size - block * 8);
    const differs = a && b ? a.disk.equals(b.disk, block * 8, sectors) >= 0 : false;
    for (const n of bothNodes) {
      if (n.volume?.bitmap?.isSet(block) === differs) continue;
      return `block ${block} ${differs ? 'differs, and is not marked' : 'is the same, and marked'} on ${n.name}`;
    }
  }
  return size > 0 ? null : 'there is no device';
}

export function parseExpectation(words: readonly string[]): Chosen<Expectation> {
  return choose(EXPECTATIONS, words, 'an expectation');
}

/** Whether a word of /proc/drbd, or own/peer of two, describes the node. */
function isIn(n: Replica, state: string): boolean {
  const s = n.state;
  if (state === 'off') return !n.powered;
  if (state === 'Unconfigured') return n.powered && s === null;
  if (s === null) return false;
  return [
    roleName(s.role),
    connName(s.conn),
    diskName(s.disk),
    `${roleName(s.role)}/${roleName(s.peer)}`,
    `${diskName(s.disk)}/${diskName(s.pdsk)}`,
  ].includes(state);
}

function logged(l: Look): NodeHistory['lines'][number] | null {
  const text = String(l.values['TEXT']);
  const { lines } = historyOf(l);
  return lines.find((line) => line.timeMs >= l.sinceMs && line.text.includes(text)) ?? null;
}

function generationChange(l: Look): string | null {
  const { generations } = historyOf(l);
  const before = historyOf(l).generationAt(l.sinceMs);
  if (!before) return `none was known at ${seconds(l.sinceMs)}`;
  const other = generations.find(
    (g) => g.timeMs > l.sinceMs && (g.current !== before.current || g.bitmap !== before.bitmap),
  );
  if (!other) return null;
  const hex = (uuid: bigint): string => uuid.toString(16).toUpperCase().padStart(16, '0');
  return `${hex(before.current)}:${hex(before.bitmap)} became ${hex(other.current)}:${hex(other.bitmap)} at ${seconds(other.timeMs)}`;
}

function splitBrain(l: Look, want: 0 | 2): string | null {
  const seen = l.world.bothNodes.filter((n) =>
    l.history.nodes[n.name].lines.some(
      (line) => line.timeMs >= l.sinceMs && line.text.includes('Split-Brain detected'),
    ),
  );
  if (seen.length === want) return null;
  return seen.length === 0
    ? `neither node says so ${since(l)}`
    : `${seen.map((n) => n.name).join(' and ')} ${seen.length === 1 ? 'alone has' : 'have'} seen one ${since(l)}`;
}

function resynced(l: Look): number | null {
  const resyncs = historyOf(l).resyncs.filter((r) => r.timeMs >= l.sinceMs);
  return resyncs.length === 0 ? null : resyncs.reduce((sum, r) => sum + r.kib, 0);
}
