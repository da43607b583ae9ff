/**
 * Who may sign on to the client API under which name: `apiauth` lines, and what the original has built in. A name without a line and
 * without a built-in one is for nobody, unless there is a line for `default`. A program that signs on under its process number is
 * a casual one, with the rights of `anon`.
 */
import type { ApiAuth } from '../config/ha-cf.js';

const BUILT_IN: readonly ApiAuth[] = [
  { client: 'ipfail', uids: ['hacluster'], gids: [] },
  { client: 'ccm', uids: ['hacluster'], gids: [] },
  { client: 'ping', uids: [], gids: ['haclient'] },
  { client: 'lha-snmpagent', uids: ['root'], gids: [] },
  { client: 'anon', uids: ['root'], gids: ['haclient'] },
];

/** As the kernel tells them of the other end of the socket. */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number; // its effective group; others that it is in do not count, as in the original
}

interface Rights {
  readonly uids: ReadonlySet<number>;
  readonly gids: ReadonlySet<number>;
}

export type ClientRights = ReadonlyMap<string, Rights>;

/** The numbers of users and groups; null: there is none of that name. */
export interface Names {
  user(name: string): number | null;
  group(name: string): number | null;
}

/** `missing` is called for a name of ha.cf that nobody has. */
export function clientRights(
  lines: readonly ApiAuth[],
  names: Names,
  missing: (client: string, what: string) => void,
): ClientRights {
  const rights = new Map<string, Rights>();
  const read = ({ client, uids, gids }: ApiAuth, isOwn: boolean) => {
    const numbers = (list: readonly string[], what: string, look: Names['user']) =>
      list.flatMap((name) => {
        const number = /^\d{1,10}$/.test(name) ? Number(name) : look(name);
        if (number === null && isOwn) missing(client, `${what} ${name}`);
        return number === null ? [] : [number];
      });
    rights.set(client, {
      uids: new Set(numbers(uids, 'user', names.user)),
      gids: new Set(numbers(gids, 'group', names.group)),
    });
  };
  for (const line of BUILT_IN) read(line, false);
  for (const line of lines) read(line, true); // instead of what is built in
  return rights;
}

/** Null, or why not, in the original's words. */
export function refusalOf(
  rights: ClientRights,
  client: string,
  { uid, gid }: Credentials,
): string | null {
  const found = rights.get(client) ?? rights.get('default');
  if (!found) return 'no default client auth';
  return found.uids.has(uid) || found.gids.has(gid) ? null : 'client failed authorization';
}
