/** hbparameter: as it is written, and what is in force without a line. */
import test from 'ava';
import { type HaCfSystem, parseHaCf } from '../../src/config/ha-cf.js';
import { parametersOf } from '../../src/host/parameters.js';

const SYSTEM: HaCfSystem = {
  ownNode: 'node-a',
  defaultUdpPort: 694,
  userExists: () => true,
  isExecutable: () => true,
  isStonithType: () => true,
  hasStonithConfig: () => true,
  interfaceError: () => null,
};

test('what the original exports of a short ha.cf', (t) => {
  const text =
    'logfacility local0\nkeepalive 500ms\nwarntime 2\ndeadtime 5\ninitdead 12\nauto_failback off\nmcast eth0 239.77.0.1 694 1 0\nnode node-a node-b\n';
  const { config } = parseHaCf(text, 'ha.cf', SYSTEM);
  if (!config) return t.fail();
  t.deepEqual(parametersOf(config), {
    auto_failback: 'off',
    autojoin: 'none',
    baud: '19200',
    cluster: 'linux-ha',
    compression: 'zlib',
    compression_threshold: '2',
    conn_logd_time: '60',
    coredumps: 'true',
    deadping: '5000ms',
    deadtime: '5',
    debug: '0',
    enable_config_writes: 'on',
    hbgenmethod: 'file',
    hopfudge: '1',
    initdead: '12',
    keepalive: '500ms',
    log_badpack: 'true',
    logfacility: 'local0',
    max_rexmit_delay: '250',
    memreserve: '6500',
    msgfmt: 'classic',
    pacemaker: 'false',
    realtime: 'true',
    record_config_changes: 'on',
    record_pengine_inputs: 'on',
    syslogmsgfmt: 'true',
    traditional_compression: 'no',
    udpport: '694',
    uuidfrom: 'file',
    warntime: '2',
  });
});
