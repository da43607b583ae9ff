/** cl_status, hb_standby, hb_takeover, drbd-peer-outdater against a control socket; texts and statuses observed of 3.0.6. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { main as clStatus } from '../../src/cli/cl-status.js';
import { main as outdater } from '../../src/cli/drbd-peer-outdater.js';
import { standbyMain, takeoverMain } from '../../src/cli/hb-standby.js';
import { main as heartbeat } from '../../src/cli/heartbeat.js';
import type { Main, World } from '../../src/cli/world.js';
import {
  type HeartbeatReport,
  type HeartbeatRequest,
  parseHeartbeatRequest,
} from '../../src/host/heartbeat-control.js';
import { HeartbeatControlServer } from '../../src/real/heartbeat-control-server.js';

const REPORT: HeartbeatReport = {
  pid: 30,
  version: '3.0.6',
  node: 'node-a',
  generation: 7,
  rscStatus: 'local',
  hold: 'local',
  other: 'local',
  peerOffline: false,
  state: 'STABLE',
  standby: 'NOT',
  leaving: false,
  stuck: [],
  disputes: [],
  waits: [],
  files: {
    'ha.cf': 'same',
    haresources: 'same',
    'twinbeat.ini': 'same',
    'drbd.conf': 'same',
    authkeys: 'same',
  },
  witness: { own: false, peer: null },
  lateMs: 0,
  standing: { state: 'ok' },
  health: [],
  gaveUp: [],
  nodes: [
    { name: 'node-a', status: 'active', type: 'normal', links: [{ name: 'eth0', status: 'dead' }] },
    { name: 'node-b', status: 'active', type: 'normal', links: [{ name: 'eth0', status: 'up' }] },
  ],
  groups: [],
  current: null,
  parameters: { keepalive: '500ms' },
  keepaliveMs: 500,
  deadtimeMs: 5000,
};

function world(root: string, env: Readonly<Record<string, string>> = {}) {
  const said = { out: '', err: '' };
  const w: World = {
    out: (text) => {
      said.out += text;
    },
    err: (text) => {
      said.err += text;
    },
    stdin: { isTTY: false, readLine: () => Promise.resolve(null) },
    env,
    root,
  };
  return { w, said };
}

async function daemon(t: ExecutionContext) {
  const root = mkdtempSync(join(tmpdir(), 'cl-status-'));
  const requests: HeartbeatRequest[] = [];
  const server = new HeartbeatControlServer(root, (request) => {
    requests.push(request);
    if (request.verb === 'status') return Promise.resolve({ ok: true, value: REPORT });
    if (request.verb === 'clientstatus') {
      const value = { ipfail: 'online', nosuch: 'offline' }[request.client] ?? null;
      return Promise.resolve({ ok: true, value });
    }
    if (request.verb === 'outdate') return Promise.resolve({ ok: true, value: 4 });
    if (request.verb === 'takeover') return Promise.resolve({ ok: false, text: 'node-b is dead' });
    return Promise.resolve({ ok: true, value: null });
  });
  await server.listen();
  t.teardown(() => {
    server.close();
    rmSync(root, { recursive: true, force: true });
  });
  const call = async (main: Main, argv: string, env: Readonly<Record<string, string>> = {}) => {
    const { w, said } = world(root, env);
    const status = await main(
      argv.split(' ').filter((word) => word !== ''),
      w,
    );
    return { status, ...said };
  };
  return { call, requests };
}

const OBSERVED: readonly (readonly [string, string, number])[] = [
  ['hbstatus', 'Heartbeat is running on this machine.\n', 0],
  ['listnodes', 'node-b\nnode-a\n', 0],
  ['listnodes -n', 'node-b\nnode-a\n', 0],
  ['listnodes -p', '', 0],
  [
    'listnodes -v',
    '\nnode-b\tactive\t(nodetype: normal)\n\teth0\tup\n\nnode-a\tactive\t(nodetype: normal)\n\teth0\tdead\n',
    0,
  ],
  ['nodestatus node-b', 'active\n', 0],
  ['nodestatus -m node-b', 'The cluster node node-b is active\n', 0],
  ['nodestatus nosuch', '', 11],
  ['nodestatus', '', 11],
  ['nodetype node-b', 'normal\n', 0],
  ['nodeweight node-b', '100\n', 0],
  ['nodesite node-b', '\n', 0],
  ['listhblinks node-b', '\teth0\n', 0],
  ['listhblinks -v node-b', '\teth0\tup\n', 0],
  ['hblinkstatus node-b eth0', 'up\n', 0],
  ['hblinkstatus node-a eth0', 'dead\n', 1],
  ['hblinkstatus node-b eth9', '', 13],
  ['clientstatus node-b ipfail', 'online\n', 0],
  ['clientstatus node-b ipfail 2000', 'online\n', 0],
  ['clientstatus node-b nosuch', 'offline\n', 1],
  ['clientstatus node-b silent', '', 13],
  ['clientstatus nosuch ipfail', '', 11],
  ['clientstatus node-b ipfail soon', '', 11],
  ['rscstatus', 'local\n', 0],
  ['rscstatus -m', 'This node is holding local resources.\n', 0],
  ['hbparameter -p keepalive', '500ms\n', 0],
  ['hbparameter -p nosuch', '', 1],
  ['test', 'Dead time: 5000\n keeplive time: 500\n mynodeid: node-a\n rsc: local\n', 0],
  ['bogus', '', 11],
];

test('cl_status says what the original says', async (t) => {
  const { call } = await daemon(t);
  for (const [argv, out, status] of OBSERVED) {
    const said = await call(clStatus, argv);
    t.deepEqual({ out: said.out, status: said.status }, { out, status }, argv);
  }
});

test('without heartbeat', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'cl-status-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const cases: readonly (readonly [Main, string[], string, number])[] = [
    [clStatus, ['hbstatus'], 'Heartbeat is stopped on this machine.\n', 1],
    [clStatus, ['nodestatus', 'x'], '', 1],
    [heartbeat, ['-s'], 'heartbeat is stopped. No process\n', 3],
    [heartbeat, ['-k'], 'INFO: Heartbeat already stopped.\n', 0],
    [standbyMain, [], 'Going standby [all].\n', 1],
    [outdater, ['-p', 'p', '-r', 'r'], '', 5],
  ];
  for (const [main, argv, out, status] of cases) {
    const { w, said } = world(root);
    t.is(await main(argv, w), status, argv.join(' '));
    t.is(said.out, out);
  }
});

test('a configuration that is missing refuses the start with 6, a wrong call with 2', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'heartbeat-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const { w, said } = world(root);
  t.is(await heartbeat([], w), 6);
  t.regex(said.err, /ERROR: Cannot open \[\/etc\/ha\.d\/\/ha\.cf\]/);
  t.regex(said.err, /ERROR: Configuration error, heartbeat not started\./);
  t.is(await heartbeat(['--nonsense'], w), 2);
  t.is(await heartbeat(['word'], w), 2);
});

test('hb_standby and hb_takeover ask for what they were told', async (t) => {
  const { call, requests } = await daemon(t);
  t.is((await call(standbyMain, '')).out, 'Going standby [all].\n');
  t.is((await call(standbyMain, 'failback')).status, 0);
  const takeover = await call(takeoverMain, 'local');
  t.is(takeover.status, 1);
  t.is(takeover.err, 'hb_takeover: node-b is dead\n');
  t.deepEqual(requests, [
    { verb: 'standby', resources: 'all' },
    { verb: 'standby', resources: 'foreign' },
    { verb: 'takeover', resources: 'local' },
  ]);
  const wrong = await call(standbyMain, 'some');
  t.is(wrong.status, 1);
  t.is(wrong.out, 'hb_standby: wrong resources(some).\n');
  t.is((await call(standbyMain, 'all local')).status, 1);
});

test('drbd-peer-outdater: names from arguments or environment, the result is the exit status', async (t) => {
  const { call, requests } = await daemon(t);
  t.is((await call(outdater, '-t 5', { DRBD_PEER: 'NODE-B', DRBD_RESOURCE: 'r0' })).status, 4);
  t.deepEqual(requests.at(-1), {
    verb: 'outdate',
    peer: 'node-b',
    resource: 'r0',
    timeoutMs: 5000,
  });
  t.is((await call(outdater, '-r r0')).status, 1);
});

test('what is no request is refused', (t) => {
  for (const value of [
    null,
    1,
    {},
    { verb: 'standby', resources: 'none' },
    { verb: 'recover' },
    { verb: 'recover', node: 'a b' },
    { verb: 'outdate', peer: 'b', resource: 'r; rm -rf /', timeoutMs: 1 },
    { verb: 'clientstatus', node: 'b', client: 'a b', timeoutMs: 1 },
    { verb: 'clientstatus', node: 'b', client: 'ipfail' },
  ]) {
    t.is(parseHeartbeatRequest(value), null);
  }
  const recover = { verb: 'recover', node: 'a', activatePrimary: false, force: false };
  t.deepEqual(parseHeartbeatRequest({ verb: 'recover', node: 'a', force: 'yes' }), recover);
});
