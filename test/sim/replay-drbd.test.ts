/**
 * A recording of drbdd replays to the same: same state changes, same log, same packets and writes, on both nodes and for every
 * life of them. The pair is real (io_uring or fs, TCP over loopback), the replay is not.
 */
import test, { type ExecutionContext } from 'ava';
import type { FlightFile } from '../../src/host/flight-read.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import { DrbdReplay } from '../../src/sim/replay-drbd.js';
import type { ReplayEvent } from '../../src/sim/replay-explain.js';
import { need } from '../support/need.js';
import { type RecordedNode, type RecordedOptions, RecordedPair } from '../support/recorded-pair.js';
import { TcpCable } from '../support/tcp-cable.js';

function replay(file: FlightFile): { events: ReplayEvent[]; replay: DrbdReplay } & object {
  const events: ReplayEvent[] = [];
  const r = new DrbdReplay(file, nodeDigests, (event) => events.push(event));
  return { events, replay: r };
}

function replaysToTheSame(t: ExecutionContext, node: RecordedNode): ReplayEvent[] {
  const r = replay(node.file());
  const result = r.replay.run(Number.POSITIVE_INFINITY);
  t.is(result?.difference ?? null, null);
  t.is(result?.broke, '');
  t.true((result?.inputs ?? 0) > 10);
  const logged = r.events.filter((e) => e.kind === 'log').map((e) => e.what);
  t.deepEqual(
    logged,
    node.log.filter((l) => !l.startsWith('debug')).map((l) => l.replace(/^\w+ /, '')),
  );
  const { volume } = { volume: r.replay.loop.engine.volume(0) };
  t.deepEqual(volume?.state, node.loop.engine.volume(0)?.state);
  t.deepEqual(volume?.uuids, node.loop.engine.volume(0)?.uuids);
  t.is(volume?.bitmap?.count, node.loop.engine.volume(0)?.bitmap?.count);
  return r.events;
}

function block(fill: number, bytes = 4096): Uint8Array {
  return new Uint8Array(bytes).fill(fill);
}

async function load(node: RecordedNode, writes: number, from = 0): Promise<void> {
  const pending: Promise<number>[] = [];
  for (let i = 0; i < writes; i++) {
    const sector = ((from + i) * 56) % 12_000;
    const bytes = i % 7 === 0 ? 65_536 : i % 5 === 0 ? 512 : 4096;
    pending.push(node.write(sector, block(i, bytes), i % 11 === 0));
    if (i % 13 === 0) pending.push(node.ask((v, tag) => v.flush(node, tag)));
    if (i % 17 === 0) pending.push(node.read(sector, 4096));
    if (i % 19 === 0) pending.push(node.ask((v, tag) => v.discard(node, tag, sector, 64)));
    if (i % 23 === 0) pending.push(node.ask((v, tag) => v.writeZeroes(node, tag, sector, 8, true)));
    if (pending.length >= 32) await Promise.all(pending.splice(0));
  }
  await Promise.all(pending);
}

async function trouble(t: ExecutionContext, options: RecordedOptions): Promise<RecordedPair> {
  const pair = RecordedPair.create(t, options);
  await pair.up();
  let { a, b } = pair.nodes;
  await load(a, 120);
  // Both roles, an orderly end of the connection, writes meanwhile, a resync by bitmap.
  await b.must({ verb: 'disconnect', resource: 'r0', force: false });
  await a.until(/cs:WFConnection/);
  await load(a, 60, 500);
  await pair.connect('b');
  await a.until(/cs:Connected .*ds:UpToDate\/UpToDate/);
  await b.until(/cs:Connected .*ds:UpToDate\/UpToDate/);
  // The Secondary dies in the middle of writes and comes back.
  const writing = load(a, 80, 1000);
  await b.kill();
  await writing;
  await a.until(/cs:WFConnection/);
  b = pair.revive('b');
  await b.attach(pair.disks.b);
  await pair.connect('b');
  await b.until(/cs:Connected .*ds:UpToDate\/UpToDate/);
  await a.until(/cs:Connected .*ds:UpToDate\/UpToDate/);
  // Fail over: the Primary dies with writes under way, the other takes over, the old one returns.
  const lost = load(a, 40, 2000);
  await a.kill();
  await lost;
  await b.until(/cs:WFConnection/);
  await b.must({ verb: 'primary', minor: 0, force: false });
  await load(b, 40, 3000);
  a = pair.revive('a');
  await a.attach(pair.disks.a);
  await pair.connect('a');
  await a.until(/cs:Connected .*ds:UpToDate\/UpToDate/);
  await b.until(/cs:Connected .*ds:UpToDate\/UpToDate/);
  await a.request({ verb: 'primary', minor: 0, force: false }); // refused: two primaries
  return pair;
}

