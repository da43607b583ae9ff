/**
 * The directives of ha.cf: one row each with its setter. A setter gets one value (or the whole rest of the line) and
 * returns null when it took it, '' when it has itself said all that is to be said, or what it expected.
 *
 * Refused although the original has it: what would have to manage and is not there (`crm on`). Starting without it would promise
 * more than is done. Source: ha.cf(5), heartbeat 3.0.6 observed.
 */
import type { Given, HaCfDraft, HaCfLevel, HaCfSystem } from './ha-cf.js';
import { stonith, stonithHost } from './ha-cf-stonith.js';

export interface SetterContext {
  readonly draft: HaCfDraft;
  readonly given: Given;
  readonly system: HaCfSystem;
  say(level: HaCfLevel, text: string): void;
}

export interface Directive {
  readonly wholeLine: boolean;
  readonly recorded: boolean; // kept as a parameter
  set(value: string, context: SetterContext): string | null;
}

const TRUE = new Set(['true', 'on', 'yes', 'y', '1']);
const FALSE = new Set(['false', 'off', 'no', 'n', '0']);
const BAUDS = new Set([9600, 19200, 38400, 57600, 115200, 230400, 460800]);
const FACILITIES = new Set(
  (
    'none auth authpriv cron daemon ftp kern lpr mail news syslog user uucp security ' +
    'local0 local1 local2 local3 local4 local5 local6 local7'
  ).split(' '),
);
/** 11 days. Node's timers end at once when they are given more than 24. */
const MAX_TIME_MS = 1_000_000_000;
const TIME =
  'seconds, 1000000 at most, or a number with unit ms or us (any other unit, also s, is not known)';
const BOOL = 'on or off (true, yes, y, 1; false, no, n, 0)';

/** Milliseconds of a time: no unit is seconds. Null for anything else. */
export function haTimeMs(text: string): number | null {
  const ms = timeMs(text);
  return ms === null || ms > MAX_TIME_MS ? null : ms;
}

function timeMs(text: string): number | null {
  const match = /^(\d+(?:\.\d*)?|\.\d+)([a-z]*)/i.exec(text);
  if (!match || match[0].length !== text.length) return null;
  const value = Number(match[1]);
  const unit = match[2] ?? '';
  if (unit === '') return Math.floor(value * 1000);
  if (unit.startsWith('ms')) return Math.floor(value);
  if (unit.startsWith('us')) return Math.floor(value / 1000);
  return null;
}

export function haBoolean(text: string): boolean | null {
  const word = text.toLowerCase();
  return TRUE.has(word) ? true : FALSE.has(word) ? false : null;
}

function words(text: string): string[] {
  return text.split(/[ \t\r\f]+/).filter((word) => word !== '');
}

function integer(text: string, min: number, max: number): number | null {
  if (!/^\d{1,10}$/.test(text)) return null;
  const value = Number(text);
  return value >= min && value <= max ? value : null;
}

type Take<T> = (context: SetterContext, value: T) => string | null | undefined;

function row(recorded: boolean, set: Directive['set'], wholeLine = false): Directive {
  return { wholeLine, recorded, set };
}
function time(take: Take<number>, positive = false): Directive {
  return row(true, (value, c) => {
    const ms = haTimeMs(value);
    if (ms === null || (positive && ms <= 0)) return positive ? `a time above 0: ${TIME}` : TIME;
    return take(c, ms) ?? null;
  });
}
function bool(take: Take<boolean>, recorded = true): Directive {
  return row(recorded, (value, c) => {
    const flag = haBoolean(value);
    return flag === null ? BOOL : (take(c, flag) ?? null);
  });
}
function count(min: number, max: number, take: Take<number>): Directive {
  return row(true, (value, c) => {
    const n = integer(value, min, max);
    return n === null ? `a whole number from ${min} to ${max}` : (take(c, n) ?? null);
  });
}
function oneOf<T extends string>(allowed: readonly T[], take: Take<T>): Directive {
  return row(true, (value, c) => {
    const found = allowed.find((word) => word === value);
    return found === undefined ? allowed.join(' or ') : (take(c, found) ?? null);
  });
}
function text(take: Take<string>, recorded = true): Directive {
  return row(recorded, (value, c) => take(c, value) ?? null);
}
/** Taken note of. */
const ACCEPTED = text(() => {});

