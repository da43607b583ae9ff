/** drbd.conf of sizes that nobody writes by hand: no text is too long, and twice the text takes twice the time. */
import test from 'ava';
import type { ConfFiles } from '../../src/config/drbd-conf-model.js';
import { parseDrbdConf } from '../../src/config/drbd-conf-parser.js';
import { type Detail, localConf } from '../../src/config/drbd-conf-resolve.js';
import { isLinear } from '../support/linear.js';

const HOST = { name: 'one', addresses: new Set<string>() };
const DETAILS: readonly Detail[] = ['as written', 'expanded', 'for commands'];

function parse(text: string) {
  const files: ConfFiles = { read: () => text, glob: () => [], real: (path) => path };
  return parseDrbdConf('/etc/drbd.conf', files);
}

/** Read and resolved in every way: what was wrong. */
function whole(text: string): readonly string[] {
  const { config, errors } = parse(text);
  const all = [...errors];
  if (config)
    for (const d of DETAILS) all.push(...localConf(config, HOST, null, d, 'script').errors);
  return all;
}

function each(count: number, line: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => line(i)).join('\n');
}

function host(name: string, i: number): string {
  return `on ${name} { device minor ${i}; disk /dev/d${i}; address 10.0.0.1:${1 + (i % 60_000)}; meta-disk internal; }`;
}

function resource(i: number, more = ''): string {
  return `resource r${i} { ${more} ${host('one', i)} floating 11.${i >> 16}.${(i >> 8) & 255}.${i & 255}:1 {
    device minor ${i}; disk /dev/d${i}; meta-disk internal; } }`;
}

test('blanks and strings of any length', (t) => {
  const long = 32 << 20;
  const { config } = parse(`${' \n'.repeat(long / 2)}${resource(1)}`);
  t.is(config?.resources[0]?.place.line, long / 2 + 1);
  t.is(parse(`#${'\n#'.repeat(long / 2)}\n${resource(1)}`).config?.resources.length, 1);
  for (const end of ['";', '']) {
    t.regex(parse(`resource "${'x'.repeat(long)}${end}`).errors[0] ?? '', /:1:10: expected /);
  }
  t.regex(parse(`resource ${'x'.repeat(long)}`).errors[0] ?? '', /at most 128 characters/);
});

test('volumes at resource level', (t) => {
  const text = (count: number) => {
    const volumes = each(
      count,
      (i) => `volume ${count - i} { device minor ${i}; disk /dev/d${i}; meta-disk internal; }`,
    );
    const hosts = 'on one { address 10.0.0.1:1; } on two { address 10.0.0.2:1; }';
    return `resource v { ${volumes} ${hosts} }`;
  };
  t.deepEqual(whole(text(10)), []);
  isLinear(t, text, whole);
});

test('resources, each of which waits for another one', (t) => {
  const text = (count: number) =>
    each(count, (i) => resource(i, `disk { resync-after r${(i * 7919) % count}; }`));
  t.deepEqual(whole(text(10)), []);
  isLinear(t, text, whole);
});

test('one option again and again, in a section that everything inherits', (t) => {
  const text = (count: number) =>
    `common { disk { ${each(8 * count, () => 'on-io-error detach;')} } }\n${each(count / 4, (i) => resource(i))}`;
  t.deepEqual(whole(text(10)), []);
  isLinear(t, text, whole);
});

test('a host of many names', (t) => {
  const text = (names: number, volumes: number) =>
    `resource r { on one ${each(names - 1, (i) => `h${i}`)} {
      address 10.0.0.1:1; ${each(volumes, (i) => `volume ${i} { device minor ${i}; }`)} } }`;
  t.is(whole(text(256, 2)).length, 4, 'the disk and the meta-disk of each');
  isLinear(t, (count) => text(count, count), whole);
  t.regex(whole(text(257, 2))[0] ?? '', /expected at most 256 names of a host, got 'h255'/);
});
