/** Membership: start-up, death, deadtime of the peer, replay, partitions (docs/HEARTBEAT.md, membership). */
import test from 'ava';
import { Membership } from '../../src/heartbeat/membership.js';
import type { MembershipConfig, MembershipEffect } from '../../src/heartbeat/membership-types.js';
import { fieldOf, type HaField, haFields } from '../../src/wire/hamsg.js';

const UUID_B = new Uint8Array(16).fill(2);

function config(changes: Partial<MembershipConfig> = {}): MembershipConfig {
  return {
    node: 'a',
    nodes: ['a', 'b'],
    pings: [],
    links: ['eth0', 'eth1'],
    uuid: new Uint8Array(16).fill(1),
    generation: 100,
    generations: new Map(),
    keepaliveMs: 500,
    deadtimeMs: 4000,
    warntimeMs: 2000,
    initdeadMs: 10_000,
    deadpingMs: 4000,
    maxRexmitDelayMs: 250,
    hopfudge: 1,
    proves: false,
    ...changes,
  };
}

/** Node a, and a hand that plays node b. */
class Pair {
  readonly a: Membership;
  readonly out: MembershipEffect[] = [];
  nowMs = 0;
  seq = 0;
  generation = 7;

  /** `u32`: what every draw gives, of which the trigger of the acknowledgements is one. */
  constructor(changes: Partial<MembershipConfig> = {}, u32 = 0) {
    this.a = new Membership(
      config(changes),
      {
        wallSeconds: () => 1000,
        loadavg: () => '0.00',
        random: { u32: () => u32, bytes: (n) => new Uint8Array(n) },
      },
      0,
    );
    this.a.start(this.out);
  }

  /** Wakes a at its own deadlines, as the host does. */
  until(ms: number): void {
    while (this.a.deadlineMs <= ms) {
      this.nowMs = Math.max(this.nowMs, this.a.deadlineMs);
      this.a.tick(this.nowMs, this.out);
    }
    this.nowMs = ms;
  }

  hear(
    fields: Readonly<Record<string, string>>,
    options: { seq?: number; link?: string } = {},
  ): void {
    const isNs = fields['t']?.startsWith('NS_') ?? false;
    const seq = options.seq ?? (isNs ? 0 : ++this.seq);
    const message: HaField[] = [
      ...haFields(fields),
      { name: 'src', value: 'b' },
      { name: 'srcuuid', kind: 1, value: UUID_B },
      ...(isNs ? [] : haFields({ seq: seq.toString(16) })),
      ...haFields({ hg: this.generation.toString(16), ts: '3e8' }),
    ];
    this.a.receive(message, options.link ?? 'eth0', this.nowMs, this.out);
  }

  status(st: string, dt = 4000): void {
    this.hear({ t: 'status', st, dt: dt.toString(16), protocol: '1' });
  }

  /** b's keepalives until `ms`. */
  keepHearing(ms: number, dt = 4000): void {
    while (this.nowMs + 500 <= ms) {
      this.until(this.nowMs + 500);
      this.status('active', dt);
    }
  }

  sent(type: string): Record<string, string>[] {
    return this.out.flatMap((e) =>
      e.type === 'transmit' && fieldOf(e.message, 't') === type
        ? [
            Object.fromEntries(
              e.message.flatMap((f) => ('kind' in f ? [] : [[f.name, f.value] as const])),
            ),
          ]
        : [],
    );
  }

  has(type: MembershipEffect['type']): boolean {
    return this.out.some((e) => e.type === type);
  }

  logs(): string[] {
    return this.out.flatMap((e) => (e.type === 'log' ? [e.text] : []));
  }

  /** Both active: b answers reqnodes. */
  static joined(changes: Partial<MembershipConfig> = {}): Pair {
    const pair = new Pair(changes);
    pair.until(100);
    pair.status('up');
    pair.hear({ t: 'reqnodes', dest: 'a' });
    pair.hear({ t: 'repnodes', dest: 'a', nodelist: 'a b ', delnodelist: ' ' });
    pair.status('active');
    pair.keepHearing(6000);
    return pair;
  }
}

