/** The simulated engine: the shared suite, and what only a simulator can show. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { SMALL_POOL } from '../../src/host/buffer-pool.js';
import { ERRNO } from '../../src/host/errno.js';
import { SimClock } from '../../src/sim/sim-clock.js';
import { DEFAULT_SIM_DISK, SimDisk } from '../../src/sim/sim-disk.js';
import { SimIo } from '../../src/sim/sim-io.js';
import { SimNet } from '../../src/sim/sim-net.js';
import {
  connected,
  fill,
  ioConformance,
  PLAIN,
  Probe,
  Reader,
  type Rig,
  take,
} from '../host/io-conformance.js';

interface World {
  readonly clock: SimClock;
  readonly net: SimNet;
  readonly random: Prng;
}

function world(seed: number): World {
  const clock = new SimClock();
  const random = new Prng(seed);
  const net = new SimNet(clock, random);
  net.addHost('a', { lan: '10.0.0.1', dark: '10.0.9.1' });
  net.addHost('b', { lan: '10.0.0.2' });
  net.addHost('hole', { dark: '10.0.9.9' });
  net.cut('dark');
  return { clock, net, random };
}

interface SimRig extends Rig {
  readonly io: SimIo;
  readonly disks: Map<string, SimDisk>;
}

function simRig({ clock, net, random }: World, name: string): SimRig {
  const disks = new Map<string, SimDisk>();
  const io = new SimIo({ name, clock, net, disks, pool: SMALL_POOL, streams: 8 });
  let port = 7000;
  let closed: Promise<void> | null = null;
  return {
    io,
    disks,
    until: async (ready, what) => {
      await Promise.resolve();
      while (!ready()) if (!clock.step()) throw new Error(`the world rests before: ${what}`);
    },
    disk: (sizeBytes) => {
      const path = `/dev/sim${disks.size}`;
      disks.set(path, new SimDisk({ ...DEFAULT_SIM_DISK, sizeBytes }, random));
      return path;
    },
    growDisk: (path, sizeBytes) => disks.get(path)?.resize(sizeBytes),
    tcp: async () => ({ family: 'ipv4', host: '127.0.0.1', port: port++ }),
    blackHole: async () => ({ family: 'ipv4', host: '10.0.9.9', port: 1 }),
    secondHost: '127.0.0.2',
    foreignHost: '192.0.2.1',
    unixPath: () => `/run/socket${port++}`,
    close: () => {
      closed ??= io.destroy();
      clock.runUntilIdle(1e6);
      return closed;
    },
  };
}

for (const seed of [1, 2]) {
  ioConformance(`sim, seed ${seed}`, async () => simRig(world(seed), 'a'));
}

async function openDisk(rig: SimRig, probe: Probe, sizeBytes: number): Promise<[SimDisk, number]> {
  const path = rig.disk(sizeBytes);
  const tag = probe.op();
  rig.io.openDisk(path, { write: true, exclusive: true }, tag);
  return [rig.disks.get(path) as SimDisk, await probe.result(tag)];
}

test('the same seed gives the same run, another seed another', async (t) => {
  const run = async (seed: number): Promise<string> => {
    const w = world(seed);
    const rig = simRig(w, 'a');
    const probe = new Probe(rig);
    const { client, server } = await connected(rig, probe);
    const log: string[] = [];
    const reader = new Reader();
    reader.onData = (s, start, end) => {
      log.push(`${w.clock.nowMs.toFixed(6)} ${end - start}`);
      rig.io.consume(s, end - start);
    };
    rig.io.attachStream(server, reader);
    rig.io.attachStream(client, new Reader());
    for (let i = 0; i < 20; i++) rig.io.send(client, take(rig, 65536), 65536, probe.op());
    await probe.all();
    w.clock.runUntilIdle(1e6);
    return log.join('\n');
  };
  t.is(await run(5), await run(5));
  t.not(await run(5), await run(6));
});

test('an engine can be destroyed at any moment of a connection', (t) => {
  let steps = 0;
  for (let accepted = false; !accepted; steps++) {
    const w = world(3);
    const rig = simRig(w, 'a');
    const at = { family: 'ipv4', host: '127.0.0.1', port: 7000 } as const;
    rig.io.listen(at, PLAIN, {
      accepted: () => {
        accepted = true;
      },
    });
    rig.io.connect(at, null, 5_000, PLAIN, new Probe(rig).op());
    rig.io.submit();
    for (let i = 0; i < steps; i++) w.clock.step();
    t.notThrows(() => void rig.close(), `after ${steps} steps`);
  }
  t.true(steps > 3);
});

test('a power cut loses or tears only what was neither flushed nor FUA', async (t) => {
  const seen = { lost: 0, kept: 0, torn: 0 };
  for (let seed = 1; seed <= 60; seed++) {
    const rig = simRig(world(seed), 'a');
    const probe = new Probe(rig);
    const [disk, handle] = await openDisk(rig, probe, 1 << 20);
    const write = async (offset: number, byte: number, fua: boolean): Promise<void> => {
      const at = take(rig, 4096);
      rig.io.pool.fill(byte, at, at + 4096);
      const tag = probe.op();
      rig.io.writeDisk(handle, offset, at, 4096, fua, tag);
      t.is(await probe.result(tag), 4096);
    };
    await write(0, 1, false);
    const flush = probe.op();
    rig.io.flushDisk(handle, flush);
    t.is(await probe.result(flush), 0);
    await write(4096, 2, true);
    await write(0, 3, false); // over the flushed block
    await write(8192, 4, false);
    const at = take(rig, 4096);
    rig.io.pool.fill(5, at, at + 4096);
    rig.io.writeDisk(handle, 12288, at, 4096, true, probe.op()); // in flight
    rig.io.submit();
    rig.io.crash(true);
    const image = disk.content(0, 16384);
    t.true(image.subarray(4096, 8192).every((b) => b === 2));
    for (const [from, old, fresh] of [
      [0, 1, 3],
      [8192, 0, 4],
      [12288, 0, 5],
    ] as const) {
      const sectors = Array.from({ length: 8 }, (_, i) =>
        image.subarray(from + i * 512, from + i * 512 + 512),
      );
      t.true(sectors.every((s) => s.every((b) => b === s[0]) && (s[0] === old || s[0] === fresh)));
      const fresher = sectors.filter((s) => s[0] === fresh).length;
      if (fresher === 0) seen.lost++;
      else if (fresher === 8) seen.kept++;
      else seen.torn++;
    }
    t.is(disk.volatileSectors, 0);
  }
  t.true(seen.torn > 60, JSON.stringify(seen));
});

test('a process that dies loses nothing that its disk had taken', async (t) => {
  const rig = simRig(world(3), 'a');
  const probe = new Probe(rig);
  const [disk, handle] = await openDisk(rig, probe, 1 << 20);
  const at = take(rig, 4096);
  fill(rig, at, 4096, 1);
  rig.io.writeDisk(handle, 0, at, 4096, false, probe.op());
  rig.io.submit();
  rig.io.crash(false);
  t.deepEqual(disk.content(0, 4096), rig.io.pool.slice(at, at + 4096));
});

test('injected faults and bad sectors are EIO; a write mends a bad sector', async (t) => {
  const rig = simRig(world(4), 'a');
  const probe = new Probe(rig);
  const [disk, handle] = await openDisk(rig, probe, 1 << 20);
  const at = take(rig, 4096);
  const read = async (): Promise<number> => {
    const tag = probe.op();
    rig.io.readDisk(handle, 0, at, 4096, tag);
    return probe.result(tag);
  };
  disk.badSectors.add(3);
  t.is(await read(), -ERRNO.EIO);
  const tag = probe.op();
  rig.io.writeDisk(handle, 0, at, 4096, false, tag);
  t.is(await probe.result(tag), 4096);
  t.is(await read(), 4096);
  disk.faults.readChance = 1;
  t.is(await read(), -ERRNO.EIO);
});

test('a buffer that changes while a write has it is found', async (t) => {
  const w = world(5);
  const rig = simRig(w, 'a');
  const probe = new Probe(rig);
  const [, handle] = await openDisk(rig, probe, 1 << 20);
  const at = take(rig, 4096);
  rig.io.writeDisk(handle, 0, at, 4096, false, probe.op());
  rig.io.submit();
  rig.io.pool[at + 100] = 1;
  t.throws(() => w.clock.runUntilIdle(1000), { name: 'InvariantError' });
});

/** Two hosts with a connection from a to b. */
async function twoHosts(seed: number) {
  const w = world(seed);
  const a = simRig(w, 'a');
  const b = simRig(w, 'b');
  const probe = new Probe(a);
  let server = -1;
  const at = { family: 'ipv4', host: '10.0.0.2', port: 7788 } as const;
  b.io.listen(at, PLAIN, { accepted: (_l, stream) => (server = stream) });
  const tag = probe.op();
  a.io.connect(at, null, 1000, PLAIN, tag);
  const client = await probe.result(tag);
  await b.until(() => server >= 0, 'accepted');
  const readers = { client: new Reader(), server: new Reader() };
  readers.server.onData = (s, start, end) => b.io.consume(s, end - start);
  a.io.attachStream(client, readers.client);
  b.io.attachStream(server, readers.server);
  b.io.submit();
  a.io.submit();
  return { w, a, b, probe, client, server, readers };
}

