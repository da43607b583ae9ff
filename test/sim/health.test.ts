/** Two simulated heartbeats that check what they run: every rung, FAILED_OFFLINE, recover, and that nothing runs twice. */
import test, { type ExecutionContext } from 'ava';
import { parseStanding } from '../../src/resource-manager/standing.js';
import type { NodeName } from '../../src/sim/config.js';
import { peerOf } from '../../src/sim/config.js';
import { EVERYTHING, HeartbeatPair, type PairNode, type PairOptions } from './heartbeat-pair.js';

const HEALTH = { intervalS: 10, steps: 5, timeoutS: 5, restartsPerHour: 1 };
const DETECTION_MS = (HEALTH.intervalS * (HEALTH.steps - 1) + HEALTH.timeoutS) * 1000;

function started(options: Partial<PairOptions> = {}): HeartbeatPair {
  return HeartbeatPair.started({ health: HEALTH, ...options });
}

function standingOf(node: PairNode) {
  const content = node.heartbeat.files.read('standing');
  return parseStanding(content && new TextDecoder().decode(content));
}

function level(node: PairNode, resource = 'service'): string {
  return node.heartbeat.report?.health.find((h) => h.resource === resource)?.level ?? '';
}

function logged(pair: HeartbeatPair, text: string | RegExp): string[] {
  return pair.log.filter((line) =>
    typeof text === 'string' ? line.includes(text) : text.test(line),
  );
}

function expectGroup(t: ExecutionContext, pair: HeartbeatPair, where: NodeName | null): void {
  const has = { alpha: pair.alpha.has, beta: pair.beta.has };
  const wanted = { alpha: '', beta: '' };
  if (where !== null) wanted[where] = EVERYTHING;
  t.deepEqual(has, wanted, pair.tail());
  t.deepEqual(pair.twice, [], pair.tail());
}

/** The service of a node never gets well again. */
function breaks(node: PairNode, how: 'killed' | 'hung' | 'full'): void {
  if (how === 'hung') node.scripts.fault('service', 'monitor', { hangs: true });
  if (how === 'full') node.scripts.fault('Filesystem', 'monitor', { exit: 1, says: 'full' });
  if (how === 'killed') {
    node.scripts.serviceEnded('service');
    node.scripts.fault('service', 'start', { exit: 1 });
  }
}

test('a killed service is restarted in place: the claim stays, the peer does nothing', (t) => {
  const pair = started();
  const fromMs = pair.clock.nowMs;
  pair.alpha.scripts.serviceEnded('service');
  t.true(pair.until(DETECTION_MS + 5000, () => pair.alpha.has === EVERYTHING) > 0, pair.tail());
  t.deepEqual(
    logged(pair, /health of service: .* -> /).map((l) => l.replace(/^.*: (\w+ -> \w+).*$/, '$1')),
    ['OK -> OK_INFO', 'OK_INFO -> OK_WARN', 'OK_WARN -> OK_CRITICAL', 'OK_CRITICAL -> FAIL'],
  );
  t.is(pair.alpha.heartbeat.report?.hold, 'local');
  pair.runFor(60_000);
  expectGroup(t, pair, 'alpha');
  t.deepEqual(pair.calls('alpha', fromMs), ['service stop', 'service start']);
  t.deepEqual(pair.calls('beta', fromMs), []);
  t.is(level(pair.alpha), 'OK');
  t.deepEqual(standingOf(pair.alpha), { state: 'ok' });
});