test('the first messages: init, up, with deadtime + 2 s, which falls back after 5 s', (t) => {
  const pair = new Pair();
  pair.until(4900);
  const dts = pair.sent('status').map((m) => [m['st'], m['dt']]);
  t.deepEqual(dts.slice(0, 3), [
    ['init', '1770'],
    ['up', '1770'],
    ['up', '1770'],
  ]);
  pair.until(5100);
  t.is(pair.sent('status').at(-1)?.['dt'], 'fa0');
});

test('fields of a message stand in the order of the original', (t) => {
  const pair = new Pair();
  const [first] = pair.sent('status');
  t.deepEqual(Object.keys(first ?? {}), [
    't',
    'st',
    'dt',
    'protocol',
    'src',
    'seq',
    'hg',
    'ts',
    'ld',
    'ttl',
  ]);
  t.is(first?.['ttl'], '3'); // hopfudge + number of nodes
  t.is(first?.['hg'], '64');
});

// "communication is up when every configured node has sent any packet or has been declared dead"
test('active only after repnodes; reqnodes is repeated every second', (t) => {
  const pair = new Pair();
  pair.until(100);
  pair.status('up');
  t.is(pair.sent('reqnodes').length, 1);
  pair.until(2200);
  t.is(pair.sent('reqnodes').length, 3);
  t.false(pair.a.commUp);
  pair.hear({ t: 'repnodes', dest: 'a', nodelist: 'a b ', delnodelist: ' ' });
  t.true(pair.a.commUp);
  t.is(pair.a.status, 'active');
});

test('a peer without protocol is not asked', (t) => {
  const pair = new Pair();
  pair.hear({ t: 'status', st: 'up', dt: 'fa0' });
  t.true(pair.a.commUp);
  t.true(pair.logs().includes('flow control disabled due to different version heartbeat'));
});

test('reqnodes is answered with every name and a blank behind each', (t) => {
  const pair = Pair.joined();
  const [answer] = pair.sent('repnodes');
  t.is(answer?.['nodelist'], 'a b ');
  t.is(answer?.['delnodelist'], ' ');
});

test('a node never heard is dead after initdead, not after deadtime', (t) => {
  const pair = new Pair();
  pair.until(9900);
  t.false(pair.has('node-dead'));
  pair.until(10_300);
  t.true(pair.has('node-dead'));
  t.true(pair.a.commUp);
});

// "Afterwards: the dt value of the node's own last status message, not the local deadtime."
test('a node is dead after what it said itself', (t) => {
  const pair = Pair.joined();
  pair.status('active', 9000);
  const heardMs = pair.nowMs;
  pair.until(heardMs + 8900);
  t.false(pair.has('node-dead'));
  pair.until(heardMs + 9300);
  t.true(pair.has('node-dead'));
  t.true(pair.logs().includes('node b: is dead'));
});

// The time of a fail-over begins with it: not at the next look, which may be a quarter of a second later.
test('a node is dead as soon as it was silent for longer than its deadtime', (t) => {
  const pair = Pair.joined();
  const deathMs = pair.nowMs + 4000;
  pair.until(deathMs);
  t.false(pair.has('node-dead'));
  pair.until(deathMs + 1);
  t.true(pair.has('node-dead'));

  const alone = new Pair();
  alone.until(10_000);
  t.false(alone.has('node-dead'));
  alone.until(10_001);
  t.true(alone.has('node-dead'), 'never heard: initdead');
});

// Else it would be looked for again and again in the same moment.
test('a node that proves that it is heard has its deadtime, however short initdead is', (t) => {
  const pair = new Pair({ proves: true, initdeadMs: 2000 });
  pair.until(100);
  pair.status('up', 6000);
  pair.until(6100);
  t.false(pair.has('node-dead'));
  pair.until(6101);
  t.true(pair.has('node-dead'));
});

