/**
 * A volume that is made when `connect` has been asked for already: it goes with its resource, and nobody has to ask again. So it is when
 * two administrators, or an impatient one, give `down`, `up` and `connect` at once. Two engines in virtual time.
 */
import test from 'ava';
import { DEFAULT_NET_OPTIONS, DEFAULT_RESOURCE_OPTIONS } from '../../src/config/drbd-options.js';
import { setPrimary } from '../../src/drbd/roles.js';
import type { Volume } from '../../src/drbd/volume.js';
import type { ControlReply, ControlRequest } from '../../src/host/control.js';
import { block, SimPair, type SimPairNode } from '../support/sim-pair.js';

const resource = 'r0';

function inSync(seed: number, twoVolumes = false): SimPair {
  const pair = new SimPair(seed, { sizeBytes: 2 << 20, twoVolumes });
  pair.upToDate();
  pair.run(100);
  return pair;
}

const CONNECT: ControlRequest = {
  verb: 'connect',
  resource,
  local: { family: 'ipv4', host: '10.1.0.2', port: 7788 },
  remote: { family: 'ipv4', host: '10.1.0.1', port: 7788 },
  options: { ...DEFAULT_NET_OPTIONS, connectIntS: 1 },
  discardMyData: false,
  tentative: false,
};

const newMinor = (minor: number): ControlRequest => ({
  verb: 'new-minor',
  resource,
  minor,
  volume: minor,
  device: `/dev/drbd${minor}`,
});

function asked(node: SimPairNode, request: ControlRequest): void {
  const reply: ControlReply = node.control(request);
  if (!reply.ok) throw new Error(`${request.verb}: ${reply.text}`);
}

/** down, and what was asked for meanwhile: the resource is there again, it connects, and it has no volume. */
function connectedWithout(node: SimPairNode): void {
  asked(node, { verb: 'down', resource });
  asked(node, { verb: 'new-resource', resource, options: DEFAULT_RESOURCE_OPTIONS });
  asked(node, CONNECT);
}

const closed = (node: SimPairNode): number =>
  node.log.filter((line) => line.includes('Connection closed')).length;

/** The rest of `up`. */
function made(node: SimPairNode): Volume {
  asked(node, newMinor(0));
  const v = node.loop.engine.volume(0);
  if (!v) throw new Error('no volume');
  node.volume = v;
  node.resource = v.resource;
  return v;
}

for (const meanwhile of [
  'at once',
  'after the network is back',
  'when the nodes have met',
] as const) {
  test(`the first volume is made after connect, ${meanwhile}: it connects`, (t) => {
    for (let seed = 1; seed <= 4; seed++) {
      const pair = inSync(seed);
      const { alpha, beta } = pair;
      if (meanwhile === 'after the network is back') pair.net.cut('replication');
      connectedWithout(beta);
      if (meanwhile !== 'at once') pair.run(6000);
      if (meanwhile === 'when the nodes have met') t.regex(alpha.shown, /cs:WFReportParams/);
      t.is(alpha.write(8, block(seed)), 0);
      const v = made(beta);
      t.notRegex(beta.shown, /cs:StandAlone/);
      beta.attachTo(v);
      pair.net.heal('replication');
      pair.settled();
      t.is(alpha.write(16, block(seed)), 0);
      pair.run(200);
      t.is(pair.firstDifference(), -1);
    }
  });
}

test('the second volume is made while the first waits for the peer: it waits as well', (t) => {
  const pair = inSync(1, true);
  const { alpha, beta } = pair;
  beta.disconnect();
  t.is(alpha.write(8, block(1), alpha.second ?? undefined), 0);
  asked(beta, { verb: 'detach', minor: 1, force: false });
  asked(beta, { verb: 'del-minor', minor: 1 });
  pair.net.cut('replication');
  asked(beta, CONNECT);
  pair.run(3000);
  asked(beta, newMinor(1));
  beta.second = beta.loop.engine.volume(1);
  t.regex(beta.second ? beta.shownOf(beta.second) : '', /cs:WFConnection/);
  if (beta.second) beta.attachTo(beta.second);
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('the second volume is made while the first is connected: that goes on, and both are when the nodes meet again', (t) => {
  const pair = inSync(1, true);
  const { alpha, beta } = pair;
  beta.disconnect();
  asked(beta, { verb: 'detach', minor: 1, force: false });
  asked(beta, { verb: 'del-minor', minor: 1 });
  asked(beta, CONNECT);
  beta.until(/cs:Connected/);
  const before = closed(alpha);
  asked(beta, newMinor(1));
  beta.second = beta.loop.engine.volume(1);
  if (beta.second) beta.attachTo(beta.second);
  pair.run(1000);
  t.is(closed(alpha), before);
  t.regex(beta.shown, /cs:Connected ro:Secondary\/Primary ds:UpToDate\/UpToDate/);
  t.is(alpha.write(8, block(1)), 0);
  pair.net.reset('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('a volume that waits for the peer and has no disk can be taken away again', (t) => {
  const pair = inSync(1);
  const { beta } = pair;
  pair.net.cut('replication');
  connectedWithout(beta);
  const v = made(beta);
  t.regex(beta.shown, /cs:WFConnection/);
  asked(beta, { verb: 'del-minor', minor: 0 });
  beta.attachTo(made(beta));
  t.not(beta.volume, v);
  t.false(beta.control({ verb: 'del-minor', minor: 0 }).ok);
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.alpha.ask((a, done) => setPrimary(a, false, done)).kind, 'ok');
});

test('the second volume is made while the first is connected: the peer may leave', (t) => {
  const pair = inSync(1, true);
  const { alpha, beta } = pair;
  beta.disconnect();
  asked(beta, { verb: 'detach', minor: 1, force: false });
  asked(beta, { verb: 'del-minor', minor: 1 });
  asked(beta, CONNECT);
  beta.until(/cs:Connected/);
  asked(beta, newMinor(1));
  const v = beta.loop.engine.volume(1);
  t.regex(v ? beta.shownOf(v) : '', /cs:StandAlone/);
  pair.run(100);
  asked(alpha, { verb: 'disconnect', resource, force: false });
  beta.until(/cs:WFConnection/);
  t.regex(v ? beta.shownOf(v) : '', /cs:WFConnection/);
});
