/** The angel: what ends it, what makes it restart, and that nobody above the device notices a restart. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { command, launch, succeed } from '../support/command.js';
import { mountNamespace } from '../support/mount-namespace.js';
import { need } from '../support/need.js';
import { ANGEL, PlainNode } from '../support/plain-node.js';
import { until } from '../support/until.js';

const WRITER = fileURLToPath(new URL('../support/fsync-writer.js', import.meta.url));
const KILLS = 20;

function angel(...args: readonly string[]) {
  return command(ANGEL, ...args);
}

test('exit statuses: 0 ends, 75 and crashes restart, a wrong command line ends the first start', async (t) => {
  if (!need(t, ANGEL)) return;
  const steps =
    'n=$TWINBEAT_INCARNATION; echo $n; case $n in 1) exit 75;; 2) exit 3;; 3) kill -9 $$;; esac';
  const run = await angel('--', 'sh', '-c', steps);
  t.is(run.code, 0);
  t.is(run.stdout, '1\n2\n3\n4\n');
  t.regex(run.stderr, /incarnation 1 asks for a restart/);
  t.regex(run.stderr, /incarnation 2 ended with status 3/);
  t.regex(run.stderr, /incarnation 3 was killed by signal 9/);
  t.is((await angel('--', '/no/such/program')).code, 127);
  t.is((await angel('--', 'sh', '-c', 'exit 78')).code, 78);
  t.is((await angel('--fuse', 'many', '--', 'true')).code, 64);
  t.is((await angel('--')).code, 64);
});

test('quick deaths are followed by pauses that double', async (t) => {
  if (!need(t, ANGEL)) return;
  const run = await angel('--', 'sh', '-c', '[ $TWINBEAT_INCARNATION -lt 7 ] && exit 1; exit 0');
  t.is(run.code, 0);
  const pauses = [...run.stderr.matchAll(/next start in (\d+) ms/g)].map(([, ms]) => ms);
  t.deepEqual(pauses, ['50', '100', '200']);
});

test('every incarnation gets the same FUSE descriptors; a second angel is refused', async (t) => {
  if (!need(t, ANGEL, 'root', 'fuse')) return;
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-angel-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const pidfile = join(dir, 'pid');
  const script = [
    'echo $TWINBEAT_FUSE_FDS $TWINBEAT_ANGEL; cat $0',
    'for n in 3 4 5; do readlink /proc/$$/fd/$n; done',
    `${ANGEL} --pidfile $0 -- true; echo second $?`,
    '[ $TWINBEAT_INCARNATION = 1 ] && exit 75; exit 0',
  ].join('\n');
  const run = await angel('--fuse', '3', '--pidfile', pidfile, '--', 'sh', '-c', script, pidfile);
  t.is(run.code, 0);
  const pid = readFileSync(pidfile, 'utf8').trim();
  const once = `3-5 ${pid}\n${pid}\n${'/dev/fuse\n'.repeat(3)}second 1\n`;
  t.is(run.stdout, once + once);
});

test('SIGTERM is passed on; a child that crashes instead of ending is told again', async (t) => {
  if (!need(t, ANGEL)) return;
  const script = `
    trap 'echo told $TWINBEAT_INCARNATION; [ $TWINBEAT_INCARNATION = 1 ] && kill -9 $$; exit 0' TERM
    echo ready; while :; do sleep 0.05; done`;
  const child = spawn(ANGEL, ['--', 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.teardown(() => child.kill('SIGKILL'));
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    if (lines.length === 1) child.kill('SIGTERM');
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  t.is(code, 0);
  t.deepEqual(lines, ['ready', 'told 1', 'ready', 'told 2']);
});

interface Writer {
  readonly acknowledged: () => number;
  /** Resolves when a number above `than` was acknowledged. */
  readonly beyond: (than: number) => Promise<void>;
  readonly stop: () => Promise<readonly string[]>; // the errors
  /** Every acknowledged record is there. Throws what is missing. */
  readonly check: () => Promise<void>;
}

