/** Two nodes of twinbeat change their keys, from sha1 to sha256, while a service runs: nobody is missed, nothing moves. */
import test from 'ava';
import { HeartbeatLab, type Host } from '../integration/heartbeat-lab.js';
import { need } from '../support/need.js';

const TIMING = ['keepalive 200ms', 'deadtime 4', 'warntime 2', 'initdead 4', 'auto_failback off'];
const BOTH: readonly Host[] = ['node-a', 'node-b'];
const OLD = '1 sha1 of-the-tests';
const NEW = '2 sha256 of-later-tests';

test('a new key on both, then its use on each, then the old one goes: as docs/CONFIGURATION.md has it', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter')) return;
  const lab = await HeartbeatLab.up(t, [...TIMING, 'bcast eth0'], 'node-a LabRes::one\n');
  for (const host of BOTH) await lab.ours(host, 'heartbeat');
  await lab.untilRunning(t, 'one', '');
  for (const host of BOTH) {
    for (const peer of BOTH) await lab.untilSays(t, host, 'ours', ['nodestatus', peer], 'active');
  }
  await lab.untilSays(t, 'node-a', 'ours', ['rscstatus'], 'local');

  const rereads = (host: Host) => lab.log(host).split('Rereading authentication file.').length;
  const take = async (host: Host, ...lines: readonly string[]) => {
    const before = rereads(host);
    await lab.exec(host, 'sh', '-c', `printf '%s\\n' "$@" >/etc/ha.d/authkeys`, 'sh', ...lines);
    const ran = await lab.ours(host, 'heartbeat', '-r');
    t.is(ran.status, 0, ran.out);
    await lab.until(t, `${host} reads its keys`, () => rereads(host) > before);
  };
  const steps: readonly (readonly string[])[] = [
    ['auth 1', OLD, NEW],
    ['auth 2', OLD, NEW],
    ['auth 2', NEW],
  ];
  for (const lines of steps) for (const host of BOTH) await take(host, ...lines);

  // They compare their files. What drbdadm says, if anything, is of this machine.
  for (const host of BOTH) {
    const others = async () => {
      const { out } = await lab.ours(host, 'twinbeat', 'status', '--json');
      const { files } = JSON.parse(out) as { files: Readonly<Record<string, string>> };
      const names = Object.keys(files).filter((file) => file !== 'drbd.conf');
      return names.filter((file) => files[file] !== 'same');
    };
    await lab.until(t, `${host} knows them`, async () => (await others()).length === 0);
  }

  // What is said from now on is signed with the new key alone.
  t.is((await lab.ours('node-a', 'hb_standby', 'all')).status, 0);
  await lab.untilRunning(t, '', 'one');
  t.deepEqual(
    [lab.calls('node-a'), lab.calls('node-b')],
    [['one start', 'one stop'], ['one start']],
  );
  for (const host of BOTH) {
    t.notRegex(lab.log(host), /is dead|after partition|restart on node/, host);
    t.is(lab.log(host).split('Heartbeat generation:').length, 2, 'one life');
  }
});