function mcast(type: 'mcast' | 'mcast6'): Directive {
  return row(
    false,
    (line, c) => {
      const [device = '', group = '', portText = '', ttlText = '', loopText = ''] = words(line);
      const bad = (what: string) => {
        c.say('ERROR', `glib: ${what}`);
        return '';
      };
      const isGroup =
        type === 'mcast'
          ? /^(22[4-9]|23\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/.test(group)
          : /^ff[0-9a-f:.]*:[0-9a-f:.]*$/i.test(group);
      if (device === '') return 'DEVICE GROUP PORT TTL LOOP';
      const isV6 = type === 'mcast6';
      if (!isGroup) return bad(`${isV6 ? ' ' : ''}${type} [${device}] bad addr [${group}]`);
      if (portText === '') return bad(`${type} [${device}] missing port`);
      const port = integer(portText, 1, 65535);
      if (port === null) return bad(` ${type} [${device}] bad port [${portText}]`);
      if (ttlText === '') return bad(`${type} [${device}] missing ttl`);
      const ttl = integer(ttlText, 0, 4);
      if (ttl === null) return bad(` ${type} [${device}] bad ttl [${ttlText}]`);
      if (loopText === '') return bad(`${type} [${device}] missing loop`);
      const loop = integer(loopText, 0, 1);
      if (loop === null) return bad(` ${type} [${device}] bad loop [${loopText}]`);
      // An interface with IPv6 only is enough for IPv6.
      const error = c.system.interfaceError(device, isV6 ? 'device' : 'address');
      if (error !== null) {
        const reason = `Unable to retrieve local interface address for interface [${device}] using ioctl(SIOCGIFADDR): ${error}`;
        if (!isV6) bad(reason);
        return bad(`${type} device [${device}] is invalid or not set up properly`);
      }
      c.draft.media.push({ type, device, group, port, ttl, loop: loop === 1 });
      return null;
    },
    true,
  );
}

function ucast(type: 'ucast' | 'ucast6'): Directive {
  return row(
    false,
    (line, c) => {
      const [device = '', host = ''] = words(line);
      if (host === '') return 'DEVICE ADDRESS';
      c.draft.media.push({ type, device, host, port: c.draft.udpport });
      return null;
    },
    true,
  );
}

function respawn(failfast: boolean): Directive {
  return row(
    false,
    (line, c) => {
      const [user = '', path = '', ...args] = words(line);
      if (path === '') return 'USER /ABSOLUTE/PATH [ARGUMENT...]';
      const bad = (what: string) => {
        c.say('ERROR', what);
        return '';
      };
      if (!c.system.userExists(user))
        return bad(`Invalid uid [${user}] specified for client child`);
      if (!path.startsWith('/')) return bad(`Client child command [${path}] is not full pathname`);
      if (!c.system.isExecutable(path))
        return bad(`Client child command [${path}] is not executable`);
      c.draft.respawns.push({ user, path, args, failfast });
      return null;
    },
    true,
  );
}

function apiauth(line: string, c: SetterContext): string | null {
  const [client = '', ...lists] = words(line);
  let uids: string[] | null = null;
  let gids: string[] | null = null;
  for (const list of lists) {
    if (list.startsWith('uid=') && uids === null) uids = list.slice(4).split(',');
    else if (list.startsWith('gid=') && gids === null) gids = list.slice(4).split(',');
    else break;
  }
  if (uids === null && gids === null) {
    c.say('ERROR', `Invalid apiauth directive [${line}]`);
    c.say('info', 'Syntax: apiauth client [uid=uidlist] [gid=gidlist]');
    c.say('info', 'Where uidlist is a comma-separated list of uids,');
    c.say('info', 'and gidlist is a comma-separated list of gids');
    c.say('info', 'One or the other must be specified.');
    return '';
  }
  if (c.given.apiClients.has(client)) {
    c.say('ERROR', `Duplicate apiauth directive for API client ${client}: [${line}]`);
    return '';
  }
  c.given.apiClients.add(client);
  c.draft.apiauths.push({ client, uids: uids ?? [], gids: gids ?? [] });
  return null;
}

function niceFailback(c: SetterContext, value: boolean): null {
  if (!c.given.autoFailback) c.draft.autoFailback = 'legacy';
  const word = value ? 'on' : 'off';
  c.say('ERROR', 'nice_failback flag is obsolete.. Use auto_failback {on, off, legacy} instead.');
  c.say('ERROR', `nice_failback ${word} has been strictly interpreted as 'auto_failback legacy'`);
  c.say('ERROR', "Consider converting to 'auto_failback on'.");
  c.say('ERROR', 'When you do, then you can use ipfail, and hb_standby');
  c.say('ERROR', 'See documentation for details.');
  return null;
}

const crm = row(true, (value) =>
  haBoolean(value) === false ? null : 'off: the resources here are those of haresources',
);

const TABLE: Readonly<Record<string, Directive>> = {
  node: text((c, name) => {
    c.draft.nodes.push(name.toLowerCase());
  }, false),
  keepalive: time((c, ms) => {
    c.draft.keepaliveMs = ms;
  }, true),
  deadtime: time((c, ms) => {
    c.draft.deadtimeMs = ms;
  }),
  warntime: row(true, (value, c) => {
    const ms = haTimeMs(value);
    if (ms === null || ms <= 0) {
      c.say('stderr', `Warn time [${value}] is invalid.`);
      return TIME;
    }
    c.given.warntimeMs = ms;
    return null;
  }),
  initdead: time((c, ms) => {
    c.given.initdeadMs = ms;
  }),
  deadping: time((c, ms) => {
    c.given.deadpingMs = ms;
  }),
  hopfudge: count(0, 255, (c, n) => {
    c.draft.hopfudge = n;
  }),
  udpport: row(true, (value, c) => {
    const port = integer(value, 1, 65535);
    if (port === null) {
      c.say('stderr', `heartbeat: udpport: invalid port [${value}] specified.`);
      return 'a port from 1 to 65535';
    }
    c.draft.udpport = port;
    return null;
  }),
  baud: row(true, (value, c) => {
    const baud = integer(value, 1, 460800);
    if (baud === null || !BAUDS.has(baud)) {
      c.say('stderr', `heartbeat: invalid baudrate [${value}] specified.`);
      return [...BAUDS].join(', ');
    }
    if (c.given.baud) return 'baud only once';
    c.given.baud = true;
    c.draft.baud = baud;
    return null;
  }),
  serial: text((c, device) => {
    if (!device.startsWith('/')) {
      c.say('ERROR', `Serial port not full pathname [${device}] in config file`);
      return '';
    }
    c.draft.media.push({ type: 'serial', device, baud: c.draft.baud });
    return null;
  }, false),
  bcast: text((c, device) => {
    const error = c.system.interfaceError(device, 'broadcast');
    if (error !== null) {
      c.say('ERROR', `glib: Get broadcast for interface ${device} failed: ${error}`);
      c.say('ERROR', `glib: IP interface [${device}] does not exist`);
      c.say('ERROR', `Illegal bcast [UDP/IP broadcast] in config file [${device}]`);
      return '';
    }
    c.draft.media.push({ type: 'bcast', device, port: c.draft.udpport });
    return null;
  }, false),
  mcast: mcast('mcast'),
  mcast6: mcast('mcast6'),
  ucast: ucast('ucast'),
  ucast6: ucast('ucast6'),
  ping: text((c, host) => {
    c.draft.pings.push({ name: host.toLowerCase(), type: 'ping', members: [host] });
  }, false),
  ping6: text((c, host) => {
    c.draft.pings.push({ name: host.toLowerCase(), type: 'ping6', members: [host] });
  }, false),
  ping_group: row(
    false,
    (line, c) => {
      const [name = '', ...members] = words(line);
      if (members.length === 0) return 'NAME HOST...';
      c.draft.pings.push({ name: name.toLowerCase(), type: 'ping_group', members });
      return null;
    },
    true,
  ),
  auto_failback: row(true, (value, c) => {
    const flag = value.toLowerCase() === 'legacy' ? 'legacy' : haBoolean(value);
    if (flag === null) return 'on, off or legacy';
    c.given.autoFailback = true;
    c.draft.autoFailback = flag === 'legacy' ? 'legacy' : flag ? 'on' : 'off';
    return null;
  }),
  nice_failback: bool(niceFailback, false),
  respawn: respawn(false),
  failfast: respawn(true),
  apiauth: row(false, apiauth, true),
  stonith: row(false, stonith, true),
  stonith_host: row(false, stonithHost, true),
  watchdog: text((c, device) => {
    if (c.draft.watchdog !== null) {
      c.say('stderr', 'heartbeat: Watchdog device multiply specified.');
      return 'watchdog only once';
    }
    c.draft.watchdog = device;
    return null;
  }),
  logfacility: row(true, (value, c) => {
    if (!FACILITIES.has(value.toLowerCase())) {
      c.say('ERROR', `Log facility(${value}) not valid`);
      return '';
    }
    c.draft.logfacility = value.toLowerCase();
    return null;
  }),
  logfile: text((c, path) => {
    c.draft.logfile = path;
  }),
  debugfile: text((c, path) => {
    c.draft.debugfile = path;
  }),
  use_logd: bool((c, flag) => {
    c.given.useLogd = flag;
  }),
  conn_logd_time: time((c, ms) => {
    c.draft.connLogdTimeMs = ms;
  }, true),
  syslogmsgfmt: bool((c, flag) => {
    c.draft.syslogmsgfmt = flag;
  }),
  log_badpack: bool((c, flag) => {
    c.draft.logBadpack = flag;
  }),
  debug: count(0, 255, (c, n) => {
    c.draft.debug = n;
  }),
  realtime: bool((c, flag) => {
    c.draft.realtime = flag;
  }),
  rtprio: count(1, 99, (c, n) => {
    c.draft.rtprio = n;
  }),
  memreserve: count(1, 99_999_999, (c, n) => {
    c.draft.memreserveKiB = n;
  }),
  hbgenmethod: oneOf(['file', 'time'], (c, word) => {
    c.draft.hbgenmethod = word;
  }),
  uuidfrom: oneOf(['file', 'nodename'], (c, word) => {
    c.draft.uuidfrom = word;
  }),
  msgfmt: oneOf(['classic', 'netstring'], (c, word) => {
    c.draft.msgfmt = word;
  }),
  max_rexmit_delay: row(true, (value, c) => {
    const ms = integer(value, 1, 3_600_000);
    if (ms === null) {
      c.say('ERROR', `Invalid max_rexmit_delay time(${value})`);
      return '';
    }
    c.draft.maxRexmitDelayMs = ms;
    return null;
  }),
  compression: row(true, (value, c) => {
    if (value !== 'zlib' && value !== 'bz2') {
      c.say('ERROR', `Compression module(${value}) not found`);
      return '';
    }
    c.draft.compression = value;
    return null;
  }),
  compression_threshold: count(1, 99_999_999, (c, n) => {
    c.draft.compressionThresholdKiB = n;
  }),
  traditional_compression: bool((c, flag) => {
    c.draft.traditionalCompression = flag;
  }),
  coredumps: bool((c, flag) => {
    c.draft.coredumps = flag;
  }),
  coreroot: text((c, path) => {
    c.draft.coreroot = path;
  }),
  cluster: text((c, name) => {
    c.draft.cluster = name;
  }),
  quorum_server: ACCEPTED,
  env: text((c, pair) => {
    const at = pair.indexOf('=');
    if (at < 1) return 'NAME=VALUE';
    c.draft.env = { ...c.draft.env, [pair.slice(0, at)]: pair.slice(at + 1) };
    return null;
  }, false),
  use_apphbd: bool((c, flag) => {
    if (flag) c.say('WARN', 'use_apphbd is ignored: there is no apphbd here');
  }, false),
  autojoin: oneOf(['none', 'other', 'any'], (c, word) => {
    c.given.autojoin = word;
  }),
  crm,
  pacemaker: crm,
  crm_daemon_dir: ACCEPTED,
  crmd_spawns_pengine: ACCEPTED,
  record_config_changes: ACCEPTED,
  record_pengine_inputs: ACCEPTED,
  enable_config_writes: ACCEPTED,
};

export const DIRECTIVES: ReadonlyMap<string, Directive> = new Map(Object.entries(TABLE));

/**
 * Directives that are taken and that nothing here acts upon: it is said once for each in a file, in the debug log. Whoever makes one
 * work takes it out, here and in docs/CONFIGURATION.md.
 */
export const UNHEEDED: ReadonlySet<string> = new Set([
  'cluster',
  'compression',
  'compression_threshold',
  'conn_logd_time',
  'coredumps',
  'coreroot',
  'crm_daemon_dir',
  'crmd_spawns_pengine',
  'enable_config_writes',
  'hbgenmethod',
  'memreserve',
  'quorum_server',
  'record_config_changes',
  'record_pengine_inputs',
  'traditional_compression',
  'use_logd',
  'uuidfrom',
]);

/** Directives whose line is given up at its first bad value. */
export const MEDIUM_DIRECTIVES: ReadonlySet<string> = new Set(['serial', 'bcast', 'ping', 'ping6']);
