/**
 * What a mixed pair has to go through, second half: networks, scripts and disks that fail, and a configuration that is read again.
 * As heartbeat-scenarios.ts.
 */
import { existsSync } from 'node:fs';
import { ALL, LABRES, type Scenario } from './heartbeat-scenarios.js';
import type { MixedPair, Seat } from './heartbeat-seats.js';

const TWO_LINKS = ['mcast eth0 239.77.0.1 694 1 0', 'mcast eth1 239.77.0.2 695 1 0'];
const RELOAD = ['heartbeat', '-r'] as const;

function fails(what: string): never {
  throw new Error(what);
}

/** Both say that of the other's link. */
async function linkIs(pair: MixedPair, device: string, state: 'up' | 'dead'): Promise<void> {
  for (const seat of pair.seats)
    await pair.untilSays(seat, ['hblinkstatus', pair.other(seat).host, device], state);
}

/** No script was called but for their status, whatever `work` does. */
async function untouched(pair: MixedPair, work: () => Promise<void>): Promise<void> {
  const calls = () => pair.seats.map(({ host }) => pair.lab.calls(host).join(', ')).join(' / ');
  const before = calls();
  await work();
  if (calls() !== before) fails(`something was started or stopped: ${before}, then ${calls()}`);
}

const PARTITION: Scenario = {
  name: 'partition and heal',
  async play(pair) {
    await pair.start();
    await pair.cut();
    await pair.until('each has it all', () => pair.seats.every(({ running }) => running === ALL));
    for (const seat of pair.seats) {
      await pair.untilSays(seat, ['nodestatus', pair.other(seat).host], 'dead');
      await pair.untilSays(seat, ['rscstatus'], 'all');
    }
    await pair.heal();
    for (const seat of pair.seats)
      await pair.untilLogs(seat, /Cluster node .* returning after partition/);
    // Both give everything up, pause, and start anew: a fifth of a minute.
    await pair.until('each has given up', () => {
      const stops = (seat: Seat) => pair.lab.calls(seat.host).filter((call) => / stop$/.test(call));
      return pair.seats.every((seat) => stops(seat).length >= 3);
    });
    await pair.settled('one two', 'three');
    await pair.move(pair.a, 'hb_standby', 'all', '', ALL);
  },
};

/** A third of what a node receives is lost while `work` is done. */
async function lossy(pair: MixedPair, seat: Seat, work: () => Promise<void>): Promise<void> {
  const path = '/etc/ha.d/OnlyForTesting';
  await seat.sh(`printf 'rcvloss=0.3\\n' >${path}`);
  await seat.must(...RELOAD);
  await pair.untilLogs(seat, /Receive loss probability = 0\.300/);
  const before = seat.logged(/lost packet\(s\) for/);
  await work();
  await pair.untilLogs(seat, /lost packet\(s\) for/, before + 5);
  await pair.untilLogs(seat, /No pkts missing from/);
  await seat.sh(`rm ${path}`);
  await seat.must(...RELOAD);
  await pair.untilLogs(seat, /Test Code Now disabled/);
}

/**
 * The original acts on messages as they arrive, also on one that was sent again after a later one. Two of them that hand over under
 * loss end, about one time in three, with a node for which the other is in transition for ever. So nothing moves while it is an
 * original that loses.
 */
const LOSS: Scenario = {
  name: '30 % loss at either: hand-overs, no death',
  async play(pair) {
    const { a, b } = pair;
    await pair.start();
    for (const seat of pair.seats)
      await lossy(pair, seat, async () => {
        if (seat.program === 'original') return;
        await pair.move(a, 'hb_standby', 'all', '', ALL);
        await pair.move(a, 'hb_takeover', 'all', ALL, '');
        await pair.move(b, 'hb_takeover', 'local', 'one two', 'three');
        await pair.move(b, 'hb_standby', 'all', ALL, '');
        await pair.move(a, 'hb_standby', 'foreign', 'one two', 'three');
      });
    await pair.move(a, 'hb_standby', 'all', '', ALL);
    for (const seat of pair.seats)
      if (seat.logged(/: is dead/) > 0) fails(`${seat} lost the other`);
  },
};

/** The original gives away `foreign`, which is not what failed: the group stays stopped, and both go on saying `local`. */
const START_FAILS: Scenario = {
  name: 'start fails: the group stops, and moves 30 s later',
  async play(pair) {
    const { a, b } = pair;
    await a.sh(`touch ${LABRES}/fail-start-two`);
    await Promise.all(pair.seats.map((seat) => seat.start()));
    await pair.untilLogs(a, /Giving up resources due to failure of LabRes::two/);
    if (a.program === 'ours') await pair.settled('', ALL);
    else {
      await pair.untilLogs(a, /Other node completed standby takeover of foreign resources/);
      await pair.settled('', 'three', ['local', 'local']);
    }
    const calls = pair.lab.calls('node-a').slice(0, 4).join(', ');
    if (calls !== 'one start, two start, two stop, one stop') fails(`node-a: ${calls}`);
    // An operator: what can start now is started.
    await a.sh(`rm ${LABRES}/fail-start-two`);
    if (a.program === 'ours') await pair.move(a, 'hb_takeover', 'local', 'one two', 'three');
    else await pair.move(a, 'hb_standby', 'local', '', ALL);
    await pair.move(b, 'hb_standby', 'all', ALL, '');
  },
};

