/** When a node tells the other one of its files, and what it makes of what it hears. */
import test from 'ava';
import type { FileDigests } from '../../src/host/file-digests.js';
import { NodeFiles } from '../../src/host/node-files.js';
import { fieldOf, type HaMessage, haFields } from '../../src/wire/hamsg.js';

const OWN: FileDigests = {
  key: 1,
  byKey: {
    1: { 'ha.cf': 'a1', authkeys: '1:aa,2:bb' },
    2: { 'ha.cf': 'a2', authkeys: '1:aa,2:bb' },
  },
};
const TELLS = haFields({ t: 'starting', clean: '1' });

/** `held`: the answers wait there. */
function node(held: ((own: FileDigests) => void)[] | null = null) {
  const sent: HaMessage[] = [];
  const keys: (string | null)[] = [];
  const logs: string[] = [];
  const peer = { generation: 5, leaving: false };
  const files = new NodeFiles({
    peer: 'b',
    keys: () => ({ numbers: new Set([1, 2]), signs: 1 }),
    ask: (kind, _ask, answered) => {
      if (kind !== 'digests') return;
      const tell = answered as (own: FileDigests, nowMs: number) => void;
      if (held) held.push((own) => tell(own, 0));
      else tell(OWN, 0);
    },
    peerGeneration: () => peer.generation,
    leaving: () => peer.leaving,
    send: (message) => {
      if (fieldOf(message, 't') === 'keys') keys.push(fieldOf(message, 'numbers'));
      else sent.push(message);
    },
    changed: () => {},
    log: (level, text) => logs.push(`${level}: ${text}`),
  });
  const hears = (fields: Readonly<Record<string, string>>) =>
    files.hear(haFields({ t: 'files', key: '1', to_id: 'twinbeat', ...fields }));
  return { files, sent, keys, logs, peer, hears };
}

test('told once in each life of a node of ours, and again when the keys change', (t) => {
  const { files, sent, keys, peer } = node();
  files.keysChanged(0);
  t.is(sent.length, 0, 'nobody is known to be there');
  files.hear(TELLS);
  files.hear(TELLS);
  files.hear(haFields({ t: 'resource', rsc_hold: 'local', clean: '1' }));
  t.is(sent.length, 1);
  t.deepEqual(
    sent[0],
    haFields({
      t: 'files',
      'ha.cf': 'a1',
      authkeys: '1:aa,2:bb',
      key: '1',
      dest: 'b',
      from_id: 'twinbeat',
      to_id: 'twinbeat',
    }),
  );
  files.keysChanged(0);
  t.is(sent.length, 2);
  peer.generation++;
  files.hear(TELLS);
  t.is(sent.length, 3);
  peer.generation++;
  peer.leaving = true;
  files.hear(TELLS);
  t.is(sent.length, 3);
  t.deepEqual(keys, ['1,2'], 'at once, when they change');
});

test("Debian's heartbeat is told nothing, and is unknown", (t) => {
  const { files, sent } = node();
  for (const type of ['starting', 'resource', 'status', 'shutdone']) {
    files.hear(haFields({ t: type, rsc_hold: 'local' }));
  }
  t.is(sent.length, 0);
  t.deepEqual([...new Set(Object.values(files.states))], ['unknown']);
});

test('what is keyed with another key is compared by that; without that key nobody knows', (t) => {
  const { files, hears } = node();
  files.hear(TELLS);
  hears({ 'ha.cf': 'a2', key: '2' });
  t.is(files.states['ha.cf'], 'same');
  hears({ 'ha.cf': 'a2', key: '1' });
  t.is(files.states['ha.cf'], 'differs');
  hears({ 'ha.cf': 'a2', key: '3' });
  t.is(files.states['ha.cf'], 'unknown');
});

test('a change is said once; a new life of the other node has said nothing yet', (t) => {
  const { files, hears, logs, peer } = node();
  hears({ 'ha.cf': 'ff' });
  t.is(files.states['ha.cf'], 'unknown', 'ours were not asked for');
  files.hear(TELLS);
  hears({ 'ha.cf': 'ff' });
  hears({ 'ha.cf': 'ee' });
  t.deepEqual(logs, ['WARN: ha.cf of b says something else than here. Make them the same.']);
  peer.generation++;
  t.is(files.states['ha.cf'], 'unknown');
  hears({ 'ha.cf': 'a1' });
  t.is(logs.at(-1), 'info: ha.cf of b says the same as here now.');
  hears({ 'ha.cf': 'x; rm', authkeys: 'a'.repeat(500) });
  t.is(files.states['ha.cf'], 'unknown');
});

test('the numbers of its keys are known in its present life alone', (t) => {
  const { files, peer } = node();
  const hears = (numbers: string) =>
    files.hear(haFields({ t: 'keys', numbers, key: '1', to_id: 'twinbeat' }));
  t.is(files.peerKeys, null);
  hears('1,15');
  t.deepEqual(files.peerKeys?.numbers, new Set([1, 15]));
  hears('nonsense');
  t.deepEqual(files.peerKeys?.numbers, new Set([1, 15]));
  files.hear(TELLS);
  files.hear(haFields({ t: 'files', key: '1', to_id: 'twinbeat', authkeys: '1:aa,7:bb' }));
  t.deepEqual(files.peerKeys?.numbers, new Set([1, 7]), 'by its digests, too');
  t.deepEqual(
    [...(files.peerKeys?.words ?? [])],
    [
      [1, 'aa'],
      [7, 'bb'],
    ],
  );
  hears('1,7');
  t.is(files.peerKeys?.words.size, 0, 'of the new keys it has not said');
  peer.generation++;
  t.is(files.peerKeys, null);
});

test('of two looks under way the later one counts, whichever is answered first', (t) => {
  const held: ((own: FileDigests) => void)[] = [];
  const { files, sent } = node(held);
  files.hear(TELLS);
  files.keysChanged(0);
  const [first, second] = held;
  second?.({ key: 2, byKey: OWN.byKey });
  first?.(OWN);
  t.deepEqual(
    sent.map((message) => fieldOf(message, 'key')),
    ['2'],
  );
});
