/**
 * Tokens of a drbd.conf as text, in several hands: one line, indented, or white space and comments everywhere; and the
 * mutator, which breaks a list of tokens (or the text itself) in a few places.
 */
import type { Prng } from '../../src/base/prng.js';

export type Layout = 'line' | 'indented' | 'wild';

const GAPS = [' ', '\n', '\t', '  ', '\r\n', ' # c\n', '#{;}"\n', '\n\n'];
const isOp = (token: string) => /^[{};:[\]]$/.test(token);

export function confText(tokens: readonly string[], layout: Layout, rng: Prng): string {
  let text = '';
  let level = 0;
  for (const [i, token] of tokens.entries()) {
    const last = tokens[i - 1];
    if (last !== undefined) text += gap(last, token, layout, level, rng);
    text += token;
    if (token === '{') level++;
    if (token === '}') level = Math.max(0, level - 1);
  }
  return rng.chance(0.9) ? `${text}\n` : text;
}

function gap(last: string, token: string, layout: Layout, level: number, rng: Prng): string {
  const isTight = isOp(last) || isOp(token) || last.startsWith('"') || token.startsWith('"');
  if (layout === 'wild') return isTight && rng.chance(0.5) ? '' : rng.pick(GAPS);
  if (token === ':' || last === ':' || token === ';') return '';
  if (layout === 'line') return ' ';
  const isNew = last === '{' || last === '}' || last === ';';
  return isNew ? `\n${'\t'.repeat(Math.max(0, token === '}' ? level - 1 : level))}` : ' ';
}

/** Words that a mutation puts where they may not belong. */
const STRANGE = [
  ...['{', '}', ';', ':', '[', ']', 'on', 'net', 'disk', 'volume', 'resource', 'common', 'global'],
  ...['device', 'minor', 'address', 'meta-disk', 'internal', 'yes', 'no', 'ask', 'syncer', 'skip'],
  ...['0', '7', '5M', '10.0.0.9', 'fd00::9', '"x"', '"', "'", '@', '$', '\\', '\u0000', 'é', '='],
  ...['include', 'protocol', 'timeout', 'stacked-on-top-of', 'proxy', 'floating', 'options', 'sdp'],
  ...[
    'x'.repeat(128),
    'x'.repeat(129),
    `"${'y'.repeat(255)}"`,
    `"${'y'.repeat(256)}"`,
    '_this_host',
  ],
  ...['fencing', 'discard-my-data', 'handlers', 'startup', 'ignore-on', 'one', 'ipv6', '123456789'],
];

/** Breaks `tokens` in place, in one to three places. */
export function mutate(tokens: string[], rng: Prng): void {
  for (let n = 1 + rng.below(3); n > 0 && tokens.length > 0; n--) {
    const at = rng.below(tokens.length);
    const token = tokens[at] ?? '';
    switch (rng.below(6)) {
      case 0:
        tokens.splice(at, 1);
        break;
      case 1:
        tokens.splice(at, 0, token);
        break;
      case 2: {
        const other = rng.below(tokens.length);
        tokens[at] = tokens[other] ?? '';
        tokens[other] = token;
        break;
      }
      case 3:
        tokens[at] = rng.pick(STRANGE);
        break;
      case 4:
        tokens.splice(at, 0, rng.pick(STRANGE));
        break;
      case 5: {
        const cut = rng.below(token.length + 1);
        tokens[at] =
          token.slice(0, cut) +
          rng.pick(['', '"', 'x', '.', '9', ' ', ';', '#', '\\']) +
          token.slice(cut + 1);
        break;
      }
    }
  }
}
