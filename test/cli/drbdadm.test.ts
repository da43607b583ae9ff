/** What drbdadm runs, in which order, and what it makes of the exit status. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { drbdadm } from '../../src/cli/drbdadm-core.js';
import type { World } from '../../src/cli/world.js';
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
} from '../../src/config/drbd-options.js';
import type { RunningResource } from '../../src/host/control.js';
import { memoryWorld } from '../support/memory-world.js';
import { scriptedDrbdd } from '../support/scripted-drbdd.js';

const CONF = `
resource r0 {
  protocol C;
  handlers { outdate-peer "echo fence $DRBD_PEER $DRBD_PEER_ADDRESS; exit 7"; pri-lost "echo $DRBD_RESOURCE $DRBD_MINOR $DRBD_LL_DISK; exit 3"; }
  disk { fencing resource-only; }
  syncer { rate 10M; }
  startup { degr-wfc-timeout 120; }
  on one { device /dev/drbd0; disk /dev/sdb1; address 127.0.0.1:7788; meta-disk internal; }
  on two { device /dev/drbd0; disk /dev/sdb1; address 10.0.0.2:7788; meta-disk internal; }
}
`;
const SECOND = `
resource r1 {
  volume 0 { device /dev/drbd1; disk /dev/sdb2; meta-disk internal; }
  volume 1 { device /dev/drbd2; disk /dev/sdb3; meta-disk internal; }
  on one { address 127.0.0.1:7789; }
  on two { address 10.0.0.2:7789; }
}
`;

interface Setup {
  readonly conf?: string;
  /** Exit status by the beginning of the command line; standard error in front of a newline. */
  readonly fails?: Readonly<Record<string, readonly [number, string]>>;
  readonly running?: readonly RunningResource[];
}

/** Runs drbdadm with programs that only note what they were asked; requests to drbdd are noted among them. */
async function run(t: ExecutionContext, line: string, setup: Setup = {}) {
  const log: string[] = [];
  const { root } = await scriptedDrbdd(t, (request) => {
    if (request.verb === 'running') return { ok: true, value: setup.running ?? [] };
    if (request.verb === 'status') return { ok: true, value: { resources: [] } };
    log.push(`drbdd ${JSON.stringify(request)}`);
    return undefined;
  });
  mkdirSync(join(root, 'etc'));
  writeFileSync(join(root, 'etc/drbd.conf'), setup.conf ?? CONF);
  const note = (program: string) => async (argv: readonly string[], world: World) => {
    const command = `${program} ${argv.join(' ')}`;
    log.push(command);
    for (const [start, [status, err]] of Object.entries(setup.fails ?? {})) {
      if (!command.startsWith(start)) continue;
      world.err(err);
      return status;
    }
    return 0;
  };
  const world = memoryWorld({ root, env: { __DRBD_NODE__: 'one', PATH: '/usr/bin:/bin' } });
  const status = await drbdadm(line.split(' '), world, {
    drbdsetup: note('drbdsetup'),
    drbdmeta: note('drbdmeta'),
  });
  return { status, log, out: world.stdout(), err: world.stderr() };
}

const HANDLERS =
  'drbdd {"verb":"set-handlers","resource":"r0","handlers":{"fence-peer":"echo fence $DRBD_PEER $DRBD_PEER_ADDRESS; exit 7","pri-lost":"echo $DRBD_RESOURCE $DRBD_MINOR $DRBD_LL_DISK; exit 3"},"environment":{"DRBD_CONF":"/etc/drbd.conf","DRBD_PEER_AF":"ipv4","DRBD_PEER_ADDRESS":"10.0.0.2","DRBD_PEER":"two","DRBD_PEERS":"two"},"lowerDisks":{"0":"/dev/sdb1"}}';

