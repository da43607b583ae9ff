/** Which device resets the other node, and that nobody who reads a recording learns what it is told. */
import test from 'ava';
import type { StonithDevice } from '../../src/config/ha-cf.js';
import { DEFAULT_TWINBEAT_INI } from '../../src/config/twinbeat-ini.js';
import { type FenceDevice, fenceDeviceOf } from '../../src/host/fence-device.js';
import type { HeartbeatConfig } from '../../src/host/heartbeat-ports.js';
import { withoutKeys } from '../../src/host/recording-heartbeat.js';
import { readHeartbeatTexts } from '../../src/sim/heartbeat-config.js';

function config(
  stonith: readonly StonithDevice[],
  fence: Partial<HeartbeatConfig['ini']['fence']> = {},
): HeartbeatConfig {
  const { config: read } = readHeartbeatTexts('alpha', {
    haCf: 'bcast eth0\nnode alpha beta\n',
    haresources: '',
    authkeys: 'auth 1\n1 crc\n',
    scriptTimeoutS: 0,
    stopFailure: 'reboot',
    health: DEFAULT_TWINBEAT_INI.health,
    witness: DEFAULT_TWINBEAT_INI.witness,
    fence: DEFAULT_TWINBEAT_INI.fence,
    failbackDelayS: 0,
    movesPerHour: 0,
  });
  if (!read) throw new Error('not taken');
  const { haCf, ini } = read;
  return {
    ...read,
    haCf: { ...haCf, stonith },
    ini: { ...ini, fence: { ...ini.fence, ...fence } },
  };
}

const SSH: StonithDevice = { host: null, type: 'external/ssh', file: '/etc/ha.d/ssh', params: [] };
const IPMI: StonithDevice = {
  host: '*',
  type: 'external/ipmi',
  file: null,
  params: ['beta', '10.0.0.9', 'admin', 'the-password'],
};

test('the agent of twinbeat.ini, else the last device of ha.cf, else none', (t) => {
  const cases: readonly (readonly [HeartbeatConfig, FenceDevice | null])[] = [
    [config([]), null],
    [config([SSH]), { type: 'stonith', name: 'external/ssh', device: SSH }],
    [config([SSH, IPMI]), { type: 'stonith', name: 'external/ipmi', device: IPMI }],
    [
      config([IPMI], { agent: 'fence_apc', options: 'ip=a passwd=b' }),
      { type: 'agent', name: 'fence_apc', options: ['ip=a', 'passwd=b'] },
    ],
    [config([], { agent: 'fence_apc' }), { type: 'agent', name: 'fence_apc', options: [] }],
  ];
  for (const [given, device] of cases) t.deepEqual(fenceDeviceOf(given), device);
});

test('a recording has the device, and neither parameters nor options', (t) => {
  const recorded = withoutKeys(config([IPMI], { agent: 'fence_apc', options: 'passwd=the-other' }));
  const text = JSON.stringify(recorded);
  t.true(text.includes('external/ipmi') && text.includes('fence_apc'));
  for (const secret of ['the-password', 'admin', 'the-other', 'passwd']) {
    t.false(text.includes(secret), secret);
  }
  t.is(withoutKeys(config([])).ini.fence.options, '');
  const plain = config([]);
  const witness = { ...plain.ini.witness, key: 'the-key-of-a-witness' };
  const asked = JSON.stringify(withoutKeys({ ...plain, ini: { ...plain.ini, witness } }));
  t.false(asked.includes('the-key-of-a-witness'));
});
