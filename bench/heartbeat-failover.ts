/**
 * `make bench-heartbeat`: how soon a power cut of the active node is noticed and its group runs on the other one, by ours, Debian's heartbeat
 * and keepalived, with the same interval and the same time until a node is dead.
 *
 *     node build/bench/heartbeat-failover.js [--rounds 30] [--only ours,debian,keepalived] [--out LINES.jsonl]
 *
 * Each has two hosts in namespaces of its own (test/lab/heartbeat/lab) and a group of an address and a dummy; they take turns, in every second
 * round in reverse order. A power cut is SIGSTOP and SIGKILL to every process of the active host and its cable, in one moment, at any
 * point of the interval. From then on counts, until
 *
 *     detection   the other node's log says so (`is dead`, `Entering MASTER STATE`)
 *     service     the dummy, the last of the group, is told to start (with keepalived: its notify_master)
 *     address     the address answers somebody on the network, who asks each 5 ms and learns by the announcement that it has moved
 *
 * Same time: an interval of 500 ms, dead after four (keepalived: four and the skew of a priority of 254, 4 ms more). `--out` keeps every
 * line of the other node's log with its time: where the time went. Root. What is not installed is left out, by name; KEEPALIVED names a
 * keepalived that is not in the PATH.
 */
import { appendFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { HOSTS, type Host, Hosts, other } from './heartbeat-hosts.js';
import { Answers, answerAfterSilence, Lines } from './heartbeat-observer.js';
import {
  ADDRESS,
  ADDRESS_RESOURCE,
  atRest,
  haCf,
  masterDownMs,
  PROGRAMS,
  type Program,
} from './heartbeat-programs.js';
import {
  type Cut,
  failoverTable,
  type Measured,
  partsTable,
  verdicts,
  verdictTable,
} from './heartbeat-table.js';

const TIMING = { keepaliveMs: 500, deadAfter: 4 };
const ADDRESS_SCRIPT = /Running \S+IPaddr \S+ start/;
/**
 * Processes end at once, the cable when the kernel gets to it, and till then the kernel answers for the address. Sooner after the last
 * answer than this nobody can have taken over.
 */
const SILENCE_MS = 500;

interface Contender {
  readonly program: Program;
  readonly hosts: Hosts;
  readonly cuts: Cut[];
}

/** The active node's power is cut, and it comes back. */
async function cut({ program, hosts, cuts }: Contender): Promise<void> {
  const active = await atRest(hosts, program);
  const peer = other(active);
  const answers = new Answers(hosts, ADDRESS);
  try {
    const begunMs = Date.now();
    await hosts.until('the address answers', () => answers.atMs.some((atMs) => atMs > begunMs));
    // At any moment of the interval.
    await new Promise((done) => setTimeout(done, Math.random() * TIMING.keepaliveMs));
    const log = new Lines(hosts.path(peer, 'log', program.log));
    const before = starts(hosts, peer).length;
    const cutMs = hosts.powerCut(active);
    const isOff = hosts.powerIsOff(active);
    const words = program.detected(active);
    const detected = (): boolean => log.find(words) !== null;
    const answered = () => answerAfterSilence(answers.atMs, cutMs, SILENCE_MS);
    await hosts.until('the service starts and the address answers', () => {
      const isKnown = detected(); // reads the log, too
      return isKnown && starts(hosts, peer).length > before && answered() !== null;
    });
    await isOff;
    const script = log.find(ADDRESS_SCRIPT)?.atMs ?? null;
    const one = {
      detectionMs: (log.find(words)?.atMs ?? Number.NaN) - cutMs,
      scriptMs: script === null ? null : script - cutMs,
      serviceMs: (starts(hosts, peer)[before] ?? Number.NaN) - cutMs,
      addressMs: (answered() ?? Number.NaN) - cutMs,
    };
    cuts.push(one);
    report(program, cuts.length, one, log, cutMs);
  } finally {
    answers.end();
  }
  await program.start(hosts, active);
}

function report(program: Program, n: number, one: Cut, log: Lines, cutMs: number): void {
  const times = `detection ${one.detectionMs}, service ${one.serviceMs}, address ${one.addressMs.toFixed(0)} ms`;
  console.error(`${program.name} ${n}: ${times}`);
  if (!out) return;
  const lines = log.lines.map(({ atMs, text }) => [atMs - cutMs, text]);
  appendFileSync(out, `${JSON.stringify({ program: program.name, n, ...one, lines })}\n`);
}

/** The times at which the dummy was told to start. */
function starts(hosts: Hosts, host: Host): number[] {
  const lines = hosts.text(host, 'lib', 'labres/trace').split('\n');
  return lines
    .filter((line) => line.endsWith(' one start'))
    .map((line) => Math.round(Number(line.split(' ')[0]) * 1000));
}

async function begin(program: Program): Promise<Contender> {
  const hosts = await Hosts.up(haCf(TIMING), [ADDRESS_RESOURCE]);
  await program.prepare(hosts, TIMING);
  for (const host of HOSTS) await program.start(hosts, host);
  return { program, hosts, cuts: [] };
}

async function present(): Promise<Program[]> {
  const programs: Program[] = [];
  for (const [word, program] of PROGRAMS) {
    if (!values.only.split(',').includes(word)) continue;
    const missing = await program.missing();
    if (missing === '') programs.push(program);
    else console.log(`${program.name} is left out: there is no ${missing}`);
  }
  return programs;
}

function conclude(measured: readonly Measured[]): void {
  console.log(failoverTable(measured));
  console.log(partsTable(measured));
  const ours = measured.find((one) => one.name === 'ours');
  const others = measured.filter((one) => one !== ours);
  if (ours && others.length > 0) {
    console.log(verdictTable(verdicts(ours, others, TIMING.keepaliveMs)));
  }
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '30' },
    only: { type: 'string', default: 'ours,debian,keepalived' },
    out: { type: 'string' },
  },
});
if (process.getuid?.() !== 0) throw new Error('bench-heartbeat needs root: it makes namespaces');
const out = values.out === undefined ? undefined : resolve(values.out);
if (out) writeFileSync(out, '');
process.chdir(join(import.meta.dirname, '../..'));

Hosts.downAtSignals();
const load = (): string => (loadavg()[0] ?? 0).toFixed(1);
const loadBefore = load();
try {
  const contenders: Contender[] = [];
  for (const program of await present()) contenders.push(await begin(program));
  for (let round = 0; round < Number(values.rounds); round++) {
    const order = round % 2 === 0 ? contenders : contenders.toReversed();
    for (const contender of order) await cut(contender);
  }
  conclude(contenders.map(({ program, cuts }) => ({ name: program.name, cuts })));
  console.log(
    `interval ${TIMING.keepaliveMs} ms, dead after ${TIMING.deadAfter} (keepalived ${masterDownMs(TIMING).toFixed(0)} ms); load before ${loadBefore}, after ${load()}`,
  );
} finally {
  await Hosts.downAll();
}
