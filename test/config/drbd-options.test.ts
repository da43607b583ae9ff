import test from 'ava';
import {
  DISK_TABLE,
  findOption,
  NET_TABLE,
  RESOURCE_TABLE,
  scaledNumber,
  valueError,
} from '../../src/config/drbd-option-table.js';
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
} from '../../src/config/drbd-options.js';
import {
  diskOptions,
  netOptions,
  resourceOptions,
  showOptions,
  TWO_PRIMARIES_REFUSED,
} from '../../src/config/drbd-options-convert.js';

const written = (text: string) =>
  text.split(' ').map((pair) => {
    const [name = '', value = ''] = pair.split('=');
    return { name, value };
  });

test('no option is every default, and what `show` prints of the defaults converts back to them', (t) => {
  t.deepEqual(diskOptions([]).options, DEFAULT_DISK_OPTIONS);
  t.deepEqual(netOptions([]).options, DEFAULT_NET_OPTIONS);
  t.deepEqual(resourceOptions([]).options, DEFAULT_RESOURCE_OPTIONS);
  const unquoted = (list: readonly { name: string; value: string }[]) =>
    list.map(({ name, value }) => ({ name, value: value.replace(/^"(.*)"$/, '$1') }));
  const disk = showOptions(DISK_TABLE, DEFAULT_DISK_OPTIONS, DEFAULT_DISK_OPTIONS);
  t.deepEqual(diskOptions(unquoted(disk)).options, DEFAULT_DISK_OPTIONS);
  const net = showOptions(NET_TABLE, DEFAULT_NET_OPTIONS, DEFAULT_NET_OPTIONS);
  t.deepEqual(netOptions(unquoted(net)).options, DEFAULT_NET_OPTIONS);
  const resource = showOptions(RESOURCE_TABLE, DEFAULT_RESOURCE_OPTIONS, DEFAULT_RESOURCE_OPTIONS);
  t.deepEqual(resourceOptions(unquoted(resource)).options, DEFAULT_RESOURCE_OPTIONS);
});

// drbd.conf(5): K, M, G and s, scaled to the unit of the bare number, rounded up.
test('units', (t) => {
  t.is(scaledNumber('10M', 'k'), 10_240);
  t.is(scaledNumber('250', 'k'), 250);
  t.is(scaledNumber('100s', 's'), 100);
  t.is(scaledNumber('1K', 's'), 2);
  t.is(scaledNumber('3s', 'k'), 2);
  t.is(scaledNumber('1s', '1'), 512);
  t.is(scaledNumber('10G', 's'), 20_971_520);
  t.is(scaledNumber('-1', '1'), -1);
  t.is(scaledNumber(' +1', '1'), 1);
  for (const bad of ['', 'x', '1x', '1.5', '1KK', '1 ', '- 1'])
    t.is(scaledNumber(bad, '1'), null, bad);
});

test('values of every kind, the last one wins', (t) => {
  t.like(
    diskOptions(
      written(
        'resync-rate=10M al-extents=257 size=1G fencing=resource-only disk-flushes=no al-extents=127 c-fill-target=1M use-bmbv=yes',
      ),
    ).options,
    {
      resyncRateKiBps: 10_240,
      alExtents: 127,
      sizeSectors: 2_097_152,
      fencing: 'resource-only',
      diskFlushes: false,
      cFillTargetSectors: 2048,
    },
  );
  t.like(netOptions(written('protocol=b timeout=50 sndbuf-size=512K shared-secret=x')).options, {
    protocol: 'B',
    timeoutDs: 50,
    sndbufBytes: 524_288,
    sharedSecret: 'x',
  });
  // The kernel clamps it too.
  t.is(diskOptions(written('al-extents=7')).options?.alExtents, 67);
});

test('what cannot be used is refused with the reason, all of it at once', (t) => {
  const { options, errors } = diskOptions(
    written('disk-timeout=6001 fencing=maybe disk-drain=1 nosuch=1 max-bio-bvecs=x'),
  );
  t.is(options, null);
  t.deepEqual(errors, [
    'disk-timeout 6001 => 6001 out of range [0..6000].',
    "fencing: expected dont-care, resource-only, resource-and-stonith, got 'maybe'",
    "disk-drain: expected yes or no, got '1'",
    "expected an option of this section, got 'nosuch'",
    "max-bio-bvecs: expected a number, got 'x'",
  ]);
  t.deepEqual(netOptions(written('allow-two-primaries=yes')).errors, [TWO_PRIMARIES_REFUSED]);
  t.not(netOptions(written('allow-two-primaries=no')).options, null);
  t.regex(netOptions([{ name: 'shared-secret', value: 'x'.repeat(64) }]).errors[0] ?? '', /63/);
});

test('old spellings', (t) => {
  t.like(findOption('syncer', 'rate'), { section: 'disk', option: { name: 'resync-rate' } });
  t.like(findOption('syncer', 'verify-alg'), { section: 'net' });
  t.like(findOption('syncer', 'cpu-mask'), { section: 'options' });
  t.like(findOption('handlers', 'outdate-peer'), { option: { name: 'fence-peer' } });
  t.like(findOption('disk', 'no-disk-barrier'), {
    negated: true,
    option: { name: 'disk-barrier' },
  });
  t.is(findOption('syncer', 'timeout'), null);
  t.is(findOption('net', 'rate'), null);
});

test('every number accepts its bounds and refuses what lies beyond', (t) => {
  const tables = [...Object.values(DISK_TABLE), ...Object.values(NET_TABLE)];
  for (const option of tables) {
    if (option.kind !== 'number') continue;
    const unit = option.scale === 's' ? 's' : option.scale === 'k' ? 'K' : '';
    t.is(valueError(option, `${option.min}${unit}`), null, option.name);
    t.is(valueError(option, `${option.max}${unit}`), null, option.name);
    if (option.clamp) continue;
    t.not(valueError(option, `${option.max + 1}${unit}`), null, option.name);
    t.not(valueError(option, `${option.min - 1}${unit}`), null, option.name);
  }
});
