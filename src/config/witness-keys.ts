/**
 * The keys of a witness: a line for each cluster, `CLUSTER KEY`, the key that its two nodes have in `[witness] key` of
 * twinbeat.ini. Blank lines and lines that begin with # are passed over. A key is never shown.
 */
import { isWitnessName } from '../base/witness-name.js';

/** More in one file are a mistake. */
export const MAX_WITNESS_CLUSTERS = 1000;
const MIN_KEY_CHARS = 16;
const MAX_KEY_CHARS = 256;

export interface WitnessKeysResult {
  readonly keys: ReadonlyMap<string, Uint8Array> | null; // null: refused
  readonly errors: readonly string[]; // FILE:LINE: expected X, got Y
}

export const WITNESS_KEY_EXPECTED = `${MIN_KEY_CHARS} to ${MAX_KEY_CHARS} printable characters without blanks`;

export function isWitnessKey(text: string): boolean {
  return /^[!-~]+$/.test(text) && text.length >= MIN_KEY_CHARS && text.length <= MAX_KEY_CHARS;
}

/** What signs. */
export function witnessKeyBytes(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export function parseWitnessKeys(text: string, file: string): WitnessKeysResult {
  const keys = new Map<string, Uint8Array>();
  const errors: string[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (/^\s*(#.*)?$/.test(line)) continue;
    const refuse = (expected: string, got: string): void => {
      errors.push(`${file}:${index + 1}: expected ${expected}, got ${got}`);
    };
    const [cluster = '', key = '', ...more] = line.trim().split(/\s+/);
    if (!isWitnessName(cluster)) {
      refuse('CLUSTER KEY, CLUSTER of at most 64 of A-Z a-z 0-9 _ . : -', 'another name');
    } else if (key === '' || more.length > 0) {
      refuse('CLUSTER KEY', key === '' ? `'${cluster}' alone` : 'more than two words');
    } else if (!isWitnessKey(key)) {
      refuse(`a key of ${WITNESS_KEY_EXPECTED}`, 'something else (it is not shown)');
    } else if (keys.has(cluster)) refuse('each cluster once', `'${cluster}' again`);
    else if (keys.size >= MAX_WITNESS_CLUSTERS) {
      refuse(`at most ${MAX_WITNESS_CLUSTERS} clusters`, 'one more');
      break;
    } else keys.set(cluster, witnessKeyBytes(key));
  }
  if (errors.length === 0 && keys.size === 0) {
    errors.push(`${file}:1: expected CLUSTER KEY, a line for each cluster, got none`);
  }
  return errors.length > 0 ? { keys: null, errors } : { keys, errors };
}