test('up: objects, then disks, then the network; drbdd has the handlers before either', async (t) => {
  const { status, log } = await run(t, 'up all', { conf: CONF + SECOND });
  t.is(status, 0);
  t.deepEqual(
    log.map((line) => line.replace(/"handlers":\{\}.*/, '...')),
    [
      'drbdsetup new-resource r0',
      HANDLERS,
      'drbdsetup new-minor r0 0 0',
      'drbdsetup new-resource r1',
      'drbdd {"verb":"set-handlers","resource":"r1",...',
      'drbdsetup new-minor r1 1 0',
      'drbdsetup new-minor r1 2 1',
      'drbdmeta 0 v08 /dev/sdb1 internal apply-al',
      'drbdsetup attach 0 /dev/sdb1 /dev/sdb1 internal --resync-rate=10M --fencing=resource-only',
      'drbdmeta 1 v08 /dev/sdb2 internal apply-al',
      'drbdsetup attach 1 /dev/sdb2 /dev/sdb2 internal',
      'drbdmeta 2 v08 /dev/sdb3 internal apply-al',
      'drbdsetup attach 2 /dev/sdb3 /dev/sdb3 internal',
      HANDLERS,
      'drbdsetup connect r0 ipv4:127.0.0.1:7788 ipv4:10.0.0.2:7788 --protocol=C',
      'drbdd {"verb":"set-handlers","resource":"r1",...',
      'drbdsetup connect r1 ipv4:127.0.0.1:7789 ipv4:10.0.0.2:7789',
    ],
  );
});

test('an up that cannot attach does not connect', async (t) => {
  const { status, log, err } = await run(t, 'up r0', {
    fails: { 'drbdmeta 0': [20, "Device '0' is configured!\n"] },
  });
  t.is(status, 1);
  t.false(log.some((line) => line.startsWith('drbdsetup connect')));
  t.is(
    err,
    "Device '0' is configured!\nCommand 'drbdmeta 0 v08 /dev/sdb1 internal apply-al' terminated with exit code 20\n",
  );
});

test('what fails to be created is not attached, other resources go on to the end of that phase', async (t) => {
  const { status, log, err } = await run(t, 'up all', {
    conf: CONF + SECOND,
    fails: { 'drbdsetup new-resource r0': [10, ''] },
  });
  t.is(status, 1);
  t.true(log.includes('drbdsetup new-minor r1 2 1'));
  t.false(log.some((line) => line.includes('attach')));
  t.true(err.includes('drbdadm: new-minor r0: skipped due to earlier error\n'));
});

test('the exit status is that of the refusal, reported with its command', async (t) => {
  const text = '0: State change failed: (-2) Need access to UpToDate data\n';
  const { status, err } = await run(t, 'primary r0', {
    fails: { 'drbdsetup primary': [17, text] },
  });
  t.is(status, 17);
  t.is(err, `${text}Command 'drbdsetup-84 primary 0' terminated with exit code 17\n`);
  const quiet = await run(t, 'primary r0', { fails: { 'drbdsetup primary': [5, ''] } });
  t.deepEqual([quiet.status, quiet.err], [5, '']);
});

test('volume verbs run for each volume and end at the first that fails', async (t) => {
  const all = await run(t, 'secondary r1', { conf: CONF + SECOND });
  t.deepEqual(all.log, ['drbdsetup secondary 1', 'drbdsetup secondary 2']);
  const failed = await run(t, 'secondary all', {
    conf: CONF + SECOND,
    fails: { 'drbdsetup secondary 1': [11, ''] },
  });
  t.deepEqual(failed.log, ['drbdsetup secondary 0', 'drbdsetup secondary 1']);
  t.is(failed.status, 11);
  t.deepEqual((await run(t, 'role r1/1', { conf: SECOND })).log, ['drbdsetup role 2']);
  t.deepEqual((await run(t, 'role minor-1', { conf: SECOND })).log, ['drbdsetup role 1']);
});

test('dstate, show-gi, invalidate: drbdmeta where nothing is configured, but not after a refusal', async (t) => {
  const away = await run(t, 'dstate r0', { fails: { drbdsetup: [10, '0: Failure: (127)\n'] } });
  t.deepEqual(away.log, ['drbdsetup dstate 0', 'drbdmeta 0 v08 /dev/sdb1 internal dstate']);
  t.deepEqual([away.status, away.err], [0, '']);
  const refused = await run(t, 'invalidate r0', { fails: { drbdsetup: [11, 'refused\n'] } });
  t.deepEqual(refused.log, ['drbdsetup invalidate 0']);
  t.deepEqual([refused.status, refused.err], [11, 'refused\n']);
});

