/**
 * The machines of a partition test: two nodes, each with its own network, mount, pid, uts and ipc namespace and the real paths, and a
 * place outside with the bridges between them, the observer, and what the nodes ask (a witness, etcd, or who resets a node).
 *
 *     link1, link2, service, third    one bridge each; what a node sends, is sent, or both can be dropped there, the carrier stays
 *     console                         the observer's way to each node, never cut
 *
 * A node that loses power loses every process at once and its interfaces with it; /etc, /var/lib and /var/log stay. `reboot` and a watchdog
 * that fires ask for it by a socket in the laboratory's directory, as does the plug-in by the net `third`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { main as clStatus } from '../../src/cli/cl-status.js';
import { Namespace, type NamespaceKind } from '../../src/cli/pair-namespace.js';
import { killTree, must, type Ran } from '../../src/cli/pair-run.js';
import { memoryWorld } from '../support/memory-world.js';
import { until } from '../support/until.js';
import { nodeFiles, STONITH_PLUGINS } from './partition-files.js';
import {
  HOSTS,
  type Host,
  type Mode,
  NETS,
  type Net,
  type Plan,
  type Way,
} from './partition-plan.js';

const BIN = resolve('build/bin');
const KINDS: readonly NamespaceKind[] = ['mount', 'net', 'uts', 'ipc', 'pid'];
const OUTSIDE: readonly NamespaceKind[] = ['mount', 'net', 'pid'];
const ALL_NETS = [...NETS, 'console'] as const;
const ENV: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
};
export const FLOATING = '192.168.73.100';
const THIRD = '192.168.74.254';

/** Address of the place outside, `.254`, and of the nodes, `.1` and `.2`. */
function address(net: Net | 'console', last: number): string {
  return `192.168.${71 + ALL_NETS.indexOf(net)}.${last}`;
}

function mac(net: Net | 'console', last: number): string {
  return `02:77:00:0${ALL_NETS.indexOf(net)}:00:${last.toString(16).padStart(2, '0')}`;
}

function numberOf(host: Host): 1 | 2 {
  return host === 'node-a' ? 1 : 2;
}

function port(net: Net | 'console', host: Host): string {
  return `${net}-${host.slice(-1)}`;
}

const SWITCH = `
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /run
n=71
for net in ${ALL_NETS.join(' ')}; do
  # An address of its own: else it has that of a port, and another one when the port goes.
  ip link add "br-$net" address "02:77:00:ff:00:$n" type bridge mcast_snooping 0 stp_state 0 forward_delay 0
  ip addr add "192.168.$n.254/24" dev "br-$net"
  ip link set "br-$net" up
  n=$((n + 1))
done
nft -f - <<RULES
table bridge cut {
  set from { type ifname; }
  set to { type ifname; }
  chain arrives { type filter hook prerouting priority -300; iifname @from drop; }
  chain leaves { type filter hook postrouting priority 300; oifname @to drop; }
}
RULES
`;

/** $1 name, $2 its directory, $3 the laboratory's scripts, $4 the directory of our own plug-in or nothing, $5 seconds of a watchdog or 0 */
const NODE = `
name=$1 dir=$2 scripts=$3 plugin=$4 seconds=$5
hostname "$name"
ip link set lo up
# The machine's files that programs look at, and the node's own.
for file in passwd group nsswitch.conf ld.so.cache ld.so.conf ld.so.conf.d alternatives hosts protocols services localtime; do
  if [ -e "/etc/$file" ] && [ ! -e "$dir/etc/$file" ]; then cp -a "/etc/$file" "$dir/etc/"; fi
done
mount --bind "$dir/etc" /etc
mount --bind "$dir/lib" /var/lib
mount --bind "$dir/log" /var/log
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/twinbeat /run/heartbeat
mount -t proc proc /proc
# Nothing in here may reboot the machine.
if [ -e /proc/sysrq-trigger ]; then mount --bind /dev/null /proc/sysrq-trigger; fi
mount -t sysfs sysfs /sys
ln -s "$dir/../machine.sock" /run/machine.sock
printf '#!/bin/sh\\necho "$0 $*" >>/var/log/reboot-asked\\nexec %s/machine down reboot\\n' "$scripts" >/run/reboot
chmod 755 /run/reboot
for f in /sbin/reboot /sbin/init /sbin/halt /sbin/poweroff /sbin/shutdown; do
  if [ -e "$f" ]; then mount --bind /run/reboot "$f"; fi
done
if [ -n "$plugin" ]; then
  mkdir /run/external
  cp -a ${STONITH_PLUGINS}/. /run/external/
  install -m 755 "$plugin" /run/external/
  mount --bind /run/external ${STONITH_PLUGINS}
fi
if [ "$seconds" != 0 ]; then
  mkfifo -m 600 /run/watchdog
  "$scripts/machine" watch /run/watchdog "$seconds" </dev/null >/dev/null 2>&1 &
fi
cd /
`;

