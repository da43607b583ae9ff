/**
 * Digests of the files that have to say the same on both nodes, for a look from one to the other (node-files.ts). Of what is in
 * force, as it was understood: order, comments and blanks do not count, nor what is of one node: interfaces, log files, its devices.
 *
 * Each is keyed with a key of authkeys, so that nobody else on the network can try out what the files may hold: passwords. crc has
 * no key, and hides nothing. Of authkeys itself: a digest of each key, keyed with that key. Source: docs/DOCTOR.md, two nodes.
 */
import type { DigestSource } from '../base/ports.js';
import type { AuthKey, AuthKeys } from '../config/authkeys.js';
import type { HaCf } from '../config/ha-cf.js';
import { builtInOf } from './heartbeat-clients.js';
import type { HeartbeatConfig } from './heartbeat-ports.js';

export const COMPARED = ['ha.cf', 'haresources', 'twinbeat.ini', 'drbd.conf', 'authkeys'] as const;
export type ComparedFile = (typeof COMPARED)[number];

/** File -> digest. One that is not there has none; that of authkeys is of all its keys. */
export type KeyedDigests = Readonly<Partial<Record<ComparedFile, string>>>;

export interface FileDigests {
  readonly key: number; // that signs what this node says
  readonly byKey: Readonly<Record<number, KeyedDigests>>;
}

/** Of two files nobody mistakes one for the other by accident. */
const DIGEST_CHARS = 16;

function keyed({ key }: Pick<AuthKey, 'key'>, text: string, digests: DigestSource): string {
  const bytes = new TextEncoder().encode(text);
  const digest = digests.hmac('sha256', new TextEncoder().encode(key), bytes);
  const hex = [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.slice(0, DIGEST_CHARS);
}

/** Number of a key -> digest of its method and word. */
export function keyWords(
  { keys }: Pick<AuthKeys, 'keys'>,
  digests: DigestSource,
): Readonly<Record<number, string>> {
  return Object.fromEntries(
    keys.map((each) => [each.number, keyed(each, `key ${each.method}`, digests)]),
  );
}

/** `drbdConf`: as drbdadm understands it; null: there is none, or nobody can say. */
export function fileDigests(
  { haCf, groups, ini, authkeys }: HeartbeatConfig,
  drbdConf: string | null,
  digests: DigestSource,
): FileDigests {
  const keys = Object.entries(keyWords(authkeys, digests)) // in the order of the numbers
    .map(([number, word]) => `${number}:${word}`)
    .join(',');
  const lines = groups.map(({ node, resources }) =>
    [node, ...resources.map(({ text }) => text)].join(' '),
  );
  const of = (key: AuthKey): KeyedDigests => ({
    'ha.cf': keyed(key, haCfText(haCf), digests),
    haresources: keyed(key, lines.join('\n'), digests),
    'twinbeat.ini': keyed(key, JSON.stringify(ini.witness), digests),
    ...(drbdConf === null ? {} : { 'drbd.conf': keyed(key, drbdConf, digests) }),
    authkeys: keys,
  });
  return {
    key: authkeys.current.number,
    byKey: Object.fromEntries(authkeys.keys.map((key) => [key.number, of(key)])),
  };
}

/** What of ha.cf is for both nodes. stonith is not: each node has the device that resets the other one. */
function haCfText(haCf: HaCf): string {
  const { keepaliveMs, deadtimeMs, warntimeMs, initdeadMs, deadpingMs } = haCf;
  const { udpport, baud, autoFailback, hopfudge, msgfmt, maxRexmitDelayMs } = haCf;
  const media = haCf.media.map((medium) =>
    'group' in medium ? `${medium.type} ${medium.group} ${medium.port}` : medium.type,
  );
  const clients = haCf.respawns.map((client) => builtInOf(client)).filter((name) => name !== null);
  return JSON.stringify([
    [...new Set(haCf.nodes)].sort(),
    [...new Set(media)].sort(),
    haCf.pings.map(({ name, members }) => [name, ...members].join(' ')).sort(),
    [...new Set(clients)].sort(),
    [keepaliveMs, deadtimeMs, warntimeMs, initdeadMs, deadpingMs],
    [udpport, baud, autoFailback, hopfudge, msgfmt, maxRexmitDelayMs],
  ]);
}
