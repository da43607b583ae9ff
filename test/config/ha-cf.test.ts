import { readFileSync } from 'node:fs';
import test from 'ava';
import { parseAuthKeys } from '../../src/config/authkeys.js';
import { type HaCfSystem, parseHaCf } from '../../src/config/ha-cf.js';
import { haTimeMs } from '../../src/config/ha-cf-directives.js';
import { parseHaResources } from '../../src/config/haresources.js';

const SYSTEM: HaCfSystem = {
  ownNode: 'node-a',
  defaultUdpPort: 694,
  userExists: (user) => user === 'root' || user === 'hacluster',
  isExecutable: (path) => path === '/bin/true' || path === '/usr/libexec/heartbeat/ipfail',
  isStonithType: (type) => type === 'external/ssh' || type === 'null',
  hasStonithConfig: (file) => file === '/etc/ha.d/ssh.cf',
  interfaceError: (device) => (device.endsWith('9') ? 'No such device' : null),
};

/** The recording's base configuration with lines replaced by directive name, or dropped (value ''). */
function haCf(changes: Readonly<Record<string, string>>, extra = ''): string {
  const base: Record<string, string> = {
    logfile: 'logfile /var/log/ha-log\ndebugfile /var/log/ha-debug',
    keepalive: 'keepalive 1',
    deadtime: 'deadtime 10',
    initdead: 'initdead 30',
    media: 'bcast eth0',
    auto_failback: 'auto_failback off',
    node: 'node node-a node-b',
    ...changes,
  };
  return `${Object.values(base).join('\n')}\n${extra}\n`;
}

const INPUTS: Readonly<Record<string, string>> = {
  'deadtime-small': haCf({ deadtime: 'deadtime 2' }),
  'deadtime-2.001': haCf({ deadtime: 'deadtime 2.001' }),
  'initdead-lt-deadtime': haCf({ initdead: 'initdead 5' }),
  'initdead-small': haCf({ deadtime: 'deadtime 5', initdead: 'initdead 8' }),
  'unit-s': haCf({ deadtime: 'deadtime 10s' }),
  'unknown-directive': haCf({}, 'frobnicate 1'),
  nonode: haCf({ node: 'node node-b node-c' }),
  nonodes: haCf({ node: '' }),
  nomedia: haCf({ media: '' }),
  'mcast-noargs': haCf({ media: 'mcast eth0 239.0.0.1 694' }),
  'mcast-badgroup': haCf({ media: 'mcast eth0 192.168.1.1 694 1 0' }),
  'mcast-baddev': haCf({ media: 'mcast eth9 239.0.0.1 694 1 0' }),
  'mcast-ttl5': haCf({ media: 'mcast eth0 239.0.0.1 694 5 0' }),
  'mcast-loop2': haCf({ media: 'mcast eth0 239.0.0.1 694 1 2' }),
  'bcast-baddev': haCf({ media: 'bcast eth9' }),
  'ucast-baddev': haCf({ media: 'ucast eth9 10.0.0.1' }),
  'auto_failback-legacy': haCf({ auto_failback: 'auto_failback legacy' }),
  'auto_failback-bad': haCf({ auto_failback: 'auto_failback maybe' }),
  nice_failback: haCf({ auto_failback: 'nice_failback on' }),
  'deadping-small': haCf({}, 'deadping 1'),
  'warntime-0': haCf({}, 'warntime 0'),
  nolog: haCf({ logfile: '' }),
  use_logd: haCf({}, 'use_logd on'),
  'facility-bad': haCf({}, 'logfacility local9'),
  'udp-alias': haCf({ media: 'udp eth0' }),
  autojoin: haCf({}, 'autojoin any'),
  'dup-watchdog': haCf({}, 'watchdog /dev/watchdog\nwatchdog /dev/watchdog'),
  'baud-bad': haCf({}, 'baud 1234'),
  'udpport-after': haCf({}, 'udpport 1694'),
  hop: haCf({}, 'hopfudge 256'),
  'respawn-rel': haCf({}, 'respawn root bin/true'),
  'respawn-nouser': haCf({}, 'respawn nosuch /bin/true'),
  'apiauth-bad': haCf({}, 'apiauth foo'),
  rexmit0: haCf({}, 'max_rexmit_delay 0'),
  'compression-bad': haCf({}, 'compression lzma'),
  'msgfmt-bad': haCf({}, 'msgfmt foo'),
  dupnode: haCf({}, 'node node-a'),
  ping: haCf({}, 'ping 10.0.0.254'),
  traditional: haCf({}, 'traditional_compression yes'),
};

