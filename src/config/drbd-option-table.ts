/**
 * Every option of drbd.conf: its section, values, unit and range, and the field of drbd-options.ts that it sets.
 * Typed by field, so that an option without a row does not compile. Defaults are those of drbd-options.ts.
 *
 * Numbers take a suffix: K, M, G are 2^10, 2^20, 2^30 bytes and s is 512 bytes, converted to the unit of the bare
 * number (`scale`: plain, KiB or sectors) and rounded up. Source: drbd.conf(5) 8.4, docs/CONFIGURATION.md.
 */
import type { DiskOptions, NetOptions, ResourceOptions } from './drbd-options.js';

export type Scale = '1' | 'k' | 's';

export interface NumberOption {
  readonly kind: 'number';
  readonly name: string;
  readonly scale: Scale;
  readonly min: number;
  readonly max: number;
  readonly unit: string; // as `drbdsetup show` comments it
  readonly when: 'reading' | 'use'; // where drbdadm checks the range
  readonly clamp: boolean; // out of range is moved into it, not refused
}
export interface WordOption {
  readonly kind: 'word';
  readonly name: string;
  readonly words: readonly string[];
}
export interface FlagOption {
  readonly kind: 'flag';
  readonly name: string;
}
export interface TextOption {
  readonly kind: 'text';
  readonly name: string;
  readonly maxLength: number;
}
export type Option = NumberOption | WordOption | FlagOption | TextOption;

function number(
  name: string,
  scale: Scale,
  min: number,
  max: number,
  unit = '',
  when: 'reading' | 'use' = 'reading',
): NumberOption {
  return { kind: 'number', name, scale, min, max, unit, when, clamp: false };
}
function words(name: string, ...list: readonly string[]): WordOption {
  return { kind: 'word', name, words: list };
}
function flag(name: string): FlagOption {
  return { kind: 'flag', name };
}
function text(name: string, maxLength = 63): TextOption {
  return { kind: 'text', name, maxLength };
}

const TENTHS = '1/10 seconds';
const DISCARD = ['discard-younger-primary', 'discard-older-primary', 'discard-zero-changes'];
const STRIPES = ['32K', '64K', '128K', '256K', '512K', '1M'].map((size) => `${size}-striping`);

/** In the order of `drbdsetup show`. */
export const DISK_TABLE: Readonly<Record<keyof DiskOptions, Option>> = {
  sizeSectors: number('size', 's', 0, 2 ** 41, 'bytes'),
  maxBioBvecs: number('max-bio-bvecs', '1', 0, 128, '', 'use'),
  onIoError: words('on-io-error', 'pass_on', 'call-local-io-error', 'detach'),
  fencing: words('fencing', 'dont-care', 'resource-only', 'resource-and-stonith'),
  diskBarrier: flag('disk-barrier'),
  diskFlushes: flag('disk-flushes'),
  diskDrain: flag('disk-drain'),
  mdFlushes: flag('md-flushes'),
  resyncRateKiBps: number('resync-rate', 'k', 1, 4 << 20, 'bytes/second'),
  resyncAfterMinor: number('resync-after', '1', -1, (1 << 20) - 1, '', 'use'),
  alExtents: { ...number('al-extents', '1', 67, 0xfffe, '', 'use'), clamp: true },
  alUpdates: flag('al-updates'),
  discardZeroesIfAligned: flag('discard-zeroes-if-aligned'),
  disableWriteSame: flag('disable-write-same'),
  cPlanAheadDs: number('c-plan-ahead', '1', 0, 300, TENTHS),
  cDelayTargetDs: number('c-delay-target', '1', 1, 100, TENTHS),
  cFillTargetSectors: number('c-fill-target', 's', 0, 1 << 20, 'bytes'),
  cMaxRateKiBps: number('c-max-rate', 'k', 250, 4 << 20, 'bytes/second'),
  cMinRateKiBps: number('c-min-rate', 'k', 0, 4 << 20, 'bytes/second'),
  diskTimeoutDs: number('disk-timeout', '1', 0, 6000, TENTHS, 'use'),
  readBalancing: words(
    'read-balancing',
    'prefer-local',
    'prefer-remote',
    'round-robin',
    'least-pending',
    'when-congested-remote',
    ...STRIPES,
  ),
  rsDiscardGranularityBytes: number('rs-discard-granularity', '1', 0, 1 << 20, '', 'use'),
};

