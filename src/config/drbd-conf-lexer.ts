/**
 * drbd.conf as tokens. Longest match, keywords only as whole words; a keyword cannot be a plain string: quote it.
 * Columns count from 1, in characters. Source: drbd.conf(5), drbdadm 9.22 (its 8.4 dialect) observed.
 */
import { OPTION_NAMES } from './drbd-option-table.js';

export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/**
 * `word` is a keyword or the name of an option; `string` is plain or quoted; `bad` is what cannot be a token, with
 * what would have been expected there.
 */
export type TokenKind = 'op' | 'int' | 'ipv4' | 'ipv6' | 'string' | 'word' | 'bad' | 'eof';

export interface Token {
  readonly kind: TokenKind;
  readonly text: string; // of a quoted string: its content
  readonly place: Place;
  readonly quoted: boolean;
}

/** Words with a meaning of their own in the grammar, beside the options of the table. */
const KEYWORDS: ReadonlySet<string> = new Set([
  ...'on ignore-on stacked-on-top-of floating no net yes ask skip disk proxy minor inside volume syncer'.split(
    ' ',
  ),
  ...'cmd-timeout-short cmd-timeout-medium cmd-timeout-long device global common options outside'.split(
    ' ',
  ),
  ...'address alternate-link-address startup include handlers minor-count disable-ip-verification'.split(
    ' ',
  ),
  ...'udev-always-use-vnr dialog-refresh resource meta-disk flexible-meta-disk usage-count'.split(
    ' ',
  ),
  ...'_this_host _remote_host sci ssocks sdp ipv4 ipv6 become-primary-on stacked-timeouts plugin'.split(
    ' ',
  ),
]);

const HEX4 = '[0-9a-fA-F]{1,4}';
const IPV4 = '\\d{1,3}(?:\\.\\d{1,3}){3}';
const STRING = /[a-zA-Z0-9/._-]+/y;
const MAX_STRING = 128;
const MAX_QUOTED = 255; // an escaped character counts once
const PATTERNS: readonly (readonly [TokenKind, RegExp])[] = [
  ['ipv4', new RegExp(IPV4, 'y')],
  [
    'ipv6',
    new RegExp(
      `::[fF]{4}:${IPV4}|(?:(?:${HEX4}:){0,5}${HEX4})?:(?:${HEX4})?:(?:${HEX4}(?::${HEX4}){0,5})?(?:%[a-zA-Z0-9/._-]{1,128})?`,
      'y',
    ),
  ],
  ['int', /\d{1,8}[MKGs]?/y],
];
/** Nothing can begin with these but themselves. */
const OPERATORS = '{};[]';
// With a bound: a repetition of alternatives without one runs out of stack on a text that is long enough.
const QUOTED = new RegExp(`"((?:[^"\\\\\\n]|\\\\[^\\n]){0,${MAX_QUOTED}})"`, 'y');

export class Lexer {
  readonly #text: string;
  readonly #file: string;
  #at = 0;
  #line = 1;
  #lineStart = 0;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  next(): Token {
    this.#skipBlank();
    const place: Place = {
      file: this.#file,
      line: this.#line,
      column: this.#at - this.#lineStart + 1,
    };
    const first = this.#text[this.#at];
    if (first === undefined) return { kind: 'eof', text: '', place, quoted: false };
    if (first === '"') return this.#quoted(place);
    if (OPERATORS.includes(first)) {
      this.#at++;
      return { kind: 'op', text: first, place, quoted: false };
    }

    let kind: TokenKind = 'bad';
    let length = 0;
    for (const [patternKind, pattern] of PATTERNS) {
      const found = this.#match(pattern);
      if (found <= length) continue;
      kind = patternKind;
      length = found;
    }
    const plain = this.#match(STRING);
    // An address or a number wins over a plain string of its length.
    if (plain > length) {
      const word = this.#text.slice(this.#at, this.#at + plain);
      kind = KEYWORDS.has(word) || OPTION_NAMES.has(word) ? 'word' : 'string';
      length = plain;
      if (plain > MAX_STRING) kind = 'bad';
    }
    if (kind === 'bad' && first === ':') kind = 'op';
    const text = length === 0 ? first : this.#text.slice(this.#at, this.#at + length);
    this.#at += text.length;
    return { kind, text, place, quoted: false };
  }

  /** How long the match here is; 0: there is none. */
  #match(pattern: RegExp): number {
    pattern.lastIndex = this.#at;
    return pattern.test(this.#text) ? pattern.lastIndex - this.#at : 0;
  }

  #quoted(place: Place): Token {
    QUOTED.lastIndex = this.#at;
    const found = QUOTED.exec(this.#text);
    const content = (found?.[1] ?? '').replace(/\\(.)/g, '$1');
    if (!found || content.length > MAX_QUOTED) {
      const text = this.#text.slice(this.#at).split('\n', 1)[0] ?? '';
      this.#at += text.length;
      return { kind: 'bad', text, place, quoted: true };
    }
    this.#at += found[0].length;
    return { kind: 'string', text: content, place, quoted: true };
  }

  #skipBlank(): void {
    for (;;) {
      switch (this.#text[this.#at]) {
        case '\n':
          this.#line++;
          this.#lineStart = ++this.#at;
          break;
        case ' ':
        case '\t':
        case '\r':
          this.#at++;
          break;
        case '#': {
          const end = this.#text.indexOf('\n', this.#at);
          this.#at = end < 0 ? this.#text.length : end;
          break;
        }
        default:
          return;
      }
    }
  }
}
