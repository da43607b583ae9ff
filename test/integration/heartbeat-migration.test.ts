/**
 * docs/MIGRATION.md, its part about heartbeat, done: two of Debian's become two of ours and two of Debian's again. One group with an
 * address and a TCP service; from outside a client connects all the time, and how long it got no answer is held against the page.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { outageMs, readHeartbeatPage } from '../support/heartbeat-page.js';
import { type Command, castOf, NODE_NAMES, type NodeName } from '../support/migration-page.js';
import { need } from '../support/need.js';
import { note } from '../support/note.js';
import { until } from '../support/until.js';
import type { HeartbeatLab } from './heartbeat-lab.js';
import { haCfOf } from './heartbeat-scenarios.js';
import { MIXED_NEEDS, MixedPair, OriginalsRace, type Seat } from './heartbeat-seats.js';

const ADDRESS = '192.168.77.30';
const PORT = '7000';
const GROUP = `node-a LabRes::one Serve ${ADDRESS}/24/eth0\n`;
/** Between two answers while all is well: a busy machine is slow. */
const WELL_MS = 2000;
const START: Command = { who: 'node', line: 'heartbeat', prints: null };

const page = readHeartbeatPage();

/** What the client was told: when it had begun to ask, and by whom. */
class Client {
  readonly answers: { readonly atMs: number; readonly by: string }[] = [];
  readonly #child: ChildProcess;
  #rest = '';

  constructor(lab: HeartbeatLab) {
    const [program = '', ...words] = lab.outside();
    const script = resolve('build/test/integration/service-client.js');
    this.#child = spawn(program, [...words, process.execPath, script, ADDRESS, PORT], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (this.#rest + text).split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) {
        const [at, by = ''] = line.split(' ');
        this.answers.push({ atMs: Number(at), by });
      }
    });
  }

  stop(): void {
    this.#child.kill();
  }

  /** Until it was told so by that host, of what it asked from now on. */
  async told(by: string): Promise<void> {
    const fromMs = Date.now();
    const last = () => this.answers.at(-1);
    await until(
      () => last()?.by === by && (last()?.atMs ?? 0) > fromMs,
      () => `an answer of ${by}, not ${JSON.stringify(last())}`,
    );
  }

  /** Who else answered since then. */
  others(sinceMs: number, by: string): string[] {
    return this.answers.filter((one) => one.atMs >= sinceMs && one.by !== by).map((one) => one.by);
  }

  /** The longest time between two answers, of those to what it asked since then. */
  awayMs(sinceMs: number): number {
    const times = this.answers.map(({ atMs }) => atMs).filter((atMs) => atMs >= sinceMs);
    return Math.max(0, ...times.map((atMs, i) => atMs - (times[i - 1] ?? atMs)));
  }
}

class HeartbeatMigration {
  readonly pair: MixedPair;
  readonly seats: Readonly<Record<NodeName, Seat>>;
  readonly done: string[] = [];

  constructor(pair: MixedPair) {
    this.pair = pair;
    this.seats = { alpha: pair.a, beta: pair.b };
  }

  async run(name: string, cast: Readonly<Record<string, NodeName>>): Promise<void> {
    const commands = page.procedures.get(name);
    if (commands === undefined) throw new Error(`the page has no '${name}'`);
    for (const given of commands) {
      const node = cast[given.who];
      if (node === undefined) throw new Error(`${name}: who is ${given.who}?`);
      const becomes = given.line === 'heartbeat' && name.startsWith('to ');
      if (becomes) this.seats[node].program = name === 'to twinbeat' ? 'ours' : 'original';
      await this.type(node, given);
    }
  }

  async type(node: NodeName, { line, prints }: Command): Promise<void> {
    const seat = this.seats[node];
    const startMs = Date.now();
    const [name = '', ...args] = line
      .replaceAll('alpha', 'node-a')
      .replaceAll('beta', 'node-b')
      .split(' ');
    const path = page.programs.get(name)?.[seat.program === 'ours' ? 'twinbeat' : 'debian'] ?? '';
    const give = () => seat.runs(path, ...args);
    let said = await give();
    if (prints !== null)
      await until(
        async () => {
          if (this.pair.raced !== null) throw new OriginalsRace(this.pair.raced);
          if (!prints.test(said.out.trim())) said = await give();
          return prints.test(said.out.trim());
        },
        () => `${node}# ${line} says '${said.out}'`,
        200,
      );
    else if (said.status !== 0) throw new Error(`${node}# ${line}: ${said.status}\n${said.out}`);
    this.done.push(`${node}# ${path} ${args.join(' ')}   (${Date.now() - startMs} ms) ${said.out}`);
  }
}

/** The whole way. `found`: what the client found in each step. */
async function play(t: ExecutionContext, pair: MixedPair, client: Client, found: string[]) {
  const [first, ...steps] = page.plans.get('There and back with heartbeat') ?? [];
  if (first?.service !== 'alpha') throw new Error('no plan that begins on alpha');
  const migration = new HeartbeatMigration(pair);
  try {
    await Promise.all(NODE_NAMES.map((name) => migration.type(name, START)));
    await client.told('node-a');
    await migration.run('move', castOf('from', 'beta')); // as the page has it before the first step
    const idle = await pair.lab.ours('node-b', 'heartbeat', '--verify-idle');
    t.is(idle.status, 0, idle.out);
    for (const { what, procedure, cast, stands, service, more } of steps) {
      const holder = service === 'alpha' ? pair.a : pair.b;
      const sinceMs = Date.now();
      const calls = pair.lab.calls(holder.host);
      await migration.run(procedure ?? '', cast);
      await client.told(holder.host);
      await migration.run('check', castOf('node', 'alpha'));
      for (const name of NODE_NAMES)
        t.is(migration.seats[name].program === 'ours' ? 'twinbeat' : 'debian', stands[name]);
      const awayMs = client.awayMs(sinceMs);
      found.push(`${what} ${(awayMs / 1000).toFixed(1)} s`);
      const pageMs = outageMs(more, what);
      t.true(awayMs < WELL_MS + 3 * pageMs, `${what}: ${awayMs} ms; the page says ${pageMs}`);
      if (procedure === 'move') continue;
      t.deepEqual(pair.lab.calls(holder.host), calls, `${what}: the service was touched`);
      t.deepEqual(client.others(sinceMs, holder.host), []);
    }
    t.deepEqual(pair.twice(), []);
  } catch (error) {
    if (pair.raced !== null) throw new OriginalsRace(pair.raced, { cause: error });
    t.log(migration.done.join('\n'));
    t.log(pair.report());
    throw error;
  }
}

test('two of Debian’s, mixed, ours, mixed, two of Debian’s: the way there and back', async (t) => {
  if (!need(t, ...MIXED_NEEDS, 'socat', 'ss', 'ip', 'ifconfig')) return;
  t.timeout(10 * 60_000, 'longer than any machine should need');
  for (let left = 5; ; left--) {
    const pair = await MixedPair.create(['original', 'original'], haCfOf({}), GROUP);
    const client = new Client(pair.lab);
    const found: string[] = [];
    try {
      await play(t, pair, client, found);
      note(t, `heartbeat exchanged, away: ${found.join(', ')}`);
      return;
    } catch (error) {
      if (!(error instanceof OriginalsRace) || left === 1) throw error;
      t.log(`begun again: ${error.message}, after ${found.at(-1) ?? 'the start'}`);
    } finally {
      client.stop();
      await pair.lab.down();
    }
  }
});
