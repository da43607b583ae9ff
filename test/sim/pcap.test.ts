/** What crossed the simulated wires, read by a dissector that is not ours. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Pcap } from '../../src/sim/pcap.js';
import type { WireRecord } from '../../src/sim/sim-network.js';
import { need } from '../support/need.js';
import { SimPair } from '../support/sim-pair.js';

/** Runs tshark over a capture: one line per packet that the filter passes, the fields between tabs. */
type Tshark = (filter: string, ...fields: readonly string[]) => string[];

function tshark(t: ExecutionContext, pcap: Pcap): Tshark {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-pcap-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, 'wire.pcap');
  writeFileSync(file, pcap.bytes());
  // DRBD is found by its first packet; twice over the file, so that the parts of a packet know where they end up.
  const options = ['-2', '-r', file, '--enable-heuristic', 'drbd_tcp', '-T', 'fields'];
  const checks = ['ip.check_checksum', 'tcp.check_checksum', 'udp.check_checksum'];
  for (const check of checks) options.push('-o', `${check}:TRUE`);
  return (filter, ...fields) => {
    const wanted = fields.flatMap((field) => ['-e', field]);
    const text = execFileSync('tshark', [...options, '-Y', filter, ...wanted], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, HOME: dir }, // nobody's own settings
    });
    return text.split('\n').filter((line) => line !== '');
  };
}

const WARNING = 0x600000; // expert severity

function nothingWrong(t: ExecutionContext, read: Tshark): void {
  t.deepEqual(read('_ws.malformed', '_ws.col.Info'), []);
  const odd = `_ws.expert.severity >= ${WARNING} && tcp.flags.reset != 1`; // a reset is worth a warning
  t.deepEqual(read(odd, '_ws.expert.message', '_ws.col.Info'), []);
}

/** DRBD's packets in their order, with how often. */
function packets(read: Tshark): Map<string, number> {
  const names = new Map<string, number>();
  for (const line of read('drbd', '_ws.col.Info')) {
    for (const [, name = ''] of line.matchAll(/\[(P_\w+)\]/g)) {
      names.set(name, (names.get(name) ?? 0) + 1);
    }
  }
  return names;
}

function recorded(pair: SimPair): Pcap {
  const pcap = new Pcap(Date.UTC(2024, 0, 1));
  pair.net.tap = (record) => pcap.add(record);
  return pcap;
}

function noise(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = Math.imul(i + seed, 2654435761) >>> 24;
  return bytes;
}

test('a resync, writes, flushes and discards of a pair decode to the last byte', (t) => {
  if (!need(t, 'tshark')) return;
  const pair = new SimPair(1, { sizeBytes: 4 << 20 });
  const pcap = recorded(pair);
  pair.upToDate();
  for (let i = 0; i < 20; i++) pair.alpha.write(i * 64, noise(i, 4096 << (i % 5)));
  pair.alpha.discard(64, 256);
  pair.alpha.flush();
  pair.run(11_000); // a ping
  pair.alpha.disconnect();
  pair.run(1000);

  const read = tshark(t, pcap);
  nothingWrong(t, read);
  const seen = packets(read);
  const expected = `P_INITIAL_DATA P_INITIAL_META P_CONNECTION_FEATURES P_PROTOCOL P_SYNC_PARAM89 P_SIZES P_UUIDS P_STATE
    P_STATE_CHG_REQ P_STATE_CHG_REPLY P_COMPRESSED_BITMAP P_SYNC_UUID P_RS_DATA_REQUEST P_RS_DATA_REPLY P_RS_WRITE_ACK
    P_DATA P_WRITE_ACK P_BARRIER P_BARRIER_ACK P_TRIM P_PING P_PING_ACK`;
  for (const name of expected.split(/\s+/))
    t.true(seen.has(name), `${name} in ${[...seen.keys()]}`);
  t.is(seen.get('P_DATA'), 20);
  t.is(seen.get('P_TRIM'), 1);
  t.is(seen.get('P_WRITE_ACK'), 21);
  t.is(seen.get('P_BARRIER'), seen.get('P_BARRIER_ACK'));
  // No byte belongs to no packet.
  t.deepEqual(read('tcp.len > 0 && !drbd && !tcp.reassembled_in', '_ws.col.Info'), []);
  t.is(read('tcp.flags.syn == 1', 'tcp.stream').length % 2, 0);
  t.is(read('tcp.flags.reset == 1', 'tcp.stream').length, 0);
});

