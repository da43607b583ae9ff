/** Settings that a running heartbeat takes without a new life. Whole daemons, simulated. */
import test, { type ExecutionContext } from 'ava';
import { fileDigests } from '../../src/host/file-digests.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import type { HeartbeatTexts } from '../../src/sim/heartbeat-config.js';
import { EVERYTHING, HeartbeatPair, type PairOptions } from './heartbeat-pair.js';

type Texts = HeartbeatTexts;

function reload(pair: HeartbeatPair, change: (texts: Texts) => Partial<Texts>): void {
  const texts = pair.texts() as unknown as Texts;
  pair.alpha.heartbeat.configure({ ...texts, ...change(texts) });
  pair.alpha.heartbeat.reload();
  pair.runFor(2000);
}

const count = (pair: HeartbeatPair, what: RegExp) => pair.log.filter((l) => what.test(l)).length;

/** Neither node has noticed anything, and no script was run. */
function goesOn(t: ExecutionContext, pair: HeartbeatPair, generation: number, what: RegExp): void {
  const { alpha, beta } = pair;
  t.is(alpha.heartbeat.report?.generation, generation, pair.tail());
  t.is(count(pair, /alpha info: The new configuration is in force, and nothing was restarted/), 1);
  t.true(
    pair.log.some((line) => what.test(line)),
    pair.tail(),
  );
  t.is(count(pair, /beta .*(restart on|is dead|status init)/), 0, pair.tail());
  t.is(alpha.has, EVERYTHING);
  t.is(beta.has, '');
}

function settled(options: Partial<PairOptions> = {}): {
  pair: HeartbeatPair;
  generation: number;
} {
  const pair = HeartbeatPair.started(options);
  pair.log.length = 0;
  return { pair, generation: pair.alpha.heartbeat.report?.generation ?? 0 };
}

test('a comment: nothing happens', (t) => {
  const { pair, generation } = settled();
  reload(pair, ({ haCf }) => ({ haCf: `# seen\n${haCf}` }));
  goesOn(t, pair, generation, /nothing was restarted: it says the same as before/);
  t.deepEqual(pair.calls('alpha'), []);
});

test('log, script-timeout: in force at once', (t) => {
  const { pair, generation } = settled();
  reload(pair, ({ haCf }) => ({ haCf: `${haCf}debug 1\nlogfile /x\n`, scriptTimeoutS: 2 }));
  goesOn(t, pair, generation, /restarted: .*logfile, .*debug, \[heartbeat\] script-timeout\./);
  t.is(pair.alpha.heartbeat.report?.parameters['logfile'], '/x');
  pair.alpha.scripts.fault('service', 'stop', { slowMs: 60_000 });
  pair.alpha.heartbeat.standby('all');
  pair.runFor(5000);
  t.true(count(pair, /alpha service stop = killed/) > 0, pair.tail());
});

test('[health]: switched on, made stricter, switched off', (t) => {
  const { pair, generation } = settled({ scriptTimeoutS: 10 });
  const health = { intervalS: 5, steps: 3, timeoutS: 2, restartsPerHour: 1 };
  t.is(pair.alpha.heartbeat.report?.health.length, 0);
  reload(pair, () => ({ health }));
  goesOn(t, pair, generation, /\[health\] interval, \[health\] steps, \[health\] timeout/);
  t.true((pair.alpha.heartbeat.report?.health.length ?? 0) > 0);
  // It fails: restarted in place, the one time of this hour.
  pair.alpha.scripts.serviceEnded('service');
  t.true(pair.until(30_000, () => count(pair, /restarting .* in place.*1 of 1/) === 1) >= 0);
  pair.runFor(10_000);
  t.is(pair.alpha.has, EVERYTHING);
  // The hour goes on, whatever the interval is: the next time it fails over.
  reload(pair, () => ({ health: { ...health, intervalS: 3 } }));
  t.is(pair.alpha.heartbeat.report?.generation, generation);
  pair.alpha.scripts.serviceEnded('service');
  pair.runFor(30_000);
  t.is(pair.beta.has, EVERYTHING, pair.tail());
  t.deepEqual(pair.twice, []);
  reload(pair, () => ({ health: { ...health, intervalS: 0 } }));
  t.is(pair.alpha.heartbeat.report?.health.length, 0);
  t.is(pair.alpha.heartbeat.report?.standing.state, 'FAILED_OFFLINE', 'only an operator ends that');
});