for (const how of ['killed', 'hung', 'full'] as const) {
  test(`a service that is ${how} for good: restarted, then it goes to the peer, and its node is FAILED_OFFLINE`, (t) => {
    const pair = started();
    const fromMs = pair.clock.nowMs;
    breaks(pair.alpha, how);
    t.true(pair.until(200_000, () => pair.beta.has === EVERYTHING) > 0, pair.tail());
    pair.runFor(20_000);
    expectGroup(t, pair, 'beta');
    const standing = standingOf(pair.alpha);
    t.is(standing.state, 'FAILED_OFFLINE');
    t.deepEqual(pair.alpha.heartbeat.report?.standing, standing);
    t.is(pair.alpha.heartbeat.report?.hold, 'none');
    // The peer started nothing before the last stop here.
    const begins = logged(pair, /beta .* start$/)[0] ?? '';
    const stops = logged(pair, /alpha drbddisk::r0 stop = 0/).at(-1) ?? '';
    t.true(Number(begins.split(' ')[0]) > Number(stops.split(' ')[0]), pair.tail());
    t.true(pair.calls('alpha', fromMs).some((call) => call === 'service start'));

    // It starts nothing again: not after a power cut, not when the peer dies.
    pair.powerCut('alpha');
    pair.runFor(2000);
    pair.boot('alpha');
    pair.runFor(60_000);
    const laterMs = pair.clock.nowMs;
    expectGroup(t, pair, 'beta');
    pair.powerCut('beta');
    pair.runFor(150_000);
    expectGroup(t, pair, null);
    t.deepEqual(pair.calls('alpha', laterMs), []);
    t.true(logged(pair, /alpha CRIT: This node is FAILED_OFFLINE .*node beta is dead/).length >= 2);
  });
}

test('a restart in place begins with what failed: what stands to its left is not touched', (t) => {
  const pair = started();
  const fromMs = pair.clock.nowMs;
  pair.alpha.scripts.fault('IPaddr', 'monitor', { exit: 1, times: 4 });
  t.true(pair.until(DETECTION_MS, () => pair.calls('alpha', fromMs).length === 4) > 0, pair.tail());
  t.deepEqual(pair.calls('alpha', fromMs), [
    'service stop',
    'IPaddr::10.9.0.1 stop',
    'IPaddr::10.9.0.1 start',
    'service start',
  ]);
  pair.runFor(120_000);
  expectGroup(t, pair, 'alpha');
  t.is(pair.alpha.heartbeat.report?.health.filter((h) => h.level === 'OK').length, 4);
});

test('a standby that is asked for during a restart in place wins: it is stopped once, and runs there', (t) => {
  const pair = started();
  pair.alpha.scripts.fault('service', 'start', { slowMs: 3000 });
  pair.alpha.scripts.serviceEnded('service');
  t.true(pair.until(DETECTION_MS + 5000, () => logged(pair, 'alpha service start').length > 2) > 0);
  pair.alpha.heartbeat.standby('all');
  t.true(pair.until(20_000, () => pair.beta.has === EVERYTHING) > 0, pair.tail());
  pair.runFor(120_000);
  expectGroup(t, pair, 'beta');
  t.deepEqual(standingOf(pair.alpha), { state: 'ok' });
});

test('a daemon that is stopped, or starts a new life, during a restart in place: no standing comes of it', (t) => {
  for (const how of ['stop', 'reload', 'kill'] as const) {
    const pair = started({ respawnMs: 500 });
    pair.alpha.scripts.fault('service', 'start', { slowMs: 3000 });
    pair.alpha.scripts.serviceEnded('service');
    const begun = () => logged(pair, 'alpha service start').length > 2;
    t.true(pair.until(DETECTION_MS + 5000, begun) > 0, pair.tail());
    if (how === 'stop') pair.alpha.heartbeat.stop();
    else if (how === 'kill') pair.alpha.heartbeat.kill();
    else {
      const texts = pair.texts();
      pair.alpha.heartbeat.configure({ ...texts, haCf: `${texts.haCf}rtprio 7\n` });
      pair.alpha.heartbeat.reload();
    }
    pair.runFor(120_000);
    expectGroup(t, pair, how === 'stop' ? 'beta' : 'alpha');
    t.deepEqual(standingOf(pair.alpha), { state: 'ok' }, how);
  }
});

