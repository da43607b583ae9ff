/**
 * The programs beside a kernel: drbdadm and drbdd here, the kernel's DRBD in a virtual machine, one ext4 that moves from one to the
 * other and back. drbdd is killed under load; afterwards Debian's own drbdmeta reads what it left.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { command, succeed } from '../support/command.js';
import { need } from '../support/need.js';
import { KERNEL_NEEDS, KernelVm } from './kernel-vm.js';

const program = (name: string): string =>
  fileURLToPath(new URL(`../../src/bin/${name}.js`, import.meta.url));
const NEEDS = [
  ...KERNEL_NEEDS,
  'root',
  'fuse',
  'loop',
  'unshare',
  'losetup',
  'mkfs.ext4',
  'fio',
  'drbdmeta',
];
const NET = 'cram-hmac-alg sha1; shared-secret "twinbeat-secret";';
const DRIVER = 'DRBD_DRIVER_VERSION_OVERRIDE=8.4.11';
const PATIENCE_MS = 60_000;
const DISK_BYTES = 16 << 20;

/** Our node: its own root directory and host name, the machine's network. */
class Host {
  readonly vm: KernelVm;
  readonly dir = mkdtempSync(join(tmpdir(), 'twinbeat-daemon-'));
  readonly root = join(this.dir, 'root');
  readonly image = join(this.dir, 'disk.img');
  readonly mountPoint = join(this.dir, 'mnt');
  loop = '';

  constructor(vm: KernelVm) {
    this.vm = vm;
  }

