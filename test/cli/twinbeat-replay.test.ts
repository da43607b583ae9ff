/** `twinbeat replay`: what it prints of both nodes, when it stops, and what it says of files that are wrong or tell another story. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { twinbeat } from '../../src/cli/twinbeat.js';
import { UsageError } from '../../src/cli/world.js';
import {
  AT,
  BLOCK_BYTES,
  BLOCK_HEAD_BYTES,
  blocksFor,
  HEAD_BYTES,
  SUM_FROM,
} from '../../src/host/flight-format.js';
import { flightChecksum } from '../../src/real/flight-files.js';
import { memoryWorld } from '../support/memory-world.js';
import { type RecordedNode, RecordedPair } from '../support/recorded-pair.js';

interface Outcome {
  readonly status: number;
  readonly lines: readonly string[];
}

async function replay(...args: readonly string[]): Promise<Outcome> {
  const world = memoryWorld({ root: '' });
  try {
    const status = await twinbeat(['replay', ...args], world);
    return { status, lines: world.stdout().split('\n').filter(Boolean) };
  } catch (e) {
    if (!(e instanceof UsageError)) throw e;
    return { status: e.status, lines: e.message.split('\n') };
  }
}

function save(t: ExecutionContext, ...nodes: readonly RecordedNode[]): string[] {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-replay-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return nodes.map((node) => {
    const path = join(dir, `${node.name}.flight`);
    writeFileSync(path, node.memory);
    return path;
  });
}

/** Replaces text in the hot ring and makes the checksum right: a recording that tells another story. */
function retell(memory: Uint8Array, sizeMiB: number, from: string, to: string): Uint8Array {
  const bytes = memory.slice();
  const first = HEAD_BYTES + blocksFor(sizeMiB).coldBlocks * BLOCK_BYTES;
  const at = Buffer.from(bytes.buffer).indexOf(from, first);
  if (at < 0 || from.length !== to.length) throw new Error(`no ${from}`);
  Buffer.from(bytes.buffer).write(to, at, 'latin1');
  const block = first + Math.floor((at - first) / BLOCK_BYTES) * BLOCK_BYTES;
  const view = new DataView(bytes.buffer);
  const used = view.getUint32(block + AT.used, true);
  view.setUint32(block + AT.sealed, used, true);
  const sum = flightChecksum(bytes.subarray(block + SUM_FROM, block + used));
  view.setUint32(block + AT.sum, sum, true);
  return bytes;
}

test('both nodes: merged by time, one line a transition with its cause; --until, --explain, --json', async (t) => {
  const pair = RecordedPair.create(t, { sizeMiB: 4 });
  await pair.up();
  const { a, b } = pair.nodes;
  for (let i = 0; i < 20; i++) t.is(await a.write(i * 8, new Uint8Array(4096).fill(i)), 0);
  await b.request({ verb: 'primary', minor: 0, force: false }); // refused
  const files = save(t, a, b);

  const plain = await replay(...files);
  t.is(plain.status, 0, plain.lines.join('\n'));
  const events = plain.lines.filter((l) => /^\d{4}-/.test(l));
  t.deepEqual(
    [...events.map((l) => l.slice(0, 23))].sort(),
    events.map((l) => l.slice(0, 23)),
  );
  t.true(events.some((l) => / a .*drbd0: role\( Secondary -> Primary \)/.test(l)));
  t.true(
    events.some((l) =>
      / b .*drbd0: peer\( Secondary -> Primary \).*<- the peer sent P_STATE/.test(l),
    ),
  );
  t.true(events.some((l) => /generations compared by rule \d+/.test(l)));
  t.true(events.some((l) => / b .*refused: state -1/.test(l)));
  t.regex(
    plain.lines.at(-1) ?? '',
    /b\.flight: the same, \d+ inputs; end: it runs still, or was killed/,
  );
  t.false(plain.lines.some((l) => l.includes('log: ')));

  const explained = await replay('--explain', ...files);
  t.true(explained.lines.length > plain.lines.length);
  t.true(explained.lines.some((l) => /^ +was cs:\w+ ro:/.test(l)));
  t.true(explained.lines.some((l) => l.includes('rule valid 1: one Primary')));

  const [file = ''] = files;
  const early = await replay('--until', '+0', file);
  t.is(early.status, 0);
  t.regex(early.lines.at(-1) ?? '', /the same so far \(--until\)/);
  t.true(early.lines.length < plain.lines.length);
  t.is((await replay('--until', 'yesterday', file)).status, 2);

  const json = await replay('--json', ...files);
  const objects = json.lines.map((l) => JSON.parse(l) as Record<string, unknown>);
  t.is(objects.filter((o) => o['kind'] === 'transition').length > 5, true);
  t.like(objects.at(-1), { node: 'b', same: true, difference: null, whole: true });
});

