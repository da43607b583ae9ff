/** Programs that have one time together: what cannot be started is an answer, too, and nothing is left open. */
import { readdirSync } from 'node:fs';
import test from 'ava';
import { LimitedRun } from '../../src/real/limited-run.js';

test('a program that cannot even be started: no exception, the reason, no descriptor left', async (t) => {
  const programs = new LimitedRun('', 60_000);
  t.teardown(() => programs.end());
  t.deepEqual(await programs.run('echo', ['x'], null), { status: 0, out: 'x\n', err: '' });
  const before = readdirSync('/proc/self/fd').length;
  for (let i = 0; i < 20; i++) {
    const { status, err } = await programs.run('echo', ['a\0b'], 'secret\n');
    t.is(status, null);
    t.not(err, '');
    t.false(err.includes('secret'));
  }
  t.true(readdirSync('/proc/self/fd').length < before + 20);
});
