/**
 * `make bench-heartbeat-idle`: what a node takes while nothing happens, for an hour: processor, memory and its growth, wake-ups, open files,
 * log and state. Pairs of ours, Debian's heartbeat and keepalived run beside each other, each in two hosts of its own (test/lab/heartbeat/lab)
 * with one group, an address and a dummy.
 *
 *     node build/bench/heartbeat-idle.js [--minutes 60] [--every SECONDS] [--only ours,debian,keepalived] [--out SAMPLES.jsonl]
 *
 * Counted are all processes of a host, those they ran and waited for included. Processor time can be counted beside other work, and so can
 * memory that no file holds. Of resident memory pages of a program that others run, too, are counted in full; shared out (proportional
 * set size) it goes up and down with the others. Root.
 */
import { appendFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { HOSTS, type Host, Hosts } from './heartbeat-hosts.js';
import { type Idle, idleOf, idleRatios, idleTable, type Sample } from './heartbeat-idle-table.js';
import { ADDRESS_RESOURCE, atRest, haCf, PROGRAMS, type Program } from './heartbeat-programs.js';

const TIMING = { keepaliveMs: 1000, deadAfter: 10 };
const SETTLED_MS = 5 * 60_000;

interface Node {
  readonly program: Program;
  readonly hosts: Hosts;
  readonly host: Host;
  readonly role: 'active' | 'standby';
  readonly samples: Sample[];
}

async function begin(program: Program): Promise<Node[]> {
  const hosts = await Hosts.up(haCf(TIMING), [ADDRESS_RESOURCE]);
  await program.prepare(hosts, TIMING);
  for (const host of HOSTS) await program.start(hosts, host);
  const active = await atRest(hosts, program);
  return HOSTS.map((host) => {
    return { program, hosts, host, role: host === active ? 'active' : 'standby', samples: [] };
  });
}

function sample(node: Node): void {
  const { program, hosts, host, samples } = node;
  const one = { atMs: performance.now(), ...hosts.use(host), ...hosts.kept(host) };
  samples.push(one);
  if (out) {
    const line = { program: program.name, host, role: node.role, load: loadavg()[0], ...one };
    appendFileSync(out, `${JSON.stringify(line)}\n`);
  }
}

async function measure(programs: readonly Program[]): Promise<void> {
  const nodes: Node[] = [];
  for (const program of programs) nodes.push(...(await begin(program)));
  const begunMs = performance.now();
  const loads: number[] = [];
  for (let n = 0; n <= (minutes * 60) / every; n++) {
    const waitMs = begunMs + n * every * 1000 - performance.now();
    await new Promise((done) => setTimeout(done, Math.max(0, waitMs)));
    for (const node of nodes) sample(node);
    loads.push(loadavg()[0] ?? 0);
  }
  for (const program of programs) await stillThere(nodes, program);
  const of = (program: Program): Idle[] =>
    nodes.filter((n) => n.program === program).map((n) => idleOf(n.samples, SETTLED_MS));
  console.log(
    idleTable(
      nodes.map((n) => [`${n.program.name}, ${n.role}`, idleOf(n.samples, SETTLED_MS)] as const),
    ),
  );
  const [first, ...others] = programs;
  for (const program of first ? others : []) {
    console.log(
      `${first?.name} / ${program.name}: ${idleRatios(of(first as Program), of(program))}`,
    );
  }
  const mean = loads.reduce((sum, n) => sum + n, 0) / loads.length;
  console.log(
    `keepalive ${TIMING.keepaliveMs} ms, dead after ${TIMING.deadAfter}; ${minutes} min; load of the machine ${mean.toFixed(1)} on average`,
  );
}

/** Nothing happened: the group is where it was. */
async function stillThere(nodes: readonly Node[], program: Program): Promise<void> {
  const node = nodes.find((n) => n.program === program && n.role === 'active');
  if (!node) throw new Error('nothing was measured');
  const active = await atRest(node.hosts, program);
  if (active !== node.host) throw new Error(`${program.name}: the group went to ${active}`);
}

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    every: { type: 'string', default: '60' },
    only: { type: 'string', default: 'ours,debian,keepalived' },
    out: { type: 'string' },
  },
});
if (process.getuid?.() !== 0) throw new Error('bench-heartbeat-idle needs root: it makes hosts');
const minutes = Number(values.minutes);
const every = Number(values.every);
const out = values.out === undefined ? undefined : resolve(values.out);
if (out) writeFileSync(out, '');
process.chdir(join(import.meta.dirname, '../..'));

Hosts.downAtSignals();
const programs: Program[] = [];
for (const [word, program] of PROGRAMS) {
  if (!values.only.split(',').includes(word)) continue;
  const missing = await program.missing();
  if (missing === '') programs.push(program);
  else console.log(`${program.name} is left out: there is no ${missing}`);
}
try {
  await measure(programs);
} finally {
  await Hosts.downAll();
}