test('too many connections: degraded up to OK_CRITICAL, nothing is restarted or moved', (t) => {
  const pair = started();
  const fromMs = pair.clock.nowMs;
  pair.alpha.scripts.fault('service', 'monitor', { exit: 10, says: 'too many connections' });
  pair.runFor(400_000);
  t.is(level(pair.alpha), 'OK_CRITICAL');
  t.is(logged(pair, 'health of service').length, 3);
  // A check that fails on top of it moves nothing either.
  pair.alpha.scripts.fault('service', 'monitor', { exit: 1, times: 2 });
  pair.runFor(100_000);
  expectGroup(t, pair, 'alpha');
  t.deepEqual([...pair.calls('alpha', fromMs), ...pair.calls('beta', fromMs)], []);
  t.is(level(pair.alpha), 'OK');
});

test('the standing is on disk before anything moves: a power cut in between', (t) => {
  const pair = started({ health: { ...HEALTH, restartsPerHour: 0 } });
  const kept: (() => void)[] = [];
  const keep = pair.alpha.answers.standing;
  pair.alpha.answers.standing = (config, ask, answered) => {
    kept.push(() => keep(config, ask, answered));
  };
  const fromMs = pair.clock.nowMs;
  breaks(pair.alpha, 'hung');
  t.true(pair.until(60_000, () => kept.length > 0) > 0);
  pair.runFor(20_000);
  t.deepEqual(pair.calls('alpha', fromMs), []); // nothing moves while it is not written
  t.is(pair.alpha.heartbeat.report?.hold, 'local');
  kept[0]?.();
  pair.powerCut('alpha');
  pair.runFor(2000);
  pair.boot('alpha');
  t.true(pair.until(60_000, () => pair.beta.has === EVERYTHING) > 0);
  pair.runFor(60_000);
  expectGroup(t, pair, 'beta');
  t.is(pair.alpha.heartbeat.report?.standing.state, 'FAILED_OFFLINE');
});

test('a standing that cannot be written: said, and the service goes all the same', (t) => {
  const pair = started({ health: { ...HEALTH, restartsPerHour: 0 } });
  pair.alpha.answers.standing = (_config, _ask, answered) => answered(false);
  breaks(pair.alpha, 'full');
  t.true(pair.until(80_000, () => pair.beta.has === EVERYTHING) > 0, pair.tail());
  t.is(logged(pair, 'alpha CRIT: The standing cannot be written').length, 1);
  expectGroup(t, pair, 'beta');
});

test('recover, from either node: refused while a check fails, then the node may run again', (t) => {
  for (const from of ['alpha', 'beta'] as const) {
    const pair = started();
    breaks(pair.alpha, 'full');
    t.true(pair.until(200_000, () => pair.beta.has === EVERYTHING) > 0);
    const said: (string | null)[] = [];
    const recover = (wish = {}) =>
      pair[from].heartbeat.recover('alpha', wish, (refusal) => said.push(refusal));
    recover();
    pair.runFor(5000);
    t.regex(said[0] ?? '', /the check of Filesystem::\S+ fails: full; --force/);
    t.is(standingOf(pair.alpha).state, 'FAILED_OFFLINE');
    pair.alpha.scripts.fault('Filesystem', 'monitor', null);
    recover({ activatePrimary: true });
    t.true(pair.until(20_000, () => pair.alpha.has === EVERYTHING) > 0, pair.tail());
    pair.runFor(60_000);
    t.is(said[1], null);
    expectGroup(t, pair, 'alpha');
    t.deepEqual(standingOf(pair.alpha), { state: 'ok' });
    recover();
    pair.runFor(1000);
    t.is(said[2], 'node alpha is not FAILED_OFFLINE');
    // And it takes over again.
    pair.alpha.heartbeat.standby('all');
    t.true(pair.until(10_000, () => pair.beta.has === EVERYTHING) > 0);
    pair.powerCut('beta');
    t.true(pair.until(40_000, () => pair.alpha.has === EVERYTHING) > 0, pair.tail());
  }
});

