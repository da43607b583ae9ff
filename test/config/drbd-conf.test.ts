/** What is wrong with a drbd.conf is said with its place, and the verdict is that of drbdadm 9.22 (8.4 dialect). */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { dumpHeader, dumpResource } from '../../src/config/drbd-conf-dump.js';
import type { ConfFiles, DrbdConfResult } from '../../src/config/drbd-conf-model.js';
import { parseDrbdConf } from '../../src/config/drbd-conf-parser.js';
import { localConf } from '../../src/config/drbd-conf-resolve.js';
import { need } from '../support/need.js';
import { holds } from '../support/property.js';

function files(texts: Readonly<Record<string, string>>): ConfFiles {
  return {
    read: (path) => texts[path] ?? null,
    glob: (pattern) => {
      const regex = new RegExp(
        `^${pattern.replace(/[.+^${}()|[\]\\?]/g, '\\$&').replaceAll('*', '[^/]*')}$`,
      );
      return Object.keys(texts).filter((path) => regex.test(path));
    },
    real: (path) => path,
  };
}
function parse(text: string): DrbdConfResult {
  return parseDrbdConf('/f', files({ '/f': text }));
}

const ONE =
  'on one { device /dev/drbd0; disk /dev/sdb1; address 10.0.0.1:7788; meta-disk internal; }';
const TWO =
  'on two { device /dev/drbd0; disk /dev/sdb1; address 10.0.0.2:7788; meta-disk internal; }';
const HOSTS = `${ONE} ${TWO}`;
const OTHER = (one: string, two: string) =>
  `resource other { on one { ${one} meta-disk internal; } on two { ${two} meta-disk internal; } }`;

