/**
 * docs/MIGRATION.md, its part about heartbeat, can be done: each step begins where the one before ended and does what its words say,
 * and the way passes every kind of pair. heartbeat-migration.test.ts of test/integration then does it.
 */
import test from 'ava';
import { outageMs, parseHeartbeatPage, readHeartbeatPage } from '../support/heartbeat-page.js';
import { NODE_NAMES } from '../support/migration-page.js';

const page = readHeartbeatPage();
const steps = page.plans.get('There and back with heartbeat') ?? [];

test('each step begins where the one before ended, and leaves the pair as its row says', (t) => {
  t.is(steps.length, 9);
  for (const [i, { what, procedure, cast, stands, service, more }] of steps.entries()) {
    t.true(outageMs(more, what) < 2000, what);
    const before = steps[i - 1];
    if (before === undefined) continue;
    t.true(page.procedures.has(procedure ?? ''), what);
    const { node, from, to } = cast;
    // A program is exchanged where the service is not.
    t.is(service, to ?? before.service, what);
    if (from !== undefined) t.is(before.service, from, what);
    if (node !== undefined) t.not(node, before.service, what);
    const becomes = what.endsWith('twinbeat') ? 'twinbeat' : 'debian';
    t.deepEqual(stands, node === undefined ? before.stands : { ...before.stands, [node]: becomes });
  }
});

test('the way begins and ends with two of Debian’s, and the service moves in every kind of pair', (t) => {
  const kinds = steps.map(({ stands }) => NODE_NAMES.map((name) => stands[name]).join(' '));
  t.is(kinds[0], 'debian debian');
  t.is(kinds.at(-1), 'debian debian');
  const moves = kinds.filter((_, i) => steps[i]?.procedure === 'move');
  t.deepEqual(moves, [
    ...['debian twinbeat', 'twinbeat twinbeat', 'twinbeat debian', 'debian debian'],
  ]);
});

test('what is not understood is an error', (t) => {
  t.throws(() => parseHeartbeatPage('### move\n\n    from# hb_standby all\n'), {
    message: /no 'hb_standby'/,
  });
  t.throws(() => parseHeartbeatPage('## A\n| 1 | alpha to pacemaker | debian | debian | 0 s |'), {
    message: /no step/,
  });
  t.throws(() => parseHeartbeatPage('## A\n| 1 | | kernel | debian | 0 s |'), {
    message: /no state/,
  });
  t.throws(() => outageMs(['soon'], 'a step'), { message: /no time/ });
});
