/**
 * docs/MIGRATION.md as a program: its procedures are commands with what they must print, its tables say which procedure is done with
 * which node and how the pair stands afterwards. A line of the page that is not understood is an error, so that nothing is left out.
 */
import { readFileSync } from 'node:fs';

export type NodeName = 'alpha' | 'beta';
export const NODE_NAMES: readonly NodeName[] = ['alpha', 'beta'];

export interface Command {
  /** As the page calls it: node, peer, from, to. */
  readonly who: string;
  readonly line: string;
  /** Null when the page does not say what it prints. */
  readonly prints: RegExp | null;
}

export type Stands = 'kernel' | 'twinbeat' | 'off';
/** `S`: what a node can be. */
export interface Step<S extends string = Stands> {
  readonly what: string;
  /** Null: the node loses power. */
  readonly procedure: string | null;
  /** Who is meant by node, peer, from, to. */
  readonly cast: Readonly<Record<string, NodeName>>;
  readonly stands: Readonly<Record<NodeName, S>>;
  readonly service: NodeName | null;
  /** Columns to the right of the nodes. */
  readonly more: readonly string[];
}

export interface MigrationPage<S extends string = Stands> {
  readonly procedures: ReadonlyMap<string, readonly Command[]>;
  /** By the heading above the table; the first row is where it begins. */
  readonly plans: ReadonlyMap<string, readonly Step<S>[]>;
}

/** The words of the tables. */
export interface Vocabulary<S extends string> {
  /** What a step is called, its procedure, and the role of the node that it names. */
  readonly steps: readonly (readonly [RegExp, string | null, string])[];
  /** What stands in the cell of a node, and what it means. */
  readonly stands: Readonly<Record<string, S>>;
}

const STEPS: Vocabulary<Stands>['steps'] = [
  [/^move from (alpha|beta) to (alpha|beta)$/, 'move', 'from'],
  [/^(alpha|beta) to twinbeat$/, 'to twinbeat', 'node'],
  [/^(alpha|beta) to the kernel$/, 'to the kernel', 'node'],
  [/^(alpha|beta) takes over$/, 'take over', 'to'],
  [/^(alpha|beta) returns as twinbeat$/, 'return as twinbeat', 'node'],
  [/^(alpha|beta) returns as a kernel$/, 'return as a kernel', 'node'],
  [/^(alpha|beta) dies$/, null, 'node'],
];

export function otherNode(name: NodeName): NodeName {
  return name === 'alpha' ? 'beta' : 'alpha';
}

/** The two roles of a procedure, when one of them is known. */
export function castOf(role: string, name: NodeName): Record<string, NodeName> {
  const other: Readonly<Record<string, string>> = {
    ...{ node: 'peer', peer: 'node' },
    ...{ from: 'to', to: 'from' },
  };
  return { [role]: name, [other[role] ?? '']: otherNode(name) };
}

function pattern(text: string): string {
  return text
    .split('...')
    .map((part) => part.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'))
    .join('.*');
}

function commands(block: readonly string[]): Command[] {
  const found: { who: string; line: string; prints: string[] }[] = [];
  for (const text of block) {
    const [, who, line] = /^(node|peer|from|to)# (.+)$/.exec(text) ?? [];
    if (who !== undefined && line !== undefined) found.push({ who, line, prints: [] });
    else if (found.length > 0) found.at(-1)?.prints.push(text);
    else throw new Error(`a block begins with '${text}', which is no command`);
  }
  return found.map(({ who, line, prints }) => ({
    ...{ who, line },
    prints: prints.length === 0 ? null : new RegExp(`^${prints.map(pattern).join('\n')}$`),
  }));
}

function stepOf<S extends string>(cells: readonly string[], vocabulary: Vocabulary<S>): Step<S> {
  const [, what = '', alpha = '', beta = '', ...more] = cells;
  const known = vocabulary.steps.find(([words]) => words.test(what));
  if (what !== '' && known === undefined) throw new Error(`'${what}' is no step`);
  const [words, procedure = null, role = ''] = known ?? [];
  const name = words?.exec(what)?.[1];
  const stands = (cell: string): S => {
    const found = new Map(Object.entries(vocabulary.stands)).get(cell.replace(/ \*$/, ''));
    if (found === undefined) throw new Error(`'${cell}' is no state of a node`);
    return found;
  };
  const starred = NODE_NAMES.filter((_, i) => [alpha, beta][i]?.endsWith(' *'));
  if (starred.length > 1) throw new Error(`the service is on both nodes: ${cells.join(' | ')}`);
  return {
    ...{ what, procedure },
    cast: name === undefined ? {} : castOf(role, name === 'alpha' ? 'alpha' : 'beta'),
    stands: { alpha: stands(alpha), beta: stands(beta) },
    service: starred[0] ?? null,
    more,
  };
}

export function parseMigrationPage(text: string): MigrationPage {
  const stands = { '': 'off', kernel: 'kernel', twinbeat: 'twinbeat' } as const;
  return parsePage<Stands>(text, { steps: STEPS, stands });
}

export function parsePage<S extends string>(
  text: string,
  vocabulary: Vocabulary<S>,
): MigrationPage<S> {
  const procedures = new Map<string, Command[]>();
  const plans = new Map<string, Step<S>[]>();
  let heading = '';
  let procedure = '';
  let block: string[] = [];
  for (const line of [...text.split('\n'), '']) {
    if (line.startsWith('    ')) {
      block.push(line.slice(4));
      continue;
    }
    if (block.length > 0) {
      if (procedure === '') throw new Error(`commands below '${heading}', in no procedure`);
      procedures.set(procedure, [...(procedures.get(procedure) ?? []), ...commands(block)]);
      block = [];
    }
    const [, marks, title = ''] = /^(##+) (.+)$/.exec(line) ?? [];
    if (marks === '##') [heading, procedure] = [title, ''];
    if (marks === '###') procedure = title;
    const cells = line.split('|').map((cell) => cell.trim());
    if (/^\d+$/.test(cells[1] ?? ''))
      plans.set(heading, [...(plans.get(heading) ?? []), stepOf(cells.slice(1, -1), vocabulary)]);
  }
  return { procedures, plans };
}

/** The page has a part for each program, with a title of its own. */
export function partOfMigrationPage(title: 'Migration' | 'Heartbeat'): string {
  const parts = readFileSync('docs/MIGRATION.md', 'utf8').split(/^# /m);
  const part = parts.find((each) => each.startsWith(`${title}\n`));
  if (part === undefined) throw new Error(`docs/MIGRATION.md has no part '${title}'`);
  return part;
}

export function readMigrationPage(): MigrationPage {
  return parseMigrationPage(partOfMigrationPage('Migration'));
}
