/** Media of heartbeat in namespaces: every kind beside Debian's, interfaces that come and go, ping nodes. */
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { HeartbeatLab } from './heartbeat-lab.js';

const TIMING = ['keepalive 200ms', 'deadtime 4', 'warntime 2', 'initdead 6', 'auto_failback off'];
const GROUPS = 'node-a LabRes::one\n';
const HOSTS = ['node-a', 'node-b'] as const;

/** hb0 on eth0, as a further cable: it can be taken away. */
async function secondInterface(lab: HeartbeatLab, host: (typeof HOSTS)[number]): Promise<void> {
  const address = host === 'node-a' ? '192.168.78.1' : '192.168.78.2';
  const made = await lab.exec(
    host,
    'sh',
    '-ec',
    `ip link add hb0 link eth0 type macvlan mode bridge
    ip addr add ${address}/24 brd + dev hb0; ip link set hb0 up`,
  );
  if (made.status !== 0) throw new Error(made.out);
}

async function linkIs(t: ExecutionContext, lab: HeartbeatLab, device: string, state: string) {
  await lab.untilSays(t, 'node-a', 'ours', ['hblinkstatus', 'node-b', device], state);
  await lab.untilSays(t, 'node-b', 'ours', ['hblinkstatus', 'node-a', device], state);
}

for (const medium of ['mcast hb0 239.77.0.2 694 1 0', 'bcast hb0']) {
  test.serial(`${medium}: an interface that was made anew is used again`, async (t) => {
    if (!need(t, 'root', 'netns', 'nsenter')) return;
    const lab = await HeartbeatLab.up(
      t,
      [...TIMING, 'ucast eth0 192.168.77.1', 'ucast eth0 192.168.77.2', medium],
      GROUPS,
    );
    for (const host of HOSTS) {
      await secondInterface(lab, host);
      t.is((await lab.ours(host, 'heartbeat')).status, 0);
    }
    await linkIs(t, lab, 'eth0', 'up');
    await linkIs(t, lab, 'hb0', 'up');
    t.is((await lab.exec('node-b', 'ip', 'link', 'del', 'hb0')).status, 0);
    await linkIs(t, lab, 'hb0', 'dead');
    await secondInterface(lab, 'node-b');
    await linkIs(t, lab, 'hb0', 'up');
    await linkIs(t, lab, 'eth0', 'up');
    t.deepEqual(lab.calls('node-b'), []);
  });
}

interface Cable {
  readonly device: string;
  readonly line: string; // of ha.cf
  readonly net: string; // what comes before the number of the host
  readonly length: number;
}

const CABLES: readonly Cable[] = [
  { device: 'hb1', line: 'mcast hb1 239.77.0.1 694 1 0', net: '192.168.81.', length: 24 },
  { device: 'hb2', line: 'ucast hb2 192.168.82.PEER', net: '192.168.82.', length: 24 },
  { device: 'hb3', line: 'mcast6 hb3 ff05::77 694 1 0', net: 'fd77:83::', length: 64 },
  { device: 'hb4', line: 'ucast6 hb4 fd77:84::PEER', net: 'fd77:84::', length: 64 },
  { device: 'hb5', line: 'mcast6 hb5 ff02::77 694 1 0', net: 'fd77:85::', length: 64 },
];

/** Interfaces of a host, each with an address in a network of its own. */
function cables(number: 1 | 2): string {
  return CABLES.map(({ device, net, length }) => {
    const add = `ip link add ${device} link eth0 type macvlan mode bridge 2>/dev/null || true`;
    const nodad = net.includes(':') ? 'nodad' : 'brd +';
    const address = `ip addr replace ${net}${number}/${length} ${nodad} dev ${device}`;
    return `${add}; ip link set ${device} up; ${address}`;
  }).join('\n');
}

