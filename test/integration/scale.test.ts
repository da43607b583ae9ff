/**
 * Many resources: 25, 50 and 100 in groups of five. What changes hands costs one script after the other, so the time grows as the
 * number; the nodes' own messages do not grow with it at all. Exactly in virtual time, and with processes on two
 * real daemons, whose times are printed.
 */
import test from 'ava';
import { decodeHaMessage, fieldOf } from '../../src/wire/hamsg.js';
import { HeartbeatPair } from '../sim/heartbeat-pair.js';
import { need } from '../support/need.js';
import { note } from '../support/note.js';
import { HeartbeatLab, type Host } from './heartbeat-lab.js';

const COUNTS = [25, 50, 100] as const;
const PER_GROUP = 5;

function haresources(node: string, count: number, resource: (i: number) => string): string {
  const lines = Array.from({ length: count / PER_GROUP }, (_, group) => {
    const names = Array.from({ length: PER_GROUP }, (__, i) => resource(group * PER_GROUP + i));
    return `${node} ${names.join(' ')}\n`;
  });
  return lines.join('');
}

interface Line {
  readonly perResource: number;
  readonly fixed: number;
  /** Of the sum of squares: how much the line explains. */
  readonly r2: number;
}

/** The line of least squares through (count, value). */
function lineOf(points: readonly (readonly [number, number])[]): Line {
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const [x, y] = [mean(points.map((p) => p[0])), mean(points.map((p) => p[1]))];
  const sum = (f: (a: number, b: number) => number) =>
    points.reduce((s, [a, b]) => s + f(a - x, b - y), 0);
  const perResource = sum((a, b) => a * b) / sum((a) => a * a);
  const rest = sum((a, b) => (b - perResource * a) ** 2);
  const all = sum((_a, b) => b * b);
  return { perResource, fixed: y - perResource * x, r2: all === 0 ? 1 : 1 - rest / all };
}

// ---- in virtual time

interface Counted {
  readonly ms: number;
  readonly scripts: number;
  /** That arrived at the other node, besides keepalives and acknowledgements. At a take-over there is nobody: none. */
  readonly messages: number;
}

function virtual(count: number): Readonly<Record<'start' | 'standby' | 'take-over', Counted>> {
  const services = Array.from({ length: count }, (_, i) => `s${i}`);
  const pair = new HeartbeatPair({
    haresources: haresources('alpha', count, (i) => `s${i}`),
    scripts: { services, serviceDir: null, delayMs: [20, 20.001] },
  });
  let messages = 0;
  pair.net.tap = (packet) => {
    const decoded = decodeHaMessage(packet.bytes);
    const type = decoded.ok ? fieldOf(decoded.message, 't') : null;
    if (type !== null && type !== 'status' && !type.startsWith('NS_')) messages++;
  };
  const until = (what: () => boolean): Counted => {
    const [from, before] = [pair.log.length, messages];
    pair.until(600_000, what);
    // From the first script to the end: before it are the timers of membership.
    const scripts = pair.log.slice(from).filter((line) => / (start|stop|status)$/.test(line));
    const ms = pair.clock.nowMs - Number(scripts[0]?.split(' ')[0]);
    return { ms, scripts: scripts.length, messages: messages - before };
  };
  const runs = (name: 'alpha' | 'beta') =>
    [...pair.nodes[name].scripts.services.values()].filter((s) => s.state === 'running').length;
  pair.alpha.heartbeat.start();
  pair.beta.heartbeat.start();
  const start = until(() => runs('alpha') === count);
  pair.runFor(20_000);
  pair.alpha.heartbeat.standby('all');
  const standby = until(() => runs('beta') === count);
  pair.runFor(20_000);
  pair.powerCut('beta');
  const takeOver = until(() => runs('alpha') === count);
  return { start, standby, 'take-over': takeOver };
}

