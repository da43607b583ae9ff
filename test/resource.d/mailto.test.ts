/** MailTo: one mail per take-over and release, and no take-over waits for a mail server. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { judged, script, until } from './room.js';

function mailbox(t: ExecutionContext, mail: string) {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-mailto-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const box = join(dir, 'box');
  writeFileSync(join(dir, 'mail'), `#!/bin/sh\n${mail.replaceAll('BOX', box)}\n`);
  chmodSync(join(dir, 'mail'), 0o755);
  const call = (...args: string[]) =>
    spawnSync(script('MailTo'), args, {
      env: { PATH: `${dir}:${process.env['PATH'] ?? ''}`, STATE_DIR: `${dir}/state` },
      encoding: 'utf8',
      timeout: 60_000,
    });
  return { call, box };
}
const lines = (box: string): string[] =>
  existsSync(box) ? readFileSync(box, 'utf8').trim().split('\n') : [];

test('one mail for a take-over and one for the release', async (t) => {
  const { call, box } = mailbox(t, 'echo "$* | $(cat)" >>BOX');
  const args = ['ops@example.org,boss@example.org', 'The_database'];
  t.is(call(...args, 'stop').status, 0);
  t.is(judged(call(...args, 'status').stdout), 'stopped');
  t.is(call(...args, 'start').status, 0);
  t.is(call(...args, 'start').status, 0);
  t.is(judged(call(...args, 'status').stdout), 'running');
  t.true(await until(() => lines(box).length === 1));
  t.regex(
    lines(box)[0] ?? '',
    /^-s The database: taken over at .* ops@example\.org boss@example\.org \| The database: taken/,
  );
  t.is(call(...args, 'stop').status, 0);
  t.is(call(...args, 'stop').status, 0);
  t.true(await until(() => lines(box).length === 2));
  t.regex(lines(box)[1] ?? '', /given away/);
  t.is(judged(call(...args, 'status').stdout), 'stopped');
});

test('a mail server that hangs holds up nothing', async (t) => {
  const { call, box } = mailbox(t, 'echo $$ >>BOX; exec sleep 1000');
  t.is(call('ops@example.org', 'start').status, 0);
  t.is(judged(call('ops@example.org', 'status').stdout), 'running');
  t.is(call('ops@example.org', 'stop').status, 0);
  t.true(await until(() => lines(box).length === 2));
  for (const pid of lines(box))
    t.notThrows(() => process.kill(Number(pid), 'SIGKILL'), 'it hangs on');
});
