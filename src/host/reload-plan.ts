/**
 * What of a new configuration a running node refuses (reload.ts), since a reload with it could start a service twice:
 *
 *     other nodes                          alone by the new file, a node takes everything, while the other one runs it
 *     to or from auto_failback legacy      the two ways of handing groups over do not know each other
 *     no medium is left that hears         cut off by its own hand: each takes the other one for dead
 *     groups gone while some are held      nobody would stop them
 *     a key that the other node has not    it does not hear us, and takes us for dead
 *     its key gone                         we do not hear it, and take it for dead
 *     another word for either              the same: the number alone says nothing
 *
 * Without the other node in hearing the last but one is all of it that a reload can do: nodes and legacy are refused all the same, since it
 * may come back. Anything else is taken, in a new life that keeps its resources. Pure.
 */
import type { AuthKeys } from '../config/authkeys.js';
import type { Medium } from '../config/ha-cf.js';
import type { HaResourceGroup } from '../config/haresources.js';
import type { Hold } from '../resource-manager/hold.js';
import type { HeartbeatConfig } from './heartbeat-ports.js';

/** What is so now. */
export interface ReloadSituation {
  readonly hold: Hold;
  /** Names of the links on which the other node is heard. */
  readonly heardOn: readonly string[];
  /** Its keys, by its own words, while it is heard; null: it is not, or has not said. */
  readonly peerKeys: PeerKeys | null;
}

/** Those that a node has. */
export interface KeyNumbers {
  readonly numbers: ReadonlySet<number>;
  readonly signs: number; // the key with which it signs
}

export interface PeerKeys extends KeyNumbers {
  /** Number -> digest of method and word; empty: it has not said. */
  readonly words: ReadonlyMap<number, string>;
}

/** Of our own new keys, by their numbers. */
export type WordsOf = (authkeys: AuthKeys) => Readonly<Record<number, string>>;

const NEW_NUMBER =
  'give the new word a number that is free: add it to authkeys of both nodes and reload both, change the auth line on both and reload both, then take the old key out';

type Files = Pick<HeartbeatConfig, 'haCf' | 'groups' | 'authkeys'>;

/** Each with what to do instead; none: it is taken. */
export function reloadRefusals(
  old: Files,
  wanted: Files,
  { hold, heardOn, peerKeys }: ReloadSituation,
  wordsOf: WordsOf,
): readonly string[] {
  const refusals: string[] = [];
  const nodes = (files: Files) => [...new Set(files.haCf.nodes)].sort().join(' ');
  if (nodes(old) !== nodes(wanted)) {
    const text = `nodes changed from [${nodes(old)}] to [${nodes(wanted)}]: stop heartbeat on both nodes, change both files, start it again`;
    refusals.push(text);
  }
  const isLegacy = (files: Files) => files.haCf.autoFailback === 'legacy';
  if (isLegacy(old) !== isLegacy(wanted)) {
    const text = `auto_failback changed from ${old.haCf.autoFailback} to ${wanted.haCf.autoFailback}: legacy does not go together with on and off. Stop heartbeat on both nodes, change both files, start it again`;
    refusals.push(text);
  }
  const hears = (medium: Medium) =>
    heardOn.includes(medium.device) && wanted.haCf.media.some((other) => isSame(medium, other));
  if (heardOn.length > 0 && !old.haCf.media.some(hears)) {
    const text =
      'no medium is left on which the other node is heard: add the new ones first, reload both nodes, then take the old ones out';
    refusals.push(text);
  }
  const gone = old.groups.filter(
    (group) => !wanted.groups.some((other) => sameGroup(group, other)),
  );
  if (gone.length > 0 && hold !== 'none') {
    const keys = gone.map((group) => group.key).join(' ');
    const text = `groups changed or gone in haresources while this node holds resources [${keys}]: go standby first, then reload`;
    refusals.push(text);
  }
  return [...refusals, ...keyRefusals(wanted, peerKeys, wordsOf)];
}

/** Also when only authkeys has changed, which needs no new life. */
export function keyRefusals(
  { authkeys }: Pick<HeartbeatConfig, 'authkeys'>,
  peerKeys: ReloadSituation['peerKeys'],
  wordsOf: WordsOf,
): readonly string[] {
  if (peerKeys === null) return [];
  const refusals: string[] = [];
  const { number } = authkeys.current;
  const words = peerKeys.words.size === 0 ? {} : wordsOf(authkeys);
  const differs = (key: number): boolean => {
    const there = peerKeys.words.get(key);
    return there !== undefined && words[key] !== undefined && words[key] !== there;
  };
  if (!peerKeys.numbers.has(number)) {
    const text = `the other node has no key ${number}, by which this one would sign: add the key to authkeys of both nodes and reload both, then change the auth line`;
    refusals.push(text);
  } else if (differs(number)) {
    const text = `key ${number}, by which this node would sign, is another word or method than key ${number} of the other node, which would take it for dead: ${NEW_NUMBER}`;
    refusals.push(text);
  }
  if (!authkeys.keys.some((key) => key.number === peerKeys.signs)) {
    const text = `the other node signs with key ${peerKeys.signs}, which is gone: change its auth line and reload it first`;
    refusals.push(text);
  } else if (differs(peerKeys.signs) && peerKeys.signs !== number) {
    const text = `the other node signs with key ${peerKeys.signs}, which would be another word or method here, and would be taken for dead: ${NEW_NUMBER}`;
    refusals.push(text);
  }
  return refusals;
}

/** What goes out by one comes in by the other. */
function isSame(a: Medium, b: Medium): boolean {
  const key = (medium: Medium): string => {
    const { type, device } = medium;
    if (type === 'serial') return `${type} ${device} ${medium.baud}`;
    const to = 'group' in medium ? medium.group : 'host' in medium ? medium.host : '';
    return `${type} ${device} ${to} ${medium.port}`;
  };
  return key(a) === key(b);
}

function sameGroup(a: HaResourceGroup, b: HaResourceGroup): boolean {
  const text = (group: HaResourceGroup) =>
    [group.node, ...group.resources.map((resource) => resource.text)].join(' ');
  return text(a) === text(b);
}
