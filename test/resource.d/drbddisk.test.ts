/**
 * drbddisk: tries, words and exit codes as the script of drbd-utils has them. drbdadm is played by a small program that
 * notes its calls; the real one is used in test/integration and by the demo.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { judged, script } from './room.js';

function room(t: ExecutionContext, drbdadm: string) {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-drbddisk-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const program = (name: string, text: string): void => {
    writeFileSync(join(dir, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(dir, name), 0o755);
  };
  const trace = join(dir, 'trace');
  program('drbdadm', `echo "$*" >>${trace}\n${drbdadm}`);
  program('sleep', `echo "sleep $*" >>${trace}`); // one-second pauses between tries
  return (...args: string[]) => {
    rmSync(trace, { force: true });
    const done = spawnSync(script('drbddisk'), args, {
      env: { PATH: `${dir}:${process.env['PATH'] ?? ''}`, DRBDADM: join(dir, 'drbdadm') },
      encoding: 'utf8',
    });
    const calls = existsSync(trace) ? readFileSync(trace, 'utf8').trim().split('\n') : [];
    return { status: done.status, out: done.stdout, calls };
  };
}

test('start tries six times, a second apart', (t) => {
  const drbddisk = room(t, 'exit 11');
  const { status, calls } = drbddisk('r0', 'start');
  t.is(status, 1);
  t.is(calls.filter((c) => c === 'primary r0').length, 6);
  t.is(calls.filter((c) => c === 'sleep 1').length, 5);
});

test('start ends with the first success', (t) => {
  const drbddisk = room(t, '[ "$(grep -c primary "$(dirname "$0")/trace")" -ge 3 ]');
  const { status, calls } = drbddisk('r0', 'start');
  t.is(status, 0);
  t.is(calls.filter((c) => c === 'primary r0').length, 3);
});

test('stop tries three times', (t) => {
  const drbddisk = room(t, 'exit 11');
  const { status, calls } = drbddisk('r0', 'stop');
  t.is(status, 1);
  t.is(calls.filter((c) => c === 'secondary r0').length, 3);
});

test('no resource means all, except for status', (t) => {
  const drbddisk = room(t, '');
  t.deepEqual(drbddisk('start').calls, ['primary all']);
  t.deepEqual(drbddisk('stop').calls, ['secondary all']);
  const { status, out, calls } = drbddisk('status');
  t.is(status, 10);
  t.is(out, 'A resource name is required for status inquiries.\n');
  t.is(judged(out), 'stopped'); // so heartbeat starts it
  t.deepEqual(calls, []);
});

for (const [role, words, status, verdict] of [
  ['Primary/Secondary', 'running (Primary)', 0, 'running'],
  ['Primary/Unknown', 'running (Primary)', 0, 'running'],
  ['Primary/Secondary\\nPrimary/Secondary', 'running (Primary)', 0, 'running'],
  ['Secondary/Primary', 'stopped (Secondary)', 3, 'stopped'],
  ['Unconfigured', 'stopped (Unconfigured)', 3, 'stopped'],
  ['Primary/Secondary\\nSecondary/Secondary', 'may be running (Primary Secondary)', 4, 'running'],
] as const) {
  test(`status of ${role} is ${words}`, (t) => {
    const answer = room(t, `printf '${role}\\n'`)('r0', 'status');
    t.regex(answer.out, new RegExp(`${words.replace(/[()]/g, '\\$&')}\n$`));
    t.is(answer.status, status);
    t.is(judged(answer.out), verdict);
    t.deepEqual(room(t, `printf '${role}\\n'`)('r0', 'monitor').out, answer.out);
  });
}

test('other words are a usage error', (t) => {
  const { status, out } = room(t, '')('r0', 'dance');
  t.is(status, 1);
  t.is(out, 'Usage: drbddisk [resource] {start|stop|status}\n');
});
