/** Every code has its sentence, and the sentences are those of the original command (drbd-utils, 8.4). */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { Err, failureText, Ss, stateExitStatus, stateText } from '../../src/drbd/return-codes.js';
import { need } from '../support/need.js';

const DRBDSETUP = '/usr/lib/drbd/drbdsetup-84';

test('codes, texts and exit statuses belong together', (t) => {
  for (const [name, code] of Object.entries(Ss)) {
    t.is(stateText(code) === 'unknown error.', code >= 0, name);
  }
  for (const code of Object.values(Err)) t.notRegex(failureText(code), /unknown\.$/);
  t.is(failureText(99), 'Error code 99 unknown.');
  t.is(new Set(Object.values(Err)).size, Object.keys(Err).length);
  t.deepEqual(
    [Ss.LOWER_THAN_OUTDATED, Ss.NO_LOCAL_DISK, Ss.NO_UP_TO_DATE_DISK, Ss.DEVICE_IN_USE].map(
      stateExitStatus,
    ),
    [5, 16, 17, 11],
  );
  t.is(stateExitStatus(Ss.NOTHING_TO_DO), 0);
});

test('the texts are in the original program', (t) => {
  if (!need(t, DRBDSETUP)) return;
  const program = readFileSync(DRBDSETUP, 'latin1');
  for (const code of Object.values(Err))
    t.true(program.includes(failureText(code)), failureText(code));
  for (const code of Object.values(Ss)) {
    if (code < 0) t.true(program.includes(stateText(code)), stateText(code));
  }
});
