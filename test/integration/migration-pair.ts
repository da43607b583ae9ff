/**
 * Two nodes that change their program: at any time each is a virtual machine whose kernel has DRBD, or a node of ours in namespaces
 * of this machine (src/cli/pair.ts), and between the two it is switched off. What stays when it changes is what stays in a machine that
 * gets another program: its disk (one file, attached as it is), its address and hardware address on the same bridge, its name, and
 * drbd.conf, of which there is one text for both nodes and both programs.
 */
import { existsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_PAIR, Pair, PROJECT } from '../../src/cli/pair.js';
import { nodeAddress } from '../../src/cli/pair-cable.js';
import { drbdConf } from '../../src/cli/pair-config.js';
import { attachLoop, detachLoop } from '../../src/cli/pair-loops.js';
import { LOWER_DISK, type PairNode } from '../../src/cli/pair-node.js';
import { type Command, NODE_NAMES, type NodeName, type Stands } from '../support/migration-page.js';
import type { Said } from '../support/shell.js';
import { until } from '../support/until.js';
import { KernelVm, PATIENT_COMMANDS } from './kernel-vm.js';

export const MIGRATION_NEEDS = ['root', 'loop', 'netns', 'fuse', 'ip', 'nsenter', '/dev/net/tun'];
export const DISK_MIB = 32;
export const SRV = '/srv';
const LIMIT_MS = 120_000; // nothing here takes that long on a sound machine

/** How the nodes reach each other, and what they have. */
export interface Wiring {
  readonly net: 'ipv4' | 'ipv6' | 'link-local';
  readonly volumes: 1 | 2;
  /** More lines of the resource. */
  readonly more: string;
}
const USUAL: Wiring = { net: 'ipv4', volumes: 1, more: '' };
export const SECOND_DISK = '/dev/sdc1';

/** On eth1 of both, which has no address of the kernel's own choice that is known. */
const ADDRESSES = {
  ipv4: [`${nodeAddress('link', 0)}/24`, `${nodeAddress('link', 1)}/24`],
  ipv6: ['fd77::1/64', 'fd77::2/64'],
  'link-local': ['fe80::77:1/64', 'fe80::77:2/64'],
} as const;

/** As drbd.conf writes the address of a node. */
export function confAddress(net: Wiring['net'], index: 0 | 1): string {
  const bare = ADDRESSES[net][index].replace(/\/.*/, '');
  if (net === 'ipv4') return `${bare}:7788`;
  return `ipv6 [${bare}${net === 'link-local' ? '%eth1' : ''}]:7788`;
}

/** The emulated machine is slow to answer, and the writing client must not hold up a resync. */
function conf({ net, volumes, more }: Wiring): string {
  const startup = 'startup { wfc-timeout 60; degr-wfc-timeout 60; outdated-wfc-timeout 60; }';
  let text = drbdConf(['alpha', 'beta'])
    .replace('usage-count no;', `usage-count no; ${PATIENT_COMMANDS}`)
    .replace(/ping-int 2;.*/, 'ping-int 1;\n        ping-timeout 60;\n        timeout 40;')
    .replace('connect-int 3;', 'connect-int 1;\n        socket-check-timeout 2;')
    .replace('c-max-rate 500M;', 'c-plan-ahead 0;\n        c-min-rate 0;')
    .replace('    disk {', `    ${startup}\n    ${more}\n    disk {`);
  for (const index of [0, 1] as const)
    text = text.replace(`${nodeAddress('link', index)}:7788`, confAddress(net, index));
  if (volumes === 1) return text;
  const one = / {4}device .*\n {4}disk .*\n {4}meta-disk .*\n/.exec(text)?.[0];
  if (one === undefined) throw new Error('no volume');
  const second = one
    .replace('/dev/drbd0 minor 0', '/dev/drbd1 minor 1')
    .replace(LOWER_DISK, SECOND_DISK);
  return text.replace(one, `    volume 0 {\n${one}    }\n    volume 1 {\n${second}    }\n`);
}

