/**
 * Rules as text, as the documents print them, for the exhaustive tests: a second opinion that shares no line with the
 * tables in src/. One row per line, the first row whose conditions all hold decides:
 *
 *     70 |  1 | s.bm=p.cur                 label | outcome | conditions
 *
 * A condition compares a fact with one or more values, which are numbers, names or other facts: `disk<=Inconsistent`,
 * `s.cur=4|0` (any of), `s.cur!=4|0` (none of).
 */

export interface SpecRow {
  readonly label: string;
  readonly outcome: string;
  readonly holds: (facts: ArrayLike<number>) => boolean;
}

/** Names of facts -> their place in the array that is given to a row. */
export function factIndex<const N extends readonly string[]>(
  names: N,
): Readonly<Record<N[number], number>> {
  return Object.fromEntries(names.map((n, i) => [n, i])) as Record<N[number], number>;
}

type Holds = SpecRow['holds'];

function condition(
  text: string,
  facts: Readonly<Record<string, number>>,
  names: Readonly<Record<string, number>>,
): Holds {
  const [, left = '', operator = '', right = ''] =
    /^([\w.]+)(!=|>=|<=|=|<|>)([-\w.|]+)$/.exec(text) ?? [];
  const at = facts[left];
  if (at === undefined) throw new Error(`spec table: ${text}: no fact ${left}`);
  const values = right.split('|').map((word): ((f: ArrayLike<number>) => number) => {
    const other = facts[word];
    if (other !== undefined) return (f) => f[other] as number;
    const number = names[word] ?? Number(word);
    if (Number.isNaN(number)) throw new Error(`spec table: ${text}: what is ${word}?`);
    return () => number;
  });
  const [first] = values;
  if (!first) throw new Error(`spec table: ${text}`);
  switch (operator) {
    case '=':
      if (values.length === 1) return (f) => f[at] === first(f);
      return (f) => values.some((v) => f[at] === v(f));
    case '!=':
      return (f) => values.every((v) => f[at] !== v(f));
    case '<':
      return (f) => (f[at] as number) < first(f);
    case '>':
      return (f) => (f[at] as number) > first(f);
    case '<=':
      return (f) => (f[at] as number) <= first(f);
    case '>=':
      return (f) => (f[at] as number) >= first(f);
    default:
      throw new Error(`spec table: ${text}`);
  }
}

export function specTable(
  text: string,
  facts: Readonly<Record<string, number>>,
  names: Readonly<Record<string, number>> = {},
): readonly SpecRow[] {
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [label = '', outcome = '', conditions = ''] = line.trim().split(/\s+\|\s+/);
      const all = conditions
        .split(/\s+/)
        .filter((c) => c !== '' && c !== 'always')
        .map((c) => condition(c, facts, names));
      return { label, outcome, holds: (f) => all.every((holds) => holds(f)) };
    });
}

/** The index of the first row that holds, or -1. */
export function firstRow(rows: readonly SpecRow[], facts: ArrayLike<number>): number {
  for (let i = 0; i < rows.length; i++) if (rows[i]?.holds(facts)) return i;
  return -1;
}
