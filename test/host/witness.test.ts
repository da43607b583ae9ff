/** The witness, datagram by datagram: one holder at most, silence after a start, and nothing old is heard. */
import test from 'ava';
import { type WitnessEffect, WitnessServer } from '../../src/host/witness-server.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import {
  decodeWitness,
  encodeWitness,
  type WitnessMessage,
  type WitnessRequestVerb,
} from '../../src/wire/witness.js';

const KEY = new TextEncoder().encode('the key of the cluster');
const KEYS = new Map([
  ['shop', KEY],
  ['mail', KEY],
]);
const LEASE_MS = 30_000;

class Rig {
  nowMs = 1000;
  readonly server: WitnessServer;
  readonly logs: string[] = [];
  count = 0;

  constructor(isSilent = false) {
    this.server = new WitnessServer(LEASE_MS, KEYS, nodeDigests, this.nowMs);
    if (!isSilent) this.nowMs += LEASE_MS;
  }

  request(node: string, verb: WitnessRequestVerb, more: Partial<WitnessMessage> = {}): Uint8Array {
    const message: WitnessMessage = {
      verb,
      generation: 5,
      count: ++this.count,
      salt: 1n,
      leaseMs: verb === 'release' ? 0 : LEASE_MS,
      released: 0,
      cluster: 'shop',
      node,
      holder: '',
      ...more,
    };
    return encodeWitness(message, KEY, nodeDigests);
  }

  /** What is answered: 'granted', 'refused node-a', or null. */
  send(datagram: Uint8Array, address = '10.0.0.1'): string | null {
    const answer = this.answer(datagram, address);
    if (!answer) return null;
    if (answer.verb === 'refused') return `refused ${answer.holder}`;
    return answer.released === 0 ? 'granted' : `granted after ${answer.released}`;
  }

  answer(datagram: Uint8Array, address: string): WitnessMessage | null {
    const out: WitnessEffect[] = [];
    this.server.receive(datagram, { address, port: 7 }, this.nowMs, out);
    let answer: WitnessMessage | null = null;
    for (const effect of out) {
      if (effect.type === 'log') this.logs.push(effect.text);
      else {
        const decoded = decodeWitness(effect.datagram, () => KEY, nodeDigests);
        answer = decoded.ok ? decoded.message : null;
      }
    }
    return answer;
  }

  ask(
    node: string,
    verb: WitnessRequestVerb,
    more: Partial<WitnessMessage> = {},
    address = '10.0.0.1',
  ): string | null {
    return this.send(this.request(node, verb, more), address);
  }
}

test('one holder at a time: the other is refused until the lease has run out', (t) => {
  const rig = new Rig();
  t.is(rig.ask('node-a', 'take'), 'granted');
  t.is(rig.ask('node-b', 'take'), 'refused node-a');
  rig.nowMs += LEASE_MS - 1;
  t.is(rig.ask('node-b', 'take'), 'refused node-a');
  rig.nowMs += 1;
  t.is(rig.ask('node-b', 'take'), 'granted');
  t.is(rig.ask('node-a', 'renew'), 'refused node-b', 'who comes back too late has lost it');
  t.deepEqual(rig.logs, [
    'shop: node-a has the lease',
    'shop: the lease of node-a has run out',
    'shop: node-b has the lease',
  ]);
});

test('a renewed lease goes on', (t) => {
  const rig = new Rig();
  t.is(rig.ask('node-a', 'take'), 'granted');
  for (let i = 0; i < 10; i++) {
    rig.nowMs += LEASE_MS - 1;
    t.is(rig.ask('node-b', 'take'), 'refused node-a');
    t.is(rig.ask('node-a', 'renew'), 'granted');
  }
});

test('a shorter lease that comes later does not shorten what was granted', (t) => {
  const rig = new Rig();
  t.is(rig.ask('node-a', 'take'), 'granted');
  t.is(rig.ask('node-a', 'renew', { leaseMs: 1 }), 'granted');
  rig.nowMs += LEASE_MS - 1;
  t.is(rig.ask('node-b', 'take'), 'refused node-a');
});

test('silent for one lease after its start: what it granted before is not known', (t) => {
  const rig = new Rig(true);
  t.is(rig.ask('node-b', 'take'), null);
  rig.nowMs += LEASE_MS - 1;
  t.is(rig.ask('node-b', 'take'), null);
  t.is(rig.ask('node-b', 'release'), null);
  rig.nowMs += 1;
  t.is(rig.ask('node-b', 'take'), 'granted');
});

test('a cluster that is added, or was away, is met with silence; the others are not', (t) => {
  const rig = new Rig();
  t.is(rig.ask('node-a', 'take'), 'granted');
  rig.server.setKeys(new Map([['mail', KEY]]), rig.nowMs);
  t.is(rig.ask('node-b', 'take'), null);
  rig.server.setKeys(KEYS, rig.nowMs);
  t.is(rig.ask('node-b', 'take'), null, 'node-a may still count on it');
  t.is(rig.ask('node-b', 'take', { cluster: 'mail' }), 'granted');
  rig.nowMs += LEASE_MS;
  t.is(rig.ask('node-b', 'take'), 'granted');
});

