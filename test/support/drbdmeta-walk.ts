/**
 * Random devices for drbdmeta: of any size, with meta-data at any place, and a random walk of commands, crashes, damage
 * and growth. Two disks with the same content; at each step the original works on one and ours on the other, in either order,
 * so that each reads what the other wrote. Both must say the same, end the same and leave the same bytes.
 */
import { closeSync, fsyncSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { Prng } from '../../src/base/prng.js';
import { isRefused, layoutOfDevice, type MetaIndex, usableSectors } from '../../src/md/layout.js';
import { MDF } from '../../src/md/superblock.js';
import { succeed } from './command.js';
import { type Bench, bytesAt, crash, plain, type Said, word } from './drbdmeta-bench.js';
import { MIB } from './drbdmeta-node.js';

/** A size of 128 KiB to `maxBytes`, evenly on a logarithmic scale; most are no multiple of 4 KiB. */
export function anySize(rng: Prng, maxBytes: number): number {
  const low = Math.log2(128 * 1024);
  const bytes = 2 ** (low + (rng.below(10_000) / 10_000) * (Math.log2(maxBytes) - low));
  const grain = rng.pick([512, 512, 4096, MIB, 128 * MIB]);
  return Math.max(128 * 1024, Math.floor(bytes / grain) * grain);
}

/** Why there is no valid meta-data is said here; there only in dump-md, or as an offset. */
const NOTHING = /^(.*\n)?(No valid meta data found\n)?$|^v08 Magic number .*\n\texpected: .*\n$/;
/** What is wrong with the place of found meta-data, in words of either. */
const PLACE =
  /^(strange md_size_sect|v08 .*expected|\d+ sectors of meta-data do not fit|bitmap |activity log |bytes per bit).*\n/gm;

/** It died (a failed assertion, a long dump), or cannot read a device that is no multiple of 4 KiB. */
const ORIGINAL_FAILS = ({ status, err }: Said) =>
  status === null || /confused in apply_al|aborted$/m.test(err);
const EARLIER = /^no room for /m;

interface Disk {
  readonly file: string;
  readonly loop: string;
}

export class MetaWalk {
  readonly #t: ExecutionContext;
  readonly #bench: Bench;
  readonly #rng: Prng;
  readonly #maxBytes: number;
  readonly #index: MetaIndex;
  readonly #word: string;
  readonly #steps: string[] = []; // for the message of a failure
  #bytes: number;
  #hasLongerBitmap = false;
  #isDamaged = false; // the superblock says what no program wrote
  #hasGrown = false; // where the meta-data was is anybody's
  #disks: readonly [Disk, Disk] | null = null;
  #dump: string | null = null; // the last one, with the real flags

  constructor(t: ExecutionContext, bench: Bench, rng: Prng, maxBytes: number) {
    this.#t = t;
    this.#bench = bench;
    this.#rng = rng;
    this.#maxBytes = maxBytes;
    this.#index = rng.pick(['internal', 'internal', 'flexible', 0, 1, rng.below(8)] as const);
    this.#word =
      this.#index === 'internal' ? rng.pick(['internal', 'flex-internal']) : word(this.#index);
    this.#bytes = anySize(rng, maxBytes);
    if (typeof this.#index === 'number') {
      this.#bytes = (this.#index + 1) * 128 * MIB + rng.pick([0, 512, 4096, 64 * MIB]);
    }
  }

  get length(): number {
    return this.#steps.length;
  }

  get what(): string {
    return `${this.#word} on ${this.#bytes} bytes: ${this.#steps.join('; ')}`;
  }

  /** The number of steps that both took with success. */
  async run(steps: number): Promise<number> {
    const disks = ['x', 'y'].map((name) => this.#bench.file(`${name}${this.#bytes}`, this.#bytes));
    const [x = '', y = ''] = disks;
    this.#disks = [
      { file: x, loop: await this.#bench.loop(x) },
      { file: y, loop: await this.#bench.loop(y) },
    ];
    let succeeded = 0;
    for (let n = 0; n < steps; n++) {
      const call = n === 0 && this.#rng.chance(0.9) ? ['create-md'] : await this.#prepare();
      const outcome = call === null ? false : await this.#both(call);
      if (outcome === null) break;
      if (outcome) succeeded++;
    }
    return succeeded;
  }

  /** The next command, after what happens before it; null: only that happened. */
  async #prepare(): Promise<string[] | null> {
    const rng = this.#rng;
    const kind = rng.below(20);
    if (kind === 0 && this.#index === 'internal') return this.#grow();
    if (kind === 1) return this.#damage();
    if (kind === 2 || kind === 3) return this.#crash();
    if (kind === 4 && this.#dump !== null) return this.#restore();
    return rng.pick([
      [
        'create-md',
        ...rng.pick([[], ['--peer-max-bio-size', rng.pick(['4k', '1M', '0', '1s', '2M'])]]),
      ],
      ['create-md', ...(typeof this.#index === 'number' ? [] : this.#striping())], // refused here, see below
      ['show-gi'],
      ['get-gi'],
      ['dstate'],
      ['read-dev-uuid'],
      ['dump-md'],
      ['dump-md'],
      ['apply-al'],
      ['apply-al'],
      ['outdate'],
      ['invalidate'],
      ['wipe-md'],
      ['check-resize'],
      ['set-gi', this.#generation()],
      ['set-gi', this.#generation()],
      ['write-dev-uuid', rng.pick([this.#hex(), '1', 'ABCDEF', '0x12'])],
    ]);
  }

  #striping(): string[] {
    const rng = this.#rng;
    const stripes = ['--al-stripes', `${rng.pick([1, 2, 3, 4, 7, 16])}`];
    const size = ['--al-stripe-size-kB', `${rng.pick([4, 8, 12, 16, 32, 64, 100, 1024])}`];
    return rng.pick([stripes, size, [...stripes, ...size]]);
  }

  #hex(): string {
    const word = () => this.#rng.u32().toString(16).toUpperCase().padStart(8, '0');
    return word() + word();
  }

  #generation(): string {
    const rng = this.#rng;
    const uuid = () => rng.pick([this.#hex(), '', '0', '4', this.#hex()]);
    const bit = () => rng.pick(['0', '1', '']);
    const parts = [uuid(), uuid(), uuid(), uuid(), ...Array.from({ length: 7 }, bit)];
    return parts.slice(0, 1 + rng.below(parts.length)).join(':');
  }

  /** The size of the data in the superblock: usually right, sometimes more than there is room for. */
  #laSize(usable: number, mayBeMore: boolean): number {
    const rng = this.#rng;
    return rng.pick([
      usable,
      usable,
      Math.max(1, rng.below(usable + 1)),
      usable + (mayBeMore ? 8 + rng.below(99_999) : 0),
    ]);
  }

  async #crash(): Promise<null> {
    const rng = this.#rng;
    const striping =
      this.#index === 'internal' || this.#index === 'flexible'
        ? rng.pick([
            [1, 8],
            [1, 8],
            [4, 16],
            [3, 5],
          ] as const)
        : ([1, 8] as const);
    const [stripes, stripeSize4k] = striping;
    const layout = layoutOfDevice(this.#index, Math.floor(this.#bytes / 512), {
      stripes,
      stripeSize4k,
    });
    if (isRefused(layout)) return null;
    const up = MDF.CONSISTENT | MDF.WAS_UP_TO_DATE;
    const cap = Math.min(usableSectors(layout, 2 ** 35), 2 ** 31); // an external bitmap may describe much more
    const crashed = {
      index: this.#index,
      bytes: this.#bytes,
      laSizeSectors: this.#laSize(cap, this.#index !== 'internal'),
      seed: rng.u32(),
      flags: rng.pick([
        up,
        up | MDF.PRIMARY_IND,
        up | MDF.PRIMARY_IND | MDF.CONNECTED_IND,
        MDF.PRIMARY_IND,
        up | MDF.PRIMARY_IND | MDF.FULL_SYNC,
      ]),
      striping,
      alExtents: rng.pick([1237, 67, 257, 6433]),
      transactions: rng.pick([0, 1, 3, 9, 40]),
      tear: rng.chance(0.3),
    };
    this.#steps.push(`crash ${JSON.stringify(crashed)}`);
    for (const { loop } of this.#disks ?? []) crash(loop, crashed);
    return null;
  }

  /** The same byte of both is another one: of the superblock, or anywhere in the meta-data. */
  #damage(): null {
    const rng = this.#rng;
    const layout = layoutOfDevice(this.#index, Math.floor(this.#bytes / 512));
    if (isRefused(layout)) return null;
    const start = Math.min(layout.superblockSector, layout.bitmapSector) * 512;
    const at = rng.chance(0.6)
      ? layout.superblockSector * 512 + rng.below(84) // behind: the peer's request size, signed there
      : start + rng.below(Math.min(layout.mdSizeSectors * 512, 2 ** 31));
    if (Math.abs(at - layout.superblockSector * 512 - 48) < 48) this.#isDamaged = true;
    const value = rng.pick([0, 0xff, rng.below(256)]);
    this.#steps.push(`byte ${at} is ${value}`);
    for (const { loop } of this.#disks ?? []) {
      const fd = openSync(loop, 'r+');
      writeSync(fd, Buffer.from([value]), 0, 1, at);
      fsyncSync(fd);
      closeSync(fd);
    }
    return null;
  }

  async #grow(): Promise<null> {
    const more = this.#rng.pick([4096, MIB, 200 * MIB]) * (1 + this.#rng.below(3));
    if (this.#bytes + more > this.#maxBytes) return null;
    const slots = (bytes: number) => Math.ceil(bytes / (128 * MIB));
    if (slots(this.#bytes + more) > slots(this.#bytes)) this.#hasLongerBitmap = true;
    this.#bytes += more;
    this.#hasGrown = true;
    this.#steps.push(`grow to ${this.#bytes}`);
    for (const { file, loop } of this.#disks ?? []) {
      const fd = openSync(file, 'r+');
      ftruncateSync(fd, this.#bytes);
      closeSync(fd);
      await succeed('losetup', '--set-capacity', loop);
    }
    return null;
  }

  /** The last dump, whole or broken in one place. */
  #restore(): string[] {
    const rng = this.#rng;
    let text = this.#dump ?? '';
    if (rng.chance(0.5)) {
      const tokens = text.split(/(\s+)/);
      const at = rng.below(tokens.length);
      tokens[at] = rng.pick([
        '',
        'x',
        ';',
        '0x12',
        '7',
        `${tokens[at]}${tokens[at]}`,
        '{',
        '"v09"',
      ]);
      text = tokens.join('');
    }
    const path = join(this.#bench.dir, 'dump');
    writeFileSync(path, text);
    const verb = rng.pick(['verify-dump', 'restore-md', 'restore-md']);
    return [verb, path, ...(verb === 'restore-md' && rng.chance(0.2) ? this.#striping() : [])];
  }

  /** Null: the walk is over. */
  async #both(call: readonly string[]): Promise<boolean | null> {
    if (!this.#disks) throw new Error('no disks');
    const isCrossed = this.#rng.chance(0.5);
    const [original, own] = isCrossed ? [this.#disks[1], this.#disks[0]] : this.#disks;
    const flags = this.#rng.chance(0.85) ? ['--force'] : [];
    this.#steps.push([...flags, ...call].join(' '));
    const theirs = await this.#bench.original(flags, original.loop, this.#word, ...call);
    const ours = await this.#bench.own(flags, own.loop, this.#word, ...call);
    if (ORIGINAL_FAILS(theirs)) return null;
    // A log that cannot be read is not needed where everything is out of sync: the original refuses.
    if (theirs.status === 1 && /^Error ignored/m.test(ours.err)) return null;
    if (this.#isDamaged && theirs.status !== 0) {
      // What exactly is wrong is told in other words.
      this.#t.not(ours.status, 0, this.what);
      return null;
    }
    const broken = /^Parse error .*/m.exec(theirs.err);
    if (broken || EARLIER.test(ours.err)) {
      // Ours reads and measures before it asks the last question.
      this.#t.true(ours.status !== 0 && theirs.status !== 0, this.what);
      if (broken) this.#t.regex(ours.err, /^Parse error in line \d+: |not a TTY/m, this.what);
    } else {
      this.#t.deepEqual(this.#comparable(ours), this.#comparable(theirs), this.what);
    }
    // The original puts the bits of the old bitmap at the end of a longer one: they mark other blocks then.
    if (this.#hasLongerBitmap && /successfully moved/.test(ours.out)) return null;
    if (call[0] === 'restore-md' && ours.status === 0) return null; // the original leaves the old log in place
    this.#sameBytes();
    if (call[0] === 'dump-md' && ours.status === 0) this.#dump = ours.out;
    return ours.status === 0;
  }

  /** Without what is said differently on purpose. */
  #comparable(said: Said): Said {
    const one = (text: string) => {
      const named = (this.#disks ?? []).reduce((all, { loop }) => plain(all, loop), text);
      return named
        .replace(/^## (al|bm)_offset \d+$/gm, '## $1_offset -') // 0 there, the place here
        .replace(PLACE, '')
        .replace(/^Meta data needs more space now, since max_peers\n.*\n/m, '') // of version 9
        .replace(/^line \d+: unknown token: .*\n/m, '')
        .replace(/^(Parse error in line \d+: .* expected), .*/m, '$1');
    };
    const nothing = said.status === 1 && said.out === '' && NOTHING.test(said.err);
    return {
      status: said.status,
      out: one(said.out),
      err: nothing ? '' : one(said.err).replace(/^No valid meta data found\n/m, ''),
    };
  }

  /** The head, where it is not meta-data too, and the meta-data. */
  #sameBytes(): void {
    const [x, y] = this.#disks ?? [];
    if (!x || !y) throw new Error('no disks');
    const sectors = Math.floor(this.#bytes / 512);
    const layout = layoutOfDevice(this.#index, sectors);
    const tail = isRefused(layout)
      ? 0
      : Math.min(layout.mdSizeSectors * 512 + (this.#hasGrown ? 0 : 2 * MIB), 64 * MIB);
    const at =
      this.#index === 'internal'
        ? Math.max(0, (sectors - (sectors % 8)) * 512 - tail)
        : isRefused(layout)
          ? 0
          : layout.superblockSector * 512;
    for (const [from, length] of [
      [0, this.#hasGrown ? 0 : 256 * 1024],
      [at, tail],
    ] as const) {
      const same =
        Buffer.compare(bytesAt(x.file, from, length), bytesAt(y.file, from, length)) === 0;
      this.#t.true(same, `${length} bytes at ${from} differ; ${this.what}`);
    }
  }
}
