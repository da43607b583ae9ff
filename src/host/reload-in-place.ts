/**
 * What of a new configuration needs a new life, and what a running one takes as it goes on (reload.ts).
 *
 *     in place     who reads it reads what is in force (lives, scripts, log), or is told (Life.configure)
 *     new life     all else: membership and media are built of it, and so is the door before what is started
 *     no effect    on a heartbeat that runs: nobody reads it (docs/CONFIGURATION.md says which), or the next daemon does
 *
 * A new life keeps its resources, but for some seconds the node is no member. Where anything of the second kind has changed, everything
 * is taken in a new life. Every setting has its row, by the type: one without does not compile. Pure.
 */
import type { HaCf } from '../config/ha-cf.js';
import type { TwinbeatIni } from '../config/twinbeat-ini.js';
import type { HeartbeatConfig } from './heartbeat-ports.js';

export type Place = 'in place' | 'new life' | 'no effect';

/** Of ha.cf: the directive, as it is written. */
export const HA_CF_PLACES: Readonly<Record<keyof HaCf, readonly [string, Place]>> = {
  nodes: ['node', 'new life'], // refused
  media: ['media', 'new life'],
  pings: ['ping', 'new life'],
  keepaliveMs: ['keepalive', 'new life'],
  deadtimeMs: ['deadtime', 'new life'],
  warntimeMs: ['warntime', 'in place'],
  initdeadMs: ['initdead', 'new life'],
  deadpingMs: ['deadping', 'in place'],
  hopfudge: ['hopfudge', 'new life'],
  udpport: ['udpport', 'new life'],
  baud: ['baud', 'new life'],
  autoFailback: ['auto_failback', 'new life'],
  respawns: ['respawn', 'new life'], // ipfail is one
  apiauths: ['apiauth', 'new life'],
  stonith: ['stonith', 'new life'], // the door
  watchdog: ['watchdog', 'new life'],
  logfacility: ['logfacility', 'in place'],
  logfile: ['logfile', 'in place'],
  debugfile: ['debugfile', 'in place'],
  useLogd: ['use_logd', 'no effect'],
  connLogdTimeMs: ['conn_logd_time', 'no effect'],
  syslogmsgfmt: ['syslogmsgfmt', 'in place'],
  logBadpack: ['log_badpack', 'in place'],
  debug: ['debug', 'in place'],
  realtime: ['realtime', 'new life'],
  rtprio: ['rtprio', 'new life'],
  memreserveKiB: ['memreserve', 'no effect'],
  hbgenmethod: ['hbgenmethod', 'no effect'],
  uuidfrom: ['uuidfrom', 'no effect'],
  msgfmt: ['msgfmt', 'new life'],
  maxRexmitDelayMs: ['max_rexmit_delay', 'new life'],
  compression: ['compression', 'no effect'],
  compressionThresholdKiB: ['compression_threshold', 'no effect'],
  traditionalCompression: ['traditional_compression', 'no effect'],
  coredumps: ['coredumps', 'no effect'],
  coreroot: ['coreroot', 'no effect'],
  cluster: ['cluster', 'no effect'],
  env: ['env', 'new life'], // STOPRETRYMAX is one
  parameters: ['the text of a directive', 'no effect'], // what it means has a row of its own
};

type IniPlaces = {
  readonly [S in keyof TwinbeatIni]: Readonly<Record<keyof TwinbeatIni[S], Place>>;
};

export const INI_PLACES: IniPlaces = {
  drbdd: {
    deviceDriver: 'no effect', // drbdd's, all of it
    exportListen: 'no effect',
    procFormat: 'no effect',
    procDetails: 'no effect',
    logLevel: 'no effect',
    logFormat: 'no effect',
    poolMiB: 'no effect',
    handlerTimeoutS: 'no effect',
  },
  flight: { enabled: 'no effect', sizeMiB: 'no effect', lives: 'no effect' }, // of the next daemon
  heartbeat: {
    scriptTimeoutS: 'in place',
    stopFailure: 'in place',
    failbackDelayS: 'in place',
    movesPerHour: 'in place',
    logLevel: 'no effect', // nobody reads it: ha.cf's debug does that
    logFormat: 'in place',
  },
  fence: { agent: 'new life', options: 'new life', delayS: 'new life', timeoutS: 'new life' },
  witness: {
    address: 'new life',
    endpoints: 'new life',
    cluster: 'new life',
    key: 'new life',
    leaseS: 'new life',
    stopLimitS: 'new life',
  },
  health: {
    intervalS: 'in place',
    steps: 'in place',
    timeoutS: 'in place',
    restartsPerHour: 'in place',
  },
};

/** Names of what has changed. */
export interface ReloadPlan {
  readonly inPlace: readonly string[];
  readonly newLife: readonly string[];
}

/** As in twinbeat.ini: scriptTimeoutS is script-timeout. */
function written(field: string): string {
  return field
    .replace(/S$/, '')
    .replace('MiB', '-mib')
    .replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

type Settings = Omit<HeartbeatConfig, 'authkeys'>;

/** New keys need no new life, and are not looked at here. */
export function reloadPlan(old: Settings, wanted: Settings): ReloadPlan {
  const changed: Record<Place, string[]> = { 'in place': [], 'new life': [], 'no effect': [] };
  const look = (name: string, place: Place, before: unknown, now: unknown): void => {
    if (JSON.stringify(before) !== JSON.stringify(now)) changed[place].push(name);
  };
  look('the name of this node', 'new life', old.node, wanted.node);
  look('haresources', 'new life', old.groups, wanted.groups);
  for (const [field, [name, place]] of Object.entries(HA_CF_PLACES)) {
    look(name, place, old.haCf[field as keyof HaCf], wanted.haCf[field as keyof HaCf]);
  }
  for (const [section, places] of Object.entries(INI_PLACES)) {
    const of = ({ ini }: Settings): Readonly<Record<string, unknown>> =>
      ini[section as keyof TwinbeatIni];
    for (const [key, place] of Object.entries(places)) {
      look(`[${section}] ${written(key)}`, place, of(old)[key], of(wanted)[key]);
    }
  }
  return { inPlace: changed['in place'], newLife: changed['new life'] };
}
