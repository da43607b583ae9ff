/** The demo itself, with and without root: exit status 0 and a last line in which nothing is lost. */
import test, { type ExecutionContext } from 'ava';
import { run } from '../../src/cli/pair-run.js';
import { need } from '../support/need.js';

const PROGRAM = [process.execPath, 'build/src/bin/twinbeat.js', 'demo'];
const LAST =
  /^demo: (\d+) rows acknowledged, (\d+) found, 0 lost; switchover [\d.]+ s; failover [\d.]+ s \(deadtime \d+ s\)$/;

function verdict(t: ExecutionContext, stdout: string): void {
  const line = stdout.trimEnd().split('\n').at(-1) ?? '';
  t.log(line);
  const [, acknowledged, found] = LAST.exec(line) ?? [];
  t.truthy(acknowledged, stdout.slice(-4_000));
  t.is(found, acknowledged);
  t.true(Number(acknowledged) >= 600); // three times a client in full swing
}

test.serial('make demo', async (t) => {
  const wants = ['root', 'loop', 'fuse', 'netns', 'ip', 'mkfs.ext4', 'losetup', 'nsenter'];
  if (!need(t, ...wants, 'mariadbd', 'mariadb-install-db')) return;
  const ran = await run([...PROGRAM, '--size', '256'], { timeoutMs: 400_000 });
  t.is(ran.status, 0, ran.stderr);
  verdict(t, ran.stdout);
  t.regex(ran.stdout, /# hb_standby/);
  t.regex(ran.stdout, /replication:Established peer-disk:UpToDate/);
});

test.serial('make demo without root', async (t) => {
  const nobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
  const isRoot = process.getuid?.() === 0;
  if (isRoot && !need(t, 'setpriv')) return;
  const env = { PATH: process.env['PATH'] ?? '', HOME: '/tmp' };
  const argv = isRoot ? [...nobody, ...PROGRAM] : PROGRAM;
  const ran = await run(argv, { timeoutMs: 300_000, env });
  t.is(ran.status, 0, ran.stderr + ran.stdout.slice(-4_000));
  verdict(t, ran.stdout);
  t.regex(ran.stdout, /Left out: block device and mount/);
});