test('outdate: 11 and 17 are final, 5 asks the metadata, anything else leaves it to drbdmeta', async (t) => {
  const outdate = (status: number, meta = 0) =>
    run(t, 'outdate r0', { fails: { drbdsetup: [status, 'x\n'], drbdmeta: [meta, ''] } });
  for (const status of [11, 17]) {
    t.like(await outdate(status), { status, err: 'x\n', log: ['drbdsetup outdate 0'] });
  }
  t.like(await outdate(5), { status: 0 });
  t.like(await outdate(5, 20), { status: 5 });
  t.like(await outdate(10), { status: 0 });
  t.is((await outdate(10)).log.length, 2);
});

test('outdate of two volumes, and the first is Inconsistent: the second one is outdated all the same', async (t) => {
  const fails = { 'drbdsetup outdate 1': [5, ''], 'drbdmeta 1': [20, ''] } as const;
  const outdated = await run(t, 'outdate r1', { conf: `${CONF}${SECOND}`, fails });
  t.is(outdated.status, 5);
  t.deepEqual(
    outdated.log.filter((line) => line.startsWith('drbdsetup')),
    ['drbdsetup outdate 1', 'drbdsetup outdate 2'],
  );
  const refused = {
    'drbdsetup outdate 1': [5, ''],
    'drbdmeta 1': [20, ''],
    'drbdsetup outdate 2': [17, ''],
  } as const;
  t.is((await run(t, 'outdate r1', { conf: `${CONF}${SECOND}`, fails: refused })).status, 17);
});

test('options: the verb’s own, -W, and the 8.3 way', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['primary --force r0', 'drbdsetup primary 0 --force'],
    ['-- --overwrite-data-of-peer primary r0', 'drbdsetup primary 0 --overwrite-data-of-peer'],
    ['-W--force detach r0', 'drbdsetup detach 0 --force'],
    ['verify --start=5 r0', 'drbdsetup verify 0 --start=5'],
    [
      '--discard-my-data connect r0',
      'drbdsetup connect r0 ipv4:127.0.0.1:7788 ipv4:10.0.0.2:7788 --protocol=C --discard-my-data',
    ],
  ];
  for (const [line, command] of cases) {
    const { log, status, err } = await run(t, line);
    t.is(status, 0, err);
    t.is(log.at(-1), command);
  }
  t.is((await run(t, 'secondary --force r0')).status, 1);
  t.is((await run(t, 'primary --frob r0')).status, 1);
});

test('create-md names the device anew, unless it had a name', async (t) => {
  const { log } = await run(t, 'create-md --force r0');
  t.is(log[1], 'drbdmeta 0 v08 /dev/sdb1 internal create-md --force');
  t.regex(log[2] ?? '', /^drbdmeta 0 v08 \/dev\/sdb1 internal write-dev-uuid [0-9A-F]{16}$/);
  t.is(log.length, 3);
  const failed = await run(t, 'create-md r0', { fails: { 'drbdmeta 0': [20, ''] } });
  t.is(failed.status, 20);
  t.false(failed.log.some((line) => line.includes('write-dev-uuid')));
});

test('without a daemon: exit 20, whatever the verb', async (t) => {
  for (const line of ['up r0', 'primary r0', 'adjust r0', 'connect r0']) {
    const { status } = await run(t, line, { fails: { drbdsetup: [20, ''] }, running: [] });
    t.is(status, 20, line);
  }
});

test('handler verbs run the handler with its environment and give its status', async (t) => {
  const fence = await run(t, 'fence-peer r0');
  t.like(fence, { status: 7, out: 'fence two 10.0.0.2\n' });
  t.like(await run(t, 'outdate-peer r0'), { status: 7 });
  t.like(await run(t, 'pri-lost minor-0'), { status: 3, out: 'r0 0 /dev/sdb1\n' });
  t.like(await run(t, 'split-brain minor-0'), { status: 0, out: '', err: '' });
});