test('a cut holds bytes back and loses none; while it lasts a new connection times out', async (t) => {
  const { w, a, probe, client, readers } = await twoHosts(8);
  w.net.cut('lan');
  a.io.send(client, take(a, 4096), 4096, probe.op());
  const tag = probe.op();
  a.io.connect({ family: 'ipv4', host: '10.0.0.2', port: 7788 }, null, 500, PLAIN, tag);
  t.is(await probe.result(tag), -ERRNO.ETIMEDOUT);
  w.clock.runUntil(w.clock.nowMs + 10_000);
  t.is(readers.server.calls, 0);
  w.net.heal('lan');
  w.clock.runUntilIdle(1000);
  t.true(readers.server.calls > 0);
  t.is(readers.server.ends, 0);
});

// As Linux does: close(2) of a socket with unread data sends RST, otherwise FIN.
test('a dead process ends its connections, or resets them when it had not read everything', async (t) => {
  const read = await twoHosts(9);
  read.b.io.crash(false);
  read.w.clock.runUntilIdle(1000);
  t.is(read.readers.client.error, 0);

  const unread = await twoHosts(9);
  unread.readers.server.onData = null;
  for (let i = 0; i < 3; i++) {
    unread.a.io.send(unread.client, take(unread.a, 65536), 65536, unread.probe.op());
  }
  unread.a.io.submit();
  unread.w.clock.runUntilIdle(1000);
  unread.b.io.crash(false);
  unread.w.clock.runUntilIdle(1000);
  t.is(unread.readers.client.error, ERRNO.ECONNRESET);
});

test('a host without power says nothing until it is back', async (t) => {
  const dark = await twoHosts(10);
  dark.b.io.crash(true);
  dark.a.io.send(dark.client, take(dark.a, 4096), 4096, dark.probe.op());
  dark.a.io.submit();
  dark.w.clock.runUntil(60_000);
  t.is(dark.readers.client.ends, 0);
  dark.w.net.boot('b');
  dark.w.clock.runUntilIdle(1000);
  t.is(dark.readers.client.error, ERRNO.ECONNRESET);
});