test.serial(
  "beside Debian's: bcast, mcast, ucast, mcast6, ucast6, each on a cable of its own",
  async (t) => {
    const wants = ['/usr/libexec/heartbeat/heartbeat', '/usr/bin/cl_status'];
    if (!need(t, 'root', 'netns', 'nsenter', 'cc', ...wants)) return;
    const lines = CABLES.flatMap(({ line }) =>
      line.includes('PEER') ? [line.replace('PEER', '1'), line.replace('PEER', '2')] : [line],
    );
    const lab = await HeartbeatLab.up(
      t,
      [...TIMING, 'udpport 694', 'bcast eth0', ...lines],
      GROUPS,
    );
    for (const [host, number] of [
      ['node-a', 1],
      ['node-b', 2],
    ] as const) {
      const made = await lab.exec(host, 'sh', '-ec', cables(number));
      t.is(made.status, 0, made.out);
    }
    await Promise.all([lab.original('node-b'), lab.ours('node-a', 'heartbeat')]);
    const links = ['eth0', ...CABLES.map(({ device }) => device)];
    const sees = async (
      devices: readonly string[],
      state: string,
      which: 'ours' | 'original' = 'ours',
    ) => {
      const [host, other] = which === 'ours' ? HOSTS : ([HOSTS[1], HOSTS[0]] as const);
      for (const device of devices) {
        await lab.untilSays(t, host, which, ['hblinkstatus', other, device], state);
      }
    };
    const both = async (devices: readonly string[], state: string) => {
      await sees(devices, state);
      await sees(devices, state, 'original');
    };
    await both(links, 'up');

    // Each for itself: what is heard on one cable does not count for another. Debian's does not give a link up on which it
    // hears itself (mcast6, ucast with a line for itself): it is asked for the mcast one only.
    for (const device of links.slice(1)) {
      const others = links.filter((other) => other !== device);
      t.is((await lab.exec('node-a', 'ip', 'link', 'set', device, 'down')).status, 0);
      await sees([device], 'dead');
      if (device === 'hb1') await sees([device], 'dead', 'original');
      await sees(others, 'up');
      t.is((await lab.exec('node-a', 'sh', '-ec', cables(1))).status, 0);
      await both([device], 'up');
    }
    t.notRegex(lab.log('node-a'), /node node-b: is dead/);
  },
);

// 6.1: a ping node is a member that answers; a group answers when one of its members does.
test.serial("ping and ping_group, as Debian's sees them", async (t) => {
  const wants = ['/usr/libexec/heartbeat/heartbeat', '/usr/bin/cl_status'];
  if (!need(t, 'root', 'netns', 'nsenter', 'cc', 'ping', ...wants)) return;
  const pings = ['ping 192.168.77.50', 'ping_group routers 192.168.77.51 192.168.77.52'];
  const lab = await HeartbeatLab.up(t, [...TIMING, 'udpport 694', 'bcast eth0', ...pings], GROUPS);
  const addresses = async (verb: 'add' | 'del', ...last: readonly number[]) => {
    for (const n of last) {
      await lab.exec('node-b', 'ip', 'addr', verb, `192.168.77.${n}/32`, 'dev', 'eth0');
    }
  };
  const both = async (node: string, state: string) => {
    await lab.untilSays(t, 'node-a', 'ours', ['nodestatus', node], state);
    await lab.untilSays(t, 'node-b', 'original', ['nodestatus', node], state);
  };
  await addresses('add', 50, 51, 52);
  await Promise.all([lab.original('node-b'), lab.ours('node-a', 'heartbeat')]);
  await both('192.168.77.50', 'ping');
  await both('routers', 'ping');
  t.is((await lab.ours('node-a', 'cl_status', 'nodetype', 'routers')).out.trim(), 'ping');
  await addresses('del', 50, 51);
  await both('192.168.77.50', 'dead');
  await both('routers', 'ping');
  await addresses('del', 52);
  await both('routers', 'dead');
  await addresses('add', 51, 50);
  await both('routers', 'ping');
  await both('192.168.77.50', 'ping');
});

// The other end of a crossover cable is a machine that is down: there is no carrier, and the services have to start.
test.serial(
  'an interface without a carrier, or that is down, does not keep heartbeat from starting',
  async (t) => {
    if (!need(t, 'root', 'netns', 'nsenter')) return;
    const lab = await HeartbeatLab.up(
      t,
      [...TIMING, 'bcast hb8', 'mcast hb9 239.77.0.9 694 1 0'],
      GROUPS,
    );
    const made = await lab.exec(
      'node-a',
      'sh',
      '-ec',
      `ip link add hb8 type veth peer name other8; ip addr add 192.168.88.1/24 brd + dev hb8
    ip link set hb8 up; ip link add hb9 type veth peer name other9; ip addr add 192.168.89.1/24 dev hb9`,
    );
    t.is(made.status, 0, made.out);
    t.regex((await lab.exec('node-a', 'ip', 'link', 'show', 'hb8')).out, /NO-CARRIER/);
    const started = await lab.ours('node-a', 'heartbeat');
    t.is(started.status, 0, started.out);
    await lab.untilRunning(t, 'one', '');
    t.regex(lab.log('node-a'), /heartbeat started on port 694 \(694\) interface hb8/);
  },
);