function startWriter(
  t: ExecutionContext,
  inside: readonly [string, ...string[]],
  file: string,
): Writer {
  const [program, ...enter] = inside;
  const child = spawn(program, [...enter, process.execPath, WRITER, 'write', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let last = 0;
  const errors: string[] = [];
  const waiting: (() => void)[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line.startsWith('error')) errors.push(line);
    else last = Number(line);
    for (const wake of waiting.splice(0)) wake();
  });
  const closed = new Promise<void>((resolve) => child.on('close', () => resolve()));
  void closed.then(() => {
    for (const wake of waiting.splice(0)) wake();
  });
  return {
    acknowledged: () => last,
    beyond: async (than) => {
      while (last <= than && errors.length === 0 && child.exitCode === null) {
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
    },
    stop: async () => {
      child.kill('SIGTERM');
      await closed;
      return errors;
    },
    check: async () => {
      await succeed(...inside, process.execPath, WRITER, 'check', file, String(last));
    },
  };
}

/** An ext4 on the device, mounted where only this test sees it, and somebody who writes and syncs there. */
async function mountedWriter(t: ExecutionContext, node: PlainNode) {
  const mount = join(node.dir, 'mnt');
  mkdirSync(mount);
  const inside = await mountNamespace(t);
  await succeed('mkfs.ext4', '-q', node.device);
  await succeed(...inside, 'mount', node.device, mount);
  return { inside, mount, writer: startWriter(t, inside, join(mount, 'records')) };
}

test(`${KILLS} kills of the daemon under a syncing writer and fio: no error, nothing lost`, async (t) => {
  if (!need(t, ANGEL, 'root', 'fuse', 'loop', 'netns', 'mkfs.ext4', 'fio')) return;
  const node = await PlainNode.start(t, { sizeBytes: 128 << 20, angel: true, engine: 'auto' });
  const { inside, mount, writer } = await mountedWriter(t, node);
  const fio = launch(
    ...inside,
    'fio',
    ...[
      '--name=v',
      '--verify_state_save=0',
      `--filename=${mount}/fio`,
      '--size=16m',
      '--rw=randwrite',
      '--bsrange=4k-256k',
    ],
    ...['--ioengine=libaio', '--iodepth=8', '--direct=1', '--loops=1000', '--runtime=1000'],
    ...['--verify=crc32c', '--verify_fatal=1', '--verify_backlog=64', '--rate=10m'],
  );
  const fioDead = fio.result.then(() => true);
  for (let kill = 1; kill <= KILLS; kill++) {
    await writer.beyond(writer.acknowledged() + 3);
    process.kill(node.daemonPid, 'SIGKILL');
    await node.incarnation(kill + 1);
  }
  await writer.beyond(writer.acknowledged() + 10);
  t.false(await Promise.race([fioDead, Promise.resolve(false)]), 'fio has not failed');
  t.deepEqual(await writer.stop(), []);
  const records = writer.acknowledged();
  fio.child.kill('SIGINT');
  const { code, stdout, stderr } = await fio.result;
  t.notRegex(stdout + stderr, /verify:|bad magic|Input\/output error/, `fio status ${code}`);
  await succeed(...inside, 'umount', mount);
  // Unmounted and mounted again, so that the page cache answers for nothing.
  await succeed('e2fsck', '-fn', node.device);
  await succeed(...inside, 'mount', node.device, mount);
  await writer.check();
  await succeed(...inside, 'umount', mount);
  t.log(`${records} synced records, ${KILLS} kills`);
  t.deepEqual(await node.ask('deactivate'), { answer: 'deactivate', ok: true });
  await node.ask('shutdown');
  node.tell('exit 0');
  t.is(await node.ended(), 0);
});

test('a full /run: killed or handed over, its successor serves', async (t) => {
  if (!need(t, ANGEL, 'root', 'fuse', 'loop', 'netns', 'mkfs.ext4', 'mount')) return;
  const options = { sizeBytes: 64 << 20, angel: true, engine: 'auto', fullRun: true } as const;
  const node = await PlainNode.start(t, options);
  const { inside, mount, writer } = await mountedWriter(t, node);
  for (let incarnation = 2; incarnation <= 6; incarnation++) {
    await writer.beyond(writer.acknowledged() + 3);
    if (incarnation % 2 === 0) process.kill(node.daemonPid, 'SIGKILL');
    else {
      t.true((await node.ask('drain'))['drained']);
      node.tell('exit 75');
    }
    await node.incarnation(incarnation);
  }
  await writer.beyond(writer.acknowledged() + 3);
  t.deepEqual(await writer.stop(), []);
  await succeed(...inside, 'umount', mount);
  t.deepEqual(await node.ask('deactivate'), { answer: 'deactivate', ok: true });
  await node.ask('shutdown');
  node.tell('exit 0');
  t.is(await node.ended(), 0);
});

test('an orderly hand-over: drained, status 75, the successor goes on', async (t) => {
  if (!need(t, ANGEL, 'root', 'fuse', 'loop', 'netns', 'mkfs.ext4')) return;
  const node = await PlainNode.start(t, { sizeBytes: 64 << 20, angel: true, engine: 'auto' });
  const { inside, mount, writer } = await mountedWriter(t, node);
  for (let restart = 1; restart <= 5; restart++) {
    await writer.beyond(writer.acknowledged() + 20);
    t.true((await node.ask('drain'))['drained']);
    node.tell('exit 75');
    await node.incarnation(restart + 1);
  }
  await writer.beyond(writer.acknowledged() + 20);
  t.deepEqual(await writer.stop(), []);
  await writer.check();
  await succeed(...inside, 'umount', mount);
  t.regex(node.errors, /incarnation 5 asks for a restart/);
});

test('a dead daemon with a thread in its own device gets a successor, which frees it', async (t) => {
  if (!need(t, ANGEL, 'root', 'fuse', 'loop')) return;
  const node = await PlainNode.start(t, { sizeBytes: 8 << 20, angel: true, engine: 'auto' });
  const first = node.daemonPid;
  await node.ask(`stick ${node.file}`);
  process.kill(first, 'SIGKILL');
  await node.incarnation(2);
  t.regex(node.errors, /a thread waits for our own device: starting its successor/);
  // The successor answers the read that was resent, and with it the dead process goes.
  await until(() => !existsSync(`/proc/${first}`), 'the end of the dead daemon');
  await succeed('dd', `if=${node.device}`, 'of=/dev/null', 'count=8');
});
