/** Two simulated heartbeats with scripts: start, power cut, standby, a killed daemon, pauses, dopd. */
import test, { type ExecutionContext } from 'ava';
import { DEFAULT_CONFIG } from '../../src/sim/config.js';
import { haFields } from '../../src/wire/hamsg.js';
import { EVERYTHING, HeartbeatPair } from './heartbeat-pair.js';

const DEADTIME_MS = DEFAULT_CONFIG.heartbeat?.deadtimeMs ?? 0;
const STARTS = [
  'drbddisk::r0 start',
  'Filesystem::/dev/drbd0::/data::ext4 start',
  'IPaddr::10.9.0.1 start',
  'service start',
];
const STOPS = STARTS.map((call) => call.replace('start', 'stop')).reverse();

function expectGroup(
  t: ExecutionContext,
  pair: HeartbeatPair,
  where: { readonly alpha: string; readonly beta: string },
): void {
  t.deepEqual({ alpha: pair.alpha.has, beta: pair.beta.has }, where, pair.tail());
  t.deepEqual(pair.twice, [], pair.tail());
}

test('both start: the group runs at home, started from left to right', (t) => {
  const pair = HeartbeatPair.started();
  expectGroup(t, pair, { alpha: EVERYTHING, beta: '' });
  t.deepEqual(pair.calls('alpha'), STARTS);
  t.deepEqual(pair.calls('beta'), []);
  t.is(pair.alpha.heartbeat.report?.rscStatus, 'local');
  t.is(pair.beta.heartbeat.report?.nodes[0]?.status, 'active');
});

test('a power cut: the other node takes over after deadtime', (t) => {
  const pair = HeartbeatPair.started();
  pair.powerCut('alpha');
  const tookMs = pair.until(20_000, () => pair.beta.has === EVERYTHING);
  t.true(tookMs > DEADTIME_MS - 1500 && tookMs < DEADTIME_MS + 2500, `${tookMs}`);
  t.deepEqual(pair.calls('beta'), STARTS);
  pair.boot('alpha');
  pair.runFor(40_000);
  expectGroup(t, pair, { alpha: '', beta: EVERYTHING });
  t.is(pair.alpha.heartbeat.report?.nodes[1]?.status, 'active');
});

test('hb_standby: stopped from right to left, then started on the other node; hb_takeover brings it back', (t) => {
  const pair = HeartbeatPair.started();
  const fromMs = pair.clock.nowMs;
  const said: (string | null)[] = [];
  pair.alpha.heartbeat.standby('all', (refusal) => said.push(refusal));
  pair.runFor(5000);
  t.deepEqual(said, [null]);
  expectGroup(t, pair, { alpha: '', beta: EVERYTHING });
  t.deepEqual(pair.calls('alpha', fromMs), STOPS);
  t.deepEqual(pair.calls('beta'), STARTS);
  pair.alpha.heartbeat.takeover('all');
  pair.runFor(5000);
  expectGroup(t, pair, { alpha: EVERYTHING, beta: '' });
});

test('the original’s hb_standby, by the FIFO: followed, or refused and not sent', (t) => {
  const pair = HeartbeatPair.started();
  const message = haFields({ t: 'ask_resources', rsc_hold: 'all', info: 'me' });
  pair.alpha.heartbeat.writeFifo(message);
  pair.alpha.heartbeat.writeFifo(message);
  pair.runFor(5000);
  expectGroup(t, pair, { alpha: '', beta: EVERYTHING });
  t.is(pair.log.filter((line) => line.includes('alpha wants to go standby')).length, 2);
  t.true(pair.log.some((line) => line.includes('WARN: hb_standby all: Standby in progress.')));
});

test('an orderly stop hands over at once', (t) => {
  const pair = HeartbeatPair.started();
  pair.alpha.heartbeat.stop();
  t.true(pair.until(4000, () => pair.beta.has === EVERYTHING) >= 0, pair.tail());
  pair.runFor(5000);
  expectGroup(t, pair, { alpha: '', beta: EVERYTHING });
  t.is(pair.alpha.heartbeat.phase, 'off');
  t.is(pair.alpha.heartbeat.files.read('state'), null);
});

