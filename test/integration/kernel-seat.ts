/**
 * A pair for scenarios: two seats, alice and bob, each taken by a kernel's DRBD in a virtual machine or by the real programs of
 * ours on this machine (host-seat.ts). A scenario does not know which: it gives shell commands in the words of the originals and
 * looks at /proc/drbd, at the two disks and, when all is over, at the meta-data through Debian's drbdmeta.
 *
 * Whatever goes from one seat to the other passes a tap, one for each direction of dialing, which may lower the protocol version.
 */
import { NEWEST, Tap } from '../lab/kernel/tap.js';
import type { Said } from '../support/shell.js';
import { until } from '../support/until.js';
import type { KernelVm } from './kernel-vm.js';

/** A whole resync may be waited for, on a machine that emulates at a tenth of its speed. */
const PATIENCE_MS = 300_000;

export type SeatName = 'alice' | 'bob';
export const SEATS: readonly SeatName[] = ['alice', 'bob'];

/** Sizes of the disks that each seat has; the resource is on one of them. */
export const DISKS_MIB = [4, 64, 16] as const;
export type DiskNumber = 0 | 1 | 2;

export interface Seat {
  readonly kind: 'kernel' | 'twinbeat';
  /** Where DRBD listens, as its own configuration calls it, and the port of this machine that leads there. */
  readonly address: string;
  readonly port: number;
  /** What its configuration calls a port of this machine. */
  addressOf(port: number): string;
  /** Nothing configured any more, the disk zeroed, this configuration in place. */
  begin(name: SeatName, config: string, disk: DiskNumber): Promise<void>;
  /** A shell command in the words of a node with /dev/drbd0, /dev/vda, /proc/drbd and /etc/drbd.d/r0.res. */
  run(command: string): Promise<Said>;
  proc(): Promise<string>;
  powerOff(): Promise<void>;
  powerOn(): Promise<void>;
  /** The disk in use becomes so large, under whoever uses it. */
  grow(bytes: number): Promise<void>;
  /** Data and meta-data, as they are on the disk now. */
  onDisk(lengthBytes: number): Uint8Array;
  /** Debian's drbdmeta on the disk of a resource that is down. */
  meta(...args: readonly string[]): Promise<Said>;
  /** For a failed test. */
  report(): Promise<string>;
  remove(): Promise<void>;
}

/** One volume's line of /proc/drbd and how much is out of sync, or '-' where nothing is configured. */
export function lineOf(proc: string): string {
  const found = /^ *0: (cs:.*?) *\n(?:.*\n)*?.*\boos:(\d+)/m.exec(proc);
  return found === null ? '-' : `${found[1]} oos:${found[2]}`;
}

export interface ResourceOptions {
  readonly net: string;
  readonly disk: string;
}

export class SeatPair {
  readonly seats: Readonly<Record<SeatName, Seat>>;
  readonly #taps: Readonly<Record<SeatName, Tap>>; // leads to that seat

  private constructor(seats: Record<SeatName, Seat>, taps: Record<SeatName, Tap>) {
    this.seats = seats;
    this.#taps = taps;
  }

  static async of(alice: Seat, bob: Seat): Promise<SeatPair> {
    const taps = { alice: await Tap.before(alice.port), bob: await Tap.before(bob.port) };
    return new SeatPair({ alice, bob }, taps);
  }

  /** Both as they are delivered, and the wire at its newest unless said otherwise. */
  async begin(options: ResourceOptions, disk: DiskNumber, protocolMax = 101): Promise<void> {
    // The programs that spoke versions below 100 knew no features.
    const features = protocolMax < 100 ? 0 : NEWEST.features;
    for (const name of SEATS) this.#taps[name].dialect = { protocolMax, features };
    await Promise.all(
      SEATS.map((name) => this.seats[name].begin(name, this.#config(name, options), disk)),
    );
  }

  #config(own: SeatName, options: ResourceOptions): string {
    const on = (name: SeatName): string => {
      const seat = this.seats[own];
      const address = name === own ? seat.address : seat.addressOf(this.#taps[name].port);
      return `on ${name} { address ${address}; }`;
    };
    return `resource r0 {
  device /dev/drbd0;
  disk /dev/vda;
  meta-disk internal;
  net { ${options.net} }
  disk { ${options.disk} }
  ${on('alice')}
  ${on('bob')}
}
`;
  }

  async line(name: SeatName): Promise<string> {
    return lineOf(await this.seats[name].proc());
  }

  async until(name: SeatName, pattern: RegExp): Promise<void> {
    let line = '';
    const ready = async () => {
      line = await this.line(name);
      return pattern.test(line);
    };
    await until(ready, () => `${name} ${pattern}; it is ${line}`, 30, PATIENCE_MS);
  }

  /** Both at once, so that the two lines belong together. */
  async lines(): Promise<Readonly<Record<SeatName, string>>> {
    const [alice, bob] = await Promise.all([this.line('alice'), this.line('bob')]);
    return { alice, bob };
  }

  /** Both connections break, and can be made again. */
  reset(): void {
    for (const name of SEATS) this.#taps[name].reset();
  }

  close(): void {
    for (const name of SEATS) this.#taps[name].close();
  }
}

/** A kernel's DRBD in a machine of its own. */
export class KernelSeat implements Seat {
  readonly kind = 'kernel';
  readonly address = '10.0.3.15:7788';
  readonly vm: KernelVm;
  #name: SeatName = 'alice';
  #config = '';
  #disk: DiskNumber = 0;

  constructor(vm: KernelVm) {
    this.vm = vm;
  }

  get port(): number {
    return this.vm.kernelPort;
  }
  addressOf(port: number): string {
    return `10.0.3.2:${port}`;
  }
  get #device(): string {
    return ['/dev/vda', '/dev/vdb', '/dev/vdc'][this.#disk] ?? '';
  }
  #words(text: string): string {
    return text.replaceAll('/dev/vda', this.#device);
  }

  async begin(name: SeatName, config: string, disk: DiskNumber): Promise<void> {
    this.#name = name;
    this.#config = config;
    this.#disk = disk;
    await this.vm.cable('up');
    await this.vm.sh(
      `drbdsetup down r0 2>/dev/null; dmesg -c >/dev/null; dd if=/dev/zero of=${this.#device} bs=1M 2>/dev/null; true`,
    );
    await this.#configure();
  }

  async #configure(): Promise<void> {
    await this.vm.sh(`hostname ${this.#name}`);
    await this.vm.file('/etc/drbd.d/r0.res', this.#words(this.#config));
  }

  async run(command: string): Promise<Said> {
    return this.vm.run(this.#words(command));
  }
  async proc(): Promise<string> {
    return this.vm.proc();
  }

  async powerOff(): Promise<void> {
    await this.vm.cut();
  }
  async powerOn(): Promise<void> {
    await this.vm.boot();
    await this.#configure();
  }

  async grow(bytes: number): Promise<void> {
    await this.vm.grow(bytes, this.#disk);
  }
  onDisk(lengthBytes: number): Uint8Array {
    return this.vm.onDisk(0, lengthBytes, this.#disk);
  }
  async meta(...args: readonly string[]): Promise<Said> {
    return this.vm.run(`drbdmeta --force 0 v08 ${this.#device} internal ${args.join(' ')}`);
  }
  async report(): Promise<string> {
    return this.vm.report();
  }
  async remove(): Promise<void> {
    await this.vm.remove();
  }
}
