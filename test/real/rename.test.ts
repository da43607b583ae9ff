/** rename-resource with a real drbdd, and the names below /dev. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { main as drbdsetup } from '../../src/cli/drbdsetup.js';
import { DeviceLinks, linkTarget } from '../../src/real/device-links.js';
import { daemon, directory, done, up } from '../support/drbdd-daemon.js';
import { memoryWorld } from '../support/memory-world.js';
import { until } from '../support/until.js';

test('a Primary keeps its role, its minors and its handlers; who listens hears of both names', async (t) => {
  const dir = directory(t);
  const drbdd = await daemon(t, dir);
  const world = memoryWorld({ root: dir });
  const handler = `test "$DRBD_RESOURCE" = new && exit 4; exit 1`;
  await up(drbdd, dir, 0, handler);
  const ended = drbdsetup(['events2'], world);
  await until(() => world.stdout().includes('exists -'), 'the first report');

  t.is(await drbdsetup(['rename-resource', 'r0', 'new'], memoryWorld({ root: dir })), 0);
  await until(() => world.stdout().includes('create device name:new'), 'the new name');
  t.true(world.stdout().includes('destroy resource name:r0'));
  // fence-peer is that of the resource, and is told its new name: with exit 1 there would be no promotion.
  await done(drbdd, { verb: 'primary', minor: 0, force: false });
  t.true(world.stdout().includes('response helper name:new'), world.stdout());
  t.is(await drbdsetup(['rename-resource', 'new', 'newer'], memoryWorld({ root: dir })), 0);
  const role = memoryWorld({ root: dir });
  t.is(await drbdsetup(['role', '0'], role), 0);
  t.is(role.stdout(), 'Primary/Unknown\n');
  const missing = memoryWorld({ root: dir });
  t.is(await drbdsetup(['rename-resource', 'r0', 'x'], missing), 10);
  t.regex(missing.stderr(), /^r0: Failure: \(158\)/);
  await done(drbdd, { verb: 'secondary', minor: 0 }, { verb: 'down', resource: 'newer' });
  await done(drbdd, { verb: 'shutdown' });
  t.is(await ended, 20);
});

test('by-res has the new name, and /dev/drbdN is never away', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'links-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  const dev = (path: string) => linkTarget(join(root, 'dev', path));
  const links = new DeviceLinks(root);
  links.add(0, '/dev/drbd0', 'old', 0, '/a');
  links.rename('old', 'new');
  t.deepEqual([dev('drbd0'), dev('drbd/by-res/new'), dev('drbd/by-res/old')], ['/a', '/a', null]);
  links.add(1, '/dev/drbd1', 'new', 1, '/b');
  links.rename('new', 'third');
  t.deepEqual([dev('drbd/by-res/third/0'), dev('drbd/by-res/third/1')], ['/a', '/b']);
  t.deepEqual(readdirSync(join(root, 'dev/drbd/by-res')), ['third']);
  links.point(0, '/c');
  t.deepEqual([dev('drbd0'), dev('drbd/by-res/third/0')], ['/c', '/c']);
  links.remove(0);
  links.remove(1);
  t.deepEqual(readdirSync(join(root, 'dev/drbd/by-res')), []);
});