export class MigrationNode {
  readonly name: NodeName;
  stands: Stands = 'off';
  readonly #pair: Pair;
  readonly #index: 0 | 1;
  readonly #wiring: Wiring;
  #second: { readonly device: string; readonly minor: number } | null = null;
  #vm: KernelVm | null = null;

  constructor(pair: Pair, index: 0 | 1, wiring: Wiring) {
    this.#pair = pair;
    this.#index = index;
    this.#wiring = wiring;
    this.name = index === 0 ? 'alpha' : 'beta';
  }

  async attachSecondDisk(): Promise<void> {
    writeFileSync(this.secondImage, '');
    truncateSync(this.secondImage, DISK_MIB << 20);
    this.#second = await attachLoop(this.secondImage);
  }

  get #node(): PairNode {
    return this.#pair.node(this.#index);
  }
  get image(): string {
    return join(this.#node.dir, 'disk.img');
  }
  get secondImage(): string {
    return join(this.#node.dir, 'second.img');
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
    if (this.#second !== null)
      await this.#node.must(['mknod', SECOND_DISK, 'b', '7', String(this.#second.minor)]);
    if (this.#wiring.net !== 'ipv4')
      await this.#node.must(['ip', 'addr', 'add', this.#address, 'dev', 'eth1', 'nodad']);
  }
  get #address(): string {
    return ADDRESSES[this.#wiring.net][this.#index];
  }

  async #bootKernel(): Promise<void> {
    const tap = `t-link${this.#index}`;
    const { cable } = this.#pair;
    if (this.#vm === null) {
      const add = `ip tuntap add dev ${tap} mode tap && ip link set ${tap} master br-link up`;
      const ran = await cable.exec(['sh', '-c', add]);
      if (ran.status !== 0) throw new Error(ran.stderr);
      const images = this.#second === null ? [this.image] : [this.image, this.secondImage];
      const inside = ['nsenter', '--target', String(cable.first.pid), '--net', '--'];
      this.#vm = await KernelVm.start([], { inside, tap, images });
    } else await this.#vm.boot();
    await this.#vm.file('/etc/drbd.conf', conf(this.#wiring));
    await this.#vm.sh(`hostname ${this.name}
      node() { IFS=: read -r major minor </sys/block/$1/dev && mknod $2 b $major $minor; }
      node vda ${LOWER_DISK}${this.#second === null ? '' : ` && node vdb ${SECOND_DISK}`}
      ip addr flush dev eth1 && ip link set eth1 down
      ip link set eth1 address 02:77:00:00:01:0${this.#index + 1} && ip link set eth1 up
      ip addr add ${this.#address} dev eth1${this.#wiring.net === 'ipv4' ? '' : ' nodad'}
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
    await this.#node.powerCut();
    if (this.#second !== null)
      await detachLoop({ device: this.#second.device, backFile: this.secondImage });
  }
}

export class MigrationPair {
  readonly nodes: Readonly<Record<NodeName, MigrationNode>>;
  readonly #pair: Pair;

  private constructor(pair: Pair, wiring: Wiring) {
    this.#pair = pair;
    this.nodes = {
      alpha: new MigrationNode(pair, 0, wiring),
      beta: new MigrationNode(pair, 1, wiring),
    };
  }

  /** Both switched off, with empty disks. */
  static async create(given: Partial<Wiring> = {}): Promise<MigrationPair> {
    const wiring = { ...USUAL, ...given };
    const files = { '/etc/drbd.conf': { text: conf(wiring), mode: 0o644 } };
    const pair = await Pair.create({ names: ['alpha', 'beta'], diskMiB: DISK_MIB, files });
    for (const node of pair.nodes) await node.powerCut();
    const whole = new MigrationPair(pair, wiring);
    if (wiring.volumes === 2) await whole.both((node) => node.attachSecondDisk());
    return whole;
  }

  async both(todo: (node: MigrationNode) => Promise<unknown>): Promise<void> {
    await Promise.all(NODE_NAMES.map((name) => todo(this.nodes[name])));
  }

  async destroy(): Promise<void> {
    await this.both((node) => node.remove());
    await this.#pair.destroy();
  }
}
