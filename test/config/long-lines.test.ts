/** Heartbeat's files and dumps of meta-data, longer than anybody writes them: read in a time that grows with their length. */
import test from 'ava';
import { firstWord, trimBlanksEnd } from '../../src/config/blanks.js';
import { parseHaCf } from '../../src/config/ha-cf.js';
import { parseHaResources } from '../../src/config/haresources.js';
import { DumpError, parseDump } from '../../src/md/dump.js';
import { isLinear } from '../support/linear.js';

const SYSTEM = {
  ownNode: 'alpha',
  defaultUdpPort: 694,
  userExists: () => true,
  isExecutable: () => true,
  interfaceError: () => null,
  isStonithType: () => true,
  hasStonithConfig: () => true,
};
const haCf = (text: string) => parseHaCf(text, 'ha.cf', SYSTEM);
const haresources = (text: string) => parseHaResources(text, 'haresources', ['alpha']);

function each(count: number, line: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => line(i)).join('\n');
}

test('words and blanks', (t) => {
  t.is(trimBlanksEnd('a b \t\r\f'), 'a b');
  t.is(trimBlanksEnd(' \t'), '');
  t.is(firstWord(''), null);
  t.is(firstWord(' \t\r\f'), null);
  t.deepEqual(firstWord('node'), { word: 'node', rest: '' });
  t.deepEqual(firstWord(' node \t a  b\f'), { word: 'node', rest: 'a  b' });
});

test('ha.cf: blanks within a line, many values, many clients', (t) => {
  isLinear(t, (count) => `node${' '.repeat(10 * count)}a${' '.repeat(10 * count)}b`, haCf);
  isLinear(t, (count) => `bcast ${each(count, () => 'e!').replaceAll('\n', ' ')}`, haCf);
  isLinear(t, (count) => each(4 * count, (i) => `apiauth client${i} uid=root`), haCf);
  const { messages } = haCf('apiauth a uid=b\napiauth a uid=c');
  t.true(messages.some(({ text }) => text.startsWith('Duplicate apiauth directive')));
});

test('ha.cf: a return or a line separator within a line does not hide it', (t) => {
  for (const text of ['node alpha\rbeta', 'node alpha beta\u2028']) {
    const { messages } = haCf(`${text}\nbcast eth0\nnonsense`);
    t.false(
      messages.some(({ text: said }) => said.includes('not found in')),
      text,
    );
    t.true(messages.some(({ text: said }) => said.includes('nonsense')));
  }
  const { config } = haCf('bcast eth0\nlogfacility none\nnode alpha\rbeta');
  t.deepEqual(config?.nodes, ['alpha', 'beta']);
});

test('haresources: blanks within a line, many groups', (t) => {
  isLinear(t, (count) => `alpha a${' '.repeat(10 * count)}b`, haresources);
  isLinear(t, (count) => each(4 * count, (i) => `alpha service${i}`), haresources);
  const { messages } = haresources('alpha a\nalpha b\nalpha a');
  t.regex(messages[0]?.text ?? '', /^haresources:3: .* group of line 1$/);
});

test('a dump with more comments and blanks than there is stack', (t) => {
  const text = `${'#\n \n'.repeat(8 << 20)}nonsense`;
  const read = () =>
    parseDump(
      text,
      () => {},
      () => {},
    );
  t.throws(read, { instanceOf: DumpError, message: /line 16777217: keyword 'version' expected/ });
});
