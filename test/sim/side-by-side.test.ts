/** The end of a trace in two columns. */
import test from 'ava';
import { sideBySide } from '../../src/sim/side-by-side.js';
import { Trace } from '../../src/sim/trace.js';

function trace(
  ...lines: readonly (readonly [number, string, string, string])[]
): readonly string[] {
  const trace = new Trace(null);
  for (const line of lines) trace.line(...line);
  return trace.last(lines.length);
}

test('each node has its column, steps go across, a time is said once', (t) => {
  const lines = trace(
    [1000, '', 'step', 'cut replication'],
    [1000.5, 'alpha', 'drbd0', 'conn( Connected -> Timeout )'],
    [1000.5, 'beta', 'drbdd', 'is killed'],
    [2000, 'beta', 'r0', 'Discarding network configuration.'],
  );
  t.deepEqual(sideBySide(lines, 100), [
    '     seconds alpha                                      | beta',
    '--------------------------------------------------------+-------------------------------------------',
    '    1.000000 step      cut replication',
    '    1.000500 drbd0     conn( Connected -> Timeout )     |',
    '                                                        | drbdd     is killed',
    '    2.000000                                            | r0        Discarding network',
    '                                                        |           configuration.',
  ]);
});

test('long texts are broken at spaces, or anywhere; no line is too wide and no word is lost', (t) => {
  const words = Array.from({ length: 80 }, (_, i) => `word${i}`).join(' ');
  const noSpaces = 'x'.repeat(400);
  const lines = trace(
    [1, 'alpha', 'drbd0', words],
    [2, 'beta', 'drbd0', noSpaces],
    [3, '', 'VIOLATION', `I1 promotion: ${words}\n  at somewhere drbd/app-io.js:1`],
    [12_345_678, 'beta', 'a-long-object', words],
  );
  for (const columns of [100, 160]) {
    const shown = sideBySide(lines, columns);
    for (const line of shown) t.true(line.length <= columns, line);
    const text = shown.join(' ').replace(/\s+/g, ' ');
    for (let i = 0; i < 80; i++)
      t.is(text.match(new RegExp(`word${i}\\b`, 'g'))?.length, 3, `word${i}`);
    t.is(shown.join('').split('x').length - 1, 400);
    t.regex(text, /VIOLATION I1 promotion: word0 .* at somewhere drbd\/app-io.js:1 /);
    t.true(shown.some((line) => line.startsWith('12345.678000 ')));
  }
});

test('an empty text is a line', (t) => {
  t.is(sideBySide(trace([1, 'alpha', 'drbd0', '']), 160).length, 3);
});
