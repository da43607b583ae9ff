/** UDP media over loopback: what is sent arrives, whole and without loss; what cannot be opened is tried again. */
import test from 'ava';
import { interfaceError } from '../../src/real/interfaces.js';
import type { UdpConfig } from '../../src/real/udp-medium.js';
import { UdpMedium } from '../../src/real/udp-medium.js';
import { until } from '../support/until.js';

function collector(count: number) {
  const got: Buffer[] = [];
  const logs: string[] = [];
  let resolve = () => {};
  const all = new Promise<void>((done) => {
    resolve = done;
  });
  return {
    got,
    logs,
    all,
    host: {
      received: (datagram: Uint8Array) => {
        got.push(Buffer.from(datagram));
        if (got.length === count) resolve();
      },
      log: (level: string, text: string) => void logs.push(`${level}: ${text}`),
    },
  };
}

const port = 20_000 + (process.pid % 20_000);
const media: readonly UdpConfig[] = [
  { type: 'ucast', device: 'lo', host: '127.0.0.1', port },
  { type: 'mcast', device: 'lo', group: '239.77.0.99', port: port + 1, ttl: 0, loop: true },
  { type: 'bcast', device: 'lo', port: port + 2 },
];

for (const config of media) {
  test(`${config.type}: 200 datagrams sent at once all arrive`, async (t) => {
    const { got, logs, all, host } = collector(200);
    const medium = new UdpMedium(config, host);
    t.teardown(() => medium.close());
    await medium.open();
    t.deepEqual(
      logs.filter((l) => !l.startsWith('info')),
      [],
    );
    for (let i = 0; i < 200; i++) medium.send(Buffer.from(`datagram ${i}`));
    await all;
    t.is(new Set(got.map(String)).size, 200);
  });
}

for (const config of media) {
  test(`${config.type}: opened again it hears as before, and old sockets are gone`, async (t) => {
    const apart = { ...config, port: config.port + 10 };
    const { got, logs, host } = collector(1);
    const medium = new UdpMedium(apart, host);
    t.teardown(() => medium.close());
    for (let i = 1; i <= 3; i++) {
      await medium.open();
      medium.send(Buffer.from(`datagram ${i}`));
      await until(() => got.length >= i, `datagram ${i}`);
    }
    t.deepEqual(got.map(String), ['datagram 1', 'datagram 2', 'datagram 3'], 'once each');
    t.is(logs.length, 1, 'said once');
  });
}

test('an interface that is not there is reported once', async (t) => {
  const { logs, host } = collector(1);
  const medium = new UdpMedium({ type: 'bcast', device: 'nosuch0', port: port + 3 }, host);
  await medium.open();
  await medium.open();
  medium.send(Buffer.from('x')); // no effect
  await medium.close();
  t.is(logs.length, 1);
  t.regex(logs[0] ?? '', /ERROR: cannot open bcast nosuch0/);
  t.is(interfaceError('nosuch0', 'address'), 'No such device');
  t.is(interfaceError('lo', 'address'), null);
});