/** Text, our first message; both refuse it with exit status 10. */
const REFUSED: readonly (readonly [string, RegExp])[] = [
  [
    'resource r0 {\n  protocl C;\n}',
    /^\/f:2:3: expected a statement or section of resource r0, or '}', got 'protocl'$/,
  ],
  ['resource { }', /^\/f:1:10: expected the name of the resource \(a string\), got '\{'$/],
  ['resource on { }', /got 'on' \(a keyword: quote it to use it as a string\)$/],
  ['foo', /^\/f:1:1: expected global, common, resource, skip or include, got 'foo'$/],
  ['global { minor-count x; }', /^\/f:1:22: expected a number after minor-count, got 'x'$/],
  ['global { minor-count 300; }', /minor-count 300 => 300 out of range \[1\.\.255\]\.$/],
  ['global { usage-count maybe; }', /expected yes, no or ask, got 'maybe'$/],
  ['global { } global { }', /^\/f:1:12: conflicting use of global section 'global'/],
  [
    `resource r0 { net { timeout 700; } ${HOSTS} }`,
    /^\/f:1:29: timeout 700 => 700 out of range \[1\.\.600\]\.$/,
  ],
  [`resource r0 { net { timeout 6s; } ${HOSTS} }`, /timeout 6s => 3072 out of range/],
  [`resource r0 { net { protocol D; } ${HOSTS} }`, /unknown protocol 'D', should be one of A,B,C$/],
  [`resource r0 { protocol D; ${HOSTS} }`, /unknown protocol 'D'/],
  [
    `resource r0 { disk { resync-rate 5G; } ${HOSTS} }`,
    /resync-rate 5G => 5242880k out of range \[1\.\.4194304\]k\.$/,
  ],
  [
    `resource r0 { net { timeout; } ${HOSTS} }`,
    /expected a value of timeout \(a string or a number\), got ';'$/,
  ],
  [`resource r0 { net { timeout 5 } ${HOSTS} }`, /expected ';', got '}'$/],
  [
    `resource r0 { net { on-io-error detach; } ${HOSTS} }`,
    /expected an option of the net section, got 'on-io-error'$/,
  ],
  [`resource r0 { net { tcp-cork 1; } ${HOSTS} }`, /expected yes, no or ';', got '1'$/],
  [`resource r0 { syncer { ping-int 5; } ${HOSTS} }`, /expected an option of the syncer section/],
  [`resource r0 { net { discard-my-data; } ${HOSTS} }`, /expected an option of the net section/],
  [`resource r0 { net { } net { } ${HOSTS} }`, /conflicting use of net section 'net'/],
  [`resource r0 { protocol C; protocol C; ${HOSTS} }`, /conflicting use of protocol statement/],
  [`resource r0 { ${ONE} ${ONE} }`, /conflicting use of host section 'on one'/],
  [`resource r0 { ${HOSTS} } resource r0 { ${HOSTS} }`, /conflicting use of resource section 'r0'/],
  [
    'resource r0 { on one { device /dev/drbd0; disk /dev/sdb1; meta-disk internal; } }',
    /^\/f:1:15: in resource r0, on one \{ \.\.\. \}: 'address' keyword missing\.$/,
  ],
  [
    'resource r0 { on one { disk /dev/sdb1; address 10.0.0.1:7788; meta-disk internal; } }',
    /'device' keyword missing/,
  ],
  [
    'resource r0 { on one { device /dev/drbd0; address 10.0.0.1:7788; meta-disk internal; } }',
    /'disk' keyword missing/,
  ],
  [
    'resource r0 { on one { device /dev/drbd0; disk /dev/sdb1; address 10.0.0.1:7788; } }',
    /'meta-disk' keyword missing/,
  ],
  ['resource r0 { on one { device /dev/sda; } }', /device name must start with \/dev\/drbd/],
  [
    'resource r0 { on one { device /dev/drbdx; } }',
    /no minor given nor device name contains a minor number$/,
  ],
  [
    'resource r0 { on one { device /dev/drbd1 minor 2; } }',
    /explicit minor number must match with device name/,
  ],
  [
    'resource r0 { on one { device /dev/drbdx minor 2; } }',
    /arbitrary device name must start with \/dev\/drbd_/,
  ],
  ['resource r0 { on one { address 10.0.0.1; } }', /expected ':', got ';'$/],
  ['resource r0 { on one { address host:7788; } }', /expected an address .*, got 'host'$/],
  [
    'resource r0 { on one { address 10.0.0.1:70000; } }',
    /port 70000 => 70000 out of range \[1\.\.65535\]\.$/,
  ],
  [
    'resource r0 { on _x { device /dev/drbd0; address 10.0.0.1:7788; meta-disk internal; } }',
    /in resource r0, on _x \{ \.\.\. \}: 'disk' keyword missing\.$/,
  ],
  [
    `resource r0 { proxy { sndbuf-size 11M; } ${HOSTS} }`,
    /sndbuf-size 11M => 11534336 out of range \[0\.\.10485760\]\.$/,
  ],
  ['resource r0 { on one { address fe80::1:7788; } }', /expected an address/],
  ['resource r0 { on one { meta-disk internal[0]; } }', /expected ';', got '\['$/],
  ['resource r0 { on one { meta-disk /dev/sdc[x]; } }', /expected a number, got 'x'$/],
  ['resource r0 { on { } }', /expected a host name \(a string\), got '\{'$/],
  [
    `resource r0 { device /dev/drbd0; volume 0 { } device /dev/drbd1; ${HOSTS} }`,
    /conflicting use of device statement|mixing/,
  ],
  [
    `resource r0 { volume 1 { } meta-disk internal; ${HOSTS} }`,
    /mixing explicit and implicit volumes is not allowed/,
  ],
  [
    `resource r0 { ${ONE} on two { address 10.0.0.2:7788; volume 1 { device /dev/drbd1; disk /dev/sdb1; meta-disk internal; } } }`,
    /volume 0 not defined on two$/,
  ],
  [
    `resource r0 { ${HOSTS} } ${OTHER('device /dev/drbd0; disk /dev/sdb2; address 10.0.0.1:7789;', 'device /dev/drbd5; disk /dev/sdb2; address 10.0.0.2:7789;')}`,
    /conflicting use of device 'device:one:\/dev\/drbd0'/,
  ],
  [
    `resource r0 { ${HOSTS} } ${OTHER('device /dev/drbd1; disk /dev/sdb2; address 10.0.0.1:7788;', 'device /dev/drbd1; disk /dev/sdb2; address 10.0.0.2:7789;')}`,
    /conflicting use of IP '10\.0\.0\.1:7788' \.\.\.$/,
  ],
  [
    `resource r0 { ${HOSTS} } ${OTHER('device /dev/drbd_a minor 0; disk /dev/sdb2; address 10.0.0.1:7789;', 'device /dev/drbd1; disk /dev/sdb2; address 10.0.0.2:7789;')}`,
    /conflicting use of device-minor 'one:0'/,
  ],
  [
    'resource a { disk /dev/sdb1; device minor 1; meta-disk internal; on one { address 10.0.0.1:1; } } resource b { disk /dev/sdb1; device minor 2; meta-disk internal; on one { address 10.0.0.1:2; } }',
    /conflicting use of disk 'one:\/dev\/sdb1'/,
  ],
  [
    'resource a { device minor 1; disk /dev/sdb1; meta-disk /dev/m[0]; on one { address 10.0.0.1:1; } } resource b { device minor 2; disk /dev/sdb2; meta-disk /dev/m[0]; on one { address 10.0.0.1:2; } }',
    /conflicting use of meta-disk 'one:\/dev\/m\[0\]'/,
  ],
  [`common { ${ONE} }`, /in the common section, there are no host sections allowed\.$/],
  ['include "nosuch.conf";', /^\/f:1:9: Failed to open include file 'nosuch\.conf'\.$/],
  ['include nosuch', /expected ';', got the end of the file$/],
  ['skip { a { }', /expected '}' of the skip block begun in line 1, got the end of the file$/],
  [
    'resource "abc',
    /expected the name of the resource .* which is not a quoted string of at most 255 characters in one line$/,
  ],
  [`resource ${'x'.repeat(129)} { }`, /which is not at most 128 characters$/],
  ['resource r0 { $ }', /got '\$'$/],
  [
    `resource r0 { handlers { split-brain 5; nosuch "x"; } ${HOSTS} }`,
    /expected an option of the handlers section/,
  ],
  [`resource r0 { startup { become-primary-on; } ${HOSTS} }`, /expected a host name/],
  [`resource r0 { startup { wfc-timeout 300001; } ${HOSTS} }`, /out of range \[0\.\.300000\]/],
  [`resource r0 { disk { c-max-rate 100; } ${HOSTS} }`, /out of range \[250\.\.4194304\]k/],
];

