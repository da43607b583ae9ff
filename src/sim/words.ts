/**
 * The grammar of steps and expectations: patterns of literal words and typed places, `cut NETWORK [from NODE]`. A place
 * is a word in capitals; what is in brackets may be left out.
 */
import { CONNS, DISKS, ROLES } from '../drbd/state.js';
import { DRBDADM_VERBS } from './administrator.js';
import { NETWORKS, NODES, RESOURCES } from './config.js';
import { HANDLER_EVENTS } from './handler-faults.js';

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

/** Of a node without a volume, and of one without power. */
const ABSENT = ['Unconfigured', 'off'];
const OWN = new Set<string>([...ROLES, ...CONNS, ...DISKS, ...ABSENT]);

/** A role, a connection or a disk; or own/peer of roles or disks, as `Primary/Secondary`. */
function isState(word: string): boolean {
  const [own = '', peer, more] = word.split('/');
  if (more !== undefined) return false;
  if (peer === undefined) return OWN.has(own);
  return [ROLES, DISKS].some((list) => [own, peer].every((w) => list.some((name) => name === w)));
}

export const PLACES: Readonly<Record<string, Place>> = {
  NODE: oneOf('alpha or beta', NODES),
  VOLUME: oneOf('0 or 1, or r1/0 (of the other resource)', ['0', '1', 'r1/0']),
  RESOURCE: oneOf('r0 or r1', RESOURCES),
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
  FLAG: oneOf('a flag of drbdadm', [
    '--force',
    '--discard-my-data',
    '--clear-bitmap',
    '--assume-clean',
    '--assume-peer-has-space',
  ]),
  HOLD: oneOf('all, local, foreign or failback', ['all', 'local', 'foreign', 'failback']),
  EVENT: oneOf(`an event of a handler (${HANDLER_EVENTS.join(', ')})`, HANDLER_EVENTS),
  SCRIPT: matching('the name of a resource script', /^[A-Za-z][\w-]*$/),
  ACTION: oneOf('start, stop or status', ['start', 'stop', 'status']),
  OPTION: matching('an option', /^[a-z][a-z0-9-]*$/),
  VALUE: matching('a value', /^\S+$/),
  STATE: { expects: 'a state in the words of /proc/drbd', read: (w) => (isState(w) ? w : null) },
  SERVER: oneOf('alpha, beta, both or nobody', [...NODES, 'both', 'nobody']),
  TEXT: {
    expects: 'a text in quotation marks',
    read: (word) => (/^"[^"]+"$/.test(word) ? word.slice(1, -1) : null),
  },
  SIZE: {
    expects: 'a size like 64KiB or 2MiB',
    read: (word) => {
      const m = /^(\d+)(K|M)iB$/.exec(word);
      return m ? Number(m[1]) * (m[2] === 'M' ? 1024 : 1) : null; // in KiB
    },
  },
};

export interface Pattern {
  /** `part`: of what may be left out, only as a whole; 0: it may not. */
  readonly tokens: readonly { readonly word: string; readonly part: number }[];
}

export function pattern(text: string): Pattern {
  let parts = 0;
  let part = 0;
  const tokens: { word: string; part: number }[] = [];
  for (const raw of text.split(' ')) {
    if (raw.startsWith('[')) part = ++parts;
    tokens.push({ word: raw.replace(/[[\]]/g, ''), part });
    if (raw.endsWith(']')) part = 0;
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
  let begun = 0; // a part that may be left out
  for (let t = 0; t < p.tokens.length; t++) {
    const token = p.tokens[t] as { word: string; part: number };
    const word = words[i];
    const place = PLACES[token.word];
    const value =
      word === undefined ? null : place ? place.read(word) : word === token.word ? word : null;
    if (value !== null) {
      if (place) values[token.word] = value;
      begun = token.part;
      i++;
      continue;
    }
    if (token.part > 0 && begun !== token.part) {
      while (p.tokens[t + 1]?.part === token.part) t++; // the whole part is left out
      continue;
    }
    return { ok: false, matched: i, expected: place ? place.expects : `"${token.word}"` };
  }
  if (i < words.length) return { ok: false, matched: i, expected: 'nothing more' };
  return { ok: true, values };
}

/** The words of a line; what is in quotation marks is one. */
export function wordsOf(line: string): string[] {
  return line.match(/"[^"]*"|\S+/g) ?? [];
}

export type Chosen<T> =
  | { readonly ok: true; readonly row: T; readonly values: Values }
  | { readonly ok: false; readonly text: string };

/** The row of a vocabulary that a line is; or what is wrong with the line, and what would be right. `what` the rows are. */
export function choose<T extends { readonly usage: string; readonly pattern: Pattern }>(
  rows: readonly T[],
  words: readonly string[],
  what: string,
): Chosen<T> {
  let matched = 0;
  let close: { readonly row: T; readonly expected: string }[] = [];
  for (const row of rows) {
    const m = match(row.pattern, words);
    if (m.ok) return { ok: true, row, values: m.values };
    if (m.matched > matched) close = [];
    matched = Math.max(matched, m.matched);
    if (m.matched === matched) close.push({ row, expected: m.expected });
  }
  const at = words[matched];
  const found = at === undefined ? 'the end of the line' : `"${at.replaceAll('"', '')}"`;
  const expected = [...new Set(close.map((c) => c.expected))].join(', ');
  if (matched === 0) return { ok: false, text: `${found} is not ${what}: expected ${expected}` };
  const usage = close.length === 1 ? `: ${close[0]?.row.usage}` : '';
  return { ok: false, text: `expected ${expected}, found ${found}${usage}` };
}
