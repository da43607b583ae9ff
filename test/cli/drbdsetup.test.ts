/** drbdsetup's end of the control protocol: words -> request, reply -> text and exit status. */
import { readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { main } from '../../src/cli/drbdsetup.js';
import { HELPED, helpText } from '../../src/cli/drbdsetup-help.js';
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
} from '../../src/config/drbd-options.js';
import { Conns, Disks, INITIAL_STATE, Roles, type State } from '../../src/drbd/state.js';
import type { NodeStatus } from '../../src/drbd/status.js';
import type {
  ControlFailure,
  ControlReply,
  ControlRequest,
  RunningResource,
} from '../../src/host/control.js';
import { volume } from '../drbd/volume-status.js';
import { memoryWorld } from '../support/memory-world.js';
import { scriptedDrbdd } from '../support/scripted-drbdd.js';

const LOCAL = { family: 'ipv4', host: '10.99.0.1', port: 7788 } as const;
const REMOTE = { family: 'ipv4', host: '10.99.0.2', port: 7788 } as const;

const RUNNING: RunningResource = {
  name: 'r0',
  options: DEFAULT_RESOURCE_OPTIONS,
  net: { local: LOCAL, remote: REMOTE, options: { ...DEFAULT_NET_OPTIONS, verifyAlg: 'crc32c' } },
  volumes: [
    {
      volume: 0,
      minor: 0,
      device: '/dev/drbd0',
      disk: {
        disk: '/dev/vda',
        metaDisk: '/dev/vda',
        metaIndex: 'internal',
        options: { ...DEFAULT_DISK_OPTIONS, resyncRateKiBps: 4096, cPlanAheadDs: 0 },
      },
    },
  ],
};

function node(state: Partial<State>): NodeStatus {
  const shown = volume({ state: { ...INITIAL_STATE, ...state }, sizeSectors: 8112 });
  const resources = [{ name: 'r0', connection: Conns.WFReportParams, volumes: [shown] }];
  return { version: '0', nowMs: 0, resources };
}

const CONNECTED: Partial<State> = {
  role: Roles.Primary,
  peer: Roles.Secondary,
  conn: Conns.Connected,
  disk: Disks.UpToDate,
  pdsk: Disks.UpToDate,
};

function failure(kind: ControlFailure['kind'], code: number, text: string): ControlFailure {
  return { ok: false, kind, code, text, info: [], next: [] };
}

function standard(request: ControlRequest): ControlReply | undefined {
  if (request.verb === 'running') return { ok: true, value: [RUNNING] };
  if (request.verb === 'status') return { ok: true, value: node(CONNECTED) };
  return undefined;
}

async function call(
  t: ExecutionContext,
  line: string,
  answer: (request: ControlRequest) => ControlReply | undefined = standard,
) {
  const { root, requests } = await scriptedDrbdd(t, answer);
  const world = memoryWorld({ root });
  const status = await main(line.split(' '), world);
  return { status, out: world.stdout(), err: world.stderr(), requests, last: requests.at(-1) };
}

