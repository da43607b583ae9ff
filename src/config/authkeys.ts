/**
 * authkeys: the keys that sign heartbeat's messages, with the original's refusals.
 *
 *     auth N            the method of outgoing messages; must stand before the line that defines N
 *     N METHOD [KEY]    N 0 to 15; METHOD crc (without key), md5 or sha1 (HMAC). KEY is one word, the rest is ignored
 *
 * sha256 and sha512 are ours, for two nodes of twinbeat: 3.0.6 has no such plug-in and refuses the whole file, whichever
 * key signs. They are taken with a warning that says so.
 *
 * A file that group or others can read is refused: its mode is passed in. Source: heartbeat 3.0.6 observed.
 */

export type AuthMethod = 'crc' | 'md5' | 'sha1' | 'sha256' | 'sha512';

export interface AuthKey {
  readonly number: number;
  readonly method: AuthMethod;
  readonly key: string; // '' for crc
}

export interface AuthKeys {
  readonly current: AuthKey; // signs what is sent
  readonly keys: readonly AuthKey[]; // any of them is accepted from a peer
}

export interface AuthKeysMessage {
  readonly level: 'ERROR' | 'WARN' | 'info';
  readonly text: string;
}

export interface AuthKeysResult {
  readonly authkeys: AuthKeys | null;
  readonly messages: readonly AuthKeysMessage[];
}

const MAX_KEY_NUMBER = 15;
const READABLE_BY_OTHERS = 0o044;
const METHODS: readonly AuthMethod[] = ['crc', 'md5', 'sha1', 'sha256', 'sha512'];
const OURS_ALONE: ReadonlySet<AuthMethod> = new Set(['sha256', 'sha512']);

/** `mode` is st_mode of the file; `file` its path as it shall appear in messages. */
export function parseAuthKeys(text: string, file: string, mode: number): AuthKeysResult {
  const messages: AuthKeysMessage[] = [];
  const error = (message: string) => messages.push({ level: 'ERROR', text: message });
  const refuse = (message: string): AuthKeysResult => {
    error(message);
    error('Authentication configuration error.');
    return { authkeys: null, messages };
  };
  if ((mode & READABLE_BY_OTHERS) !== 0) {
    return refuse(`Bad permissions on keyfile [${file}], 600 recommended.`);
  }

  const keys = new Map<number, AuthKey>();
  let wanted: number | null = null;
  let bad = false;
  let isDefined = false; // the wanted key came after its auth line
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/\r$/, '');
    if (line.trim() === '' || line.startsWith('#')) continue;
    if (line.startsWith('a')) {
      const number = /^auth[ \t]+(\d{1,9})/.exec(line);
      if (!number) return refuse(`Invalid auth line [${line}] in ${file}`);
      wanted = Number(number[1]);
      isDefined = false;
      continue;
    }
    const [numberText = '', name = '', key = ''] = line.trim().split(/[ \t\r\f]+/);
    if (!/^\d{1,9}$/.test(numberText) || name === '') {
      error(`Auth line [${line}] is invalid.`);
      error(`${file}:${index + 1}:1: expected NUMBER METHOD [KEY], got '${line}'`);
      bad = true;
      continue;
    }
    const number = Number(numberText);
    const method = METHODS.find((known) => known === name);
    if (number > MAX_KEY_NUMBER) {
      error(`Invalid authnum [${number}] in ${file}`);
      bad = true;
    } else if (method === undefined) {
      error(`Invalid authtype [${name}]`);
      bad = true;
    } else if (method === 'crc' && key !== '') {
      messages.push({ level: 'info', text: `Auth method [${method}] doesn't use a key` });
      bad = true;
    } else if (method !== 'crc' && key === '') {
      error(`Auth method [${method}] requires a key`);
      bad = true;
    } else {
      keys.set(number, { number, method, key });
      if (OURS_ALONE.has(method)) {
        const text = `${file}:${index + 1}: ${method} is known to twinbeat only: heartbeat 3.0.6 refuses this file`;
        messages.push({ level: 'WARN', text });
      }
      if (number === wanted) isDefined = true;
    }
  }
  if (wanted === null) return refuse(`Missing auth directive in keyfile [${file}]`);
  const current = keys.get(wanted);
  if (!current || !isDefined || bad) {
    return refuse(`Auth Key [${wanted}] not found in keyfile [${file}]`);
  }
  return { authkeys: { current, keys: [...keys.values()] }, messages };
}
