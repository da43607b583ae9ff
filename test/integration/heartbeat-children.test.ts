/** Children and event scripts of a daemon that has a machine for itself: the reboot of a failfast, harc, a client beside Debian's. */
import { appendFileSync, chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import test from 'ava';
import { need } from '../support/need.js';
import { HeartbeatLab, type Host } from './heartbeat-lab.js';

const HA_CF = ['keepalive 200ms', 'deadtime 3', 'warntime 1', 'initdead 10', 'auto_failback off'];
const GROUPS = 'node-a LabRes::one\nnode-b LabRes::two\n';
const CLIENT = resolve('build/test/integration/api-client.js');

test.serial('a failfast that ends reboots the machine; harc runs an event script', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter', 'setpriv', '/etc/ha.d/harc')) return;
  const lab = await HeartbeatLab.up(
    t,
    [...HA_CF, 'bcast eth0', 'failfast root /bin/sleep 3600'],
    GROUPS,
  );
  const script = `${lab.root('node-a')}/etc/ha.d/rc.d/hello`;
  mkdirSync(`${lab.root('node-a')}/etc/ha.d/rc.d`, { recursive: true });
  writeFileSync(script, '#!/bin/sh\necho "$* $HA_word $HA_OSTATUS" >>/var/log/events\n');
  chmodSync(script, 0o755);
  await lab.ours('node-a', 'heartbeat');
  await lab.until(t, 'the child runs', () =>
    lab.log('node-a').includes('Starting child client "/bin/sleep 3600" (0,0)'),
  );
  const fifo = `${lab.root('node-a')}/var/lib/heartbeat/fifo`;
  appendFileSync(fifo, '>>>\nt=hello\nword=world\n<<<\n');
  await lab.until(t, 'the event script ran', async () => {
    return (await lab.exec('node-a', 'cat', '/var/log/events')).out === 'hello world active\n';
  });

  const ours = await lab.exec('node-a', 'pgrep', '-f', '^/bin/sleep 3600$');
  await lab.exec('node-a', 'kill', ours.out.trim());
  await lab.until(t, 'the reboot is asked for', async () => {
    return (await lab.exec('node-a', 'cat', '/var/log/reboot-asked')).out.includes('reboot -nf');
  });
  t.regex(lab.log('node-a'), /CRIT: Rebooting: \/sbin\/reboot -nf/);
});

test.serial('a client of ours and its namesake on a node of Debian hear each other', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter', 'cc', '/usr/libexec/heartbeat/heartbeat')) return;
  const lab = await HeartbeatLab.up(t, [...HA_CF, 'bcast eth0', 'apiauth foo uid=root'], GROUPS);
  await Promise.all([lab.ours('node-a', 'heartbeat'), lab.original('node-b')]);
  await lab.untilSays(t, 'node-a', 'ours', ['rscstatus'], 'local');
  await lab.untilSays(t, 'node-b', 'original', ['rscstatus'], 'local');
  const run = (host: Host) => lab.exec(host, process.execPath, CLIENT, 'foo', host);
  const [a, b] = await Promise.all([run('node-a'), run('node-b')]);
  t.deepEqual(a, { out: 'node-b node-b foo foo\n', status: 0 });
  t.deepEqual(b, { out: 'node-a node-a foo foo\n', status: 0 });
  const other = await lab.exec('node-a', process.execPath, CLIENT, 'bar', 'node-a');
  t.deepEqual(other, { out: 'sent away\n', status: 1 }, 'nobody may be bar');
});
