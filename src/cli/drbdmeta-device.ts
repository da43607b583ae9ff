/**
 * The device that holds meta-data, as drbdmeta sees it: opened, measured, its superblock found, its parts read and
 * written. Every write is checked to lie inside the meta-data area, and nothing counts as done before `sync`.
 *
 * Source: docs/METADATA.md sections 6 and 7. Plain files are accepted as well as block devices.
 */
import {
  closeSync,
  constants as fsc,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs';
import { InvariantError } from '../base/assert.js';
import { encodeRing } from '../md/apply-al.js';
import {
  isRefused,
  layoutOfDevice,
  layoutOfSuperblock,
  type MetaIndex,
  type MetaLayout,
  SLOT_SECTORS,
  type Striping,
  superblockSector,
  usableSectors,
} from '../md/layout.js';
import {
  decodeSuperblock,
  encodeSuperblock,
  MAGIC_UNCLEAN,
  MAGIC_V08,
  SUPERBLOCK_BYTES,
  type Superblock,
  wrongLayout,
} from '../md/superblock.js';
import { ioctl, ioctlBuffer } from '../real/ioctl.js';
import { LastKnown } from './drbdmeta-last-known.js';
import type { World } from './world.js';

/** Ends the program; what there is to say has been written. */
export class Exit extends Error {
  override name = 'Exit';
  readonly status: number;
  constructor(status: number) {
    super(`exit ${status}`);
    this.status = status;
  }
}

export interface Options {
  readonly force: boolean;
  readonly ignoreSanityChecks: boolean;
  readonly verbose: number;
  readonly peerMaxBioBytes: number;
  readonly striping: Striping | null; // given on the command line
}

/** One call of drbdmeta. */
export interface Call {
  readonly world: World;
  readonly options: Options;
  readonly minor: number; // -1: "-"
  readonly device: string;
  readonly index: MetaIndex;
  readonly command: string;
  readonly args: readonly string[];
  readonly commandLine: string; // for the header of a dump
}

/** Ask on standard error; only `yes` is yes. */
export async function confirmed(call: Call, question: string): Promise<boolean> {
  const { world } = call;
  world.err(`\n${question}\n`);
  if (call.options.force) {
    world.err('*** confirmation forced via --force option ***\n');
    return true;
  }
  if (!world.stdin.isTTY) {
    world.err('stdin not a TTY, not waiting for confirmation\n');
    return false;
  }
  world.err("[need to type 'yes' to confirm] ");
  const answer = await world.stdin.readLine();
  world.err('\n');
  return answer === 'yes';
}

/** Less than this is refused: as much is read to look for existing data. */
const MIN_BYTES = 68 * 1024;

/** `moved`: valid internal meta-data where it was before the device grew. */
export interface Found {
  readonly where: 'here' | 'moved';
  readonly superblock: Superblock;
  readonly layout: MetaLayout;
}

export class MetaDevice {
  readonly #call: Call;
  readonly #fd: number;
  readonly sizeBytes: number;
  readonly superblockSector: number;
  readonly lastKnown: LastKnown;

  private constructor(call: Call, fd: number, sizeBytes: number) {
    this.#call = call;
    this.#fd = fd;
    this.sizeBytes = sizeBytes;
    this.superblockSector = placeOf(call.index, this.sizeSectors);
    this.lastKnown = new LastKnown(call);
  }

  /** `write`: exclusively, so that a device in use is not touched. Indexed meta-data devices are shared. */
  static async open(call: Call, write: boolean): Promise<MetaDevice> {
    const { world, device } = call;
    let flags = write ? fsc.O_RDWR : fsc.O_RDONLY;
    if (write && typeof call.index !== 'number') flags |= fsc.O_EXCL;
    for (;;) {
      let fd: number;
      try {
        fd = openSync(device, flags);
      } catch (e) {
        const error = e as NodeJS.ErrnoException;
        world.err(`open(${device}) failed: ${reason(error)}\n`);
        if (error.code !== 'EBUSY' || (flags & fsc.O_EXCL) === 0) throw new Exit(20);
        // apply-al runs before every attach: nobody is asked there.
        const mayAsk = call.options.force || call.command !== 'apply-al';
        if (!mayAsk || !(await confirmed(call, 'Exclusive open failed. Do it anyways?'))) {
          world.out('Operation canceled.\n');
          throw new Exit(20);
        }
        flags &= ~fsc.O_EXCL;
        continue;
      }
      try {
        return MetaDevice.#measured(call, fd);
      } catch (e) {
        closeSync(fd);
        throw e;
      }
    }
  }

  static #measured(call: Call, fd: number): MetaDevice {
    const { world, device } = call;
    const stat = fstatSync(fd);
    if (!stat.isBlockDevice() && !stat.isFile()) {
      world.err(`'${device}' is not a block device!\n`);
      throw new Exit(20);
    }
    const d = new MetaDevice(call, fd, stat.isFile() ? stat.size : blockDeviceBytes(fd));
    if (d.sizeBytes < MIN_BYTES) {
      world.err(`${device} is only ${d.sizeBytes} bytes. That's not enough.\n`);
      throw new Exit(10);
    }
    if (d.superblockSector < 0) {
      const at = typeof call.index === 'number' ? call.index * 2 ** 27 : 0;
      world.err(
        'Device too small: expecting meta data block at\n' +
          `byte offset ${at}, but ${device} is only ${d.sizeBytes} bytes.\n`,
      );
      throw new Exit(10);
    }
    return d;
  }

  get sizeSectors(): number {
    return Math.floor(this.sizeBytes / 512);
  }

  /** The layout that create-md makes here. */
  freshLayout(striping: Striping): MetaLayout {
    const layout = layoutOfDevice(this.#call.index, this.sizeSectors, striping);
    if (!isRefused(layout)) return layout;
    this.#call.world.err(`${layout.text}\n`);
    throw new Exit(10);
  }

  /** Valid meta-data at its place, or where it was before the device grew; null when there is none. */
  find(): Found | null {
    return this.#findAt(this.superblockSector, this.sizeSectors, 'here') ?? this.#findMoved();
  }

  #findAt(at: number, capacitySectors: number, where: Found['where']): Found | null {
    const superblock = decodeSuperblock(this.read(at * 512, SUPERBLOCK_BYTES));
    if (superblock.magic !== MAGIC_V08 && superblock.magic !== MAGIC_UNCLEAN) {
      if (where === 'here') this.verbosely('v08 Magic number not found');
      return null;
    }
    const wrong = wrongLayout(superblock, this.#call.index, at, capacitySectors);
    if (wrong !== null) {
      this.#call.world.err(`${wrong}\n`);
      return null;
    }
    const layout = layoutOfSuperblock(superblock, this.#call.index, at);
    return { where, superblock: this.clipped(layout, superblock), layout };
  }

  /** With --verbose: what was looked for and is not there. */
  verbosely(text: string): void {
    const { world, options } = this.#call;
    if (options.verbose > 0) world.err(`${text}\n`);
  }

  /** The last agreed size cannot exceed what the meta-data can describe and leaves room for. */
  clipped<T extends { readonly laSizeSectors: number }>(layout: MetaLayout, sb: T): T {
    const { world, index } = this.#call;
    // The size of the data device of external meta-data is not known here.
    const capacity = index === 'internal' ? this.sizeSectors : Number.MAX_SAFE_INTEGER;
    const usable = usableSectors(layout, capacity);
    if (sb.laSizeSectors <= usable) return sb;
    world.out(`# la-size-sect was too big (${sb.laSizeSectors}), truncated (${usable})!\n`);
    return { ...sb, laSizeSectors: usable };
  }

  #findMoved(): Found | null {
    const { world, options, index, device } = this.#call;
    if (index !== 'internal') return null;
    const known = this.lastKnown.load();
    if (!known) this.verbosely('no last-known offset information available.');
    if (!known || known.sizeBytes === this.sizeBytes || known.sizeBytes < MIN_BYTES) return null;
    const sectors = Math.floor(known.sizeBytes / 512);
    const at = superblockSector('internal', sectors);
    const found = (at + 8) * 512 <= this.sizeBytes ? this.#findAt(at, sectors, 'moved') : null;
    if (options.verbose > 0) {
      world.err(
        `While checking for internal meta data for drbd${this.#call.minor} on ${device},\n` +
          'it appears that it may have been relocated.\n' +
          `It used to be at byte offset ${at * 512}, ` +
          (found ? 'and seems to still be valid.\n' : 'but I cannot find it now.\n'),
      );
    }
    if (!found) return null;
    if (known.uuid !== 0n && known.uuid !== found.superblock.deviceUuid) {
      world.err(
        'Last known and found uuid differ!?\n' +
          `${hex(known.uuid)} != ${hex(found.superblock.deviceUuid)}\n`,
      );
      if (!options.force) {
        world.err('You may --force me to ignore that.\n');
        return null;
      }
      world.err("You --force'ed me to ignore that.\n");
    }
    return found;
  }

  read(offsetBytes: number, lengthBytes: number): Uint8Array {
    const bytes = new Uint8Array(lengthBytes);
    let done = 0;
    while (done < lengthBytes) {
      let n: number;
      try {
        n = readSync(this.#fd, bytes, done, lengthBytes - done, offsetBytes + done);
      } catch (e) {
        this.#ioFailed('pread', lengthBytes, offsetBytes, e);
      }
      if (n === 0) this.#ioFailed('pread', lengthBytes, offsetBytes, new Error('end of device'));
      done += n;
    }
    return bytes;
  }

  /** Writes inside the area of `layout`; anything else is a bug. */
  write(layout: MetaLayout, offsetBytes: number, bytes: Uint8Array): void {
    const start = Math.min(layout.superblockSector, layout.bitmapSector) * 512;
    const end = start + layout.mdSizeSectors * 512;
    if (offsetBytes < start || offsetBytes + bytes.length > end) {
      throw new InvariantError(
        `a write of ${bytes.length} at ${offsetBytes} is outside the meta-data [${start}; ${end}]`,
      );
    }
    this.#write(offsetBytes, bytes);
  }

  writeSuperblock(layout: MetaLayout, sb: Superblock): void {
    const block = new Uint8Array(SUPERBLOCK_BYTES);
    encodeSuperblock(sb, block);
    this.write(layout, layout.superblockSector * 512, block);
  }

  /** Zeroes what was meta-data and is data now. */
  erase(sector: number, endSector: number): void {
    const bytes = (endSector - sector) * 512;
    const zeroes = new Uint8Array(Math.min(Math.max(0, bytes), CHUNK_BYTES));
    for (let done = 0; done < bytes; done += CHUNK_BYTES) {
      this.#write(sector * 512 + done, zeroes.subarray(0, Math.min(CHUNK_BYTES, bytes - done)));
    }
  }

  /** Zeroes a superblock at another place: one that create-md or a move made obsolete. */
  wipeSuperblock(sector: number): void {
    this.#write(sector * 512, new Uint8Array(SUPERBLOCK_BYTES));
  }

  #write(offsetBytes: number, bytes: Uint8Array): void {
    let done = 0;
    while (done < bytes.length) {
      try {
        done += writeSync(this.#fd, bytes, done, bytes.length - done, offsetBytes + done);
      } catch (e) {
        this.#ioFailed('pwrite', bytes.length, offsetBytes, e);
      }
    }
  }

  /** Everything written so far is durable afterwards. */
  sync(): void {
    try {
      fsyncSync(this.#fd);
    } catch (e) {
      this.#ioFailed('fsync', 0, 0, e);
    }
  }

  /** Remember where internal meta-data is, in case the device grows while nobody looks. */
  remember(sb: Superblock): void {
    if (this.#call.index === 'internal') {
      this.lastKnown.save({
        sizeBytes: this.sizeBytes,
        path: this.#call.device,
        uuid: sb.deviceUuid,
      });
    } else {
      this.lastKnown.remove();
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #ioFailed(call: string, count: number, offset: number, e: unknown): never {
    const error = e as NodeJS.ErrnoException;
    const { world, device } = this.#call;
    world.err(`${call}(${device},...,${count},${offset}) failed: ${reason(error)}\n`);
    throw new Exit(10);
  }
}

/** Of a slot that the device ends in, too: there is just nothing valid. -1: it begins behind the device. */
function placeOf(index: MetaIndex, sectors: number): number {
  if (typeof index !== 'number') return superblockSector(index, sectors);
  const at = index * SLOT_SECTORS;
  return at + 8 <= sectors ? at : -1;
}

const CHUNK_BYTES = 1 << 20;

/** Zeroes in the meta-data area. */
export function zero(device: MetaDevice, layout: MetaLayout, at: number, length: number): void {
  const zeroes = new Uint8Array(Math.min(length, CHUNK_BYTES));
  for (let done = 0; done < length; done += CHUNK_BYTES) {
    device.write(layout, at + done, zeroes.subarray(0, Math.min(CHUNK_BYTES, length - done)));
  }
}

/** The whole ring, of `initialized` blocks. */
export function writeRing(device: MetaDevice, layout: MetaLayout): void {
  const piece = encodeRing(Math.min(layout.alBlocks, CHUNK_BYTES / 4096));
  const length = layout.alBlocks * 4096;
  for (let done = 0; done < length; done += piece.length) {
    const part = piece.subarray(0, Math.min(piece.length, length - done));
    device.write(layout, layout.alSector * 512 + done, part);
  }
}

/** Of a block device, or of a regular file. */
export function deviceBytes(fd: number): number {
  const stat = fstatSync(fd);
  return stat.isFile() ? stat.size : blockDeviceBytes(fd);
}

function blockDeviceBytes(fd: number): number {
  const size = ioctlBuffer('BLKGETSIZE64');
  ioctl(fd, 'BLKGETSIZE64', size);
  return Number(size.readBigUInt64LE());
}

/** strerror(3) of what opening and using a disk can run into; Node has messages of its own. */
const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'Permission denied',
  EBUSY: 'Device or resource busy',
  EINVAL: 'Invalid argument',
  EIO: 'Input/output error',
  EISDIR: 'Is a directory',
  ENODEV: 'No such device',
  ENOENT: 'No such file or directory',
  ENOMEDIUM: 'No medium found',
  ENOSPC: 'No space left on device',
  ENXIO: 'No such device or address',
  EPERM: 'Operation not permitted',
  EROFS: 'Read-only file system',
};

function reason(error: NodeJS.ErrnoException): string {
  return REASONS[error.code ?? ''] ?? error.message;
}

function hex(uuid: bigint): string {
  return uuid.toString(16).toUpperCase().padStart(16, '0');
}
