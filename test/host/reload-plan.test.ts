/** What a running node refuses of a new configuration: each row could start a service twice. */
import test from 'ava';
import { parseAuthKeys } from '../../src/config/authkeys.js';
import { parseHaCf } from '../../src/config/ha-cf.js';
import { parseHaResources } from '../../src/config/haresources.js';
import { type ReloadSituation, reloadRefusals, type WordsOf } from '../../src/host/reload-plan.js';

const FILES = {
  haCf: 'keepalive 1\ndeadtime 10\nudpport 694\nbcast eth0\nucast eth1 10.0.1.2\nauto_failback off\nnode a b\n',
  haresources: 'a one two\nb three\n',
  authkeys: 'auth 1\n1 sha1 x\n2 sha1 y\n',
};

function configOf(changes: Partial<typeof FILES>) {
  const { haCf, haresources, authkeys } = { ...FILES, ...changes };
  const config = {
    haCf: parseHaCf(haCf, 'ha.cf', {
      ownNode: 'a',
      defaultUdpPort: 694,
      userExists: () => true,
      isExecutable: () => true,
      isStonithType: () => true,
      hasStonithConfig: () => true,
      interfaceError: () => null,
    }).config,
    groups: parseHaResources(haresources, 'haresources', ['a', 'b']).groups,
    authkeys: parseAuthKeys(authkeys, 'authkeys', 0o600).authkeys,
  };
  const { groups } = config;
  if (!config.haCf || !groups || !config.authkeys) throw new Error('refused by its parser');
  return { haCf: config.haCf, groups, authkeys: config.authkeys };
}

const SERVES: ReloadSituation = {
  hold: 'local',
  heardOn: ['eth0', 'eth1'],
  peerKeys: { numbers: new Set([1, 2]), signs: 1, words: new Map() },
};
const ALONE: ReloadSituation = { hold: 'all', heardOn: [], peerKeys: null };
const IDLE: ReloadSituation = { ...SERVES, hold: 'none' };
const says = (signs: number, words: readonly [number, string][]): ReloadSituation => ({
  ...SERVES,
  peerKeys: { numbers: new Set(words.map(([number]) => number)), signs, words: new Map(words) },
});
/** As digests; a method is part of it. */
const wordsOf: WordsOf = ({ keys }) =>
  Object.fromEntries(keys.map(({ number, method, key }) => [number, `${method} ${key}`]));
const SAME = says(1, [
  [1, 'sha1 x'],
  [2, 'sha1 y'],
]);
const ON_ETH0: ReloadSituation = { ...SERVES, heardOn: ['eth0'] };

