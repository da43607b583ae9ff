/**
 * A recording of heartbeat replays to the same: every life of two simulated nodes through a fail over, an operator's moves, a kill,
 * a healed partition, a new configuration. Keys are not in it.
 */
import test, { type ExecutionContext } from 'ava';
import { fileDigests } from '../../src/host/file-digests.js';
import { blocksFor, fileBytes } from '../../src/host/flight-format.js';
import { FlightFile } from '../../src/host/flight-read.js';
import { RecordedLives } from '../../src/host/recording-heartbeat.js';
import { flightChecksum } from '../../src/real/flight-files.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import type { NodeName } from '../../src/sim/config.js';
import type { ReplayEvent } from '../../src/sim/replay-explain.js';
import { HeartbeatReplay } from '../../src/sim/replay-heartbeat.js';
import { haFields } from '../../src/wire/hamsg.js';
import { EVERYTHING, HeartbeatPair, type PairOptions } from './heartbeat-pair.js';

interface Life {
  readonly name: NodeName;
  readonly memory: Uint8Array;
  readonly lives: RecordedLives;
  readonly log: string[];
}

function recordedPair(options: Partial<PairOptions> = {}): { pair: HeartbeatPair; lives: Life[] } {
  const lives: Life[] = [];
  const blocks = blocksFor(4);
  const pair = new HeartbeatPair({
    ...options,
    record: (name) => (host, config) => {
      const memory = new Uint8Array(fileBytes(blocks.coldBlocks, blocks.hotBlocks));
      const log: string[] = [];
      const tapped = {
        ...host,
        log: (level: Parameters<typeof host.log>[0], text: string) => {
          log.push(`${level}: ${text}`);
          host.log(level, text);
        },
      };
      const recorded = new RecordedLives(
        tapped,
        config,
        { memory, ...blocks, checksum: flightChecksum, wallMs: () => host.clock.wallMs() },
        { daemon: 'heartbeat', version: 'test', node: name, life: `${lives.length}`, setup: {} },
      );
      lives.push({ name, memory, lives: recorded, log });
      return recorded;
    },
  });
  return { pair, lives };
}

function replaysToTheSame(t: ExecutionContext, life: Life): ReplayEvent[] {
  const events: ReplayEvent[] = [];
  const file = FlightFile.read(life.name, life.memory, flightChecksum);
  const replay = new HeartbeatReplay(file, nodeDigests, (e) => events.push(e));
  const result = replay.run(Number.POSITIVE_INFINITY);
  t.is(result?.difference ?? null, null);
  t.is(result?.broke, '');
  t.true((result?.inputs ?? 0) > 5);
  t.deepEqual(
    events.filter((e) => e.kind === 'log').map((e) => e.what.replace('heartbeat: ', '')),
    life.log.filter((l) => !l.startsWith('debug')),
  );
  const now = life.lives.lives;
  t.is(replay.lives.phase, now.phase);
  t.is(replay.lives.node?.resources.state, now.node?.resources.state);
  t.is(replay.lives.node?.resources.hold, now.node?.resources.hold);
  return events;
}

test('fail over, standby, take over, a kill, a pause: every life replays to the same', (t) => {
  const { pair, lives } = recordedPair();
  pair.alpha.heartbeat.start();
  pair.runFor(300);
  pair.beta.heartbeat.start();
  pair.runFor(30_000);
  t.is(pair.alpha.has, EVERYTHING);
  pair.alpha.heartbeat.standby('all');
  pair.runFor(6000);
  t.is(pair.beta.has, EVERYTHING);
  pair.alpha.heartbeat.takeover('all');
  pair.runFor(6000);
  pair.alpha.heartbeat.standby('all', () => {});
  pair.beta.heartbeat.takeover('local', () => {}); // at a bad moment: refused or queued
  pair.runFor(8000);
  pair.alpha.heartbeat.kill();
  pair.runFor(1000);
  pair.alpha.heartbeat.start();
  pair.runFor(10_000);
  pair.powerCut('beta');
  pair.runFor(40_000);
  t.is(pair.alpha.has, EVERYTHING);
  pair.boot('beta');
  pair.runFor(40_000);
  pair.alpha.heartbeat.reload();
  pair.runFor(2000);
  const texts = pair.texts();
  pair.alpha.heartbeat.configure({ ...texts, haCf: `${texts.haCf}rtprio 7\n` });
  pair.alpha.heartbeat.reload();
  pair.runFor(5000);
  pair.beta.heartbeat.stop();
  pair.runFor(10_000);
  t.is(lives.length, 4);
  for (const life of lives) {
    const events = replaysToTheSame(t, life);
    t.true(events.some((e) => e.kind === 'transition'));
  }
  const all = lives.flatMap((life) => replaysToTheSame(t, life));
  t.true(all.some((e) => e.kind === 'request' && e.what.includes('standby')));
  t.true(all.some((e) => /runs service start/.test(e.what)));
  t.true(
    all.some((e) => /node (alpha|beta) dead/.test(e.what) && e.cause === 'a time was reached'),
  );
});

