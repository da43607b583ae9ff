/**
 * A pair of a kernel and of ours under random operators and faults, from a seed (kernel-mixed-steps.ts has the steps). After each step
 * the pair must come to rest: Connected, UpToDate on both sides, nothing out of sync; then
 *
 *  - both disks hold the same on the whole device, and every block what was last written to it and acknowledged (protocol C);
 *  - both superblocks have the same size, the same current generation and no bitmap generation.
 *
 * Writes that were under way when a Primary died may be there or not: they go to the last quarter of the disk as it is at first, of
 * which only equality is asked.
 */
import { Prng } from '../../src/base/prng.js';
import { decodeSuperblock, SUPERBLOCK_BYTES, type Superblock } from '../../src/md/superblock.js';
import { until } from '../support/until.js';
import {
  DISKS_MIB,
  type ResourceOptions,
  SEATS,
  type SeatName,
  type SeatPair,
} from './kernel-seat.js';

const DISK = 2;
const GROWTH_BYTES = 1 << 20;
/** Internal meta-data of so small a disk are smaller. */
const META_BYTES = 64 << 10;
const BLOCK_BYTES = 4096;
/** Blocks whose content is known; behind them the ones that crashes leave undecided, then the meta-data. */
const KNOWN_BLOCKS = 3072;
const LOAD_BLOCKS = 512;

/**
 * A busy machine lets a node's answer to a ping wait for seconds; a connection that breaks is a step of its own. In a long run, for
 * which a machine is not left alone, for many seconds: then a cable that is pulled takes so long to be noticed.
 */
function options(isLong: boolean): ResourceOptions {
  const patience = isLong ? 'ping-timeout 250; timeout 100;' : 'ping-timeout 60; timeout 40;';
  return {
    net: `protocol C; ping-int 1; ${patience} connect-int 1; socket-check-timeout 2; verify-alg sha1;`,
    disk: 'c-plan-ahead 0; c-min-rate 0; resync-rate 100M; al-extents 7;',
  };
}

/** Runs of blocks, each filled with its word, in the order in which they are written; null is zeroes. */
export interface Run {
  readonly block: number;
  readonly count: number;
  readonly word: string | null;
}

export interface MixedStep {
  readonly name: string;
  readonly weight: number;
  readonly run: (m: Mixed) => Promise<void>;
}

export function other(name: SeatName): SeatName {
  return name === 'alice' ? 'bob' : 'alice';
}

export class Mixed {
  readonly pair: SeatPair;
  readonly random: Prng;
  readonly cable: (to: 'up' | 'down') => Promise<void>;
  /** Who is Primary when the pair is at rest. */
  primary: SeatName = 'alice';
  /** What has been done in this step, for the one who must understand a failure. */
  readonly done: string[] = [];
  #diskBytes = DISKS_MIB[DISK] << 20;
  readonly #known: (string | null)[] = Array.from({ length: KNOWN_BLOCKS }, () => null);
  #words = 0;

  constructor(pair: SeatPair, seed: number, cable: (to: 'up' | 'down') => Promise<void>) {
    this.pair = pair;
    this.random = new Prng(seed);
    this.cable = cable;
  }

  get secondary(): SeatName {
    return other(this.primary);
  }
  anySeat(): SeatName {
    return this.random.chance(0.5) ? 'alice' : 'bob';
  }

  async begin(isLong: boolean): Promise<void> {
    await this.pair.begin(options(isLong), DISK);
    for (const name of SEATS) {
      await this.adm(name, 'create-md --force');
      await this.adm(name, 'up');
    }
    for (const name of SEATS) await this.until(name, /cs:Connected/);
    await this.adm('alice', 'new-current-uuid --clear-bitmap');
    await this.adm('alice', 'primary');
    await this.settled();
  }

  // ---- what steps are made of