test('a lease that is longer than the silence is never granted', (t) => {
  const rig = new Rig();
  t.is(rig.ask('node-a', 'take', { leaseMs: LEASE_MS + 1 }), 'refused ');
  t.is(rig.ask('node-a', 'take', { leaseMs: 0 }), 'refused ');
  t.is(rig.ask('node-b', 'take'), 'granted');
});

test('released: free at once, and the next holder is told whose life it was', (t) => {
  const rig = new Rig();
  t.is(rig.ask('node-a', 'take', { generation: 9 }), 'granted');
  t.is(rig.ask('node-b', 'release'), 'refused node-a', 'what one does not hold');
  t.is(rig.ask('node-a', 'release', { generation: 9 }), 'granted');
  t.is(rig.ask('node-b', 'take'), 'granted after 9');
  t.is(rig.ask('node-b', 'renew'), 'granted after 9', 'the first answer may have been lost');
  t.is(rig.ask('node-a', 'take', { generation: 10 }), 'refused node-b');
});

test('a lease that ran out was not released, and an own release frees nobody else', (t) => {
  const rig = new Rig();
  t.is(rig.ask('node-a', 'take'), 'granted');
  rig.nowMs += LEASE_MS;
  t.is(rig.ask('node-b', 'take'), 'granted');
  t.is(rig.ask('node-b', 'release'), 'granted');
  t.is(rig.ask('node-b', 'take'), 'granted');
  t.is(rig.ask('node-b', 'release'), 'granted');
  t.is(rig.ask('node-a', 'take'), 'granted after 5');
  rig.nowMs += LEASE_MS;
  t.is(rig.ask('node-b', 'take'), 'granted', 'that of node-b was used up');
});

test('an older life is refused, a later one goes on with the lease', (t) => {
  const rig = new Rig();
  t.is(rig.ask('node-a', 'take', { generation: 5 }), 'granted');
  t.is(rig.ask('node-a', 'take', { generation: 6, count: 1 }), 'granted');
  t.is(rig.ask('node-a', 'renew', { generation: 5 }), 'refused node-a');
  t.is(rig.ask('node-a', 'release', { generation: 5 }), 'refused node-a');
  t.is(rig.ask('node-b', 'take'), 'refused node-a');
});

test('replayed and overtaken datagrams have no effect and no answer', (t) => {
  const rig = new Rig();
  const take = rig.request('node-a', 'take');
  const release = rig.request('node-a', 'release');
  t.is(rig.send(take), 'granted');
  t.is(rig.send(release), 'granted');
  t.is(rig.ask('node-a', 'take'), 'granted');
  t.is(rig.send(release), null, 'the recorded release does not free the lease');
  t.is(rig.send(take), null);
  t.is(rig.ask('node-b', 'take'), 'refused node-a');
});

test('what was heard during the silence is not heard again after it', (t) => {
  const rig = new Rig(true);
  const take = rig.request('node-b', 'take');
  t.is(rig.send(take), null);
  rig.nowMs += LEASE_MS;
  t.is(rig.send(take), null);
});

test('forged, foreign and mirrored datagrams are not answered, and said once a minute', (t) => {
  const rig = new Rig();
  const take = rig.request('node-a', 'take');
  const forged = take.slice();
  forged[33] = 1; // a lease of another length
  t.is(rig.send(forged), null);
  t.is(rig.ask('node-a', 'take', { cluster: 'unknown' }), null);
  t.is(rig.send(new Uint8Array(0)), null);
  t.is(rig.logs.length, 1);
  rig.nowMs += 60_000;
  t.is(rig.send(forged), null);
  t.is(rig.logs.length, 2);
  t.is(rig.ask('node-b', 'take', { verb: 'granted' }), null);
  t.is(rig.ask('node-b', 'take'), 'granted', 'and none of them took anything');
});

test('a source that floods is not listened to for a while, the others are', (t) => {
  const rig = new Rig();
  let answers = 0;
  for (let i = 0; i < 1000; i++) {
    if (rig.ask('node-a', 'renew', {}, '10.0.0.66') !== null) answers++;
  }
  t.is(answers, 100);
  t.is(rig.ask('node-b', 'take', {}, '10.0.0.2'), 'refused node-a');
  rig.nowMs += 1000;
  t.is(rig.ask('node-a', 'renew', {}, '10.0.0.66'), 'granted');
});

test('what it remembers is bounded: sources, nodes', (t) => {
  const rig = new Rig();
  for (let i = 0; i < 5000; i++) rig.send(new Uint8Array(3), `10.1.${i >> 8}.${i & 255}`);
  t.is(rig.server.sources, 1024);
  t.is(rig.ask('node-1', 'take'), 'granted');
  for (let i = 2; i <= 8; i++) t.is(rig.ask(`node-${i}`, 'take'), 'refused node-1');
  t.is(rig.ask('node-9', 'take'), null);
});

test('clusters have nothing to do with each other', (t) => {
  const rig = new Rig();
  t.is(rig.ask('node-a', 'take'), 'granted');
  t.is(rig.ask('node-b', 'take', { cluster: 'mail' }), 'granted');
});