export const NET_TABLE: Readonly<Record<keyof NetOptions, Option>> = {
  protocol: words('protocol', 'A', 'B', 'C'),
  timeoutDs: number('timeout', '1', 1, 600, TENTHS),
  maxEpochSize: number('max-epoch-size', '1', 1, 20_000),
  maxBuffers: number('max-buffers', '1', 32, 131_072),
  unplugWatermark: number('unplug-watermark', '1', 1, 131_072, '', 'use'),
  connectIntS: number('connect-int', '1', 1, 120, 'seconds'),
  pingIntS: number('ping-int', '1', 1, 120, 'seconds'),
  sndbufBytes: number('sndbuf-size', '1', 0, 10 << 20, 'bytes'),
  rcvbufBytes: number('rcvbuf-size', '1', 0, 10 << 20, 'bytes'),
  koCount: number('ko-count', '1', 0, 200),
  allowTwoPrimaries: flag('allow-two-primaries'),
  cramHmacAlg: text('cram-hmac-alg'),
  sharedSecret: text('shared-secret'),
  afterSb0pri: words(
    'after-sb-0pri',
    'disconnect',
    ...DISCARD,
    'discard-least-changes',
    'discard-local',
    'discard-remote',
  ),
  afterSb1pri: words(
    'after-sb-1pri',
    'disconnect',
    'consensus',
    'violently-as0p',
    'discard-secondary',
    'call-pri-lost-after-sb',
  ),
  afterSb2pri: words('after-sb-2pri', 'disconnect', 'violently-as0p', 'call-pri-lost-after-sb'),
  alwaysAsbp: flag('always-asbp'),
  rrConflict: words('rr-conflict', 'disconnect', 'violently', 'call-pri-lost'),
  pingTimeoutDs: number('ping-timeout', '1', 1, 300, TENTHS, 'use'),
  dataIntegrityAlg: text('data-integrity-alg'),
  tcpCork: flag('tcp-cork'),
  onCongestion: words('on-congestion', 'block', 'pull-ahead', 'disconnect'),
  congestionFillSectors: number('congestion-fill', 's', 0, 10 << 21, 'bytes'),
  congestionExtents: number('congestion-extents', '1', 67, 0xfffe),
  csumsAlg: text('csums-alg'),
  csumsAfterCrashOnly: flag('csums-after-crash-only'),
  verifyAlg: text('verify-alg'),
  useRle: flag('use-rle'),
  socketCheckTimeoutDs: number('socket-check-timeout', '1', 0, 300, '', 'use'),
};

export const RESOURCE_TABLE: Readonly<Record<keyof ResourceOptions, Option>> = {
  cpuMask: text('cpu-mask', 255),
  onNoDataAccessible: words('on-no-data-accessible', 'io-error', 'suspend-io'),
};

export const STARTUP_OPTIONS: readonly Option[] = [
  number('wfc-timeout', '1', 0, 300_000),
  number('degr-wfc-timeout', '1', 0, 300_000),
  number('outdated-wfc-timeout', '1', 0, 300_000),
  flag('wait-after-sb'),
];

export const HANDLER_NAMES: readonly string[] = [
  'pri-on-incon-degr',
  'pri-lost-after-sb',
  'pri-lost',
  'initial-split-brain',
  'split-brain',
  'fence-peer',
  'unfence-peer',
  'local-io-error',
  'before-resync-target',
  'after-resync-target',
  'before-resync-source',
  'out-of-sync',
];

const PROXY_NAMES = ['memlimit', 'read-loops', 'compression', 'bwlimit', 'ping-timeout'];
const PROXY_SIZES = ['sndbuf-size', 'rcvbuf-size']; // checked as those of net are

/** Read and forgotten: 8.3 took them, nothing uses them. */
export const IGNORED_OPTIONS: ReadonlySet<string> = new Set([
  'delay-probe-volume',
  'delay-probe-interval',
  'throttle-threshold',
  'hold-off-threshold',
]);

export type Section = 'net' | 'disk' | 'options' | 'startup' | 'handlers' | 'proxy';

function bySection(): ReadonlyMap<Section, ReadonlyMap<string, Option>> {
  const map = (list: readonly Option[]) => new Map(list.map((option) => [option.name, option]));
  const free = (name: string): Option => text(name, 255);
  return new Map([
    ['net', map(Object.values(NET_TABLE))],
    // Accepted for 8.0's sake and not passed on by the kernel either.
    ['disk', map([...Object.values(DISK_TABLE), flag('use-bmbv')])],
    ['options', map(Object.values(RESOURCE_TABLE))],
    ['startup', map(STARTUP_OPTIONS)],
    ['handlers', map(HANDLER_NAMES.map(free))],
    [
      'proxy',
      map([...PROXY_NAMES.map(free), ...PROXY_SIZES.map((name) => number(name, '1', 0, 10 << 20))]),
    ],
  ]);
}