test('a killed daemon that comes back within deadtime resumes: nothing starts or stops', (t) => {
  const pair = HeartbeatPair.started();
  const fromMs = pair.clock.nowMs;
  pair.alpha.heartbeat.kill();
  pair.runFor(1000);
  pair.alpha.heartbeat.start();
  pair.runFor(40_000);
  expectGroup(t, pair, { alpha: EVERYTHING, beta: '' });
  t.deepEqual([...pair.calls('alpha', fromMs), ...pair.calls('beta', fromMs)], []);
  t.true(pair.log.some((line) => line.includes('Heartbeat restart on node alpha')));
  t.false(pair.log.some((line) => line.includes('is dead')));
});

// Keepalives come every second here: the other node may have missed us for longer than the file says.
test('a daemon that may already be missed does not resume', (t) => {
  const pair = HeartbeatPair.started();
  pair.alpha.heartbeat.kill();
  pair.runFor(DEADTIME_MS - 1500);
  pair.alpha.heartbeat.start();
  pair.runFor(1000);
  t.true(pair.log.some((line) => line.includes('without releasing local resources: stopping')));
});

test('killed again while it stops what its predecessor left: the next one stops it, too', (t) => {
  const pair = HeartbeatPair.started();
  pair.alpha.scripts.fault('service', 'stop', { slowMs: 3000, times: 1 });
  pair.alpha.heartbeat.kill();
  pair.runFor(DEADTIME_MS + 3000);
  for (let i = 0; i < 2; i++) {
    pair.alpha.heartbeat.start();
    pair.runFor(1000);
    t.is(pair.alpha.heartbeat.node, null, 'no life while it stops');
    pair.alpha.heartbeat.kill();
  }
  pair.alpha.heartbeat.start();
  pair.runFor(1000);
  t.is(pair.alpha.has, EVERYTHING);
  pair.until(10_000, () => pair.alpha.heartbeat.node !== null);
  t.is(pair.alpha.has, '', pair.tail());
});

test('an angel starts a killed daemon again', (t) => {
  const pair = HeartbeatPair.started({ respawnMs: 50 });
  pair.alpha.heartbeat.kill();
  t.is(pair.alpha.heartbeat.phase, 'off');
  pair.runFor(1000);
  t.is(pair.alpha.heartbeat.phase, 'running');
  pair.powerCut('alpha');
  pair.runFor(1000);
  t.is(pair.alpha.heartbeat.phase, 'off', 'not without power');
});

test('a daemon that was missing for longer than deadtime stops what its predecessor left, then joins', (t) => {
  const pair = HeartbeatPair.started();
  pair.alpha.heartbeat.kill();
  pair.runFor(DEADTIME_MS + 3000);
  t.is(pair.alpha.has, EVERYTHING, 'goes on without its daemon');
  t.false(pair.beta.has.includes('service'), 'the device is not to be had twice');
  pair.alpha.heartbeat.start();
  pair.runFor(120_000);
  const where = [pair.alpha.has, pair.beta.has].sort();
  t.deepEqual(where, ['', EVERYTHING], pair.tail());
  t.deepEqual(pair.twice, []);
  t.true(pair.log.some((line) => line.includes('without releasing local resources: stopping')));
});

for (const what of ['machine', 'daemon'] as const) {
  test(`a pause of the ${what} that is longer than deadtime: it gives everything up when it wakes`, (t) => {
    const pair = HeartbeatPair.started();
    pair.connected = what === 'daemon'; // drbd notices a machine that stands still
    if (what === 'machine') pair.freeze('alpha');
    else pair.alpha.heartbeat.pause();
    pair.runFor(DEADTIME_MS + 5000);
    t.is(pair.beta.has, what === 'machine' ? EVERYTHING : '', pair.tail());
    pair.connected = true;
    if (what === 'machine') pair.thaw('alpha');
    else pair.alpha.heartbeat.resume();
    pair.runFor(120_000);
    t.true(
      pair.log.some((line) => line.includes('alpha CRIT: No local heartbeat. Forcing restart.')),
      pair.tail(),
    );
    t.deepEqual([pair.alpha.has, pair.beta.has].sort(), ['', EVERYTHING], pair.tail());
  });
}

