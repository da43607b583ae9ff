/** Configurations of real services for a room: small, on ports of its own network, with everything in its directory. */
import { chmodSync, copyFileSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Room } from './room.js';

export const PORT = 22080;

export function haproxyConf(room: Room, global = ''): string {
  const path = join(room.dir, 'haproxy.cfg');
  const text = `global
${global}
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend web
  bind 127.0.0.1:${PORT}
`;
  writeFileSync(path, text);
  return path;
}

export const APACHE_MODULES = '/usr/lib/apache2/modules';

export function apacheConf(room: Room): string {
  const path = join(room.dir, 'web.conf');
  const text = `ServerRoot ${room.dir}
ServerName room
LoadModule mpm_event_module ${APACHE_MODULES}/mod_mpm_event.so
LoadModule authz_core_module ${APACHE_MODULES}/mod_authz_core.so
Listen 127.0.0.1:${PORT}
PidFile ${room.dir}/web.pid
ErrorLog ${room.dir}/web.log
DocumentRoot ${room.dir}
User nobody
Group nogroup
`;
  writeFileSync(path, text);
  room.must('chmod', '755', room.dir);
  return path;
}

/** Where Debian keeps the programs of the newest PostgreSQL; a path that does not exist where there is none. */
export const PG_BIN = newestPostgres();

function newestPostgres(): string {
  const base = '/usr/lib/postgresql';
  const versions = existsSync(base) ? readdirSync(base).map(Number).filter(Number.isFinite) : [];
  return join(base, String(Math.max(0, ...versions)), 'bin');
}

/** As its user; a server that runs as root refuses. */
export const AS_POSTGRES = [
  ...['setpriv', '--reuid', 'postgres', '--regid', 'postgres', '--init-groups', '--'],
];
export const PG_SOCKETS = '/run/pg';

/** An empty database cluster that listens on its socket only. */
export function initdb(room: Room): string {
  room.must('chmod', '755', room.dir);
  room.must('install', '-d', '-o', 'postgres', `${room.dir}/disk`);
  const dir = `${room.dir}/disk/data`;
  room.must(...AS_POSTGRES, `${PG_BIN}/initdb`, '-D', dir, '--no-sync', '-A', 'peer');
  room.must('sh', '-c', 'echo "listen_addresses = \'\'" >>"$0/postgresql.conf"', dir);
  return dir;
}

/** A program named proxysql that speaks its protocol, and its configuration. Debian has no ProxySQL. */
export function proxysqlStandIn(room: Room) {
  const program = join(room.dir, 'proxysql');
  copyFileSync(resolve('test/resource.d/proxysql-stand-in.pl'), program);
  chmodSync(program, 0o755);
  const conf = join(room.dir, 'proxysql.cnf');
  const answer = (online: number, used: number, most: number): void =>
    writeFileSync(conf, `port ${PORT}\nrow ${online} ${used} ${most}\n`);
  answer(1, 0, 2048);
  return { program, conf, answer };
}
