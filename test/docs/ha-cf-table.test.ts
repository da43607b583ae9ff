/**
 * The table of directives in docs/CONFIGURATION.md is held to the code: each directive has its row, its default is the parser's, and it
 * is in force, without effect or refused as the row says. In force is what the daemon reads; without effect what it does not.
 */
import { readdirSync, readFileSync } from 'node:fs';
import test from 'ava';
import { type HaCfMessage, type HaCfSystem, parseHaCf } from '../../src/config/ha-cf.js';
import { DIRECTIVES, UNHEEDED } from '../../src/config/ha-cf-directives.js';

interface Row {
  readonly name: string;
  readonly fallback: string;
  readonly verdict: string;
}

function rows(): readonly Row[] {
  const page = readFileSync('docs/CONFIGURATION.md', 'utf8');
  const section = page.split('### Directives\n')[1]?.split(/^## /m)[0] ?? '';
  const found: Row[] = [];
  for (const line of section.split('\n').filter((text) => /^\| [a-z]/.test(text))) {
    const cells = line.split('|').map((cell) => cell.trim());
    const [, name = '', , fallback = '', here = ''] = cells;
    if (cells.length !== 6) throw new Error(`four cells expected: ${line}`);
    found.push({ name, fallback, verdict: here.split(':')[0] ?? '' });
  }
  return found;
}
const ROWS = rows();

/** A line of each that is not the default. */
const SAMPLES: Readonly<Record<string, string>> = {
  apiauth: 'ipfail uid=root',
  auto_failback: 'on',
  autojoin: 'any',
  baud: '9600\nserial /dev/ttyS0',
  bcast: 'eth1',
  cluster: 'other',
  compression: 'bz2',
  compression_threshold: '7',
  conn_logd_time: '30',
  coredumps: 'off',
  coreroot: '/cores',
  crm: 'on',
  crm_daemon_dir: '/lib',
  crmd_spawns_pengine: 'off',
  deadping: '40',
  deadtime: '20',
  debug: '1',
  debugfile: '/debug',
  enable_config_writes: 'off',
  env: 'A=1',
  failfast: 'root /bin/true',
  hbgenmethod: 'time',
  hopfudge: '3',
  initdead: '60',
  keepalive: '2',
  log_badpack: 'off',
  logfacility: 'local1',
  logfile: '/log',
  max_rexmit_delay: '100',
  mcast: 'eth1 239.0.0.1 694 1 0',
  mcast6: 'eth1 ff05::1 694 1 0',
  memreserve: '1',
  msgfmt: 'netstring',
  nice_failback: 'on',
  node: 'b',
  pacemaker: 'on',
  ping: '10.0.0.1',
  ping6: 'fd00::1',
  ping_group: 'gw 10.0.0.1',
  quorum_server: 'q',
  realtime: 'off',
  record_config_changes: 'off',
  record_pengine_inputs: 'off',
  respawn: 'root /bin/true',
  rtprio: '5',
  serial: '/dev/ttyS0',
  stonith: 'external/ssh /etc/ssh.cf',
  stonith_host: '* null a',
  syslogmsgfmt: 'off',
  traditional_compression: 'yes',
  ucast: 'eth1 10.0.0.2',
  ucast6: 'eth1 fd00::2',
  udp: 'eth1',
  udpport: '1694',
  use_apphbd: 'on',
  use_logd: 'on',
  uuidfrom: 'nodename',
  warntime: '7',
  watchdog: '/dev/watchdog',
};

const SYSTEM: HaCfSystem = {
  ownNode: 'a',
  defaultUdpPort: 694,
  userExists: () => true,
  isExecutable: () => true,
  isStonithType: () => true,
  hasStonithConfig: () => true,
  interfaceError: () => null,
};

function parse(line: string) {
  return parseHaCf(`logfacility local0\n${line}\nbcast eth0\nnode a\n`, 'ha.cf', SYSTEM);
}

/** The settings that differ from those without the line, but for the record of what was written. */
function changed(line: string): readonly string[] {
  const before = Object.entries(parse('').config ?? {});
  const after = new Map(Object.entries(parse(line).config ?? {}));
  return before
    .filter(([field]) => field !== 'parameters')
    .filter(([field, value]) => JSON.stringify(after.get(field)) !== JSON.stringify(value))
    .map(([field]) => field);
}

const DAEMON = ['src/host', 'src/real'].flatMap((dir) =>
  readdirSync(dir)
    .filter((name) =>
      /^(?:heartbeat|client-api|life|lives|inheritance|stop-groups|realtime|fence).*\.ts$/.test(
        name,
      ),
    )
    .map((name) => readFileSync(`${dir}/${name}`, 'utf8')),
);

/** Fields of ha.cf that the daemon reads: `haCf.FIELD`, or taken out of it, or a part of it that a function takes. */
function readFields(): ReadonlySet<string> {
  const text = DAEMON.join('\n');
  const direct = [...text.matchAll(/\bhaCf\.(\w+)/g)].map(([, field = '']) => field);
  const taken = [...text.matchAll(/const \{([^}]*)\} =\s*(?:[\w.#]*\bhaCf|config);/g)];
  const parts = [...text.matchAll(/\{([^}]*)\}: Pick<HaCf,/g)];
  return new Set([
    ...direct,
    ...[...taken, ...parts].flatMap(([, list = '']) => list.split(/[\s,]+/)),
  ]);
}
const READ = readFields();

test('every directive has its row and its sample, sorted, and no other', (t) => {
  const known = [...DIRECTIVES.keys(), 'udp'].sort();
  t.deepEqual(
    ROWS.map(({ name }) => name),
    known,
  );
  t.deepEqual(Object.keys(SAMPLES).sort(), known);
  for (const name of UNHEEDED) t.true(DIRECTIVES.has(name), name);
});

test('a default that is given as it is written is what the parser has without the line', (t) => {
  const literal = ROWS.filter(({ fallback }) => fallback.startsWith('`'));
  t.true(literal.length > 25);
  for (const { name, fallback } of literal) {
    const line = `${name} ${fallback.replaceAll('`', '')}`;
    t.not(parse(line).config, null, line);
    t.deepEqual(changed(line), [], line);
  }
});

test('refused is what refuses the start, with a reason', (t) => {
  for (const { name, verdict } of ROWS) {
    const { config, messages } = parse(`${name} ${SAMPLES[name]}`);
    t.is(config === null, verdict === 'refused', name);
    if (config === null)
      t.true(
        messages.some(({ level }) => level === 'ERROR'),
        name,
      );
  }
});

test('in force is what the daemon reads, without effect what it does not', (t) => {
  for (const { name, verdict } of ROWS) {
    const fields = changed(`${name} ${SAMPLES[name]}`);
    if (verdict === 'in force') {
      t.true(
        fields.some((field) => READ.has(field)),
        `${name}: ${fields.join(' ')} is not read`,
      );
    } else if (verdict === 'no effect') {
      t.deepEqual(
        fields.filter((field) => READ.has(field)),
        [],
        `${name} is read`,
      );
    } else t.true(verdict === 'refused' || verdict === 'reported', `${name}: ${verdict}`);
    t.is(UNHEEDED.has(name), verdict === 'no effect', name);
  }
});

const about = (messages: readonly HaCfMessage[], name: string) =>
  messages.filter(({ text }) => text.startsWith(`ha.cf:2: ${name} has no effect here`));

test('without effect is said once, in the debug log', (t) => {
  for (const name of UNHEEDED) {
    const [first, ...more] = about(parse(`${name} ${SAMPLES[name]}`).messages, name);
    t.deepEqual([first?.level, more.length], ['debug', 0], name);
  }
  const twice = parse('memreserve 1 2 3\nmemreserve 4').messages;
  t.is(twice.filter(({ text }) => text.includes('memreserve')).length, 1);
});

// What the parser says of these, or the daemon when it starts.
test('reported is what a line says', (t) => {
  const reported = ROWS.filter(({ verdict }) => verdict === 'reported').map(({ name }) => name);
  t.deepEqual(reported, ['nice_failback', 'use_apphbd']);
  for (const name of ['nice_failback', 'use_apphbd']) {
    const { messages } = parse(`${name} ${SAMPLES[name]}`);
    t.true(
      messages.some(({ text }) => text.startsWith(name)),
      name,
    );
  }
});
