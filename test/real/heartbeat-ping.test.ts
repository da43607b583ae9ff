/** Ping nodes by ping(8) over loopback: a group answers by one member; what cannot be pinged is said once. */
import test from 'ava';
import { PingMedium } from '../../src/real/heartbeat-ping.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';

function host() {
  const answers: string[] = [];
  const logs: string[] = [];
  return {
    answers,
    logs,
    answered: (name: string) => void answers.push(name),
    log: (level: string, text: string) => void logs.push(`${level}: ${text}`),
  };
}

test('a node that answers is heard each keepalive, until the medium is closed', async (t) => {
  if (!need(t, 'ping')) return;
  const h = host();
  const ping = new PingMedium({ type: 'ping', name: '127.0.0.1', members: ['127.0.0.1'] }, 200, h);
  ping.open();
  await until(() => h.answers.length >= 3, 'three answers');
  t.deepEqual([...new Set(h.answers)], ['127.0.0.1']);
  t.deepEqual(h.logs, []);
  ping.close();
});

test('a group answers by one member; the name of another that nobody knows is said once', async (t) => {
  if (!need(t, 'ping')) return;
  const h = host();
  const members = ['no-such-host.invalid', '127.0.0.2'];
  const ping = new PingMedium({ type: 'ping_group', name: 'routers', members }, 200, h);
  ping.open();
  t.teardown(() => ping.close());
  await until(() => h.answers.length >= 2 && h.logs.length > 0, 'answers and the warning');
  t.deepEqual([...new Set(h.answers)], ['routers']);
  t.deepEqual(h.logs, ['WARN: ping no-such-host.invalid: ended with 2; trying again']);
});