test('a late heartbeat is reported', (t) => {
  const pair = Pair.joined();
  const heardMs = pair.nowMs;
  pair.until(heardMs + 2500);
  pair.status('active');
  t.true(pair.logs().includes('Late heartbeat: Node b: interval 2500 ms'));
  t.false(pair.has('node-dead'));
});

test('a link that is silent is dead although the other works', (t) => {
  const pair = Pair.joined();
  pair.hear({ t: 'status', st: 'active', dt: 'fa0', protocol: '1' }, { link: 'eth1' });
  pair.keepHearing(pair.nowMs + 6000);
  const links = pair.out
    .filter((e) => e.type === 'link-status')
    .map((e) => `${e.link} ${e.status}`);
  t.deepEqual(links, ['eth0 up', 'eth1 up', 'eth1 dead']);
});

// 5.3: "hg < known hg -> drop (attempted replay attack), any type"
test('an older generation is a replay', (t) => {
  const pair = Pair.joined();
  pair.generation = 6;
  pair.hear({ t: 'shutdone', st: 'dead' });
  t.true(pair.logs().some((l) => l.includes('attempted replay attack')));
  t.false(pair.out.some((e) => e.type === 'deliver' && fieldOf(e.message, 't') === 'shutdone'));
});

/** Numbers of the questions that were asked. */
function asked(pair: Pair): (string | undefined)[] {
  return pair.sent('query-cstatus').map((m) => m['from_id']);
}

const KNOWN = { generations: new Map([['b', 9]]) };

// B7: after our own restart we have heard nothing, but know what was heard before.
test('a recorded old life of the peer has no effect after a restart of ours', (t) => {
  const pair = new Pair(KNOWN);
  pair.until(100);
  for (let i = 0; i < 25; i++) {
    pair.status('active');
    pair.hear({ t: 'resource', rsc_hold: 'all', rtype: 'full', isstable: '1' });
    pair.hear({ t: 'shutdone', st: 'dead' });
    pair.hear({ t: 'repnodes', dest: 'a', nodelist: 'a b ', delnodelist: ' ' });
    pair.hear({ t: 'respond-cstatus', dest: 'a', result: 'OK', cn: 'ipfail', to_id: '195' });
    pair.until(pair.nowMs + 500);
  }
  t.deepEqual(
    pair.out.filter((e) => e.type === 'deliver' && !e.own),
    [],
  );
  t.deepEqual(
    pair.out.filter((e) => e.type === 'node-status').map((e) => e.status),
    ['dead'],
    'after initdead, as if nothing had come',
  );
  t.true(pair.a.commUp);
  t.is(pair.logs().filter((l) => l.includes('attempted replay attack')).length, 1);
  t.true(asked(pair).length >= 11 && asked(pair).length <= 13, `${asked(pair).length}`);
});

test('the same generation as before our restart, and a higher one, are believed', (t) => {
  for (const generation of [9, 10]) {
    const pair = new Pair(KNOWN);
    pair.generation = generation;
    pair.status('up');
    t.is(pair.a.nodes.get('b')?.status, 'up');
    t.deepEqual(asked(pair), []);
  }
});

// [never twice] A node whose hb_generation was lost runs everything; were it not believed, we would take over.
test('a living peer whose generation went down answers, and is believed', (t) => {
  const pair = new Pair(KNOWN, 0xabcdef);
  pair.until(100);
  pair.status('active');
  const [number = ''] = asked(pair);
  t.is(number, '00abcdef00abcdef');
  pair.hear({ t: 'respond-cstatus', dest: 'a', result: 'OK', cn: 'heartbeat', to_id: '195' });
  t.is(pair.a.nodes.get('b')?.heard, false);
  pair.hear({ t: 'respond-cstatus', dest: 'a', result: 'OK', cn: 'heartbeat', to_id: number });
  pair.status('active');
  t.is(pair.a.nodes.get('b')?.status, 'active');
  t.true(
    pair.logs().includes('node b lives, with generation 7 after 9: was its hb_generation lost?'),
  );
  for (let i = 0; i < 30; i++) {
    pair.until(pair.nowMs + 500);
    pair.status('active');
  }
  t.false(pair.has('node-dead'));
  // Its number is used up: a recording of the answer proves nothing.
  pair.generation = 6;
  pair.hear({ t: 'respond-cstatus', dest: 'a', result: 'OK', cn: 'heartbeat', to_id: number });
  t.is(pair.a.nodes.get('b')?.generation, 7);
});