const STOP_FAILS: Scenario = {
  name: 'stop fails 11 times: a reboot, then the other takes over',
  async play(pair) {
    const { a } = pair;
    await pair.start();
    await a.sh(`touch ${LABRES}/fail-stop-one`);
    await a.must('hb_standby', 'all');
    const asked = `${pair.lab.root('node-a')}/var/log/reboot-asked`;
    await pair.until('a reboot is asked for', () => existsSync(asked));
    const stops = pair.lab.calls('node-a').filter((call) => call === 'one stop').length;
    if (stops !== 11) fails(`${stops} calls of stop`);
    if (a.running !== 'one' || pair.b.running !== 'three') fails('it was handed over all the same');
    if (!/reboot -nf/.test(await a.sh('cat /var/log/reboot-asked'))) fails('no reboot -nf');
    await a.crash(); // what the reboot does
    await pair.settled('', ALL);
    await pair.untilSays(pair.b, ['nodestatus', 'node-a'], 'dead');
    await a.sh(`rm ${LABRES}/fail-stop-one`);
    await a.start();
    await pair.settled('', ALL);
  },
};

const LINKS: Scenario = {
  name: 'a link dies and returns: nothing moves by itself',
  haCf: TWO_LINKS,
  async play(pair) {
    await pair.start();
    for (const device of ['eth0', 'eth1']) await linkIs(pair, device, 'up');
    await untouched(pair, async () => {
      await pair.lab.link('cut', 1);
      await linkIs(pair, 'eth0', 'dead');
      await linkIs(pair, 'eth1', 'up');
      await pair.settled('one two', 'three');
    });
    await pair.move(pair.a, 'hb_standby', 'all', '', ALL);
    await pair.lab.link('heal', 1);
    await linkIs(pair, 'eth0', 'up');
    await untouched(pair, async () => {
      await pair.lab.cable('node-b', 2, 'down');
      await linkIs(pair, 'eth1', 'dead');
      await pair.settled('', ALL);
      await pair.lab.cable('node-b', 2, 'up');
      await linkIs(pair, 'eth1', 'up');
    });
    await pair.move(pair.b, 'hb_standby', 'foreign', 'one two', 'three');
    for (const seat of pair.seats)
      if (seat.logged(/node-[ab]: is dead/) > 0) fails(`${seat}: a death`);
  },
};

const ADDRESS = '10.77.0.30';

const RELOADS: Scenario = {
  name: 'reload of ha.cf, authkeys, nothing; an address is held',
  haresources: `node-a LabRes::one LabRes::two IPaddr::${ADDRESS}/24/eth0\nnode-b LabRes::three\n`,
  // Longer than a busy machine needs from the first node's new key to the second's.
  haCf: ['deadtime 10', 'warntime 5'],
  needs: ['ip', 'ifconfig'],
  async play(pair) {
    const { a, b } = pair;
    await pair.start();
    const held = () => a.sh(`ip -o addr show to ${ADDRESS}`);
    await pair.until('the address', async () => (await held()) !== '');
    await a.sh('ip -o monitor address >/var/log/addresses 2>&1 </dev/null &');
    await untouched(pair, async () => {
      for (const seat of pair.seats) {
        const other = pair.other(seat);
        await seat.sh('echo hopfudge 2 >>/etc/ha.d/ha.cf'); // ours takes nothing anew for a comment
        await seat.must(...RELOAD);
        await pair.untilLogs(other, new RegExp(`Heartbeat restart on node ${seat.host}`));
        await pair.settled('one two', 'three');
      }
      // Both change their key in the same moment, as two of the original must.
      const keys = 'auth 2\\n1 sha1 of-the-tests\\n2 sha1 the-next-one\\n';
      await Promise.all(pair.seats.map((seat) => seat.sh(`printf '${keys}' >/etc/ha.d/authkeys`)));
      await Promise.all(pair.seats.map((seat) => seat.sh('kill -HUP $(cat /run/heartbeat.pid)')));
      for (const seat of pair.seats) await pair.untilLogs(seat, /Rereading authentication file/);
      await pair.settled('one two', 'three');
      for (const seat of pair.seats) {
        const before = seat.logged(/Configuration unchanged/);
        await seat.must(...RELOAD);
        await pair.untilLogs(seat, /Configuration unchanged/, before + 1);
      }
      await pair.settled('one two', 'three');
    });
    if ((await held()) === '') fails('the address is gone');
    // An address that goes would have been seen.
    await a.sh('ip addr add 10.77.1.1/32 dev lo && ip addr del 10.77.1.1/32 dev lo');
    const gone = async () =>
      (await a.sh('cat /var/log/addresses')).split('\n').filter((line) => /^Deleted/.test(line));
    await pair.until('the deletion in the monitor', async () => (await gone()).length > 0);
    if ((await gone()).length > 1) fails(`an address went: ${(await gone()).join('\n')}`);
    for (const seat of pair.seats) if (seat.logged(/: is dead/) > 0) fails(`${seat}: a death`);
    // With the new key they still understand each other, also what is not a heartbeat.
    await pair.move(a, 'hb_standby', 'all', '', ALL);
    if ((await held()) !== '') fails(`node-a still has ${ADDRESS}`);
    await pair.until('it moved', async () => (await b.sh(`ip -o addr show to ${ADDRESS}`)) !== '');
  },
};

