import { readFileSync } from 'node:fs';
import test from 'ava';
import { DEFAULT_TWINBEAT_INI, parseTwinbeatIni } from '../../src/config/twinbeat-ini.js';

test('an empty file is the defaults, and so is the sample, whose comments name every key', (t) => {
  t.deepEqual(parseTwinbeatIni('', 'f').config, DEFAULT_TWINBEAT_INI);
  const sample = readFileSync('etc/twinbeat.ini', 'utf8');
  t.deepEqual(parseTwinbeatIni(sample, 'f').config, DEFAULT_TWINBEAT_INI);
  const uncommented = sample.replace(/^; ?([a-z-]+ = )/gm, '$1');
  t.deepEqual(parseTwinbeatIni(uncommented, 'f'), { config: DEFAULT_TWINBEAT_INI, errors: [] });
  const keys = [...uncommented.matchAll(/^[a-z-]+ = /gm)];
  const fields = Object.values(DEFAULT_TWINBEAT_INI).flatMap((s) => Object.keys(s));
  t.is(keys.length, fields.length);
});

test('values are converted', (t) => {
  const { config } = parseTwinbeatIni(
    '[drbdd]\ndevice-driver=export\nexport-listen = [::1]:10809\nproc-format=8.0\npool-mib=128\n' +
      'log-level = debug\n[heartbeat]\nscript-timeout = 90\nstop-failure = hold\nlog-format=json\n',
    'f',
  );
  t.deepEqual(config?.drbdd, {
    ...DEFAULT_TWINBEAT_INI.drbdd,
    deviceDriver: 'export',
    exportListen: '[::1]:10809',
    procFormat: '8.0',
    poolMiB: 128,
    logLevel: 'debug',
  });
  t.like(config?.heartbeat, { scriptTimeoutS: 90, stopFailure: 'hold', logFormat: 'json' });
  const health = parseTwinbeatIni('[health]\ninterval = 10\nrestarts-per-hour = 0\n', 'f').config
    ?.health;
  t.deepEqual(health, { intervalS: 10, steps: 5, timeoutS: 10, restartsPerHour: 0 });
});

test('what is not known is an error with its place, and nothing is applied', (t) => {
  const cases: readonly (readonly [string, RegExp])[] = [
    [
      '[drbd]\n',
      /^f:1:1: expected \[drbdd\] or \[heartbeat\] or \[flight\] or \[fence\] or \[witness\] or \[health\], got \[drbd\]$/,
    ],
    ['x = 1\n', /^f:1:1: expected .*, got 'x'$/],
    ['[drbdd]\n\n  pool = 1\n', /^f:3:3: expected one of device-driver.*, got 'pool'$/],
    [
      '[drbdd]\npool-mib = 8\n',
      /^f:2:1: expected pool-mib = a whole number from 16 to 4096, got '8'$/,
    ],
    ['[drbdd]\npool-mib = 1e3\n', /got '1e3'$/],
    ['[health]\nsteps = 2\n', /^f:2:1: expected steps = a whole number from 3 to 20, got '2'$/],
    ['[health]\ninterval = 10s\n', /^f:2:1: expected interval = .*, got '10s'$/],
    ['[drbdd]\ndevice-driver = nbd\n', /expected device-driver = fuse or export, got 'nbd'/],
    [
      '[heartbeat]\n\nstop-failure = off\n',
      /^f:3:1: expected stop-failure = reboot or panic or hold or fence, got 'off'$/,
    ],
    ['[heartbeat]\nconstructor = 1\n', /got 'constructor'$/],
    ['[heartbeat]\nlog-level = info\nlog-level[] = debug\n', /expected/],
  ];
  for (const [text, error] of cases) {
    const result = parseTwinbeatIni(text, 'f');
    t.is(result.config, null, text);
    t.regex(result.errors[0] ?? '', error);
  }
});

test('a fence-agent and what it is told, which no message shows', (t) => {
  const fence = (lines: string) => parseTwinbeatIni(`[fence]\n${lines}\n`, 'f');
  t.deepEqual(
    fence('agent=fence_ipmilan\noptions = ip=10.0.0.9  password=a\\;b\ndelay=7').config?.fence,
    { agent: 'fence_ipmilan', options: 'ip=10.0.0.9 password=a;b', delayS: 7, timeoutS: 60 },
  );
  t.is(fence('agent=/opt/x/fence').config?.fence.agent, '/opt/x/fence');
  t.is(fence('agent=none\noptions=none').config?.fence.options, '');
  for (const options of ['secret', 'password=secret action=off', 'option=secret', '=secret']) {
    const { config, errors } = fence(`options = ${options}`);
    t.is(config, null, options);
    t.regex(errors[0] ?? '', /^f:2:1: expected options = .*, got something else/);
    t.false(errors.join().includes('secret'));
  }
  t.is(fence('agent = rm').config, null);
  t.is(fence('options = ip=10.0.0.9 password=secret').config, null, 'nobody would be told them');
  const { errors } = fence('delay = 7\noptions = ip=10.0.0.9 password=secret');
  t.deepEqual(errors, ['f:3:1: expected agent = fence_NAME or /PATH beside options, got none']);
  t.is(fence('timeout = 0').config, null);
});

test('[witness]: what belongs together, and a key that no message shows', (t) => {
  const key = 'a-key-that-is-long-enough';
  const read = (lines: string, more = '') =>
    parseTwinbeatIni(`[witness]\n${lines.replaceAll(';', '\n')}\n${more}`, 'f');
  t.deepEqual(
    read(`address = 192.0.2.1:6940;cluster = shop;key = ${key};lease=20`).config?.witness,
    {
      address: '192.0.2.1:6940',
      endpoints: '',
      cluster: 'shop',
      key,
      leaseS: 20,
      stopLimitS: 60,
    },
  );
  const two = 'http://192.0.2.1:2379 http://[2001:db8::1]:2379';
  t.is(read(`endpoints = ${two};cluster = shop`).config?.witness.endpoints, two);
  t.is(read('address = none').config?.witness.address, '', 'nobody is asked');
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['cluster = shop', '', /^f:1:1: expected address or endpoints in \[witness\], got neither$/],
    [`address = 192.0.2.1:1;key = ${key}`, '', /^f:1:1: expected cluster = NAME in \[witness\]/],
    ['address = 192.0.2.1:1;cluster = c', '', /^f:1:1: expected key beside address/],
    [
      `address = 192.0.2.1:1;endpoints = http://a:1;cluster = c;key = ${key}`,
      '',
      /^f:3:1: expected address or endpoints, got both$/,
    ],
    ['address = here:1', '', /^f:2:1: expected address = none, ADDRESS:PORT or/],
    ['endpoints = https://a:1', '', /^f:2:1: expected endpoints = none or http:/],
    [
      'stop-limit = 9',
      '',
      /^f:2:1: expected stop-limit = a whole number from 10 to 3600, got '9'$/,
    ],
    [
      'endpoints = http://a:1;cluster = c',
      '[heartbeat]\nstop-failure = hold\n',
      /^f:5:1: expected stop-failure = reboot or panic or fence beside \[witness\], got 'hold'$/,
    ],
  ];
  for (const [lines, more, expected] of cases) {
    const { config, errors } = read(lines, more);
    t.is(config, null, lines);
    t.is(errors.length, 1, lines);
    t.regex(errors[0] ?? '', expected);
  }
  const { errors } = read('address = 192.0.2.1:1;cluster = c;key = too-short');
  t.regex(errors[0] ?? '', /expected key = none or 16 to 256 printable.*it is not shown/);
  t.false((errors[0] ?? '').includes('too-short'));
});
