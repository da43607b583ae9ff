/**
 * /proc/drbd of engines that run: each sample that a kernel printed (test/golden/drbd/proc-drbd.txt) has to be seen on one of two nodes,
 * byte for byte but for what is timing: counters of I/O and how far a resync is. The samples without any I/O, or after exactly one
 * resync of the same size, are seen with their counters. Beyond the samples: every state of a connection and of a disk.
 *
 * Looked at is every change of a state, in the middle of what leads to it, and every moment in which something happens.
 */
import { readFileSync } from 'node:fs';
import test from 'ava';
import {
  detach,
  invalidate,
  newCurrentUuid,
  outdate,
  pauseSync,
  suspendIo,
} from '../../src/drbd/disk-verbs.js';
import type { Outcome } from '../../src/drbd/outcome.js';
import { procText } from '../../src/drbd/proc-text.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { CONNS, DISKS } from '../../src/drbd/state.js';
import { verify } from '../../src/drbd/verify-start.js';
import type { Volume } from '../../src/drbd/volume.js';
import {
  block,
  inSync,
  SimPair,
  type SimPairNode,
  type SimPairOptions,
} from '../support/sim-pair.js';
import { begin } from '../support/verify-pair.js';

const SAMPLES = readFileSync('test/golden/drbd/proc-drbd.txt', 'utf8')
  .replace(/^#.*\n/, '')
  .trimEnd()
  .split('\n\n')
  .map((sample) => `${sample}\n`);

/** Of the table in docs/STATES.md, beyond the samples. */
const LINES: readonly string[] = [
  ' 0: cs:Unconfigured',
  ' 0: cs:StandAlone ro:Secondary/Unknown ds:UpToDate/DUnknown   r-----',
  ' 0: cs:WFReportParams ro:Secondary/Unknown ds:UpToDate/DUnknown C r-----',
  ' 0: cs:WFBitMapS ro:Primary/Secondary ds:UpToDate/Consistent C r-----',
  ' 0: cs:WFBitMapT ro:Secondary/Primary ds:Outdated/UpToDate C r-----',
  ' 0: cs:PausedSyncS ro:Primary/Secondary ds:UpToDate/Inconsistent C ra----', // resync-after here
  ' 0: cs:PausedSyncT ro:Secondary/Primary ds:Inconsistent/UpToDate C r-p---', // resync-after there
  ' 0: cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown C s-----', // fence-peer runs
  ' 0: cs:WFConnection ro:Primary/Unknown ds:Diskless/DUnknown C s-----', // no data
];

/** What is never printed, and why. */
const NEVER: Readonly<Record<string, string>> = {
  ' 0: cs:Connected ro:Primary/Primary ds:UpToDate/UpToDate C r-----':
    'allow-two-primaries is refused',
};

const TAG = 'srcversion: F73C670A7EC572DB9CF3E5B ';

/** Everything that the nodes of a pair have printed. */
class Seen {
  readonly texts = new Set<string>();

  watch(pair: SimPair): void {
    for (const node of [pair.alpha, pair.beta]) {
      node.onState = () => this.look(node);
      this.look(node);
    }
  }

  look(node: SimPairNode): void {
    for (const resource of node.loop.engine.status('').resources) {
      for (const v of resource.volumes) {
        // One volume a text, as in the samples.
        const one = { ...resource, volumes: [{ ...v, minor: 0 }] };
        const nowMs = node.io.nowMs();
        this.texts.add(procText({ version: '', nowMs, resources: [one] }, { buildTag: TAG }));
      }
    }
  }

  /** Lets the world go on for so long, looking at each of its moments. */
  run(pair: SimPair, ms: number): void {
    const endMs = pair.world.nowMs + ms;
    while (pair.world.nowMs < endMs && pair.world.step()) {
      this.look(pair.alpha);
      this.look(pair.beta);
    }
  }
}

const seen = new Seen();

function watched(seed: number, options: SimPairOptions): SimPair {
  const pair = new SimPair(seed, options);
  seen.watch(pair);
  return pair;
}

type Request = (v: Volume, done: (outcome: Outcome) => void) => void;
function ok(node: SimPairNode, request: Request, v: Volume = node.volume): void {
  const outcome = node.ask(request, v);
  if (outcome.kind !== 'ok') throw new Error(JSON.stringify(outcome));
}
const primary: Request = (v, done) => setPrimary(v, true, done);
const pause: Request = (v, done) => pauseSync(v, true, done);
const resume: Request = (v, done) => pauseSync(v, false, done);

/** A peer that does not keep up. */
function congested(): void {
  const pair = watched(9, {
    sizeBytes: 4 << 20,
    net: { protocol: 'A', onCongestion: 'pull-ahead', congestionFillSectors: 64 },
  });
  const { alpha, beta } = pair;
  pair.upToDate();
  beta.disk.slowMs = 400;
  const tags = Array.from({ length: 12 }, (_, i) => alpha.beginWrite(i * 8, block(i)));
  for (const tag of tags) alpha.answer(tag);
  beta.until(/cs:Behind/);
  beta.disk.slowMs = 0;
  pair.settled();
}

/** The nodes and steps of the samples: a device of 64 MiB, 4 MiB/s. */
function samples(): void {
  const pair = watched(1, {
    sizeBytes: 64 << 20,
    net: { verifyAlg: 'crc32c' },
    disk: { cPlanAheadDs: 0, resyncRateKiBps: 4096, cMinRateKiBps: 0 },
  });
  const { alpha, beta } = pair;
  alpha.attach();
  alpha.connect();
  seen.run(pair, 50);
  beta.attach();
  beta.connect();
  alpha.until(/cs:Connected .*Incon.*\/Incon/);
  seen.run(pair, 1000);
  ok(alpha, primary);
  seen.run(pair, 6000);
  ok(alpha, pause);
  seen.run(pair, 1000);
  ok(beta, pause);
  seen.run(pair, 1000);
  ok(alpha, resume);
  ok(beta, resume);
  pair.settled();
  seen.run(pair, 1000);

  ok(alpha, (v, done) => detach(v, false, done));
  alpha.write(0, block(1));
  seen.run(pair, 1000);
  alpha.attach();
  pair.settled();
  const verifies = begin(alpha);
  if (verifies.kind !== 'ok') throw new Error(JSON.stringify(verifies));
  seen.run(pair, 5000);
  alpha.until(/cs:Connected/);

  beta.disconnect();
  seen.run(pair, 1000);
  ok(beta, outdate);
  seen.run(pair, 100);
  beta.connect();
  seen.run(pair, 5000); // Outdated, and waiting
  pair.settled();
  ok(alpha, (v, done) => suspendIo(v, true, done));
  seen.run(pair, 100);
  ok(alpha, (v, done) => suspendIo(v, false, done));
  ok(alpha, setSecondary);
  seen.run(pair, 100);
  alpha.disconnect();
  seen.run(pair, 1000);
  alpha.connect();
  pair.settled();
}

/** A pair that skips the first resync: 4 MiB, as in the recordings of the wire. */
function skipped(protocol: 'A' | 'B' | 'C'): SimPair {
  const pair = watched(2, { sizeBytes: 4 << 20, net: { protocol } });
  const { alpha, beta } = pair;
  alpha.attach();
  seen.look(alpha); // not connected yet
  beta.attach();
  for (const node of [alpha, beta]) node.connect();
  for (const node of [alpha, beta]) node.until(/cs:Connected .*Incon.*\/Incon/);
  seen.run(pair, 100);
  ok(alpha, (v, done) => newCurrentUuid(v, true, done));
  pair.settled();
  seen.run(pair, 100);
  ok(alpha, primary);
  seen.run(pair, 100);
  return pair;
}

function alone(): void {
  const pair = skipped('C');
  const { alpha, beta } = pair;
  alpha.write(0, block(1));
  seen.run(pair, 100);
  alpha.disconnect(); // StandAlone, Primary
  seen.run(pair, 1000);
  alpha.connect();
  pair.settled();
  // A resync from its start, slow enough to be seen; the target was asked for it.
  ok(beta, invalidate);
  seen.run(pair, 3000);
  pair.settled();
  // Outdated, without its peer.
  ok(alpha, setSecondary);
  beta.disconnect();
  ok(beta, outdate);
  alpha.disconnect();
  beta.connect();
  seen.run(pair, 1000);
}

/** A small device at 480 KiB/s. */
function slow(): void {
  const pair = watched(3, {
    sizeBytes: 4 << 20,
    disk: { cPlanAheadDs: 0, resyncRateKiBps: 480, cMinRateKiBps: 0 },
  });
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.attach();
  for (const node of [alpha, beta]) node.connect();
  for (const node of [alpha, beta]) node.until(/cs:Connected .*Incon.*\/Incon/);
  ok(alpha, primary);
  seen.run(pair, 2000);
}

function dependency(): void {
  const pair = watched(4, {
    sizeBytes: 2 << 20,
    twoVolumes: true,
    disk: { cPlanAheadDs: 0, resyncRateKiBps: 250, cMinRateKiBps: 0 },
  });
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.attach();
  const { second } = alpha;
  if (!second) throw new Error('two volumes');
  const options = { ...second.diskOptions, resyncAfterMinor: 0 };
  alpha.control({ verb: 'disk-options', minor: 1, options });
  for (const node of [alpha, beta]) node.connect();
  for (const node of [alpha, beta]) node.until(/cs:Connected .*Incon.*\/Incon/);
  ok(alpha, primary);
  ok(alpha, primary, second);
  seen.run(pair, 3000);
}

/** The disk: attached while connected, broken, and gone without a peer. */
function disks(): void {
  const pair = inSync(5, {
    disk: { fencing: 'dont-care' },
    resource: { onNoDataAccessible: 'suspend-io' },
  });
  seen.watch(pair);
  const { alpha, beta } = pair;
  ok(beta, (v, done) => detach(v, false, done));
  seen.run(pair, 100);
  beta.beginAttach();
  seen.run(pair, 5000);
  pair.settled();
  alpha.disk.faults.writeChance = 1;
  alpha.write(0, block(1)); // the peer has it; Failed, Diskless
  seen.run(pair, 1000);
  beta.crash(true); // and no data any more
  seen.watch(pair);
  seen.run(pair, 20_000);
}

function fencing(): void {
  const pair = inSync(6, { disk: { fencing: 'resource-and-stonith' } });
  seen.watch(pair);
  const { alpha } = pair;
  alpha.handlerMs = 500;
  alpha.exits = { 'fence-peer': 4 };
  pair.net.cut('replication');
  seen.run(pair, 60_000);
}

/** How a connection ends. */
function ends(): void {
  const pair = inSync(7);
  seen.watch(pair);
  const { alpha, beta } = pair;
  beta.crash(false); // its kernel closes the streams
  seen.watch(pair);
  seen.run(pair, 2000);
  beta.attach();
  beta.connect();
  pair.settled();
  seen.look(beta);
  // Garbage instead of a packet.
  const link = alpha.resource.link;
  alpha.loop.enter(() => link?.fail('ProtocolError', 'a packet that is none'));
  seen.run(pair, 5000);
  pair.settled();
  const again = alpha.resource.link;
  alpha.loop.enter(() => again?.fail('Timeout', 'the peer does not answer a write'));
  seen.run(pair, 5000);
  pair.settled();
  // Unconfigured
  ok(alpha, setSecondary);
  alpha.control({ verb: 'disconnect', resource: 'r0', force: false });
  alpha.control({ verb: 'detach', minor: 0, force: false });
  seen.look(alpha);
}

/** Numbers that depend on time, and bars made of them. The size of what is resynchronised is none. */
function masked(text: string): string {
  return text
    .replaceAll(/\b(ns|nr|dw|dr|al|lo|pe|ua|ap|ep):\d+/g, '$1:N')
    .replaceAll(/oos:[1-9]\d*/g, 'oos:N')
    .replaceAll(/\[=*>\.*\]/g, '[BAR]')
    .replaceAll(/[ \d]\d\d?\.\d%|\d{3}\.\d%/g, 'P%')
    .replaceAll(/\(\d+\/(\d+)\)/g, '(N/$1)')
    .replaceAll(/finish: \d+:\d\d:\d\d/g, 'finish: T')
    .replaceAll(/speed: [\d,]+ \([\d,]+\)/g, 'speed: S (A)')
    .replaceAll(/want: [\d,]+/g, 'want: W')
    .replaceAll(' (stalled)', '');
}

const stateLine = (text: string): string => text.split('\n')[2] ?? '';

test.before(() => {
  samples();
  for (const protocol of ['A', 'B'] as const) skipped(protocol);
  alone();
  slow();
  dependency();
  congested();
  disks();
  fencing();
  ends();
});

test('every sample of a kernel is seen on a node that runs', (t) => {
  const shown = new Set([...seen.texts].map(masked));
  const exact = SAMPLES.filter((sample) => seen.texts.has(sample));
  t.true(SAMPLES.length >= 30);
  for (const sample of SAMPLES) {
    if (!sample.includes('cs:')) continue; // no device
    if (stateLine(sample) in NEVER) t.false(shown.has(masked(sample)), sample);
    else t.true(shown.has(masked(sample)), `${sample}\n${masked(sample)}`);
  }
  t.log(`${exact.length} of ${SAMPLES.length} with their counters`);
  t.true(exact.length >= 10, exact.join('\n'));
});

test('the states beyond the samples', (t) => {
  const lines = new Set([...seen.texts].map(stateLine));
  for (const line of LINES) t.true(lines.has(line), `${line}\n${[...lines].join('\n')}`);
});

test('every state of a connection and of a disk is printed, or said why not', (t) => {
  const all = [...seen.texts].join('\n');
  for (const [kind, names] of [
    ['cs:', CONNS],
    ['ds:', DISKS],
  ] as const) {
    for (const name of names) {
      const isSeen =
        kind === 'cs:'
          ? all.includes(`cs:${name} `)
          : new RegExp(`ds:(\\w+/)?${name}\\b`).test(all);
      t.is(isSeen, !(name in NEVER), name);
    }
  }
});

test('lines of progress are there in a resync and a verify, and nowhere else', (t) => {
  for (const text of seen.texts) {
    const [state = ''] = /cs:\w+/.exec(text) ?? [];
    const moves = /^cs:(Sync|Verify)/.test(state);
    t.is(/^\t\[/m.test(text), moves, text);
    t.is(/want:/.test(text), /^cs:(SyncTarget|VerifyS)$/.test(state), text);
  }
});

// proc_details=1 and 2: what the engine counts, in the lines of a kernel.
test('proc-details: the walk of a resync, a limited verify, and a log that is used', (t) => {
  const pair = new SimPair(8, {
    sizeBytes: 64 << 20,
    net: { verifyAlg: 'crc32c' },
    disk: { cPlanAheadDs: 0, resyncRateKiBps: 8192, cMinRateKiBps: 0 },
  });
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.attach();
  for (const node of [alpha, beta]) node.connect();
  for (const node of [alpha, beta]) node.until(/cs:Connected .*Incon.*\/Incon/);
  const shown = (node: SimPairNode): string =>
    procText(node.loop.engine.status(''), { details: 2, buildTag: TAG });
  const number = (text: string, pattern: RegExp): number => Number(pattern.exec(text)?.[1]);
  const idle = 'used:0/61 hits:0 misses:0 starving:0 locked:0 changed:0\n';
  const log = 'act_log: used:0/1237 hits:0 misses:0 starving:0 locked:0 changed:0\n';
  for (const node of [alpha, beta]) {
    t.true(shown(node).endsWith(`\tresync: ${idle}\t${log}\tblocked on activity log: 0\n`));
  }
  ok(alpha, primary);
  pair.run(3000);
  for (const node of [alpha, beta]) {
    const text = shown(node);
    const position = number(text, /^\t *\d+% sector pos: (\d+)\/130992$/m);
    const left = number(text, / oos:(\d+)/);
    t.true(Math.abs(position / 2 - (65_496 - left)) < 4096, text);
    const [hits, misses] = [
      number(text, /resync: .* hits:(\d+)/),
      number(text, /resync: .* misses:(\d+)/),
    ];
    t.is(misses, Math.floor((position - 1) / 32_768) + 1, text); // so many extents of 16 MiB
    t.true(hits > 10, text);
  }
  pair.settled();
  for (const sector of [0, 8, 8192, 16_384]) alpha.write(sector, block(1));
  t.regex(
    shown(alpha),
    /act_log: used:[0-3]\/1237 hits:1 misses:3 starving:0 locked:0 changed:3$/m,
  );
  t.regex(shown(beta), new RegExp(log));
  const asked = alpha.ask((v, done) => verify(v, null, 65_536, done));
  t.is(asked.kind, 'ok');
  pair.run(2000);
  t.regex(shown(alpha), /^\t *\d+% sector pos: \d+\/130992 stop sector: 65536$/m);
});
