/**
 * A node whose link is cut is reset before its groups are started elsewhere, by ours as by Debian's; while the reset fails, nothing is.
 * The power switch is the plug-in test/lab/stonith/labpower, and this test behind it.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { HeartbeatLab } from './heartbeat-lab.js';

const TIMING = ['keepalive 200ms', 'deadtime 3', 'warntime 2', 'initdead 10', 'auto_failback off'];
const PLUGINS = '/usr/lib/stonith/plugins/external';
const PASSWORD = 'open-sesame';

interface Switch {
  readonly dir: string;
  /** Of labpower. */
  mode(word: string): void;
  /** How often it was asked to reset a node. */
  resets(): number;
}

/** It cuts off whom the plug-in names, and says so when the host is off. */
function powerSwitch(t: ExecutionContext, off: (host: string) => Promise<void>): Switch {
  const dir = mkdtempSync(join(tmpdir(), 'heartbeat-power-'));
  execFileSync('mkfifo', [join(dir, 'wanted'), join(dir, 'answered')]);
  const loop =
    'while read -r host <wanted; do echo "$host"; read -r off; echo "$host" >answered; done';
  const child = spawn('sh', ['-c', loop], {
    cwd: dir,
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  createInterface(child.stdout).on('line', (host) => {
    void off(host).then(() => child.stdin.write('off\n'));
  });
  t.teardown(() => {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  });
  return {
    dir,
    mode: (word) => writeFileSync(join(dir, 'mode'), word),
    resets: () => readFileSync(join(dir, 'asked'), 'utf8').split('\nreset ').length - 1,
  };
}

async function cutThenFailThenWork(
  t: ExecutionContext,
  shooter: 'ours' | 'original',
): Promise<void> {
  const holder: { lab: HeartbeatLab | null } = { lab: null };
  const power = powerSwitch(t, async (host) => {
    if (host === 'node-a') await holder.lab?.crash(host);
  });
  const device = `stonith_host node-b external/labpower node-a ${power.dir} ${PASSWORD}`;
  const media = 'mcast eth0 239.77.0.1 694 1 0';
  const lab = await HeartbeatLab.up(t, [...TIMING, media, device], 'node-a LabRes::one\n');
  holder.lab = lab;
  const install = `mkdir /run/external && cp -a ${PLUGINS}/. /run/external/ &&
    install -m 755 ${resolve('test/lab/stonith/labpower')} /run/external/ && mount --bind /run/external ${PLUGINS}`;
  for (const host of ['node-a', 'node-b'] as const) {
    t.is((await lab.exec(host, 'sh', '-c', install)).status, 0);
  }
  power.mode('fails');
  const start = (host: 'node-a' | 'node-b', which: 'ours' | 'original') =>
    which === 'ours' ? lab.ours(host, 'heartbeat') : lab.original(host);
  const victim = shooter === 'ours' ? 'original' : 'ours';
  t.is((await start('node-a', victim)).status, 0);
  t.is((await start('node-b', shooter)).status, 0);
  await lab.untilRunning(t, 'one', '');
  await lab.untilSays(t, 'node-a', victim, ['rscstatus'], 'local');
  await lab.until(t, 'node-b is stable', () =>
    /[Ii]nitial resource acquisition complete/.test(lab.log('node-b')),
  );

  await lab.link('cut');
  const failures = () =>
    lab.log('node-b').split('STONITH of node-a failed.  Retrying...').length - 1;
  await lab.until(t, 'three resets that fail', () => failures() === 3);
  t.is(lab.running('node-a'), 'one');
  t.is(lab.running('node-b'), '');
  t.is(power.resets(), 3);

  // `until` fails when it runs on both.
  power.mode('works');
  await lab.untilRunning(t, '', 'one');
  t.regex(lab.log('node-b'), /node node-a now reset\./);
  t.is(power.resets(), 4);
  t.deepEqual(lab.calls('node-b'), ['one start']);

  // The victim survives it.
  await lab.link('heal');
  t.is((await start('node-a', victim)).status, 0);
  await lab.untilSays(t, 'node-b', shooter, ['nodestatus', 'node-a'], 'active');
  await lab.untilSays(t, 'node-b', shooter, ['rscstatus'], 'all');
  await lab.untilSays(t, 'node-a', victim, ['rscstatus'], 'none');
  t.is(lab.running('node-b'), 'one');
  t.false(`${lab.log('node-a')}${lab.log('node-b')}`.includes(PASSWORD));
}

const NEEDS = [
  'root',
  'netns',
  'nsenter',
  '/usr/sbin/stonith',
  '/usr/libexec/heartbeat/heartbeat',
  'cc',
];

for (const shooter of ['ours', 'original'] as const) {
  const [who, whom] = shooter === 'ours' ? ['ours', "Debian's"] : ["Debian's", 'ours'];
  test.serial(
    `${who} resets ${whom} before it takes over, and takes nothing while the reset fails`,
    async (t) => {
      if (need(t, ...NEEDS)) await cutThenFailThenWork(t, shooter);
    },
  );
}
