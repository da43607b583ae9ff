/** The three programs of `make bench-heartbeat` are told the same times. */
import test from 'ava';
import { haCf, keepalivedConf, masterDownMs } from '../../bench/heartbeat-programs.js';
import { parseHaCf } from '../../src/config/ha-cf.js';

const TIMING = { keepaliveMs: 500, deadAfter: 4 };

// RFC 5798, 6.1: Skew_Time = ((256 - priority) * Master_Adver_Interval) / 256. Three intervals there; down_timer_adverts says how many.
test("keepalived's master-down interval is deadtime and the skew", (t) => {
  t.is(masterDownMs(TIMING), 2000 + (2 * 500) / 256);
  t.is(masterDownMs({ keepaliveMs: 1000, deadAfter: 3 }), 3007.8125);
  const text = keepalivedConf(TIMING);
  t.regex(text, /^ {2}version 3$/m, 'version 2 has whole seconds only');
  t.regex(text, /^ {2}advert_int 0\.5$/m);
  t.regex(text, /^ {2}down_timer_adverts 4$/m);
  t.regex(text, /^ {2}priority 254$/m, 'the one that the arithmetic is about');
});

test('ha.cf has the interval and as many of them', (t) => {
  const lines = [...haCf(TIMING), 'logfile /var/log/ha-log', 'node a', 'node b', ''];
  const { config, messages } = parseHaCf(lines.join('\n'), 'ha.cf', {
    ownNode: 'a',
    defaultUdpPort: 694,
    userExists: () => true,
    isExecutable: () => true,
    isStonithType: () => false,
    hasStonithConfig: () => false,
    interfaceError: () => null,
  });
  t.deepEqual(
    messages.filter(({ level }) => level === 'ERROR'),
    [],
  );
  t.is(config?.keepaliveMs, 500);
  t.is(config?.deadtimeMs, 2000);
});
