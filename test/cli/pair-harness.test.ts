/** The harness of the demo and the soak test, with plain programs: what it promises about nodes, cables and clean-up. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Pair, type PairOptions } from '../../src/cli/pair.js';
import { nodeAddress } from '../../src/cli/pair-cable.js';
import { backFileOf, loops } from '../../src/cli/pair-loops.js';
import { run, waitUntil } from '../../src/cli/pair-run.js';
import { need } from '../support/need.js';

const WANTS = ['root', 'loop', 'netns', 'ip', 'nsenter', 'losetup'];

async function made(t: ExecutionContext, options: Partial<PairOptions> = {}): Promise<Pair> {
  const pair = await Pair.create({ diskMiB: 32, ...options });
  t.teardown(() => pair.destroy());
  return pair;
}

test('two nodes with their own names, files, disks and addresses', async (t) => {
  if (!need(t, ...WANTS, 'ping')) return;
  const text = 'resource r0 {}\n';
  const pair = await made(t, { files: { '/etc/drbd.conf': { text, mode: 0o600 } } });
  for (const node of pair.nodes) {
    t.is((await node.must(['uname', '-n'])).trim(), node.name);
    t.is(await node.must(['cat', '/etc/drbd.conf']), text);
    t.is((await node.must(['stat', '-c', '%a', '/etc/drbd.conf'])).trim(), '600');
    t.is((await node.must(['blockdev', '--getsize64', '/dev/sdb1'])).trim(), String(32 << 20));
    await node.must(['sh', '-c', `echo ${node.name} | dd of=/dev/sdb1 conv=fsync status=none`]);
    await node.must(['sh', '-c', 'echo "$0" >/var/lib/twinbeat/who', node.name]);
    t.regex(await node.must(['id', 'root']), /uid=0/); // the machine's own files shine through
  }
  for (const node of pair.nodes) {
    t.true((await node.must(['head', '-c', '20', '/dev/sdb1'])).startsWith(`${node.name}\n`));
    t.is(await node.must(['cat', '/var/lib/twinbeat/who']), `${node.name}\n`);
    for (const net of ['lan', 'link'] as const) {
      await node.must(['ping', '-c1', '-W5', nodeAddress(net, node.index === 0 ? 1 : 0)]);
    }
  }
  t.false(existsSync('/var/lib/twinbeat/who'));
  t.is((await pair.cable.exec(['ping', '-c1', '-W5', nodeAddress('lan', 0)])).status, 0);
  const failed = await pair.node(0).exec(['sh', '-c', 'echo said; echo complained >&2; exit 7']);
  t.deepEqual(failed, { status: 7, stdout: 'said\n', stderr: 'complained\n' });
  const stuck = await pair.node(0).exec(['sleep', '1000'], { timeoutMs: 200 });
  t.is(stuck.status, 137);
  t.is((await pair.node(0).exec(['pidof', 'sleep'])).status, 1, 'nothing stays of it');
});

test('a power cut ends everything in the node and keeps its disk', async (t) => {
  if (!need(t, ...WANTS, 'socat', 'mkfs.ext4')) return;
  const pair = await made(t);
  const node = pair.node(0);
  await node.must(['mkfs.ext4', '-q', '/dev/sdb1']);
  await node.must([
    'sh',
    '-c',
    'mkdir /drbd 2>/dev/null; mount /dev/sdb1 /mnt && echo kept >/mnt/f && sync',
  ]);
  await node.must(['sh', '-c', 'echo gone >/run/volatile']);
  // A daemon in a session of its own, ignoring what can be ignored, with a connection to the peer.
  const peer = await pair.node(1).spawn(['socat', '-u', 'TCP-LISTEN:7', 'STDOUT'], 'socat');
  t.true(
    await waitUntil(async () => (await pair.node(1).must(['ss', '-ltn'])).includes(':7 '), 30_000),
  );
  const daemon = await node.spawn(
    [
      'sh',
      '-c',
      `trap "" TERM HUP INT; echo alive | socat -t1000 - TCP:${nodeAddress('lan', 1)}:7,shut-none; sleep 1000`,
    ],
    'daemon',
  );
  t.true(
    await waitUntil(() => readFileSync(pair.node(1).log('socat'), 'utf8') === 'alive\n', 30_000),
  );
  const start = performance.now();
  await node.powerCut();
  t.log(`power cut: ${Math.round(performance.now() - start)} ms`);
  t.false(node.isOn);
  t.not(await daemon.done, 0);
  t.throws(() => node.exec(['true']), { message: /switched off/ });
  // No FIN and no RST: the peer still believes in the connection.
  t.regex(await pair.node(1).must(['ss', '-tn', 'state', 'established']), /:7 /);
  peer.kill('SIGKILL');
  await peer.done;

  await pair.powerOn(0);
  t.not((await node.exec(['test', '-e', '/run/volatile'])).status, 0);
  t.is((await node.exec(['mountpoint', '-q', '/mnt'])).status === 0, false);
  await node.must(['mount', '/dev/sdb1', '/mnt']);
  t.is(await node.must(['cat', '/mnt/f']), 'kept\n');
  t.true(
    await waitUntil(
      async () => (await node.exec(['ping', '-c1', '-W1', nodeAddress('link', 1)])).status === 0,
      10_000,
    ),
  );
});

test('cables are cut and healed one by one', async (t) => {
  if (!need(t, ...WANTS, 'ping')) return;
  const pair = await made(t);
  const reaches = (net: 'lan' | 'link') =>
    pair
      .node(0)
      .exec(['ping', '-c1', '-W1', nodeAddress(net, 1)])
      .then((ran) => ran.status === 0);
  for (const how of ['carrier', 'silent'] as const) {
    t.true(await waitUntil(() => reaches('link'), 30_000));
    await pair.cable.cut('link', 0, how);
    t.false(await reaches('link'));
    t.true(await reaches('lan'));
    t.regex(await pair.node(0).must(['ip', 'addr', 'show', 'eth1']), /10\.77\.1\.1/);
    await pair.cable.heal('link');
    t.true(await waitUntil(() => reaches('link'), 30_000), how);
  }
});

test('a loop device on a FUSE file goes with its node', async (t) => {
  if (!need(t, ...WANTS, 'fuse', 'nbdfuse', 'qemu-nbd', 'mkfs.ext4')) return;
  const pair = await made(t);
  const node = pair.node(0);
  await node.must(['sh', '-c', 'truncate -s 16M /var/lib/twinbeat/img; : >/run/twinbeat/drbd0']);
  const serve = [
    'nbdfuse',
    '/run/twinbeat/drbd0',
    '[',
    'qemu-nbd',
    '-f',
    'raw',
    '/var/lib/twinbeat/img',
    ']',
  ];
  await node.spawn(serve, 'nbdfuse');
  const up = await waitUntil(
    async () =>
      (await node.must(['stat', '-c', '%s', '/run/twinbeat/drbd0'])).trim() === String(16 << 20),
    10_000,
  );
  t.true(up, readFileSync(node.log('nbdfuse'), 'utf8'));
  const device = (await node.must(['losetup', '--find', '--show', '/run/twinbeat/drbd0'])).trim();
  await node.must(['mkfs.ext4', '-q', device]);
  await node.must(['mount', device, '/mnt']);
  const writer = await node.spawn(
    ['sh', '-c', 'while :; do date >/mnt/f; sync -f /mnt/f; done'],
    'writer',
  );
  t.regex(backFileOf(device), /drbd0$/);
  await node.powerCut();
  await writer.done;
  t.is(backFileOf(device), '');
});

test('what a killed harness leaves is cleared away by the next', async (t) => {
  if (!need(t, ...WANTS)) return;
  const script = `
    const { Pair } = await import(${JSON.stringify(new URL('../../src/cli/pair.js', import.meta.url).href)});
    const pair = await Pair.create({ diskMiB: 8 });
    const daemon = await pair.node(0).spawn(['sleep', '12345'], 'daemon');
    console.log(JSON.stringify({ dir: pair.dir, daemon: daemon.pid, first: pair.node(0).first.pid }));
    setInterval(() => undefined, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const line = await new Promise<string>((done) =>
    child.stdout.once('data', (d: Buffer) => done(d.toString())),
  );
  const left = JSON.parse(line) as { dir: string; daemon: number; first: number };
  t.true(existsSync(`/proc/${left.daemon}`));
  const dead = new Promise((done) => child.once('exit', done));
  child.kill('SIGKILL');
  await dead;
  t.true(await waitUntil(() => !existsSync(`/proc/${left.first}`), 30_000), 'the nodes go with it');
  t.false(existsSync(`/proc/${left.daemon}`));
  // A pair of another test that is made just now may have cleared it away.
  await Pair.clearLeftOvers();
  t.false(existsSync(left.dir));
  t.false(loops().some((l) => l.backFile.startsWith(left.dir)));
});

test('a pair that is kept outlives its harness and is removed by its directory', async (t) => {
  if (!need(t, ...WANTS)) return;
  const script = `
    const { Pair } = await import(${JSON.stringify(new URL('../../src/cli/pair.js', import.meta.url).href)});
    const pair = await Pair.create({ diskMiB: 8 });
    pair.keep();
    console.log(pair.dir);`;
  const made = await run([process.execPath, '--input-type=module', '-e', script]);
  const dir = made.stdout.trim();
  t.is(made.status, 0, made.stderr);
  t.teardown(() => Pair.remove(dir));
  t.true(Pair.kept().includes(dir));
  t.false((await Pair.clearLeftOvers()).includes(dir), 'not taken for a left-over');
  t.is((await run([join(dir, 'alpha'), 'uname', '-n'])).stdout, 'alpha\n');
  const ping = await run([join(dir, 'client'), 'ping', '-c1', '-W5', nodeAddress('lan', 1)]);
  t.is(ping.status, 0, ping.stdout);
  // Orphans are reaped by the first process in both of its lives.
  await run([join(dir, 'beta'), 'sh', '-c', 'setsid sleep 0.01 & exit 0']);
  const zombies = async () =>
    (await run([join(dir, 'beta'), 'sh', '-c', 'grep -l "^State:.Z" /proc/[0-9]*/status'])).stdout;
  t.true(await waitUntil(async () => (await zombies()) === '', 30_000));
  await Pair.remove(dir);
  t.false(existsSync(dir));
  t.false(loops().some((l) => l.backFile.startsWith(dir)));
});