test('a pause within deadtime changes nothing', (t) => {
  const pair = HeartbeatPair.started();
  const fromMs = pair.clock.nowMs;
  pair.freeze('alpha');
  pair.runFor(DEADTIME_MS - 1500);
  pair.thaw('alpha');
  pair.runFor(20_000);
  expectGroup(t, pair, { alpha: EVERYTHING, beta: '' });
  t.deepEqual([...pair.calls('alpha', fromMs), ...pair.calls('beta', fromMs)], []);
});

test('one of two links is cut: nothing happens; both: the other node may not get the device', (t) => {
  const pair = HeartbeatPair.started({ networks: ['eth0', 'eth1'] });
  pair.net.cut('eth0');
  pair.runFor(20_000);
  expectGroup(t, pair, { alpha: EVERYTHING, beta: '' });
  const links = pair.alpha.heartbeat.report?.nodes[1]?.links;
  t.deepEqual(links, [
    { name: 'eth0', status: 'dead' },
    { name: 'eth1', status: 'up' },
  ]);
  pair.net.cut('eth1');
  pair.runFor(30_000);
  expectGroup(t, pair, { alpha: EVERYTHING, beta: '' });
  pair.net.heal('eth0');
  pair.net.heal('eth1');
  pair.runFor(120_000);
  t.deepEqual([pair.alpha.has, pair.beta.has].sort(), ['', EVERYTHING], pair.tail());
  t.deepEqual(pair.twice, []);
});

test('a group that cannot be stopped takes the machine down', (t) => {
  const pair = HeartbeatPair.started();
  pair.alpha.scripts.fault('service', 'stop', { exit: 1 });
  pair.alpha.heartbeat.standby('all');
  pair.runFor(40_000);
  t.false(pair.alpha.powered);
  expectGroup(t, pair, { alpha: '', beta: EVERYTHING });
});

test('the script that a killed daemon left goes on to its end', (t) => {
  const pair = HeartbeatPair.started();
  pair.alpha.scripts.fault('service', 'stop', { slowMs: 2000, times: 1 });
  pair.alpha.heartbeat.standby('all');
  pair.runFor(500);
  t.deepEqual(
    [...pair.alpha.scripts.runs].map((run) => `${run.text} ${run.action}`),
    ['service stop'],
  );
  pair.alpha.heartbeat.kill();
  pair.runFor(2500);
  t.is(pair.alpha.has, 'Primary /data 10.9.0.1');
});

// The other node takes silence for death. A script may run for longer than deadtime: a service that recovers, or one that hangs.
test('a successor is heard while a script of its predecessor still runs, and runs none beside it', (t) => {
  const pair = HeartbeatPair.started();
  pair.alpha.scripts.fault('service', 'stop', { slowMs: 30_000, times: 1 });
  pair.alpha.heartbeat.standby('all');
  pair.runFor(500);
  const fromMs = pair.clock.nowMs;
  for (let i = 0; i < 2; i++) {
    pair.alpha.heartbeat.kill();
    pair.runFor(500);
    pair.alpha.heartbeat.start();
    pair.runFor(2000);
  }
  pair.runFor(20_000);
  t.false(
    pair.log.some((line) => line.includes('is dead')),
    pair.tail(),
  );
  t.deepEqual([...pair.calls('alpha', fromMs), ...pair.calls('beta', fromMs)], []);
  pair.runFor(40_000);
  expectGroup(t, pair, { alpha: EVERYTHING, beta: '' });
});

test('told to stop in the middle of a reload: the resources that were kept are released all the same', (t) => {
  const pair = HeartbeatPair.started();
  pair.alpha.heartbeat.configure({ ...pair.texts(), haCf: `${pair.texts().haCf}rtprio 7\n` });
  pair.alpha.heartbeat.reload();
  pair.alpha.heartbeat.stop();
  pair.runFor(10_000);
  t.is(pair.alpha.heartbeat.phase, 'off');
  expectGroup(t, pair, { alpha: '', beta: EVERYTHING });
});

