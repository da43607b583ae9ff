/**
 * docs/COMPATIBILITY.md is held to the code: each option, command, packet and flag has one row, nothing has one that does not
 * exist, the tests that it names exist, and what it calls without effect is read by nothing in the engine.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ownOptions, setupOptionsOf } from '../../src/cli/drbdadm-args.js';
import { ALL_VERBS, drbdadm } from '../../src/cli/drbdadm-core.js';
import { VERBS as META_VERBS } from '../../src/cli/drbdmeta.js';
import { main as drbdsetup } from '../../src/cli/drbdsetup.js';
import {
  DISK_TABLE,
  NET_TABLE,
  OPTION_NAMES,
  RESOURCE_TABLE,
  SECTION_OPTIONS,
} from '../../src/config/drbd-option-table.js';
import { COMMANDS, FF } from '../../src/wire/constants.js';
import { memoryWorld } from '../support/memory-world.js';

const VERDICTS: ReadonlySet<string> = new Set([
  'same',
  'better',
  'no effect',
  'refused',
  'not yet',
]);

interface Row {
  readonly line: number;
  readonly name: string;
  readonly verdict: string;
  readonly what: string;
  readonly shownBy: string;
}

function readSections(): ReadonlyMap<string, readonly Row[]> {
  const sections = new Map<string, Row[]>();
  let rows: Row[] | null = null;
  for (const [index, text] of readFileSync('docs/COMPATIBILITY.md', 'utf8').split('\n').entries()) {
    const heading = /^## (.+)$/.exec(text)?.[1];
    if (heading !== undefined) {
      rows = [];
      sections.set(heading, rows);
    }
    if (!rows || !text.startsWith('| ')) continue;
    const cells = text.split('|').map((cell) => cell.trim());
    const [, name = '', verdict = '', what = '', shownBy = ''] = cells;
    if (cells.length !== 6) throw new Error(`line ${index + 1}: four cells expected`);
    if (verdict !== '') rows.push({ line: index + 1, name, verdict, what, shownBy });
  }
  return sections;
}

const SECTIONS = readSections();
const ROWS = [...SECTIONS.values()].flat();

function rowsOf(heading: string): readonly Row[] {
  const rows = SECTIONS.get(heading);
  if (!rows) throw new Error(`no section '${heading}'`);
  return rows;
}

/** Commands and options of the manual pages that do not exist here say so in these words. */
function isAbsent({ verdict, what }: Row): boolean {
  const said = /^(`Unknown command|`drbdsetup: '\S+' is not a command|unknown option)/;
  return said.test(what) && (verdict === 'refused' || verdict === 'not yet');
}

function exactly(t: ExecutionContext, heading: string, known: Iterable<string>): void {
  const present = rowsOf(heading).filter((row) => !isAbsent(row));
  t.deepEqual(present.map((row) => row.name).sort(), [...new Set(known)].sort(), heading);
}

function named(table: Readonly<Record<string, { readonly name: string }>>): string[] {
  return Object.values(table).map(({ name }) => name);
}

function sources(dir: string): string {
  return readdirSync(dir)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(dir, name), 'utf8'))
    .join('\n');
}

test('rows are sorted within their section, unique, and say what they mean', (t) => {
  t.true(ROWS.length > 300);
  for (const [heading, rows] of SECTIONS) {
    const names = rows.map((row) => row.name.toLowerCase());
    t.deepEqual(names, [...new Set(names)].sort(), heading);
  }
  for (const { line, verdict, what, shownBy } of ROWS) {
    t.true(VERDICTS.has(verdict), `line ${line}: '${verdict}'`);
    if (verdict !== 'same') t.not(what, '', `line ${line}: '${verdict}' needs its reason`);
    t.not(shownBy, '', `line ${line}: a test, or none`);
  }
});

test('each test that is named exists, with this title, in this file', (t) => {
  const texts = new Map<string, string>();
  for (const { line, shownBy } of ROWS) {
    if (shownBy === 'none') continue;
    const [, file = '', title = ''] = /^(\S+\.test\.ts): (.+)$/.exec(shownBy) ?? [];
    t.true(existsSync(join('test', file)) && file !== '', `line ${line}: ${shownBy}`);
    if (file === '') continue;
    const text = texts.get(file) ?? readFileSync(join('test', file), 'utf8');
    texts.set(file, text);
    const quoted = ["'", '"', '`'].some((quote) => text.includes(`${quote}${title}${quote}`));
    t.true(quoted, `line ${line}: ${file} has no test '${title}'`);
  }
});

test('every option of drbd.conf has its row, and no other', (t) => {
  for (const section of ['net', 'disk', 'options', 'startup', 'handlers', 'proxy'] as const) {
    // become-primary-on, stacked-timeouts and plugin are statements: they take more than a value.
    exactly(t, `drbd.conf: ${section}`, SECTION_OPTIONS.get(section)?.keys() ?? []);
  }
  const today = new Set([...SECTION_OPTIONS.values()].flatMap((options) => [...options.keys()]));
  today.add('discard-my-data'); // of drbdsetup
  exactly(
    t,
    'drbd.conf: old names',
    [...OPTION_NAMES].filter((name) => !today.has(name)),
  );
});

