/**
 * One group of every kind of resource on two real daemons in namespaces: a script, a unit of systemd, and two of Debian's OCF
 * agents. systemd is not pid 1 there: systemctl is a stand-in, which keeps the state of a unit in /run/units.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { HeartbeatLab, type Host } from './heartbeat-lab.js';

const HEARTBEAT = resolve('build/bin/heartbeat');
const AGENTS = '/usr/lib/ocf/resource.d/heartbeat';
const ADDRESS = '192.168.77.50';
const GROUP = [
  'node-a LabRes::one systemd::web',
  'ocf::heartbeat:Dummy',
  `ocf::heartbeat:IPaddr2::ip=${ADDRESS}::cidr_netmask=24::nic=eth0`,
].join(' ');
const HA_CF = ['keepalive 200ms', 'deadtime 4', 'warntime 1', 'initdead 4', 'auto_failback off'];

const SYSTEMCTL = `#!/bin/sh
mkdir -p /run/units
for unit; do :; done
echo "$1 $unit" >>/run/units.calls
state=$(cat "/run/units/$unit" 2>/dev/null || echo inactive)
case $1 in
show) printf 'ActiveState=%s\\nSubState=x\\n' "$state" ;;
start) echo active >"/run/units/$unit" ;;
stop) rm -f "/run/units/$unit" ;;
esac
`;

/** What runs there, asked outside of heartbeat. */
async function here(lab: HeartbeatLab, host: Host): Promise<string> {
  const look = `cat /run/units/web 2>/dev/null; ls /run/resource-agents | grep -o ^Dummy; ip -4 -o addr show eth0 | grep -o ${ADDRESS}`;
  const { out } = await lab.exec(host, 'sh', '-c', look);
  return [...(lab.running(host) === '' ? [] : [lab.running(host)]), ...out.trim().split('\n')]
    .filter((word) => word !== '')
    .join(' ');
}

/** A setting of PATH with it in front. */
function standIn(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'systemctl-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'systemctl'), SYSTEMCTL, { mode: 0o755 });
  return `PATH=${dir}:${process.env['PATH'] ?? ''}`;
}

const ALL = `one active Dummy ${ADDRESS}`;

test.serial(
  'a script, a unit and two agents are one group: start, hand-over, a killed daemon, death',
  async (t) => {
    if (!need(t, 'root', 'netns', 'nsenter', `${AGENTS}/Dummy`, `${AGENTS}/IPaddr2`)) return;
    const lab = await HeartbeatLab.up(t, [...HA_CF, 'bcast eth0'], `${GROUP}\n`);
    const path = standIn(t);
    const heartbeat = (host: Host) => lab.exec(host, 'env', path, HEARTBEAT, '--keepalive');
    const runs = (what: string, a: string, b: string) =>
      lab.until(t, what, async () => {
        const [onA, onB] = [await here(lab, 'node-a'), await here(lab, 'node-b')];
        // What node-a has given up, node-b may have taken between the two looks; the other way round it cannot be.
        const again = await here(lab, 'node-a');
        const both = onA.split(' ').filter((w) => w && onB.includes(w) && again.includes(w));
        t.deepEqual(both, [], 'never on both');
        return onA === a && onB === b && again === a;
      });

    t.is((await heartbeat('node-a')).status, 0);
    await runs('all on node-a', ALL, '');
    t.is((await heartbeat('node-b')).status, 0);
    await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'none');
    t.is((await lab.ours('node-a', 'hb_standby')).status, 0);
    await runs('all on node-b', '', ALL);
    await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'all');

    // A successor within deadtime asks, and touches nothing.
    await lab.exec('node-b', 'rm', '/run/units.calls');
    const { out: pid } = await lab.exec('node-b', 'cat', '/run/heartbeat.pid');
    await lab.exec('node-b', 'kill', '-KILL', pid.trim());
    await lab.until(t, 'the successor has asked', async () => {
      const now = await lab.exec('node-b', 'cat', '/run/heartbeat.pid');
      const asked = await lab.exec('node-b', 'cat', '/run/units.calls');
      return now.out.trim() !== pid.trim() && asked.out === 'show web\n';
    });
    await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'all');
    await runs('all on node-b still', '', ALL);
    t.is((await lab.exec('node-b', 'cat', '/run/units.calls')).out, 'show web\n');

    await lab.crash('node-b');
    // A machine without power has neither /run nor an address.
    const off = `rm -rf /run/units /run/resource-agents/*; ip addr del ${ADDRESS}/24 dev eth0`;
    await lab.exec('node-b', 'sh', '-c', off);
    await runs('all on node-a again', ALL, '');
  },
);

test.serial('a unit that has failed is stopped before it is started', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter')) return;
  const lab = await HeartbeatLab.up(
    t,
    [...HA_CF, 'bcast eth0'],
    'node-a LabRes::one systemd::web\n',
  );
  await lab.exec('node-a', 'sh', '-c', 'mkdir /run/units && echo failed >/run/units/web');
  await lab.exec('node-a', 'env', standIn(t), HEARTBEAT);
  await lab.until(t, 'it runs', async () => (await here(lab, 'node-a')) === 'one active');
  const { out } = await lab.exec('node-a', 'cat', '/run/units.calls');
  t.is(out, 'show web\nstop web\nshow web\nstart web\n');
  t.regex(lab.log('node-a'), /systemd::web is neither running nor stopped \(ActiveState=failed\)/);
});