test('told to stop while it waits for a script of its predecessor: everything is released', (t) => {
  const pair = HeartbeatPair.started();
  pair.alpha.scripts.fault('service', 'stop', { slowMs: 2000, times: 1 });
  pair.alpha.heartbeat.standby('all');
  pair.runFor(500);
  pair.alpha.heartbeat.kill();
  pair.alpha.heartbeat.start();
  pair.runFor(500);
  t.is(pair.alpha.heartbeat.phase, 'running');
  pair.alpha.heartbeat.stop();
  pair.runFor(10_000);
  t.is(pair.alpha.heartbeat.phase, 'off');
  expectGroup(t, pair, { alpha: '', beta: EVERYTHING });
});

test('a reload keeps the resources', (t) => {
  const pair = HeartbeatPair.started();
  const fromMs = pair.clock.nowMs;
  pair.alpha.heartbeat.configure({ ...pair.texts(), haCf: `${pair.texts().haCf}rtprio 7\n` });
  pair.alpha.heartbeat.reload();
  pair.runFor(20_000);
  expectGroup(t, pair, { alpha: EVERYTHING, beta: '' });
  t.deepEqual([...pair.calls('alpha', fromMs), ...pair.calls('beta', fromMs)], []);
  t.true(pair.log.some((line) => line.includes('keeping local resources')));
});

// What the watchdog is not fed for, between two lives.
test('what may run here is known in a reload, and while it is stopped after a daemon that was killed', (t) => {
  const pair = HeartbeatPair.started();
  const { heartbeat } = pair.alpha;
  const between = new Set<string>();
  const note = pair.note.bind(pair);
  pair.note = (text) => {
    if (text.startsWith('alpha ') && heartbeat.phase === 'running' && heartbeat.node === null) {
      if (/Heartbeat generation|Releasing/.test(text)) between.add(heartbeat.mayRun);
    }
    note(text);
  };
  heartbeat.configure({ ...pair.texts(), haCf: `${pair.texts().haCf}rtprio 7\n` });
  heartbeat.reload();
  pair.runFor(1000);
  t.deepEqual([...between], ['local'], 'a reload');
  between.clear();
  heartbeat.kill();
  heartbeat.start(); // back at once: resumed
  pair.runFor(1000);
  t.deepEqual([...between], ['local'], 'resumed');
  between.clear();
  pair.alpha.scripts.fault('service', 'stop', { slowMs: 3000 });
  heartbeat.kill();
  pair.runFor(20_000);
  heartbeat.start();
  pair.runFor(2000);
  t.deepEqual([...between], ['local'], 'being stopped');
});

test('a refused reload is not forgotten: the next one reads the files again, until they are taken', (t) => {
  const pair = HeartbeatPair.started();
  const fromMs = pair.clock.nowMs;
  const count = (words: string) => pair.log.filter((line) => line.includes(words)).length;
  const texts = pair.texts();
  const reload = () => {
    pair.alpha.heartbeat.reload();
    pair.runFor(15_000);
    return [count('is not taken'), count('go standby first'), count('keeping local resources')];
  };
  pair.alpha.heartbeat.configure({ ...texts, haCf: `${texts.haCf}nonsense 1\n` });
  t.deepEqual(reload(), [1, 0, 0]);
  t.deepEqual(reload(), [2, 0, 0]);
  pair.alpha.heartbeat.configure({ ...texts, haresources: 'alpha service\n' });
  t.deepEqual(reload(), [2, 1, 0]);
  t.deepEqual(reload(), [2, 2, 0]);
  pair.alpha.heartbeat.configure({ ...texts, haCf: `${texts.haCf}rtprio 7\n` });
  t.deepEqual(reload(), [2, 2, 1]);
  t.is(count('Configuration unchanged.'), 0);
  t.deepEqual(reload(), [2, 2, 1]);
  t.is(count('Configuration unchanged.'), 1, 'taken: there is nothing new');
  expectGroup(t, pair, { alpha: EVERYTHING, beta: '' });
  t.deepEqual([...pair.calls('alpha', fromMs), ...pair.calls('beta', fromMs)], []);
});

