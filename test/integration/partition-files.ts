/** The files of a node in the partition tests: its configuration, as docs/FENCING.md and docs/WITNESS.md say for each mode. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Host, type Mode, otherHost, type Plan } from './partition-plan.js';

export const STONITH_PLUGINS = '/usr/lib/stonith/plugins/external';

const TIMING = ['keepalive 200ms', 'deadtime 2', 'warntime 1', 'initdead 5'];
/** The shortest that are allowed. */
export const LEASE_S = 5;
export const STOP_LIMIT_S = 10;
export const DEADTIME_MS = 2000;

function haCf(host: Host, plan: Plan, mode: Mode, third: string): string {
  const lines = [
    'logfile /var/log/ha-log',
    ...TIMING,
    `auto_failback ${plan.failback}`,
    'bcast link1 link2',
    'node node-a node-b',
  ];
  if (mode === 'stonith')
    lines.push(`stonith_host ${host} external/labssh ${otherHost(host)} ${third}:7001`);
  if (mode === 'witness' || mode === 'etcd') lines.push('watchdog /run/watchdog');
  return `${lines.join('\n')}\n`;
}

function ini(mode: Mode, third: string): string {
  const witness = `[witness]\ncluster = lab\nlease = ${LEASE_S}\nstop-limit = ${STOP_LIMIT_S}\n`;
  switch (mode) {
    case 'none':
      return '';
    case 'stonith':
      // The one that runs the group shoots first.
      return '[fence]\ndelay = 1\ntimeout = 5\n';
    case 'witness':
      return `${witness}address = ${third}:6940\nkey = 0123456789abcdef\n`;
    case 'etcd':
      return `${witness}endpoints = http://${third}:2379\n`;
  }
}

/** Below `dir`: etc, lib and log of the node. */
export function nodeFiles(dir: string, host: Host, plan: Plan, mode: Mode, third: string): void {
  for (const each of [
    'etc/ha.d/resource.d',
    'etc/twinbeat',
    'lib/heartbeat',
    'lib/twinbeat',
    'log',
  ])
    mkdirSync(join(dir, each), { recursive: true });
  const write = (path: string, text: string, bits = 0o644) =>
    writeFileSync(join(dir, 'etc', path), text, { mode: bits });
  write('ha.d/ha.cf', haCf(host, plan, mode, third));
  write('ha.d/haresources', `${plan.home} IPaddr2::192.168.73.100/24/service Tell\n`);
  write('ha.d/authkeys', 'auth 1\n1 sha1 of-the-tests\n', 0o600);
  write('twinbeat.ini', ini(mode, third), 0o600);
  if (!plan.asksFirst) write('twinbeat/IPaddr2', 'DUPLICATE_CHECK=no\n');
  symlinkSync(resolve('test/lab/partition/Tell'), join(dir, 'etc/ha.d/resource.d/Tell'));
}
