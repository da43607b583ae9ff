/**
 * /etc/twinbeat.ini: what the originals' files have no place for. Every key has a default and the file may be absent;
 * a section, key or value that is not in the table below is an error, so that a slip of the pen is not a silent default.
 *
 * The package `ini` reads the text (it does no I/O). docs/CONFIGURATION.md lists the keys.
 */
import { parse } from 'ini';
import { isWitnessName } from '../base/witness-name.js';
import { isWitnessKey, WITNESS_KEY_EXPECTED } from './witness-keys.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFormat = 'text' | 'json';

export interface TwinbeatIni {
  readonly drbdd: {
    readonly deviceDriver: 'fuse' | 'export';
    /** Where the export driver listens: 'unix:/path' or 'ADDRESS:PORT'. */
    readonly exportListen: string;
    readonly procFormat: '8.4' | '8.0'; // of /run/twinbeat/proc/drbd
    /** Further lines of it, as the kernel's module parameter proc_details; form 8.4 only. */
    readonly procDetails: 0 | 1 | 2;
    readonly logLevel: LogLevel;
    readonly logFormat: LogFormat;
    readonly poolMiB: number; // buffers for I/O, resident and locked
    /** A handler of drbd.conf that runs longer is killed and counts as broken; 0, as with the kernel: never. */
    readonly handlerTimeoutS: number;
  };
  /** The flight recorder of both daemons (docs/FLIGHT-RECORDER.md). */
  readonly flight: {
    readonly enabled: 'yes' | 'no';
    readonly sizeMiB: number; // of one life of drbdd, in memory and on disk; heartbeat takes a quarter
    readonly lives: number; // kept per daemon
  };
  readonly heartbeat: {
    /** A resource script that runs longer has failed and is killed; 0, as in the original: never. */
    readonly scriptTimeoutS: number;
    /** What becomes of a node that cannot stop a group (host/stuck-group.ts). */
    readonly stopFailure: 'reboot' | 'panic' | 'hold' | 'fence';
    /** auto_failback on: a node that has come back is given its groups so long after it has become stable. */
    readonly failbackDelayS: number;
    /** Groups move by themselves so often in an hour at most; 0: no limit. */
    readonly movesPerHour: number;
    readonly logLevel: LogLevel;
    readonly logFormat: LogFormat;
  };
  /** A fence-agent that resets the other node, in place of the device of ha.cf (docs/FENCING.md). */
  readonly fence: {
    readonly agent: string; // '': none
    readonly options: string; // NAME=VALUE..., secret
    readonly delayS: number; // a node that holds nothing waits so long before it resets the other one
    readonly timeoutS: number; // of a whole reset, with either device
  };
  /** Who is asked before a node serves on without being heard (docs/WITNESS.md): a witness, or etcd. '' both: nobody. */
  readonly witness: {
    readonly address: string; // ADDRESS:PORT, of IPv6 [ADDRESS]:PORT
    readonly endpoints: string; // of etcd: http://ADDRESS:PORT, separated by blanks
    readonly cluster: string; // our name there
    readonly key: string; // that the witness has, too; secret
    readonly leaseS: number;
    readonly stopLimitS: number; // so long everything has to be stopped, or the machine goes down
  };
  /** Checks of what runs here (docs/HEALTH.md). */
  readonly health: {
    readonly intervalS: number; // 0: nothing is checked
    readonly steps: number; // of the ladder
    readonly timeoutS: number; // of one check
    readonly restartsPerHour: number; // in place, of one group; after them it fails over
  };
}

export const DEFAULT_TWINBEAT_INI: TwinbeatIni = {
  drbdd: {
    deviceDriver: 'fuse',
    exportListen: 'unix:/run/twinbeat/export.sock',
    procFormat: '8.4',
    procDetails: 0,
    logLevel: 'info',
    logFormat: 'text',
    poolMiB: 64,
    handlerTimeoutS: 300,
  },
  heartbeat: {
    scriptTimeoutS: 0,
    stopFailure: 'reboot',
    failbackDelayS: 0,
    movesPerHour: 0,
    logLevel: 'info',
    logFormat: 'text',
  },
  flight: { enabled: 'yes', sizeMiB: 32, lives: 4 },
  fence: { agent: '', options: '', delayS: 0, timeoutS: 60 },
  witness: { address: '', endpoints: '', cluster: '', key: '', leaseS: 30, stopLimitS: 60 },
  health: { intervalS: 0, steps: 5, timeoutS: 10, restartsPerHour: 3 },
};

export interface TwinbeatIniResult {
  readonly config: TwinbeatIni | null; // null: refused
  readonly errors: readonly string[]; // FILE:LINE:COL: expected X, got Y
}

