/** FuseServer against a kernel in memory: every request answered once, no buffer lost, whatever runs short. */
import test from 'ava';
import fc from 'fast-check';
import type { BlockVolume, FrontEnd } from '../../src/host/block.js';
import { type PoolCounts, SMALL_POOL } from '../../src/host/buffer-pool.js';
import { DEFAULT_FEED, FuseServer } from '../../src/host/fuse-server.js';
import type { Io } from '../../src/host/io.js';
import { Opcode } from '../../src/wire/fuse.js';
import { type Connection, FuseKernel } from '../support/fuse-kernel.js';
import { holds } from '../support/property.js';

const SECTORS = 8192; // 4 MiB

interface Asked {
  readonly what: string;
  readonly finish: (error: number) => void;
}

/** Keeps what it is asked until the test lets it finish. */
class HeldVolume implements BlockVolume {
  readonly minor = 0;
  readonly logicalBlockBytes = 512;
  readonly data = new Uint8Array(SECTORS * 512);
  readonly asked: Asked[] = [];
  sizeSectors = SECTORS;
  refuse = 0;
  opens = 0;
  readonly #io: Io;

  constructor(io: Io) {
    this.#io = io;
  }

  read(front: FrontEnd, tag: number, sector: number, at: number, length: number): void {
    this.#hold(`read ${sector}+${length / 512}`, front, tag, () =>
      this.#io.pool.set(this.data.subarray(sector * 512, sector * 512 + length), at),
    );
  }

  write(
    front: FrontEnd,
    tag: number,
    sector: number,
    at: number,
    length: number,
    fua: boolean,
  ): void {
    const what = `write ${sector}+${length / 512}${fua ? ' fua' : ''}${at % 4096 === 0 ? '' : ' unaligned'}`;
    this.#hold(what, front, tag, (error) => {
      if (error === 0) this.data.set(this.#io.pool.subarray(at, at + length), sector * 512);
      this.#io.free(at);
    });
  }

  flush(front: FrontEnd, tag: number): void {
    this.#hold('flush', front, tag, () => {});
  }

  discard(front: FrontEnd, tag: number, sector: number, length: number): void {
    this.#hold(`discard ${sector}+${length}`, front, tag, () => {});
  }

  writeZeroes(front: FrontEnd, tag: number, sector: number, length: number, unmap: boolean): void {
    this.#hold(`zero ${sector}+${length}${unmap ? ' unmap' : ''}`, front, tag, () => {});
  }

  open(): number {
    if (this.refuse === 0) this.opens++;
    return this.refuse;
  }

  release(): void {
    this.opens--;
  }

  #hold(what: string, front: FrontEnd, tag: number, effect: (error: number) => void): void {
    this.asked.push({
      what,
      finish: (error) => {
        effect(error);
        front.blockDone(tag, error);
      },
    });
  }
}

interface Rig {
  readonly kernel: FuseKernel;
  readonly volume: HeldVolume;
  readonly server: FuseServer;
  readonly connection: Connection;
  readonly ended: number[];
}

function rig(
  counts: PoolCounts = SMALL_POOL,
  kernel = new FuseKernel(counts),
  successor = false,
): Rig {
  const volume = new HeldVolume(kernel.io);
  const ended: number[] = [];
  const server = new FuseServer({
    io: kernel.io,
    descriptor: 3,
    volume,
    successor,
    openWriters: 0,
    ownerUid: 1000,
    feed: DEFAULT_FEED,
    ended: (error) => ended.push(error),
  });
  server.start();
  const connection = kernel.connections.at(-1) as Connection;
  return { kernel, volume, server, connection, ended };
}

function turn(...rigs: readonly Rig[]): boolean {
  let any = false;
  for (const r of rigs) if (r.connection.deliver()) any = true;
  for (const r of rigs) r.server.turn();
  return any;
}

/** Until nothing moves any more: everything asked is finished, oldest first. */
function settle(...rigs: readonly Rig[]): void {
  for (;;) {
    let any = turn(...rigs);
    for (const { volume } of rigs) {
      for (const asked of volume.asked.splice(0)) {
        asked.finish(0);
        any = true;
      }
    }
    if (!any && !turn(...rigs)) return;
  }
}

const BIT63 = 1n << 63n;

test('a write is handed over aligned and answered with its length; unique comes back with bit 63', (t) => {
  const r = rig();
  const data = new Uint8Array(8192).fill(7);
  r.connection.transfer(Opcode.WRITE, BIT63 | 6n, 4096, data.length, data);
  turn(r);
  t.deepEqual(
    r.volume.asked.map((a) => a.what),
    ['write 8+16'],
  );
  t.deepEqual(r.connection.answers, []);
  settle(r);
  const [answer] = r.connection.answers;
  t.is(answer?.unique, BIT63 | 6n);
  t.deepEqual([...(answer?.result ?? [])], [0, 32, 0, 0, 0, 0, 0, 0]);
  t.true(r.volume.data.subarray(4096, 4096 + 8192).every((byte) => byte === 7));
});

