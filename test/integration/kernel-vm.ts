/**
 * A kernel's DRBD for the tests: one virtual machine of test/lab/kernel/lab, and in it one resource, r0, whose peer is a
 * node of ours on this machine. The kernel is 'probe', we are 'host'.
 *
 * The machine's network goes through QEMU: the kernel dials 10.0.3.2:ourPort and gets 127.0.0.1:ourPort here, we dial
 * 127.0.0.1:kernelPort and get its 7788. That port takes every call, also when nobody listens in the machine, and then
 * closes it: a node that believes in a first connection will find out here.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { freePort } from '../support/engines.js';
import { type Said, Shell, Shells } from '../support/shell.js';

const LAB = fileURLToPath(new URL('../../../test/lab/kernel/lab', import.meta.url));
export const KERNEL_NEEDS = [
  'qemu-system-x86_64',
  'socat',
  'dbclient',
  'dropbearkey',
  'cpio',
  'xz',
  'modprobe',
  'apt-get',
] as const;

/** Emulated, a machine with two cores to share may take this long for anything. */
const PATIENCE_S = 60;
/** Its drbdadm ends what takes longer, 5 s as delivered: too little on a machine that has ten other things to do. */
export const PATIENT_COMMANDS = 'cmd-timeout-short 120; cmd-timeout-medium 300;';
const DISK_MIB = 16;
export const DISK_BYTES = DISK_MIB << 20;

async function lab(args: readonly string[], input: string | Uint8Array = ''): Promise<string> {
  return labIn([], args, input);
}

/** With the words that put it into a network namespace, or none. */
async function labIn(
  inside: readonly string[],
  args: readonly string[],
  input: string | Uint8Array = '',
): Promise<string> {
  return new Promise((done, fail) => {
    const [program = LAB, ...rest] = [...inside, LAB, ...args];
    const child = execFile(program, rest, { maxBuffer: 16 << 20 }, (error, out, err) => {
      if (error) fail(new Error(`lab ${args.join(' ')}: ${error.message}\n${out}${err}`));
      else done(out);
    });
    child.stdin?.on('error', () => {}); // it ended without reading: its status says why
    child.stdin?.end(input);
  });
}

/** What r0.res says beside the addresses. */
export interface KernelConfig {
  readonly net?: string;
  readonly disk?: string;
}

/** A machine on a network of its own, with disks that are somebody's files. */
export interface MachinePlace {
  /** What to put before a command so that it runs in the network namespace that has the tap. */
  readonly inside: readonly string[];
  /** Its second card is plugged in there. */
  readonly tap: string;
  readonly images: readonly string[];
}

let machines = 0;

export class KernelVm {
  readonly name: string;
  readonly kernelPort: number; // here, leads to the kernel's 7788
  readonly ourPort: number;
  /** Paths of its disks' images on this machine: of /dev/vda, /dev/vdb and so on. */
  images: readonly string[] = [];
  readonly #disks: readonly string[];
  readonly #inside: readonly string[];
  readonly #wire: readonly string[];
  readonly #shells: Shells;