/** Refused here only; drbdadm 9.22 takes them and would use them (of 1K it hands 1 to drbdsetup). */
const STRICTER: readonly (readonly [string, RegExp])[] = [
  [
    `resource r0 { on one { device /dev/drbd0; disk /dev/sdb1; address 10.0.0.1:1K; meta-disk internal; } ${TWO} }`,
    /^\/f:1:76: expected a port number without unit, got '1K'$/,
  ],
  [`resource r0 { ${HOSTS}`, /got the end of the file$/],
  [
    `resource r0 { ${HOSTS} } ${OTHER('device /dev/drbd1; disk /dev/sdb1; address 10.0.0.1:7789;', 'device /dev/drbd1; disk /dev/sdb9; address 10.0.0.2:7789;')}`,
    /conflicting use of disk 'one:\/dev\/sdb1'/,
  ],
  [
    `resource r0 { on one { device /dev/drbd0; disk /dev/sdb1; address 10.0.0.1:7788; meta-disk internal; proxy on one { inside 10.0.0.1:1; outside 10.0.0.1:2; } } on two { device /dev/drbd0; disk /dev/sdb1; address 10.0.0.2:7788; meta-disk internal; proxy on two { inside 10.0.0.2:1; outside 10.0.0.2:2; } } }`,
    /DRBD proxy is not supported/,
  ],
  [
    `resource r0 { ${HOSTS} } resource s { stacked-on-top-of r0 { device /dev/drbd10; address 10.0.0.9:7788; } ${TWO.replaceAll('two', 'three').replaceAll('drbd0', 'drbd11').replaceAll('10.0.0.2', '10.0.0.3')} }`,
    /stacked resources \(a third copy\) are not supported/,
  ],
];