const REQUESTS: readonly (readonly [string, ControlRequest])[] = [
  [
    'new-resource r0 --cpu-mask=3 --on-no-data-accessible=suspend-io',
    {
      verb: 'new-resource',
      resource: 'r0',
      options: { cpuMask: '3', onNoDataAccessible: 'suspend-io' },
    },
  ],
  [
    'new-minor r0 3 1',
    { verb: 'new-minor', resource: 'r0', minor: 3, volume: 1, device: '/dev/drbd3' },
  ],
  [
    'attach 0 /dev/sdb1 /dev/sdc 2 --al-extents=257 --resync-rate=33M --disk-flushes=no',
    {
      verb: 'attach',
      minor: 0,
      disk: '/dev/sdb1',
      metaDisk: '/dev/sdc',
      metaIndex: 2,
      options: {
        ...DEFAULT_DISK_OPTIONS,
        alExtents: 257,
        resyncRateKiBps: 33_792,
        diskFlushes: false,
      },
    },
  ],
  [
    'connect r0 ipv4:10.99.0.1:7788 ipv6:[fd00::2]:7790 --protocol=A --discard-my-data --timeout 50',
    {
      verb: 'connect',
      resource: 'r0',
      local: LOCAL,
      remote: { family: 'ipv6', host: 'fd00::2', port: 7790 },
      options: { ...DEFAULT_NET_OPTIONS, protocol: 'A', timeoutDs: 50 },
      discardMyData: true,
      tentative: false,
    },
  ],
  [
    'disconnect ipv4:10.99.0.1:7788 ipv4:10.99.0.2:7788 --force',
    { verb: 'disconnect', resource: 'r0', force: true },
  ],
  ['detach 0 --force', { verb: 'detach', minor: 0, force: true }],
  ['primary 0', { verb: 'primary', minor: 0, force: false }],
  ['primary 0 --force', { verb: 'primary', minor: 0, force: true }],
  ['primary /dev/drbd0 --overwrite-data-of-peer', { verb: 'primary', minor: 0, force: true }],
  ['secondary 0', { verb: 'secondary', minor: 0 }],
  ['outdate minor-0', { verb: 'outdate', minor: 0 }],
  ['invalidate-remote 0', { verb: 'invalidate-remote', minor: 0 }],
  ['new-current-uuid 0 --clear-bitmap', { verb: 'new-current-uuid', minor: 0, clearBitmap: true }],
  [
    'verify 0 --start=4K --stop 100s',
    { verb: 'verify', minor: 0, startSector: 8, stopSector: 100 },
  ],
  [
    'resize 0 --size=1G --assume-clean',
    {
      verb: 'resize',
      minor: 0,
      sizeSectors: 2_097_152,
      assumePeerHasSpace: false,
      assumeClean: true,
      alStripes: null,
      alStripeSizeKib: null,
    },
  ],
  [
    'disk-options 0 --al-extents=99',
    {
      verb: 'disk-options',
      minor: 0,
      options: {
        ...DEFAULT_DISK_OPTIONS,
        resyncRateKiBps: 4096,
        cPlanAheadDs: 0,
        alExtents: 99,
      },
    },
  ],
  [
    'disk-options 0 --set-defaults --al-extents=99',
    { verb: 'disk-options', minor: 0, options: { ...DEFAULT_DISK_OPTIONS, alExtents: 99 } },
  ],
  [
    'net-options ipv4:10.99.0.1:7788 ipv4:10.99.0.2:7788 --ping-int=3',
    {
      verb: 'net-options',
      resource: 'r0',
      options: { ...DEFAULT_NET_OPTIONS, verifyAlg: 'crc32c', pingIntS: 3 },
    },
  ],
  [
    'net-options ipv4:10.99.0.1:7788 ipv4:10.99.0.2:7788 --set-defaults --ping-int=3',
    { verb: 'net-options', resource: 'r0', options: { ...DEFAULT_NET_OPTIONS, pingIntS: 3 } },
  ],
  [
    'resource-options r0 --cpu-mask=f',
    {
      verb: 'resource-options',
      resource: 'r0',
      options: { ...RUNNING.options, cpuMask: 'f' },
    },
  ],
  [
    'resize 0 --assume-peer-has-space',
    {
      verb: 'resize',
      minor: 0,
      sizeSectors: 0,
      assumePeerHasSpace: true,
      assumeClean: false,
      alStripes: null,
      alStripeSizeKib: null,
    },
  ],
  [
    'resize 0 --al-stripes=2 --al-stripe-size-kB=64',
    {
      verb: 'resize',
      minor: 0,
      sizeSectors: 0,
      assumePeerHasSpace: false,
      assumeClean: false,
      alStripes: 2,
      alStripeSizeKib: 64,
    },
  ],
  ['invalidate 0', { verb: 'invalidate', minor: 0 }],
  ['pause-sync 0', { verb: 'pause-sync', minor: 0 }],
  ['resume-sync 0', { verb: 'resume-sync', minor: 0 }],
  ['suspend-io 0', { verb: 'suspend-io', minor: 0 }],
  ['resume-io 0', { verb: 'resume-io', minor: 0 }],
  ['del-minor 0', { verb: 'del-minor', minor: 0 }],
  ['del-resource r0', { verb: 'del-resource', resource: 'r0' }],
  ['down r0', { verb: 'down', resource: 'r0' }],
];