  /** A verb of drbdadm; the whole run fails with it. */
  async adm(name: SeatName, verb: string): Promise<void> {
    const { status, out } = await this.try(name, verb);
    if (status !== 0) throw new Error(`${name}: drbdadm ${verb}: status ${status}\n${out}`);
  }
  async try(name: SeatName, verb: string): Promise<{ status: number; out: string }> {
    this.done.push(`${name}: drbdadm ${verb}`);
    return this.pair.seats[name].run(`drbdadm ${verb} r0`);
  }
  async until(name: SeatName, pattern: RegExp): Promise<void> {
    await this.pair.until(name, pattern);
  }

  /** Some runs of blocks, not yet written. */
  draw(): Run[] {
    return Array.from({ length: 1 + this.random.below(3) }, () => {
      const count = 1 + this.random.below(this.random.chance(0.2) ? 256 : 8);
      this.#words++;
      return {
        block: this.random.below(KNOWN_BLOCKS - count),
        count,
        word: this.random.chance(0.1) ? null : `w${this.#words}`,
      };
    });
  }

  /** Through the device of that node; what returns is acknowledged. */
  async put(name: SeatName, runs: readonly Run[]): Promise<void> {
    const commands = runs.map(({ block, count, word }) => {
      const bytes = count * BLOCK_BYTES;
      if (word === null) return `blkdiscard -z -o ${block * BLOCK_BYTES} -l ${bytes} /dev/drbd0`;
      const at = `oflag=direct,seek_bytes seek=${block * BLOCK_BYTES}`;
      return `yes ${word} | head -c ${bytes} >/tmp/w.$$ && dd if=/tmp/w.$$ of=/dev/drbd0 bs=${bytes} count=1 ${at} conv=notrunc 2>/tmp/e.$$ || { cat /tmp/e.$$; exit 1; }`;
    });
    this.done.push(`${name}: writes ${runs.map((r) => `${r.count}@${r.block}`).join(' ')}`);
    const { status, out } = await this.pair.seats[name].run(
      `${commands.join('\n')}\nrm -f /tmp/w.$$ /tmp/e.$$`,
    );
    if (status !== 0) throw new Error(`${name}: write: status ${status}\n${out}`);
  }
  know(runs: readonly Run[]): void {
    for (const { block, count, word } of runs) this.#known.fill(word, block, block + count);
  }
  async write(name: SeatName = this.primary): Promise<void> {
    const runs = this.draw();
    await this.put(name, runs);
    this.know(runs);
  }

