/** rename-resource: the connection, its writes, a peer that is on its way, and a successor notice nothing of it. */
import test from 'ava';
import { DEFAULT_RESOURCE_OPTIONS } from '../../src/config/drbd-options.js';
import type { ControlRequest } from '../../src/host/control.js';
import { block, inSync } from '../support/sim-pair.js';

const CONNECTED = /^cs:Connected .* ds:UpToDate\/UpToDate$/;
const rename = (resource: string, name: string): ControlRequest => ({
  verb: 'rename-resource',
  resource,
  name,
});

test('Primary and connected, with a write under way: it is answered, and on both disks', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  const { incarnation } = alpha.resource;
  const tag = alpha.beginWrite(8, block(7));
  t.true(alpha.control(rename('r0', 'new')).ok);
  t.is(alpha.answer(tag), 0);
  t.is(alpha.loop.engine.resource('new'), alpha.resource);
  t.is(alpha.loop.engine.resource('r0'), null);
  t.deepEqual(
    alpha.loop.engine.status('').resources.map((r) => r.name),
    ['new'],
  );
  t.regex(alpha.shown, CONNECTED);
  t.is(alpha.resource.incarnation, incarnation, 'the same connection');
  t.is(beta.resource.name, 'r0', "the peer's name is its own");
  pair.run(1000);
  t.is(pair.firstDifference(), -1);
});

test('waiting for the peer: who calls is let in, and a call that is under way is answered', (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const pair = inSync(seed, { net: { connectIntS: 60 } }); // alpha's own next call is far away
    const { alpha, beta } = pair;
    beta.disconnect();
    alpha.until(/cs:WFConnection/);
    pair.run(2000);
    if (seed % 2 === 0) t.true(alpha.control(rename('r0', 'new')).ok);
    beta.connect();
    pair.run(seed); // calls are somewhere between begun and answered
    if (seed % 2 === 1) t.true(alpha.control(rename('r0', 'new')).ok);
    const begunMs = pair.world.nowMs;
    alpha.until(CONNECTED);
    t.true(pair.world.nowMs - begunMs < 15_000, `seed ${seed}: no later than without`);
    t.is(alpha.write(0, block(seed)), 0);
    t.is(pair.firstDifference(), -1);
  }
});

test('a name that is taken, none at all, and a resource that is not there are refused; nothing has changed', (t) => {
  const { alpha } = inSync(2);
  alpha.loop.engine.addResource('r1', DEFAULT_RESOURCE_OPTIONS);
  for (const [from, to, code] of [
    ['r0', 'r1', 162],
    ['r0', 'a/b', 162],
    ['r9', 'r2', 158],
  ] as const) {
    const reply = alpha.control(rename(from, to));
    t.is(reply.ok ? 0 : reply.code, code, `${from} to ${to}`);
  }
  t.true(alpha.control(rename('r0', 'r0')).ok, 'its own');
  const names = alpha.loop.engine.resources.map((r) => r.name);
  t.deepEqual(names, ['r0', 'r1']);
});

test('a successor knows the new name', (t) => {
  const { alpha } = inSync(3);
  t.true(alpha.control(rename('r0', 'new')).ok);
  const [saved] = alpha.saved().resources;
  t.is(saved?.name, 'new');
  t.is(saved?.volumes[0]?.minor, 0);
});