type Convert = (value: string) => string | number | null;
interface Key {
  readonly field: string;
  readonly expected: string;
  readonly convert: Convert;
  readonly isSecret?: true; // never shown
}

function oneOf(field: string, ...words: readonly string[]): Key {
  return {
    field,
    expected: words.join(' or '),
    convert: (value) => (words.includes(value) ? value : null),
  };
}
function whole(field: string, min: number, max: number): Key {
  return {
    field,
    expected: `a whole number from ${min} to ${max}`,
    convert: (value) => {
      const n = /^\d{1,9}$/.test(value) ? Number(value) : -1;
      return n >= min && n <= max ? n : null;
    },
  };
}

const FENCE_OPTIONS: Key = {
  field: 'options',
  expected: 'none or NAME=VALUE, separated by blanks, without action',
  isSecret: true,
  convert: (value) => {
    if (value === 'none') return '';
    const options = value.split(/\s+/).filter((word) => word !== '');
    const isOption = (word: string) => /^[\w-]+=./.test(word) && !/^(action|option)=/i.test(word);
    return options.every(isOption) ? options.join(' ') : null;
  },
};
const WITNESS: Readonly<Record<string, Key>> = {
  address: {
    field: 'address',
    expected: 'none, ADDRESS:PORT or [ADDRESS]:PORT',
    convert: (value) =>
      value === 'none'
        ? ''
        : /^(\[[0-9a-fA-F:.]+\]|[0-9.]+):[0-9]{1,5}$/.test(value)
          ? value
          : null,
  },
  endpoints: {
    field: 'endpoints',
    expected: 'none or http://ADDRESS:PORT, separated by blanks',
    convert: (value) => {
      if (value === 'none') return '';
      const all = value.split(/\s+/).filter((word) => word !== '');
      const isEndpoint = (word: string) =>
        /^http:\/\/(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d{1,5}$/.test(word);
      return all.length > 0 && all.every(isEndpoint) ? all.join(' ') : null;
    },
  },
  cluster: {
    field: 'cluster',
    expected: 'none or a name of at most 64 of A-Z a-z 0-9 _ . : -',
    convert: (value) => (value === 'none' ? '' : isWitnessName(value) ? value : null),
  },
  key: {
    field: 'key',
    expected: `none or ${WITNESS_KEY_EXPECTED}`,
    isSecret: true,
    convert: (value) => (value === 'none' ? '' : isWitnessKey(value) ? value : null),
  },
  lease: whole('leaseS', 5, 3600),
  'stop-limit': whole('stopLimitS', 10, 3600),
};
const LISTEN = /^(unix:\/.+|(\[[0-9a-fA-F:.]+\]|[0-9.]+):[0-9]{1,5})$/;
const LOG = {
  'log-level': oneOf('logLevel', 'debug', 'info', 'warn', 'error'),
  'log-format': oneOf('logFormat', 'text', 'json'),
};

const KEYS: Readonly<Record<keyof TwinbeatIni, Readonly<Record<string, Key>>>> = {
  drbdd: {
    'device-driver': oneOf('deviceDriver', 'fuse', 'export'),
    'export-listen': {
      field: 'exportListen',
      expected: 'unix:/PATH or ADDRESS:PORT',
      convert: (value) => (LISTEN.test(value) ? value : null),
    },
    'proc-format': oneOf('procFormat', '8.4', '8.0'),
    'proc-details': whole('procDetails', 0, 2),
    'pool-mib': whole('poolMiB', 16, 4096),
    'handler-timeout': whole('handlerTimeoutS', 0, 86_400),
    ...LOG,
  },
  heartbeat: {
    'script-timeout': whole('scriptTimeoutS', 0, 86_400),
    'failback-delay': whole('failbackDelayS', 0, 86_400),
    'moves-per-hour': whole('movesPerHour', 0, 1000),
    'stop-failure': oneOf('stopFailure', 'reboot', 'panic', 'hold', 'fence'),
    ...LOG,
  },
  flight: {
    enabled: oneOf('enabled', 'yes', 'no'),
    'size-mib': whole('sizeMiB', 4, 1024),
    lives: whole('lives', 1, 1000),
  },
  fence: {
    agent: {
      field: 'agent',
      expected: 'none, fence_NAME or /PATH',
      convert: (value) => {
        if (value === 'none') return '';
        return /^(fence_[\w.-]+|\/[\w./-]+)$/.test(value) ? value : null;
      },
    },
    options: FENCE_OPTIONS,
    delay: whole('delayS', 0, 3600),
    timeout: whole('timeoutS', 1, 3600),
  },
  witness: WITNESS,
  health: {
    interval: whole('intervalS', 0, 3600),
    steps: whole('steps', 3, 20),
    timeout: whole('timeoutS', 1, 3600),
    'restarts-per-hour': whole('restartsPerHour', 0, 60),
  },
};

export function parseTwinbeatIni(text: string, file: string): TwinbeatIniResult {
  const errors: string[] = [];
  const values: Record<string, Record<string, string | number>> = {};
  const expect = (section: string, key: string, expected: string, got: string): void => {
    errors.push(`${file}:${place(text, section, key)}: expected ${expected}, got ${got}`);
  };

  for (const [section, content] of Object.entries(parse(text) as Record<string, unknown>)) {
    const known = new Map(Object.entries(KEYS)).get(section);
    if (!known || typeof content !== 'object' || content === null) {
      const isSection = typeof content === 'object' && content !== null;
      const got = isSection ? `[${section}]` : `'${section}'`;
      expect(isSection ? section : '', isSection ? '' : section, sectionNames(), got);
      continue;
    }
    const fields: Record<string, string | number> = {};
    for (const [name, value] of Object.entries(content)) {
      const key = new Map(Object.entries(known)).get(name);
      if (!key) {
        const names = Object.keys(known).join(', ');
        expect(section, name, `one of ${names}`, `'${name}'`);
        continue;
      }
      const converted = key.convert(String(value));
      const got = key.isSecret ? 'something else (it is not shown)' : `'${value}'`;
      if (converted === null) expect(section, name, `${name} = ${key.expected}`, got);
      else fields[key.field] = converted;
    }
    values[section] = fields;
  }
  const { agent, options } = { ...DEFAULT_TWINBEAT_INI.fence, ...values['fence'] };
  if (agent === '' && options !== '' && errors.length === 0) {
    // Who wrote them believes that there is a fence.
    expect('fence', 'options', 'agent = fence_NAME or /PATH beside options', 'none');
  }
  const witness = { ...DEFAULT_TWINBEAT_INI.witness, ...values['witness'] };
  const { stopFailure } = { ...DEFAULT_TWINBEAT_INI.heartbeat, ...values['heartbeat'] };
  if (values['witness'] && errors.length === 0) {
    const wrong = wrongWitness(witness, stopFailure);
    if (wrong) expect(wrong.section ?? 'witness', wrong.key, wrong.expected, wrong.got);
  }
  if (errors.length > 0) return { config: null, errors };
  return {
    config: {
      drbdd: { ...DEFAULT_TWINBEAT_INI.drbdd, ...values['drbdd'] },
      heartbeat: { ...DEFAULT_TWINBEAT_INI.heartbeat, ...values['heartbeat'] },
      flight: { ...DEFAULT_TWINBEAT_INI.flight, ...values['flight'] },
      fence: { ...DEFAULT_TWINBEAT_INI.fence, ...values['fence'] },
      witness,
      health: { ...DEFAULT_TWINBEAT_INI.health, ...values['health'] },
    },
    errors,
  };
}

interface Wrong {
  readonly section?: string;
  readonly key: string;
  readonly expected: string;
  readonly got: string;
}

/** Keys that are right one by one, and together protect nothing. Who wrote the section believes that there is a witness. */
function wrongWitness(
  { address, endpoints, cluster, key }: TwinbeatIni['witness'],
  stopFailure: string,
): Wrong | null {
  if (address === '' && endpoints === '') {
    return cluster === '' && key === ''
      ? null
      : { key: '', expected: 'address or endpoints in [witness]', got: 'neither' };
  }
  if (address !== '' && endpoints !== '') {
    return { key: 'endpoints', expected: 'address or endpoints', got: 'both' };
  }
  if (cluster === '') return { key: '', expected: 'cluster = NAME in [witness]', got: 'none' };
  if (address !== '' && key === '') {
    return { key: '', expected: 'key beside address in [witness]', got: 'none' };
  }
  if (stopFailure === 'hold') {
    const expected = 'stop-failure = reboot or panic or fence beside [witness]';
    return { section: 'heartbeat', key: 'stop-failure', expected, got: "'hold'" };
  }
  return null;
}

function sectionNames(): string {
  return Object.keys(KEYS)
    .map((name) => `[${name}]`)
    .join(' or ');
}

/** LINE:COL of a key in its section, or of the section itself when `key` is ''. */
function place(text: string, section: string, key: string): string {
  let current = '';
  for (const [index, line] of text.split('\n').entries()) {
    const header = /^\s*\[([^\]]*)\]/.exec(line);
    if (header) current = header[1] ?? '';
    const isIt = header ? key === '' : line.split('=', 1)[0]?.trim() === key;
    if (current === section && isIt) return `${index + 1}:${line.search(/\S/) + 1}`;
  }
  return '1:1';
}