export const SECTION_OPTIONS = bySection();

/** Old name -> today's, within a section. */
const RENAMED: ReadonlyMap<string, string> = new Map([
  ['handlers outdate-peer', 'fence-peer'],
  ['disk rate', 'resync-rate'],
  ['disk after', 'resync-after'],
]);
/** `no-disk-barrier` is `disk-barrier no`. */
const NEGATED: ReadonlySet<string> = new Set([
  'no-disk-barrier',
  'no-disk-flushes',
  'no-disk-drain',
  'no-md-flushes',
  'no-tcp-cork',
]);
/** The syncer section of 8.0 to 8.3 is spread over today's sections. */
const SYNCER: ReadonlyMap<string, Section> = new Map([
  ...['rate', 'after', 'al-extents', 'c-plan-ahead', 'c-delay-target'].map(toDisk),
  ...['c-fill-target', 'c-max-rate', 'c-min-rate'].map(toDisk),
  ['verify-alg', 'net'],
  ['csums-alg', 'net'],
  ['use-rle', 'net'],
  ['cpu-mask', 'options'],
  ['on-no-data-accessible', 'options'],
]);
function toDisk(name: string): [string, Section] {
  return [name, 'disk'];
}

/** An option as it stands in a section: where it goes, under which name, and whether it is a `no-` form. */
export interface FoundOption {
  readonly section: Section;
  readonly option: Option;
  readonly negated: boolean;
}

export function findOption(section: Section | 'syncer', written: string): FoundOption | null {
  const target = section === 'syncer' ? SYNCER.get(written) : section;
  if (target === undefined) return null;
  const negated = NEGATED.has(written);
  const name = negated ? written.slice(3) : (RENAMED.get(`${target} ${written}`) ?? written);
  const option = SECTION_OPTIONS.get(target)?.get(name);
  return option ? { section: target, option, negated } : null;
}

export const OPTION_NAMES: ReadonlySet<string> = new Set([
  ...[...SECTION_OPTIONS.values()].flatMap((options) => [...options.keys()]),
  ...[...RENAMED.keys()].map((key) => key.split(' ')[1] ?? ''),
  ...NEGATED,
  ...IGNORED_OPTIONS,
  'discard-my-data',
]);

const SHIFT: Readonly<Record<string, number>> = { K: 10, k: 10, M: 20, m: 20, G: 30, g: 30, s: 9 };
const SCALE_SHIFT: Readonly<Record<Scale, number>> = { '1': 0, k: 10, s: 9 };

/** The number in the option's unit, or null when it is not one. */
export function scaledNumber(value: string, scale: Scale): number | null {
  const match = /^\s*([+-]?\d{1,15})([KkMmGgs])?$/.exec(value);
  if (!match) return null;
  const bare = Number(match[1]);
  if (match[2] === undefined) return bare;
  const shift = (SHIFT[match[2]] ?? 0) - SCALE_SHIFT[scale];
  return shift >= 0 ? bare * 2 ** shift : Math.ceil(bare / 2 ** -shift);
}

/** What is wrong with a value, in drbdadm's words; null when it can be used. */
export function valueError(option: Option, value: string): string | null {
  switch (option.kind) {
    case 'number': {
      const n = scaledNumber(value, option.scale);
      if (n === null) return `${option.name}: expected a number, got '${value}'`;
      if (option.clamp || (n >= option.min && n <= option.max)) return null;
      const unit = option.scale === '1' ? '' : option.scale;
      return `${option.name} ${value} => ${n}${unit} out of range [${option.min}..${option.max}]${unit}.`;
    }
    case 'word':
      if (option.name === 'protocol') {
        return /^[ABCabc]$/.test(value)
          ? null
          : `unknown protocol '${value}', should be one of A,B,C`;
      }
      return option.words.includes(value)
        ? null
        : `${option.name}: expected ${option.words.join(', ')}, got '${value}'`;
    case 'flag':
      return value === 'yes' || value === 'no'
        ? null
        : `${option.name}: expected yes or no, got '${value}'`;
    case 'text':
      return value.length <= option.maxLength
        ? null
        : `${option.name}: expected at most ${option.maxLength} characters, got ${value.length}`;
  }
}