  private constructor(
    name: string,
    disksMiB: readonly number[],
    place: MachinePlace | null,
    kernelPort: number,
    ourPort: number,
  ) {
    this.name = name;
    this.kernelPort = kernelPort;
    this.ourPort = ourPort;
    this.#disks = place?.images ?? disksMiB.map((mib) => `${mib}M`);
    this.#inside = place?.inside ?? [];
    this.#wire = place ? ['--tap', place.tap] : ['--fwd', `${kernelPort}:7788`];
    const [program = LAB, ...rest] = [...this.#inside, LAB, 'exec', name, '--', 'sh'];
    this.#shells = new Shells(() => new Shell(program, rest));
  }

  static async start(
    disksMiB: readonly number[] = [DISK_MIB],
    place: MachinePlace | null = null,
  ): Promise<KernelVm> {
    machines++;
    const name = `probe-${process.pid}-${machines}`;
    const vm = new KernelVm(name, disksMiB, place, await freePort(), await freePort());
    // A test process that breaks down leaves no machine behind.
    process.once('exit', () => spawnSync(LAB, ['kill', vm.name], { stdio: 'ignore' }));
    await lab(['build']);
    await vm.boot(true);
    return vm;
  }

  /** Power on. The disk is what the last power cut left of it. */
  async boot(fresh = false): Promise<void> {
    const disks = this.#disks.flatMap((disk) => ['--disk', disk]);
    const options = ['--fio', ...disks, ...(fresh ? ['--fresh'] : []), ...this.#wire];
    const [program = LAB, ...rest] = [...this.#inside, LAB, 'up', this.name, ...options];
    // Its standard streams are not ours: the machine would hold them open.
    const child = spawn(program, rest, { stdio: 'ignore' });
    const status = await new Promise((done) => child.once('exit', done));
    if (status !== 0)
      throw new Error(`the machine did not start: ${await lab(['log', this.name])}`);
    const images = this.#disks.map((_, i) => lab(['disk', this.name, String(i)]));
    this.images = (await Promise.all(images)).map((path) => path.trim());
    await this.sh('hostname probe');
    await this.file(
      '/etc/drbd.d/global_common.conf',
      `global { usage-count no; ${PATIENT_COMMANDS} }\ncommon { }\n`,
    );
  }

  /** Power cut. */
  async cut(): Promise<void> {
    await lab(['kill', this.name]);
    this.#shells.close();
  }

  /** Shut down in good order. */
  async off(): Promise<void> {
    this.#shells.close();
    await labIn(this.#inside, ['down', this.name]);
  }

  async cable(to: 'up' | 'down'): Promise<void> {
    await lab(['cable', this.name, to]);
  }

  /** A disk is made larger under the running machine. */
  async grow(bytes: number, disk = 0): Promise<void> {
    await lab(['monitor', this.name, `block_resize d${disk} ${bytes}B`]);
    const device = `vd${'abcdefgh'[disk]}`;
    await this.sh(
      `n=0; until [ $(cat /sys/block/${device}/size) -eq ${bytes / 512} ]; do n=$((n+1)); [ $n -lt 300 ] || exit 9; sleep 0.1; done`,
    );
  }

  async remove(): Promise<void> {
    this.#shells.close();
    await lab(['kill', this.name]).catch(() => '');
    await lab(['down', this.name, '--wipe']);
  }

  /** A shell command in the machine, however it ends. */
  async run(command: string): Promise<Said> {
    return this.#shells.run(command);
  }

  /** What a shell command in the machine prints. Fails as the command does. */
  async sh(command: string): Promise<string> {
    const { status, out } = await this.run(command);
    if (status !== 0) throw new Error(`${this.name}: ${command}: status ${status}\n${out}`);
    return out;
  }

  /** A text file of its own root directory. */
  async file(path: string, text: string): Promise<void> {
    const end = 'END-OF-THE-FILE';
    await this.sh(`cat >${path} <<'${end}'\n${text}${text.endsWith('\n') ? '' : '\n'}${end}`);
  }

  /** Writes one request after the other, past the page cache. */
  async write(
    device: string,
    offsetBytes: number,
    requestBytes: number,
    bytes: Uint8Array,
  ): Promise<void> {
    const count = bytes.length / requestBytes;
    await labIn(
      this.#inside,
      [
        ...['exec', this.name, '--', 'sh', '-c'],
        `cat >/tmp/data && dd if=/tmp/data of=${device} bs=${requestBytes} count=${count} oflag=direct,seek_bytes seek=${offsetBytes} 2>&1`,
      ],
      bytes,
    );
  }

  async configure(config: KernelConfig = {}): Promise<void> {
    await this.file(
      '/etc/drbd.d/r0.res',
      `resource r0 {
        device /dev/drbd0;
        disk /dev/vda;
        meta-disk internal;
        disk { c-plan-ahead 0; c-min-rate 0; resync-rate 1000M; ${config.disk ?? ''} }
        net { connect-int 1; ping-timeout 100; socket-check-timeout 3; timeout 100; ping-int 11; ${config.net ?? ''} }
        on probe { address 10.0.3.15:7788; }
        on host { address 10.0.3.2:${this.ourPort}; }
      }
`,
    );
  }

  /** As it is delivered: empty meta-data, nothing configured. */
  async fresh(config: KernelConfig = {}): Promise<void> {
    await this.sh('drbdsetup down r0 2>/dev/null; dmesg -c >/dev/null; true');
    await this.configure(config);
    await this.sh(
      'drbdadm create-md --force r0 2>&1 && drbdsetup new-resource r0 && drbdsetup new-minor r0 0 0 && drbdadm attach r0',
    );
  }

  async proc(): Promise<string> {
    return this.sh('cat /proc/drbd');
  }

  /** Waits until its status line reads so. */
  async until(pattern: string): Promise<void> {
    const tries = PATIENCE_S * 10;
    await this.sh(
      `n=0; until grep -qE '${pattern}' /proc/drbd; do n=$((n+1)); [ $n -lt ${tries} ] || exit 9; sleep 0.1; done`,
    ).catch(async (error: unknown) => {
      throw new Error(`kernel: not ${pattern}\n${await this.report()}`, { cause: error });
    });
  }

  /** What there is to be known about it. */
  async report(): Promise<string> {
    return this.sh('cat /proc/drbd; dmesg | tail -n 60');
  }

  /** Its disk as it is now. The machine writes through to the image's pages, which this reads. */
  onDisk(sector: number, lengthBytes: number, disk = 0): Uint8Array {
    const bytes = new Uint8Array(lengthBytes);
    const fd = openSync(this.images[disk] ?? '', 'r');
    readSync(fd, bytes, 0, lengthBytes, sector * 512);
    closeSync(fd);
    return bytes;
  }
}