test('a node that we hold for dead and whose generation went down: let in, or a healed partition', (t) => {
  for (const st of ['up', 'active']) {
    const pair = Pair.joined();
    pair.until(pair.nowMs + 5000);
    t.true(pair.has('node-dead'));
    pair.generation = 3;
    pair.status(st);
    t.false(pair.has('partition-healed'));
    const to_id = asked(pair).at(-1) ?? '';
    pair.hear({ t: 'respond-cstatus', dest: 'a', result: 'OK', cn: 'heartbeat', to_id });
    pair.status(st);
    t.is(pair.a.nodes.get('b')?.status, st === 'up' ? 'up' : 'active');
    t.is(pair.has('partition-healed'), st === 'active');
  }
});

test('a node whose generation went down: a recording of its higher one has no effect, alive or dead', (t) => {
  const pair = Pair.joined();
  pair.until(pair.nowMs + 5000);
  pair.generation = 3;
  pair.status('up');
  const to_id = asked(pair).at(-1) ?? '';
  pair.hear({ t: 'respond-cstatus', dest: 'a', result: 'OK', cn: 'heartbeat', to_id });
  pair.status('up');
  t.is(pair.a.nodes.get('b')?.generation, 3);
  for (const isDead of [false, true]) {
    if (isDead) pair.until(pair.nowMs + 5000);
    const { status } = pair.a.nodes.get('b') ?? {};
    t.is(status === 'dead', isDead);
    pair.out.length = 0;
    const { seq } = pair;
    pair.generation = 7;
    pair.seq = 400;
    pair.status('active');
    pair.hear({ t: 'resource', rsc_hold: 'all' });
    pair.generation = 3;
    pair.seq = seq;
    t.is(pair.a.nodes.get('b')?.generation, 3);
    t.is(pair.a.nodes.get('b')?.status, status);
    t.false(pair.has('deliver') || pair.has('node-restarted') || pair.has('partition-healed'));
  }
  // A life that nobody heard of yet is believed.
  pair.generation = 8;
  pair.seq = 0;
  pair.status('up');
  t.is(pair.a.nodes.get('b')?.status, 'up');
});

test('while the peer lives with its generation a lower one is dropped without a question', (t) => {
  const pair = Pair.joined();
  pair.generation = 6;
  pair.status('active');
  t.deepEqual(asked(pair), []);
});

// Two nodes that both lost their generation: each would wait for the other's answer.
test('who is doubted may ask, too: it is answered once a second', (t) => {
  const pair = new Pair(KNOWN);
  const delivered = () =>
    pair.out.filter((e) => e.type === 'deliver' && fieldOf(e.message, 't') === 'query-cstatus');
  for (let i = 0; i < 5; i++) {
    pair.hear({ t: 'query-cstatus', dest: 'a', cn: 'heartbeat', from_id: '1' });
  }
  t.is(delivered().length, 1);
  pair.until(1000);
  pair.hear({ t: 'query-cstatus', dest: 'a', cn: 'heartbeat', from_id: '1' });
  pair.hear({ t: 'query-cstatus', dest: 'c', cn: 'heartbeat', from_id: '1' });
  t.is(delivered().length, 2);
});

// B7: a peer with dt=1 was dead between two of its keepalives, and taken over while it lived.
test('a deadtime below 2 x keepalive is raised to it, and said once', (t) => {
  const pair = Pair.joined();
  for (let i = 0; i < 4; i++) {
    pair.status('active', 1);
    pair.until(pair.nowMs + 500);
  }
  t.false(pair.has('node-dead'));
  const text = 'node b announces a deadtime of 1 ms: taken as 1000 ms, 2 x keepalive';
  t.is(pair.logs().filter((l) => l === text).length, 1);
  pair.until(pair.nowMs + 1000);
  t.true(pair.has('node-dead'));
});