test('recover --force asks no check; a node that is unknown, or not of ours, is said', (t) => {
  const pair = started();
  breaks(pair.alpha, 'full');
  t.true(pair.until(200_000, () => pair.beta.has === EVERYTHING) > 0);
  const said: (string | null)[] = [];
  pair.beta.heartbeat.recover('alpha', { force: true }, (refusal) => said.push(refusal));
  pair.runFor(2000);
  t.deepEqual(said, [null]);
  t.deepEqual(standingOf(pair.alpha), { state: 'ok' });
  pair.beta.heartbeat.recover('gamma', {}, (refusal) => said.push(refusal));
  pair.runFor(100);
  t.is(said[1], 'node gamma is not in ha.cf');
  pair.powerCut('alpha');
  pair.beta.heartbeat.recover('alpha', {}, (refusal) => said.push(refusal));
  pair.runFor(121_000);
  t.regex(said[2] ?? '', /^node alpha does not answer/);
});

test('the peer is dead: after a minute the group is stopped; the peer takes it when it comes', (t) => {
  const pair = started({ health: { ...HEALTH, restartsPerHour: 0 } });
  pair.powerCut('beta');
  pair.runFor(20_000);
  t.is(pair.alpha.has, EVERYTHING);
  breaks(pair.alpha, 'hung');
  t.true(pair.until(DETECTION_MS + 70_000, () => pair.alpha.has === '') > 60_000, pair.tail());
  t.is(pair.alpha.heartbeat.report?.gaveUp[0]?.key, 'drbddisk::r0');
  const laterMs = pair.clock.nowMs;
  pair.runFor(130_000);
  const said = /alpha CRIT: This node is FAILED_OFFLINE .* resource group drbddisk::r0 is stopped/;
  t.true(logged(pair, said).length >= 2, pair.tail()); // once a minute
  t.deepEqual(pair.calls('alpha', laterMs), []);
  pair.boot('beta');
  t.true(pair.until(60_000, () => pair.beta.has === EVERYTHING) > 0, pair.tail());
  pair.runFor(30_000);
  expectGroup(t, pair, 'beta');
});

test('recover while a new life begins: it waits for a reload, and is told when it came too late', (t) => {
  for (const how of ['reload', 'stop'] as const) {
    const pair = started();
    breaks(pair.alpha, 'full');
    t.true(pair.until(200_000, () => pair.beta.has === EVERYTHING) > 0);
    pair.runFor(20_000);
    const written: (() => void)[] = [];
    const answer = pair.alpha.answers.standing;
    pair.alpha.answers.standing = (config, ask, answered) =>
      written.push(() => answer(config, ask, answered));
    const said: (string | null)[] = [];
    pair.alpha.heartbeat.recover('alpha', { force: true }, (refusal) => said.push(refusal));
    t.true(pair.until(1000, () => written.length > 0) > 0);
    const texts = pair.texts();
    pair.alpha.heartbeat.configure({ ...texts, haCf: `${texts.haCf}rtprio 7\n` });
    if (how === 'reload') pair.alpha.heartbeat.reload();
    else pair.alpha.heartbeat.stop();
    pair.runFor(5000);
    for (const write of written) write();
    pair.runFor(15_000);
    t.deepEqual(said, how === 'reload' ? [null] : ['this life of heartbeat ends: ask again'], how);
    if (how === 'stop') continue;
    t.is(logged(pair, 'alpha info: Restarting heartbeat with a new').length, 1);
    t.is(pair.alpha.heartbeat.report?.standing.state, 'ok');
    t.is(standingOf(pair.alpha).state, 'ok');
  }
});

