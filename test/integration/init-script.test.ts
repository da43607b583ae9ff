/**
 * etc/init.d/drbd on a pair, with real daemons: what a boot, a status, a reload and a shut-down do, their exit statuses, and
 * which of the start-up timeouts ends the wait. Where Debian's own script is installed, it is run against the same drbdd and
 * says the same. Sources: the script of drbd-utils 9.22 observed; docs/BOOT.md.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { PROJECT } from '../../src/cli/pair.js';
import { Cluster } from '../../src/cli/pair-cluster.js';
import { DEVICE, drbdConf, RESOURCE } from '../../src/cli/pair-config.js';
import type { Ran } from '../../src/cli/pair-run.js';
import { LIMIT_MS, until, WANTS } from '../support/disk-pair.js';
import { need } from '../support/need.js';

const SCRIPT = join(PROJECT, 'etc/init.d/drbd');
const DEBIAN = '/lib/drbd/scripts/drbd';
const BIN = join(PROJECT, 'build/bin');

interface Startup {
  readonly startup?: string;
  readonly net?: string;
}

function conf(cluster: Cluster, { startup = '', net = '' }: Startup = {}): string {
  return drbdConf([cluster.node(0).name, cluster.node(1).name])
    .replace(/ping-int 2;.*/, `ping-int 1;\n        ping-timeout 5; ${net}`)
    .replace('connect-int 3;', 'connect-int 1;')
    .replace('    disk {', `    startup { ${startup} }\n    disk {`);
}

async function configure(cluster: Cluster, options: Startup = {}): Promise<void> {
  for (const index of [0, 1] as const) {
    await cluster.node(index).writeFile('/etc/drbd.conf', conf(cluster, options));
  }
}

function script(cluster: Cluster, index: 0 | 1, verb: string, path = SCRIPT): Promise<Ran> {
  return cluster.node(index).exec([path, verb], { timeoutMs: LIMIT_MS });
}

async function expect(
  t: ExecutionContext,
  cluster: Cluster,
  index: 0 | 1,
  verb: string,
  status: number,
): Promise<Ran> {
  const ran = await script(cluster, index, verb);
  t.is(ran.status, status, `${verb} on ${index}: ${ran.stdout}${ran.stderr}`);
  return ran;
}

/** Two nodes with metadata and the script's settings; no daemon runs. */
async function nodes(t: ExecutionContext, options: Startup = {}): Promise<Cluster> {
  const cluster = await Cluster.create({ kind: 'ledger', diskMiB: 64 });
  t.teardown(() => cluster.destroy());
  await configure(cluster, options);
  for (const index of [0, 1] as const) {
    await settings(cluster, index);
    await cluster.createMetaData(index);
  }
  return cluster;
}

/** Also makes Debian's script find our programs and the status file. */
async function settings(cluster: Cluster, index: 0 | 1): Promise<void> {
  const text = `PATH=${BIN}:${process.execPath.replace(/\/[^/]*$/, '')}:$PATH\nPROC_DRBD=/run/twinbeat/proc/drbd\nLOG=/var/log/drbdd.out\n`;
  await cluster.node(index).writeFile('/etc/default/drbd', text);
}

async function bothStart(t: ExecutionContext, cluster: Cluster): Promise<readonly Ran[]> {
  const both = [0, 1] as const;
  return Promise.all(both.map((index) => expect(t, cluster, index, 'start', 0)));
}

async function isUp(cluster: Cluster, index: 0 | 1): Promise<boolean> {
  return (await cluster.ask(index, 'drbdsetup', 'status')).status === 0;
}

