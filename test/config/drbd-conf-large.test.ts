/** drbd.conf of sizes that nobody writes by hand: no text is too long, and twice the text takes twice the time. */
import test, { type ExecutionContext } from 'ava';
import type { ConfFiles } from '../../src/config/drbd-conf-model.js';
import { parseDrbdConf } from '../../src/config/drbd-conf-parser.js';
import { type Detail, localConf } from '../../src/config/drbd-conf-resolve.js';

const HOST = { name: 'one', addresses: new Set<string>() };
const MANY = 16_000;
const FEW = MANY / 8;
/** Linear work takes 8 times as long for 8 times the text, what compares each with each 64 times. */
const MOST_TIMES = 24;
const LEAST_MS = 20; // less cannot be told from the collector's turn
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

/** Processor time, so that a busy machine does not count. */
function cpuMs(text: string): number {
  const before = process.cpuUsage();
  whole(text);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Eight times the text takes about eight times as long. */
function isLinear(t: ExecutionContext, text: (count: number) => string): void {
  const few = text(FEW);
  const many = text(MANY);
  cpuMs(few); // compiled
  const times = cpuMs(many) / Math.max(cpuMs(few), LEAST_MS);
  t.true(times < MOST_TIMES, `${times.toFixed(1)} times as long`);
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
  isLinear(t, text);
});

test('resources, each of which waits for another one', (t) => {
  const text = (count: number) =>
    each(count, (i) => resource(i, `disk { resync-after r${(i * 7919) % count}; }`));
  t.deepEqual(whole(text(10)), []);
  isLinear(t, text);
});

test('one option again and again, in a section that everything inherits', (t) => {
  const text = (count: number) =>
    `common { disk { ${each(8 * count, () => 'on-io-error detach;')} } }\n${each(count / 4, (i) => resource(i))}`;
  t.deepEqual(whole(text(10)), []);
  isLinear(t, text);
});

test('a host of many names', (t) => {
  const text = (names: number, volumes: number) =>
    `resource r { on one ${each(names - 1, (i) => `h${i}`)} {
      address 10.0.0.1:1; ${each(volumes, (i) => `volume ${i} { device minor ${i}; }`)} } }`;
  t.is(whole(text(256, 2)).length, 4, 'the disk and the meta-disk of each');
  isLinear(t, (count) => text(count, count));
  t.regex(whole(text(257, 2))[0] ?? '', /expected at most 256 names of a host, got 'h255'/);
});
