/**
 * Two nodes that change their program: at any time each is a virtual machine whose kernel has DRBD, or a node of ours in namespaces
 * of this machine (src/cli/pair.ts), and between the two it is switched off. What stays when it changes is what stays in a machine that
 * gets another program: its disk (one file, attached as it is), its address and hardware address on the same bridge, its name, and
 * drbd.conf, of which there is one text for both nodes and both programs.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_PAIR, Pair, PROJECT } from '../../src/cli/pair.js';
import { nodeAddress } from '../../src/cli/pair-cable.js';
import { drbdConf } from '../../src/cli/pair-config.js';
import { LOWER_DISK, type PairNode } from '../../src/cli/pair-node.js';
import { type Command, NODE_NAMES, type NodeName, type Stands } from '../support/migration-page.js';
import type { Said } from '../support/shell.js';
import { until } from '../support/until.js';
import { KernelVm } from './kernel-vm.js';

export const MIGRATION_NEEDS = ['root', 'loop', 'netns', 'fuse', 'ip', 'nsenter', '/dev/net/tun'];
export const DISK_MIB = 32;
export const SRV = '/srv';
const LIMIT_MS = 120_000; // nothing here takes that long on a sound machine

/** The emulated machine is slow to answer, and the writing client must not hold up a resync. */
function conf(): string {
  return drbdConf(['alpha', 'beta'])
    .replace(/ping-int 2;.*/, 'ping-int 1;\n        ping-timeout 60;\n        timeout 40;')
    .replace('connect-int 3;', 'connect-int 1;\n        socket-check-timeout 2;')
    .replace('c-max-rate 500M;', 'c-plan-ahead 0;\n        c-min-rate 0;')
    .replace(
      '    disk {',
      '    startup { wfc-timeout 60; degr-wfc-timeout 60; outdated-wfc-timeout 60; }\n    disk {',
    );
}

export class MigrationNode {
  readonly name: NodeName;
  stands: Stands = 'off';
  readonly #pair: Pair;
  readonly #index: 0 | 1;
  #vm: KernelVm | null = null;

  constructor(pair: Pair, index: 0 | 1) {
    this.#pair = pair;
    this.#index = index;
    this.name = index === 0 ? 'alpha' : 'beta';
  }