test('in virtual time: scripts and time grow as the number of resources, messages not at all', (t) => {
  const measured = COUNTS.map((count) => [count, virtual(count)] as const);
  for (const what of ['start', 'standby', 'take-over'] as const) {
    const of = (field: keyof Counted) => measured.map(([n, m]) => [n, m[what][field]] as const);
    // status and start of each; before them, at a hand-over, stop.
    const each = what === 'standby' ? 3 : 2;
    for (const [count, scripts] of of('scripts')) t.is(scripts, each * count, what);
    const time = lineOf(of('ms'));
    t.true(time.r2 > 0.9999, `${what}: ${JSON.stringify(of('ms'))}`);
    t.is(new Set(of('messages').map(([, messages]) => messages)).size, 1, `${what}: messages`);
    note(
      t,
      `scale, virtual: ${what} ${time.perResource.toFixed(0)} ms a resource + ${(time.fixed / 1000).toFixed(1)} s (R2 ${time.r2.toFixed(5)}), ${of('messages')[0]?.[1]} messages`,
    );
  }
});

// ---- two real daemons

const HA_CF = ['keepalive 500ms', 'deadtime 6', 'warntime 3', 'initdead 6', 'auto_failback off'];

const times: (readonly [number, Readonly<Record<'start' | 'standby' | 'takeOver', number>>])[] = [];

async function running(lab: HeartbeatLab, host: Host): Promise<number> {
  const { out } = await lab.exec(host, 'sh', '-c', 'ls /var/lib/heartbeat/labres | grep -c ^on-');
  return Number(out);
}

for (const count of COUNTS) {
  test.serial(`${count} resources on real daemons: start, hand-over, take-over`, async (t) => {
    if (!need(t, 'root', 'netns', 'nsenter')) return;
    t.timeout(300_000);
    const lines = haresources('node-a', count, (i) => `LabRes::r${i}`);
    const lab = await HeartbeatLab.up(t, [...HA_CF, 'bcast eth0'], lines);
    /** Seconds from the first script's start to the last one's: what the number costs. */
    const span = async (host: Host, what: string): Promise<number> => {
      await lab.until(t, what, async () => (await running(lab, host)) === count);
      const { out } = await lab.exec(host, 'cat', '/var/lib/heartbeat/labres/trace');
      await lab.exec(host, 'rm', '/var/lib/heartbeat/labres/trace');
      const times = out
        .trim()
        .split('\n')
        .map((line) => Number(line.split(' ')[0]));
      return Math.max(...times) - Math.min(...times);
    };
    await lab.ours('node-a', 'heartbeat');
    const start = await span('node-a', 'all on node-a');
    await lab.ours('node-b', 'heartbeat');
    await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'none');
    t.is((await lab.ours('node-a', 'hb_standby')).status, 0);
    const standby = await span('node-b', 'all on node-b');
    t.is(await running(lab, 'node-a'), 0);
    await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'all');
    await lab.exec('node-a', 'rm', '-f', '/var/lib/heartbeat/labres/trace');
    await lab.crash('node-b');
    const takeOver = await span('node-a', 'all on node-a again');
    times.push([count, { start, standby, takeOver }]);
    if (count !== COUNTS.at(-1)) return;
    for (const what of ['start', 'standby', 'takeOver'] as const) {
      const points = times.map(([n, s]) => [n, s[what]] as const);
      const line = lineOf(points);
      note(
        t,
        `scale, real: ${what} ${points.map(([n, s]) => `${n}: ${s.toFixed(2)} s`).join(', ')}; ${(1000 * line.perResource).toFixed(0)} ms a resource (R2 ${line.r2.toFixed(3)})`,
      );
      // Quadratic would be four times as much for each; a busy machine may take a part of that.
      const [small, , large] = points.map(([n, s]) => s / n);
      t.true((large ?? 0) < 3 * (small ?? 0) + 0.05, `${what}: ${JSON.stringify(points)}`);
    }
  });
}
