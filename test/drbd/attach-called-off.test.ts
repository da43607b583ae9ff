/**
 * A disk is let go by force while it is being attached: nothing of it is offered any more, and who asked for it hears that. Two engines
 * in virtual time.
 */
import test from 'ava';
import { DEFAULT_NET_OPTIONS, DEFAULT_RESOURCE_OPTIONS } from '../../src/config/drbd-options.js';
import { detach } from '../../src/drbd/disk-verbs.js';
import { setSecondary } from '../../src/drbd/roles.js';
import type { ControlReply, ControlRequest } from '../../src/host/control.js';
import { inSync, SimPair, type SimPairNode } from '../support/sim-pair.js';

const resource = 'r0';

function asked(node: SimPairNode, request: ControlRequest): void {
  const reply: ControlReply = node.control(request);
  if (!reply.ok) throw new Error(`${request.verb}: ${reply.text}`);
}

/** It is connected, and has no volume: the other node's stays in WFReportParams. */
function connectWithoutVolume(node: SimPairNode): void {
  asked(node, { verb: 'down', resource });
  asked(node, { verb: 'new-resource', resource, options: DEFAULT_RESOURCE_OPTIONS });
  asked(node, {
    verb: 'connect',
    resource,
    local: { family: 'ipv4', host: '10.1.0.2', port: 7788 },
    remote: { family: 'ipv4', host: '10.1.0.1', port: 7788 },
    options: { ...DEFAULT_NET_OPTIONS, connectIntS: 1 },
    discardMyData: false,
    tentative: false,
  });
}

function makeVolume(node: SimPairNode): void {
  asked(node, { verb: 'new-minor', resource, minor: 0, volume: 0, device: '/dev/drbd0' });
  const v = node.loop.engine.volume(0);
  if (!v) throw new Error('no volume');
  node.volume = v;
  node.resource = v.resource;
  node.attachTo(v);
}

test('while it waits for the answer of the peer', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(alpha.ask(setSecondary).kind, 'ok');
  connectWithoutVolume(beta);
  alpha.until(/cs:WFReportParams/);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  pair.run(2000);
  const answers: unknown[] = [];
  alpha.beginAttach((failed) => answers.push(failed));
  pair.run(1000);
  t.regex(alpha.shown, /cs:WFReportParams \S+ ds:Attaching/);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  pair.run(1000);
  t.is(answers.length, 1);
  t.truthy(answers[0]);
  makeVolume(beta);
  alpha.until(/cs:Connected/);
  pair.run(1000);
  t.regex(alpha.shown, /cs:Connected \S+ ds:Diskless\/UpToDate/);
  alpha.attachTo(alpha.volume);
  pair.settled();
});

test('a peer without such a volume is not waited for without end', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(alpha.ask(setSecondary).kind, 'ok');
  connectWithoutVolume(beta);
  alpha.until(/cs:WFReportParams/);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  pair.run(2000);
  const answers: unknown[] = [];
  alpha.beginAttach((failed) => answers.push(failed));
  pair.run(15_000);
  t.is(answers.length, 1);
  t.truthy(answers[0]);
  t.regex(alpha.shown, /cs:WFReportParams \S+ ds:Diskless/);
  makeVolume(beta);
  alpha.until(/cs:Connected/);
  alpha.attachTo(alpha.volume);
  pair.settled();
});

for (const nth of ['the first', 'a later'] as const) {
  test(`at each moment of it, ${nth} time`, (t) => {
    let late = 0;
    for (let step = 0; step < 200 && late < 3; step++) {
      const pair = nth === 'the first' ? new SimPair(1, { sizeBytes: 2 << 20 }) : inSync(1);
      const { alpha } = pair;
      if (nth !== 'the first') {
        t.is(alpha.ask(setSecondary).kind, 'ok');
        t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
        pair.run(100);
      }
      const before = alpha.io.buffersInUse;
      const answers: unknown[] = [];
      alpha.beginAttach((failed) => answers.push(failed));
      for (let n = 0; n < step; n++) pair.world.step();
      if (answers.length > 0) late++;
      t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
      t.regex(alpha.shown, /ds:Diskless/, `${step}`);
      pair.run(2000);
      t.is(answers.length, 1, `${step}`);
      t.regex(alpha.shown, /ds:Diskless/, `${step}`);
      t.is(alpha.io.buffersInUse, before, `${step}`);
      alpha.attachTo(alpha.volume);
      if (nth !== 'the first') pair.settled();
    }
    t.is(late, 3);
  });
}