/** Words that stand behind a statement, not at its beginning. */
const VALUES: ReadonlySet<string> = new Set(['yes', 'no', 'minor', 'sci']);

test('every statement of drbd.conf has its row, and no other', (t) => {
  const parsers = ['parser', 'volume', 'section'].map((part) =>
    readFileSync(`src/config/drbd-conf-${part}.ts`, 'utf8'),
  );
  const text = parsers.join('\n');
  const rows = new Set(rowsOf('drbd.conf: statements').map((row) => row.name));
  for (const [, word = ''] of text.matchAll(/(?:case|token\.text ===) '([a-z-]+)'/g)) {
    if (!VALUES.has(word)) t.true(rows.has(word), `${word} has no row`);
  }
  for (const name of rows) t.true(text.includes(`'${name}'`), `${name} is not known`);
});

test('every command of drbdadm, drbdsetup and drbdmeta has its row, and no other', async (t) => {
  exactly(t, 'drbdadm: commands', ALL_VERBS);
  exactly(t, 'drbdmeta: commands', Object.keys(META_VERBS));
  const world = memoryWorld({ root: '' });
  await drbdsetup(['help'], world);
  const help = world.stdout().split('Commands:')[1] ?? '';
  exactly(t, 'drbdsetup: commands', help.trim().split(/\s+/));
});

test('every option of the programs has its row, and no other', (t) => {
  exactly(
    t,
    'drbdadm: options',
    ownOptions().map(({ name }) => `--${name}`),
  );
  const meta = [
    ...readFileSync('src/cli/drbdmeta.ts', 'utf8').matchAll(/\.option\('(?:-\w, )?(--[\w-]+)/g),
  ].map(([, name = '']) => name);
  const formats = ['v06, v07, v09', 'v08'];
  exactly(t, 'drbdmeta: options and formats', [...meta, ...formats]);

  const heading = 'drbdsetup: options beside those of drbd.conf';
  const ofConf = new Set([DISK_TABLE, NET_TABLE, RESOURCE_TABLE].flatMap(named));
  const text = sources('src/cli');
  const rows = rowsOf(heading);
  for (const verb of ALL_VERBS) {
    for (const option of setupOptionsOf(verb).filter((name) => !ofConf.has(name))) {
      t.true(
        rows.some((row) => row.name === `--${option}`),
        `--${option} of ${verb} has no row`,
      );
    }
  }
  for (const [, option = ''] of text.matchAll(/(?:words|w)\.flag\('([\w-]+)'/g)) {
    const known = rows.some((row) => row.name === `--${option}`) || option === 'wait-after-sb';
    t.true(known, `--${option} has no row`);
  }
  for (const row of rows.filter((r) => !isAbsent(r))) {
    t.true(text.includes(`'${row.name.slice(2)}'`), `${row.name} is not known`);
  }
});

test('every packet and feature flag has its row, and no other', (t) => {
  exactly(t, 'Packets', Object.keys(COMMANDS));
  exactly(t, 'Feature flags', Object.keys(FF));
});

/** What acts upon options: the engine, and the control thread's devices and handlers. */
const ENGINE = ['src/drbd', 'src/host', 'src/real'].map(sources).join('\n');
const TABLES = { net: NET_TABLE, disk: DISK_TABLE, options: RESOURCE_TABLE } as const;

test('what has no effect is read by nothing in the engine, what has is', (t) => {
  const silent = /without effect yet/;
  for (const [section, table] of Object.entries(TABLES)) {
    const fields = new Map(Object.entries(table).map(([field, { name }]) => [name, field]));
    for (const { line, name, verdict, what } of rowsOf(`drbd.conf: ${section}`)) {
      const field = fields.get(name);
      if (field === undefined) continue; // use-bmbv
      const isRead = new RegExp(`\\.${field}\\b`).test(ENGINE);
      const hasNone = verdict === 'no effect' || silent.test(what);
      t.is(isRead, !hasNone, `line ${line}: ${name} is ${isRead ? '' : 'not '}read`);
    }
  }
});

test('commands that are not there are refused as unknown', async (t) => {
  const programs = { drbdsetup: async () => 0, drbdmeta: async () => 0 };
  for (const row of rowsOf('drbdadm: commands').filter(isAbsent)) {
    const world = memoryWorld({ root: '' });
    t.is(await drbdadm([row.name, 'all'], world, programs), 1, row.name);
    t.regex(world.stderr(), new RegExp(`Unknown command '${row.name}'`));
  }
  const stacked = memoryWorld({ root: '' });
  t.is(await drbdadm(['-S', 'up', 'all'], stacked, programs), 1);
  t.is(stacked.stderr(), 'stacked resources are not supported\n');
  for (const row of rowsOf('drbdsetup: commands').filter(isAbsent)) {
    const world = memoryWorld({ root: '' });
    t.is(await drbdsetup([row.name], world), 20, row.name);
    t.is(world.stderr(), `drbdsetup: '${row.name}' is not a command\n`);
  }
  const create = memoryWorld({ root: '' });
  t.is(await drbdsetup(['role', '0', '--create-device'], create), 20);
  t.regex(create.stderr(), /unrecognized option '--create-device'/);
});