test('each call becomes its request', async (t) => {
  for (const [line, request] of REQUESTS) {
    const { status, last, err } = await call(t, line);
    t.is(status, 0, `${line}: ${err}`);
    t.deepEqual(last, request, line);
  }
});

test("a refusal is told in drbdsetup's words, with its exit status", async (t) => {
  const cases: readonly (readonly [string, ControlFailure, string, number])[] = [
    [
      'primary 0',
      failure('state', -2, 'Need access to UpToDate data'),
      '0: State change failed: (-2) Need access to UpToDate data\n',
      17,
    ],
    [
      'primary 0',
      failure('state', -1, 'Multiple primaries not allowed by config'),
      '0: State change failed: (-1) Multiple primaries not allowed by config\n',
      11,
    ],
    [
      'outdate 0',
      failure('state', -16, 'Disk state is lower than outdated'),
      '0: State change failed: (-16) Disk state is lower than outdated\n',
      5,
    ],
    [
      'invalidate 0',
      failure('state', -4, 'Can not resync without local disk'),
      '0: State change failed: (-4) Can not resync without local disk\n',
      16,
    ],
    [
      'secondary 7',
      failure('failure', 127, 'Device minor not allocated'),
      '7: Failure: (127) Device minor not allocated\nadditional info from kernel:\nunknown minor\n',
      10,
    ],
  ];
  for (const [line, reply, err, status] of cases) {
    const result = await call(t, line, (request) =>
      request.verb === 'status'
        ? { ok: true, value: node({ conn: Conns.WFConnection, disk: Disks.UpToDate }) }
        : reply,
    );
    t.is(result.err, err);
    t.is(result.status, status, line);
  }
  const explained = await call(t, 'primary 0', () => ({
    ...failure('state', -2, 'Need access to UpToDate data'),
    info: ['the disk is Inconsistent'],
    next: ['drbdadm primary --force r0'],
  }));
  t.true(
    explained.err.endsWith('\n  the disk is Inconsistent\n  try: drbdadm primary --force r0\n'),
  );
});

test('role, cstate, dstate, status', async (t) => {
  t.is((await call(t, 'role 0')).out, 'Primary/Secondary\n');
  t.is((await call(t, 'cstate 0')).out, 'Connected\n');
  t.is((await call(t, 'dstate 0')).out, 'UpToDate/UpToDate\n');
  const status = await call(t, 'status r0');
  t.is(
    status.out,
    'r0 role:Primary\n  disk:UpToDate\n  peer role:Secondary\n    replication:Established peer-disk:UpToDate\n\n',
  );
  const json: unknown = JSON.parse((await call(t, 'status --json')).out);
  t.like(json, { 0: { name: 'r0', role: 'Primary' } });
  const missing = await call(t, 'status r9');
  t.deepEqual([missing.err, missing.status], ['r9: No such resource\n', 10]);
  const unknown = await call(t, 'role 5');
  t.is(
    unknown.err,
    '5: Failure: (127) Device minor not allocated\nadditional info from kernel:\nunknown minor\n',
  );
  t.is(unknown.status, 10);
});

test('show is what drbdsetup printed for the same settings', async (t) => {
  const golden = readFileSync('test/golden/config/kernel-steps.txt', 'utf8');
  const from = golden.indexOf('resource r0 {\n    options {\n    }\n    net {');
  const short = golden.slice(from, golden.indexOf('resource r0 {', from + 1));
  for (const object of ['r0', '0', 'minor-0', '/dev/drbd0']) {
    t.is((await call(t, `show ${object}`)).out, short, object);
  }
  const long = golden.slice(from + short.length, golden.indexOf('\nexists resource', from) + 1);
  t.is((await call(t, 'show --show-defaults r0')).out, long);
});

test('sh-status of a minor that is not there, as recorded', async (t) => {
  const golden = readFileSync('test/golden/config/kernel-steps.txt', 'utf8');
  const from = golden.indexOf('_minor=0\n_res_name=\n');
  t.true(from > 0);
  const to = golden.indexOf('_sh_status_process', from);
  const { out } = await call(t, 'sh-status 5');
  // The recording dropped some empty lines; the variables are compared.
  const variables = (text: string) => text.split('\n').filter((line) => line.includes('='));
  t.deepEqual(
    variables(out),
    variables(golden.slice(from, to)).map((line) => (line === '_minor=0' ? '_minor=5' : line)),
  );
  t.true(
    (await call(t, 'sh-status 0')).out.startsWith(
      '_minor=0\n_res_name=r0\n_volume=0\n_known=Configured\n\n_cstate=Connected\n_role=Primary\n_peer=Secondary\n',
    ),
  );
});

