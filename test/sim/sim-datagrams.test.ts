/** Datagrams between simulated hosts, and every fault that they can meet. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { SimClock } from '../../src/sim/sim-clock.js';
import { SimNet } from '../../src/sim/sim-net.js';
import type { NetworkFaults } from '../../src/sim/sim-network.js';

function world(seed: number) {
  const clock = new SimClock();
  const net = new SimNet(clock, new Prng(seed));
  for (const [i, host] of ['a', 'b', 'c'].entries()) {
    net.addHost(host, { eth0: `10.2.0.${i + 1}`, eth1: `10.3.0.${i + 1}` });
  }
  const seen: string[] = [];
  const bind = (host: string, network = 'eth0'): void =>
    net.bindDatagram(host, network, 694, (bytes, from) =>
      seen.push(`${host} ${from} ${network} ${[...bytes]}`),
    );
  return { clock, net, seen, bind };
}

/** 1000 datagrams 10 ms apart from a to b: the numbers that arrived, and their times. */
function thousand(seed: number, faults: NetworkFaults): { numbers: number[]; raw: Uint8Array[] } {
  const { clock, net } = world(seed);
  const numbers: number[] = [];
  const raw: Uint8Array[] = [];
  net.bindDatagram('b', 'eth0', 694, (bytes) => {
    raw.push(bytes);
    numbers.push(bytes.length === 8 ? new DataView(bytes.buffer).getUint32(0) : -1);
  });
  net.faults('eth0', faults);
  for (let i = 0; i < 1000; i++) {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setUint32(0, i);
    net.sendDatagram('a', 'eth0', 694, bytes);
    bytes.fill(0xff); // the sender's buffer is its own again
    clock.runUntil(clock.nowMs + 10);
  }
  clock.runUntilIdle(10_000);
  return { numbers, raw };
}

test('a datagram reaches everybody else who is bound, or the one it is for', (t) => {
  const { clock, net, seen, bind } = world(1);
  for (const host of ['a', 'b', 'c']) bind(host);
  bind('b', 'eth1');
  net.sendDatagram('a', 'eth0', 694, Uint8Array.of(1));
  net.sendDatagram('a', 'eth0', 695, Uint8Array.of(2)); // nobody
  clock.runUntilIdle(10);
  t.deepEqual(seen.splice(0).sort(), ['b a eth0 1', 'c a eth0 1']);
  net.sendDatagram('b', 'eth0', 694, Uint8Array.of(3), 'a');
  net.sendDatagram('c', 'eth1', 694, Uint8Array.of(4));
  clock.runUntilIdle(10);
  t.deepEqual(seen.splice(0).sort(), ['a b eth0 3', 'b c eth1 4']);
  net.unbindDatagram('b', 'eth0', 694);
  net.sendDatagram('a', 'eth0', 694, Uint8Array.of(5));
  clock.runUntilIdle(10);
  t.deepEqual(seen.splice(0), ['c a eth0 5']);
});

test('a cut loses datagrams, one way or both; so do hosts without power', (t) => {
  const { clock, net, seen, bind } = world(2);
  for (const host of ['a', 'b']) bind(host);
  const both = (): string[] => {
    net.sendDatagram('a', 'eth0', 694, Uint8Array.of(1));
    net.sendDatagram('b', 'eth0', 694, Uint8Array.of(2));
    clock.runUntilIdle(10);
    return seen.splice(0).sort();
  };
  t.deepEqual(both(), ['a b eth0 2', 'b a eth0 1']);
  net.cut('eth0', 'a');
  t.deepEqual(both(), ['a b eth0 2']);
  net.cut('eth0');
  t.deepEqual(both(), []);
  net.heal('eth0');
  t.deepEqual(both(), ['a b eth0 2', 'b a eth0 1']);
  net.crash('b', true);
  net.sendDatagram('a', 'eth0', 694, Uint8Array.of(1));
  clock.runUntilIdle(10);
  net.boot('b');
  t.deepEqual(seen, []);
  net.sendDatagram('a', 'eth0', 694, Uint8Array.of(1));
  clock.runUntilIdle(10);
  t.deepEqual(seen, []); // what was bound there is gone
});

test('without faults everything arrives once and in order', (t) => {
  t.deepEqual(
    thousand(3, {}).numbers,
    Array.from({ length: 1000 }, (_, i) => i),
  );
});

test('loss, duplicates, late and corrupted ones come about as often as asked', (t) => {
  const about = (count: number, expected: number) =>
    t.true(Math.abs(count - expected) < expected * 0.3, `${count}, not about ${expected}`);
  about(1000 - thousand(4, { loss: 0.2 }).numbers.length, 200);
  about(thousand(5, { duplicate: 0.2 }).numbers.length - 1000, 200);

  const { numbers } = thousand(6, { reorder: 0.2 });
  t.deepEqual(
    numbers.toSorted((x, y) => x - y),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  about(numbers.filter((n, i) => numbers.slice(i + 1).some((later) => later < n)).length, 950);

  const { raw } = thousand(7, { corrupt: 0.2 });
  const short = raw.filter((bytes) => bytes.length < 8).length;
  const wrong = raw.filter(
    (bytes, i) =>
      bytes.length === 8 && new DataView(bytes.buffer).getBigUint64(0) !== BigInt(i) << 32n,
  ).length;
  about(short + wrong, 200);
  about(short, 50);
});

test('one fault that is switched off does not change the dice of the others', (t) => {
  const lost = (faults: NetworkFaults): number[] => {
    const arrived = new Set(thousand(8, faults).numbers);
    return Array.from({ length: 1000 }, (_, i) => i).filter((i) => !arrived.has(i));
  };
  t.deepEqual(lost({ loss: 0.1, duplicate: 0.3, reorder: 0.3 }), lost({ loss: 0.1 }));
});

test('the tap sees what arrives', (t) => {
  const { clock, net, bind } = world(9);
  bind('b');
  const seen: string[] = [];
  net.tap = (r) =>
    seen.push(`${r.kind} ${r.network} ${r.from}:${r.fromPort} ${r.to}:${r.toPort} ${r.bytes}`);
  net.sendDatagram('a', 'eth0', 694, Uint8Array.of(1, 2), 'b');
  net.cut('eth0', 'b');
  net.sendDatagram('b', 'eth0', 694, Uint8Array.of(3), 'a');
  clock.runUntilIdle(10);
  t.deepEqual(seen, ['udp eth0 10.2.0.1:694 10.2.0.2:694 1,2']);
});
