/**
 * `drbdsetup wait-connect` and `wait-sync` against a scripted drbdd. Texts and statuses: drbdsetup-84 9.22 observed with kernel DRBD
 * 8.4.11, which ended after 8 s of degr-wfc-timeout on a Primary that came back alone from a crash, after 30 s of wfc-timeout
 * once it had been taken down in good order, and after 2 s of outdated-wfc-timeout with an Outdated peer.
 */
import test, { type ExecutionContext } from 'ava';
import { main } from '../../src/cli/drbdsetup.js';
import type { WaitTimeoutType } from '../../src/drbd/attach-decision.js';
import type { ControlReply, ControlRequest, WaitEnd } from '../../src/host/control.js';
import { memoryWorld } from '../support/memory-world.js';
import { scriptedDrbdd } from '../support/scripted-drbdd.js';

const LIMITS = '--wfc-timeout=9 --degr-wfc-timeout=5 --outdated-wfc-timeout=3';

function end(over: WaitEnd['over'], cstate: string): ControlReply {
  return { ok: true, value: { over, resource: 'r0', volume: 0, cstate } satisfies WaitEnd };
}
const THERE = end('there', 'Connected');

/** `ends`: the answers to the waits, in their order. */
async function call(
  t: ExecutionContext,
  line: string,
  ends: readonly ControlReply[],
  type: WaitTimeoutType = 'wfc-timeout',
) {
  const answers = [...ends];
  const { root, requests } = await scriptedDrbdd(t, (request) =>
    request.verb === 'timeout-type' ? { ok: true, value: type } : answers.shift(),
  );
  const world = memoryWorld({ root });
  const status = await main(line.split(' '), world);
  const waits = requests.filter((r: ControlRequest) => r.verb !== 'timeout-type');
  return { status, out: world.stdout(), err: world.stderr(), waits };
}

test('the timeout is the one that drbdd says holds now', async (t) => {
  const seconds = { 'wfc-timeout': 9, 'degr-wfc-timeout': 5, 'outdated-wfc-timeout': 3 } as const;
  for (const [type, timeoutS] of Object.entries(seconds)) {
    const { status, waits, err } = await call(
      t,
      `wait-connect 0 ${LIMITS}`,
      [THERE],
      type as WaitTimeoutType,
    );
    t.is(status, 0);
    t.is(err, '');
    t.deepEqual(waits, [{ verb: 'wait-connect', minor: 0, timeoutS, afterSb: false }], type);
  }
});

// A degraded node with wfc-timeout 0: for ever, or degr-wfc-timeout.
test('0 is for ever, for each by itself', async (t) => {
  const line = 'wait-connect 0 --wfc-timeout=0 --degr-wfc-timeout=120';
  const degraded = await call(t, line, [THERE], 'degr-wfc-timeout');
  t.like(degraded.waits[0], { timeoutS: 120 });
  const whole = await call(t, line, [THERE]);
  t.like(whole.waits[0], { timeoutS: 0 });
});

test('a timeout that is longer than it may be is cut down, with a message', async (t) => {
  const { err, waits } = await call(
    t,
    'wait-connect 0 --wfc-timeout=2',
    [THERE],
    'degr-wfc-timeout',
  );
  t.is(
    err,
    'degr-wfc-timeout has to be shorter than wfc-timeout\n' +
      'degr-wfc-timeout implicitly set to wfc-timeout (2s)\n' +
      'outdated-wfc-timeout has to be shorter than degr-wfc-timeout\n' +
      'outdated-wfc-timeout implicitly set to degr-wfc-timeout (2s)\n',
  );
  t.like(waits[0], { timeoutS: 2 });
});

test('time over: 5, and not a word', async (t) => {
  const timeout: ControlReply = {
    ok: false,
    kind: 'timeout',
    code: 0,
    text: 'timeout',
    info: [],
    next: [],
  };
  const { status, out, err } = await call(t, `wait-connect 0 ${LIMITS}`, [timeout]);
  t.deepEqual([status, out, err], [5, '', '']);
});

test('given up: done, but for --wait-after-sb, which says so each time and waits on', async (t) => {
  const alone = end('given-up', 'StandAlone');
  const leaving = end('given-up', 'Disconnecting');
  const done = await call(t, `wait-connect 0 ${LIMITS}`, [alone]);
  t.deepEqual([done.status, done.err], [0, '']);

  const patient = await call(t, `wait-connect 0 ${LIMITS} --wait-after-sb`, [
    alone,
    leaving,
    THERE,
  ]);
  t.is(patient.status, 0);
  t.is(
    patient.err,
    "\ndrbd0 (r0[0]) is StandAlone, but I'm configured to wait anways (--wait-after-sb)\n" +
      "\ndrbd0 (r0[0]) is Disconnecting, but I'm configured to wait anways (--wait-after-sb)\n",
  );
  t.deepEqual(
    patient.waits.map((w) => w.verb === 'wait-connect' && w.afterSb),
    [false, true, true],
  );
  const plain = await call(t, `wait-connect 0 ${LIMITS} --wait-after-sb=no`, [alone]);
  t.deepEqual([plain.status, plain.waits.length], [0, 1]);
});

test('wait-sync waits for the end of a resync, and is silent', async (t) => {
  const { status, err, waits } = await call(t, `wait-sync 0 ${LIMITS} --wait-after-sb=yes`, [
    end('given-up', 'StandAlone'),
    THERE,
  ]);
  t.deepEqual([status, err], [0, '']);
  t.deepEqual(
    waits.map((w) => w.verb),
    ['wait-sync', 'wait-sync'],
  );
});

test('a minor that is not there', async (t) => {
  const { root } = await scriptedDrbdd(t, () => ({
    ok: false,
    kind: 'failure',
    code: 127,
    text: 'Device minor not allocated',
    info: [],
    next: [],
  }));
  const world = memoryWorld({ root });
  t.is(await main(['wait-connect', '7'], world), 20);
  t.is(world.stderr(), 'error determining which timeout to use: minor not available\n');
});
