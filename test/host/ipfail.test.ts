/** ipfail as a machine: who is asked, who gives up, when it does not (docs/IPFAIL.md). */
import test from 'ava';
import { Ipfail, type IpfailConfig, type IpfailEffect } from '../../src/host/ipfail.js';
import { both, type Hold } from '../../src/resource-manager/hold.js';
import { fieldOf, haFields } from '../../src/wire/hamsg.js';

const KEEPALIVE_MS = 500;
const RECOUNT_MS = 10_000;

class Hand {
  readonly out: IpfailEffect[] = [];
  pings: string[] = ['10.0.0.254'];
  hold: Hold = 'local';
  inTransition = false;
  alive = true;
  nowMs = 0;
  readonly ipfail: Ipfail;

  constructor(config: Partial<IpfailConfig> = {}) {
    const hand = this;
    this.ipfail = new Ipfail(
      { peer: 'b', keepaliveMs: KEEPALIVE_MS, autoFailback: false, ...config },
      {
        pings: () => hand.pings,
        holds: (rsc) => both(hand.hold, rsc) !== 'none',
        get inTransition() {
          return hand.inTransition;
        },
        isPeerAlive: () => hand.alive,
      },
    );
  }

  hear(fields: Readonly<Record<string, string>>): void {
    this.ipfail.receive(haFields(fields), this.nowMs, this.out);
  }

  /** Wakes it at its own deadlines. */
  until(ms: number): void {
    while (this.ipfail.deadlineMs <= ms) {
      this.nowMs = Math.max(this.nowMs, this.ipfail.deadlineMs);
      this.ipfail.tick(this.nowMs, this.out);
    }
    this.nowMs = ms;
  }

  /** What came out since the last call, without the log: `type num`, `standby all`. */
  did(): string[] {
    const out = this.out.splice(0);
    return out.flatMap((effect) => {
      if (effect.type === 'standby') return [`standby ${effect.resources}`];
      if (effect.type === 'log') return [];
      const count = fieldOf(effect.message, 'num_ping');
      return [`${fieldOf(effect.message, 't')}${count === null ? '' : ` ${count}`}`];
    });
  }

  /** Lines of the log at `info`, without their name. */
  said(level = 'info'): string[] {
    return this.out.flatMap((e) =>
      e.type === 'log' && e.level === level ? [e.text.replace(/^ipfail: /, '')] : [],
    );
  }
}

test('messages carry what the original puts into them', (t) => {
  const hand = new Hand();
  hand.ipfail.linkStatus('10.0.0.254', '10.0.0.254', 'dead', hand.out);
  const [sent] = hand.out.filter((e) => e.type === 'send');
  t.deepEqual(
    sent?.message,
    haFields({
      t: 'num_ping_nodes',
      num_ping: '1',
      dest: 'b',
      from_id: 'ipfail',
      to_id: 'ipfail',
      client_gen: '0',
    }),
  );
});

// The rows of the comparison: what the other says it reaches, what we reach.
for (const [theirs, ours, answer] of [
  ['0', ['x'], ['you_are_dead']],
  ['1', ['x', 'y'], ['you_are_dead']],
  ['1', [], ['standby all']],
  ['2', ['x'], ['standby all']],
  ['0', [], ['abort_giveup']],
  ['1', ['x'], ['abort_giveup']],
] as const) {
  test(`the other reaches ${theirs}, we ${ours.length}: ${answer.join()}`, (t) => {
    const hand = new Hand();
    hand.pings = [...ours];
    hand.hear({ t: 'num_ping_nodes', num_ping: theirs });
    hand.until(2 * KEEPALIVE_MS);
    t.deepEqual(hand.did(), [...answer]);
  });
}

test('given up after 2 x keepalive, not before', (t) => {
  const hand = new Hand();
  hand.hear({ t: 'you_are_dead' });
  hand.until(2 * KEEPALIVE_MS - 1);
  t.deepEqual(hand.did(), []);
  hand.until(2 * KEEPALIVE_MS);
  t.deepEqual(hand.did(), ['standby all']);
});