test('a read is one header and its bytes, clipped at the end of the device', (t) => {
  const r = rig();
  r.volume.data.fill(9, SECTORS * 512 - 4096);
  r.connection.transfer(Opcode.READ, 2n, SECTORS * 512 - 4096, 65536);
  r.connection.transfer(Opcode.READ, 4n, SECTORS * 512, 4096);
  settle(r);
  const by = new Map(r.connection.answers.map((a) => [a.unique, a]));
  t.deepEqual(by.get(2n)?.result, new Uint8Array(4096).fill(9));
  t.is(by.get(4n)?.result.length, 0);
});

test('an error of the volume reaches the user, for each kind of request', (t) => {
  const r = rig();
  r.connection.transfer(Opcode.WRITE, 2n, 0, 512, new Uint8Array(512));
  r.connection.transfer(Opcode.READ, 4n, 0, 512);
  r.connection.send(Opcode.FSYNC, 6n, new Uint8Array(16));
  turn(r);
  for (const asked of r.volume.asked.splice(0)) asked.finish(5);
  t.deepEqual(
    r.connection.answers.map((a) => [a.unique, a.error, a.result.length]),
    [
      [2n, -5, 0],
      [4n, -5, 0],
      [6n, -5, 0],
    ],
  );
});

function fallocate(offset: number, length: bigint, mode: number): Uint8Array {
  const args = new Uint8Array(32);
  const v = new DataView(args.buffer);
  v.setBigUint64(8, BigInt(offset), true);
  v.setBigUint64(16, length, true);
  v.setUint32(24, mode, true);
  return args;
}

test('holes and zero ranges become zeroes of any length, clipped; other modes are refused', (t) => {
  const r = rig();
  r.connection.send(Opcode.FALLOCATE, 2n, fallocate(0, 3n << 20n, 0x03));
  r.connection.send(Opcode.FALLOCATE, 4n, fallocate(512, 1n << 62n, 0x11));
  r.connection.send(Opcode.FALLOCATE, 6n, fallocate(0, 512n, 0x00));
  r.connection.send(Opcode.FALLOCATE, 8n, fallocate(SECTORS * 512, 512n, 0x03));
  turn(r);
  t.deepEqual(
    r.volume.asked.map((a) => a.what),
    ['zero 0+6144 unmap', `zero 1+${SECTORS - 1}`],
  );
  t.deepEqual(
    r.connection.answers.map((a) => [a.unique, a.error]),
    [
      [6n, -95],
      [8n, -22],
    ],
  );
});

test('opens: refused by the volume, by owner, and counted', (t) => {
  const r = rig();
  const readWrite = new Uint8Array(8);
  readWrite[0] = 2;
  r.volume.refuse = 30;
  r.connection.send(Opcode.OPEN, 2n, readWrite);
  turn(r);
  r.volume.refuse = 0;
  r.connection.send(Opcode.OPEN, 4n, readWrite);
  r.connection.send(Opcode.OPEN, 6n, new Uint8Array(8), 1000);
  r.connection.send(Opcode.OPEN, 8n, new Uint8Array(8), 1001);
  turn(r);
  t.deepEqual(
    r.connection.answers.map((a) => a.error),
    [-30, 0, 0, -13],
  );
  t.deepEqual([r.server.openWriters, r.server.openReaders, r.volume.opens], [1, 1, 2]);
  t.false(r.server.setVolume(null), 'not while it is open');
  const release = new Uint8Array(24);
  release[8] = 2;
  r.connection.send(Opcode.RELEASE, 10n, release);
  r.connection.send(Opcode.RELEASE, 12n, new Uint8Array(24));
  r.connection.send(Opcode.RELEASE, 14n, new Uint8Array(24)); // of an open that a predecessor answered
  turn(r);
  t.is(r.volume.opens, 0);
  t.true(r.server.setVolume(null));
  r.connection.send(Opcode.OPEN, 16n, readWrite);
  turn(r);
  t.is(r.connection.answers.at(-1)?.error, -6, 'ENXIO without a volume');
});

test('a successor asks for the resend before anything is read', (t) => {
  const r = rig(SMALL_POOL, new FuseKernel(SMALL_POOL), true);
  r.connection.transfer(Opcode.READ, BIT63 | 2n, 0, 512);
  settle(r);
  t.deepEqual(r.connection.log, ['notify 7', 'read']);
});

test('malformed, unaligned, unknown: an answer each, none reaches the volume', (t) => {
  const r = rig();
  r.connection.send(Opcode.READ, 2n, new Uint8Array(8)); // too short
  r.connection.transfer(Opcode.WRITE, 4n, 0, 1024, new Uint8Array(512)); // less data than it says
  r.connection.transfer(Opcode.WRITE, 6n, 100, 512, new Uint8Array(512));
  r.connection.transfer(Opcode.READ, 8n, 0, 100);
  r.connection.transfer(Opcode.READ, 10n, 0, (1 << 20) + 512);
  r.connection.send(52, 12n, new Uint8Array(24)); // STATX
  r.connection.send(Opcode.FORGET, 14n, new Uint8Array(8)); // no answer at all
  turn(r);
  t.deepEqual(
    r.connection.answers.map((a) => a.error),
    [-5, -5, -22, -22, -22, -38],
  );
  t.deepEqual(r.volume.asked, []);
});

