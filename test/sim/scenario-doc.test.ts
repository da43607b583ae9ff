/** docs/SCENARIOS.md lists every step, expectation, option and shipped file. `UPDATE=1` writes the lists anew. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { ACTIONS } from '../../src/sim/actions.js';
import { DEFAULT_CONFIG } from '../../src/sim/config.js';
import { EXPECTATIONS } from '../../src/sim/expectations.js';
import { OPTIONS } from '../../src/sim/options.js';

const ROOT = new URL('../../../', import.meta.url);
const DOC = new URL('docs/SCENARIOS.md', ROOT);
const SHIPPED = new URL('etc/scenarios/', ROOT);

const cell = (text: string): string => text.replaceAll('|', '\\|');

/** The first sentence of a scenario's comment. */
function about(name: string): string {
  const lines: string[] = [];
  for (const line of readFileSync(new URL(name, SHIPPED), 'utf8').split('\n')) {
    if (!line.startsWith('# ')) break;
    lines.push(line.slice(2));
  }
  return /^.*?\.(?= |$)/.exec(lines.join(' '))?.[0] ?? '';
}

const LISTS: Readonly<Record<string, () => string[]>> = {
  steps: () => [
    '| step | what happens |',
    '|---|---|',
    ...ACTIONS.map((a) => `| \`${cell(a.usage)}\` | ${cell(a.help)} |`),
  ],
  expectations: () => [
    '| expectation | it is met when |',
    '|---|---|',
    ...EXPECTATIONS.map((e) => `| \`${cell(e.usage)}\` | ${cell(e.help)} |`),
  ],
  options: () => [
    '| option | values | default |',
    '|---|---|---|',
    ...OPTIONS.map((o) => `| \`${o.name}\` | ${cell(o.expects)} | ${o.get(DEFAULT_CONFIG)} |`),
  ],
  incidents: () => [
    '| file | what happens |',
    '|---|---|',
    ...readdirSync(SHIPPED)
      .sort()
      .map((name) => `| \`${name}\` | ${cell(about(name))} |`),
  ],
};

test('every file begins with what happened and what must happen here, in 3 to 6 lines', (t) => {
  for (const name of readdirSync(SHIPPED)) {
    const text = readFileSync(new URL(name, SHIPPED), 'utf8');
    const comment = /^(?:# .*\n)+/.exec(text)?.[0] ?? '';
    const lines = comment.trimEnd().split('\n').length;
    t.true(lines >= 3 && lines <= 6, `${name}: ${lines} lines`);
    t.regex(comment, /\bHere\b/, name);
    t.true(about(name).length > 20, name);
  }
});

for (const [name, list] of Object.entries(LISTS)) {
  test.serial(`docs/SCENARIOS.md has the list of ${name} as the program has it`, (t) => {
    const begin = `<!-- ${name} -->\n`;
    const end = `<!-- end of ${name} -->`;
    const doc = readFileSync(DOC, 'utf8');
    const [before, rest] = doc.split(begin);
    const after = rest?.split(end)[1];
    if (before === undefined || after === undefined)
      return t.fail(`${begin} ... ${end} is missing`);
    const right = `${before}${begin}${list().join('\n')}\n${end}${after}`;
    if (process.env['UPDATE'] === '1') writeFileSync(DOC, right);
    t.is(readFileSync(DOC, 'utf8'), right);
  });
}
