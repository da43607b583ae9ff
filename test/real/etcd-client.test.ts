/** etcd as the witness: a real one of one member and of three, of which one dies or stands still. */
import { createServer, type RequestListener } from 'node:http';
import test, { type ExecutionContext } from 'ava';
import { EtcdClient } from '../../src/real/etcd-client.js';
import type { ArbiterAnswer, ArbiterAsk } from '../../src/resource-manager/answers.js';
import { post, startEtcd } from '../support/etcd-process.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';

const A: ArbiterAsk = { verb: 'take', node: 'node-a', generation: 5, leaseMs: 2000 };
const B: ArbiterAsk = { ...A, node: 'node-b', generation: 7 };
const GRANTED: ArbiterAnswer = { verdict: 'granted', released: 0 };

function client(t: ExecutionContext, ...endpoints: readonly string[]): EtcdClient {
  const made = new EtcdClient({ endpoints, cluster: 'shop' }, (text) => t.log(text));
  t.teardown(() => made.close());
  return made;
}

function answerOf(from: EtcdClient, ask: ArbiterAsk): Promise<ArbiterAnswer> {
  return new Promise((resolve) => from.ask(ask, resolve));
}

function untilGranted(from: EtcdClient, ask: ArbiterAsk): Promise<void> {
  return until(async () => (await answerOf(from, ask)).verdict === 'granted', 'the lease');
}

test('one holder until its lease has run out, in etcd’s own time; released: at once', async (t) => {
  if (!need(t, 'etcd')) return;
  const [member] = await startEtcd(t, 1);
  const endpoint = member?.endpoint ?? '';
  const [a, b] = [client(t, endpoint), client(t, endpoint)];
  t.deepEqual(await answerOf(a, A), GRANTED);
  for (let i = 0; i < 3; i++) {
    t.deepEqual(await answerOf(b, B), { verdict: 'refused', holder: 'node-a' });
  }
  t.deepEqual(await answerOf(b, { ...B, verb: 'release' }), {
    verdict: 'refused',
    holder: 'node-a',
  });
  const askedMs = performance.now();
  t.deepEqual(await answerOf(a, { ...A, verb: 'renew' }), GRANTED);
  await untilGranted(b, B);
  t.true(performance.now() - askedMs >= A.leaseMs, 'not before our lease is over');
  t.deepEqual(await answerOf(a, { ...A, verb: 'renew' }), { verdict: 'refused', holder: 'node-b' });
  t.deepEqual(await answerOf(b, { ...B, verb: 'release' }), GRANTED);
  t.deepEqual(await answerOf(a, A), GRANTED);
});

test('a later life of the node goes on with the lease, an older one is refused', async (t) => {
  if (!need(t, 'etcd')) return;
  const [member] = await startEtcd(t, 1);
  const endpoint = member?.endpoint ?? '';
  const [first, second] = [client(t, endpoint), client(t, endpoint)];
  t.deepEqual(await answerOf(first, A), GRANTED);
  t.deepEqual(await answerOf(second, { ...A, generation: 6 }), GRANTED);
  t.deepEqual(await answerOf(first, A), { verdict: 'refused', holder: 'node-a' });
  t.deepEqual(await answerOf(first, { ...A, verb: 'release' }), {
    verdict: 'refused',
    holder: 'node-a',
  });
});

// A request that was given up may arrive later: it must not tie the key to a lease that ends before the one that is counted.
test('the put of a question that was given up changes nothing when it arrives', async (t) => {
  if (!need(t, 'etcd')) return;
  const [member] = await startEtcd(t, 1);
  const etcd = member?.endpoint ?? '';
  const held: (() => Promise<void>)[] = [];
  let holdPuts = false;
  const proxy = await serve(t, (request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on('end', () => {
      const pass = async () => {
        response.end(JSON.stringify(await post(`${etcd}${request.url}`, JSON.parse(body))));
      };
      if (holdPuts && request.url === '/v3/kv/txn') held.push(pass);
      else void pass();
    });
  });
  const a = client(t, proxy);
  t.deepEqual(await answerOf(a, A), GRANTED);
  holdPuts = true;
  t.deepEqual(await answerOf(a, { ...A, leaseMs: 1000 }), { verdict: 'silent' });
  t.true(held.length > 0);
  holdPuts = false;
  t.deepEqual(await answerOf(a, A), GRANTED);
  const key = Buffer.from('twinbeat/shop').toString('base64');
  const leaseOf = async () => {
    const { kvs } = (await post(`${etcd}/v3/kv/range`, { key })) as { kvs: { lease: string }[] };
    return kvs[0]?.lease;
  };
  const lease = await leaseOf();
  for (const pass of held) await pass();
  t.truthy(lease);
  t.is(await leaseOf(), lease);
});

test('three members: the leader dies, then there is no majority', async (t) => {
  if (!need(t, 'etcd')) return;
  const members = await startEtcd(t, 3);
  const a = client(t, ...members.map(({ endpoint }) => endpoint));
  t.deepEqual(await answerOf(a, { ...A, leaseMs: 10_000 }), GRANTED);
  const leads = await Promise.all(members.map((member) => member.isLeader()));
  t.is(leads.filter(Boolean).length, 1);
  const leader = members[leads.indexOf(true)];
  await leader?.ended();
  await untilGranted(a, { ...A, verb: 'renew', leaseMs: 10_000 });
  const [next] = members.filter((member) => member !== leader);
  await next?.ended();
  t.deepEqual(await answerOf(a, { ...A, verb: 'renew' }), { verdict: 'silent' });
});

test('an endpoint that stands still, and one that is not there, cost time and no lease', async (t) => {
  if (!need(t, 'etcd')) return;
  const [member] = await startEtcd(t, 1);
  const still = await serve(t, () => undefined);
  const a = client(t, still, 'http://127.0.0.1:1', member?.endpoint ?? '');
  t.deepEqual(await answerOf(a, { ...A, leaseMs: 3000 }), GRANTED);
});

async function serve(t: ExecutionContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
}

test('an answer that is not one is silence: errors, no JSON, without end, a lease that is too short', async (t) => {
  const answers: Readonly<Record<string, string>> = {
    'no JSON': '<html>',
    'no lease': '{}',
    'a short lease': '{"ID":"1","TTL":"1"}',
    'without end': 'x'.repeat(100_000),
  };
  for (const [what, text] of Object.entries(answers)) {
    const endpoint = await serve(t, (_request, response) => response.end(text));
    t.deepEqual(await answerOf(client(t, endpoint), A), { verdict: 'silent' }, what);
  }
  const refusing = await serve(t, (_request, response) => {
    response.statusCode = 503;
    response.end('{"error":"no leader"}');
  });
  t.deepEqual(await answerOf(client(t, refusing), A), { verdict: 'silent' });
});

test('one question at a time: what is asked meanwhile is silent at once', async (t) => {
  const still = await serve(t, () => undefined);
  const a = client(t, still);
  const answers: string[] = [];
  const first = answerOf(a, { ...A, leaseMs: 500 }).then(({ verdict }) => answers.push(verdict));
  t.deepEqual(await answerOf(a, A), { verdict: 'silent' });
  t.deepEqual(answers, []);
  await first;
  t.deepEqual(answers, ['silent']);
});
