/** The keys of a witness: file, line, what was expected, and never a key. */
import test from 'ava';
import { MAX_WITNESS_CLUSTERS, parseWitnessKeys } from '../../src/config/witness-keys.js';

const KEY = '0123456789abcdef';

test('a line for each cluster, comments, blank lines', (t) => {
  const { keys, errors } = parseWitnessKeys(`# keys\n\n shop ${KEY}\t\nmail ${KEY}!\n`, 'f');
  t.deepEqual(errors, []);
  t.deepEqual(
    [...(keys ?? [])],
    [
      ['shop', new TextEncoder().encode(KEY)],
      ['mail', new TextEncoder().encode(`${KEY}!`)],
    ],
  );
});

test('what is refused, and how it is said', (t) => {
  const expected = 'CLUSTER KEY, CLUSTER of at most 64 of A-Z a-z 0-9 _ . : -';
  const cases: readonly (readonly [string, string])[] = [
    ['', 'f:1: expected CLUSTER KEY, a line for each cluster, got none'],
    ['# only\n', 'f:1: expected CLUSTER KEY, a line for each cluster, got none'],
    ['shop\n', "f:1: expected CLUSTER KEY, got 'shop' alone"],
    [`shop ${KEY} ${KEY}`, 'f:1: expected CLUSTER KEY, got more than two words'],
    [`sh/op ${KEY}`, `f:1: expected ${expected}, got another name`],
    [`${'x'.repeat(65)} ${KEY}`, `f:1: expected ${expected}, got another name`],
    [`\nshop ${KEY}\nshop ${KEY}`, "f:3: expected each cluster once, got 'shop' again"],
  ];
  for (const [text, error] of cases) {
    t.deepEqual(parseWitnessKeys(text, 'f'), { keys: null, errors: [error] }, text);
  }
  for (const key of ['short', 'x'.repeat(257), `${KEY}é`]) {
    const [error = ''] = parseWitnessKeys(`shop ${key}`, 'f').errors;
    t.regex(error, /^f:1: expected a key of 16 to 256 printable characters without blanks, got/);
    t.false(error.includes(key));
  }
});

test('no more clusters than are remembered', (t) => {
  const lines = (count: number) =>
    Array.from({ length: count }, (_, i) => `c${i} ${KEY}\n`).join('');
  t.is(parseWitnessKeys(lines(MAX_WITNESS_CLUSTERS), 'f').keys?.size, MAX_WITNESS_CLUSTERS);
  t.deepEqual(parseWitnessKeys(lines(MAX_WITNESS_CLUSTERS + 5), 'f').errors, [
    `f:${MAX_WITNESS_CLUSTERS + 1}: expected at most ${MAX_WITNESS_CLUSTERS} clusters, got one more`,
  ]);
});