test('nothing is run while anything is wrong', async (t) => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    [
      'up r0',
      CONF.replace('protocol C;', 'protocol C; net { allow-two-primaries; }'),
      /allow-two-primaries is not supported/,
    ],
    ['up r0', CONF.replace('rate 10M', 'rate 10M; al-extents x'), /al-extents: expected a number/],
    ['up r0', CONF.replace('127.0.0.1', '192.0.2.1'), /IP 192\.0\.2\.1 not found on this host\./],
    ['up r0', CONF.replace('resource-only', 'resource-nly'), /fencing: expected dont-care/],
    ['primary r0', `${CONF} resource r9 {`, /the end of the file/],
    ['connect r0', CONF.replace(/ {2}on two .*/, ''), /Missing section 'on <PEER>/],
    [
      'adjust r0',
      CONF.replaceAll('address ', 'address sdp '),
      /address family sdp is not supported/,
    ],
  ];
  for (const [line, conf, message] of cases) {
    const { status, log, err } = await run(t, line, { conf });
    t.regex(err, message);
    t.is(status, 10, line);
    t.deepEqual(log, [], line);
  }
});

test('a resource that is not there, a missing file, no resource named', async (t) => {
  t.like(await run(t, 'up nosuch'), {
    status: 1,
    err: "'nosuch' not defined in your config (for this host).\n",
  });
  t.like(await run(t, '-c /nonexistent up all'), {
    status: 20,
    err: "Can not open '/nonexistent'.\n",
  });
  const { status, out } = await run(t, 'up');
  t.is(status, 1);
  t.true(out.endsWith('\nNo resource names specified\n'));
  const elsewhere = await run(t, 'up all', { conf: CONF.replace('on one', 'on three') });
  t.is(elsewhere.status, 1);
  t.regex(elsewhere.err, /WARN: no normal resources defined for this host \(one\)/);
});

test('every verb of the original is known', async (t) => {
  const golden = readFileSync('test/golden/config/kernel-steps.txt', 'utf8');
  const from = golden.indexOf('\nUSAGE: drbdadm COMMAND');
  const usage = golden.slice(from, golden.indexOf('\nVersion: ', from));
  const help = await run(t, 'help');
  t.is(help.out.slice(0, help.out.indexOf('\nVersion: ')), usage);
  const verbs = usage.split('COMMANDS:')[1]?.trim().split(/\s+/) ?? [];
  t.is(verbs.length, 35);
  for (const verb of verbs) {
    const { err } = await run(t, `${verb} r0`);
    t.notRegex(err, /Unknown command/, verb);
  }
});

// adjust

const RUNNING: RunningResource = {
  name: 'r0',
  options: DEFAULT_RESOURCE_OPTIONS,
  net: {
    local: { family: 'ipv4', host: '127.0.0.1', port: 7788 },
    remote: { family: 'ipv4', host: '10.0.0.2', port: 7788 },
    options: DEFAULT_NET_OPTIONS,
  },
  volumes: [
    {
      volume: 0,
      minor: 0,
      device: '/dev/drbd0',
      disk: {
        disk: '/dev/sdb1',
        metaDisk: '/dev/sdb1',
        metaIndex: 'internal',
        options: { ...DEFAULT_DISK_OPTIONS, fencing: 'resource-only', resyncRateKiBps: 10_240 },
      },
    },
  ],
};

async function adjusted(t: ExecutionContext, running: RunningResource | null, conf = CONF) {
  const { status, log, err } = await run(t, 'adjust r0', {
    conf,
    running: running ? [running] : [],
  });
  t.is(status, 0, err);
  return log.filter((line) => !line.startsWith('drbdd'));
}

test('adjust of what is right does nothing, of what does not run does what up does', async (t) => {
  t.deepEqual(await adjusted(t, RUNNING), []);
  const up = (await run(t, 'up r0')).log.filter((line) => !line.startsWith('drbdd'));
  t.deepEqual(await adjusted(t, null), up);
});

