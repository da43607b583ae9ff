/** twinbeat doctor as a whole: what it prints and how it ends, in-process and as the command that is installed. */
import test from 'ava';
import { HA_CF } from '../../src/cli/doctor-facts.js';
import { SHOWN, told, withTimings } from '../../src/cli/doctor-show.js';
import { COLUMNS } from '../../src/cli/doctor-text.js';
import { doctorMain } from '../../src/cli/twinbeat-doctor.js';
import { launch } from '../support/command.js';
import {
  type DoctorNode,
  doctorRoot,
  examine,
  GOOD_HA_CF,
  GOOD_MACHINE,
  GOOD_REPORT,
} from '../support/doctor-node.js';
import { BUILT, HeartbeatRoot } from '../support/heartbeat-root.js';
import { memoryWorld } from '../support/memory-world.js';

const TWINBEAT = `${BUILT}/twinbeat`;

async function run(
  t: Parameters<typeof doctorRoot>[0],
  node: DoctorNode,
  flags: Parameters<typeof doctorMain>[0] = {},
) {
  const world = memoryWorld({ root: await doctorRoot(t, node) });
  const status = await doctorMain(flags, world, { ...GOOD_MACHINE, ...node.machine });
  return { status, out: world.stdout() };
}

test('exit status: 0 nothing, 1 warnings, 2 errors, which come first', async (t) => {
  const clean = await run(t, {});
  t.is(clean.status, 0);
  t.regex(clean.out, /^node-a: nothing found\.\nNot seen:\n {2}- heartbeat is not running: cannot/);
  const watched = await run(t, { machine: { report: async () => GOOD_REPORT } });
  t.is(watched.status, 0);
  t.notRegex(watched.out, /not running/);

  const files = { [HA_CF]: GOOD_HA_CF.replace('bcast eth1\n', '') };
  const warned = await run(t, { files });
  t.is(warned.status, 1);
  t.regex(warned.out, /^warning {2}one-link {2}\/etc\/ha\.d\/ha\.cf:6\n/);
  t.regex(warned.out, /^node-a: 0 errors, 1 warning\.$/m);

  const wrong = await run(t, { files, authkeysMode: 0o644 });
  t.is(wrong.status, 2);
  t.regex(wrong.out, /^ERROR {2}authkeys-mode[\s\S]*^warning {2}one-link/m);
});

test('the text fits a terminal; only commands may be longer, so that they can be copied', async (t) => {
  const { out } = await run(t, {
    files: { [HA_CF]: 'keepalive 5sec\nnode x\nbcast eth0\n', '/etc/drbd.conf': null },
    authkeysMode: 0o644,
    machine: { sysctl: () => 0, kernelDrbd: () => 'loaded' },
  });
  t.true(out.split('\n').length > 40);
  for (const line of out.split('\n')) {
    t.true(line.length <= COLUMNS || line.trim().startsWith('$ '), line);
  }
});

test('--json has the same, as one object', async (t) => {
  const { status, out } = await run(t, { authkeysMode: 0o644 }, { json: true });
  t.is(status, 2);
  const { node, findings, notSeen } = JSON.parse(out) as Record<string, unknown[]>;
  t.deepEqual([node, notSeen?.length], ['node-a' as unknown as unknown[], 3]);
  t.like(findings, [
    {
      name: 'authkeys-mode',
      level: 'error',
      file: '/etc/ha.d/authkeys',
      line: null,
      next: ['$ chmod 600 /etc/ha.d/authkeys'],
    },
  ]);
});

// One mistake must not hide the others: ha.cf is refused for its interface and its name.
test('of a refused file the rest is looked at, too', async (t) => {
  const found = await examine(t, {
    files: {
      [HA_CF]: GOOD_HA_CF.replace('bcast eth1\n', '').replace('node node-a', 'node node-c'),
    },
    machine: {
      haCf: { ...GOOD_MACHINE.haCf, interfaceError: () => 'No such device' },
    },
  });
  t.deepEqual(
    found.map(({ name, line }) => [name, line]),
    [
      ['file-refused', 6],
      ['own-node-missing', 11],
      ['node-unknown', 1],
      ['can-run-twice', 10], // for node-c
      ['one-link', 6],
    ],
  );
});

test('files that are missing: heartbeat without drbd, drbd without heartbeat, neither', async (t) => {
  const ha = '/etc/ha.d/';
  const none = { [HA_CF]: null, [`${ha}haresources`]: null, [`${ha}authkeys`]: null };
  const names = async (files: Record<string, string | null>) =>
    (await examine(t, { files })).map(({ name, file }) => `${name} ${file}`);
  t.deepEqual(await names({ '/etc/drbd.conf': null, [`${ha}haresources`]: 'node-a mysql\n' }), []);
  t.deepEqual(await names(none), ['dopd-cannot-ask /etc/drbd.conf']);
  t.deepEqual(await names({ [`${ha}authkeys`]: null }), [`file-refused ${ha}authkeys`]);
  t.deepEqual(await names({ ...none, '/etc/drbd.conf': null }), [
    `file-refused ${HA_CF}`,
    `file-refused ${ha}haresources`,
    `file-refused ${ha}authkeys`,
  ]);
});

