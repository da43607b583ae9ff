/**
 * What a mixed pair has to go through, first half: how nodes come, go, and hand groups over. Each scenario is one function of a
 * pair, whoever sits where; times and order are those of the recordings of two of Debian's heartbeat 3.0.6.
 */
import type { MixedPair, Program, Seat } from './heartbeat-seats.js';

export interface Scenario {
  readonly name: string;
  /** Lines of ha.cf instead of the usual ones with the same first word, or besides them. */
  readonly haCf?: readonly string[];
  readonly haresources?: string;
  readonly needs?: readonly string[];
  /** Why it is known to fail with those programs on node-a and node-b, if it does. Passing is an error then. */
  readonly open?: (a: Program, b: Program) => string | null;
  play(pair: MixedPair): Promise<void>;
}

export const ALL = 'one two three';
export const LABRES = '/var/lib/heartbeat/labres';
const KEEPALIVE_MS = 200;
const DEADTIME_MS = 4000;
const USUAL = [
  ...[`keepalive ${KEEPALIVE_MS}ms`, `deadtime ${DEADTIME_MS / 1000}`, 'warntime 2'],
  // Nobody takes a node for dead that was slow to start; who begins alone waits less.
  ...['initdead 30', 'auto_failback off', 'udpport 694', 'mcast eth0 239.77.0.1 694 1 0'],
];
export const ALONE_SOON = 'initdead 6';
export const GROUPS = 'node-a LabRes::one LabRes::two\nnode-b LabRes::three\n';

export function haCfOf({ haCf = [] }: Pick<Scenario, 'haCf'>): string[] {
  const words = new Set(haCf.map((line) => line.split(' ')[0]));
  return [...USUAL.filter((line) => !words.has(line.split(' ')[0] ?? '')), ...haCf];
}

/** A node that let go too early would be seen: what it stops takes its time, longer than the other needs to start it. */
async function slowToStop(pair: MixedPair): Promise<void> {
  for (const seat of pair.seats)
    await seat.sh(`cd ${LABRES} && echo 0.8 | tee slow-stop-one >slow-stop-three`);
}

/** First node-a, which has it all then; node-b comes and takes nothing. */
async function oneByOne(pair: MixedPair): Promise<void> {
  await pair.a.start();
  await pair.settled(ALL, '');
  await pair.b.start();
  await pair.settled(ALL, '');
}

async function returns(pair: MixedPair, seat: Seat, a: string, b: string): Promise<void> {
  await seat.start();
  await pair.settled(a, b);
}

/** More than what a node announces at its start: deadtime + 2 s. */
const JOIN_INITDEAD_MS = 9000;

const JOIN_ALONE: Scenario = {
  name: 'join alone, and the other later',
  haCf: [`initdead ${JOIN_INITDEAD_MS / 1000}`],
  async play(pair) {
    const startMs = Date.now();
    await oneByOne(pair);
    const [first] = pair.lab.turns();
    const waitedMs = (first?.atMs ?? 0) - startMs;
    if (waitedMs < JOIN_INITDEAD_MS) throw new Error(`it started its groups after ${waitedMs} ms`);
    if (pair.lab.calls('node-b').length > 0) throw new Error('node-b did something to the groups');
  },
};

const JOIN_BOTH: Scenario = {
  name: 'join together',
  async play(pair) {
    await pair.start();
    for (const host of ['node-a', 'node-b'] as const) {
      const calls = pair.lab.calls(host).join(', ');
      const wanted = host === 'node-a' ? 'one start, two start' : 'three start';
      if (calls !== wanted) throw new Error(`${host}: ${calls}`);
    }
  },
};

const STANDBY: Scenario = {
  name: 'hb_standby: all, local, foreign, failback, no word',
  async play(pair) {
    const { a, b } = pair;
    await slowToStop(pair);
    await pair.start();
    await pair.move(a, 'hb_standby', 'all', '', ALL);
    await pair.move(b, 'hb_standby', 'all', ALL, '');
    await pair.move(a, 'hb_standby', 'foreign', 'one two', 'three');
    await pair.move(a, 'hb_standby', 'local', '', ALL);
    await pair.move(b, 'hb_standby', 'failback', 'one two', 'three');
    await pair.move(b, 'hb_standby', 'local', ALL, '');
    await pair.move(a, 'hb_standby', null, '', ALL);
    await pair.move(b, 'hb_standby', 'foreign', 'one two', 'three');
    for (const seat of pair.seats) {
      const { status } = await seat.run('hb_standby', 'everything');
      if (status !== 1) throw new Error(`${seat}: a wrong word ends with ${status}`);
    }
    await pair.settled('one two', 'three');
  },
};

