/**
 * `make bench-heartbeat`: how soon a crash of the active node is noticed and the resource runs on the other one, by ours, Debian's
 * heartbeat and keepalived, with the same interval and the same time until a node counts as dead; and what each takes while nothing
 * happens. Two hosts in namespaces (test/lab/heartbeat/lab), one resource, its home wherever it is.
 *
 *     node build/bench/heartbeat.js [--crashes 30] [--idle SECONDS] [--only ours,debian,keepalived]
 *
 * A crash is SIGSTOP and SIGKILL to every process of the active host. *Detection* ends with the line of the other host's log (`is dead`,
 * `Entering MASTER STATE`), *fail-over* with the first line of the resource's script. With keepalived the script is its notify_master.
 * Its interval and death are one number: dead after 3 intervals and (256 - priority) / 256 of one.
 *
 * Root. What is not installed is left out, by name; KEEPALIVED names a keepalived that is not in the PATH. `--idle` of two daemons in
 * turn would last for hours, so it is 60 s unless asked for more (an hour: `make bench-heartbeat IDLE=3600`).
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { HOSTS, type Host, Hosts, other, run, type Use } from './heartbeat-hosts.js';
import { type Crash, heartbeatTable, type Idle, type Measured } from './heartbeat-table.js';

const KEEPALIVE_S = 1;
const DEADTIME_S = 3;
const HA_CF = [
  `keepalive ${KEEPALIVE_S}`,
  `deadtime ${DEADTIME_S}`,
  `warntime ${DEADTIME_S - 1}`,
  `initdead ${2 * DEADTIME_S}`,
  'auto_failback off',
  'udpport 694',
  'bcast eth0',
];
/** Dead after 3.008 s: as near to deadtime as it goes, since a node of 255 would not leave the address to the other. */
const PRIORITY = 254;
const SCRIPT = '/etc/ha.d/resource.d/LabRes one';

interface Program {
  readonly name: string;
  /** What is missing here; '' when it can run. */
  readonly missing: () => Promise<string>;
  readonly prepare: (hosts: Hosts) => Promise<void>;
  readonly start: (hosts: Hosts, host: Host) => Promise<void>;
  /** This host knows the other one, and nothing is on its way. */
  readonly isAtRest: (hosts: Hosts, host: Host) => Promise<boolean>;
  readonly log: string;
  readonly detected: (peer: Host) => string;
}

async function settled(hosts: Hosts, host: Host, clStatus: string): Promise<boolean> {
  const peer = await hosts.exec(host, clStatus, 'nodestatus', other(host));
  if (peer.out.trim() !== 'active') return false;
  const resources = await hosts.exec(host, clStatus, 'rscstatus');
  return /^(all|none|local|foreign)$/.test(resources.out.trim());
}

async function begun(hosts: Hosts, host: Host, ...command: readonly string[]): Promise<void> {
  const ran = await hosts.exec(host, ...command);
  if (ran.status !== 0) throw new Error(`${command.join(' ')} on ${host}: ${ran.out}`);
}

const ours: Program = {
  name: 'ours',
  missing: async () => '',
  prepare: async () => {},
  start: (hosts, host) => begun(hosts, host, resolve('build/bin/heartbeat'), '--keepalive'),
  isAtRest: (hosts, host) => settled(hosts, host, resolve('build/bin/cl_status')),
  log: 'ha-log',
  detected: (peer) => `node ${peer}: is dead`,
};

const DEBIAN = '/usr/libexec/heartbeat/heartbeat';
const debian: Program = {
  name: "Debian's",
  missing: async () => (existsSync(DEBIAN) ? '' : DEBIAN),
  prepare: async (hosts) => {
    // At its start it calls sync(2), for all file systems of the machine.
    for (const host of HOSTS) {
      const source = hosts.path(host, 'lib', 'nosync.c');
      writeFileSync(source, 'void sync(void) {}\n');
      const library = hosts.path(host, 'lib', 'nosync.so');
      const built = await run('cc', ['-shared', '-fPIC', '-o', library, source]);
      if (built.status !== 0) throw new Error(built.out);
    }
  },
  start: (hosts, host) =>
    begun(hosts, host, 'env', 'LD_PRELOAD=/var/lib/heartbeat/nosync.so', DEBIAN),
  isAtRest: (hosts, host) => settled(hosts, host, '/usr/bin/cl_status'),
  log: 'ha-log',
  detected: (peer) => `node ${peer}: is dead`,
};

