/** The import rule of docs/ARCHITECTURE.md: who may import whom, and what a pure layer must not touch. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import test from 'ava';

const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  wire: ['base'],
  md: ['base'],
  config: ['base'],
  drbd: ['base', 'wire', 'md', 'config'],
  heartbeat: ['base', 'wire', 'md', 'config'],
  'resource-manager': ['base', 'wire', 'md', 'config'],
  host: ['base', 'wire', 'md', 'config', 'drbd', 'heartbeat', 'resource-manager'],
  real: ['base', 'wire', 'md', 'config', 'drbd', 'heartbeat', 'resource-manager', 'host'],
  sim: ['base', 'wire', 'md', 'config', 'drbd', 'heartbeat', 'resource-manager', 'host'],
  cli: [
    'base',
    'wire',
    'md',
    'config',
    'drbd',
    'heartbeat',
    'resource-manager',
    'host',
    'real',
    'sim',
  ],
  bin: ['base', 'cli'],
};
/** Left of host: pure. */
const PURE = new Set(['base', 'wire', 'md', 'config', 'drbd', 'heartbeat', 'resource-manager']);
const IMPURE =
  /\b(Date\.now|Math\.random|performance\.now|process\.|setTimeout\(|setInterval\(|console\.)/;

function sources(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((e) => {
    const path = join(dir, e.name);
    return e.isDirectory() ? sources(path) : path.endsWith('.ts') ? [path] : [];
  });
}

function code(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '');
}

test('imports point only to the left', (t) => {
  for (const path of sources('src')) {
    const layer = relative('src', path).split('/')[0] ?? '';
    const allowed = MAY_IMPORT[layer];
    t.truthy(allowed, `${path}: a layer without a rule`);
    for (const [, target = ''] of code(readFileSync(path, 'utf8')).matchAll(/from '(\.[^']+)'/g)) {
      const to = normalize(join(dirname(path), target)).split('/')[1] ?? '';
      t.true(to === layer || allowed?.includes(to), `${path} imports ${target}`);
    }
  }
});

test('left of host there is no clock, randomness, process or node: import', (t) => {
  for (const path of sources('src')) {
    if (!PURE.has(relative('src', path).split('/')[0] ?? '')) continue;
    const text = code(readFileSync(path, 'utf8'));
    t.notRegex(text, /from 'node:/, path);
    t.notRegex(text, IMPURE, path);
  }
});

test('no default exports and no barrel files', (t) => {
  for (const path of sources('src')) {
    t.notRegex(code(readFileSync(path, 'utf8')), /export default/, path);
    t.false(path.endsWith('/index.ts'), path);
  }
});
