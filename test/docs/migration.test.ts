/**
 * docs/MIGRATION.md can be done: every procedure exists, each step begins where the one before ended and changes what its words
 * say, and the way passes every kind of pair. kernel-migration.test.ts then does it.
 */
import test from 'ava';
import {
  castOf,
  NODE_NAMES,
  parseMigrationPage,
  readMigrationPage,
  type Step,
} from '../support/migration-page.js';

const page = readMigrationPage();
const THERE_AND_BACK = 'There and back';
const CRASHES = 'When a node dies on the way';

function plan(heading: string): readonly Step[] {
  return page.plans.get(heading) ?? [];
}

/** What the words of a step make of the row before it. */
function after(before: Step, step: Step): Pick<Step, 'stands' | 'service'> {
  const { node, to } = step.cast;
  const stands = { ...before.stands };
  const becomes = /(twinbeat|kernel)$/.exec(step.procedure ?? '')?.[1];
  if (node !== undefined && (becomes === 'twinbeat' || becomes === 'kernel'))
    stands[node] = becomes;
  if (node !== undefined && step.procedure === null) {
    stands[node] = 'off';
    return { stands, service: before.service === node ? null : before.service };
  }
  return { stands, service: to ?? before.service };
}

test('every step is a procedure that the page has, and leaves the pair as its row says', (t) => {
  for (const heading of [THERE_AND_BACK, CRASHES]) {
    const steps = plan(heading);
    t.true(steps.length > 5, heading);
    for (const [i, step] of steps.entries()) {
      const before = steps[i - 1];
      if (before === undefined) continue;
      if (step.procedure !== null) t.true(page.procedures.has(step.procedure), step.what);
      t.deepEqual(
        { stands: step.stands, service: step.service },
        after(before, step),
        `${heading}: ${step.what}`,
      );
      // A program is exchanged where the service is not; a service leaves where it is, or was when its node died.
      if (step.cast['node'] !== undefined && step.procedure !== null)
        t.not(step.cast['node'], before.service, step.what);
      if (step.procedure === 'move') t.is(step.cast['from'], before.service ?? undefined);
      if (step.procedure === 'take over') t.is(before.service, null);
    }
  }
});

test('the way there and back begins and ends with two kernels, and the service moves in every kind of pair', (t) => {
  const steps = plan(THERE_AND_BACK);
  const kinds = (step: Step | undefined) => NODE_NAMES.map((name) => step?.stands[name]).join(' ');
  t.is(kinds(steps[0]), 'kernel kernel');
  t.is(kinds(steps.at(-1)), 'kernel kernel');
  const moves = steps.filter((step) => step.procedure === 'move').map(kinds);
  t.deepEqual(moves, [
    'kernel kernel',
    'twinbeat kernel',
    'twinbeat twinbeat',
    'kernel twinbeat',
    'kernel kernel',
  ]);
});

test('each procedure names only its own two nodes, and what is never to be typed is in none', (t) => {
  for (const [name, commands] of page.procedures) {
    const pair = Object.keys(castOf(commands[0]?.who ?? '', 'alpha'));
    for (const { who, line } of commands) {
      t.true(pair.includes(who), `${name}: ${who}# ${line}`);
      t.notRegex(line, /--force|create-md|invalidate|discard-my-data/, name);
    }
  }
});

test('what is not understood is an error', (t) => {
  const row = (cells: string) => () => parseMigrationPage(`## A\n| 1 | ${cells} |`);
  t.throws(row('alpha to the moon | kernel | kernel'), { message: /no step/ });
  t.throws(row('move from alpha to beta | kernel | drbd9 *'), { message: /no state/ });
  t.throws(row('move from alpha to beta | kernel * | kernel *'), { message: /on both/ });
  t.throws(() => parseMigrationPage('## A\n\n    node# reboot\n'), { message: /no procedure/ });
  t.throws(() => parseMigrationPage('### A\n\n    reboot\n'), { message: /no command/ });
  const { prints } = parseMigrationPage('### A\n\n    to# x\n    a...(b)\n').procedures.get(
    'A',
  )?.[0] ?? { prints: null };
  t.regex('a 17 (b)', prints ?? /^$/);
  t.notRegex('a 17 b', prints ?? /a/);
});
