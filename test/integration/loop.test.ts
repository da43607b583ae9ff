/** Promotion and demotion of a device that is in use, and what is left after a crash without the angel. */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { command, succeed } from '../support/command.js';
import { mountNamespace } from '../support/mount-namespace.js';
import { need } from '../support/need.js';
import { PlainNode } from '../support/plain-node.js';

const PLAIN = { sizeBytes: 32 << 20, angel: false, engine: 'auto' } as const;

test('a mounted device is not taken away; the refusal names the mount', async (t) => {
  if (!need(t, 'root', 'fuse', 'loop', 'netns', 'mkfs.ext4')) return;
  const node = await PlainNode.start(t, PLAIN);
  const mount = join(node.dir, 'a mount');
  mkdirSync(mount);
  const inside = await mountNamespace(t);
  await succeed('mkfs.ext4', '-q', node.device);
  await succeed(...inside, 'mount', node.device, mount);
  const refused = await node.ask('deactivate');
  t.is(refused['ok'], false);
  t.true(JSON.stringify(refused['evidence']).includes(`mounted on ${mount} `));
  await succeed(...inside, 'dd', 'if=/dev/zero', `of=${mount}/f`, 'bs=1M', 'count=4', 'conv=fsync');
  await succeed(...inside, 'umount', mount);
  t.is((await node.ask('deactivate'))['ok'], true);
  t.is(readlinkSync(node.device), node.file);
});

test('an open device is not taken away and stays when its user goes', async (t) => {
  if (!need(t, 'root', 'fuse', 'loop')) return;
  const node = await PlainNode.start(t, PLAIN);
  const user = spawn('sh', ['-c', `exec 7<${node.loop}; echo open; read line`], { stdio: 'pipe' });
  t.teardown(() => user.kill('SIGKILL'));
  await new Promise<void>((resolve) => user.stdout.once('data', () => resolve()));
  const refused = await node.ask('deactivate');
  t.is(refused['ok'], false);
  t.deepEqual(refused['holders'], [{ kind: 'process', pid: user.pid, name: 'sh' }]);
  const gone = new Promise<void>((resolve) => user.once('close', () => resolve()));
  user.stdin.end('\n');
  await gone;
  // The refusal took AUTOCLEAR back, otherwise that close would have unbound the device of a Primary.
  t.is(readFileSync(`/sys/block/${node.loop.slice(5)}/loop/autoclear`, 'utf8').trim(), '0');
  await succeed('dd', `if=${node.device}`, 'of=/dev/null', 'count=8');
  t.is((await node.ask('deactivate'))['ok'], true);
});

test('what a buffered writer left in the page cache is on the disk after the demotion', async (t) => {
  if (!need(t, 'root', 'fuse', 'loop')) return;
  const node = await PlainNode.start(t, PLAIN);
  // An open by somebody else keeps the writer's close from writing anything out.
  const other = spawn('sh', ['-c', `exec 7<${node.loop}; echo open; read line`], { stdio: 'pipe' });
  t.teardown(() => other.kill('SIGKILL'));
  await new Promise<void>((resolve) => other.stdout.once('data', () => resolve()));
  await succeed('sh', '-c', `yes twinbeat | head -c 8388608 > ${node.dir}/pattern`);
  await succeed('dd', `if=${node.dir}/pattern`, `of=${node.loop}`, 'bs=1M', 'conv=notrunc');
  const released = node.ask('deactivate');
  other.stdin.end('\n'); // at some moment of the release
  t.is((await released)['ok'], true);
  const pattern = readFileSync(`${node.dir}/pattern`);
  t.true(readFileSync(node.disk).subarray(0, pattern.length).equals(pattern));
});

test('a removed minor keeps its mount and gets it again', async (t) => {
  if (!need(t, 'root', 'fuse', 'loop')) return;
  const node = await PlainNode.start(t, PLAIN);
  const byRes = join(node.root, 'dev/drbd/by-res/r0');
  t.is(readlinkSync(byRes), node.loop);
  t.like(await node.ask('remove'), { ok: true, parked: true });
  t.not((await command('stat', node.device)).code, 0, 'the links are gone');
  t.not((await command('dd', `if=${node.file}`, 'of=/dev/null', 'count=1')).code, 0);
  await node.ask('create');
  t.regex(String((await node.ask('activate'))['loop']), /loop/);
  await succeed('dd', `if=${node.device}`, 'of=/dev/null', 'count=8');
});

test('after a crash without the angel the next start clears away and serves again', async (t) => {
  if (!need(t, 'root', 'fuse', 'loop')) return;
  const node = await PlainNode.start(t, PLAIN);
  await succeed('dd', 'if=/dev/urandom', `of=${node.device}`, 'bs=1M', 'count=2', 'oflag=direct');
  const old = node.loop;
  process.kill(node.daemonPid, 'SIGKILL');
  await node.ended();
  t.not((await command('dd', `if=${old}`, 'of=/dev/null', 'count=8', 'iflag=direct')).code, 0);
  await node.run();
  await succeed('cmp', '-n', `${2 << 20}`, node.device, node.disk);
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
  t.is(mounts.split(` ${node.file} `).length - 1, 1, 'one mount, not two');
});
