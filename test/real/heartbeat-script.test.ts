/** Resource scripts as processes: found, run, missing, hanging, leaving a daemon behind. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { findScript } from '../../src/real/resource-command.js';
import { hangDirectory } from '../support/hung-directory.js';
import { need } from '../support/need.js';
import { runResource, scriptRoot } from '../support/resource-run.js';

test('arguments, environment and output', async (t) => {
  const dir = scriptRoot(t, {
    'ha.d/resource.d/R': 'echo "$# $1 $2 $3 $HA_CURHOST"; echo err >&2; exit 3',
  });
  const { outcome, logs, pids } = await runResource(dir, 'R::x::y', 'status');
  t.deepEqual(outcome, { exitStatus: 3, output: '3 x y status node-a\nerr\n', failure: null });
  t.true(logs.some((l) => l.endsWith('/etc/ha.d/resource.d/R x y status')));
  t.is(typeof pids[0], 'number');
  t.is(pids[1], null);
});

test('resource.d goes before init.d, and ours between them', async (t) => {
  const dir = scriptRoot(t, {
    'ha.d/resource.d/R': '',
    'init.d/R': '',
    'init.d/S': '',
    'init.d/IPaddr': '',
  });
  t.is(await findScript(dir, 'R'), join(dir, 'etc/ha.d/resource.d/R'));
  t.is(await findScript(dir, 'S'), join(dir, 'etc/init.d/S'));
  t.regex((await findScript(dir, 'IPaddr')) ?? '', /\/resource\.d\/IPaddr$/);
  t.not(await findScript(dir, 'IPaddr'), join(dir, 'etc/init.d/IPaddr'));
  t.is(await findScript(dir, '../ha.cf'), null);
});

test('missing and not executable are the same', async (t) => {
  const dir = scriptRoot(t, {});
  writeFileSync(join(dir, 'etc/ha.d/resource.d/R'), '#!/bin/sh\n', { mode: 0o644 });
  for (const name of ['R', 'nosuch']) {
    const { outcome } = await runResource(dir, name, 'start');
    t.deepEqual(outcome, { exitStatus: null, output: '', failure: 'missing' });
  }
});

test('a file without interpreter line is run by sh; one with a missing interpreter is missing', async (t) => {
  const dir = scriptRoot(t, {});
  writeFileSync(join(dir, 'etc/ha.d/resource.d/R'), 'exit 7\n', { mode: 0o755 });
  t.is((await runResource(dir, 'R', 'start')).outcome.exitStatus, 7);
  writeFileSync(join(dir, 'etc/ha.d/resource.d/S'), '#!/no/such/shell\n', { mode: 0o755 });
  t.is((await runResource(dir, 'S', 'start')).outcome.failure, 'missing');
});

test('one that cannot even be started is missing, and the daemon goes on', async (t) => {
  const dir = scriptRoot(t, { 'ha.d/resource.d/R': '' });
  const { outcome, logs } = await runResource(dir, 'R::a\0b', 'start');
  t.is(outcome.failure, 'missing');
  t.true(logs.some((line) => line.startsWith('ERROR: cannot run ')));
});

test('a script that hangs is killed with its children when its time is over', async (t) => {
  const dir = scriptRoot(t, { 'ha.d/resource.d/R': 'sleep 1000 & sleep 1000' });
  const { outcome, logs } = await runResource(dir, 'R', 'stop', 100);
  t.is(outcome.failure, 'killed');
  t.is(outcome.exitStatus, null);
  t.true(logs.some((l) => l.includes('does not end: killed')));
});

// A service inherits the script's output. With a pipe its next line after heartbeat's end would kill it.
test('a service left behind does not hold the script up', async (t) => {
  const dir = scriptRoot(t, { 'ha.d/resource.d/R': 'sleep 1000 & echo $!; exit 0' });
  const { outcome } = await runResource(dir, 'R', 'start');
  t.like(outcome, { exitStatus: 0, failure: null });
  t.regex(outcome.output, /^\d+\n$/);
  t.notThrows(() => process.kill(Number(outcome.output), 'SIGKILL'), 'it still runs');
});

// With a call that waits there would be no keepalive, and no end of this test.
test('a directory of scripts that hangs holds nobody up; the script runs when it answers', async (t) => {
  if (!need(t, 'root', 'fuse', 'mount')) return;
  const dir = scriptRoot(t, { 'init.d/R': 'echo running' });
  const hung = hangDirectory(join(dir, 'etc/ha.d/resource.d'));
  t.teardown(() => hung.release());
  const limited = await runResource(dir, 'R', 'status', 100);
  t.deepEqual(limited.outcome, { exitStatus: null, output: '', failure: 'killed' });
  t.deepEqual(limited.pids, [], 'it was not begun');
  const patient = runResource(dir, 'R', 'status');
  hung.release();
  t.is((await patient).outcome.output, 'running\n');
});

test('an interpreter that hangs holds nobody up, and its time is limited, too', async (t) => {
  if (!need(t, 'root', 'fuse', 'mount')) return;
  const dir = scriptRoot(t, {});
  const hung = hangDirectory(join(dir, 'hung'));
  t.teardown(() => hung.release());
  const path = join(dir, 'etc/ha.d/resource.d/R');
  writeFileSync(path, `#!${join(dir, 'hung/sh')}\n`, { mode: 0o755 });
  const { outcome, pids } = await runResource(dir, 'R', 'start', 3000); // it is looked for within that, also on a busy machine
  t.is(outcome.failure, 'killed');
  t.is(typeof pids[0], 'number');
});
