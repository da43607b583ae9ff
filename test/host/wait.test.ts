/**
 * Which start-up timeout holds, and when a wait for the peer is over, asked of a real engine in virtual time. The kernel's answers in the
 * same places: drbdsetup-84 with DRBD 8.4.11 observed (test/cli/drbdsetup-wait.test.ts).
 */
import test from 'ava';
import { setSecondary } from '../../src/drbd/roles.js';
import type { ControlReply, ControlRequest } from '../../src/host/control.js';
import { DrbdControl } from '../../src/host/drbd-control.js';
import { inSync, type SimPair, type SimPairNode } from '../support/sim-pair.js';

function type(node: SimPairNode): unknown {
  const reply = node.control({ verb: 'timeout-type', minor: 0 });
  return reply.ok ? reply.value : reply;
}

/** As a boot: attached, trying to connect. */
function boot(node: SimPairNode): void {
  node.attach();
  node.connect();
}

function alone(pair: SimPair): void {
  pair.beta.crash(true);
  pair.alpha.until(/cs:WFConnection/);
}

test('a Primary that was alone when it died is degraded, until it meets its peer', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  alone(pair);
  t.is(type(alpha), 'wfc-timeout');
  pair.run(50); // that it is alone is on its disk
  alpha.crash(true);
  boot(alpha);
  t.is(type(alpha), 'degr-wfc-timeout');
  boot(beta);
  alpha.until(/cs:Connected/);
  t.is(type(alpha), 'wfc-timeout');
});

test('who died connected, or went down in good order, is not degraded', (t) => {
  const connected = inSync(2);
  connected.alpha.crash(true);
  boot(connected.alpha);
  t.is(type(connected.alpha), 'wfc-timeout');

  const orderly = inSync(3);
  alone(orderly);
  t.is(orderly.alpha.ask(setSecondary).kind, 'ok');
  orderly.alpha.crash(true);
  boot(orderly.alpha);
  t.is(type(orderly.alpha), 'wfc-timeout');
});

test('a peer that is known to be Outdated has its own timeout, degraded or not', (t) => {
  const pair = inSync(4, { disk: { fencing: 'resource-only' } });
  const { alpha } = pair;
  alpha.exits = { 'fence-peer': 4 };
  pair.beta.crash(true);
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate\/Outdated/);
  t.is(type(alpha), 'outdated-wfc-timeout');
  pair.run(1000);
  alpha.crash(true);
  boot(alpha);
  t.is(type(alpha), 'outdated-wfc-timeout');
});

/** A wait, and what it was answered with; states are looked at when `look` says so. */
function begin(node: SimPairNode, request: ControlRequest) {
  const control = new DrbdControl(node.loop, 'test');
  const replies: ControlReply[] = [];
  control.handle(request, (reply) => void replies.push(reply));
  return {
    over: (): unknown => {
      control.stateChanged();
      const [reply] = replies;
      if (!reply) return 'waits';
      return reply.ok ? (reply.value as { readonly over: string }).over : reply.kind;
    },
  };
}

const CONNECT = { verb: 'wait-connect', minor: 0, timeoutS: 0, afterSb: false } as const;
const SYNC = { ...CONNECT, verb: 'wait-sync' } as const;

test('wait-connect is over with the connection, wait-sync with the resync', (t) => {
  const pair = inSync(5, { disk: { resyncRateKiBps: 256 } });
  const { alpha, beta } = pair;
  t.is(begin(alpha, CONNECT).over(), 'there');
  t.is(begin(alpha, SYNC).over(), 'there');
  alone(pair);
  for (let n = 0; n < 64; n++) alpha.write(n * 8, new Uint8Array(4096).fill(n + 1));
  const [connect, sync] = [begin(alpha, CONNECT), begin(alpha, SYNC)];
  t.deepEqual([connect.over(), sync.over()], ['waits', 'waits']);
  boot(beta);
  alpha.until(/cs:SyncSource/);
  t.deepEqual([connect.over(), sync.over()], ['there', 'waits']);
  pair.settled();
  t.is(sync.over(), 'there');
});

test('given up: at once, or with afterSb when it happens while waiting', (t) => {
  const { alpha } = inSync(6);
  const before = begin(alpha, { ...SYNC, timeoutS: 5 });
  t.is(before.over(), 'there');
  alpha.disconnect();
  t.is(begin(alpha, CONNECT).over(), 'given-up');
  const patient = begin(alpha, { ...CONNECT, afterSb: true });
  t.is(patient.over(), 'waits');
  alpha.connect();
  t.is(patient.over(), 'waits');
  alpha.disconnect();
  t.is(patient.over(), 'given-up');
});

test('the time is over, and not before; a wait for ever has none', (t) => {
  const pair = inSync(7);
  alone(pair);
  const timed = begin(pair.alpha, { ...CONNECT, timeoutS: 3 });
  const always = begin(pair.alpha, CONNECT);
  pair.run(2_900);
  t.is(timed.over(), 'waits');
  pair.run(200);
  t.is(timed.over(), 'timeout');
  pair.run(100_000);
  t.is(always.over(), 'waits');
});

test('a volume that goes away ends its waits; nonsense is refused', (t) => {
  const { alpha } = inSync(8);
  alpha.disconnect();
  const wait = begin(alpha, { ...CONNECT, afterSb: true });
  t.is(wait.over(), 'waits');
  alpha.loop.enter(() => alpha.loop.engine.removeVolume(alpha.volume));
  t.is(wait.over(), 'failure');
  for (const timeoutS of [-1, 1.5, 300_001, '9' as unknown as number]) {
    t.is(begin(alpha, { ...CONNECT, timeoutS }).over(), 'usage', `${timeoutS}`);
  }
});