  get #node(): PairNode {
    return this.#pair.node(this.#index);
  }
  get image(): string {
    return join(this.#node.dir, 'disk.img');
  }
  /** The disk as a device of this machine, for a node that is off. */
  get lowerDevice(): string {
    return this.#node.lowerDevice;
  }

  /** Switched on with that program; nothing of it is running yet but the kernel. */
  async become(program: 'kernel' | 'twinbeat'): Promise<void> {
    if (this.stands === program) return;
    await this.#off();
    if (program === 'kernel') await this.#bootKernel();
    else await this.#bootOurs();
    this.stands = program;
  }

  async #bootOurs(): Promise<void> {
    await this.#pair.powerOn(this.#index);
    const path = `${DEFAULT_PAIR.bin}:${process.execPath.replace(/\/[^/]*$/, '')}:$PATH`;
    await this.#node.writeFile(
      '/etc/default/drbd',
      `PATH=${path}\nPROC_DRBD=/run/twinbeat/proc/drbd\nLOG=/var/log/drbdd.out\n`,
    );
    const script = join(PROJECT, 'etc/init.d/drbd');
    await this.#node.must(['ln', '-sfn', script, '/etc/init.d/drbd']);
    await this.#node.must(['mkdir', '-p', SRV]);
  }

  async #bootKernel(): Promise<void> {
    const tap = `t-link${this.#index}`;
    const { cable } = this.#pair;
    if (this.#vm === null) {
      const add = `ip tuntap add dev ${tap} mode tap && ip link set ${tap} master br-link up`;
      const ran = await cable.exec(['sh', '-c', add]);
      if (ran.status !== 0) throw new Error(ran.stderr);
      const inside = ['nsenter', '--target', String(cable.first.pid), '--net', '--'];
      this.#vm = await KernelVm.start([], { inside, tap, images: [this.image] });
    } else await this.#vm.boot();
    await this.#vm.file('/etc/drbd.conf', conf());
    await this.#vm.sh(`hostname ${this.name}
      IFS=: read -r major minor </sys/block/vda/dev && mknod ${LOWER_DISK} b $major $minor
      ip addr flush dev eth1 && ip link set eth1 down
      ip link set eth1 address 02:77:00:00:01:0${this.#index + 1} && ip link set eth1 up
      ip addr add ${nodeAddress('link', this.#index)}/24 dev eth1
      modprobe ext4 && mkdir -p ${SRV}`);
  }

  async #off(): Promise<void> {
    if (this.stands === 'kernel') await this.#vm?.off();
    if (this.stands === 'twinbeat') await this.#node.powerCut(); // drbdd has ended before, in good order
    this.stands = 'off';
  }

  /** Everything that the page has ended is ended: off in good order. */
  async shutDown(): Promise<void> {
    if (this.stands === 'twinbeat' && (await this.run('drbdsetup status')).status === 0)
      throw new Error(`${this.name}: drbdd still runs`);
    await this.#off();
  }

  /** Power cut. */
  async die(): Promise<void> {
    if (this.stands === 'kernel') await this.#vm?.cut();
    if (this.stands === 'twinbeat') await this.#node.powerCut();
    this.stands = 'off';
  }

  /** What an administrator types there. */
  async run(line: string): Promise<Said> {
    if (this.stands === 'kernel' && this.#vm !== null) return this.#vm.run(line);
    if (this.stands !== 'twinbeat') throw new Error(`${this.name} is off: ${line}`);
    const ran = await this.#node.exec(['sh', '-c', line], { timeoutMs: LIMIT_MS });
    return { status: ran.status, out: `${ran.stdout}${ran.stderr}` };
  }

  async must(line: string): Promise<string> {
    const { status, out } = await this.run(line);
    if (status !== 0) throw new Error(`${this.name}# ${line}: status ${status}\n${out}`);
    return out;
  }

  /** A command of the page, until it prints what it must; the last thing that it printed. */
  async do({ line, prints }: Command): Promise<string> {
    if (prints === null) return this.must(line);
    let out = '';
    const ready = async () => {
      out = (await this.must(line)).trim();
      return prints.test(out);
    };
    await until(ready, () => `${this.name}# ${line}: ${prints}; it says ${out}`, 100);
    return out;
  }

  /** For a failed test. */
  async report(): Promise<string> {
    if (this.stands === 'kernel') return this.#vm?.report() ?? '';
    if (this.stands === 'off') return 'off';
    const log = this.#node.log('drbdd');
    const tail = existsSync(log) ? `; tail -n 60 ${log}` : '';
    const line = `cat /run/twinbeat/proc/drbd${tail}`;
    return (await this.#node.exec(['sh', '-c', line], { timeoutMs: 10_000 })).stdout;
  }

  async remove(): Promise<void> {
    await this.#vm?.remove();
  }
}

export class MigrationPair {
  readonly nodes: Readonly<Record<NodeName, MigrationNode>>;
  readonly #pair: Pair;

  private constructor(pair: Pair) {
    this.#pair = pair;
    this.nodes = { alpha: new MigrationNode(pair, 0), beta: new MigrationNode(pair, 1) };
  }

  /** Both switched off, with empty disks. */
  static async create(): Promise<MigrationPair> {
    const files = { '/etc/drbd.conf': { text: conf(), mode: 0o644 } };
    const pair = await Pair.create({ names: ['alpha', 'beta'], diskMiB: DISK_MIB, files });
    for (const node of pair.nodes) await node.powerCut();
    return new MigrationPair(pair);
  }

  async both(todo: (node: MigrationNode) => Promise<unknown>): Promise<void> {
    await Promise.all(NODE_NAMES.map((name) => todo(this.nodes[name])));
  }

  async destroy(): Promise<void> {
    await this.both((node) => node.remove());
    await this.#pair.destroy();
  }
}