test('drbd.conf and twinbeat.ini that do not parse, in the words of their parsers', async (t) => {
  const found = await examine(t, {
    files: { '/etc/drbd.conf': 'resource r0 {\n  sink;\n}\n', '/etc/twinbeat.ini': '[fnce]\n' },
  });
  t.deepEqual(
    found.map(({ name, file, line }) => `${name} ${file}:${line}`),
    ['file-refused /etc/drbd.conf:2', 'file-refused /etc/twinbeat.ini:1'],
  );
  t.regex(found[1]?.evidence ?? '', /^\/etc\/twinbeat\.ini:1:1: expected \[drbdd\]/);
});

test('the command itself, on files of a root, with -c', async (t) => {
  const root = await doctorRoot(t, {
    files: {
      [HA_CF]: 'logfacility local0\nucast lo 127.0.0.1\nnode node-a\nnode node-b\n',
      '/etc/ha.d/nodeinfo': 'node-a\n',
      '/etc/ha.d/haresources': 'node-a drbddisk::r0 no-such-script\n',
    },
  });
  const doctor = (...args: readonly string[]) =>
    launch('env', `TWINBEAT_ROOT=${root}`, TWINBEAT, 'doctor', ...args).result;
  const { code, stdout, stderr } = await doctor();
  t.is(code, 2, stderr);
  t.is(stderr, '');
  for (const name of ['one-link', 'can-run-twice', 'failback-at-once', 'no-watchdog']) {
    t.regex(stdout, new RegExp(`^warning  ${name}  /etc/ha\\.d/ha\\.cf`, 'm'));
  }
  t.regex(
    stdout,
    /^ERROR {2}script-missing {2}\/etc\/ha\.d\/haresources:1\n {2}here {2}no-such-scr/m,
  );
  t.regex(stdout, /no section for this host/); // whatever this machine is called
  t.regex(stdout, /^node-a: \d+ errors, \d+ warnings\.$/m);

  const other = await doctor('-c', `${root}/none.conf`, '--json');
  t.is(other.code, 2);
  t.regex(other.stdout, /"file":"[^"]*none\.conf","line":null,[^{]*Can not open '/);
  const help = await launch(TWINBEAT, '--help').result;
  t.regex(help.stdout, /^ {2}doctor .*files and this machine/m);
});

test('beside a heartbeat that runs, it is asked', async (t) => {
  const root = await HeartbeatRoot.create(t);
  const before = await root.run(TWINBEAT, 'doctor');
  t.regex(before.stdout, /^ {2}- heartbeat is not running: cannot see whether haresources differ/m);
  t.is((await root.run(`${BUILT}/heartbeat`)).code, 0);
  await root.untilServing();
  const beside = await root.run(TWINBEAT, 'doctor');
  t.notRegex(beside.stdout, /not running/);
  t.regex(beside.stdout, /^ {2}- The files of the other node: they are compared when/m);
  t.notRegex(beside.stdout, /link-dead|needs-somebody|script-missing/); // the other node is off, all is well here
});

test('--show plays what can be shown, with the times of ha.cf', async (t) => {
  for (const name of Object.keys(SHOWN)) {
    const times = 'deadtime 60\nwarntime 5\ninitdead 60'; // as long as is played
    const files = { [HA_CF]: GOOD_HA_CF.replace(/deadtime.*\n.*\ninitdead 30/, times) };
    const { status, out } = await run(t, { files }, { show: name });
    t.is(status, 0, out);
    t.true(out.startsWith(`${name}: `));
    t.regex(out, /^Times of ha\.cf: keepalive 500 ms, deadtime 60000 ms, initdead 60000 ms\.$/m);
    t.regex(out, /^ +\d+\.\d beta {2}heartbeat WARN: node alpha: is dead$/m);
    for (const line of out.split('\n'))
      t.true(line.length <= COLUMNS || line.startsWith('$ '), line);
  }
  await t.throwsAsync(() => run(t, {}, { show: 'no-watchdog' }), {
    message:
      /^twinbeat doctor: --show: expected one of can-run-twice, one-link, fencing-without-handler, got 'no-watchdog'$/,
  });
});

test('the times of a scenario are stretched with those of ha.cf, up to a limit', (t) => {
  const text =
    '# at 1s\nset think 50ms\nat 40s cut eth0\nafter 1.5s expect x within 2min since 39s\n';
  const times = { keepaliveMs: 1000, warntimeMs: 5000, deadtimeMs: 10_000, initdeadMs: 30_000 };
  t.is(
    withTimings(text, times),
    'set keepalive 1000ms\nset warntime 5000ms\nset deadtime 10000ms\nset initdead 30000ms\n' +
      '# at 1s\nset think 0.1s\nat 1min cut eth0\nafter 3s expect x within 4min since 58s\n',
  );
  t.regex(withTimings(text, { ...times, deadtimeMs: 1000, initdeadMs: 12_000 }) ?? '', /^at 40s/m);
  t.is(withTimings(text, { ...times, deadtimeMs: 61_000 }), null);
});

test('of a trace is told what tells the story', (t) => {
  const line = (object: string, text: string) => `   44.323908 beta  ${object.padEnd(9)} ${text}`;
  t.is(
    told(line('heartbeat', 'WARN: node alpha: is dead')),
    '  44.3 beta  heartbeat WARN: node alpha: is dead',
  );
  t.is(told(line('heartbeat', "Local status now set to: 'up'")), null);
  t.is(told(line('script', 'service status ends: 3 stopped')), null);
  t.is(told(line('script', `drbddisk::r0 start ends: 1 ${'x'.repeat(90)}`))?.length, COLUMNS);
});