test('adjust: the gentlest command for each difference', async (t) => {
  const [volume] = RUNNING.volumes;
  const disk = volume?.disk;
  if (!volume || !disk) throw new Error('the sample has a volume with a disk');
  const withDisk = (change: Partial<typeof disk>) => ({
    ...RUNNING,
    volumes: [{ ...volume, disk: { ...disk, ...change } }],
  });
  const attach = [
    'drbdmeta 0 v08 /dev/sdb1 internal apply-al',
    'drbdsetup attach 0 /dev/sdb1 /dev/sdb1 internal --resync-rate=10M --fencing=resource-only',
  ];
  const connect = 'drbdsetup connect r0 ipv4:127.0.0.1:7788 ipv4:10.0.0.2:7788 --protocol=C';
  const ends = 'ipv4:127.0.0.1:7788 ipv4:10.0.0.2:7788';
  const net = RUNNING.net;
  if (!net) throw new Error('the sample has a connection');

  t.deepEqual(await adjusted(t, withDisk({ options: { ...disk.options, resyncRateKiBps: 250 } })), [
    'drbdsetup disk-options 0 --set-defaults --resync-rate=10M --fencing=resource-only',
  ]);
  t.deepEqual(await adjusted(t, withDisk({ disk: '/dev/old', metaDisk: '/dev/old' })), [
    'drbdsetup detach 0',
    ...attach,
  ]);
  t.deepEqual(await adjusted(t, { ...RUNNING, volumes: [{ ...volume, disk: null }] }), attach);
  t.deepEqual(await adjusted(t, withDisk({ options: { ...disk.options, sizeSectors: 8 } })), [
    'drbdsetup resize 0',
  ]);
  const disconnect = `drbdsetup disconnect ${ends}`; // a minor does not go from a connection
  t.deepEqual(await adjusted(t, { ...RUNNING, volumes: [{ ...volume, minor: 5 }] }), [
    disconnect,
    'drbdsetup detach 5',
    'drbdsetup del-minor 5',
    'drbdsetup new-minor r0 0 0',
    ...attach,
    connect,
  ]);
  t.deepEqual(
    await adjusted(t, { ...RUNNING, volumes: [volume, { ...volume, volume: 1, minor: 9 }] }),
    [disconnect, 'drbdsetup detach 9', 'drbdsetup del-minor 9', connect],
  );
  t.deepEqual(await adjusted(t, { ...RUNNING, net: null }), [connect]);
  t.deepEqual(
    await adjusted(t, { ...RUNNING, net: { ...net, options: { ...net.options, timeoutDs: 50 } } }),
    [`drbdsetup net-options ${ends} --set-defaults --protocol=C`],
  );
  t.deepEqual(
    await adjusted(t, { ...RUNNING, net: { ...net, remote: { ...net.remote, port: 1 } } }),
    ['drbdsetup disconnect ipv4:127.0.0.1:7788 ipv4:10.0.0.2:1', connect],
  );
  t.deepEqual(await adjusted(t, { ...RUNNING, options: { ...RUNNING.options, cpuMask: '1' } }), [
    'drbdsetup resource-options r0 --set-defaults',
  ]);
});

test('old names: state is role, syncer is adjust', async (t) => {
  const state = await run(t, 'state r0');
  t.deepEqual(state.log, ['drbdsetup role 0']);
  t.is(state.err, "'drbdadm state' is deprecated, use 'drbdadm role' instead.\n");
  t.deepEqual((await run(t, 'syncer r0')).log, (await run(t, 'adjust r0')).log);
});

test('-s and -m are the names that -d prints; -p names nothing that is called', async (t) => {
  const { out } = await run(t, '-d -s SETUP --drbdmeta=META -p PROXY attach r0');
  t.deepEqual(
    out.split('\n').map((line) => line.split(' ')[0]),
    ['META', 'SETUP', ''],
  );
  const version = await run(t, '--version');
  t.regex(version.out, /^DRBD_KERNEL_VERSION_CODE=0x0804/m);
  const hidden = await run(t, 'hidden-commands');
  for (const verb of ['sh-b-pri', 'sh-new-minor', 'before-resync-target', 'set-gi']) {
    t.regex(hidden.out, new RegExp(`^ ?.*\\b${verb}\\b`, 'm'), verb);
  }
});
