/** Resource scripts as processes: found, run, missing, hanging, leaving a daemon behind. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { parseHaResource } from '../../src/config/haresources.js';
import { findScript, runScript, type ScriptHost } from '../../src/real/heartbeat-script.js';
import type { Action, ScriptOutcome } from '../../src/resource-manager/group-operation.js';
import { hangDirectory } from '../support/hung-directory.js';
import { need } from '../support/need.js';

function root(t: ExecutionContext, scripts: Readonly<Record<string, string>>): string {
  const dir = mkdtempSync(join(tmpdir(), 'heartbeat-script-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, 'etc/ha.d/resource.d'), { recursive: true });
  mkdirSync(join(dir, 'etc/init.d'), { recursive: true });
  for (const [path, text] of Object.entries(scripts)) {
    writeFileSync(join(dir, 'etc', path), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }
  return dir;
}

interface Run {
  readonly outcome: ScriptOutcome;
  readonly logs: readonly string[];
  readonly pids: readonly (number | null)[];
}

function run(dir: string, resource: string, action: Action, timeoutMs = 0): Promise<Run> {
  const logs: string[] = [];
  const pids: (number | null)[] = [];
  const host: ScriptHost = {
    root: dir,
    env: { HA_CURHOST: 'node-a', HA_t: 'status' },
    timeoutMs,
    log: (level, text) => logs.push(`${level}: ${text}`),
    running: (pid) => pids.push(pid),
  };
  return new Promise((resolve) =>
    runScript(host, parseHaResource(resource), action, (outcome) =>
      resolve({ outcome, logs, pids }),
    ),
  );
}

test('arguments, environment and output', async (t) => {
  const dir = root(t, {
    'ha.d/resource.d/R': 'echo "$# $1 $2 $3 $HA_CURHOST"; echo err >&2; exit 3',
  });
  const { outcome, logs, pids } = await run(dir, 'R::x::y', 'status');
  t.deepEqual(outcome, { exitStatus: 3, output: '3 x y status node-a\nerr\n', failure: null });
  t.true(logs.some((l) => l.endsWith('/etc/ha.d/resource.d/R x y status')));
  t.is(typeof pids[0], 'number');
  t.is(pids[1], null);
});

test('resource.d goes before init.d, and ours between them', async (t) => {
  const dir = root(t, {
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
  const dir = root(t, {});
  writeFileSync(join(dir, 'etc/ha.d/resource.d/R'), '#!/bin/sh\n', { mode: 0o644 });
  for (const name of ['R', 'nosuch']) {
    const { outcome } = await run(dir, name, 'start');
    t.deepEqual(outcome, { exitStatus: null, output: '', failure: 'missing' });
  }
});

test('a file without interpreter line is run by sh; one with a missing interpreter is missing', async (t) => {
  const dir = root(t, {});
  writeFileSync(join(dir, 'etc/ha.d/resource.d/R'), 'exit 7\n', { mode: 0o755 });
  t.is((await run(dir, 'R', 'start')).outcome.exitStatus, 7);
  writeFileSync(join(dir, 'etc/ha.d/resource.d/S'), '#!/no/such/shell\n', { mode: 0o755 });
  t.is((await run(dir, 'S', 'start')).outcome.failure, 'missing');
});

test('a script that hangs is killed with its children when its time is over', async (t) => {
  const dir = root(t, { 'ha.d/resource.d/R': 'sleep 1000 & sleep 1000' });
  const { outcome, logs } = await run(dir, 'R', 'stop', 100);
  t.is(outcome.failure, 'killed');
  t.is(outcome.exitStatus, null);
  t.true(logs.some((l) => l.includes('does not end: killed')));
});

// A service inherits the script's output. With a pipe its next line after heartbeat's end would kill it.
test('a service left behind does not hold the script up', async (t) => {
  const dir = root(t, { 'ha.d/resource.d/R': 'sleep 1000 & echo $!; exit 0' });
  const { outcome } = await run(dir, 'R', 'start');
  t.like(outcome, { exitStatus: 0, failure: null });
  t.regex(outcome.output, /^\d+\n$/);
  t.notThrows(() => process.kill(Number(outcome.output), 'SIGKILL'), 'it still runs');
});

// With a call that waits there would be no keepalive, and no end of this test.
test('a directory of scripts that hangs holds nobody up; the script runs when it answers', async (t) => {
  if (!need(t, 'root', 'fuse', 'mount')) return;
  const dir = root(t, { 'init.d/R': 'echo running' });
  const hung = hangDirectory(join(dir, 'etc/ha.d/resource.d'));
  t.teardown(() => hung.release());
  const limited = await run(dir, 'R', 'status', 100);
  t.deepEqual(limited.outcome, { exitStatus: null, output: '', failure: 'killed' });
  t.deepEqual(limited.pids, [], 'it was not begun');
  const patient = run(dir, 'R', 'status');
  hung.release();
  t.is((await patient).outcome.output, 'running\n');
});

test('an interpreter that hangs holds nobody up, and its time is limited, too', async (t) => {
  if (!need(t, 'root', 'fuse', 'mount')) return;
  const dir = root(t, {});
  const hung = hangDirectory(join(dir, 'hung'));
  t.teardown(() => hung.release());
  const path = join(dir, 'etc/ha.d/resource.d/R');
  writeFileSync(path, `#!${join(dir, 'hung/sh')}\n`, { mode: 0o755 });
  const { outcome, pids } = await run(dir, 'R', 'start', 3000); // it is looked for within that, also on a busy machine
  t.is(outcome.failure, 'killed');
  t.is(typeof pids[0], 'number');
});