test('messages of a dead generation are not believed: no status, no effect', (t) => {
  const pair = Pair.joined();
  pair.until(pair.nowMs + 5000);
  t.true(pair.has('node-dead'));
  pair.out.length = 0;
  pair.hear({ t: 'shutdone', st: 'dead' }, { seq: 3 });
  pair.hear({ t: 'status', st: 'active', dt: 'fa0', protocol: '1' }, { seq: 3 });
  t.false(pair.has('deliver'));
  t.false(pair.has('partition-healed'));
});

test('the same generation back from the dead: a healed partition', (t) => {
  const pair = Pair.joined();
  pair.until(pair.nowMs + 5000);
  pair.status('active');
  t.true(pair.has('partition-healed'));
  t.true(pair.logs().includes('Cluster node b returning after partition.'));
});

test('a new life of which no status is heard is not dead, and dies again', (t) => {
  const pair = Pair.joined();
  pair.until(pair.nowMs + 5000);
  pair.generation = 8;
  pair.seq = 3; // its statuses were lost
  pair.out.length = 0;
  pair.hear({ t: 'reqnodes', dest: 'a' });
  pair.hear({ t: 'starting' });
  t.true(pair.has('deliver'));
  t.deepEqual(
    pair.out.flatMap((e) => (e.type === 'node-status' ? [e.status] : [])),
    ['init'],
  );
  t.false(pair.has('node-dead'));
  pair.until(pair.nowMs + 5000);
  t.is(pair.out.filter((e) => e.type === 'node-dead').length, 1);
  // What it sends now it sends as one that was given up.
  pair.out.length = 0;
  pair.hear({ t: 'resource', rsc_hold: 'local' });
  t.false(pair.has('deliver'));
  pair.status('active');
  t.true(pair.has('partition-healed'));
});

test('a restart is no partition: init, up, active with a higher generation', (t) => {
  const pair = Pair.joined();
  pair.until(pair.nowMs + 5000);
  pair.generation = 8;
  pair.seq = 0;
  pair.status('init');
  pair.status('up');
  pair.hear({ t: 'reqnodes', dest: 'a' });
  pair.status('active');
  t.false(pair.has('partition-healed'));
  t.true(pair.logs().includes('Heartbeat restart on node b'));
});

// Debian's node that hears anything else first takes itself for alone and starts its groups while they run here.
test('what a peer that started hears first is our status', (t) => {
  // A trigger of 1: its first message is acknowledged at once.
  const pair = new Pair({}, 1);
  pair.keepHearing(2000);
  pair.out.length = 0;
  pair.generation++;
  pair.seq = 0;
  pair.status('init');
  pair.hear({ t: 'reqnodes', dest: 'a' });
  const sent = pair.out.flatMap((effect) =>
    effect.type === 'transmit' ? [fieldOf(effect.message, 't')] : [],
  );
  t.deepEqual(sent, ['status', 'NS_ackmsg', 'repnodes']);
});

test('active with a generation that nobody let in has run alone: a partition', (t) => {
  const pair = Pair.joined();
  pair.until(pair.nowMs + 5000);
  pair.generation = 8;
  pair.seq = 40;
  pair.status('active');
  t.true(pair.has('partition-healed'));
});

test('active with a generation that nobody let in, after another message of it: a partition, too', (t) => {
  const pair = Pair.joined();
  pair.until(pair.nowMs + 5000);
  pair.generation = 8;
  pair.seq = 40;
  pair.hear({ t: 'resource', rsc_hold: 'all' });
  t.false(pair.has('partition-healed'));
  pair.status('active');
  t.true(pair.has('partition-healed'));
});

