/** Files that differ: what is in dispute, and what is not. */
import test from 'ava';
import { type HaResourceGroup, parseHaResources } from '../../src/config/haresources.js';
import { formatHomes, PeerHomes } from '../../src/resource-manager/homes.js';

const digest = (text: string): string =>
  [...text].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 0xffffffff, 7).toString(16);

function groups(text: string): readonly HaResourceGroup[] {
  const parsed = parseHaResources(text, 'haresources', ['a', 'b']).groups;
  if (!parsed) throw new Error(text);
  return parsed;
}

function heard(ours: string, theirs: string) {
  const homes = new PeerHomes(groups(ours), digest);
  const news = homes.hear(formatHomes(groups(theirs), digest));
  return {
    disputes: homes.disputes.map((d) => `${d.group.key}: ${d.resource} ${d.ours}/${d.theirs}`),
    missing: news?.missing ?? [],
  };
}

test('our file x theirs: groups in dispute, resources that they lack', (t) => {
  const rows = [
    ['a X Y\nb Z', 'a X Y\nb Z', [], []],
    ['a X Y\nb Z', 'b Z\na   X \\\n Y # another form', [], []],
    ['a X Y', 'b X Y', ['X: X a/b'], []],
    ['a X Y', 'b Y X', ['X: X a/b'], []],
    ['a X Y\nb Z', 'a X\nb Z Y', ['X: Y a/b'], []],
    ['a X Y', 'a X', [], ['Y']],
    ['a X', 'a X Y', [], []], // theirs alone runs it
    ['a X\nb Z', 'b X\na Z', ['X: X a/b', 'Z: Z b/a'], []],
    ['a X M\nb Z M', 'a X M\nb Z M', [], []], // at home on both: the same on both sides
    ['a X M\nb Z', 'a X M\nb Z M', ['X: M a/a and b'], []],
  ] as const;
  for (const [ours, theirs, disputes, missing] of rows) {
    t.deepEqual(heard(ours, theirs), { disputes: [...disputes], missing: [...missing] }, ours);
  }
});

test('a peer that says nothing of its file, or nonsense, disputes nothing', (t) => {
  const homes = new PeerHomes(groups('a X'), digest);
  for (const text of ['', 'a', 'a:', 'a:x y', ':12', 'a:12;', 'a:12;;b:3']) {
    t.is(homes.hear(text), null, text);
  }
  t.deepEqual(homes.disputes, []);
});

test('news is told once, and a dispute ends when the files are the same', (t) => {
  const ours = groups('a X');
  const homes = new PeerHomes(ours, digest);
  const theirs = formatHomes(groups('b X'), digest);
  t.is(homes.hear(theirs)?.disputes.length, 1);
  t.is(homes.hear(theirs), null);
  t.true(homes.isDisputed(ours[0] as HaResourceGroup));
  t.deepEqual(homes.hear(homes.text), { disputes: [], missing: [] });
  t.false(homes.isDisputed(ours[0] as HaResourceGroup));
});
