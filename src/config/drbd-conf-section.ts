/**
 * The sections of options (net, disk, syncer, startup, handlers, options, proxy): which option may stand where, flags with
 * and without a value, the old `no-` forms, and the spread of `syncer` over today's sections.
 */
import type { Token } from './drbd-conf-lexer.js';
import type { ConfOption, ConfResource } from './drbd-conf-model.js';
import type { Parser } from './drbd-conf-parser.js';
import { findOption, IGNORED_OPTIONS, type Section, valueError } from './drbd-option-table.js';

/** `{ option... }`; with a resource, the special statements and the spread of `syncer` go there. */
export function readOptions(
  p: Parser,
  r: ConfResource | null,
  section: Section | 'syncer',
  list: ConfOption[],
): void {
  p.op('{');
  for (;;) {
    const token = p.next();
    if (p.isOp(token, '}')) return;
    if (token.kind !== 'word') p.fail(token, `an option of the ${section} section, or '}'`);
    if (r && special(p, r, section, token)) continue;
    if (IGNORED_OPTIONS.has(token.text)) {
      readValue(p, token);
      p.op(';');
      continue;
    }
    const found = findOption(section, token.text);
    if (!found) p.fail(token, `an option of the ${section} section`);
    const target = section === 'syncer' && r ? listOf(r, found.section) : list;
    const { name } = found.option;
    if (found.negated) {
      target.push({ name, value: 'no', place: token.place });
    } else if (found.option.kind === 'flag') {
      target.push({ name, value: flagValue(p), place: token.place });
    } else {
      pushOption(p, found.section, token, readValue(p, token), target);
    }
    p.op(';');
  }
}

function listOf(r: ConfResource, section: Section): ConfOption[] {
  return section === 'proxy' ? r.proxy.options : r[section];
}

function special(p: Parser, r: ConfResource, section: string, token: Token): boolean {
  if (section === 'startup' && token.text === 'become-primary-on') {
    r.becomePrimaryOn = p.names(';');
    return true;
  }
  if (section === 'startup' && token.text === 'stacked-timeouts') {
    r.stackedTimeouts = true;
    p.op(';');
    return true;
  }
  if (section === 'proxy' && token.text === 'plugin') {
    r.proxy.plugins = plugins(p);
    return true;
  }
  return false;
}

function plugins(p: Parser): string[] {
  const list: string[] = [];
  p.op('{');
  for (let words: string[] = []; ; ) {
    const token = p.next();
    if (token.kind === 'eof') p.fail(token, "';' or '}' of the plugin section");
    if (p.isOp(token, '}') && words.length === 0) return list;
    if (p.isOp(token, ';')) {
      list.push(words.join(' '));
      words = [];
    } else {
      words.push(token.text);
    }
  }
}

function flagValue(p: Parser): string {
  const token = p.peek();
  if (p.isOp(token, ';')) return 'yes';
  if (token.kind !== 'word' || (token.text !== 'yes' && token.text !== 'no')) {
    p.fail(token, "yes, no or ';'");
  }
  p.next();
  return token.text;
}

function readValue(p: Parser, option: Token): Token {
  const token = p.next();
  if (token.kind === 'string' || token.kind === 'int') return token;
  if (token.kind === 'word' && token.text === 'on') return token;
  p.fail(token, `a value of ${option.text} (a string or a number)`);
}

export function pushOption(
  p: Parser,
  section: Section,
  token: Token,
  value: Token,
  list: ConfOption[],
): void {
  const found = findOption(section, token.text);
  if (!found) p.fail(token, `an option of the ${section} section`);
  const { option } = found;
  const isProtocol = option.name === 'protocol';
  const checked = isProtocol || (option.kind === 'number' && option.when === 'reading');
  const error = checked ? valueError(option, value.text) : null;
  if (error !== null) p.error(value.place, error);
  const text = isProtocol ? value.text.toUpperCase() : value.text;
  list.push({ name: option.name, value: text, place: token.place });
}