test('new keys, one refused by its word and one taken: the same, without the keys', (t) => {
  const { pair, lives } = recordedPair({ authkeys: 'auth 1\n1 sha1 a-word\n' });
  const nodes = [pair.alpha, pair.beta];
  for (const { answers, heartbeat } of nodes) {
    answers.digests = (config, _ask, answered) => answered(fileDigests(config, null, nodeDigests));
    heartbeat.start();
  }
  pair.runFor(30_000);
  for (const authkeys of [
    'auth 1\n1 sha1 another\n',
    'auth 1\n1 sha1 a-word\n2 sha1 another\n',
    'auth 2\n1 sha1 a-word\n2 sha1 another\n',
  ]) {
    for (const { heartbeat } of nodes) {
      heartbeat.configure({ ...pair.texts(), authkeys });
      heartbeat.reload();
      pair.runFor(5000);
    }
  }
  t.is(pair.log.filter((line) => /ERROR: key 1, by which/.test(line)).length, 2);
  t.is(pair.log.filter((line) => /stays in force/.test(line)).length, 2);
  pair.beta.heartbeat.stop();
  pair.runFor(10_000);
  for (const life of lives) replaysToTheSame(t, life);
});

test('a partition that heals, scripts that run while a killed one is left: the same', (t) => {
  const { pair, lives } = recordedPair({ networks: ['eth0', 'eth1'] });
  pair.alpha.heartbeat.start();
  pair.beta.heartbeat.start();
  pair.runFor(30_000);
  for (const network of ['eth0', 'eth1']) pair.net.cut(network);
  pair.runFor(20_000);
  for (const network of ['eth0', 'eth1']) pair.net.heal(network);
  pair.runFor(60_000);
  pair.alpha.heartbeat.standby('all');
  pair.runFor(150);
  pair.alpha.heartbeat.kill();
  pair.runFor(200);
  pair.alpha.heartbeat.start();
  pair.runFor(30_000);
  t.true(lives.length >= 3);
  for (const life of lives) replaysToTheSame(t, life);
});

test('what a client of the API says is an input: it replays, and the other node is answered', (t) => {
  const { pair, lives } = recordedPair();
  pair.alpha.heartbeat.start();
  pair.beta.heartbeat.start();
  pair.runFor(30_000);
  const [alpha, beta] = lives;
  if (!alpha || !beta) return t.fail();
  const asked: unknown[] = [];
  const ask = () => {
    const about = { verb: 'clientstatus', node: 'alpha', client: 'foo', timeoutMs: 1000 } as const;
    beta.lives.answer(about, (reply) => asked.push(reply.ok ? reply.value : reply.text));
    pair.runFor(2000);
  };
  ask();
  alpha.lives.answer({ verb: 'client', client: 'foo', online: true }, () => undefined);
  alpha.lives.send(haFields({ t: 'hello', word: 'x', from_id: 'foo', to_id: 'foo' }));
  ask();
  alpha.lives.answer({ verb: 'client', client: 'foo', online: false }, () => undefined);
  ask();
  t.deepEqual(asked, ['offline', 'online', 'offline']);
  for (const life of lives) replaysToTheSame(t, life);
});

