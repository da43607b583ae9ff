/**
 * `heartbeat -D`: the directives of ha.cf that have a default, as heartbeat 3.0.6 prints them; with -W in the markup of the
 * original's wiki. The defaults are those that the parser has (test/cli/heartbeat-command-line.test.ts). Source: observed.
 */
import { VERSION } from '../host/heartbeat-report.js';

interface Default {
  readonly name: string;
  readonly value: string;
  readonly what: string;
}

const PACEMAKER = '(valid only with: pacemaker on)';

export const DEFAULTS: readonly Default[] = [
  { name: 'cluster', value: 'linux-ha', what: 'the name of cluster' },
  { name: 'hopfudge', value: '1', what: '# of hops above cluster size' },
  { name: 'keepalive', value: '1000ms', what: 'keepalive time' },
  { name: 'deadtime', value: '30000ms', what: 'node deadtime' },
  { name: 'baud', value: '19200', what: 'baud rate' },
  { name: 'auto_failback', value: 'legacy', what: 'auto failback' },
  { name: 'hbgenmethod', value: 'file', what: 'protocol generation computation method' },
  { name: 'realtime', value: 'true', what: 'enable realtime behavior?' },
  { name: 'msgfmt', value: 'classic', what: 'message format in the wire' },
  { name: 'conn_logd_time', value: '60', what: 'the interval to reconnect to logd' },
  { name: 'log_badpack', value: 'true', what: 'warn about bad packets' },
  { name: 'syslogmsgfmt', value: 'true', what: 'log to files in syslog format' },
  { name: 'coredumps', value: 'true', what: 'enable Linux-HA core dumps' },
  { name: 'pacemaker', value: 'false', what: 'enable Pacemaker resource management' },
  { name: 'autojoin', value: 'none', what: 'set automatic join mode/style' },
  { name: 'uuidfrom', value: 'file', what: 'set the source for uuid' },
  { name: 'compression', value: 'zlib', what: 'set compression module' },
  { name: 'compression_threshold', value: '2', what: 'set compression threshold' },
  { name: 'traditional_compression', value: 'no', what: 'set traditional_compression' },
  { name: 'max_rexmit_delay', value: '250', what: 'set the maximum rexmit delay time' },
  { name: 'record_config_changes', value: 'on', what: `record changes to the cib ${PACEMAKER}` },
  {
    name: 'record_pengine_inputs',
    value: 'on',
    what: `record the input used by the policy engine ${PACEMAKER}`,
  },
  {
    name: 'enable_config_writes',
    value: 'on',
    what: `write configuration changes to disk ${PACEMAKER}`,
  },
  { name: 'memreserve', value: '6500', what: 'number of kbytes to preallocate in heartbeat' },
];

export function defaultsTable(): string {
  const head = `${'Directive'.padEnd(25)}${'Default'.padEnd(10)}Description\n${'-'.repeat(80)}\n`;
  const rows = DEFAULTS.map(
    ({ name, value, what }) => `${name.padEnd(25)}${value.padEnd(10)}${what}\n`,
  );
  return head + rows.join('');
}

/** 'auto_failback' -> 'AutoFailbackDirective', a page of that wiki. */
function wikiPage(name: string): string {
  const words = name.split('_').map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  return `${words.join('')}Directive`;
}

export function defaultsWiki(): string {
  const rows = DEFAULTS.map(
    ({ name, value, what }) => `||[wiki:ha.cf/${wikiPage(name)} ${name}]||${value}||${what}||\n`,
  );
  return (
    '##Put this output in the ha.cf/DefaultValues page\n' +
    'The [wiki:ha.cf ha.cf] directives with default values are shown below - along with a brief description.\n' +
    `This was produced by {{{heartbeat -DW}}} ''# (version ${VERSION})''\n\n` +
    `||''Directive''||''Default''||''Description''||\n${rows.join('')}`
  );
}