const TAKEOVER: Scenario = {
  name: 'hb_takeover: all, local, foreign, failback',
  async play(pair) {
    const { a, b } = pair;
    await slowToStop(pair);
    await pair.start();
    await pair.move(a, 'hb_takeover', 'all', ALL, '');
    await pair.move(b, 'hb_takeover', 'local', 'one two', 'three');
    await pair.move(b, 'hb_takeover', 'foreign', '', ALL);
    await pair.move(a, 'hb_takeover', 'local', 'one two', 'three');
    await pair.move(a, 'hb_takeover', 'foreign', ALL, '');
    // The original's script asks the other for all with this word.
    await pair.move(b, 'hb_takeover', 'failback', '', ALL);
    await pair.move(a, 'hb_takeover', 'all', ALL, '');
  },
};

const BOTH_STANDBY: Scenario = {
  name: 'hb_standby all on both at once',
  async play(pair) {
    await pair.start();
    const asked = await Promise.all(pair.seats.map((seat) => seat.run('hb_standby', 'all')));
    // The first request that both have seen wins, and the other one is ignored or comes next; those that cross end after 10 s.
    const requests = asked.filter(({ status }) => status === 0).length;
    const begun = /wants to go standby/;
    const decided =
      /wants to go standby|standby message \[me\].* ignored|new request from .* ignored/;
    const ended =
      /completed standby takeover|Standby resource acquisition done|Standby request cancelled/;
    for (const seat of pair.seats) {
      await pair.untilLogs(seat, decided, requests);
      await pair.untilLogs(seat, ended, seat.logged(begun));
    }
    await pair.until('every group runs', () => {
      return `${pair.a.running} ${pair.b.running}`.trim().split(' ').length === 3;
    });
    await pair.settled(pair.a.running, pair.b.running);
    const giver = pair.a.running === '' ? pair.b : pair.a;
    await pair.move(giver, 'hb_standby', 'foreign', 'one two', 'three');
  },
};

const CLEAN_STOP: Scenario = {
  name: 'clean stop, and return',
  async play(pair) {
    await slowToStop(pair);
    await pair.start();
    for (const [leaver, stays, a, b] of [
      [pair.b, pair.a, ALL, ''],
      [pair.a, pair.b, '', ALL],
    ] as const) {
      await leaver.leave();
      await pair.settled(a, b);
      if (stays.logged(/ is dead/) > 0) throw new Error(`${stays} waited for deadtime`);
      await pair.untilSays(stays, ['nodestatus', leaver.host], 'dead');
      await pair.settled(a, b);
      await returns(pair, leaver, a, b);
    }
  },
};

const CRASH: Scenario = {
  name: 'crash, and return',
  async play(pair) {
    await pair.start();
    for (const [dies, stays, a, b] of [
      [pair.b, pair.a, ALL, ''],
      [pair.a, pair.b, '', ALL],
    ] as const) {
      await dies.crash();
      await pair.settled(a, b);
      await pair.untilSays(stays, ['nodestatus', dies.host], 'dead');
      await returns(pair, dies, a, b);
    }
  },
};

const FAILBACK: Scenario = {
  name: 'auto_failback on: alone, joined, crash, return',
  haCf: ['auto_failback on', ALONE_SOON],
  async play(pair) {
    await pair.b.start();
    await pair.settled('', ALL);
    await returns(pair, pair.a, 'one two', 'three');
    await pair.a.crash();
    await pair.settled('', ALL);
    await returns(pair, pair.a, 'one two', 'three');
    await pair.b.leave();
    await pair.settled(ALL, '');
    await pair.untilSays(pair.a, ['nodestatus', 'node-b'], 'dead');
    await returns(pair, pair.b, 'one two', 'three');
  },
};

/** No claims in legacy: rscstatus says what the daemon was told last, and is not asked. */
const LEGACY: Scenario = {
  name: 'auto_failback legacy: alone, joined, stop, return, crash',
  haCf: ['auto_failback legacy', ALONE_SOON],
  async play(pair) {
    const runs = (a: string, b: string) =>
      pair.until(`'${a}' on ${pair.a} and '${b}' on ${pair.b}`, () => {
        return pair.a.running === a && pair.b.running === b;
      });
    const sees = async () => {
      for (const seat of pair.seats)
        for (const { host } of pair.seats)
          await pair.untilSays(seat, ['nodestatus', host], 'active');
    };
    await slowToStop(pair);
    await pair.b.start();
    await runs('', ALL);
    await pair.a.start();
    await runs('one two', 'three');
    await sees();
    for (const seat of pair.seats) {
      await seat.leave();
      await (seat === pair.a ? runs('', ALL) : runs(ALL, ''));
      await seat.start();
      await runs('one two', 'three');
      await sees();
    }
    await pair.a.crash();
    await runs('', ALL);
    await pair.untilSays(pair.b, ['nodestatus', 'node-a'], 'dead');
    await pair.a.start();
    await runs('one two', 'three');
    await sees();
  },
};

export const COMINGS: readonly Scenario[] = [
  ...[JOIN_ALONE, JOIN_BOTH, STANDBY, TAKEOVER, BOTH_STANDBY, CLEAN_STOP, CRASH, FAILBACK, LEGACY],
];