test('two devices with more large requests than buffers: all answered, nothing lost', (t) => {
  const counts = { head: 4, small: 120, medium: 14, large: 7 };
  const kernel = new FuseKernel(counts);
  const rigs = [rig(counts, kernel), rig(counts, kernel)];
  for (const r of rigs) {
    for (let n = 1; n <= 40; n++) {
      const unique = BigInt(n * 2);
      if (n % 3 === 0)
        r.connection.transfer(Opcode.WRITE, unique, 0, 1 << 20, new Uint8Array(1 << 20));
      else r.connection.transfer(Opcode.READ, unique, 0, n % 3 === 1 ? 1 << 20 : 262144);
    }
  }
  settle(...rigs);
  for (const r of rigs) {
    t.is(r.connection.answers.length, 40);
    t.is(new Set(r.connection.answers.map((a) => a.unique)).size, 40);
    r.connection.end(19);
  }
  settle(...rigs);
  t.is(kernel.buffers.inUse, 0, 'every buffer came back');
});

test('any mix of requests in any order of completion is answered once and rightly', (t) => {
  const request = fc.record({
    kind: fc.constantFrom('read', 'write', 'flush', 'getattr', 'hole'),
    sector: fc.integer({ min: 0, max: SECTORS - 1 }),
    sectors: fc.constantFrom(1, 8, 100, 128, 1000, 2048),
    later: fc.nat(),
  });
  const counts = { head: 2, small: 60, medium: 8, large: 4 };
  holds(
    t,
    fc.property(fc.array(request, { maxLength: 80 }), (requests) => {
      const r = rig(counts);
      const wanted = new Map<bigint, number>();
      for (const [i, { kind, sector, sectors }] of requests.entries()) {
        const unique = BigInt(i + 1) * 2n;
        const bytes = sectors * 512;
        const inside = sector + sectors <= SECTORS;
        wanted.set(unique, kind === 'write' && !inside ? -28 : 0);
        if (kind === 'read') r.connection.transfer(Opcode.READ, unique, sector * 512, bytes);
        else if (kind === 'write') {
          r.connection.transfer(Opcode.WRITE, unique, sector * 512, bytes, new Uint8Array(bytes));
        } else if (kind === 'flush') r.connection.send(Opcode.FSYNC, unique, new Uint8Array(16));
        else if (kind === 'getattr') r.connection.send(Opcode.GETATTR, unique, new Uint8Array(16));
        else r.connection.send(Opcode.FALLOCATE, unique, fallocate(sector * 512, BigInt(bytes), 3));
      }
      let n = 0;
      while (turn(r) || r.volume.asked.length > 0) {
        const later = requests[n++ % requests.length]?.later ?? 0;
        const asked = r.volume.asked.splice(later % Math.max(1, r.volume.asked.length), 1)[0];
        asked?.finish(0);
      }
      const got = new Map(r.connection.answers.map((a) => [a.unique, a.error]));
      if (r.connection.answers.length !== requests.length || r.connection.waiting > 0) return false;
      for (const [unique, error] of wanted) if (got.get(unique) !== error) return false;
      r.connection.end(19);
      r.server.turn();
      return r.kernel.buffers.inUse === 0 && r.connection.closed;
    }),
    { numRuns: 60 },
  );
});

test('drain answers what was read, leaves the rest to the successor and gives everything back', (t) => {
  const r = rig();
  for (let n = 1; n <= 3; n++) r.connection.transfer(Opcode.READ, BigInt(n * 2), 0, 4096);
  turn(r);
  let drained = false;
  r.server.drain(() => {
    drained = true;
  });
  r.server.turn();
  t.false(drained, 'three reads are at the volume');
  for (const asked of r.volume.asked.splice(0)) asked.finish(0);
  r.server.turn();
  t.true(drained);
  t.is(r.connection.answers.length, 3);
  r.connection.transfer(Opcode.READ, 100n, 0, 4096);
  turn(r);
  t.is(r.connection.waiting, 1, 'not read any more');
  t.is(r.kernel.buffers.inUse, 0);
});

test('the end with requests at the volume: told once, closed when they are done', (t) => {
  const r = rig();
  r.connection.transfer(Opcode.WRITE, 2n, 0, 4096, new Uint8Array(4096));
  r.connection.transfer(Opcode.READ, 4n, 0, 1 << 20);
  turn(r);
  r.connection.end(19);
  r.server.turn();
  t.deepEqual(r.ended, [19]);
  t.false(r.connection.closed);
  for (const asked of r.volume.asked.splice(0)) asked.finish(0);
  r.server.turn();
  t.true(r.connection.closed);
  t.deepEqual(r.connection.answers, []);
  t.is(r.kernel.buffers.inUse, 0);
});
