/** What drbdadm dstate says, as an answer. */
import test from 'ava';
import { parseDiskStates } from '../../src/real/answer-data.js';

test('a line for each volume', (t) => {
  t.deepEqual(parseDiskStates('UpToDate/Inconsistent\nUpToDate/UpToDate\n'), {
    own: ['UpToDate', 'UpToDate'],
    peer: ['Inconsistent', 'UpToDate'],
  });
  t.deepEqual(parseDiskStates('Diskless/DUnknown\n'), { own: ['Diskless'], peer: ['DUnknown'] });
});

test('anything else is no answer', (t) => {
  for (const text of ['Unconfigured\n', 'UpToDate\n', 'UpToDate/UpToDate\nno\n', '1/2\n']) {
    t.is(parseDiskStates(text), null, text);
  }
});
