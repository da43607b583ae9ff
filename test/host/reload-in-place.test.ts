/** What of a new configuration a running life takes, and what needs a new one: every directive of ha.cf and every key of twinbeat.ini. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { type HaCf, parseHaCf } from '../../src/config/ha-cf.js';
import { parseHaResources } from '../../src/config/haresources.js';
import { DEFAULT_TWINBEAT_INI, parseTwinbeatIni } from '../../src/config/twinbeat-ini.js';
import { HA_CF_PLACES, INI_PLACES, reloadPlan } from '../../src/host/reload-in-place.js';

const HA_CF = `logfile /var/log/ha-log
keepalive 1
deadtime 10
warntime 5
initdead 30
deadping 10
udpport 694
baud 9600
bcast eth0
ping 10.0.0.1
auto_failback off
node a b
`;
const HARESOURCES = 'a one two\nb three\n';

function configOf(haCf: string, haresources = HARESOURCES, ini = '', node = 'a') {
  const { config, messages } = parseHaCf(haCf, 'ha.cf', {
    ownNode: 'a',
    defaultUdpPort: 694,
    userExists: () => true,
    isExecutable: () => true,
    isStonithType: () => true,
    hasStonithConfig: () => true,
    interfaceError: () => null,
  });
  const { groups } = parseHaResources(haresources, 'haresources', ['a', 'b']);
  const parsed = parseTwinbeatIni(ini, 'twinbeat.ini');
  if (!config || !groups || !parsed.config) {
    throw new Error(
      `refused: ${[...messages.map(({ text }) => text), ...parsed.errors].join('; ')}`,
    );
  }
  return { node, haCf: config, groups, ini: parsed.config };
}

const OLD = configOf(HA_CF);

/** field -> another line, which is put in place of the old one, or at the end. */
const LINES: Readonly<Partial<Record<keyof HaCf, string>>> = {
  nodes: 'node a c',
  media: 'ucast eth1 10.0.0.2',
  pings: 'ping 10.0.0.2',
  keepaliveMs: 'keepalive 2',
  deadtimeMs: 'deadtime 11',
  warntimeMs: 'warntime 6',
  initdeadMs: 'initdead 31',
  deadpingMs: 'deadping 11',
  hopfudge: 'hopfudge 2',
  autoFailback: 'auto_failback on',
  respawns: 'respawn root /bin/true',
  apiauths: 'apiauth foo uid=root',
  stonith: 'stonith_host a external/test x',
  watchdog: 'watchdog /dev/watchdog',
  logfacility: 'logfacility local3',
  logfile: 'logfile /var/log/other',
  debugfile: 'debugfile /var/log/debug',
  connLogdTimeMs: 'conn_logd_time 30',
  syslogmsgfmt: 'syslogmsgfmt false',
  logBadpack: 'log_badpack false',
  debug: 'debug 3',
  realtime: 'realtime off',
  rtprio: 'rtprio 7',
  memreserveKiB: 'memreserve 6000',
  hbgenmethod: 'hbgenmethod time',
  uuidfrom: 'uuidfrom nodename',
  msgfmt: 'msgfmt netstring',
  maxRexmitDelayMs: 'max_rexmit_delay 300',
  coredumps: 'coredumps false',
  env: 'env STOPRETRYMAX=3',
};

test('ha.cf: a line of each directive that is in the file alone', (t) => {
  for (const [field, line] of Object.entries(LINES)) {
    const directive = line.split(' ')[0] ?? '';
    const others = HA_CF.split('\n').filter((each) => each.split(' ')[0] !== directive);
    const wanted = configOf([...others, line, ''].join('\n'));
    const { inPlace, newLife } = reloadPlan(OLD, wanted);
    const [name, place] = HA_CF_PLACES[field as keyof HaCf];
    // A line may say more than one thing, as `ping` and its time do; what it is about is among it, in its column alone.
    t.is(inPlace.includes(name), place === 'in place', `${line}: ${JSON.stringify(inPlace)}`);
    t.is(newLife.includes(name), place === 'new life', `${line}: ${JSON.stringify(newLife)}`);
    if (place !== 'new life') t.deepEqual(newLife, [], line);
  }
});