const PING = '192.168.77.254'; // the switch, on link 1

const IPFAIL: Scenario = {
  name: 'ipfail: who loses the ping node gives up everything',
  haCf: [...TWO_LINKS, `ping ${PING}`, 'respawn hacluster /usr/libexec/heartbeat/ipfail'],
  needs: ['/usr/libexec/heartbeat/ipfail', 'ping'],
  async play(pair) {
    await pair.start();
    for (const seat of pair.seats) await pair.untilSays(seat, ['nodestatus', PING], 'ping');
    for (const [cutOff, a, b] of [
      [pair.a, '', ALL],
      [pair.b, ALL, ''],
    ] as const) {
      await pair.lab.cable(cutOff.host, 1, 'down');
      await pair.untilSays(cutOff, ['nodestatus', PING], 'dead');
      await pair.settled(a, b);
      await untouched(pair, async () => {
        await pair.lab.cable(cutOff.host, 1, 'up');
        await linkIs(pair, 'eth0', 'up');
        for (const seat of pair.seats) await pair.untilSays(seat, ['nodestatus', PING], 'ping');
        await pair.settled(a, b);
      });
    }
  },
};

/** Exit status of the other node's drbdadm, and of drbd-peer-outdater here. */
const OUTDATED = [
  [0, 4],
  [5, 3],
  [17, 6],
  [1, 20],
] as const;

const DOPD: Scenario = {
  name: 'dopd: exit statuses 4, 3, 6, 20, 5, asked by each',
  haCf: [
    'respawn hacluster /usr/libexec/heartbeat/dopd',
    'apiauth dopd gid=haclient uid=hacluster',
  ],
  needs: [...['dopd', 'drbd-peer-outdater'].map((name) => `/usr/libexec/heartbeat/${name}`)],
  async play(pair) {
    for (const seat of pair.seats)
      await seat.sh(`mkdir -p /run/bin && touch /run/outdated && chmod 666 /run/outdated
        printf '#!/bin/sh\\necho "$*" >>/run/outdated; exit $(cat /run/outdate-status)\\n' >/run/bin/drbdadm
        chmod 755 /run/bin/drbdadm`);
    await pair.start();
    // Ours first: the original's dopd is away for a moment after each of its own requests.
    for (const seat of [...pair.seats].sort((x, y) => y.program.localeCompare(x.program))) {
      const other = pair.other(seat);
      for (const [drbdadm, exit] of OUTDATED) {
        await other.sh(`echo ${drbdadm} >/run/outdate-status`);
        await outdates(pair, seat, other.host.toUpperCase(), exit);
      }
      const asked = await other.sh('cat /run/outdated');
      if (asked !== 'outdate r0\n'.repeat(OUTDATED.length)) fails(`${other} was asked: ${asked}`);
      await outdates(pair, seat, 'nosuch', 5);
    }
    await pair.b.crash();
    await pair.untilSays(pair.a, ['nodestatus', 'node-b'], 'dead');
    await outdates(pair, pair.a, 'node-b', 5);
  },
};

/** The original's dopd crashes when it has served, and is back a second later: who asks in between is told 5, and asks again. */
async function outdates(pair: MixedPair, seat: Seat, peer: string, exit: number): Promise<void> {
  const ask = () => seat.run('drbd-peer-outdater', '-p', peer, '-r', 'r0', '-t', '10');
  let said = await ask();
  if (seat.program === 'original' && exit !== 5)
    await pair.until(`${seat}: drbd-peer-outdater -p ${peer} ends with ${exit}`, async () => {
      if (said.status === 5) said = await ask();
      return said.status !== 5;
    });
  if (said.status !== exit) fails(`${seat}: ${said.status} instead of ${exit}\n${said.out}`);
}

export const FAULTS: readonly Scenario[] = [
  ...[PARTITION, START_FAILS, STOP_FAILS, LOSS, LINKS, RELOADS, IPFAIL, DOPD],
];