const KEEPALIVED = process.env['KEEPALIVED'] ?? 'keepalived';
const keepalived: Program = {
  name: 'keepalived',
  missing: async () => ((await run(KEEPALIVED, ['--version'])).status === 0 ? '' : 'keepalived'),
  prepare: async (hosts) => {
    for (const host of HOSTS) {
      const text = `global_defs {
        script_user root
      }
      vrrp_instance one {
        state BACKUP
        nopreempt
        interface eth0
        virtual_router_id 51
        priority ${PRIORITY}
        advert_int ${KEEPALIVE_S}
        virtual_ipaddress {
          192.168.77.10/24
        }
        notify_master "${SCRIPT} start"
        notify_backup "${SCRIPT} stop"
      }\n`;
      writeFileSync(hosts.path(host, 'ha.d', 'keepalived.conf'), text, { mode: 0o644 });
    }
  },
  start: async (hosts, host) => {
    writeFileSync(hosts.path(host, 'log', 'keepalived'), '');
    const command = `"$0" --dont-fork --log-console --vrrp --use-file /etc/ha.d/keepalived.conf </dev/null >>/var/log/keepalived 2>&1 &`;
    // The address goes with the power; in the namespaces it would stay.
    await hosts.exec(host, 'ip', 'addr', 'del', '192.168.77.10/24', 'dev', 'eth0');
    await begun(hosts, host, 'sh', '-c', command, KEEPALIVED);
  },
  isAtRest: async (hosts, host) =>
    /Entering (MASTER|BACKUP) STATE/.test(hosts.text(host, 'log', 'keepalived')),
  log: 'keepalived',
  detected: () => 'Entering MASTER STATE',
};

async function atRest(hosts: Hosts, program: Program): Promise<Host> {
  await hosts.until(`${program.name} is at rest`, async () => {
    if (hosts.active().length !== 1) return false;
    for (const host of HOSTS) if (!(await program.isAtRest(hosts, host))) return false;
    return true;
  });
  const [active] = hosts.active();
  if (!active) throw new Error('the resource is nowhere');
  return active;
}

/** The active node crashes, and returns. */
async function crash(hosts: Hosts, program: Program): Promise<Crash> {
  const active = await atRest(hosts, program);
  const peer = other(active);
  // At any moment of the interval.
  await new Promise((done) => setTimeout(done, Math.random() * KEEPALIVE_S * 1000));
  const logBytes = readFileSync(hosts.path(peer, 'log', program.log)).length;
  const before = starts(hosts, peer).length;
  const crashMs = await hosts.crash(active);
  const detectedMs = await hosts.until('the peer notices', () =>
    readFileSync(hosts.path(peer, 'log', program.log))
      .subarray(logBytes)
      .includes(program.detected(active)),
  );
  await hosts.until('the resource starts', () => starts(hosts, peer).length > before);
  const startedMs = starts(hosts, peer)[before] ?? Number.NaN;
  await program.start(hosts, active);
  return { detectionMs: detectedMs - crashMs, failoverMs: startedMs - crashMs };
}

/** The times at which the resource's script was told to start. */
function starts(hosts: Hosts, host: Host): number[] {
  const lines = hosts.text(host, 'lib', 'labres/trace').split('\n');
  return lines
    .filter((line) => line.endsWith(' one start'))
    .map((line) => Math.round(Number(line.split(' ')[0]) * 1000));
}

async function idle(hosts: Hosts, program: Program, seconds: number): Promise<Idle | null> {
  if (seconds === 0) return null;
  await atRest(hosts, program);
  const before = HOSTS.map((host) => hosts.use(host));
  await new Promise((done) => setTimeout(done, seconds * 1000));
  const after = HOSTS.map((host) => hosts.use(host));
  const sum = (uses: readonly Use[], of: (use: Use) => number): number =>
    uses.reduce((n, use) => n + of(use), 0);
  return {
    seconds,
    memoryKiB: sum(after, (u) => u.memoryKiB),
    cpuMs: sum(after, (u) => u.cpuMs) - sum(before, (u) => u.cpuMs),
    wakeUps: sum(after, (u) => u.wakeUps) - sum(before, (u) => u.wakeUps),
  };
}

async function measure(program: Program, crashes: number, idleS: number): Promise<Measured> {
  const hosts = await Hosts.up(HA_CF);
  const stop = (): void => void hosts.down().finally(() => process.exit(130));
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  try {
    await program.prepare(hosts);
    for (const host of HOSTS) await program.start(hosts, host);
    const still = await idle(hosts, program, idleS);
    const all: Crash[] = [];
    for (let n = 1; n <= crashes; n++) {
      const one = await crash(hosts, program);
      all.push(one);
      console.error(
        `${program.name} ${n}: noticed ${one.detectionMs} ms, started ${one.failoverMs} ms`,
      );
    }
    return { name: program.name, crashes: all, idle: still };
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
    await hosts.down();
  }
}

const { values } = parseArgs({
  options: {
    crashes: { type: 'string', default: '30' },
    idle: { type: 'string', default: '60' },
    only: { type: 'string', default: 'ours,debian,keepalived' },
  },
});
if (process.getuid?.() !== 0) throw new Error('bench-heartbeat needs root: it makes namespaces');
process.chdir(join(import.meta.dirname, '../..'));
const load = (): string =>
  loadavg()
    .map((n) => n.toFixed(1))
    .join(' ');
const before = load();
const rows: Measured[] = [];
for (const [word, program] of Object.entries({ ours, debian, keepalived })) {
  if (!values.only.split(',').includes(word)) continue;
  const missing = await program.missing();
  if (missing !== '') console.log(`${program.name} is left out: there is no ${missing}`);
  else rows.push(await measure(program, Number(values.crashes), Number(values.idle)));
}
console.log(heartbeatTable(rows));
console.log(
  `interval ${KEEPALIVE_S} s, dead after ${DEADTIME_S} s; idle for ${values.idle} s; load before ${before}, after ${load()}`,
);
