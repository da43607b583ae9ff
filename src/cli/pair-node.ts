/**
 * One node of the pair: private /dev, /etc, /run, /tmp, /var/lib and /var/log in namespaces of its own, so that every path and
 * every configuration file is the real one (spec of the device, "two nodes on one machine").
 *
 *     off --powerOn--> on --powerCut--> off       what was written to disk stays: the lower disk, /etc, /var/lib, /var/log
 *
 * A power cut takes the cables first and then kills everything by SIGKILL to the first process: the peer must not be told
 * (no FIN, no RST). It loses memory and processes. It does not lose what the machine's own page cache holds below the lower disk;
 * a disk with a volatile cache that lies is out of reach here.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Cable } from './pair-cable.js';
import { attachLoop, backFileOf, detachLoop, isFree, loopsOf } from './pair-loops.js';
import { Namespace, type NamespaceKind, type Spawned } from './pair-namespace.js';
import { must, type ProcessName, type Ran, type RunOptions, waitUntil } from './pair-run.js';

export const NODE_KINDS: readonly NamespaceKind[] = ['mount', 'net', 'uts', 'ipc', 'pid'];

/** The lower disk as both nodes know it. */
export const LOWER_DISK = '/dev/sdb1';

/** Loop nodes in the private /dev: a tmpfs gets no new ones, and the numbers are shared with the whole machine. */
const LOOP_NODES = 128;

/**
 * $1 name, $2 the node's directory, $3 minor of the lower disk's loop device, $4 number of loop nodes, $5 a directory that
 * must stay visible when /tmp becomes private. Order: everything is made under $2 before /tmp, which may hide it.
 */
const SET_UP = `
name=$1 dir=$2 lower=$3 nodes=$4 project=$5
hostname "$name"
ip link set lo up

mkdir -p "$dir"/dev "$dir"/etc "$dir"/etc.work "$dir"/lib "$dir"/lib.work "$dir"/log
mount -t tmpfs -o mode=755 tmpfs "$dir/dev"
for n in null zero full random urandom tty ptmx fuse loop-control net; do
  if [ -e "/dev/$n" ]; then cp -a "/dev/$n" "$dir/dev/"; fi
done
i=0
while [ "$i" -lt "$nodes" ]; do echo "loop$i"; i=$((i + 1)); done |
  while read -r n; do mknod "$dir/dev/$n" b 7 "\${n#loop}"; done
mknod "$dir/dev/sdb1" b 7 "$lower"
mkdir "$dir/dev/pts" "$dir/dev/shm"
mount --bind /dev/pts "$dir/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$dir/dev/shm"
for n in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do ln -s "/proc/self/\${n#*:}" "$dir/dev/\${n%%:*}"; done

# The machine's files, with the node's own changes on top; a copy where there is no overlay.
for pair in etc:/etc lib:/var/lib; do
  own=$dir/\${pair%%:*} path=\${pair#*:}
  if ! mount -t overlay overlay -o "lowerdir=$path,upperdir=$own,workdir=$own.work" "$path" 2>/dev/null; then
    if [ ! -e "$own.copied" ]; then cp -an "$path/." "$own/"; : >"$own.copied"; fi
    mount --bind "$own" "$path"
  fi
done
mkdir -p /var/lib/twinbeat /var/lib/drbd /var/lib/heartbeat
mount --bind "$dir/log" /var/log
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/twinbeat /run/heartbeat
mount --move "$dir/dev" /dev

mount -t proc proc /proc
# Nothing in here may reboot the machine. reboot(2) in a pid namespace ends the namespace, as it should; this would not:
if [ -e /proc/sysrq-trigger ]; then mount --bind /dev/null /proc/sysrq-trigger; fi
mount -t sysfs sysfs /sys
mount -t fusectl fusectl /sys/fs/fuse/connections 2>/dev/null || true
case $project/ in /tmp/*) ;; *) mount -t tmpfs -o mode=1777 tmpfs /tmp ;; esac
cd /
`;

export interface NodeOptions {
  readonly name: string; // uname -n
  readonly index: 0 | 1;
  readonly dir: string; // under the pair's state directory
  readonly diskMiB: number;
  readonly env: Readonly<Record<string, string>>;
  readonly project: string; // where bin/ and resource.d/ are
}

