/** The part of the suite about connections coming to be, owners and tags, buffers, batches and the end. */
import test from 'ava';
import { ERRNO } from '../../src/host/errno.js';
import { HEAD_BYTES, NO_TAG } from '../../src/host/io.js';
import { poolExhausted } from '../../src/host/io-error.js';
import { connected, PLAIN, Reader, take, type WithRig } from './io-conformance.js';

export function lifeConformance(name: string, withRig: WithRig): void {
  test(
    `${name}: accept names the peer; a connection can come from a chosen address`,
    withRig(async (t, rig, probe) => {
      const local = { family: 'ipv4', host: rig.secondHost, port: 0 } as const;
      const { peer } = await connected(rig, probe, undefined, local);
      t.regex(peer, new RegExp(`^${rig.secondHost.replaceAll('.', '\\.')}:\\d+$`));
    }),
  );

  test(
    `${name}: a refused connection is ECONNREFUSED`,
    withRig(async (t, rig, probe) => {
      const tag = probe.op();
      rig.io.connect(await rig.tcp(), null, 5_000, PLAIN, tag);
      t.is(await probe.result(tag), -ERRNO.ECONNREFUSED);
    }),
  );

  test(
    `${name}: a connection that is not answered is ETIMEDOUT`,
    withRig(async (t, rig, probe) => {
      const hole = await rig.blackHole();
      const tags = Array.from({ length: 8 }, () => probe.op()); // the first ones may fill a backlog
      for (const tag of tags) rig.io.connect(hole, null, 250, PLAIN, tag);
      const results = await Promise.all(tags.map((tag) => probe.result(tag)));
      t.true(results.includes(-ERRNO.ETIMEDOUT), `${results}`);
      t.true(
        results.every((r) => r > 0 || r === -ERRNO.ETIMEDOUT),
        `${results}`,
      );
    }),
  );

  test(
    `${name}: listen tells at once that an address is taken or not ours`,
    withRig(async (t, rig, probe) => {
      const at = await rig.tcp();
      const first = rig.io.listen(at, PLAIN, { accepted: () => {} });
      t.true(first > 0);
      t.is(rig.io.listen(at, PLAIN, { accepted: () => {} }), -ERRNO.EADDRINUSE);
      const foreign = { ...at, host: rig.foreignHost };
      t.is(rig.io.listen(foreign, PLAIN, { accepted: () => {} }), -ERRNO.EADDRNOTAVAIL);
      rig.io.close(first);
      rig.io.submit();
      // The address is free again, and nobody is there.
      const tag = probe.op();
      rig.io.connect(at, null, 5_000, PLAIN, tag);
      t.is(await probe.result(tag), -ERRNO.ECONNREFUSED);
      t.true(rig.io.listen(at, PLAIN, { accepted: () => {} }) > 0);
    }),
  );

  test(
    `${name}: unix sockets`,
    withRig(async (t, rig, probe) => {
      const path = rig.unixPath();
      const { client, server, peer } = await connected(rig, probe, { family: 'unix', path });
      t.is(peer, '');
      const reader = new Reader();
      rig.io.attachStream(server, reader);
      rig.io.attachStream(client, new Reader());
      const at = take(rig, 4096);
      const tag = probe.op();
      rig.io.send(client, at, 4096, tag);
      t.is(await probe.result(tag), 4096);
      await rig.until(() => reader.end - reader.start === 4096, 'bytes');
    }),
  );

  test(
    `${name}: bytes that arrived before the stream was attached are not lost`,
    withRig(async (t, rig, probe) => {
      const { client, server } = await connected(rig, probe);
      rig.io.attachStream(client, new Reader());
      const tag = probe.op();
      rig.io.send(client, take(rig, 4096), 4096, tag);
      await probe.result(tag);
      const reader = new Reader();
      rig.io.attachStream(server, reader);
      rig.io.submit();
      await rig.until(() => reader.end - reader.start === 4096, 'bytes');
      t.is(reader.ends, 0);
    }),
  );

  test(
    `${name}: more streams than peek regions: the stream ends with ENOBUFS`,
    withRig(async (t, rig, probe) => {
      const ends: Reader[] = [];
      for (let i = 0; i < 5; i++) {
        const { client, server } = await connected(rig, probe);
        for (const stream of [client, server]) {
          const reader = new Reader();
          rig.io.attachStream(stream, reader);
          ends.push(reader);
        }
      }
      rig.io.submit();
      await rig.until(() => ends.slice(8).every((r) => r.ends === 1), 'ends');
      t.deepEqual(
        ends.map((r) => r.error),
        [...Array.from({ length: 8 }, () => -1), ERRNO.ENOBUFS, ERRNO.ENOBUFS],
      );
    }),
  );

  test(
    `${name}: tags lead to their owner; NO_TAG is told to nobody`,
    withRig(async (t, rig, probe) => {
      const seen: string[] = [];
      const a = rig.io.register({ ioDone: (i, r) => seen.push(`a ${i} ${r}`) });
      const b = rig.io.register({ ioDone: (i, r) => seen.push(`b ${i} ${r}`) });
      const opening = probe.op();
      rig.io.openDisk(rig.disk(65536), { write: true, exclusive: false }, opening);
      const disk = await probe.result(opening);
      const at = take(rig, 4096);
      rig.io.readDisk(disk, 0, at, 4096, a + 0xfffffe);
      rig.io.flushDisk(disk, NO_TAG);
      rig.io.readDisk(disk, 0, at, 512, b);
      t.deepEqual(seen, []); // queued only
      rig.io.submit();
      t.deepEqual(seen, []); // never inside the call
      await rig.until(() => seen.length === 2, 'both');
      t.deepEqual(seen.sort(), ['a 16777214 4096', 'b 0 512']);
    }),
  );

  // Code POOL_EXHAUSTED.
  test(
    `${name}: buffers: aligned, with a head, exhausted by class`,
    withRig(async (t, rig) => {
      const { io } = rig;
      const held: number[] = [];
      for (;;) {
        const at = io.alloc(1 << 20);
        if (at < 0) break;
        t.is(at % 4096, 0);
        t.true(at >= HEAD_BYTES);
        t.is(io.capacity(at), 1 << 20);
        held.push(at);
      }
      t.is(io.alloc(65537), -1);
      t.is(poolExhausted(65537).code, 'POOL_EXHAUSTED');
      t.true(io.alloc(65536) > 0);
      const last = held.pop() as number;
      io.free(last);
      t.throws(() => io.free(last), { name: 'InvariantError' });
      t.is(io.alloc(65537), last);
      io.poolView.setUint32(last, 0x01020304);
      t.deepEqual([...io.pool.subarray(last, last + 4)], [1, 2, 3, 4]);
    }),
  );

  test(
    `${name}: each batch ends once, after its completions; what is queued meanwhile is submitted`,
    withRig(async (t, rig, probe) => {
      const opening = probe.op();
      rig.io.openDisk(rig.disk(65536), { write: true, exclusive: false }, opening);
      const disk = await probe.result(opening);
      const at = take(rig, 4096);
      const log: string[] = [];
      let left = 5;
      let base = 0;
      const owner = {
        ioDone: () => {
          log.push('done');
          if (--left > 0) rig.io.readDisk(disk, 0, at, 4096, base);
        },
      };
      base = rig.io.register(owner);
      let lastMs = 0;
      let backwards = false;
      rig.io.onBatchEnd(() => {
        log.push('end');
        if (rig.io.nowMs() < lastMs) backwards = true;
        lastMs = rig.io.nowMs();
        rig.io.submit();
      });
      rig.io.readDisk(disk, 0, at, 4096, base);
      rig.io.submit();
      await rig.until(() => left === 0 && log.at(-1) === 'end', 'five reads');
      t.is(log.filter((l) => l === 'done').length, 5);
      t.false(log.join().includes('done,done'));
      t.false(backwards);
    }),
  );

  // Found: what a resolved promise queued took the place of commands that the batch had queued and not yet submitted.
  test(
    `${name}: what the batch queues and what a promise queues right after it are both done, once`,
    withRig(async (t, rig, probe) => {
      const opening = probe.op();
      rig.io.openDisk(rig.disk(1 << 20), { write: true, exclusive: false }, opening);
      const disk = await probe.result(opening);
      let wake: () => void = () => {};
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const first = rig.io.register({
        ioDone: () => {
          wake();
          for (let i = 0; i < 8; i++) rig.io.readDisk(disk, 0, take(rig, 4096), 4096, probe.op());
        },
      });
      rig.io.flushDisk(disk, first);
      rig.io.submit();
      const late = woken.then(() => {
        for (let i = 0; i < 8; i++) rig.io.readDisk(disk, 0, take(rig, 4096), 512, probe.op());
        rig.io.submit();
      });
      await rig.until(() => probe.results.size >= 9, 'the reads of the batch');
      await late;
      const results = (await probe.all()).slice(1);
      t.deepEqual(
        results.sort((a, b) => a - b),
        [...Array<number>(8).fill(512), ...Array<number>(8).fill(4096)],
      );
    }),
  );

  test(
    `${name}: destroy with everything in flight completes it all`,
    withRig(async (t, rig, probe) => {
      const opening = probe.op();
      rig.io.openDisk(rig.disk(1 << 20), { write: true, exclusive: false }, opening);
      const disk = await probe.result(opening);
      const { client, server } = await connected(rig, probe);
      rig.io.attachStream(client, new Reader());
      rig.io.attachStream(server, new Reader());
      const at = take(rig, 1 << 20);
      const receive = probe.op();
      rig.io.receive(client, 0, take(rig, 4096), 4096, receive);
      for (let i = 0; i < 30; i++) rig.io.send(client, at, 1 << 20, probe.op());
      for (let i = 0; i < 50; i++) rig.io.readDisk(disk, 0, take(rig, 4096), 4096, probe.op());
      rig.io.connect(await rig.blackHole(), null, 60_000, PLAIN, probe.op());
      rig.io.submit();
      await rig.close();
      const results = await probe.all();
      t.is(results.length, 84);
      t.is(probe.results.get(2), -ERRNO.ECANCELED);
    }),
  );
}