test('ha.cf: what CONFIGURATION.md says to have no effect interrupts nothing, and is not said to be in force', (t) => {
  const text = readFileSync(new URL('../../../docs/CONFIGURATION.md', import.meta.url), 'utf8');
  const rows = [...text.matchAll(/^\| (\w+) \|.*\| no effect[^|]*\|$/gm)].map(([, name]) => name);
  const places = new Map(Object.values(HA_CF_PLACES));
  const known = rows.filter((name) => places.has(name ?? ''));
  t.true(known.length >= 8, known.join(' '));
  for (const name of known) t.is(places.get(name ?? ''), 'no effect', name);
});

test('ha.cf: every setting is looked at, also what no line of the test says', (t) => {
  const other = (value: unknown): unknown =>
    Array.isArray(value)
      ? [...value, 'more']
      : typeof value === 'object'
        ? { more: 1 }
        : `${value}x`;
  for (const field of Object.keys(OLD.haCf) as (keyof HaCf)[]) {
    const [name, place] = HA_CF_PLACES[field];
    const haCf = { ...OLD.haCf, [field]: other(OLD.haCf[field]) };
    const plan = reloadPlan(OLD, { ...OLD, haCf });
    const expected = {
      inPlace: place === 'in place' ? [name] : [],
      newLife: place === 'new life' ? [name] : [],
    };
    t.deepEqual(plan, expected, field);
  }
});

test('twinbeat.ini: every key', (t) => {
  t.is(INI_PLACES.heartbeat.logLevel, 'no effect', 'nobody reads it: it is not in force');
  for (const [section, places] of Object.entries(INI_PLACES)) {
    const keys = DEFAULT_TWINBEAT_INI[section as keyof typeof DEFAULT_TWINBEAT_INI];
    t.deepEqual(Object.keys(places).toSorted(), Object.keys(keys).toSorted(), section);
    for (const [key, place] of Object.entries(places)) {
      const ini = { ...OLD.ini, [section]: { ...keys, [key]: 'other' } };
      const { inPlace, newLife } = reloadPlan(OLD, { ...OLD, ini });
      t.is(inPlace.length, place === 'in place' ? 1 : 0, `${section} ${key}`);
      t.is(newLife.length, place === 'new life' ? 1 : 0, `${section} ${key}`);
    }
  }
  const wanted = configOf(
    HA_CF,
    HARESOURCES,
    '[heartbeat]\nscript-timeout = 7\n[health]\ninterval = 5\n',
  );
  t.deepEqual(reloadPlan(OLD, wanted).inPlace, ['[heartbeat] script-timeout', '[health] interval']);
});

// The other node runs by them, or the door in front of it is made of them.
test('what membership, the door and the resources are made of is never taken in place', (t) => {
  const never: (keyof HaCf)[] = [
    'nodes',
    'media',
    'keepaliveMs',
    'deadtimeMs',
    'autoFailback',
    'stonith',
    'watchdog',
  ];
  for (const field of never) t.is(HA_CF_PLACES[field][1], 'new life', field);
  for (const section of [INI_PLACES.fence, INI_PLACES.witness]) {
    for (const place of Object.values(section)) t.is(place, 'new life');
  }
  t.deepEqual(reloadPlan(OLD, configOf(HA_CF, `${HARESOURCES}a four\n`)).newLife, ['haresources']);
  t.deepEqual(reloadPlan(OLD, configOf(HA_CF, HARESOURCES, '', 'b')).newLife, [
    'the name of this node',
  ]);
});

test('comments, blanks and the order of lines are no change; with one of each all is taken in a new life', (t) => {
  const reordered = ['# more', '', ...HA_CF.split('\n').reverse()].join('\n');
  t.deepEqual(reloadPlan(OLD, configOf(reordered)), { inPlace: [], newLife: [] });
  const both = configOf(
    HA_CF.replace('initdead 30', 'initdead 40').replace('warntime 5', 'warntime 6'),
  );
  t.deepEqual(reloadPlan(OLD, both), { inPlace: ['warntime'], newLife: ['initdead'] });
});
