/** drbdsetup events2 and events with a real drbdd: what is, each step of what happens, handlers, and a reader that does not read. */
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { main as drbdsetup } from '../../src/cli/drbdsetup.js';
import type { NodeStatus } from '../../src/drbd/status.js';
import { daemon, directory, done, up } from '../support/drbdd-daemon.js';
import { memoryWorld } from '../support/memory-world.js';
import { until } from '../support/until.js';

test('events2 tells every step until drbdd ends, events in its own lines, --now what is', async (t) => {
  const dir = directory(t);
  const drbdd = await daemon(t, dir);
  const world = memoryWorld({ root: dir });
  const old = memoryWorld({ root: dir });
  const other = memoryWorld({ root: dir });
  await up(drbdd, dir, 1, 'exit 7'); // was there before
  const ended = drbdsetup(['events2'], world);
  const oldEnded = drbdsetup(['events', 'r0', '--all-devices', '--unfiltered'], old);
  const otherEnded = drbdsetup(['events2', 'r1', '--statistics'], other);
  await until(() => world.stdout().includes('exists -'), 'the first report');
  await until(() => other.stdout().includes('exists -'), 'of r1');
  await up(drbdd, dir, 0, 'exit 4');
  await done(drbdd, { verb: 'primary', minor: 0, force: false });
  await done(drbdd, { verb: 'secondary', minor: 0 }, { verb: 'down', resource: 'r0' });
  await until(() => world.stdout().includes('destroy resource name:r0'), 'the end of r0');
  const lines = world.stdout().split('\n');
  t.deepEqual(lines.slice(0, lines.indexOf('exists -')), [
    'exists resource name:r1 role:Secondary suspended:no',
    'exists device name:r1 volume:0 minor:1 disk:Consistent',
  ]);
  const told = [
    'create resource name:r0 role:Secondary suspended:no',
    'create device name:r0 volume:0 minor:0 disk:Diskless',
    'change device name:r0 volume:0 minor:0 disk:Attaching',
    'change device name:r0 volume:0 minor:0 disk:Inconsistent',
    'change resource name:r0 role:Primary',
    'change device name:r0 volume:0 minor:0 disk:Failed',
    'change device name:r0 volume:0 minor:0 disk:Consistent',
    'call helper name:r0 peer-node-id:0 conn-name:peer helper:fence-peer',
    'response helper name:r0 peer-node-id:0 conn-name:peer helper:fence-peer status:4',
    'change device name:r0 volume:0 minor:0 disk:UpToDate',
    'destroy device name:r0 volume:0 minor:0',
    'destroy resource name:r0',
  ];
  let at = 0;
  for (const line of told) {
    const found = lines.indexOf(line, at);
    t.true(found >= at, `${line}\nbehind line ${at} of\n${world.stdout()}`);
    at = found;
  }
  t.false(/r0/.test(other.stdout()), 'of r1 only');
  t.regex(
    other.stdout(),
    /^exists device name:r1 volume:0 minor:1 disk:Consistent size:\d+ read:/m,
  );
  t.regex(
    old.stdout(),
    /^\d+ ST 0,r0\[0\] \{ cs:StandAlone ro:Secondary\/Unknown ds:Consistent\/DUnknown r--- \}$/m,
  );
  t.regex(old.stdout(), /^\d+ UH 0,r0\[0\] fence-peer\n\d+ UH-post 0,r0\[0\] fence-peer 0x0400$/m);

  const now = memoryWorld({ root: dir });
  t.is(await drbdsetup(['events2', '--now', 'all'], now), 0);
  t.is(now.stdout(), `${lines.slice(0, 2).join('\n')}\nexists -\n`);
  const none = memoryWorld({ root: dir });
  t.is(await drbdsetup(['events2', 'r9'], none), 10);
  t.is(none.stderr(), 'r9: No such resource\n');
  await done(drbdd, { verb: 'shutdown' });
  t.deepEqual(await Promise.all([ended, oldEnded, otherEnded]), [20, 20, 20]);
});

test('a reader that does not read: drbdd goes on, and keeps little for it', async (t) => {
  const dir = directory(t);
  const drbdd = await daemon(t, dir);
  await up(drbdd, dir, 0, 'exit 4');
  const socket = connect({ path: join(dir, 'run/twinbeat/drbdd.sock') });
  t.teardown(() => socket.destroy());
  socket.pause();
  socket.write('{"id":1,"request":{"verb":"events","resource":null}}\n');
  let read = '';
  // More than a socket holds, and than drbdd keeps beside that: each pair is some 500 bytes.
  for (let i = 0; i < 1000; i++) {
    await done(drbdd, { verb: 'suspend-io', minor: 0 }, { verb: 'resume-io', minor: 0 });
  }
  await done(drbdd, { verb: 'suspend-io', minor: 0 });
  const status = await drbdd.request({ verb: 'status' });
  t.true(status.ok && (status.value as NodeStatus).resources.length === 1, 'others are answered');
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    read += chunk;
  });
  socket.resume();
  await until(() => /"action":"skipped"/.test(read), 'it is told that it has missed something');
  await until(() => read.endsWith('\n'), 'whole lines');
  const lines = read
    .trimEnd()
    .split('\n')
    .map((l) => JSON.parse(l));
  const skipped = lines.findIndex((l) => l.event?.action === 'skipped');
  t.true(lines[skipped].event.count > 100);
  const last = lines
    .slice(skipped)
    .filter((l) => l.event?.kind === 'resource')
    .at(-1);
  const suspended = last?.event.state.find((f: readonly string[]) => f[0] === 'suspended');
  t.true(suspended === undefined || suspended[1] === 'user', 'where it all led');
});