  /** Blocks whose content nobody asks for are written until the node dies. Returns when some have been. */
  async loadUntilDeath(name: SeatName): Promise<{ readonly ended: Promise<unknown> }> {
    const from = KNOWN_BLOCKS;
    const words = `i=0; while [ $i -lt 4000 ]; do i=$((i+1)); dd if=/dev/urandom of=/dev/drbd0 bs=16k count=1 oflag=direct,seek_bytes seek=$((4096 * (${from} + 4 * (i * 7 % ${LOAD_BLOCKS / 4})))) conv=notrunc 2>/dev/null || exit 1; done`;
    this.done.push(`${name}: load`);
    const dw = await this.#written(name);
    const ended = this.pair.seats[name].run(words).catch(() => null);
    await until(async () => (await this.#written(name)) > dw + 64, `load on ${name}`);
    return { ended };
  }
  async #written(name: SeatName): Promise<number> {
    return Number(/ dw:(\d+)/.exec(await this.pair.seats[name].proc())?.[1] ?? 0);
  }

  /** Both disks grow, and what they hold there differs. */
  async grow(): Promise<void> {
    const from = this.#diskBytes;
    this.#diskBytes += GROWTH_BYTES;
    this.done.push(`both disks grow to ${this.#diskBytes} bytes`);
    for (const name of SEATS) await this.pair.seats[name].grow(this.#diskBytes);
    const { status, out } = await this.pair.seats[this.anySeat()].run(
      `dd if=/dev/urandom of=/dev/vda bs=64k count=${GROWTH_BYTES >> 16} oflag=direct,seek_bytes seek=${from} conv=notrunc 2>&1`,
    );
    if (status !== 0) throw new Error(`noise on the new part: status ${status}\n${out}`);
  }

  async off(name: SeatName): Promise<void> {
    this.done.push(`${name}: power off`);
    await this.pair.seats[name].powerOff();
  }
  async on(name: SeatName): Promise<void> {
    this.done.push(`${name}: power on`);
    await this.pair.seats[name].powerOn();
  }

  // ---- what must hold

  async settled(): Promise<void> {
    for (const name of SEATS) {
      const ro = name === this.primary ? 'Primary/Secondary' : 'Secondary/Primary';
      await this.until(
        name,
        new RegExp(`cs:Connected ro:${ro} ds:UpToDate/UpToDate C r----- oos:0$`),
      );
    }
  }

  /** Throws with what is wrong. */
  async check(): Promise<void> {
    await this.settled();
    await until(
      () => this.#metaDifference() === null,
      () => `meta-data that agree: ${this.#metaDifference()}`,
      50,
    );
    const deviceBytes = this.#superblock('alice').laSizeSectors * 512;
    const [alice, bob] = SEATS.map((name) => this.pair.seats[name].onDisk(deviceBytes));
    if (alice === undefined || bob === undefined) throw new Error('two seats');
    if (Buffer.compare(alice, bob) !== 0) {
      const at = alice.findIndex((byte, i) => byte !== bob[i]);
      throw new Error(`the disks differ in block ${Math.floor(at / BLOCK_BYTES)}`);
    }
    for (const [block, word] of this.#known.entries()) {
      const bytes = alice.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
      const line = word === null ? '\0' : `${word}\n`;
      // A run is one text of repeated words, cut into blocks: every rotation of the word is right.
      const text = Buffer.from(bytes.subarray(0, 2 * line.length)).toString('latin1');
      if (!text.includes(line) || bytes.some((byte, i) => byte !== bytes[i % line.length]))
        throw new Error(
          `block ${block} should hold ${JSON.stringify(line)}, it holds ${JSON.stringify(text)}`,
        );
    }
  }

  #superblock(name: SeatName): Superblock {
    const disk = this.pair.seats[name].onDisk(this.#diskBytes);
    return decodeSuperblock(disk.subarray(this.#diskBytes - SUPERBLOCK_BYTES));
  }

  #metaDifference(): string | null {
    const [a, b] = [this.#superblock('alice'), this.#superblock('bob')];
    if (a.laSizeSectors !== b.laSizeSectors)
      return `${a.laSizeSectors} and ${b.laSizeSectors} sectors`;
    // What the meta-data take of a disk that grew with its device.
    if (a.laSizeSectors * 512 < this.#diskBytes - META_BYTES)
      return `${a.laSizeSectors} sectors of ${this.#diskBytes} bytes`;
    const text = (u: bigint) => (u & ~1n).toString(16);
    if (text(a.current) !== text(b.current))
      return `current ${text(a.current)} and ${text(b.current)}`;
    if (a.bitmap !== 0n || b.bitmap !== 0n) return `bitmap ${text(a.bitmap)}, ${text(b.bitmap)}`;
    return null;
  }

  /** At the end: what Debian's drbdmeta says of both disks. */
  async end(): Promise<void> {
    await this.adm(this.primary, 'secondary');
    for (const name of SEATS) await this.adm(name, 'down');
    const said: string[] = [];
    for (const name of SEATS) {
      const seat = this.pair.seats[name];
      const gi = (await seat.meta('get-gi')).out.trim().split(':');
      await seat.meta('apply-al');
      const bits = /# bits-set (\d+);/.exec((await seat.meta('dump-md')).out)?.[1];
      said.push(`${gi[0]}:${gi[1]} ${gi.slice(4, 7).join(':')} bits-set ${bits}`);
    }
    if (said[0] !== said[1] || !said[0]?.endsWith(' 1:1:0 bits-set 0'))
      throw new Error(`drbdmeta: ${said.join(' and ')}`);
  }
}