export class PairNode {
  readonly name: string;
  readonly index: 0 | 1;
  readonly dir: string;
  readonly #options: NodeOptions;
  readonly #cable: Cable;
  readonly #lower: { readonly device: string; readonly minor: number };
  #inside: Namespace | null = null;

  private constructor(
    options: NodeOptions,
    cable: Cable,
    lower: { device: string; minor: number },
  ) {
    this.name = options.name;
    this.index = options.index;
    this.dir = options.dir;
    this.#options = options;
    this.#cable = cable;
    this.#lower = lower;
  }

  /** The node's disk and directories, switched off. */
  static async create(options: NodeOptions, cable: Cable): Promise<PairNode> {
    mkdirSync(join(options.dir, 'log'), { recursive: true });
    const file = join(options.dir, 'disk.img');
    await must(['truncate', '-s', `${options.diskMiB}M`, file]);
    const loop = await attachLoop(file);
    return new PairNode(options, cable, loop);
  }

  get isOn(): boolean {
    return this.#inside !== null;
  }

  /** The lower disk, as a device of the machine. */
  get lowerDevice(): string {
    return this.#lower.device;
  }

  /** The first process, for the clean-up after a crash of the harness. */
  get first(): ProcessName | null {
    return this.#inside?.first ?? null;
  }

  get #on(): Namespace {
    if (!this.#inside) throw new Error(`${this.name} is switched off`);
    return this.#inside;
  }

  async powerOn(): Promise<void> {
    if (this.#inside) return;
    const { name, dir, env, project } = this.#options;
    const args = [name, dir, String(this.#lower.minor), String(LOOP_NODES), project];
    const inside = await Namespace.open(NODE_KINDS, SET_UP, args, env);
    this.#inside = inside;
    await this.#cable.plugIn(this.index, inside);
  }

  /** Everything in the node ends in the same moment; loop devices that its daemons had bound are cleared away. */
  async powerCut(): Promise<void> {
    const inside = this.#inside;
    if (!inside) return;
    this.#inside = null;
    const bound = loopsOf(inside.first.pid).filter((l) => l.device !== this.#lower.device);
    await this.#cable.pullOut(this.index);
    await inside.kill();
    for (const loop of bound) await detachLoop(loop);
    const free = await waitUntil(() => isFree(this.#lower.device), 30_000);
    if (!free)
      throw new Error(`${this.#lower.device} is still held after ${this.name} was cut off`);
  }

  exec(argv: readonly string[], options: Partial<RunOptions> = {}): Promise<Ran> {
    return this.#on.exec(argv, options);
  }

  /** Standard output of a program that has to succeed. */
  must(argv: readonly string[], options: Partial<RunOptions> = {}): Promise<string> {
    return this.#on.must(argv, options);
  }

  /** Start a daemon; what it prints is in `log(name)`. */
  spawn(argv: readonly string[], name: string): Promise<Spawned> {
    return this.#on.spawn(argv, this.log(name));
  }

  /** The file of the machine behind /var/log/NAME.out of the node. */
  log(name: string): string {
    return join(this.dir, 'log', `${name}.out`);
  }

  /** The command that runs `argv` in the node, for people. */
  enter(argv: readonly string[]): string[] {
    return this.#on.enter(argv);
  }

  /** Put a file on the node's disk, at its real path. The node must be on. */
  async writeFile(path: string, text: string, mode = 0o644): Promise<void> {
    const octal = mode.toString(8);
    await this.must(
      [
        'sh',
        '-c',
        'mkdir -p "$1" && cat >"$2" && chmod "$3" "$2"',
        'sh',
        dirname(path),
        path,
        octal,
      ],
      { input: text },
    );
  }

  keep(): void {
    const words = this.#on.enter([]).join(' ');
    const env = Object.entries(this.#options.env).map(([k, v]) => `${k}='${v}'`);
    const script = join(this.dir, '..', this.name);
    writeFileSync(
      script,
      `#!/bin/sh\n# Runs a command on node ${this.name}; without one, a shell.\n` +
        `exec env -i TERM="$TERM" ${env.join(' ')} ${words} "\${@:-bash}"\n`,
    );
    chmodSync(script, 0o755);
    this.#on.keep();
  }

  /** Off for good. The disk is detached, too. */
  async destroy(): Promise<void> {
    await this.powerCut();
    const { device } = this.#lower;
    if (backFileOf(device).startsWith(this.dir)) {
      await detachLoop({ device, backFile: backFileOf(device) });
    }
  }
}