test.serial(
  'OnlyForTesting: a third of all datagrams is lost in each direction, and nothing else',
  async (t) => {
    if (!need(t, 'root', 'netns', 'nsenter')) return;
    const lab = await HeartbeatLab.up(t, [...TIMING, 'bcast eth0'], GROUPS);
    const path = '/etc/ha.d/OnlyForTesting';
    for (const host of HOSTS) {
      await lab.exec(host, 'sh', '-c', `printf 'rcvloss=0.3\\nxmitloss=0.3\\n' >${path}`);
      await lab.ours(host, 'heartbeat');
    }
    await linkIs(t, lab, 'eth0', 'up');
    await lab.until(t, 'the group runs', () => lab.running('node-a') === 'one');
    await lab.until(t, 'node-a goes standby, when both are at rest', async () => {
      return (await lab.ours('node-a', 'hb_standby', 'all')).status === 0;
    });
    await lab.untilRunning(t, '', 'one');
    for (const host of HOSTS) {
      t.notRegex(lab.log(host), /node node-[ab]: is dead/);
      t.regex(
        lab.log(host),
        /info: Receive loss probability = 0\.300\n.*Xmit loss probability = 0\.300\n/,
      );
    }
    await lab.exec('node-b', 'sh', '-c', `rm ${path}; kill -HUP $(cat /run/heartbeat.pid)`);
    await lab.until(t, 'the end of it', () =>
      lab.log('node-b').includes('Test Code Now disabled.'),
    );
  },
);

test.serial(
  "serial, beside Debian's: the only medium, and a hand-over in each direction",
  async (t) => {
    const wants = ['/usr/libexec/heartbeat/heartbeat', '/usr/bin/cl_status', 'socat', 'stty', 'ss'];
    if (!need(t, 'root', 'netns', 'nsenter', 'cc', ...wants)) return;
    const lab = await HeartbeatLab.up(t, [...TIMING, 'baud 115200', 'serial /run/ttyS0'], GROUPS);
    // The cable: a pseudo-terminal on each host, joined over the network.
    const cable = (other: string) => {
      const line = `socat PTY,link=/run/ttyS0,raw,echo=0 ${other} >/dev/null 2>&1 </dev/null &`;
      return ['sh', '-c', line];
    };
    await lab.exec('node-b', ...cable('TCP-LISTEN:7777,nodelay'));
    await lab.until(t, 'the cable', async () => {
      return (await lab.exec('node-b', 'ss', '-tlnH')).out.includes(':7777');
    });
    await lab.exec('node-a', ...cable('TCP:192.168.77.2:7777,nodelay'));
    await lab.until(t, 'both ends', async () => {
      const ends = HOSTS.map((host) => lab.exec(host, 'test', '-e', '/run/ttyS0'));
      return (await Promise.all(ends)).every(({ status }) => status === 0);
    });
    const [, ours] = await Promise.all([lab.original('node-b'), lab.ours('node-a', 'heartbeat')]);
    t.is(ours.status, 0, ours.out);
    await lab.untilSays(t, 'node-a', 'ours', ['hblinkstatus', 'node-b', '/run/ttyS0'], 'up');
    await lab.untilSays(t, 'node-b', 'original', ['hblinkstatus', 'node-a', '/run/ttyS0'], 'up');
    await lab.untilSays(t, 'node-a', 'ours', ['nodestatus', 'node-b'], 'active');
    await lab.untilSays(t, 'node-b', 'original', ['nodestatus', 'node-a'], 'active');
    await lab.until(t, 'the group runs', () => lab.running('node-a') === 'one');
    await lab.until(t, 'node-a goes standby, when both are at rest', async () => {
      return (await lab.ours('node-a', 'hb_standby', 'all')).status === 0;
    });
    await lab.untilRunning(t, '', 'one');
    await lab.untilSays(t, 'node-b', 'original', ['rscstatus'], 'all');
    await lab.exec('node-b', '/usr/share/heartbeat/hb_standby', 'all');
    await lab.untilRunning(t, 'one', '');
    t.notRegex(lab.log('node-a'), /node node-b: is dead/);
  },
);
