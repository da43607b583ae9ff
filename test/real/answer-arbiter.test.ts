/** A node asks a real witness over loopback, directly and over a line that is slow and loses a lot. */
import { createSocket } from 'node:dgram';
import test, { type ExecutionContext } from 'ava';
import { Prng } from '../../src/base/prng.js';
import { witnessKeyBytes } from '../../src/config/witness-keys.js';
import { type WitnessEffect, WitnessServer } from '../../src/host/witness-server.js';
import { WitnessAsker } from '../../src/real/answer-arbiter.js';
import { nodeDigests, nodeRandom } from '../../src/real/node-ports.js';
import type { ArbiterAnswer, ArbiterAsk } from '../../src/resource-manager/answers.js';
import { Lease } from '../../src/resource-manager/lease.js';
import { until } from '../support/until.js';
import { WITNESS_KEY, WitnessProcess } from '../support/witness-process.js';

const KEY = witnessKeyBytes(WITNESS_KEY);
const TAKE: ArbiterAsk = { verb: 'take', node: 'node-a', generation: 5, leaseMs: 1000 };

function asker(t: ExecutionContext, port: number, key = KEY): WitnessAsker {
  const place = { address: '127.0.0.1', port, cluster: 'shop', key };
  const made = new WitnessAsker(place, nodeRandom, (text) => t.log(text));
  t.teardown(() => made.close());
  return made;
}

function answerOf(from: WitnessAsker, ask: ArbiterAsk): Promise<ArbiterAnswer> {
  return new Promise((resolve) => from.ask(ask, resolve));
}

async function untilGranted(from: WitnessAsker, ask: ArbiterAsk): Promise<void> {
  const isGranted = async () =>
    (await answerOf(from, { ...ask, leaseMs: 300 })).verdict === 'granted';
  await until(isGranted, 'a lease');
}

test('granted, refused, released, with the generation of who released it', async (t) => {
  const witness = await WitnessProcess.start(t, 1);
  const [a, b] = [asker(t, witness.port), asker(t, witness.port)];
  await untilGranted(a, TAKE);
  t.deepEqual(await answerOf(a, TAKE), { verdict: 'granted', released: 0 });
  const other = { ...TAKE, node: 'node-b', generation: 9 };
  t.deepEqual(await answerOf(b, other), { verdict: 'refused', holder: 'node-a' });
  t.is((await answerOf(a, { ...TAKE, verb: 'release' })).verdict, 'granted');
  t.deepEqual(await answerOf(b, other), { verdict: 'granted', released: 5 });
});

test('silent: nobody there, a witness with another key, too many questions', async (t) => {
  const witness = await WitnessProcess.start(t, 1);
  const taken = createSocket('udp4');
  await new Promise<void>((resolve) => taken.bind(0, '127.0.0.1', resolve));
  t.teardown(() => taken.close());
  const short = { ...TAKE, leaseMs: 200 };
  t.deepEqual(await answerOf(asker(t, taken.address().port), short), { verdict: 'silent' });
  const stranger = asker(t, witness.port, witnessKeyBytes('another key than it has'));
  t.deepEqual(await answerOf(stranger, short), { verdict: 'silent' });
  const many = asker(t, taken.address().port);
  const answers: string[] = [];
  for (let i = 0; i < 200; i++) many.ask(TAKE, ({ verdict }) => answers.push(verdict));
  t.is(answers.length, 0, 'never inside');
  await until(() => answers.length === 200, 'all of them');
  t.true(answers.every((verdict) => verdict === 'silent'));
});

test('an answer to another question, and one that is signed by nobody, are not heard', async (t) => {
  const server = createSocket('udp4');
  await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  let heard = 0;
  server.on('message', (bytes, from) => {
    heard++;
    server.send(bytes, from.port, from.address); // the mirrored request
    const forged = Buffer.from(bytes);
    forged[5] = 129;
    server.send(forged, from.port, from.address);
  });
  t.deepEqual(await answerOf(asker(t, server.address().port), { ...TAKE, leaseMs: 300 }), {
    verdict: 'silent',
  });
  t.is(heard, 1);
});

// RTT 2 s and 20 % loss must not lose a lease of 30 s: the same in a twentieth of the time.
test('a slow line that loses a fifth of the datagrams each way does not lose the lease', async (t) => {
  const [leaseMs, delayMs] = [1500, 50];
  const dice = new Prng(20);
  const server = new WitnessServer(
    leaseMs,
    new Map([['shop', KEY]]),
    nodeDigests,
    performance.now() - leaseMs,
  );
  const line = createSocket('udp4');
  await new Promise<void>((resolve) => line.bind(0, '127.0.0.1', resolve));
  const timers = new Set<NodeJS.Timeout>();
  t.teardown(() => {
    for (const timer of timers) clearTimeout(timer);
    line.close();
  });
  const later = (run: () => void): void => {
    if (!dice.chance(0.2)) timers.add(setTimeout(run, delayMs));
  };
  line.on('message', (bytes, from) =>
    later(() => {
      const out: WitnessEffect[] = [];
      server.receive(bytes, { address: from.address, port: from.port }, performance.now(), out);
      for (const effect of out) {
        if (effect.type !== 'answer') continue;
        later(() => line.send(effect.datagram, from.port, from.address));
      }
    }),
  );
  const config = { deadtimeMs: 1000, leaseMs, stopLimitMs: 1000 };
  const lease = new Lease(config, Number.NEGATIVE_INFINITY);
  const from = asker(t, line.address().port);
  let [asked, lost] = [0, 0];
  const timer = setInterval(() => {
    const nowMs = performance.now();
    if (lease.untilMs > 0 && nowMs >= lease.untilMs) lost++;
    const id = lease.asked(nowMs);
    asked++;
    from.ask({ ...TAKE, leaseMs }, (answer) => lease.answered(id, answer, performance.now()));
  }, lease.everyMs);
  await until(() => asked >= 100, 'a hundred questions'); // over three leases
  clearInterval(timer);
  t.is(lost, 0);
  t.true(lease.untilMs > performance.now());
});