test('a recording that tells another story: the first difference with both sides, exit status 1', async (t) => {
  const pair = RecordedPair.create(t, { sizeMiB: 4 });
  await pair.up();
  const { a } = pair.nodes;
  const [file = ''] = save(t, a);
  writeFileSync(
    file,
    retell(a.memory, 4, 'Unconnected -> WFConnection', 'Unconnected -> StandAlone__'),
  );
  const told = await replay(file);
  t.is(told.status, 1);
  const text = told.lines.join('\n');
  t.regex(text, /DIFFERENT at byte \d+/);
  t.regex(text, /recorded: the log line "drbd0: conn\( Unconnected -> StandAlone__ \)"/);
  t.regex(text, /replayed: the log line "drbd0: conn\( Unconnected -> WFConnection \)"/);
  t.regex(text, /it was made by twinbeat test, this is \d/); // another version: said
});

test('files that are wrong: place and remedy, exit status 2', async (t) => {
  const pair = RecordedPair.create(t, { sizeMiB: 4 });
  await pair.up();
  const { a } = pair.nodes;
  a.recorded.recorder.stop('end');
  const [file = ''] = save(t, a);
  t.is((await replay(file)).status, 0);

  const first = HEAD_BYTES + blocksFor(4).coldBlocks * BLOCK_BYTES;
  const flipped = a.memory.slice();
  flipped[first + BLOCK_HEAD_BYTES + 99] = 1 ^ (flipped[first + BLOCK_HEAD_BYTES + 99] ?? 0);
  for (const [bytes, text] of [
    [flipped, /byte \d+: the checksum of block 0 \(\d+ bytes\) is wrong/],
    [a.memory.subarray(0, 1 << 20), /ends at byte 1048576, \d+ bytes are missing/],
    [Buffer.from('hello'), /byte 0: not a recording/],
  ] as const) {
    writeFileSync(file, bytes);
    const { status, lines } = await replay(file);
    t.is(status, 2);
    t.regex(lines[0] ?? '', text);
    t.true((lines[1] ?? '').trim().length > 0);
  }
  const { status, lines } = await replay(join(file, 'nowhere'));
  t.is(status, 2);
  t.regex(lines[0] ?? '', /ENOTDIR/);
});

// More has happened than the ring holds: what is left is each decision, and it is said so.
test('a life whose beginning is overwritten: its decisions are judged again', async (t) => {
  const pair = RecordedPair.create(t, { sizeMiB: 1 });
  await pair.up();
  const { a, b } = pair.nodes;
  for (let i = 0; !a.file().wrapped; i++) {
    const writes = Array.from({ length: 200 }, (_, k) =>
      a.write(((i * 200 + k) % 1000) * 8, new Uint8Array(512)),
    );
    await Promise.all(writes);
  }
  await b.must({ verb: 'disconnect', resource: 'r0', force: false });
  await a.until(/WFConnection/);
  const [file = ''] = save(t, a);
  const { status, lines } = await replay(file);
  t.is(status, 0, lines.join('\n'));
  const text = lines.join('\n');
  t.regex(text, /the beginning of this life is overwritten/);
  t.regex(text, /role\( Secondary -> Primary \).*<- from the peer|role\( Secondary -> Primary \)/);
  t.regex(text, /conn\( Connected -> /);
  t.regex(lines.at(-1) ?? '', /the same, \d+ decisions/);

  // One that would come out otherwise is found.
  const bytes = a.memory.slice();
  const from = '"code":1,';
  const at = Buffer.from(bytes.buffer).indexOf(from);
  Buffer.from(bytes.buffer).write('"code":2,', at, 'latin1');
  const block = HEAD_BYTES + Math.floor((at - HEAD_BYTES) / BLOCK_BYTES) * BLOCK_BYTES;
  const view = new DataView(bytes.buffer);
  view.setUint32(block + AT.sealed, 0, true);
  writeFileSync(file, bytes);
  const other = await replay(file);
  t.is(other.status, 1, other.lines.join('\n'));
  t.regex(
    other.lines.join('\n'),
    /DIFFERENT at byte \d+\n {2}recorded: .*"code":2.*\n {2}replayed: .*"code":1/,
  );
});