test('what is refused is refused with its place, and nothing is left over', (t) => {
  for (const [text, message] of [...REFUSED, ...STRICTER]) {
    const { config, errors } = parse(text);
    t.is(config, null, text);
    t.true(errors.length > 0, text);
    t.true(
      errors.some((error) => message.test(error)),
      `${text}\n${errors.join('\n')}`,
    );
    t.regex(errors[0] ?? '', /^\/f:\d+:\d+: /);
  }
});

test('drbdadm-84 gives the same verdicts', (t) => {
  if (!need(t, 'drbdadm')) return;
  const dir = mkdtempSync(join(tmpdir(), 'drbd-conf-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const verdict = (text: string): number => {
    const file = join(dir, 'f');
    writeFileSync(file, text);
    const env = { ...process.env, DRBD_DRIVER_VERSION_OVERRIDE: '8.4.11', __DRBD_NODE__: 'one' };
    try {
      execFileSync('drbdadm', ['-c', file, '-d', 'dump'], { env, stdio: 'ignore' });
      return 0;
    } catch (e) {
      return e instanceof Error && 'status' in e ? Number(e.status) : -1;
    }
  };
  for (const [text] of REFUSED) t.is(verdict(text), 10, text);
  for (const [text] of STRICTER) t.is(verdict(text), 0, text);
});

test('all errors of values are told at once, a wrong token ends the reading', (t) => {
  const { errors } = parse(`resource r0 { net { timeout 700; ping-int 0; } ${HOSTS} } foo`);
  t.deepEqual(
    errors.map((e) => e.split(' ')[1]),
    ['timeout', 'ping-int', 'expected'],
  );
});

test('include is relative to its own file, once each, and at most ten deep', (t) => {
  const texts: Record<string, string> = {
    '/etc/drbd.conf': 'include "drbd.d/*.res"; include "drbd.d/a.res";',
    '/etc/drbd.d/a.res': `resource a { ${HOSTS} } include "b.inc";`,
    '/etc/drbd.d/b.inc': 'global { usage-count no; }',
  };
  const { config, errors, warnings } = parseDrbdConf('/etc/drbd.conf', files(texts));
  t.deepEqual(errors, []);
  t.is(config?.resources[0]?.place.file, '/etc/drbd.d/a.res');
  t.regex(warnings[0] ?? '', /You should put the global \{\} section/);
  const deep = Object.fromEntries(
    Array.from({ length: 12 }, (_, i) => [`/${i}`, `include "${i + 1}";`]),
  );
  t.regex(parseDrbdConf('/0', files(deep)).errors[0] ?? '', /expected at most 10 nested files/);
});

test("the manual's skip of a whole resource is taken", (t) => {
  const { config } = parse(`skip resource r9 { foo { } } resource r0 { ${HOSTS} }`);
  t.is(config?.resources.length, 1);
});

test('a resource for another host, a peer that is not known, resync-after of nothing', (t) => {
  const local = (text: string, name: string) => {
    const { config, errors } = parse(text);
    if (!config) throw new Error(errors.join('\n'));
    return localConf(config, { name, addresses: new Set() }, null, 'for commands', 'terminal');
  };
  t.is(local(`resource r0 { ${HOSTS} }`, 'three').resources[0]?.me, null);
  t.is(local(`resource r0 { ${ONE} }`, 'one').resources[0]?.peer, null);
  t.regex(
    local(`resource r0 { disk { resync-after x; } ${HOSTS} }`, 'one').errors[0] ?? '',
    /resource 'x' mentioned in 'resync-after' option is not known\.$/,
  );
  t.regex(
    local(`resource r0 { net { after-sb-0pri discard-node-x; } ${HOSTS} }`, 'one').errors[0] ?? '',
    /the nodename in the 'discard-node-x' option is not known/,
  );
  t.regex(
    local(`resource r0 { startup { become-primary-on both; } ${HOSTS} }`, 'one').errors[0] ?? '',
    /allow-two-primaries is not set/,
  );
});

test('resync-after of a resource that is gone: an error at a terminal, a script goes on without it', (t) => {
  const { config } = parse(`common { disk { resync-after x; } } resource r0 { ${HOSTS} }`);
  if (!config) throw new Error('not read');
  const host = { name: 'one', addresses: new Set<string>() };
  const words =
    "/f:1:46: in resource r0: resource 'x' mentioned in 'resync-after' option is not known.";
  const atTerminal = localConf(config, host, null, 'for commands', 'terminal');
  t.deepEqual([atTerminal.errors, atTerminal.warnings], [[words], []]);
  const inScript = localConf(config, host, null, 'for commands', 'script');
  t.deepEqual([inScript.errors, inScript.warnings], [[], [words]]);
  t.deepEqual(inScript.resources[0]?.me?.volumes[0]?.diskOptions, []);
});

test("the samples are taken: etc/ and the kernel pair's old file", (t) => {
  for (const path of [
    'etc/drbd.d/mysql-manual.res',
    'test/golden/config/drbd.conf/old-style.conf',
  ]) {
    const { config, errors } = parse(readFileSync(path, 'utf8'));
    t.deepEqual(errors, [], path);
    t.is(config?.resources[0]?.hosts.length, 2);
  }
});

test('etc/ as a whole', (t) => {
  const path = (file: string) => `etc${file.slice('/etc'.length)}`;
  const { config, errors, warnings } = parseDrbdConf('/etc/drbd.conf', {
    read: (file) => readFileSync(path(file), 'utf8'),
    glob: (pattern) => (pattern.endsWith('*.res') ? ['/etc/drbd.d/mysql-manual.res'] : [pattern]),
    real: (file) => file,
  });
  t.deepEqual([errors, warnings], [[], []]);
  t.is(config?.common?.net[0]?.value, 'C');
  t.is(config?.resources[0]?.name, 'drbd');
});

const SAMPLES = readdirSync('test/golden/config/drbd.conf')
  .filter((name) => name.endsWith('.conf'))
  .map((name) => readFileSync(`test/golden/config/drbd.conf/${name}`, 'utf8'));

function dump(config: NonNullable<DrbdConfResult['config']>): string {
  const local = localConf(
    config,
    { name: 'one', addresses: new Set() },
    null,
    'as written',
    'terminal',
  );
  const parts = local.resources.map((r) => dumpResource(r, 'one'));
  return `${dumpHeader(config, false)}${parts.join('')}`.replace(
    /^(#.*| *cmd-timeout.*)\n/gm, // medium and long are printed with values that were not in the file
    '',
  );
}

test('what dump prints is read as the same configuration', (t) => {
  let accepted = 0;
  for (const text of SAMPLES) {
    const { config } = parse(text);
    if (!config) continue; // includes
    accepted++;
    const once = dump(config);
    const again = parse(once);
    t.deepEqual(again.errors, [], once);
    if (again.config) t.is(dump(again.config), once);
  }
  t.true(accepted > 30);
});

test('no text makes the parser throw; what it refuses it refuses with a place', (t) => {
  const piece = fc.constantFrom(
    ...[
      '{',
      '}',
      ';',
      '"',
      '[',
      ']',
      ':',
      '#',
      '\n',
      '\\',
      'resource',
      'on',
      'volume',
      'disk',
      'net',
      'no',
      '5',
      '10.0.0.1',
      '::',
    ],
    '\u0000',
  );
  const mutated = fc
    .tuple(
      fc.constantFrom(...SAMPLES),
      fc.array(fc.tuple(fc.nat(3000), fc.nat(9), piece), { maxLength: 4 }),
    )
    .map(([text, cuts]) =>
      cuts.reduce((now, [at, drop, put]) => now.slice(0, at) + put + now.slice(at + drop), text),
    );
  holds(
    t,
    fc.property(fc.oneof(mutated, fc.string({ maxLength: 200 })), (text) => {
      const { config, errors } = parse(text);
      return config !== null || errors.every((error) => /^\/f:\d+:\d+: /.test(error));
    }),
    { numRuns: 2000 },
  );
});
