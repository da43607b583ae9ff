/** A client on the API of a real daemon through a reload and the daemon's end. */
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { resolve } from 'node:path';
import test from 'ava';
import { encodeFrame, FrameReader } from '../../src/wire/client-frame.js';
import { fieldOf, type HaMessage, haFields } from '../../src/wire/hamsg.js';
import { BUILT, HeartbeatRoot } from '../support/heartbeat-root.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';

const HEARTBEAT = `${BUILT}/heartbeat`;
const REGISTER = '/run/heartbeat/register';

test('a reload leaves a client where it is, and joins it again; the end sends it away', async (t) => {
  if (!need(t, 'root', resolve('build/native/twinbeat.node'))) return;
  const root = await HeartbeatRoot.create(t);
  const haCf = `${root.read('/etc/ha.d/ha.cf')}apiauth foo uid=root\n`;
  await root.write('/etc/ha.d/ha.cf', haCf);
  t.is((await root.run(HEARTBEAT)).code, 0);
  const log = () => root.read('/var/log/ha-log');
  await until(() => existsSync(root.path(REGISTER)), log);

  const socket = connect(root.path(REGISTER));
  t.teardown(() => socket.destroy());
  const reader = new FrameReader();
  const heard: HaMessage[] = [];
  let isClosed = false;
  socket.on('close', () => {
    isClosed = true;
  });
  socket.on('data', (bytes) => {
    reader.push(bytes);
    for (let next = reader.next(); next !== null; next = reader.next()) {
      if (next.ok) heard.push(next.message);
    }
  });
  const count = (type: string, st: string | null) =>
    heard.filter((one) => fieldOf(one, 't') === type && fieldOf(one, 'st') === st).length;
  const ask = (reqtype: string) =>
    socket.write(
      encodeFrame(haFields({ t: 'hbapi-req', reqtype, from_id: 'foo', pid: String(process.pid) })),
    );
  ask('signon');
  await until(() => count('hbapi-clstat', 'join') === 1, log);
  await root.untilServing();

  await root.write('/etc/ha.d/ha.cf', `${haCf}rtprio 7\n`);
  process.kill(root.running(), 'SIGHUP');
  await until(() => count('hbapi-clstat', 'join') === 2, log);
  t.regex(log(), /with a new configuration, keeping all resources/);
  ask('getrsc');
  await until(() => heard.some((one) => fieldOf(one, 'rsc_hold') === 'all'), log);
  t.false(isClosed);

  t.is((await root.run(HEARTBEAT, '-k')).code, 0);
  await until(() => isClosed, log);
  t.false(existsSync(root.path(REGISTER)));
});