test.serial(
  'start, status, reload, stop: what an administrator sees, and exit statuses',
  async (t) => {
    if (!need(t, ...WANTS, 'mkfs.ext4', 'column')) return;
    const cluster = await nodes(t);
    const node = cluster.node(0);
    const idle = await expect(t, cluster, 0, 'status', 3);
    t.deepEqual([idle.stdout, idle.stderr], ['', 'drbd not loaded\n']);
    const wrong = await expect(t, cluster, 0, 'frobnicate', 1);
    t.regex(wrong.stdout, /^Usage: .*\{start\|stop\|status\|reload\|restart\|force-reload\}\n$/);

    const [first] = await bothStart(t, cluster);
    t.true(
      first?.stdout.includes(
        `[\n     create res: ${RESOURCE}\n   prepare disk: ${RESOURCE}\n    adjust disk: ${RESOURCE}\n     adjust net: ${RESOURCE}\n]\n`,
      ),
      first?.stdout,
    );
    await until(cluster, 'the nodes are connected', async () =>
      /cs:Connected/.test(await cluster.procDrbd(0)),
    );
    // Again, with everything up already: nothing to do, nothing to wait for.
    const again = await expect(t, cluster, 0, 'start', 0);
    t.true(again.stdout.includes('[\n]\n'), again.stdout);

    await cluster.type(0, 'drbdadm', '--', '--clear-bitmap', 'new-current-uuid', RESOURCE);
    await cluster.type(0, 'drbdadm', 'primary', RESOURCE);
    // wait-sync, with a resync running; then given up and waited for all the same.
    await cluster.type(1, 'drbdadm', 'invalidate', RESOURCE);
    await cluster.type(1, 'drbdsetup', 'wait-sync', '0');
    t.regex(await cluster.procDrbd(1), /cs:Connected .*ds:UpToDate\/UpToDate/);
    await cluster.type(1, 'drbdadm', 'disconnect', RESOURCE);
    await cluster.type(1, 'drbdsetup', 'wait-connect', '0');
    const patient = ['drbdsetup', 'wait-connect', '0', '--wfc-timeout=1', '--wait-after-sb'];
    const waited = await cluster.node(1).exec(patient, { timeoutMs: LIMIT_MS });
    t.is(waited.status, 5);
    t.regex(waited.stderr, /\ndrbd0 \(r0\[0\]\) is StandAlone, but I'm configured to wait anways/);
    // restart: down, the daemon too, and up again.
    const before = await cluster.type(1, 'cat', '/run/twinbeat/drbdd.pid');
    await expect(t, cluster, 1, 'restart', 0);
    t.not(await cluster.type(1, 'cat', '/run/twinbeat/drbdd.pid'), before);
    await until(cluster, 'the nodes are connected again', async () =>
      /cs:Connected .*ds:UpToDate\/UpToDate/.test(await cluster.procDrbd(0)),
    );
    await cluster.type(0, 'mkfs.ext4', '-q', DEVICE);
    await cluster.type(0, 'mkdir', '-p', '/drbd');
    await cluster.type(0, 'mount', DEVICE, '/drbd');
    const shown = await expect(t, cluster, 0, 'status', 0);
    const lines = shown.stdout.split('\n');
    t.is(lines[0], 'drbd driver loaded OK; device status:');
    t.regex(lines[1] ?? '', /^version: 8\.4\.11 \(api:1\/proto:86-101\)$/);
    t.regex(lines[3] ?? '', /^m:res +cs +ro +ds +p +mounted +fstype$/);
    t.regex(
      lines[4] ?? '',
      /^0:r0 +Connected +Primary\/Secondary +UpToDate\/UpToDate +C +\/drbd +ext4$/,
    );
    if (existsSync(DEBIAN)) {
      const theirs = await script(cluster, 0, 'status', DEBIAN);
      t.is(theirs.status, 0);
      // Theirs finds no mount: it looks for /dev/drbd0, and /proc/mounts has the device that this is a link to.
      const plain = (text: string): string =>
        text
          .replace(/ +mounted +fstype| +\/drbd +ext4/g, '')
          .replace(/ +/g, ' ')
          .replace(/ $/gm, '');
      t.is(plain(shown.stdout), plain(theirs.stdout));
      // On the other node, where nothing is mounted, with all columns.
      const [mine, debians] = [
        await script(cluster, 1, 'status'),
        await script(cluster, 1, 'status', DEBIAN),
      ];
      t.is(mine.stdout, debians.stdout.replace(/ +$/gm, ''));
    }
    const overview = await cluster.type(0, 'drbd-overview');
    t.regex(
      overview,
      /^ {2}0:r0\/0 {2}Connected Primary\/Secondary UpToDate\/UpToDate C r----- \/drbd ext4 \S+M \S+ \S+M \d+%\n$/,
    );

    // reload: adjust.
    await node.writeFile('/etc/drbd.conf', conf(cluster, { net: 'ko-count 5;' }));
    await expect(t, cluster, 0, 'reload', 0);
    t.regex(await cluster.type(0, 'drbdsetup', 'show', RESOURCE), /ko-count\s+5;/);
    await node.writeFile('/etc/drbd.conf', 'resource r0 { nonsense; }\n');
    await expect(t, cluster, 0, 'reload', 10);
    // Stopping does not need the file.
    await expect(t, cluster, 1, 'stop', 0);
    await expect(t, cluster, 1, 'status', 3);

    // In use: it stays, and says who is in the way; afterwards it goes.
    const sleeper = await node.spawn(['sh', '-c', 'cd /drbd && exec sleep 600'], 'sleeper');
    await until(cluster, 'somebody is in /drbd', async () =>
      /^\/drbd/.test(
        (await node.exec(['sh', '-c', 'readlink /proc/[0-9]*/cwd | grep /drbd'])).stdout,
      ),
    );
    const busy = await expect(t, cluster, 0, 'stop', 1);
    t.regex(busy.stderr, /busy/);
    t.true(await isUp(cluster, 0));
    sleeper.kill('SIGKILL');
    await sleeper.done;
    await until(cluster, 'nobody is in /drbd', async () =>
      /^$/.test((await node.exec(['sh', '-c', 'readlink /proc/[0-9]*/cwd | grep /drbd'])).stdout),
    );
    await expect(t, cluster, 0, 'stop', 0);
    t.false(await isUp(cluster, 0));
    t.is((await node.exec(['sh', '-c', 'pgrep -c -f "drbdd[.]js"'])).stdout.trim(), '0');
    await expect(t, cluster, 0, 'stop', 0);

    // The file cannot be used: 6, and no daemon is started for it. No program: 5.
    const broken = await expect(t, cluster, 0, 'start', 6);
    t.regex(broken.stderr, /drbd\.conf:1/);
    t.false(await isUp(cluster, 0));
    await node.writeFile('/etc/default/drbd', 'PATH=/usr/bin:/bin\n');
    await expect(t, cluster, 0, 'start', 5);
  },
);

test.serial('which timeout ends the wait at boot', async (t) => {
  if (!need(t, ...WANTS, 'script')) return;
  // Alone, never connected: wfc-timeout. It would be for ever by degr-wfc-timeout.
  const cluster = await nodes(t, {
    startup: 'wfc-timeout 1; degr-wfc-timeout 1; outdated-wfc-timeout 1;',
  });
  const wait = (limits: string): Promise<Ran> =>
    cluster
      .node(0)
      .exec(['drbdsetup', 'wait-connect', '0', ...limits.split(' ')], { timeoutMs: LIMIT_MS });
  await expect(t, cluster, 0, 'start', 0);
  t.is((await wait('--wfc-timeout=1')).status, 5);

  // A Primary that lost its peer, then its power: degr-wfc-timeout. wfc-timeout 0 would wait for ever.
  await configure(cluster, {
    startup: 'wfc-timeout 0; degr-wfc-timeout 1; become-primary-on alpha;',
  });
  await expect(t, cluster, 1, 'start', 0);
  await until(cluster, 'the nodes are connected', async () =>
    /cs:Connected/.test(await cluster.procDrbd(0)),
  );
  await cluster.type(0, 'drbdadm', '--', '--clear-bitmap', 'new-current-uuid', RESOURCE);
  await cluster.type(0, 'drbdadm', 'primary', RESOURCE);
  await cluster.node(1).powerCut();
  await until(cluster, 'it is alone', async () =>
    /cs:WFConnection/.test(await cluster.procDrbd(0)),
  );
  await cluster.node(0).powerCut();
  await cluster.pair.powerOn(0);
  const degraded = await expect(t, cluster, 0, 'start', 0);
  t.false(degraded.stdout.includes('...'), 'it did not wait for long');
  // become-primary-on holds at the end.
  t.regex(await cluster.procDrbd(0), /cs:WFConnection ro:Primary\/Unknown ds:UpToDate\/DUnknown/);

  // Stopped in good order, it was not degraded: wfc-timeout again, for ever, until the operator ends it.
  await expect(t, cluster, 0, 'stop', 0);
  const node = cluster.node(0);
  const boot = await node.spawn([SCRIPT, 'start'], 'boot');
  const said = (): Promise<string> => node.must(['cat', '/var/log/boot.out']);
  await until(cluster, 'it waits', async () => /\]\n\.|WARN/.test(await said()));
  const onTerminal =
    'mkfifo /run/typed && script -qefc "drbdadm wait-con-int" /dev/null 0<>/run/typed';
  const terminal = await node.spawn(['sh', '-c', onTerminal], 'terminal');
  await until(cluster, 'the script says how to end it', async () => /kill \d+/.test(await said()));
  const text = await said();
  t.regex(text, /WARN: stdin\/stdout is not a TTY; using \/dev\/console\n/);
  t.true(
    text.includes(
      '..........\n***************************************************************\n' +
        " DRBD's startup script waits for the peer node(s) to appear.\n" +
        ' - If this node was already a degraded cluster before the\n' +
        '   reboot, the timeout is 1 seconds. [degr-wfc-timeout]\n' +
        ' - If the peer was available before the reboot, the timeout\n' +
        '   is 0 seconds. [wfc-timeout]\n' +
        "   (These values are for resource 'r0'; 0 sec -> wait forever)\n" +
        ' To abort waiting for DRBD connections, kill this process: kill ',
    ),
    text,
  );
  const [, pid = ''] = /kill (\d+)/.exec(text) ?? [];
  await node.must(['kill', pid]);
  t.is(await boot.done, 0);
  t.regex(await cluster.procDrbd(0), /ro:Primary\/Unknown/);

  // At a terminal: a word that is not yes, the end of the input, then yes.
  const seen = (): Promise<string> => node.must(['cat', '/var/log/terminal.out']);
  const type = (what: string): Promise<string> =>
    node.must(['sh', '-c', `printf '${what}' >/run/typed`]);
  const asked = async (times: number): Promise<void> =>
    until(
      cluster,
      `it asked ${times} times`,
      async () => (await seen()).split("enter 'yes' [ -- ]:").length > times,
    );
  await asked(1);
  await type('perhaps\\n');
  await asked(2);
  await type('\\004');
  await type('\\004no\\n');
  await asked(3);
  t.regex(await seen(), /\[ {2}1\d\]:/);
  await type('yes\\n');
  t.is(await terminal.done, 0);
});
