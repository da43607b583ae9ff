/** The part of the suite about streams: bytes arrive once, in order, wherever they were cut. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { ERRNO } from '../../src/host/errno.js';
import { NO_TAG, STREAM_PEEK_BYTES } from '../../src/host/io.js';
import {
  connected,
  differs,
  fill,
  type Probe,
  pattern,
  Reader,
  type Rig,
  take,
  type WithRig,
} from './io-conformance.js';

const MIB = 1 << 20;

/** A connection whose client side only sends. */
async function oneWay(
  rig: Rig,
  probe: Probe,
): Promise<{ client: number; server: number; reader: Reader }> {
  const { client, server } = await connected(rig, probe);
  const reader = new Reader();
  rig.io.attachStream(client, new Reader());
  rig.io.attachStream(server, reader);
  return { client, server, reader };
}

export function streamConformance(name: string, withRig: WithRig): void {
  test(
    `${name}: tiny and large sends arrive in order, consumed from the peek region`,
    withRig(async (t, rig, probe) => {
      const { client, server, reader } = await oneWay(rig, probe);
      const random = new Prng(7);
      let received = 0;
      let wrong = -1;
      reader.onData = (_s, start, end) => {
        const n = random.chance(0.3) ? Math.floor((end - start) / 2) : end - start;
        const d = differs(rig, start, n, 1, received);
        if (d >= 0 && wrong < 0) wrong = received + d;
        received += n;
        rig.io.consume(server, n);
      };
      let sent = 0;
      const buffer = take(rig, MIB);
      for (const length of [1, 2, 3, 4096, 1, 65536, 7, MIB, 1, 100_000, 4095, 1]) {
        fill(rig, buffer, length, 1, sent);
        const tag = probe.op();
        rig.io.send(client, buffer, length, tag);
        t.is(await probe.result(tag), length); // then the buffer is ours again
        sent += length;
      }
      const last = take(rig, 0) - 512;
      fill(rig, last, 1, 1, sent);
      // A reader that left bytes is called again only with more.
      rig.io.send(client, last, 1, NO_TAG);
      rig.io.submit();
      sent += 1;
      reader.onData = (_s, start, end) => {
        const d = differs(rig, start, end - start, 1, received);
        if (d >= 0 && wrong < 0) wrong = received + d;
        received += end - start;
        rig.io.consume(server, end - start);
      };
      await rig.until(() => received === sent, `${sent} bytes`);
      t.is(wrong, -1);
    }),
  );

  test(
    `${name}: sends of one turn are each completed, in order, and the backlog returns to 0`,
    withRig(async (t, rig, probe) => {
      const { client, server, reader } = await oneWay(rig, probe);
      let received = 0;
      let wrong = 0;
      reader.onData = (_s, start, end) => {
        if (differs(rig, start, end - start, 2, received) >= 0) wrong++;
        received += end - start;
        rig.io.consume(server, end - start);
      };
      const at = take(rig, MIB);
      fill(rig, at, MIB, 2);
      const piece = 3001;
      for (let i = 0; i < 300; i++) rig.io.send(client, at + i * piece, piece, probe.op());
      t.is(rig.io.sendBacklogBytes(client), 300 * piece);
      const results = await probe.all();
      t.true(results.slice(1).every((r) => r === piece));
      t.deepEqual(
        probe.order.slice(1),
        Array.from({ length: 300 }, (_, i) => i + 1),
      );
      t.is(rig.io.sendBacklogBytes(client), 0);
      await rig.until(() => received === 300 * piece, 'all bytes');
      t.is(wrong, 0);
    }),
  );

  test(
    `${name}: a message cut at every byte is received whole`,
    withRig(async (t, rig, probe) => {
      const { client, server, reader } = await oneWay(rig, probe);
      const HEADER = 16;
      const BODY = 40;
      const target = take(rig, 4096);
      const source = take(rig, 4096);
      let message = 0;
      let state: 'header' | 'body' = 'header';
      const tags: number[] = [];
      const parse = (start: number, end: number): void => {
        if (state === 'header' && end - start >= HEADER) {
          if (differs(rig, start, HEADER, message) >= 0) t.fail(`header of message ${message}`);
          state = 'body';
          const tag = probe.op();
          tags.push(tag);
          rig.io.receive(server, HEADER, target, BODY, tag);
        }
      };
      reader.onData = (_s, start, end) => parse(start, end);
      for (let cut = 1; cut < HEADER + BODY; cut++) {
        message = cut;
        state = 'header';
        rig.io.pool.fill(0, target, target + BODY);
        fill(rig, source, HEADER + BODY, message);
        const first = probe.op();
        rig.io.send(client, source, cut, first);
        await probe.result(first);
        // Wait until the first part has arrived, so that the cut is a real one.
        const calls = reader.calls;
        if (cut < HEADER) {
          await rig.until(() => reader.end - reader.start >= cut && reader.calls > 0, 'first part');
        } else if (calls === reader.calls) {
          await rig.until(() => state === 'body', 'header');
        }
        const second = probe.op();
        rig.io.send(client, source + cut, HEADER + BODY - cut, second);
        await probe.result(second);
        await rig.until(() => tags.length > 0, 'receive begun');
        t.is(await probe.result(tags.pop() as number), BODY);
        t.is(differs(rig, target, BODY, message, HEADER), -1, `cut at ${cut}`);
        reader.start = 0;
        reader.end = 0;
      }
    }),
  );

  test(
    `${name}: a receive of peeked bytes copies at once, completes later; what follows is consumed without a new call`,
    withRig(async (t, rig, probe) => {
      const { client, server, reader } = await oneWay(rig, probe);
      const source = take(rig, 4096);
      const target = take(rig, 4096);
      fill(rig, source, 300, 3);
      let tag = -1;
      let inside = true;
      reader.onData = (_s, start, end) => {
        if (end - start < 300 || tag >= 0) return;
        tag = probe.op();
        rig.io.receive(server, 100, target, 100, tag);
        inside = probe.results.has(probe.order.length); // nothing is told inside the call
        t.is(differs(rig, start + 200, 100, 3, 200), -1);
        rig.io.consume(server, 100);
      };
      const sent = probe.op();
      rig.io.send(client, source, 300, sent);
      await probe.result(sent);
      await rig.until(() => tag >= 0, 'data');
      t.is(await probe.result(tag), 100);
      t.false(inside);
      t.is(differs(rig, target, 100, 3, 100), -1);
      const calls = reader.calls;
      // Nothing is left, so the next call is for the next bytes only.
      rig.io.send(client, source, 10, NO_TAG);
      rig.io.submit();
      await rig.until(() => reader.calls > calls, 'next bytes');
      t.is(reader.end - reader.start, 10);
    }),
  );

  test(
    `${name}: receive(NO_TAG) of peeked bytes, then writeDisk of the same buffer in the same turn`,
    withRig(async (t, rig, probe) => {
      const opening = probe.op();
      rig.io.openDisk(rig.disk(65536), { write: true, exclusive: false }, opening);
      const disk = await probe.result(opening);
      const { client, server, reader } = await oneWay(rig, probe);
      const source = take(rig, 65536);
      const target = take(rig, 4096);
      fill(rig, source, 4096 + 20, 4);
      let tag = -1;
      reader.onData = (_s, start, end) => {
        if (end - start < 4096 + 20) return;
        tag = probe.op();
        rig.io.receive(server, 20, target, 4096, NO_TAG);
        rig.io.writeDisk(disk, 0, target, 4096, true, tag);
      };
      const sent = probe.op();
      rig.io.send(client, source, 4096 + 20, sent);
      await probe.result(sent);
      await rig.until(() => tag >= 0, 'data');
      t.is(await probe.result(tag), 4096);
      rig.io.pool.fill(0, target, target + 4096);
      const read = probe.op();
      rig.io.readDisk(disk, 0, target, 4096, read);
      t.is(await probe.result(read), 4096);
      t.is(differs(rig, target, 4096, 4, 20), -1);
    }),
  );

  for (const length of [1, 4096, 60_000, 65_536, 65_537, 200_000, MIB]) {
    test(
      `${name}: a receive of ${length} bytes ends exactly there`,
      withRig(async (t, rig, probe) => {
        const { client, server, reader } = await oneWay(rig, probe);
        const source = take(rig, MIB);
        const target = take(rig, length);
        const tail = take(rig, 4096);
        const tag = probe.op();
        // Before anything is there; then header, body and tail follow each other without a pause.
        let step = 0;
        const eatTail = (start: number, end: number): void => {
          if (step !== 1 || end - start < 50) return;
          step = 2;
          t.is(differs(rig, start, 50, 6), -1);
          rig.io.consume(server, 50);
        };
        reader.onData = (_s, start, end) => {
          if (step > 0) return eatTail(start, end);
          step = 1;
          t.is(rig.io.pool[start], 0xab);
          rig.io.receive(server, 1, target, length, tag);
          // What was peeked behind it is ours at once; otherwise it is told after the completion.
          if (end - start > length) eatTail(start + 1 + length, end);
        };
        rig.io.pool[tail + 100] = 0xab;
        fill(rig, source, length, 5);
        fill(rig, tail, 50, 6);
        rig.io.send(client, tail + 100, 1, NO_TAG);
        rig.io.send(client, source, length, NO_TAG);
        rig.io.send(client, tail, 50, probe.op());
        rig.io.submit();
        await rig.until(() => step >= 1, 'header');
        t.is(await probe.result(tag), length);
        await rig.until(() => step === 2, 'tail');
        t.is(differs(rig, target, length, 5), -1);
        t.is(rig.io.pool[target + length] === pattern(5, length), false);
      }),
    );
  }

  test(
    `${name}: a reader that does not consume holds the sender back, and loses nothing`,
    withRig(async (t, rig, probe) => {
      const { client, server, reader } = await oneWay(rig, probe);
      const source = take(rig, MIB);
      fill(rig, source, MIB, 8);
      const COUNT = 24;
      for (let i = 0; i < COUNT; i++) rig.io.send(client, source, MIB, probe.op());
      rig.io.submit();
      await rig.until(() => reader.end - reader.start >= STREAM_PEEK_BYTES, 'a full peek region');
      let received = 0;
      let wrong = 0;
      const eat = (start: number, end: number) => {
        for (let i = start; i < end; ) {
          const inBlock = (received + i - start) % MIB;
          const n = Math.min(end - i, MIB - inBlock);
          if (differs(rig, i, n, 8, inBlock) >= 0) wrong++;
          i += n;
        }
        received += end - start;
        rig.io.consume(server, end - start);
      };
      t.true(rig.io.sendBacklogBytes(client) > 0);
      reader.onData = (_s, start, end) => eat(start, end);
      eat(reader.start, reader.end);
      rig.io.submit();
      await rig.until(() => received === COUNT * MIB, 'all bytes');
      t.true((await probe.all()).slice(1).every((r) => r === MIB));
      t.is(wrong, 0);
      t.is(rig.io.sendBacklogBytes(client), 0);
    }),
  );

  test(
    `${name}: header of nearly a peek region's size that arrives in pieces can be peeked whole`,
    withRig(async (t, rig, probe) => {
      const { client, server, reader } = await oneWay(rig, probe);
      const source = take(rig, MIB);
      let rounds = 0;
      reader.onData = (_s, start, end) => {
        if (end - start < STREAM_PEEK_BYTES) return;
        if (differs(rig, start, STREAM_PEEK_BYTES, 9 + rounds) >= 0) t.fail(`round ${rounds}`);
        rounds++;
        rig.io.consume(server, STREAM_PEEK_BYTES);
      };
      for (let round = 0; round < 5; round++) {
        fill(rig, source, STREAM_PEEK_BYTES, 9 + round);
        let from = 0;
        for (const length of [1, 1000, 30_000, 34_000, 535]) {
          const tag = probe.op();
          rig.io.send(client, source + from, length, tag);
          await probe.result(tag);
          from += length;
        }
        t.is(from, STREAM_PEEK_BYTES);
        await rig.until(() => rounds === round + 1, `round ${round}`);
      }
    }),
  );

  test(
    `${name}: the peer's end comes after its last bytes, once, with error 0`,
    withRig(async (t, rig, probe) => {
      const { client, server, reader } = await oneWay(rig, probe);
      const source = take(rig, 4096);
      t.true(rig.io.streamAlive(server));
      rig.io.send(client, source, 4096, probe.op());
      rig.io.close(client);
      rig.io.submit();
      await rig.until(() => reader.ends > 0, 'end');
      t.is(reader.end - reader.start, 4096);
      t.is(reader.error, 0);
      rig.io.consume(server, 4096);
      t.false(rig.io.streamAlive(server));
      rig.io.close(server);
      rig.io.submit();
      t.is(reader.ends, 1);
    }),
  );

  test(
    `${name}: an end in the middle of a receive fails it with ECONNRESET before the end is told`,
    withRig(async (t, rig, probe) => {
      const { client, server, reader } = await oneWay(rig, probe);
      const source = take(rig, 4096);
      const tag = probe.op();
      let begun = false;
      reader.onData = () => {
        if (begun) return;
        begun = true;
        rig.io.receive(server, 1, take(rig, 4096), 4096, tag);
      };
      rig.io.send(client, source, 100, NO_TAG);
      rig.io.submit();
      await rig.until(() => begun, 'first bytes');
      rig.io.close(client);
      t.is(await probe.result(tag), -ERRNO.ECONNRESET);
      await rig.until(() => reader.ends > 0, 'end');
      t.is(reader.error, 0);
    }),
  );

  test(
    `${name}: closing a stream cancels what is unfinished and tells its owner nothing more`,
    withRig(async (t, rig, probe) => {
      const { client, server } = await connected(rig, probe);
      const reader = new Reader();
      const other = new Reader();
      rig.io.attachStream(client, reader);
      rig.io.attachStream(server, other); // does not consume: the client's sends will not all be taken
      const source = take(rig, MIB);
      const receive = probe.op();
      rig.io.receive(client, 0, take(rig, 4096), 4096, receive);
      const sends = Array.from({ length: 30 }, () => probe.op());
      for (const tag of sends) rig.io.send(client, source, MIB, tag);
      rig.io.submit();
      await rig.until(() => other.calls > 0, 'first bytes');
      rig.io.close(client);
      t.is(await probe.result(receive), -ERRNO.ECANCELED);
      const results = await Promise.all(sends.map((tag) => probe.result(tag)));
      t.is(results.at(-1), -ERRNO.ECANCELED);
      const firstCancelled = results.indexOf(-ERRNO.ECANCELED);
      t.true(results.slice(0, firstCancelled).every((r) => r === MIB));
      t.true(results.slice(firstCancelled).every((r) => r === -ERRNO.ECANCELED));
      t.is(reader.calls + reader.ends, 0);
    }),
  );
}