export class PartitionLab {
  readonly dir: string;
  readonly #mode: Mode;
  readonly #outside: Namespace;
  readonly #nodes = new Map<Host, Namespace>(); // that are on;
  readonly #server: Server;
  #children: ChildProcess[] = [];
  #third: ChildProcess | null = null;
  /** Someone inside or outside asks for a reset; true when it was done. */
  onReset: (host: Host, by: string) => Promise<boolean> = async () => false;

  private constructor(dir: string, mode: Mode, outside: Namespace) {
    this.dir = dir;
    this.#mode = mode;
    this.#outside = outside;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      createInterface(socket).on('line', (line) => {
        void this.#asked(line).then((answer) => socket.end(`${answer}\n`));
      });
      socket.on('error', () => {}); // it died with its node
    });
  }

  static async create(plan: Plan, mode: Mode): Promise<PartitionLab> {
    const dir = mkdtempSync(join(tmpdir(), 'partition-'));
    const outside = await Namespace.open(OUTSIDE, SWITCH, [], ENV);
    const lab = new PartitionLab(dir, mode, outside);
    try {
      lab.#server.listen(join(dir, 'machine.sock'));
      await once(lab.#server, 'listening');
      await lab.thirdPlace(true);
      for (const host of HOSTS) {
        nodeFiles(join(dir, host), host, plan, mode, THIRD);
        await lab.powerOn(host);
      }
    } catch (e) {
      await lab.destroy();
      throw e;
    }
    return lab;
  }

  async #asked(line: string): Promise<string> {
    const [verb = '', name, by = 'reset'] = line.split(' ');
    if (verb === 'status') return 'on';
    const host = HOSTS.find((each) => each === name);
    if (!host) return 'what';
    return (await this.onReset(host, verb === 'reset' ? 'fence' : by)) ? `off ${host}` : 'failed';
  }

  /** A program beside the bridges. */
  #spawn(argv: readonly string[], stdout: 'pipe' | 'ignore' = 'ignore'): ChildProcess {
    const [program = '', ...args] = this.#outside.enter(argv);
    const child = spawn(program, args, { stdio: ['ignore', stdout, 'ignore'], env: ENV });
    this.#children.push(child);
    return child;
  }

  /** What the nodes ask: it begins, or dies. Of etcd, what it has stored stays. */
  async thirdPlace(on: boolean): Promise<void> {
    if (this.#third) killTree(this.#third);
    this.#third = null;
    if (!on || this.#mode === 'none') return;
    if (this.#mode === 'witness') {
      const keys = join(this.dir, 'keys');
      writeFileSync(keys, `lab ${'0123456789abcdef'}\n`, { mode: 0o600 });
      const args = ['--listen', `${THIRD}:6940`, '--key-file', keys, '--lease', '5'];
      const program = resolve('build/src/bin/twinbeat.js');
      this.#third = this.#spawn([process.execPath, program, 'witness', ...args]);
    } else if (this.#mode === 'etcd') {
      const [client, peer] = [`http://${THIRD}:2379`, `http://${THIRD}:2380`];
      this.#third = this.#spawn([
        ...['etcd', '--data-dir', '/run/etcd', '--initial-cluster', `default=${peer}`],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ]);
    } else {
      const listen = `TCP-LISTEN:7001,bind=${THIRD},fork,reuseaddr`;
      const socket = join(this.dir, 'machine.sock');
      this.#third = this.#spawn(['socat', '-t', '20', listen, `UNIX-CONNECT:${socket}`]);
    }
  }

  /** Each line that the observer says. */
  observe(line: (text: string) => void): void {
    const program = resolve('build/test/integration/observe-active.js');
    const places = HOSTS.map((host) => `${host}=${address('console', numberOf(host))}`);
    const argv = [process.execPath, program, ...places, `address=${FLOATING}`];
    const { stdout } = this.#spawn(argv, 'pipe');
    if (stdout) createInterface(stdout).on('line', line);
  }

  async powerOn(host: Host): Promise<void> {
    if (this.#nodes.has(host)) return;
    const plugin = this.#mode === 'stonith' ? resolve('test/lab/stonith/labssh') : '';
    const hasWatchdog = this.#mode === 'witness' || this.#mode === 'etcd';
    const args = [host, join(this.dir, host), resolve('test/lab/partition'), plugin];
    const inside = await Namespace.open(KINDS, NODE, [...args, hasWatchdog ? '3' : '0'], ENV);
    this.#nodes.set(host, inside);
    await this.#plugIn(host, inside);
  }

  async #plugIn(host: Host, inside: Namespace): Promise<void> {
    const n = numberOf(host);
    const pid = String(inside.first.pid);
    const plugs = ALL_NETS.map((net) => {
      const [name, hardware] = [port(net, host), mac(net, n)];
      return (
        `link add ${name} type veth peer name ${net} address ${hardware} netns ${pid}\n` +
        `link set ${name} master br-${net} up\n`
      );
    });
    // Who was switched on again is seen at once.
    plugs.push(
      `neigh replace ${address('console', n)} lladdr ${mac('console', n)} dev br-console nud permanent\n`,
    );
    // Not inside the pid namespace of the bridges: there the node's number means nothing.
    const outside = ['nsenter', '--target', String(this.#outside.first.pid), '--net'];
    await must([...outside, 'ip', '-batch', '-'], { input: plugs.join(''), env: ENV });
    const own = ALL_NETS.map(
      (net) => `addr add ${address(net, n)}/24 brd + dev ${net}\nlink set ${net} up\n`,
    );
    await inside.must(['ip', '-batch', '-'], { input: own.join('') });
  }

  /** Every process of the node ends at once; returns when they have. */
  async powerOff(host: Host): Promise<void> {
    const node = this.#nodes.get(host);
    if (!node) return;
    this.#nodes.delete(host);
    await node.kill();
    // Its network goes later, by itself: the bridges have forgotten it before.
    const gone = ALL_NETS.map((net) => `link del ${port(net, host)}\n`).join('');
    await this.#outside.exec(['ip', '-force', '-batch', '-'], { input: gone });
  }

  isOn(host: Host): boolean {
    return this.#nodes.has(host);
  }

  async exec(host: Host, ...argv: readonly string[]): Promise<Ran | null> {
    return (await this.#nodes.get(host)?.exec(argv)) ?? null;
  }

  async startDaemon(host: Host): Promise<void> {
    const ran = await this.exec(host, join(BIN, 'heartbeat'));
    if (ran && ran.status !== 0 && this.isOn(host))
      throw new Error(`heartbeat of ${host}: ${ran.status}\n${ran.stdout}${ran.stderr}`);
  }

  async signalDaemon(host: Host, signal: 'KILL' | 'STOP' | 'CONT'): Promise<void> {
    await this.exec(host, 'sh', '-c', `kill -${signal} "$(cat /run/heartbeat.pid)"`);
  }

  async cut(net: Net, host: Host, way: Way): Promise<void> {
    const name = `{ "${port(net, host)}" }`;
    const sets = (['from', 'to'] as const).filter((set) => way === 'both' || way === set);
    const input = sets.map((set) => `add element bridge cut ${set} ${name}\n`).join('');
    await this.#outside.must(['nft', '-f', '-'], { input });
  }

  async join(net: Net, host: Host): Promise<void> {
    const name = `{ "${port(net, host)}" }`;
    // Added first: what is not there cannot be deleted.
    const words = (set: string) =>
      `add element bridge cut ${set} ${name}\ndelete element bridge cut ${set} ${name}\n`;
    await this.#outside.must(['nft', '-f', '-'], { input: words('from') + words('to') });
  }

  /** cl_status on the node, in this process; nothing when it is off. */
  async says(host: Host, ...args: readonly string[]): Promise<string> {
    const node = this.#nodes.get(host);
    if (!node) return '';
    const world = memoryWorld({ root: `/proc/${node.first.pid}/root` });
    await clStatus(args, world);
    return (world.stdout() + world.stderr()).trim();
  }

  log(host: Host): string {
    const path = join(this.dir, host, 'log/ha-log');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  async destroy(): Promise<void> {
    this.onReset = async () => false;
    for (const child of this.#children) killTree(child);
    for (const host of HOSTS) await this.powerOff(host);
    await this.#outside.kill();
    await new Promise<void>((done) => this.#server.close(() => done()));
    await until(
      () => this.#children.every((c) => c.exitCode !== null || c.signalCode !== null),
      'the end of what ran outside',
    );
    rmSync(this.dir, { recursive: true, force: true });
  }
}
