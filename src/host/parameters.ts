/**
 * What `cl_status hbparameter` and clients of the API are told of ha.cf: directives as they are written, and of those that are not there
 * what is in force, in the original's words. Some that it knows have no default: rtprio, watchdog, coreroot, the log's.
 *
 * Source: the environment of a child of heartbeat 3.0.6, with an ha.cf of a few lines.
 */
import type { HaCf } from '../config/ha-cf.js';

const FIXED: Readonly<Record<string, string>> = {
  autojoin: 'none',
  cluster: 'linux-ha',
  compression: 'zlib',
  compression_threshold: '2',
  conn_logd_time: '60',
  coredumps: 'true',
  debug: '0',
  enable_config_writes: 'on',
  hbgenmethod: 'file',
  hopfudge: '1',
  log_badpack: 'true',
  max_rexmit_delay: '250',
  memreserve: '6500',
  msgfmt: 'classic',
  pacemaker: 'false',
  realtime: 'true',
  record_config_changes: 'on',
  record_pengine_inputs: 'on',
  syslogmsgfmt: 'true',
  traditional_compression: 'no',
  uuidfrom: 'file',
};

export function parametersOf(haCf: HaCf): Readonly<Record<string, string>> {
  return {
    ...FIXED,
    auto_failback: haCf.autoFailback,
    baud: String(haCf.baud),
    udpport: String(haCf.udpport),
    keepalive: `${haCf.keepaliveMs}ms`,
    deadtime: `${haCf.deadtimeMs}ms`,
    warntime: `${haCf.warntimeMs}ms`,
    initdead: `${haCf.initdeadMs}ms`,
    deadping: `${haCf.deadpingMs}ms`,
    ...haCf.parameters,
  };
}