const AUTHKEYS: Readonly<Record<string, string>> = {
  'auth-640': 'auth 1\n1 sha1 key\n',
  'auth-nokey': 'auth 1\n2 sha1 key\n',
  'auth-noauth': '1 sha1 key\n',
  'auth-order': '1 sha1 key\nauth 1\n',
  'auth-sha1-nokey': 'auth 1\n1 sha1\n',
  'auth-crc-key': 'auth 1\n1 crc key\n',
  'auth-sha256': 'auth 1\n1 sha256 key\n',
  'auth-16': 'auth 16\n16 sha1 key\n',
};

const LINE = /^(?:heartbeat: \[N\]: (ERROR|WARN|info): )?(.*)$/;
/** What the process says when it acts on the configuration, and its plug-in loader's words: not the parser's. */
const NOT_OURS =
  /^(Configuration error, heartbeat not started|Configuration validated|Initializing connection to logging|Enabling logging daemon|logfile and debug file are those|LoadPlugin|Lookup extended|Table size)/;

/** The lines of one section of the recording as `LEVEL text`, and the exit status. */
function recorded(): Map<string, { lines: string[]; status: number }> {
  const sections = new Map<string, { lines: string[]; status: number }>();
  const text = readFileSync('test/golden/config/ha.cf-errors.txt', 'utf8');
  for (const section of text.split(/^##### /m).slice(1)) {
    const [name = '', ...rest] = section.trimEnd().split('\n');
    const status = Number(rest.pop()?.replace('rc=', ''));
    const lines = rest
      .map((line) => LINE.exec(line))
      .map((match) => [match?.[1] ?? 'stderr', match?.[2] ?? ''] as const)
      .filter(([, message]) => !NOT_OURS.test(message))
      .map(([level, message]) => `${level} ${message.replace('Warn time [N]', 'Warn time [0]')}`)
      .map((line) => line.replace('baudrate [N]', 'baudrate [1234]'));
    sections.set(name, { lines, status });
  }
  return sections;
}

for (const [name, { lines, status }] of recorded()) {
  const haCfText = INPUTS[name];
  const authText = AUTHKEYS[name];
  if (haCfText !== undefined) {
    test(`ha.cf ${name}: the messages and the verdict of heartbeat 3.0.6`, (t) => {
      const { config, messages } = parseHaCf(haCfText, '/etc/ha.d//ha.cf', SYSTEM);
      t.is(config === null ? 6 : 0, status);
      const said = messages
        .map((m) => `${m.level} ${m.text}`)
        .filter((line) => !/^(ERROR|WARN|debug) \/etc\/ha\.d\/\/ha\.cf:/.test(line)); // ours, with the place
      t.deepEqual(said, lines);
    });
  } else if (authText !== undefined) {
    if (name === 'auth-sha256') continue; // taken between nodes of twinbeat: haresources.test.ts
    test(`authkeys ${name}: the messages and the verdict of heartbeat 3.0.6`, (t) => {
      const mode = name === 'auth-640' ? 0o100640 : 0o100600;
      const { authkeys, messages } = parseAuthKeys(authText, '/etc/ha.d//authkeys', mode);
      t.is(authkeys === null ? 6 : 0, status);
      t.deepEqual(
        messages.map((m) => `${m.level} ${m.text}`),
        lines,
      );
    });
  } else if (name === 'haresources-badnode') {
    test('haresources of a node that is not configured is refused in the original words', (t) => {
      const file = '/etc/ha.d//haresources';
      const { groups, messages } = parseHaResources('node-z 10.0.0.1\n', file, ['node-a']);
      t.is(groups, null);
      t.true(lines.includes(`ERROR ${messages[0]?.text}`));
    });
  } else if (name !== 'no-haresources') {
    test(`the recording ${name} has an input here`, (t) => t.fail());
  }
}

// ha.cf(5): no unit is seconds; heartbeat 3.0.6 refuses every unit but ms and us.
test('times', (t) => {
  t.is(haTimeMs('10'), 10_000);
  t.is(haTimeMs('1.5'), 1500);
  t.is(haTimeMs('500ms'), 500);
  t.is(haTimeMs('500msec'), 500);
  t.is(haTimeMs('2500us'), 2);
  t.is(haTimeMs('1000000'), 1_000_000_000);
  const wrong = ['10s', '', 'x', '-1', '1 2', '1.2.3', '1m', '1000001', '99999999999999999999us'];
  for (const bad of wrong) t.is(haTimeMs(bad), null, bad);
});

test('a silent refusal of the original names the place here', (t) => {
  const { messages } = parseHaCf(haCf({ deadtime: 'deadtime 10s' }), 'ha.cf', SYSTEM);
  t.regex(messages[0]?.text ?? '', /^ha\.cf:4:10: deadtime: expected seconds.*, got '10s'$/);
});

test("the MySQL manual's ha.cf", (t) => {
  const text = readFileSync('etc/ha.d/ha.cf', 'utf8');
  const { config, messages } = parseHaCf(text, 'ha.cf', { ...SYSTEM, ownNode: 'DRBD1' });
  t.deepEqual(
    messages.map((m) => m.text),
    ['Logging daemon is disabled --enabling logging daemon is recommended'],
  );
  t.like(config, {
    nodes: ['drbd1', 'drbd2'],
    media: [{ type: 'mcast', device: 'bond0', group: '225.0.0.1', port: 694, ttl: 2, loop: false }],
    keepaliveMs: 500,
    deadtimeMs: 10_000,
    warntimeMs: 5000,
    initdeadMs: 30_000,
    deadpingMs: 10_000,
    autoFailback: 'off',
    logfacility: 'local0',
    logfile: '/dev/null',
    parameters: { keepalive: '500ms', deadtime: '10', warntime: '5' },
  });
});

test('derived initdead, warntime and deadping', (t) => {
  const derived = (deadtime: string) =>
    parseHaCf(haCf({ deadtime: `deadtime ${deadtime}`, initdead: '' }), 'ha.cf', SYSTEM).config;
  t.like(derived('11'), { initdeadMs: 11_000, warntimeMs: 5500, deadpingMs: 11_000 });
  t.like(derived('10'), { initdeadMs: 20_000 });
  t.like(derived('6'), { initdeadMs: 12_000 });
  t.like(derived('3'), { initdeadMs: 12_000 });
});

test('lists, commas, comments, the order of udpport and media, and records of the last value', (t) => {
  const { config } = parseHaCf(
    haCf(
      { media: 'udpport 1000\nbcast eth0,eth1 # not eth9\nudpport 2000\nucast eth0 10.0.0.2' },
      [
        'keepalive 1 2',
        'respawn hacluster /usr/libexec/heartbeat/ipfail -d 3',
        'apiauth ipfail gid=haclient uid=hacluster,root',
        'ping_group gw 10.0.0.254 10.0.0.253',
        'env A=1 B=two=2',
        'serial /dev/ttyS0',
      ].join('\n'),
    ),
    'ha.cf',
    SYSTEM,
  );
  t.like(config, {
    keepaliveMs: 2000,
    media: [
      { type: 'bcast', device: 'eth0', port: 1000 },
      { type: 'bcast', device: 'eth1', port: 1000 },
      { type: 'ucast', device: 'eth0', host: '10.0.0.2', port: 2000 },
      { type: 'serial', device: '/dev/ttyS0', baud: 19_200 },
    ],
    respawns: [
      {
        user: 'hacluster',
        path: '/usr/libexec/heartbeat/ipfail',
        args: ['-d', '3'],
        failfast: false,
      },
    ],
    apiauths: [{ client: 'ipfail', uids: ['hacluster', 'root'], gids: ['haclient'] }],
    pings: [{ name: 'gw', type: 'ping_group', members: ['10.0.0.254', '10.0.0.253'] }],
    env: { A: '1', B: 'two=2' },
  });
  t.is(config?.parameters['keepalive'], '2');
  t.is(config?.parameters['node'], undefined);
});

test('serial lines alone are media', (t) => {
  const serial = 'serial /dev/ttyS0 /dev/ttyS1';
  const { config, messages } = parseHaCf(haCf({ media: serial }), 'ha.cf', SYSTEM);
  t.deepEqual(
    messages.filter(({ level }) => level === 'ERROR').map(({ text }) => text),
    [],
  );
  t.is(config?.media.length, 2);
  t.is(parseHaCf(haCf({}, serial), 'ha.cf', SYSTEM).config?.media.length, 3);
});

test('what would have to manage and is not there is refused', (t) => {
  t.is(parseHaCf(haCf({}, 'crm on'), 'ha.cf', SYSTEM).config, null);
  t.not(parseHaCf(haCf({}, 'crm off'), 'ha.cf', SYSTEM).config, null);
});

// Recorded beside the others later: IPv6 alone is enough, and the words are not those of mcast.
test('mcast6: an interface needs no IPv4 address', (t) => {
  const errors = (line: string) => {
    const system: HaCfSystem = {
      ...SYSTEM,
      interfaceError: (device, use) =>
        device === 'eth9' ? 'No such device' : use === 'device' ? null : 'Cannot assign',
    };
    const { messages } = parseHaCf(haCf({ media: line }), 'ha.cf', system);
    return messages.filter((m) => m.level === 'ERROR').map((m) => m.text);
  };
  t.deepEqual(errors('mcast6 eth0 ff05::77 694 1 0'), []);
  t.is(
    errors('mcast6 eth9 ff05::77 694 1 0')[0],
    'glib: mcast6 device [eth9] is invalid or not set up properly',
  );
  t.is(errors('mcast6 eth0 fd00::1 694 1 0')[0], 'glib:  mcast6 [eth0] bad addr [fd00::1]');
  t.regex(errors('mcast eth0 239.0.0.1 694 1 0')[0] ?? '', /SIOCGIFADDR.*Cannot assign$/);
});