  static async create(t: ExecutionContext, vm: KernelVm): Promise<Host> {
    const host = new Host(vm);
    for (const at of ['etc/drbd.d', 'run', 'var/lib', 'dev'])
      mkdirSync(join(host.root, at), { recursive: true });
    mkdirSync(host.mountPoint);
    writeFileSync(host.image, '');
    truncateSync(host.image, DISK_BYTES);
    t.teardown(() => host.#cleanUp());
    host.loop = (await succeed('losetup', '-f', '--show', host.image)).trim();
    writeFileSync(join(host.root, 'etc/drbd.conf'), 'include "drbd.d/*.res";\n');
    writeFileSync(
      join(host.root, 'etc/drbd.d/r0.res'),
      `resource r0 {
        device /dev/drbd0;
        meta-disk internal;
        disk { c-plan-ahead 0; c-min-rate 0; resync-rate 1000M; }
        net { connect-int 1; ping-timeout 100; socket-check-timeout 3; timeout 100; ping-int 11; ${NET} }
        on probe { disk /dev/vda; address 127.0.0.1:${vm.kernelPort}; }
        on host { disk ${host.loop}; address 127.0.0.1:${vm.ourPort}; }
      }
`,
    );
    return host;
  }

  get #env() {
    return { ...process.env, TWINBEAT_ROOT: this.root };
  }
  #inside(name: string, args: readonly string[]): [string, string[]] {
    const line = 'hostname host && exec "$@"';
    return ['unshare', ['--uts', 'sh', '-c', line, 'sh', process.execPath, program(name), ...args]];
  }

  /** Starts drbdd and waits until it listens. */
  async daemon(): Promise<void> {
    const [file, args] = this.#inside('drbdd', ['--log', join(this.dir, 'log')]);
    spawn(file, args, { env: this.#env, stdio: 'ignore' });
    const lastMs = Date.now() + PATIENCE_MS;
    while (!(await this.#answers())) {
      if (Date.now() > lastMs) throw new Error(`drbdd does not answer\n${this.log}`);
      await sleep(100);
    }
  }

  async #answers(): Promise<boolean> {
    return new Promise((done) => {
      const socket = connect(join(this.root, 'run/twinbeat/drbdd.sock'));
      socket.on('error', () => done(false));
      socket.on('connect', () => {
        socket.destroy();
        done(true);
      });
    });
  }

  get #pid(): number {
    return Number(readFileSync(join(this.root, 'run/twinbeat/drbdd.pid'), 'utf8'));
  }
  kill(): void {
    process.kill(this.#pid, 'SIGKILL');
  }

  async adm(...args: string[]): Promise<string> {
    const [file, all] = this.#inside('drbdadm', args);
    const child = spawn(file, all, { env: this.#env, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    child.stdout.on('data', (d: Buffer) => (out += d.toString()));
    child.stderr.on('data', (d: Buffer) => (out += d.toString()));
    const [status] = await once(child, 'close');
    if (status !== 0)
      throw new Error(`drbdadm ${args.join(' ')}: status ${status}\n${out}${this.log}`);
    return out;
  }

  get log(): string {
    try {
      return readFileSync(join(this.dir, 'log'), 'utf8').split('\n').slice(-40).join('\n');
    } catch {
      return '';
    }
  }
  get device(): string {
    return realpathSync(join(this.root, 'dev/drbd0'));
  }
  proc(): string {
    return readFileSync(join(this.root, 'run/twinbeat/proc/drbd'), 'utf8');
  }

  async settled(): Promise<void> {
    const done = /cs:Connected .* ds:UpToDate\/UpToDate/;
    const lastMs = Date.now() + PATIENCE_MS;
    while (!done.test(this.proc())) {
      if (Date.now() > lastMs) throw new Error(`${this.proc()}${this.log}`);
      await sleep(100);
    }
    await this.vm.until('cs:Connected .* ds:UpToDate/UpToDate');
  }

  async mount(): Promise<void> {
    await succeed('mount', '-t', 'ext4', this.device, this.mountPoint);
  }
  async unmount(): Promise<void> {
    await succeed('umount', this.mountPoint);
  }

  same(t: ExecutionContext): void {
    const bytes = Number(/oos:0/.test(this.proc())) && DISK_BYTES - (64 << 10); // below all meta-data
    t.true(bytes > 0);
    const ours = readFileSync(this.image).subarray(0, bytes);
    t.is(Buffer.compare(ours, this.vm.onDisk(0, bytes)), 0);
  }

  async #cleanUp(): Promise<void> {
    await command('umount', '-l', this.mountPoint);
    await this.adm('down', 'r0').catch(() => '');
    try {
      process.kill(this.#pid, 'SIGTERM');
      const lastMs = Date.now() + 10_000;
      while (Date.now() < lastMs && process.kill(this.#pid, 0)) await sleep(50);
      process.kill(this.#pid, 'SIGKILL');
    } catch {} // it is gone
    await command('losetup', '-d', this.loop);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

test('a file system moves from drbdd to a kernel and back, and drbdd is killed under it', async (t) => {
  if (!need(t, ...NEEDS)) return;
  const vm = await KernelVm.start();
  t.teardown(() => vm.remove());
  const host = await Host.create(t, vm);
  await vm.fresh({ net: NET });
  await vm.sh('drbdadm connect r0 && modprobe ext4');
  await host.daemon();
  await host.adm('create-md', '--force', 'r0');
  await host.adm('up', 'r0');
  await host.adm('primary', '--force', 'r0');
  await host.settled();
  host.same(t);

  await succeed('mkfs.ext4', '-q', host.device);
  await host.mount();
  writeFileSync(join(host.mountPoint, 'ours'), 'written by us\n');
  await host.unmount();
  await host.adm('secondary', 'r0');
  await vm.sh('drbdadm primary r0 && mount -t ext4 /dev/drbd0 /mnt');
  t.is(await vm.sh('cat /mnt/ours && rm /mnt/ours'), 'written by us\n');
  await vm.sh('echo written by the kernel >/mnt/theirs && umount /mnt && drbdadm secondary r0');
  await host.adm('primary', 'r0');
  await host.mount();
  t.is(readFileSync(join(host.mountPoint, 'theirs'), 'utf8'), 'written by the kernel\n');
  host.same(t);

  const args = [
    '--name=x',
    `--directory=${host.mountPoint}`,
    '--size=4m',
    '--rw=randwrite',
    '--bs=4k',
  ];
  const load = command('fio', ...args, '--direct=1', '--fsync=4', '--time_based', '--runtime=60');
  await vm.until(' nr:[0-9]{5,}');
  host.kill();
  await succeed('umount', '-l', host.mountPoint);
  await load;
  await vm.until('cs:WFConnection');
  await host.daemon();
  await host.adm('up', 'r0');
  await host.settled();
  host.same(t);
  await host.adm('primary', 'r0');
  t.true(((await command('e2fsck', '-fp', host.device)).code ?? 9) <= 1); // 1: its journal was replayed
  await succeed('e2fsck', '-fn', host.device);
  host.same(t);

  await host.adm('secondary', 'r0');
  await host.adm('down', 'r0');
  await command(
    'env',
    DRIVER,
    'drbdmeta',
    '--force',
    '0',
    'v08',
    host.loop,
    'internal',
    'apply-al',
  );
  const dump = await succeed(
    'env',
    DRIVER,
    'drbdmeta',
    '0',
    'v08',
    host.loop,
    'internal',
    'dump-md',
  );
  t.regex(dump, /version "v08"/);
  t.regex(dump, /# bits-set 0;/);
});
