/** The door between a dead peer and its groups: what opens it, what never does. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import type { FenceAnswer } from '../../src/resource-manager/answers.js';
import { Permission, type PermissionEffect } from '../../src/resource-manager/permission.js';
import { Hand } from '../support/resource-hand.js';

function text(e: PermissionEffect): string {
  if (e.type === 'log') return `${e.level}: ${e.text}`;
  if (e.type === 'wish-answered') return `wish ${e.answer}`;
  if (e.type === 'told') return `stonith(${e.node},${e.result})`;
  return e.type === 'fence' ? `fence ${e.node} ${e.id}` : `permitted ${e.id}`;
}

function machine(stonith: boolean, fenceDelayMs = 0, peer: string | null = 'b') {
  const permission = new Permission({ peer, stonith, fenceDelayMs });
  const call = (action: (p: Permission, out: PermissionEffect[]) => void): string[] => {
    const out: PermissionEffect[] = [];
    action(permission, out);
    return out.map(text);
  };
  return { permission, call };
}

// heartbeat 3.0.6, a peer that is declared dead
test('configuration x what the peer may run x what runs here: what is said, and when the door opens', (t) => {
  const rows = [
    [false, false, false, 'info: Dead node b gave up resources.|stonith(b,unneeded)|permitted 1'],
    [false, false, true, 'info: Dead node b gave up resources.|stonith(b,unneeded)|permitted 1'],
    [
      false,
      true,
      false,
      'stonith(b,n_stnth)|WARN: No STONITH device configured.|WARN: Shared disks are not protected.|permitted 1',
    ],
    [
      false,
      true,
      true,
      'stonith(b,n_stnth)|WARN: No STONITH device configured.|WARN: Shared disks are not protected.|permitted 1',
    ],
    [true, false, false, 'info: Dead node b gave up resources.|stonith(b,unneeded)|permitted 1'],
    [true, false, true, 'info: Dead node b gave up resources.|stonith(b,unneeded)|permitted 1'],
    [true, true, false, ''], // waits for fence-delay
    [true, true, true, 'fence b 1'],
  ] as const;
  for (const [stonith, needed, holds, expected] of rows) {
    const { call } = machine(stonith, 3000);
    const got = call((p, out) => p.ask(1, needed, holds, 0, out));
    t.is(got.join('|'), expected, `${stonith} ${needed} ${holds}`);
  }
});

test('who holds nothing waits for fence-delay before it shoots', (t) => {
  const { permission, call } = machine(true, 3000);
  call((p, out) => p.ask(1, true, false, 1000, out));
  t.is(permission.deadlineMs, 4000);
  t.deepEqual(
    call((p, out) => p.tick(3999, out)),
    [],
  );
  t.deepEqual(
    call((p, out) => p.tick(4000, out)),
    ['fence b 1'],
  );
});

test('a reset that fails is tried again every 5 s, for ever, and never opens the door', (t) => {
  const { permission, call } = machine(true);
  call((p, out) => p.ask(1, true, true, 0, out));
  const answers: readonly FenceAnswer[] = ['bad', 'badhost', 'none'];
  for (let n = 1; n <= 50; n++) {
    const answer = answers[n % 3] ?? 'bad';
    const nowMs = n * 6000;
    t.deepEqual(
      call((p, out) => p.fenced(n, answer, nowMs, out)),
      [
        'ERROR: STONITH of b failed.  Retrying...',
        `stonith(b,${answer === 'none' ? 'badhost' : answer})`,
      ],
    );
    t.is(permission.deadlineMs, nowMs + 5000);
    t.deepEqual(
      call((p, out) => p.tick(nowMs + 5000, out)),
      [`fence b ${n + 1}`],
    );
  }
  t.deepEqual(
    call((p, out) => p.fenced(51, 'OK', 400_000, out)),
    ['stonith(b,OK)', 'permitted 1'],
  );
  t.false(permission.isOpen);
});

test('an answer that comes after the peer was heard grants nothing, not even to the next question', (t) => {
  const { permission, call } = machine(true);
  call((p, out) => p.ask(1, true, true, 0, out));
  permission.withdraw();
  // Declared dead once more while the first reset is still under way: no second one beside it.
  t.deepEqual(
    call((p, out) => p.ask(2, true, true, 10, out)),
    [],
  );
  t.deepEqual(
    call((p, out) => p.fenced(1, 'OK', 20, out)),
    ['WARN: STONITH of b: OK, too late: the question is not open any more.', 'fence b 2'],
  );
  t.deepEqual(
    call((p, out) => p.fenced(2, 'OK', 30, out)),
    ['stonith(b,OK)', 'permitted 2'],
  );
  t.deepEqual(
    call((p, out) => p.fenced(2, 'OK', 40, out)),
    [],
    'once',
  );
});

// A device that is slower than the peer's boot: what it hits is back already.
test('a reset that is answered after the peer was heard again: the next one waits as long as that took', (t) => {
  const rows: [string, FenceAnswer, number, number, number][] = [
    // answer, the peer was last heard, it is declared dead, the next reset
    ['hit when it was back', 'OK', 40_000, 46_000, 80_000],
    ['the same, and the device does not say so', 'bad', 40_000, 46_000, 80_000],
    ['its last word was on the way', 'OK', 41_000, 47_000, 80_000],
    ['it lived on: this is another death', 'OK', 43_000, 49_000, 49_000],
    ['declared dead when it should be back', 'OK', 40_000, 90_000, 90_000],
    ['the device cannot reset it', 'badhost', 40_000, 46_000, 46_000],
  ];
  for (const [what, answer, heardMs, deadMs, shootsMs] of rows) {
    const { permission, call } = machine(true);
    call((p, out) => p.ask(1, true, true, 0, out));
    permission.withdraw(); // it is heard
    permission.heard(Math.min(heardMs, 40_000));
    call((p, out) => p.fenced(1, answer, 40_000, out));
    permission.heard(heardMs);
    call((p, out) => p.ask(2, true, true, deadMs, out));
    if (shootsMs > deadMs) {
      t.is(permission.deadlineMs, shootsMs, what);
      t.deepEqual(
        call((p, out) => p.tick(shootsMs - 1, out)),
        [],
        what,
      );
      t.deepEqual(
        call((p, out) => p.tick(shootsMs, out)),
        ['fence b 2'],
        what,
      );
    }
    t.deepEqual(
      call((p, out) => p.fenced(2, 'OK', 200_000, out)),
      ['stonith(b,OK)', 'permitted 2'],
      what,
    );
  }
});

test('late once more: twice as long, up to ten minutes; in time: no wait any more', (t) => {
  const { permission, call } = machine(true);
  let nowMs = 0;
  const waits: number[] = [];
  for (let n = 1; n <= 9; n++) {
    call((p, out) => p.ask(n, true, true, nowMs, out));
    if (permission.deadlineMs < Number.POSITIVE_INFINITY) {
      waits.push((permission.deadlineMs - nowMs) / 1000);
      nowMs = permission.deadlineMs;
      call((p, out) => p.tick(nowMs, out));
    }
    permission.withdraw();
    permission.heard(nowMs + 30_000);
    nowMs += 30_000;
    call((p, out) => p.fenced(n, 'OK', nowMs, out));
  }
  t.deepEqual(waits, [30, 60, 120, 240, 480, 600, 600, 600]);
  nowMs += 600_000;
  call((p, out) => p.ask(10, true, true, nowMs, out));
  call((p, out) => p.fenced(10, 'OK', nowMs, out));
  call((p, out) => p.ask(11, true, true, nowMs, out));
  t.deepEqual(
    call((p, out) => p.fenced(11, 'OK', nowMs, out)),
    ['stonith(b,OK)', 'permitted 11'],
  );
});

// A slow device is late each time that a node falls over, perhaps once in a month: that says nothing about how long it starts.
test('late once more, and the peer was heard in between: the time that this reset took, not twice the last one', (t) => {
  const { permission, call } = machine(true);
  let nowMs = 0;
  for (let n = 1; n <= 6; n++) {
    call((p, out) => p.ask(n, true, true, nowMs, out));
    t.is(permission.deadlineMs, Number.POSITIVE_INFINITY, `reset ${n} is under way`);
    permission.withdraw();
    permission.heard(nowMs + 29_000);
    nowMs += 30_000;
    call((p, out) => p.fenced(n, 'OK', nowMs, out));
    nowMs += 20_000; // it is back, and lives on
    permission.heard(nowMs + 3_000_000);
    nowMs += 3_010_000;
  }
  permission.heard(nowMs);
  call((p, out) => p.ask(7, true, true, nowMs, out));
  permission.withdraw();
  permission.heard(nowMs + 29_000);
  nowMs += 30_000;
  call((p, out) => p.fenced(7, 'OK', nowMs, out));
  call((p, out) => p.ask(8, true, true, nowMs + 6000, out));
  t.is(permission.deadlineMs, nowMs + 30_000);
});

test('declared dead once more before the late answer: that question waits', (t) => {
  const { permission, call } = machine(true, 1000);
  call((p, out) => p.ask(1, true, true, 0, out));
  permission.withdraw();
  permission.heard(8000);
  call((p, out) => p.ask(2, true, false, 20_000, out));
  const said = call((p, out) => p.fenced(1, 'OK', 30_000, out));
  t.is(said.length, 2);
  t.regex(
    said[1] ?? '',
    /^WARN: STONITH of b waits for 30 s, and nothing is taken over meanwhile: /,
  );
  t.is(permission.deadlineMs, 60_000);
  t.true(permission.isOpen);
});

test('10,000 random orders of deaths, signs of life and answers: granted only by OK to the reset of that question', (t) => {
  for (let seed = 1; seed <= 10_000; seed++) {
    const prng = new Prng(seed);
    const permission = new Permission({ peer: 'b', stonith: true, fenceDelayMs: prng.below(3) });
    let nowMs = 0;
    let open = 0; // the question that is open
    let asked = 0;
    let underWay = 0;
    let underWayFor = 0;
    let opens: number | null = null; // what this step may grant
    const done = (out: readonly PermissionEffect[]) => {
      for (const e of out) {
        if (e.type === 'fence') {
          if (underWay !== 0) t.fail(`seed ${seed}: two resets at once`);
          underWay = e.id;
          underWayFor = open;
        } else if (e.type === 'permitted') {
          if (e.id !== opens || e.id !== open) t.fail(`seed ${seed}: granted ${e.id}`);
          open = 0;
        }
      }
    };
    for (let step = 0; step < 30; step++) {
      const out: PermissionEffect[] = [];
      nowMs += prng.below(4000);
      opens = null;
      if (prng.chance(0.3)) permission.heard(nowMs);
      const what = prng.below(4);
      if (what === 0 && open === 0) {
        open = ++asked;
        permission.ask(open, true, prng.chance(0.5), nowMs, out);
      } else if (what === 1) {
        open = 0;
        permission.withdraw();
      } else if (what === 2 && underWay !== 0) {
        const answer = prng.pick(['OK', 'bad', 'badhost', 'none'] as const);
        if (answer === 'OK') opens = underWayFor;
        const id = underWay;
        underWay = 0;
        permission.fenced(id, answer, nowMs, out);
      } else permission.tick(nowMs, out);
      done(out);
      t.is(permission.isOpen, open !== 0);
    }
  }
});

// ---- the door in front of the resource state machine

test('with a device a take-over waits for the reset; our own go on meanwhile, nothing is claimed', (t) => {
  const hand = Hand.stable({ stonith: true });
  hand.call((s, out) => s.peerDied(true, 0, out));
  t.deepEqual([hand.jobs, hand.sent, hand.state.hold], [[], [], 'local']);
  hand.fenced('bad');
  hand.until(5000);
  t.deepEqual([hand.jobs, hand.sent, hand.state.hold], [[], ['stonith(b,bad)'], 'local']);
  hand.fenced('OK');
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['take all'],
  );
  t.is(hand.state.hold, 'all');
});

test('a peer that is heard meanwhile keeps what it has, and a late OK takes nothing', (t) => {
  const hand = Hand.stable({ stonith: true });
  hand.call((s, out) => s.peerDied(true, 0, out));
  hand.resource('local', '1');
  t.true(hand.logs.includes('Node b is heard again: nothing is taken over.'));
  hand.fenced('OK');
  t.deepEqual([hand.jobs, hand.state.hold], [[], 'local']);
});

test('`shutdone` is a word: it needs no reset', (t) => {
  const hand = Hand.stable({ stonith: true });
  hand.resource('none', '0', { info: 'shutdown' });
  hand.hear({ t: 'shutdone', st: 'dead' });
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['take all'],
  );
  hand.finishJobs();
  hand.call((s, out) => s.peerDied(true, 0, out));
  t.deepEqual(hand.fences, [], 'it left: nothing is there to shoot at');
});

test('a node that leaves does not wait for the reset, and shoots nobody', (t) => {
  const hand = Hand.stable({ stonith: true });
  hand.call((s, out) => s.peerDied(true, 0, out));
  hand.call((s, out) => s.shutdown(0, out));
  hand.finishJobs();
  t.deepEqual(hand.others, ['released']);
  hand.fenced('OK');
  t.deepEqual(hand.jobs, []);
  const leaving = Hand.stable({ stonith: true });
  leaving.call((s, out) => s.shutdown(0, out));
  leaving.call((s, out) => s.peerDied(true, 0, out));
  t.deepEqual(leaving.fences, []);
});

test('the start-up timer takes nothing while the peer is not fenced', (t) => {
  const hand = new Hand({ stonith: true });
  hand.call((s, out) => s.active(0, out));
  hand.resource('none', '0');
  hand.call((s, out) => s.peerDied(true, 1000, out));
  hand.until(60_000);
  t.deepEqual(hand.jobs, [], 'it may have taken ours for a dead node, too');
  hand.fenced('OK');
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['take all'],
  );
});

// stop-failure = fence, on the other node
test('a peer that asks to be reset: no door is opened by that, and it is reset once more when it is dead', (t) => {
  const { permission, call } = machine(true);
  t.deepEqual(
    call((p, out) => p.wish(0, out)),
    ['fence b 1'],
  );
  t.deepEqual(
    call((p, out) => p.fenced(1, 'OK', 100, out)),
    ['wish OK', 'WARN: STONITH of b, as it asked: OK.'],
  );
  t.false(permission.isOpen);
  t.deepEqual(
    call((p, out) => p.ask(1, true, true, 5000, out)),
    ['fence b 2'],
  );
});

test('declared dead while that is under way: one reset after the other, and only the second one counts', (t) => {
  const { call } = machine(true);
  call((p, out) => p.wish(0, out));
  t.deepEqual(
    call((p, out) => p.ask(1, true, true, 10, out)),
    [],
  );
  t.deepEqual(
    call((p, out) => p.fenced(1, 'OK', 100, out)),
    ['wish OK', 'WARN: STONITH of b, as it asked: OK.', 'fence b 2'],
  );
  t.deepEqual(
    call((p, out) => p.fenced(2, 'OK', 200, out)),
    ['stonith(b,OK)', 'permitted 1'],
  );
});

test('a wish that fails, and one without a device, are answered', (t) => {
  const { call } = machine(true);
  call((p, out) => p.wish(0, out));
  t.deepEqual(
    call((p, out) => p.fenced(1, 'bad', 100, out)),
    ['wish bad', 'ERROR: STONITH of b, as it asked: bad.'],
  );
  t.deepEqual(
    call((p, out) => p.tick(100_000, out)),
    [],
  );
  t.deepEqual(
    machine(false).call((p, out) => p.wish(0, out)),
    ['wish none'],
  );
});
