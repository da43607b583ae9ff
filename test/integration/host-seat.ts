/**
 * A seat of a scenario taken by the programs of ours as they are installed: drbdd, drbdadm and drbdsetup as processes, with a root
 * directory and a host name of their own, on loop devices. Losing power is SIGKILL: what drbdd has not given to the kernel is gone.
 *
 * Commands are those of a node with /dev/drbd0, /dev/vda and so on; the paths are put in their place in the command, and back in
 * what it prints.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { command, succeed } from '../support/command.js';
import { freePort } from '../support/engines.js';
import { type Said, Shell, Shells } from '../support/shell.js';
import { until } from '../support/until.js';
import { DISKS_MIB, type DiskNumber, type Seat, type SeatName } from './kernel-seat.js';

const PROGRAMS = ['drbdd', 'drbdadm', 'drbdsetup', 'drbdmeta'] as const;
const DRIVER = 'DRBD_DRIVER_VERSION_OVERRIDE=8.4.11';
/** drbdmeta locks a file named after the minor: one that no other test takes. */
const META_MINOR = 700 + (process.pid % 200);
export const HOST_NEEDS = ['root', 'fuse', 'loop', 'unshare', 'losetup', 'drbdmeta'] as const;

export class HostSeat implements Seat {
  readonly kind = 'twinbeat';
  readonly port: number;
  readonly dir = mkdtempSync(join(tmpdir(), 'twinbeat-seat-'));
  readonly #root = join(this.dir, 'root');
  readonly #name: SeatName;
  readonly #shells: Shells;
  #loops: readonly string[] = [];
  #disk: DiskNumber = 0;
  #daemon: ChildProcess | null = null;

  private constructor(name: SeatName, port: number) {
    this.#name = name;
    this.port = port;
    const env = {
      ...process.env,
      TWINBEAT_ROOT: this.#root,
      PATH: `${join(this.dir, 'bin')}:${process.env['PATH'] ?? ''}`,
    };
    const own = ['--uts', 'sh', '-c', `hostname ${name} && exec sh`];
    this.#shells = new Shells(() => new Shell('unshare', own, env));
  }

  static async create(name: SeatName): Promise<HostSeat> {
    const seat = new HostSeat(name, await freePort());
    for (const at of ['etc/drbd.d', 'run', 'var/lib', 'dev'])
      mkdirSync(join(seat.#root, at), { recursive: true });
    mkdirSync(join(seat.dir, 'bin'));
    for (const program of PROGRAMS) {
      const script = fileURLToPath(new URL(`../../src/bin/${program}.js`, import.meta.url));
      const path = join(seat.dir, 'bin', program);
      writeFileSync(path, `#!/bin/sh\nexec '${process.execPath}' '${script}' "$@"\n`);
      chmodSync(path, 0o755);
    }
    writeFileSync(join(seat.#root, 'etc/drbd.conf'), 'include "drbd.d/*.res";\n');
    const loops: string[] = [];
    for (const [i, mib] of DISKS_MIB.entries()) {
      const image = join(seat.dir, `disk${i}.img`);
      writeFileSync(image, '');
      truncateSync(image, mib << 20);
      loops.push((await succeed('losetup', '-f', '--show', image)).trim());
      seat.#loops = loops;
    }
    await seat.powerOn();
    return seat;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }
  addressOf(port: number): string {
    return `127.0.0.1:${port}`;
  }
  get #loop(): string {
    return this.#loops[this.#disk] ?? '';
  }
  #places(): readonly (readonly [string, string])[] {
    return [
      ['/dev/drbd0', join(this.#root, 'dev/drbd0')],
      ['/proc/drbd', join(this.#root, 'run/twinbeat/proc/drbd')],
      ['/etc/drbd.d/', join(this.#root, 'etc/drbd.d/')],
      ['/dev/vda', this.#loop],
    ];
  }

  async begin(_name: SeatName, config: string, disk: DiskNumber): Promise<void> {
    await this.#shells.run('drbdsetup down r0');
    this.#disk = disk;
    await succeed(
      'dd',
      'if=/dev/zero',
      `of=${this.#loop}`,
      'bs=1M',
      `count=${DISKS_MIB[disk]}`,
      'oflag=direct',
    );
    let text = config.replace('/dev/drbd0', '/dev/DEVICE');
    for (const [from, to] of this.#places()) text = text.replaceAll(from, to);
    text = text.replace('/dev/DEVICE', '/dev/drbd0');
    writeFileSync(join(this.#root, 'etc/drbd.d/r0.res'), text);
  }

  async run(line: string): Promise<Said> {
    let words = line;
    for (const [from, to] of this.#places()) words = words.replaceAll(from, to);
    const said = await this.#shells.run(words);
    let out = said.out;
    for (const [from, to] of this.#places()) out = out.replaceAll(to, from);
    return { status: said.status, out };
  }

  async proc(): Promise<string> {
    try {
      return readFileSync(join(this.#root, 'run/twinbeat/proc/drbd'), 'utf8');
    } catch {
      return '';
    }
  }

  async powerOn(): Promise<void> {
    const words = `hostname ${this.#name} && exec '${join(this.dir, 'bin/drbdd')}' --log '${join(this.dir, 'log')}'`;
    this.#daemon = spawn('unshare', ['--uts', 'sh', '-c', words], {
      env: { ...process.env, TWINBEAT_ROOT: this.#root },
      stdio: 'ignore',
    });
    await until(
      () => this.#answers(),
      () => `drbdd does not answer\n${this.log}`,
      50,
    );
  }

  async #answers(): Promise<boolean> {
    return new Promise((done) => {
      const socket = connect(join(this.#root, 'run/twinbeat/drbdd.sock'));
      socket.on('error', () => done(false));
      socket.on('connect', () => {
        socket.destroy();
        done(true);
      });
    });
  }

  async #end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = null;
    if (daemon === null || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const ended = once(daemon, 'exit');
    daemon.kill(signal);
    await ended;
  }
  async powerOff(): Promise<void> {
    await this.#end('SIGKILL');
  }

  get #image(): string {
    return join(this.dir, `disk${this.#disk}.img`);
  }
  async grow(bytes: number): Promise<void> {
    truncateSync(this.#image, bytes);
    await succeed('losetup', '-c', this.#loop);
  }

  onDisk(lengthBytes: number): Uint8Array {
    const bytes = new Uint8Array(lengthBytes);
    const fd = openSync(this.#image, 'r');
    readSync(fd, bytes, 0, lengthBytes, 0);
    closeSync(fd);
    return bytes;
  }

  async meta(...args: readonly string[]): Promise<Said> {
    const all = ['--force', String(META_MINOR), 'v08', this.#loop, 'internal', ...args];
    const { code, stdout, stderr } = await command('env', DRIVER, 'drbdmeta', ...all);
    return { status: code ?? -1, out: `${stdout}${stderr}` };
  }

  get log(): string {
    const path = join(this.dir, 'log');
    return existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(-60).join('\n') : '';
  }
  async report(): Promise<string> {
    return `${await this.proc()}${this.log}`;
  }

  async remove(): Promise<void> {
    if (this.#daemon !== null) await this.#shells.run('drbdsetup down r0').catch(() => null);
    this.#shells.close();
    await this.#end('SIGTERM');
    for (const loop of this.#loops) await command('losetup', '-d', loop);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