const haCf = (line: string, by: string) => ({ haCf: FILES.haCf.replace(line, by) });
const NODES = /^nodes changed from \[a b\] to \[/;
const LEGACY = /^auto_failback changed from off to legacy: /;
const MEDIA = /^no medium is left on which the other node is heard: add the new ones first/;
const GROUPS =
  /^groups changed or gone in haresources while this node holds resources \[one( three)?\]/;
const THEIRS = /^the other node signs with key 1, which is gone/;
const KEY_WORD =
  /^key 1, by which this node would sign, is another word or method than key 1 of the/;
const THEIR_WORD = /^the other node signs with key 1, which would be another word or method here/;
const KEY = /^the other node has no key 2, by which this one would sign/;

test('change x situation: what is refused', (t) => {
  const rows: [Partial<typeof FILES>, ReloadSituation, readonly RegExp[]][] = [
    [{}, SERVES, []],
    [haCf('node a b', 'node b a'), SERVES, []],
    [haCf('node a b', 'node a'), SERVES, [NODES]],
    [haCf('node a b', 'node a'), IDLE, [NODES]],
    [haCf('node a b', 'node a c'), ALONE, [NODES]],
    [haCf('auto_failback off', 'auto_failback on'), SERVES, []],
    [haCf('auto_failback off', 'auto_failback legacy'), IDLE, [LEGACY]],
    [haCf('auto_failback off', 'auto_failback legacy'), ALONE, [LEGACY]],
    // one after the other
    [haCf('bcast eth0', 'bcast eth2'), SERVES, []],
    [haCf('bcast eth0', 'bcast eth0 eth2'), ON_ETH0, []],
    [haCf('bcast eth0', 'bcast eth2'), ON_ETH0, [MEDIA]],
    [haCf('bcast eth0\nucast eth1 10.0.1.2', 'bcast eth2'), SERVES, [MEDIA]],
    [haCf('bcast eth0\nucast eth1 10.0.1.2', 'bcast eth2'), IDLE, [MEDIA]],
    [haCf('bcast eth0\nucast eth1 10.0.1.2', 'bcast eth2'), ALONE, []],
    [haCf('udpport 694', 'udpport 695'), SERVES, [MEDIA]],
    [haCf('udpport 694', 'udpport 695'), ALONE, []],
    [haCf('ucast eth1 10.0.1.2', 'ucast eth1 10.0.1.3'), { ...SERVES, heardOn: ['eth1'] }, [MEDIA]],
    [haCf('deadtime 10', 'deadtime 20'), SERVES, []],
    [{ haresources: 'a one\nb three\n' }, SERVES, [GROUPS]],
    [{ haresources: 'a one\nb three\n' }, ALONE, [GROUPS]],
    [{ haresources: 'a one\nb three\n' }, IDLE, []],
    [{ haresources: `${FILES.haresources}a four\n` }, SERVES, []],
    [{ authkeys: FILES.authkeys.replace('auth 1', 'auth 2') }, SERVES, []],
    [
      { authkeys: FILES.authkeys.replace('auth 1', 'auth 2') },
      { ...SERVES, peerKeys: { numbers: new Set([1]), signs: 1, words: new Map() } },
      [KEY],
    ],
    [{ authkeys: FILES.authkeys.replace('auth 1', 'auth 2') }, ALONE, []], // nobody has said
    [
      { ...haCf('node a b', 'node a'), haresources: 'a one\n', authkeys: 'auth 2\n2 sha1 y\n' },
      { ...SERVES, peerKeys: { numbers: new Set([1]), signs: 1, words: new Map() } },
      [NODES, GROUPS, KEY, THEIRS],
    ],
    [{ authkeys: 'auth 2\n2 sha1 y\n' }, SERVES, [THEIRS]],
    [{ authkeys: 'auth 1\n1 sha1 x\n' }, SERVES, []],
    // the number alone says nothing
    [{}, SAME, []],
    [{ authkeys: 'auth 1\n1 sha1 z\n2 sha1 y\n' }, SAME, [KEY_WORD]],
    [{ authkeys: 'auth 1\n1 md5 x\n2 sha1 y\n' }, SAME, [KEY_WORD]],
    [{ authkeys: 'auth 1\n1 crc\n2 sha1 y\n' }, SAME, [KEY_WORD]],
    [{ authkeys: 'auth 2\n1 sha1 z\n2 sha1 y\n' }, SAME, [THEIR_WORD]],
    [{ authkeys: 'auth 2\n2 sha1 z\n' }, SAME, [/^key 2, by which this node would sign/, THEIRS]],
    [{ authkeys: 'auth 1\n1 sha1 x\n2 sha1 z\n' }, SAME, []], // by which nobody signs
    [{ authkeys: 'auth 1\n1 sha1 z\n' }, SERVES, []], // its words are not known
    [{ authkeys: 'auth 1\n1 sha1 z\n' }, ALONE, []],
    // the way of HEARTBEAT.md: each step on this node, with the other one before it and after it
    [{ authkeys: 'auth 1\n1 sha1 x\n3 sha1 z\n' }, says(1, [[1, 'sha1 x']]), []],
    [
      { authkeys: 'auth 3\n1 sha1 x\n3 sha1 z\n' },
      says(1, [
        [1, 'sha1 x'],
        [3, 'sha1 z'],
      ]),
      [],
    ],
    [
      { authkeys: 'auth 3\n3 sha1 z\n' },
      says(3, [
        [1, 'sha1 x'],
        [3, 'sha1 z'],
      ]),
      [],
    ],
    [{ authkeys: 'auth 3\n3 sha1 z\n' }, says(3, [[3, 'sha1 z']]), []],
  ];
  for (const [i, [change, situation, expected]] of rows.entries()) {
    const refusals = reloadRefusals(configOf({}), configOf(change), situation, wordsOf);
    t.is(refusals.length, expected.length, `row ${i}: ${refusals.join('; ')}`);
    for (const [n, pattern] of expected.entries()) t.regex(refusals[n] ?? '', pattern, `row ${i}`);
  }
});