test('told twice: given up once, 2 x keepalive after the second', (t) => {
  const hand = new Hand();
  hand.hear({ t: 'you_are_dead' });
  hand.until(600);
  hand.hear({ t: 'num_ping_nodes', num_ping: '2' });
  hand.until(1500);
  t.deepEqual(hand.did(), []);
  hand.until(1600);
  hand.hold = 'none';
  hand.until(60_000);
  t.deepEqual(hand.did(), ['standby all']);
});

test('abort_giveup ends the delay; equal counts do, too', (t) => {
  const hand = new Hand();
  hand.hear({ t: 'abort_giveup' });
  t.deepEqual(hand.said(), ['No giveup timer to abort.']);
  hand.hear({ t: 'you_are_dead' });
  hand.hear({ t: 'abort_giveup' });
  t.is(hand.said().at(-1), 'Aborted delayed giveup (1)');
  hand.until(60_000);
  t.deepEqual(hand.did(), []);
  hand.hear({ t: 'you_are_dead' });
  hand.hear({ t: 'num_ping_nodes', num_ping: '1' });
  hand.until(120_000);
  t.deepEqual(hand.did(), ['abort_giveup']);
});

test('a node that dies is only logged; a link that dies and a ping node that is back are asked about', (t) => {
  const hand = new Hand();
  hand.ipfail.nodeStatus('b', 'dead', hand.out);
  t.deepEqual(hand.did(), []);
  hand.ipfail.linkStatus('b', 'eth1', 'dead', hand.out);
  hand.ipfail.linkStatus('b', 'eth1', 'up', hand.out);
  t.deepEqual(hand.did(), ['num_ping_nodes 1']);
  hand.ipfail.nodeStatus('10.0.0.254', 'ping', hand.out);
  t.deepEqual(hand.did(), ['num_ping_nodes 1']);
});

test('the other’s ipfail joins: it is told our count; other clients and other words are passed over', (t) => {
  const hand = new Hand();
  hand.hear({ t: 'hbapi-clstat', st: 'join', from_id: 'dopd', to_id: 'dopd' });
  hand.hear({ t: 'hbapi-clstat', st: 'leave', from_id: 'ipfail', to_id: 'ipfail' });
  hand.hear({ t: 'num_ping_nodes', num_ping: 'many' });
  hand.hear({ t: 'num_ping_nodes' });
  t.deepEqual(hand.did(), []);
  hand.hear({ t: 'hbapi-clstat', st: 'join', from_id: 'ipfail', to_id: 'ipfail' });
  t.deepEqual(hand.did(), ['num_ping_nodes 1']);
});

// auto_failback on: equal counts bring foreign groups home, as the resource manager would.
test('equal counts and auto_failback on: foreign groups are given up, and nothing when there are none', (t) => {
  const hand = new Hand({ autoFailback: true });
  hand.hear({ t: 'num_ping_nodes', num_ping: '1' });
  hand.until(5000);
  t.deepEqual(hand.did(), ['abort_giveup']);
  hand.hold = 'all';
  hand.inTransition = true;
  hand.hear({ t: 'num_ping_nodes', num_ping: '1' });
  hand.until(10_000);
  t.deepEqual(hand.did(), ['abort_giveup'], 'not in the middle of a change');
  hand.inTransition = false;
  hand.hear({ t: 'num_ping_nodes', num_ping: '1' });
  hand.until(15_000);
  t.deepEqual(hand.did(), ['abort_giveup', 'standby foreign']);
});

test('nothing held, nothing asked for', (t) => {
  const hand = new Hand();
  hand.hold = 'none';
  hand.hear({ t: 'you_are_dead' });
  hand.until(60_000);
  t.deepEqual(hand.did(), []);
});

test('a ping node is back before the delay is over: counted again', (t) => {
  const hand = new Hand();
  hand.pings = [];
  hand.hear({ t: 'you_are_dead' });
  hand.pings = ['x'];
  hand.until(1000);
  t.deepEqual(hand.did(), ['num_ping_nodes 1']);
});

