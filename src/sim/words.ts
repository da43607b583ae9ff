/**
 * The grammar of steps and expectations: patterns of literal words and typed places, `cut NETWORK [from NODE]`. A place
 * is a word in capitals; what is in brackets may be left out.
 */
import { DRBDADM_VERBS } from './administrator.js';
import { NETWORKS, NODES } from './config.js';

/** What stood at each place, by its name. */
export type Values = Readonly<Record<string, string | number>>;

interface Place {
  readonly expects: string;
  /** Null: not one of these. */
  read(word: string): string | number | null;
}

const oneOf = (expects: string, words: readonly string[]): Place => ({
  expects,
  read: (word) => (words.includes(word) ? word : null),
});
const matching = (expects: string, pattern: RegExp): Place => ({
  expects,
  read: (word) => (pattern.test(word) ? word : null),
});

/** Milliseconds of `3.2s`, `200ms`, `2min`; null for anything else. */
export function timeMs(word: string): number | null {
  const m = /^(\d+(?:\.\d+)?)(ms|s|min)$/.exec(word);
  if (!m) return null;
  const unit = { ms: 1, s: 1000, min: 60_000 }[m[2] as 'ms' | 's' | 'min'];
  return Math.round(Number(m[1]) * unit * 1000) / 1000;
}

export const PLACES: Readonly<Record<string, Place>> = {
  NODE: oneOf('alpha or beta', NODES),
  NETWORK: oneOf(`a network (${NETWORKS.join(', ')})`, NETWORKS),
  TIME: { expects: 'a time like 3.2s, 200ms or 2min', read: timeMs },
  PERCENT: {
    expects: 'a percentage like 20%',
    read: (word) => (/^\d+(\.\d+)?%$/.test(word) ? Number(word.slice(0, -1)) / 100 : null),
  },
  NUMBER: {
    expects: 'a whole number',
    read: (word) => (/^-?\d+$/.test(word) ? Number(word) : null),
  },
  VERB: oneOf(`a verb of drbdadm (${DRBDADM_VERBS.join(', ')})`, DRBDADM_VERBS),
  FLAG: oneOf('a flag of drbdadm', ['--force', '--discard-my-data', '--clear-bitmap']),
  HOLD: oneOf('all, local, foreign or failback', ['all', 'local', 'foreign', 'failback']),
  SCRIPT: matching('the name of a resource script', /^[A-Za-z][\w-]*$/),
  ACTION: oneOf('start, stop or status', ['start', 'stop', 'status']),
  OPTION: matching('an option', /^[a-z][a-z0-9-]*$/),
  VALUE: matching('a value', /^\S+$/),
  STATE: matching('a state in the words of /proc/drbd', /^[A-Za-z][\w/]*$/),
};

export interface Pattern {
  readonly tokens: readonly { readonly word: string; readonly optional: boolean }[];
}

export function pattern(text: string): Pattern {
  let optional = false;
  const tokens: { word: string; optional: boolean }[] = [];
  for (const raw of text.split(' ')) {
    if (raw.startsWith('[')) optional = true;
    tokens.push({ word: raw.replace(/[[\]]/g, ''), optional });
    if (raw.endsWith(']')) optional = false;
  }
  return { tokens };
}

export type Match =
  | { readonly ok: true; readonly values: Values }
  | { readonly ok: false; readonly matched: number; readonly expected: string };

/** Matches words against a pattern; on failure how many words fitted, and what was expected then. */
export function match(p: Pattern, words: readonly string[]): Match {
  const values: Record<string, string | number> = {};
  let i = 0;
  for (let t = 0; t < p.tokens.length; t++) {
    const token = p.tokens[t] as { word: string; optional: boolean };
    const word = words[i];
    const place = PLACES[token.word];
    const value =
      word === undefined ? null : place ? place.read(word) : word === token.word ? word : null;
    if (value !== null) {
      if (place) values[token.word] = value;
      i++;
      continue;
    }
    if (token.optional) {
      while (p.tokens[t + 1]?.optional) t++; // the whole part is left out
      continue;
    }
    return { ok: false, matched: i, expected: place ? place.expects : `"${token.word}"` };
  }
  if (i < words.length) return { ok: false, matched: i, expected: 'nothing more' };
  return { ok: true, values };
}