test('a file that cannot be looked at for a moment has not changed', (t) => {
  const pair = HeartbeatPair.started();
  const count = (words: string) => pair.log.filter((line) => line.includes(words)).length;
  for (const [i, file] of (['haCf', 'haresources', 'authkeys'] as const).entries()) {
    pair.alpha.heartbeat.hidden.add(file);
    pair.alpha.heartbeat.reload();
    pair.runFor(15_000);
    t.is(count('keeping local resources') + count('Rereading authentication file.'), 0, file);
    t.is(count('The configuration is not read again: cannot look at'), i + 1, file);
    pair.alpha.heartbeat.hidden.delete(file);
  }
  // What changed meanwhile is taken by the next reload.
  pair.alpha.heartbeat.hidden.add('authkeys');
  pair.alpha.heartbeat.configure({ ...pair.texts(), haCf: `${pair.texts().haCf}rtprio 7\n` });
  pair.alpha.heartbeat.reload();
  pair.runFor(15_000);
  t.is(count('keeping local resources'), 0);
  pair.alpha.heartbeat.hidden.clear();
  pair.alpha.heartbeat.reload();
  pair.runFor(15_000);
  t.is(count('keeping local resources'), 1);
  expectGroup(t, pair, { alpha: EVERYTHING, beta: '' });
});

test('dopd: the peer is outdated, refuses, does not answer, cannot be reached', (t) => {
  const pair = HeartbeatPair.started();
  const exits: (number | string)[] = [];
  const ask = (timeoutMs: number) =>
    pair.alpha.heartbeat.outdatePeer('beta', 'r0', timeoutMs, (exit) => exits.push(exit));
  for (const [status, exit] of [
    [0, 4],
    [5, 3],
    [17, 6],
    [1, 20],
  ] as const) {
    pair.beta.outdateStatus = status;
    ask(5000);
    pair.runFor(1000);
    t.is(exits.pop(), exit);
  }
  t.is(pair.beta.outdated, 4);
  pair.beta.outdateStatus = null;
  ask(5000);
  ask(5000);
  pair.runFor(1000);
  t.deepEqual(exits.splice(0), [21], 'the first is still under way');
  pair.runFor(5000);
  t.deepEqual(exits.splice(0), [5]);
  ask(5000);
  pair.alpha.heartbeat.kill();
  t.deepEqual(exits.splice(0), [5], 'the socket is closed');
  ask(5000);
  t.deepEqual(exits.splice(0), [5], 'nobody listens');
});

test('dopd: an answer to an earlier request is not taken for one to this', (t) => {
  const pair = HeartbeatPair.started();
  const exits: number[] = [];
  pair.beta.outdateStatus = null;
  for (let i = 0; i < 2; i++) {
    pair.alpha.heartbeat.outdatePeer('beta', 'r0', 2000, (exit) => exits.push(exit));
    pair.runFor(1000);
    if (i === 0) pair.runFor(2000); // given up
  }
  t.deepEqual(exits.splice(0), [5]);
  const [first, second] = pair.beta.outdating;
  first?.(0);
  pair.runFor(500);
  t.deepEqual(exits.splice(0), [], 'the disk may have been resynchronised since');
  second?.(17);
  pair.runFor(500);
  t.deepEqual(exits, [6]);
});

test('a run is a function of its seed', (t) => {
  const trace = (seed: number) => {
    const pair = HeartbeatPair.started({ seed, networks: ['eth0', 'eth1'] });
    pair.net.faults('eth0', { loss: 0.2, duplicate: 0.1, reorder: 0.1, corrupt: 0.05 });
    pair.alpha.heartbeat.standby('all');
    pair.runFor(20_000);
    pair.powerCut('beta');
    pair.runFor(20_000);
    return pair.tail(10_000);
  };
  t.is(trace(7), trace(7));
  t.not(trace(7), trace(8));
});

// twinbeat.ini, stop-failure = hold: nothing takes the node down, and nobody takes over what may run there.
test('a group that cannot be stopped, held: the node stays up and goes on claiming it', (t) => {
  const pair = HeartbeatPair.started({ stopFailure: 'hold', scriptTimeoutS: 5 });
  pair.alpha.stubborn = true;
  pair.alpha.heartbeat.standby('all');
  pair.runFor(300_000);
  t.deepEqual(pair.alpha.heartbeat.report?.stuck, ['drbddisk::r0'], pair.tail(2000));
  t.is(pair.alpha.heartbeat.node?.resources.claims(), 'all');
  t.false(pair.log.some((line) => line.endsWith('alpha reboots')));
  t.is(pair.beta.has, '');
  t.deepEqual(pair.twice, []);
});
