/**
 * Reading heartbeat's configuration from /etc/ha.d (under the node's root): ha.cf, haresources, authkeys, nodeinfo and
 * twinbeat.ini. Messages come in the original's words; any error means that nothing is started.
 */
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { access, open, readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { parseAuthKeys } from '../config/authkeys.js';
import { type HaCfSystem, parseHaCf } from '../config/ha-cf.js';
import { parseHaResources } from '../config/haresources.js';
import { parseTwinbeatIni, type TwinbeatIni } from '../config/twinbeat-ini.js';
import { GENERATION_FILE } from '../heartbeat/identity.js';
import { arbiterRefusal } from '../host/arbiter-config.js';
import type { ConfigMessage, ConfigTimes, HeartbeatConfig } from '../host/heartbeat-ports.js';
import { interfaceError } from './interfaces.js';
import { programPath } from './limited-run.js';

export interface LoadedConfig {
  readonly node: string;
  readonly config: HeartbeatConfig | null; // null: do not start
  readonly messages: readonly ConfigMessage[];
  readonly denied: boolean; // a file could not be read for lack of rights: exit 4 instead of 6
}

const DEFAULT_PORT = 694;

// The original prints its directory with a slash at the end: the paths of its messages have two.
const DIR = '/etc/ha.d/';
const HA_CF = `${DIR}/ha.cf`;
const HARESOURCES = `${DIR}/haresources`;
const AUTHKEYS = `${DIR}/authkeys`;
const TWINBEAT_INI = '/etc/twinbeat.ini';
/** Of cluster-glue; libstonith looks nowhere else. */
const PLUGINS = '/usr/lib/stonith/plugins';

/** `uname -n`, or the first line of nodeinfo, in lower case. */
export function ownNodeName(root: string): string {
  try {
    const line = readFileSync(`${root}/etc/ha.d/nodeinfo`, 'utf8').split('\n')[0]?.trim();
    if (line) return line.toLowerCase();
  } catch {
    // usual
  }
  return hostname().toLowerCase();
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch {
    return [];
  }
}

function udpPort(): number {
  for (const line of readLines('/etc/services')) {
    const match = /^ha-cluster\s+(\d+)\/udp\b/.exec(line);
    if (match) return Number(match[1]);
  }
  return DEFAULT_PORT;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** As libstonith looks for its plug-ins: programs in external/, else a library, which may have a second name behind a slash. */
function isStonithType(type: string): boolean {
  const [first = '', second, ...more] = type.split('/');
  const isName = (name: string) => /^[\w-][\w.-]*$/.test(name);
  if (!isName(first) || (second !== undefined && !isName(second)) || more.length > 0) return false;
  if (first === 'external') {
    return second !== undefined && isExecutable(`${PLUGINS}/external/${second}`);
  }
  try {
    return statSync(`${PLUGINS}/stonith2/${first}.so`).isFile();
  } catch {
    return false;
  }
}

/** The plug-in's parameters are the first line that is neither empty nor a comment. */
function hasStonithConfig(path: string): boolean {
  return readLines(path).some((line) => /^\s*[^\s#]/.test(line));
}

/** What ha.cf is checked against on this machine. */
export function haCfSystem(root: string, node: string): HaCfSystem {
  const users = new Set(readLines('/etc/passwd').map((line) => line.split(':')[0]));
  return {
    ownNode: node,
    defaultUdpPort: udpPort(),
    userExists: (user) => users.has(user),
    isExecutable,
    isStonithType,
    hasStonithConfig: (file) => hasStonithConfig(root + file),
    interfaceError,
  };
}

export function loadConfig(root: string): LoadedConfig {
  const node = ownNodeName(root);
  const messages: ConfigMessage[] = [];
  let denied = false;
  const read = (path: string, absent: string | null = null): string | null => {
    try {
      return readFileSync(root + path, 'utf8');
    } catch (e) {
      const { code } = e as NodeJS.ErrnoException;
      if (code === 'ENOENT' && absent !== null) return absent;
      if (code === 'EACCES' || code === 'EPERM') denied = true;
      const reason = code === 'ENOENT' ? 'No such file or directory' : (e as Error).message;
      messages.push({ level: 'ERROR', text: `Cannot open [${path}]: ${reason}` });
      return null;
    }
  };
  const fail = (): LoadedConfig => {
    const text = 'Configuration error, heartbeat not started.';
    messages.push({ level: 'ERROR', text });
    return { node, config: null, messages, denied };
  };

  const haCfText = read(HA_CF);
  if (haCfText === null) return fail();
  const parsed = parseHaCf(haCfText, HA_CF, haCfSystem(root, node));
  messages.push(...parsed.messages);
  if (!parsed.config) return fail();
  const haCf = parsed.config;
  if (new Set(haCf.nodes).size > 2) {
    const text = `${new Set(haCf.nodes).size} nodes in ${HA_CF}: a cluster of two is supported`;
    messages.push({ level: 'ERROR', text });
    return fail();
  }
  const keysText = read(AUTHKEYS);
  if (keysText === null) return fail();
  const keys = parseAuthKeys(keysText, AUTHKEYS, statSync(root + AUTHKEYS).mode);
  messages.push(...keys.messages);
  if (!keys.authkeys) return fail();

  const resourcesText = read(HARESOURCES);
  if (resourcesText === null) return fail();
  const resources = parseHaResources(resourcesText, HARESOURCES, haCf.nodes);
  messages.push(...resources.messages);
  if (!resources.groups) return fail();

  const ini = loadIni(read, messages);
  if (!ini) return fail();
  const config = { node, haCf, groups: resources.groups, authkeys: keys.authkeys, ini };
  const refusal = arbiterRefusal(config);
  if (refusal !== null) {
    messages.push({ level: 'ERROR', text: `${TWINBEAT_INI}: [witness] ${refusal}` });
    return fail();
  }
  return { node, config, messages, denied };
}

/** The file may be absent. One that cannot be read is refused: by the defaults nothing is fenced. */
function loadIni(
  read: (path: string, absent: string) => string | null,
  messages: ConfigMessage[],
): TwinbeatIni | null {
  const text = read(TWINBEAT_INI, '');
  if (text === null) return null;
  const parsed = parseTwinbeatIni(text, TWINBEAT_INI);
  for (const error of parsed.errors) messages.push({ level: 'ERROR', text: error });
  const { agent } = parsed.config?.fence ?? { agent: '' };
  if (agent === '' || isProgram(agent)) return parsed.config;
  const error = `${TWINBEAT_INI}: expected a program that can be run in [fence] agent, got ${agent}`;
  messages.push({ level: 'ERROR', text: error });
  return null;
}

/** As it is looked for when the other node is to be reset: then it is too late to find out. */
function isProgram(name: string): boolean {
  if (name.startsWith('/')) return isExecutable(name);
  return programPath()
    .split(':')
    .some((dir) => isExecutable(`${dir}/${name}`));
}

/** Everything that a reload reads and writes, without waiting here: it may lie on a file system that hangs. */
export async function filesAnswer(root: string): Promise<void> {
  const read = [HA_CF, HARESOURCES, AUTHKEYS, `${DIR}/nodeinfo`, TWINBEAT_INI];
  await Promise.allSettled([
    ...read.map((path) => readFile(root + path)),
    ...['/etc/services', '/etc/passwd'].map((path) => readFile(path)),
    answers(root + GENERATION_FILE),
    fenceAnswers(root),
  ]);
}

/** The plug-ins, their files and the fence-agent that the new configuration names: they are looked at when it is read. */
async function fenceAnswers(root: string): Promise<void> {
  const text = (path: string) => readFile(root + path, 'utf8').catch(() => '');
  const [haCf, ini] = [await text(HA_CF), await text(TWINBEAT_INI)];
  const devices = [...haCf.matchAll(/^\s*stonith(?:_host\s+\S+)?\s+(\S+)(?:\s+(\S+))?/gm)];
  const agent = /^\s*agent\s*=\s*(\S+)/m.exec(ini)?.[1];
  const dirs = agent?.startsWith('/') ? [''] : programPath().split(':');
  await Promise.allSettled([
    ...devices.flatMap(([, type = '', file = '']) => [
      access(`${PLUGINS}/${type}`),
      access(`${PLUGINS}/stonith2/${type}.so`),
      ...(file.startsWith('/') ? [readFile(root + file)] : []),
    ]),
    ...(agent === undefined
      ? []
      : dirs.map((dir) => access(dir === '' ? agent : `${dir}/${agent}`))),
  ]);
}

/** A new life writes a generation down; a file beside it is written and synced in the same way. */
async function answers(path: string): Promise<void> {
  const file = await open(`${path}.try`, 'w', 0o600);
  try {
    await file.sync();
  } finally {
    await file.close();
    await rm(`${path}.try`, { force: true });
  }
}

/** Modification times, to see at SIGHUP what changed. */
export function configTimes(root: string): ConfigTimes {
  const time = (path: string): number | null => {
    try {
      return statSync(root + path).mtimeMs;
    } catch {
      return null;
    }
  };
  return {
    haCf: time(HA_CF),
    haresources: time(HARESOURCES),
    authkeys: time(AUTHKEYS),
    twinbeatIni: time(TWINBEAT_INI),
  };
}
