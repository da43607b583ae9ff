/**
 * Reading drbd.conf token by token: what every part of the grammar uses, and how a wrong token is told.
 */
import type { Lexer, Place, Token } from './drbd-conf-lexer.js';
import { placeText } from './drbd-conf-model.js';

/** A token that cannot stand where it stands: ends the reading. */
export class SyntaxFailure extends Error {}

export class ConfCursor {
  readonly errors: string[] = [];
  readonly warnings: string[] = [];
  #lexer: Lexer | null = null;
  #peeked: Token | null = null;

  /** Read with `lexer`, then go on with the one before: included files. */
  within(lexer: Lexer, read: () => void): void {
    const outer = this.#lexer;
    this.#lexer = lexer;
    read();
    this.#lexer = outer;
  }

  #read(): Token {
    if (!this.#lexer) throw new Error('reading outside of a file');
    return this.#lexer.next();
  }

  next(): Token {
    const token = this.#peeked ?? this.#read();
    this.#peeked = null;
    return token;
  }

  peek(): Token {
    this.#peeked ??= this.#read();
    return this.#peeked;
  }

  fail(token: Token, expected: string): never {
    let got = token.kind === 'eof' ? 'the end of the file' : `'${token.text.slice(0, 20)}'`;
    if (token.text.length > 20) got = `'${token.text.slice(0, 20)}...'`;
    if (token.kind === 'bad') {
      const plain = token.quoted
        ? 'a quoted string of at most 255 characters in one line'
        : 'at most 128 characters';
      got += token.quoted || token.text.length > 128 ? `, which is not ${plain}` : '';
    }
    const isKeyword = token.kind === 'word' && expected.includes('string');
    const hint = isKeyword ? ' (a keyword: quote it to use it as a string)' : '';
    throw new SyntaxFailure(`${placeText(token.place)}: expected ${expected}, got ${got}${hint}`);
  }

  op(text: string): Token {
    const token = this.next();
    if (token.kind !== 'op' || token.text !== text) this.fail(token, `'${text}'`);
    return token;
  }

  isOp(token: Token, text: string): boolean {
    return token.kind === 'op' && token.text === text;
  }

  string(what = 'a string'): Token {
    const token = this.next();
    if (token.kind !== 'string') this.fail(token, what);
    return token;
  }

  /** A whole number without unit. */
  integer(what: string): number {
    const token = this.next();
    if (token.kind !== 'int' || !/^\d+$/.test(token.text)) this.fail(token, what);
    return Number(token.text);
  }

  error(place: Place, text: string): void {
    this.errors.push(`${placeText(place)}: ${text}`);
  }
}