test('so do streams that were cut, reset and left half-open', (t) => {
  if (!need(t, 'tshark')) return;
  const pair = new SimPair(2, { sizeBytes: 4 << 20, net: { protocol: 'A' } });
  const pcap = recorded(pair);
  pair.upToDate();
  const { net } = pair;
  for (const trouble of [
    () => net.reset('replication'),
    () => net.resetOneEnd('replication', 'alpha'),
    () => {
      net.cut('replication', 'beta');
      pair.run(20_000);
      net.heal('replication');
    },
  ]) {
    const tags = [1, 2, 3].map((i) => pair.alpha.beginWrite(i * 64, noise(i, 65536)));
    pair.run(0.4);
    trouble();
    for (const tag of tags) pair.alpha.answer(tag);
    pair.settled();
    pair.run(2000);
  }
  const read = tshark(t, pcap);
  nothingWrong(t, read);
  const seen = packets(read);
  t.true((seen.get('P_SYNC_UUID') ?? 0) >= 4, JSON.stringify([...seen]));
  t.is(seen.get('P_WRITE_ACK'), undefined); // protocol A
  t.true(read('tcp.flags.reset == 1', 'tcp.stream').length >= 3);
});

test('datagrams; times; packets of several segments', (t) => {
  if (!need(t, 'tshark')) return;
  const pcap = new Pcap(Date.UTC(2024, 0, 1));
  const udp = {
    kind: 'udp',
    network: 'eth0',
    from: '10.2.0.1',
    fromPort: 694,
    to: '10.2.0.2',
    toPort: 694,
  } as const;
  pcap.add({ ...udp, timeMs: 0.25, bytes: new TextEncoder().encode('###\nt=status\n%%%') });
  pcap.add({ ...udp, timeMs: 61_000, bytes: Uint8Array.of(1, 2, 3) });
  const tcp: Omit<WireRecord, 'kind'> = {
    timeMs: 62_000,
    network: 'eth0',
    from: '10.2.0.2',
    fromPort: 40_000,
    to: '10.2.0.1',
    toPort: 5000,
    bytes: new Uint8Array(0),
  };
  pcap.add({ ...tcp, kind: 'tcp-open' });
  pcap.add({ ...tcp, kind: 'tcp-data', bytes: noise(1, 100_000) });
  const back = { ...tcp, from: tcp.to, fromPort: tcp.toPort, to: tcp.from, toPort: tcp.fromPort };
  pcap.add({ ...back, kind: 'tcp-data', bytes: noise(2, 10) });
  pcap.add({ ...tcp, kind: 'tcp-close' });
  pcap.add({ ...back, kind: 'tcp-close' });
  const read = tshark(t, pcap);
  nothingWrong(t, read);
  t.deepEqual(read('udp', 'ip.src', 'ip.dst', 'udp.dstport', 'data.data', 'frame.time_epoch'), [
    '10.2.0.1\t10.2.0.2\t694\t2323230a743d7374617475730a252525\t1704067200.000250000',
    '10.2.0.1\t10.2.0.2\t694\t010203\t1704067261.000000000',
  ]);
  const lengths = read('tcp.len > 0', 'ip.src', 'tcp.len', 'tcp.seq', 'tcp.ack');
  t.is(lengths.length, 8);
  t.is(lengths.at(-1), '10.2.0.1\t10\t1\t100001');
  t.is(read('tcp.flags.fin == 1', 'tcp.stream').length, 2);
});