for (const engine of ['auto', 'fallback'] as const) {
  test(`every life of a pair in trouble replays to the same (${engine})`, async (t) => {
    const pair = await trouble(t, { engine });
    t.is(pair.lives.length, 4);
    for (const node of pair.lives) {
      const events = replaysToTheSame(t, node);
      t.true(events.some((e) => e.kind === 'transition'));
    }
  });
}

const PAYLOAD = 'NEVER IN A RECORDING';
const SECRET = 'the-shared-secret';

function has(bytes: Uint8Array, text: string): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(text);
}

test('with a secret and digests, cut in mid-packet: the same; neither payload nor secret is in it', async (t) => {
  const net = { cramHmacAlg: 'sha1', sharedSecret: SECRET, dataIntegrityAlg: 'crc32c' };
  const pair = RecordedPair.create(t, { net });
  const cable = await TcpCable.before(pair.host, pair.ports.b);
  t.teardown(() => cable.close());
  pair.dialed.b = cable.port;
  await pair.up();
  const { a, b } = pair.nodes;
  const payload = new Uint8Array(Buffer.from(PAYLOAD.repeat(205)).subarray(0, 4096));
  for (let i = 0; i < 40; i++) t.is(await a.write(i * 8, payload), 0);
  for (const bytes of [1_000, 4_500, 20_000]) {
    cable.breakAfter(bytes);
    const writes = Array.from({ length: 30 }, (_, i) => a.write(i * 16, payload));
    await Promise.all(writes);
    cable.mend();
    await a.until(/cs:Connected .*ds:UpToDate\/UpToDate/);
    await b.until(/cs:Connected .*ds:UpToDate\/UpToDate/);
  }
  // The Secondary without its disk: what the peer sends is dropped.
  await b.must({ verb: 'detach', minor: 0, force: false });
  await Promise.all(Array.from({ length: 30 }, (_, i) => a.write(i * 16, payload)));
  for (const node of [a, b]) {
    replaysToTheSame(t, node);
    t.false(has(node.memory, PAYLOAD.slice(0, 8)));
    t.false(has(node.memory, SECRET));
    t.true(has(node.memory, 'sha1'));
  }
});

test('a thin resync: what was looked at is not in the recording, and replays to the same', async (t) => {
  if (!need(t, 'io_uring')) return; // the other one can not discard
  const disk = { rsDiscardGranularityBytes: 65_536 };
  const pair = RecordedPair.create(t, { disk });
  await pair.up();
  const { a, b } = pair.nodes;
  const payload = new Uint8Array(Buffer.from(PAYLOAD.repeat(205)).subarray(0, 4096));
  for (let i = 0; i < 5; i++) t.is(await a.write(i * 1024, payload), 0);
  const sent = a.loop.engine.volume(0)?.sendSectors ?? 0;
  await b.must({ verb: 'invalidate', minor: 0 });
  await b.until(/cs:Connected .*ds:UpToDate\/UpToDate/);
  await a.until(/cs:Connected .*ds:UpToDate\/UpToDate/);
  const v = a.loop.engine.volume(0);
  t.true((v?.sendSectors ?? 0) - sent < (v?.sizeSectors ?? 0) / 4, 'thin');
  for (const node of [a, b]) {
    replaysToTheSame(t, node);
    t.false(has(node.memory, PAYLOAD.slice(0, 8)));
  }
});