test('the peer is dead when an operator recovers the node: it takes over what nobody runs', (t) => {
  const pair = started();
  breaks(pair.alpha, 'full');
  t.true(pair.until(200_000, () => pair.beta.has === EVERYTHING) > 0);
  pair.powerCut('beta');
  pair.runFor(60_000);
  expectGroup(t, pair, null);
  pair.alpha.scripts.fault('Filesystem', 'monitor', null);
  pair.alpha.heartbeat.recover('alpha');
  t.true(pair.until(20_000, () => pair.alpha.has === EVERYTHING) > 0, pair.tail());
});

test('the peer leaves in good order: it is taken over by the node that an operator recovers, then or later', (t) => {
  for (const waitMs of [500, 60_000]) {
    const pair = started();
    breaks(pair.alpha, 'full');
    t.true(pair.until(200_000, () => pair.beta.has === EVERYTHING) > 0);
    pair.alpha.scripts.fault('Filesystem', 'monitor', null);
    pair.beta.heartbeat.stop();
    t.true(pair.until(20_000, () => pair.beta.has === '') > 0);
    pair.runFor(waitMs);
    expectGroup(t, pair, null);
    pair.alpha.heartbeat.recover('alpha');
    t.true(pair.until(40_000, () => pair.alpha.has === EVERYTHING) > 0, pair.tail());
    expectGroup(t, pair, 'alpha');
  }
});

test('it fails on the peer, too: both are offline, it is stopped, and either may be recovered', (t) => {
  const pair = started({ health: { ...HEALTH, restartsPerHour: 0 } });
  breaks(pair.alpha, 'hung');
  breaks(pair.beta, 'hung');
  t.true(pair.until(400_000, () => standingOf(pair.beta).state !== 'ok') > 0, pair.tail());
  pair.runFor(90_000);
  expectGroup(t, pair, null);
  t.true(logged(pair, /beta CRIT: .*node alpha is FAILED_OFFLINE, too/).length > 0, pair.tail());
  pair.runFor(300_000);
  expectGroup(t, pair, null);
  const said: (string | null)[] = [];
  pair.beta.heartbeat.standby('all', (refusal) => said.push(refusal));
  pair.runFor(100);
  t.is(said[0], 'node alpha is FAILED_OFFLINE');
  pair.alpha.scripts.fault('service', 'monitor', null);
  pair.alpha.heartbeat.recover('alpha');
  // It is recovered, and beta hands over what it claims.
  t.true(pair.until(40_000, () => pair.alpha.has === EVERYTHING) > 0, pair.tail());
  pair.runFor(60_000);
  expectGroup(t, pair, 'alpha');
});

test('a stop that fails is stuck, not moved: the node goes down first', (t) => {
  const pair = started({ health: { ...HEALTH, restartsPerHour: 0 } });
  pair.alpha.stubborn = true;
  pair.alpha.scripts.fault('service', 'stop', { exit: 1 });
  pair.alpha.scripts.fault('service', 'monitor', { exit: 1 });
  t.true(pair.until(200_000, () => logged(pair, 'alpha reboots').length > 0) > 0, pair.tail());
  t.is(pair.beta.has, '');
  t.true(pair.until(40_000, () => pair.beta.has === EVERYTHING) > 0);
  pair.boot('alpha');
  pair.runFor(60_000);
  expectGroup(t, pair, 'beta');
  t.is(pair.alpha.heartbeat.report?.standing.state, 'FAILED_OFFLINE');
});

test('a common start: the node that is offline claims nothing for itself, the peer runs it all', (t) => {
  const pair = started();
  breaks(pair.alpha, 'full');
  t.true(pair.until(200_000, () => pair.beta.has === EVERYTHING) > 0);
  for (const name of ['alpha', 'beta'] as const) pair.powerCut(name);
  pair.runFor(2000);
  const fromMs = pair.clock.nowMs;
  for (const name of ['alpha', 'beta'] as const) pair.boot(name);
  t.true(pair.until(60_000, () => pair.beta.has === EVERYTHING) > 0, pair.tail());
  pair.runFor(60_000);
  expectGroup(t, pair, 'beta');
  t.deepEqual(
    pair.calls('alpha', fromMs).filter((call) => call.endsWith('start')),
    [],
  );
});