test('in transition: counted again when the other is stable, 10 s later', (t) => {
  const hand = new Hand();
  hand.inTransition = true;
  hand.hear({ t: 'you_are_dead' });
  hand.until(3000);
  t.deepEqual(hand.did(), []);
  hand.inTransition = false;
  hand.hear({ t: 'resource', rsc_hold: 'none', isstable: '1', info: 'req_our_resources()' });
  hand.hear({ t: 'resource', rsc_hold: 'none', isstable: '0' });
  hand.hear({ t: 'resource', rsc_hold: 'none', isstable: '1' });
  t.deepEqual(hand.said('debug').slice(-2), [
    'Other side is unstable.',
    'Other side is now stable.',
  ]);
  hand.until(3000 + RECOUNT_MS - 1);
  t.deepEqual(hand.did(), []);
  hand.until(3000 + RECOUNT_MS);
  t.deepEqual(hand.did(), ['num_ping_nodes 1']);
});

test('told while it is about to start its groups: not forgotten', (t) => {
  const hand = new Hand();
  hand.hold = 'none';
  hand.inTransition = true;
  hand.hear({ t: 'you_are_dead' });
  hand.until(RECOUNT_MS);
  hand.hold = 'local';
  hand.until(15_000);
  t.deepEqual(hand.did(), []);
  hand.inTransition = false;
  hand.until(60_000);
  t.deepEqual(hand.did(), ['num_ping_nodes 1']);
});

test('refused, or not answered: counted again after 10 s, while it is held and the other lives', (t) => {
  for (const after of ['still held', 'given up', 'other dead'] as const) {
    const hand = new Hand();
    hand.hear({ t: 'you_are_dead' });
    hand.until(1000);
    hand.ipfail.refused('Other side is in flux.', hand.out);
    t.is(hand.said().at(-1), 'not given up: Other side is in flux.');
    t.deepEqual(hand.did(), ['standby all']);
    if (after === 'given up') hand.hold = 'none';
    if (after === 'other dead') hand.alive = false;
    hand.until(60_000);
    t.deepEqual(hand.did(), after === 'still held' ? ['num_ping_nodes 1'] : [], after);
  }
});

// test/golden of the original: node-a loses its only ping node, node-b reaches it (docs/IPFAIL.md).
test('order and words of the log are the original’s', (t) => {
  const a = new Hand();
  a.hear({ t: 'num_ping_nodes', num_ping: '1' });
  a.pings = [];
  a.nowMs = 5000;
  a.ipfail.nodeStatus('192.168.77.254', 'dead', a.out);
  a.ipfail.linkStatus('192.168.77.254', '192.168.77.254', 'dead', a.out);
  a.hear({ t: 'you_are_dead' });
  a.until(6000);
  a.hold = 'none';
  a.nowMs = 20_000;
  a.ipfail.linkStatus('192.168.77.254', '192.168.77.254', 'up', a.out);
  a.pings = ['192.168.77.254'];
  a.ipfail.nodeStatus('192.168.77.254', 'ping', a.out);
  a.hear({ t: 'abort_giveup' });
  t.deepEqual(a.said(), [
    'Ping node count is balanced.',
    'Status update: Node 192.168.77.254 now has status dead',
    'NS: We are dead. :<',
    'Link Status update: Link 192.168.77.254/192.168.77.254 now has status dead',
    'We are dead. :<',
    'Asking other side for ping node count.',
    'Giving up because we were told that we have less ping nodes.',
    'Delayed giveup in 1 seconds.',
    'giveup() called (timeout worked)',
    'Link Status update: Link 192.168.77.254/192.168.77.254 now has status up',
    'Status update: Node 192.168.77.254 now has status ping',
    'A ping node just came up.',
    'Asking other side for ping node count.',
    'No giveup timer to abort.',
  ]);
  t.deepEqual(a.said('debug'), [
    'Got asked for num_ping.',
    'Found ping node 10.0.0.254!',
    'Abort message sent.',
    'Message [num_ping] sent.',
    'Message [ask_resources] sent.',
    'giveup timeout has been destroyed.',
    'Found ping node 192.168.77.254!',
    'Message [num_ping] sent.',
  ]);
});