test('deadping: a ping node is dead after the new time', (t) => {
  const { pair, generation } = settled({ haCf: ['ping 10.0.0.9', 'deadping 60'] });
  const alpha = pair.alpha;
  alpha.reaches.add('10.0.0.9');
  pair.runFor(5000);
  const status = () => alpha.heartbeat.report?.nodes.find(({ type }) => type === 'ping')?.status;
  t.is(status(), 'ping');
  reload(pair, ({ haCf }) => ({ haCf: haCf.replace('deadping 60', 'deadping 10') }));
  goesOn(t, pair, generation, /restarted: deadping\./);
  alpha.reaches.clear();
  const tookMs = pair.until(30_000, () => status() === 'dead');
  t.true(tookMs > 8000 && tookMs < 14_000, `${tookMs}`);
});

test('moves-per-hour and failback-delay: of a fail-back that waits', (t) => {
  const pair = new HeartbeatPair({ autoFailback: 'on' });
  const texts = (failbackDelayS: number) => ({ ...pair.texts(), failbackDelayS });
  for (const { heartbeat } of [pair.alpha, pair.beta]) {
    heartbeat.configure(texts(3600) as unknown as Texts);
    heartbeat.start();
  }
  pair.runFor(60_000);
  pair.powerCut('alpha');
  pair.runFor(30_000);
  t.is(pair.beta.has, EVERYTHING);
  pair.boot('alpha');
  pair.runFor(120_000);
  t.is(pair.beta.has, EVERYTHING, 'it waits');
  pair.beta.heartbeat.configure(texts(60) as unknown as Texts);
  pair.beta.heartbeat.reload();
  pair.runFor(20_000);
  t.is(pair.alpha.has, EVERYTHING, pair.tail());
  t.deepEqual(pair.twice, []);
});

test('with something that needs a new life all of it is taken there, and the line says what', (t) => {
  const { pair, generation } = settled();
  reload(pair, ({ haCf }) => ({ haCf: `${haCf}debug 1\nrtprio 7\n`, scriptTimeoutS: 2 }));
  pair.runFor(20_000);
  t.is(pair.alpha.heartbeat.report?.generation, generation + 1);
  t.is(
    count(pair, /A new life takes what has changed: rtprio, debug, \[heartbeat\] script-tim/),
    1,
  );
  t.is(pair.alpha.has, EVERYTHING);
  t.deepEqual(pair.twice, []);
});

test('keys beside it are taken; what waits for a change to end is taken when it has ended', (t) => {
  const keys = 'auth 1\n1 sha1 a-word\n';
  const { pair, generation } = settled({ authkeys: keys });
  pair.alpha.stubborn = true;
  pair.alpha.heartbeat.standby('all');
  pair.runFor(3000);
  reload(pair, ({ haCf }) => ({ haCf: `${haCf}debug 1\n`, authkeys: `${keys}2 sha1 more\n` }));
  t.is(count(pair, /Rereading authentication file/), 1);
  t.is(count(pair, /in force/), 0, 'in the middle of a standby');
  pair.alpha.stubborn = false;
  pair.alpha.scripts.serviceEnded('service');
  pair.runFor(30_000);
  t.is(count(pair, /alpha .*nothing was restarted: debug/), 1, pair.tail());
  t.is(pair.alpha.heartbeat.report?.generation, generation);
  t.is(pair.beta.has, EVERYTHING);
});

test('the other node hears what the files say now', (t) => {
  const pair = new HeartbeatPair();
  for (const { answers, heartbeat } of [pair.alpha, pair.beta]) {
    answers.digests = (config, _ask, answered) => answered(fileDigests(config, null, nodeDigests));
    heartbeat.start();
  }
  pair.runFor(30_000);
  reload(pair, ({ haCf }) => ({ haCf: `${haCf}deadping 77\n` }));
  for (const { heartbeat } of [pair.alpha, pair.beta]) {
    t.is(heartbeat.report?.files['ha.cf'], 'differs', pair.tail());
  }
});