test('foreign and broken datagrams replay; no key is in a recording', (t) => {
  const key = 'the-key-of-the-cluster';
  const { pair, lives } = recordedPair({ authkeys: `auth 2\n1 md5 older\n2 sha1 ${key}\n` });
  pair.alpha.heartbeat.start();
  pair.beta.heartbeat.start();
  pair.runFor(20_000);
  for (const text of ['###\nnonsense\n%%%\n', '>>>\nt=status\nsrc=beta\nauth=1 00ff\n<<<\n', '']) {
    pair.net.sendDatagram('beta', 'eth0', 694, new TextEncoder().encode(text));
  }
  pair.runFor(3000);
  for (const life of lives) {
    replaysToTheSame(t, life);
    const bytes = Buffer.from(life.memory.buffer);
    t.false(bytes.includes(key));
    t.true(bytes.includes('not-recorded'));
  }
});

test('checks, a restart in place, a fail over and a recovery replay to the same', (t) => {
  const health = { intervalS: 5, steps: 4, timeoutS: 3, restartsPerHour: 1 };
  const { pair, lives } = recordedPair({ health });
  pair.alpha.heartbeat.start();
  pair.runFor(300);
  pair.beta.heartbeat.start();
  pair.runFor(30_000);
  t.is(pair.alpha.has, EVERYTHING);
  pair.alpha.scripts.fault('service', 'monitor', { hangs: true });
  t.true(pair.until(120_000, () => pair.beta.has === EVERYTHING) > 0, pair.tail());
  pair.powerCut('alpha');
  pair.runFor(2000);
  pair.boot('alpha');
  pair.runFor(30_000);
  pair.alpha.scripts.fault('service', 'monitor', null);
  pair.beta.heartbeat.recover('alpha', { activatePrimary: true });
  t.true(pair.until(20_000, () => pair.alpha.has === EVERYTHING) > 0, pair.tail());
  t.is(lives.length, 3);
  for (const life of lives) {
    life.lives.recorder.stop('the test is over');
    const events = replaysToTheSame(t, life);
    if (life !== lives[0]) continue;
    t.true(events.some((e) => e.what.includes('asks check')));
    t.true(events.some((e) => e.what.includes('asks standing')));
    t.true(events.some((e) => e.what.includes('This node is FAILED_OFFLINE')));
  }
});

// What has changed is decided by comparing: a replay has to see a difference where there was one.
test('a reload that changes only what is secret replays to the same, and none of it is in the recording', (t) => {
  const { pair, lives } = recordedPair({ authkeys: 'auth 1\n1 sha1 a-word\n2 sha1 spare-one\n' });
  const nodes = [pair.alpha, pair.beta];
  for (const { answers, heartbeat } of nodes) {
    answers.digests = (config, _ask, answered) => answered(fileDigests(config, null, nodeDigests));
    heartbeat.start();
  }
  pair.runFor(30_000);
  const fence = (word: string) => ({ agent: 'fence_dummy', options: word, delayS: 0, timeoutS: 9 });
  const texts = { ...pair.texts(), fence: fence('the-first') };
  const changed = { ...texts, fence: fence('the-second') };
  const another = changed.authkeys.replace('spare-one', 'spare-two');
  for (const wanted of [
    texts,
    changed,
    { ...changed, authkeys: another, haCf: `${texts.haCf}debug 1\n` },
    { ...texts, authkeys: another, haCf: `${texts.haCf}debug 1\n` },
  ]) {
    pair.alpha.heartbeat.configure(wanted);
    pair.alpha.heartbeat.reload();
    pair.runFor(20_000);
  }
  const said = (what: RegExp) => pair.log.filter((line) => what.test(line)).length;
  t.is(said(/A new life takes what has changed: \[fence\] options\./), 2, pair.tail());
  t.is(said(/nothing was restarted: debug\./), 1);
  for (const life of lives) {
    life.lives.recorder.stop('the test is over');
    replaysToTheSame(t, life);
    const bytes = Buffer.from(life.memory.buffer);
    for (const secret of ['spare-', 'the-first', 'the-second']) t.false(bytes.includes(secret));
  }
});
