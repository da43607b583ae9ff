/**
 * What operators write into /etc/ha.d: ha.cf, haresources, authkeys. Nothing throws; what is refused is refused with a reason; and what is
 * taken is within the bounds that the daemon counts on.
 */
import type { Prng } from '../../src/base/prng.js';
import { parseAuthKeys } from '../../src/config/authkeys.js';
import { type HaCf, type HaCfSystem, parseHaCf } from '../../src/config/ha-cf.js';
import { DIRECTIVES } from '../../src/config/ha-cf-directives.js';
import { type HaResource, parseHaResources } from '../../src/config/haresources.js';
import { spoiled } from './bytes.js';
import type { FuzzTarget } from './targets.js';

const DIRECTIVE_NAMES = [...DIRECTIVES.keys(), 'udp', 'frobnicate', '__proto__', 'constructor'];
const VALUES = [
  ...[
    '',
    '0',
    '1',
    '-1',
    '1.5',
    '.',
    '.5',
    '1e9',
    '007',
    '255',
    '256',
    '65535',
    '65536',
    '99999999999999999999',
  ],
  ...[
    '10',
    '500ms',
    '1us',
    '10s',
    '2000000',
    '3000000000ms',
    'ms',
    'on',
    'OFF',
    'yes',
    'legacy',
    'none',
    'any',
    'local0',
  ],
  ...[
    'eth0',
    'eth0,eth1',
    'a',
    'B',
    '__proto__',
    '/dev/ttyS0',
    '10.0.0.1',
    '::1',
    'A=1',
    '=',
    'uid=',
    'uid=a,,b',
    'root',
    '/bin/true',
  ],
  ...[
    'eth0 239.0.0.1 694 1 0',
    'eth0 239.0.0.1 694 4 2',
    'eth0 ff05::1 694 1 0',
    'gw 10.0.0.1',
    'ä',
    '\u0000',
    '#',
    '"',
    '\\',
  ],
];
const GOOD = 'bcast eth0\nnode a b\nauto_failback off\n';
/** setTimeout takes no more; the daemon waits for sums of two of them. */
const MOST_MS = 2 ** 31 - 1;

const SYSTEM: HaCfSystem = {
  ownNode: 'a',
  defaultUdpPort: 694,
  userExists: (user) => user === 'root',
  isExecutable: (path) => path === '/bin/true',
  isStonithType: (type) => type === 'null',
  hasStonithConfig: (file) => file === '/f',
  interfaceError: (device) => (device === 'eth0' ? null : 'No such device'),
};

/** As UTF-8, sometimes with bytes that nobody wrote. */
function perhapsSpoiled(rng: Prng, text: string): string {
  return rng.chance(0.2) ? Buffer.from(spoiled(rng, Buffer.from(text))).toString() : text;
}

function lines(rng: Prng, line: () => string): string {
  return Array.from({ length: 1 + rng.below(6) }, line).join(rng.chance(0.1) ? '\r\n' : '\n');
}

function check(ok: boolean, what: string, text: string): void {
  if (!ok) throw new Error(`${what}: ${JSON.stringify(text)}`);
}

function checkTaken(haCf: HaCf, text: string): void {
  const { keepaliveMs, deadtimeMs, warntimeMs, initdeadMs, deadpingMs, connLogdTimeMs } = haCf;
  for (const ms of [keepaliveMs, deadtimeMs, warntimeMs, initdeadMs, deadpingMs, connLogdTimeMs]) {
    check(Number.isInteger(ms) && ms > 0 && 2 * ms < MOST_MS, `a time of ${ms} ms`, text);
  }
  check(deadtimeMs > 2 * keepaliveMs && initdeadMs >= deadtimeMs, 'times', text);
  check(haCf.nodes.includes('a'), 'nodes', text);
  check(
    haCf.media.some(({ type }) => type !== 'serial'),
    'media',
    text,
  );
  for (const name of Object.keys(haCf.parameters)) check(DIRECTIVES.has(name), name, text);
}