test('show-gi and get-gi', async (t) => {
  const gi = (): ControlReply => ({
    ok: true,
    value: {
      uuids: ['38ACD9902EE5A9AF', '0000000000000000', '0C51EB0954FB7F5E', '0000000000000004'],
      flags: 0x17,
    },
  });
  const line =
    '38ACD9902EE5A9AF:0000000000000000:0C51EB0954FB7F5E:0000000000000004:1:1:1:1:0:0:0\n';
  t.is((await call(t, 'get-gi 0', gi)).out, line);
  const golden = readFileSync('test/golden/config/kernel-steps.txt', 'utf8');
  const { out } = await call(t, 'show-gi 0', gi);
  t.true(golden.includes(out), out);
});

test('wrong calls ask nothing of drbdd', async (t) => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['frobnicate', /'frobnicate' is not a command/],
    ['primary', /expected a minor number, got nothing/],
    ['primary x', /Cannot determine minor device number of device 'x'/],
    ['primary 9999999', /Cannot determine minor/],
    ['primary 0 1', /Ignoring excess arguments: '1'/],
    ['primary 0 --nosuch', /unrecognized option '--nosuch'/],
    ['secondary 0 --force', /unrecognized option '--force'/],
    ['attach 0 /dev/a /dev/a internal --al-extents=x', /al-extents: expected a number/],
    ['attach 0 /dev/a /dev/a inside', /expected internal, flexible or a number, got 'inside'/],
    ['connect r0 10.0.0.1 host:1', /expected a remote address, got 'host:1'/],
    ['connect r0 10.0.0.1:1 10.0.0.2:99999', /expected a remote address/],
    ['connect r0 10.0.0.1 10.0.0.2 --allow-two-primaries', /allow-two-primaries is not supported/],
    ['verify 0 --start=x', /out of range/],
  ];
  for (const [line, message] of cases) {
    const { status, err, requests } = await call(t, line);
    t.is(status, 20, line);
    t.regex(err, message, line);
    t.deepEqual(requests, [], line);
  }
  const gone = await call(t, 'disconnect 10.0.0.1 10.0.0.2');
  t.is(
    gone.err,
    '??: Failure: (162) Invalid configuration request\nadditional info from kernel:\nunknown connection\n',
  );
  t.is(gone.status, 10);
  t.is((await call(t, 'down nosuch')).status, 0);
});

test('without a daemon: exit 20 and how to start it', async (t) => {
  const world = memoryWorld({ root: '/nonexistent' });
  t.is(await main(['role', '0'], world), 20);
  t.regex(
    world.stderr(),
    /^Can not reach drbdd: drbdd is not running .* Is it running\? start it: drbdd --keepalive\n$/,
  );
});

test('help COMMAND: arguments and options; of each command that there is', async (t) => {
  const list = memoryWorld({ root: '' });
  await main(['help'], list);
  const commands = list.stdout().split('Commands:')[1]?.trim().split(/\s+/) ?? [];
  t.deepEqual([...HELPED].sort(), commands.sort());
  const world = memoryWorld({ root: '' });
  t.is(await main(['help', 'events2'], world), 0);
  t.is(
    world.stdout(),
    'USAGE:\n drbdsetup events2 {resource|all} [--timestamps] [--statistics] [--now]\n',
  );
  for (const command of commands) {
    for (const line of helpText(command)?.split('\n') ?? []) t.true(line.length <= 80, line);
  }
  const unknown = memoryWorld({ root: '' });
  t.is(await main(['help', 'nothing'], unknown), 20);
});

test('status --color: taken, and nothing is coloured', async (t) => {
  const plain = await call(t, 'status');
  for (const line of ['status --color', 'status --color=always', 'status r0 --color=never']) {
    const coloured = await call(t, line);
    t.deepEqual([coloured.status, coloured.out, coloured.err], [0, plain.out, ''], line);
  }
});