test('NS_rexmit: numbers are decimal, the answer is the same message', (t) => {
  const pair = Pair.joined();
  const wanted = pair.sent('status').find((m) => m['seq'] === 'a');
  pair.out.length = 0;
  pair.hear({ t: 'NS_rexmit', dest: 'a', firstseq: '10', lastseq: '10' });
  t.deepEqual(pair.sent('status'), wanted ? [wanted] : []);
  t.truthy(wanted);
});

test('messages for others, of strangers and malformed ones have no effect', (t) => {
  const pair = Pair.joined();
  pair.out.length = 0;
  pair.hear({ t: 'resource', dest: 'c', rsc_hold: 'all' });
  pair.a.receive(
    haFields({ t: 'shutdone', src: 'x', seq: '1', hg: '1', ts: '1' }),
    'eth0',
    pair.nowMs,
    pair.out,
  );
  pair.a.receive(
    haFields({ t: 'shutdone', src: 'b', seq: '1', hg: '1', ts: '0' }),
    'eth0',
    pair.nowMs,
    pair.out,
  );
  t.false(pair.has('deliver'));
  t.true(pair.logs().includes('process_status_message: bad node [x] in message'));
});

test('somebody with our name and another UUID is reported once', (t) => {
  const pair = Pair.joined();
  for (let i = 0; i < 3; i++) {
    const message: HaField[] = [
      ...haFields({ t: 'status', src: 'a', seq: '1', hg: '1', ts: '1' }),
      { name: 'srcuuid', kind: 1, value: new Uint8Array(16).fill(9) },
    ];
    pair.a.receive(message, 'eth0', pair.nowMs, pair.out);
  }
  t.is(pair.logs().filter((l) => l.includes('node names must be unique')).length, 1);
});

// 5.5: more than 250 unacknowledged messages: API clients are paused; status messages go on.
test('flow control: clients are paused above 250 unacknowledged messages, until they are acknowledged', (t) => {
  const pair = Pair.joined();
  const send = (count: number) => {
    for (let i = 0; i < count; i++) pair.a.send(haFields({ t: 'num_ping_nodes' }), pair.out);
  };
  const seqOf = () => Number.parseInt(pair.sent('status').at(-1)?.['seq'] ?? '', 16);
  pair.until(pair.nowMs + 300);
  pair.hear({ t: 'NS_ackmsg', dest: 'a', ackseq: seqOf().toString(16) });
  send(249);
  pair.keepHearing(pair.nowMs + 500);
  t.false(pair.a.clientsPaused);
  pair.keepHearing(pair.nowMs + 1000);
  t.true(pair.a.clientsPaused);
  const before = pair.sent('status').length;
  pair.keepHearing(pair.nowMs + 1000);
  t.true(pair.sent('status').length > before);
  pair.hear({ t: 'NS_ackmsg', dest: 'a', ackseq: (seqOf() - 249).toString(16) });
  t.false(pair.a.clientsPaused);
  const said = pair.logs().filter((l) => l.startsWith('all clients'));
  t.deepEqual(said, ['all clients are now paused', 'all clients are now resumed']);
});

test('flow control waits for nobody who is dead, or has no flow control', (t) => {
  const dead = Pair.joined();
  dead.until(dead.nowMs + 5000);
  t.true(dead.has('node-dead'));
  const other = Pair.joined();
  other.hear({ t: 'status', st: 'active', dt: 'fa0' });
  for (const pair of [dead, other]) {
    for (let i = 0; i < 300; i++) pair.a.send(haFields({ t: 'x' }), pair.out);
    pair.until(pair.nowMs + 500);
    t.false(pair.a.clientsPaused);
  }
});

test('a ping node is judged by deadping', (t) => {
  const pair = new Pair({ nodes: ['a'], pings: ['gw'], deadpingMs: 3000 });
  pair.until(100);
  pair.a.pingAnswered('gw', 100, pair.out);
  t.true(pair.a.commUp);
  pair.until(3500);
  t.is(pair.a.nodes.get('gw')?.status, 'dead');
  pair.a.pingAnswered('gw', 3500, pair.out);
  t.is(pair.a.nodes.get('gw')?.status, 'ping');
});