const haCf: FuzzTarget = {
  name: 'ha.cf',
  input: (rng) => {
    const line = () =>
      `${rng.pick(['', '', ' ', '\t'])}${rng.pick(DIRECTIVE_NAMES)}${rng.pick([' ', '\t', '  ', ''])}` +
      Array.from({ length: 1 + rng.below(3) }, () => rng.pick(VALUES)).join(
        rng.pick([' ', ',', '\t']),
      );
    const written = rng.chance(0.8) ? `${GOOD}${lines(rng, line)}` : lines(rng, line);
    const text = perhapsSpoiled(rng, written);
    const { config, messages } = parseHaCf(text, 'ha.cf', SYSTEM);
    if (config) checkTaken(config, text);
    else
      check(
        messages.some(({ level }) => level === 'ERROR'),
        'refused without a word',
        text,
      );
    return 1;
  },
};

const WORDS = [
  'a',
  'b',
  'A',
  'c',
  'mysql',
  '10.0.0.1',
  '10.0.0.1/24/eth0',
  '1.2.3',
  'Filesystem::/dev/drbd0::/d::ext4',
  '::',
  'x::',
  '::x',
];
const KINDS = [
  'OCF::a::b',
  'OCF',
  'ocf::',
  'ocf::p:t::k=v',
  'ocf::p',
  'systemd::',
  'systemd::x',
  '\\',
  '#',
  '\\ ',
  '__proto__',
];

/** A script has a name, an agent a provider, a type and values, each once; a unit has nothing but its name. */
function canBeRun({ kind, script, args }: HaResource): boolean {
  if (kind === 'systemd') return !/[/\s]/.test(script) && script !== '' && args.length === 0;
  if (kind === 'heartbeat') return script !== '';
  const [provider = '', type = '', ...more] = script.split(':');
  const names = args.map((arg) => arg.slice(0, arg.indexOf('=')));
  const isNamed = names.every((name) => /^[A-Za-z_]\w*$/.test(name));
  const isWhole = provider !== '' && type !== '' && more.length === 0 && !script.includes('/');
  return isWhole && isNamed && new Set(names).size === names.length;
}

const haresources: FuzzTarget = {
  name: 'haresources',
  input: (rng) => {
    const line = () =>
      Array.from({ length: rng.below(5) }, () => rng.pick(rng.chance(0.7) ? WORDS : KINDS)).join(
        rng.pick([' ', '\t', '  ']),
      );
    const text = perhapsSpoiled(rng, lines(rng, line));
    const { groups, messages } = parseHaResources(text, 'haresources', ['a', 'b']);
    const refused = messages.some(({ level }) => level === 'ERROR');
    check((groups === null) === refused, 'refused with a reason, and only then', text);
    const keys = (groups ?? []).map(({ key }) => key);
    check(new Set(keys).size === keys.length, 'a key is the name of one group', text);
    for (const { node, resources } of groups ?? []) {
      check(
        ['a', 'b'].includes(node) && resources.length > 0,
        'a group has a home and a resource',
        text,
      );
      for (const resource of resources) {
        check(canBeRun(resource), 'what is taken can be run', text);
      }
    }
    return 1;
  },
};

const METHODS = ['crc', 'md5', 'sha1', 'sha256', 'sha512', 'sha384', '', 'SHA1'];
const NUMBERS = ['0', '1', '2', '15', '16', '-1', '1x', '99999999999', ''];

const authkeys: FuzzTarget = {
  name: 'authkeys',
  input: (rng) => {
    const key = () =>
      `${rng.pick(NUMBERS)} ${rng.pick(METHODS)} ${rng.pick(['', 'k', 'k l', '\u0000', 'ä'])}`;
    const line = () =>
      rng.chance(0.4) ? `${rng.pick(['auth', 'a', '#', ''])} ${rng.pick(NUMBERS)}` : key();
    const text = perhapsSpoiled(
      rng,
      rng.chance(0.6) ? `auth 1\n1 sha1 k\n${lines(rng, line)}` : lines(rng, line),
    );
    const { authkeys: taken, messages } = parseAuthKeys(
      text,
      'authkeys',
      rng.pick([0o600, 0o100600, 0o644]),
    );
    if (!taken)
      check(
        messages.some(({ level }) => level === 'ERROR'),
        'refused without a word',
        text,
      );
    for (const { number, method, key: secret } of taken?.keys ?? []) {
      check(number >= 0 && number <= 15, 'a number of a key', text);
      check((method === 'crc') === (secret === ''), 'a key is there where one signs', text);
    }
    if (taken)
      check(taken.keys.includes(taken.current), 'the key that signs is one that is accepted', text);
    return 1;
  },
};

export const heartbeatTargets = (): readonly FuzzTarget[] => [haCf, haresources, authkeys];
