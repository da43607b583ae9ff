/**
 * drbd.conf's files on this node, and what the node is called. Paths of the default configuration lie under
 * TWINBEAT_ROOT; a file named on the command line, and what it includes, is taken as it is.
 */
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import type { ConfFiles } from '../config/drbd-conf-model.js';
import type { LocalHost } from '../config/drbd-conf-resolve.js';
import type { World } from './world.js';

/** Tried in this order, as drbdadm-84 does. */
export const DEFAULT_CONF_FILES: readonly string[] = [
  '/etc/drbd-84.conf',
  '/etc/drbd-83.conf',
  '/etc/drbd-82.conf',
  '/etc/drbd-08.conf',
  '/etc/drbd.conf',
];

export class NodeConfFiles implements ConfFiles {
  readonly #root: string;
  readonly #texts = new Map<string, string>(); // given, not on disk: standard input

  constructor(root: string) {
    this.#root = root;
  }

  give(path: string, text: string): void {
    this.#texts.set(path, text);
  }

  read(path: string): string | null {
    const given = this.#texts.get(path);
    if (given !== undefined) return given;
    try {
      return readFileSync(this.#root + path, 'utf8');
    } catch {
      return null;
    }
  }

  glob(pattern: string): readonly string[] {
    return expandGlob(this.#root, pattern).sort();
  }

  real(path: string): string {
    try {
      return realpathSync(this.#root + path);
    } catch {
      return this.#root + path;
    }
  }
}

/** The host as the sections of drbd.conf see it. */
export function localHost(world: World): LocalHost {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return {
    name: world.env['__DRBD_NODE__'] || hostname(),
    addresses: new Set(addresses.map(({ address }) => address.toLowerCase().replace(/%.*/, ''))),
  };
}

/** glob(3) with *, ? and [...]: a leading dot is matched by a dot only. Paths come back without the root. */
function expandGlob(root: string, pattern: string): string[] {
  let paths = [''];
  for (const part of pattern.split('/').filter((p) => p !== '')) {
    if (!/[*?[]/.test(part)) {
      paths = paths.map((path) => `${path}/${part}`);
      continue;
    }
    const matcher = globPart(part);
    paths = paths.flatMap((path) =>
      entries(root + path)
        .filter((name) => matcher.test(name) && (part.startsWith('.') || !name.startsWith('.')))
        .map((name) => `${path}/${name}`),
    );
  }
  return paths.filter((path) => existsSync(root + path));
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory || '/');
  } catch {
    return [];
  }
}

function globPart(part: string): RegExp {
  const source = part.replace(/\[([!^]?)(\]?[^\]]*)\]|[\s\S]/g, (c, not?: string, set?: string) => {
    if (set) return `[${not ? '^' : ''}${globSet(set)}]`;
    if (c === '*') return '[^/]*';
    if (c === '?') return '[^/]';
    return c.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  });
  return new RegExp(`^${source}$`);
}

/** What stands between brackets. A range from back to front has no members. */
function globSet(set: string): string {
  const exact = (c: string) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`;
  let source = '';
  for (let i = 0; i < set.length; i++) {
    const first = set.charAt(i);
    if (set[i + 1] !== '-' || i + 2 >= set.length) {
      source += exact(first);
      continue;
    }
    const last = set.charAt(i + 2);
    if (first <= last) source += `${exact(first)}-${exact(last)}`;
    i += 2;
  }
  return source;
}
