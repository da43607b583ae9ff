/** A check asks the script's `monitor`, or its `status`; the answer comes in time, and nothing of a killed one is left. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { parseHaResource } from '../../src/config/haresources.js';
import { loadStanding } from '../../src/host/heartbeat-state.js';
import { checkAnswer, endChecks, hasMonitor } from '../../src/real/answer-check.js';
import { standingAnswer } from '../../src/real/answer-standing.js';
import { livesFiles, processStart, STANDING_FILE } from '../../src/real/heartbeat-files.js';
import type { ScriptOutcome } from '../../src/resource-manager/group-operation.js';
import { parseStanding, type Standing } from '../../src/resource-manager/standing.js';
import { DEFAULT_CONFIG } from '../../src/sim/config.js';
import { heartbeatTexts, readHeartbeatTexts } from '../../src/sim/heartbeat-config.js';
import { until } from '../support/until.js';

const { config } = readHeartbeatTexts('alpha', heartbeatTexts(DEFAULT_CONFIG));

function root(t: ExecutionContext, scripts: Readonly<Record<string, string>>): string {
  const dir = mkdtempSync(join(tmpdir(), 'answer-check-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, 'etc/ha.d/resource.d'), { recursive: true });
  for (const [name, text] of Object.entries(scripts)) {
    const path = join(dir, 'etc/ha.d/resource.d', name);
    writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }
  return dir;
}

type Check = (resource: string, timeoutMs?: number) => Promise<ScriptOutcome>;

function checkOf(t: ExecutionContext, dir: string): Check {
  if (!config) return t.fail('the configuration is read') as never;
  const check = checkAnswer(dir);
  return (text, timeoutMs = 10_000) =>
    new Promise((done) => {
      check(config, { resource: parseHaResource(text), timeoutMs }, done);
    });
}

test('monitor: by its exit status, whatever it says', async (t) => {
  const dir = root(t, {
    R: 'case $2 in\nstatus | monitor) echo "not running: $1 $HA_CURHOST"; exit "$1" ;;\nesac',
  });
  const check = checkOf(t, dir);
  for (const exitStatus of [0, 1, 3, 7, 10]) {
    const output = `not running: ${exitStatus} alpha\n`;
    t.deepEqual(await check(`R::${exitStatus}`), { exitStatus, output, failure: null });
  }
});

test('a script without monitor: status, by its words', async (t) => {
  const dir = root(t, {
    R: 'case $2 in\nstatus) echo "$1"; exit 1 ;;\nmonitor-all) exit 1 ;;\n*) echo usage; exit 0 ;;\nesac',
  });
  const check = checkOf(t, dir);
  const of = async (words: string) => (await check(`R::${words}`)).exitStatus;
  t.is(await of('running'), 0);
  t.is(await of('is OK'), 0);
  t.is(await of('not running'), 3);
  t.is(await of('stopped'), 3);
  t.is(await of('usage'), 3);
  t.is((await check('gone')).failure, 'missing');
  const silent = checkOf(t, root(t, { R: 'case $1 in status) exit 1 ;; esac' }));
  t.is((await silent('R')).exitStatus, 1, 'neither running nor stopped: recover does not take it');
});

test('which scripts have monitor: a label of a case, and ours by their place', async (t) => {
  for (const name of ['mysql', 'Filesystem', 'drbddisk', 'portblock', 'MailTo', '.addresses']) {
    t.true(hasMonitor(readFileSync(`resource.d/${name}`, 'latin1')), name);
  }
  t.true(hasMonitor('  "monitor")\n'));
  t.true(hasMonitor('start|monitor|status)\n'));
  t.true(hasMonitor('case $1 in monitor) exit 0 ;; esac'));
  t.true(hasMonitor('start) exit 0 ;; (monitor) exit 0 ;;'));
  for (const text of ['monitor() {\n', '# monitor)\n', 'x=$(ask monitor)\n', 'say monitor)\n']) {
    t.false(hasMonitor(text), text);
  }
  const dir = root(t, {});
  symlinkSync(resolve('resource.d/IPaddr'), join(dir, 'etc/ha.d/resource.d/IPaddr'));
  const { exitStatus, output } = await checkOf(t, dir)('IPaddr::192.0.2.77/24/lo');
  t.is(exitStatus, 3, output);
});

test('one that hangs: killed with all that it started, and answered in time', async (t) => {
  const dir = root(t, {
    R: 'case $1 in monitor) sleep 300 & echo $! >>"$0.pids"; echo begun; wait ;;\nesac',
  });
  const check = checkOf(t, dir);
  const pids = join(dir, 'etc/ha.d/resource.d/R.pids');
  const startMs = performance.now();
  const { failure } = await check('R', 1000);
  t.is(failure, 'killed');
  t.true(performance.now() - startMs < 5000);
  t.true(existsSync(pids));
  const child = Number(readFileSync(pids, 'utf8'));
  await until(() => processStart(child) === null, 'the end of what the check started');
});

test('one that cannot even be started is missing, and leaves no descriptor', async (t) => {
  const check = checkOf(t, root(t, { R: '' }));
  const before = readdirSync('/proc/self/fd').length;
  for (let i = 0; i < 20; i++) t.is((await check('R::a\0b')).failure, 'missing');
  t.true(readdirSync('/proc/self/fd').length < before + 20);
});

test('a program that is no script holds nobody up while a label is looked for', (t) => {
  const startMs = performance.now();
  t.false(hasMonitor(' '.repeat(200_000)));
  t.true(performance.now() - startMs < 1000);
});

test('a daemon that ends ends its checks', async (t) => {
  const dir = root(t, { R: 'case $1 in monitor) echo $$ >"$0.pid"; exec sleep 300 ;;\nesac' });
  const running = new Set<number>();
  const check = checkAnswer(dir, running);
  if (!config) return t.fail();
  const outcome = new Promise<ScriptOutcome>((done) => {
    check(config, { resource: parseHaResource('R'), timeoutMs: 60_000 }, done);
  });
  const pid = join(dir, 'etc/ha.d/resource.d/R.pid');
  await until(() => existsSync(pid) && readFileSync(pid, 'utf8') !== '', 'the check');
  t.deepEqual([...running], [Number(readFileSync(pid, 'utf8'))]);
  endChecks(running);
  t.is((await outcome).failure, 'killed');
  t.is(running.size, 0);
});

test('a standing that cannot be read is no permission: FAILED_OFFLINE, and said', (t) => {
  const dir = root(t, {});
  mkdirSync(dir + STANDING_FILE, { recursive: true });
  const failures: string[] = [];
  t.is(loadStanding(livesFiles(dir, (text) => failures.push(text))).state, 'FAILED_OFFLINE');
  t.regex(failures.join('\n'), /^cannot read .*heartbeat\.standing: EISDIR/);
});

test('the standing is on disk when the answer comes; a second write at the same time is refused', async (t) => {
  const dir = root(t, {});
  const failures: string[] = [];
  const keep = standingAnswer(dir, (text) => failures.push(text));
  if (!config) return t.fail();
  const read = () => {
    const content = livesFiles(dir).read('standing');
    return parseStanding(content && new TextDecoder().decode(content));
  };
  t.deepEqual(read(), { state: 'ok' });
  const standing: Standing = { state: 'FAILED_OFFLINE', why: 'mysql: does not answer' };
  const first = new Promise((done) => keep(config, { standing }, done));
  const second = new Promise((done) => keep(config, { standing: { state: 'ok' } }, done));
  t.false(await second);
  t.true(await first);
  t.deepEqual(read(), standing);
  t.deepEqual(failures, []);

  // Where nothing can be written: said, with its place.
  rmSync(join(dir, 'var'), { recursive: true });
  writeFileSync(join(dir, 'var'), '');
  t.false(await new Promise((done) => keep(config, { standing }, done)));
  t.true(failures[0]?.startsWith(STANDING_FILE), failures[0]);
});