test('a killed daemon of a node that fails over: its successor hands over, and starts nothing', (t) => {
  const pair = started({ respawnMs: 500, health: { ...HEALTH, restartsPerHour: 0 } });
  breaks(pair.alpha, 'hung');
  t.true(pair.until(80_000, () => standingOf(pair.alpha).state !== 'ok') > 0);
  const fromMs = pair.clock.nowMs;
  pair.alpha.heartbeat.kill();
  t.true(pair.until(60_000, () => pair.beta.has === EVERYTHING) > 0, pair.tail());
  pair.runFor(60_000);
  expectGroup(t, pair, 'beta');
  t.deepEqual(
    pair.calls('alpha', fromMs).filter((call) => call.endsWith('start')),
    [],
  );
});

test('auto_failback on: a node that is offline is offered nothing, until it is recovered', (t) => {
  const pair = started({ autoFailback: 'on' });
  breaks(pair.alpha, 'full');
  t.true(pair.until(200_000, () => pair.beta.has === EVERYTHING) > 0);
  pair.powerCut('alpha');
  pair.runFor(20_000);
  pair.boot('alpha');
  const fromMs = pair.clock.nowMs;
  pair.runFor(120_000);
  expectGroup(t, pair, 'beta');
  t.deepEqual([...pair.calls('alpha', fromMs), ...pair.calls('beta', fromMs)], []);
  t.is(
    logged(pair, 'wants to go standby').filter((l) => Number(l.split(' ')[0]) > fromMs).length,
    0,
  );
  pair.alpha.scripts.fault('Filesystem', 'monitor', null);
  pair.alpha.heartbeat.recover('alpha');
  t.true(pair.until(30_000, () => pair.alpha.has === EVERYTHING) > 0, pair.tail());
  expectGroup(t, pair, 'alpha');
});

test('legacy: there is no standby, so the node leaves, the peer takes over, and it stays away', (t) => {
  const pair = started({ autoFailback: 'legacy' });
  breaks(pair.alpha, 'full');
  t.true(pair.until(200_000, () => pair.beta.has === EVERYTHING) > 0, pair.tail());
  pair.runFor(10_000);
  t.is(pair.alpha.heartbeat.phase, 'off');
  expectGroup(t, pair, 'beta');
  const fromMs = pair.clock.nowMs;
  pair.alpha.heartbeat.start();
  pair.runFor(60_000);
  expectGroup(t, pair, 'beta');
  t.deepEqual(pair.calls('alpha', fromMs), []);
  pair.alpha.scripts.fault('Filesystem', 'monitor', null);
  pair.alpha.heartbeat.recover('alpha');
  t.true(pair.until(30_000, () => pair.alpha.has === EVERYTHING) > 0, pair.tail());
  pair.runFor(20_000);
  expectGroup(t, pair, 'alpha');
});

test('without [health] nothing is checked, and the standing of an earlier time holds all the same', (t) => {
  const pair = started({ health: {} });
  let checks = 0;
  for (const name of ['alpha', 'beta'] as const) {
    const { answers } = pair.nodes[name];
    const { check } = answers;
    answers.check = (config, ask, answered) => {
      checks++;
      check(config, ask, answered);
    };
  }
  pair.alpha.scripts.serviceEnded('service');
  pair.runFor(600_000);
  t.is(checks, 0);
  t.is(pair.alpha.has, EVERYTHING.replace(' service', ''));
  t.deepEqual(pair.alpha.heartbeat.report?.health, []);
  const failed = new TextEncoder().encode('{"state":"FAILED_OFFLINE","why":"x"}');
  pair.powerCut(peerOf('alpha'));
  pair.beta.heartbeat.files.write('standing', failed);
  pair.boot('beta');
  pair.runFor(20_000);
  pair.powerCut('alpha');
  pair.runFor(60_000);
  t.is(pair.beta.has, '');
});
