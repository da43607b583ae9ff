/** A disk that must not come back into a connected pair: both nodes see it, the connection stays, nothing hangs. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import test from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import type { UuidSet } from '../../src/drbd/generation.js';
import { setSecondary } from '../../src/drbd/roles.js';
import { isRefused, layoutOfDevice } from '../../src/md/layout.js';
import type { Engines, TestNode } from '../support/engines.js';
import { pair, pattern, promote } from '../support/pair.js';

/** Other generations in the superblock of a disk that is not attached. */
function setGenerations(node: TestNode, sizeBytes: number, set: UuidSet): void {
  const layout = layoutOfDevice('internal', Math.floor(sizeBytes / 512));
  if (isRefused(layout)) throw new Error(layout.text);
  const bytes = Buffer.alloc(32);
  const values = [set.current, set.bitmap, set.history1, set.history2];
  for (const [i, value] of values.entries()) bytes.writeBigUInt64BE(value, i * 8);
  const fd = openSync(node.disk, 'r+');
  writeSync(fd, bytes, 0, 32, layout.superblockSector * 512 + 8);
  const read = Buffer.alloc(8);
  readSync(fd, read, 0, 8, layout.superblockSector * 512 + 8);
  closeSync(fd);
  if (read.readBigUInt64BE() !== set.current) throw new Error('not written');
}

const SIZE = 16 << 20;

async function detached(e: Engines): Promise<void> {
  const outcome = await e.a.ask((v, done) => detach(v, false, done));
  if (outcome.kind !== 'ok') throw new Error(JSON.stringify(outcome));
  await e.b.until(/ds:UpToDate\/Diskless/);
}

test('an unrelated disk: the attach ends, the pair stays', async (t) => {
  const e = await pair(t, { sizeBytes: SIZE });
  t.is((await e.a.ask((v, done) => setSecondary(v, done))).kind, 'ok');
  await detached(e);
  setGenerations(e.a, SIZE, {
    current: 0x1111_0000_0000_0000n,
    bitmap: 0n,
    history1: 0x2222_0000_0000_0000n,
    history2: 0x3333_0000_0000_0000n,
  });
  await e.a.attach().catch(() => {});
  await e.a.until(/cs:Connected .*ds:Diskless\/UpToDate/);
  await e.b.until(/cs:Connected .*ds:UpToDate\/Diskless/);
  t.true(e.a.log.some((line) => line.includes('Unrelated data, aborting!')));
  t.true(e.b.log.some((line) => line.includes('Unrelated data, aborting!')));
  await promote(e.b);
  t.is(await e.b.write(0, pattern(1, 4096)), 0);
});

test('a Primary that works with the disk of the peer gets back a disk that claims to be newer: neither copy is touched', async (t) => {
  const e = await pair(t, { sizeBytes: SIZE });
  await detached(e);
  t.is(await e.a.write(0, pattern(1, 4096)), 0);
  setGenerations(e.a, SIZE, {
    current: 0x1111_0000_0000_0000n,
    bitmap: e.b.volume.uuids.current,
    history1: e.b.volume.uuids.bitmap,
    history2: 0n,
  });
  await e.a.attach().catch(() => {});
  await e.a.until(/cs:Connected .*ds:Diskless\/UpToDate/);
  await e.b.until(/cs:Connected .*ds:UpToDate\/Diskless/);
  t.deepEqual(await e.a.read(0, 4096), pattern(1, 4096));
  t.is(await e.a.write(8, pattern(2, 4096)), 0);
  t.deepEqual(e.b.onDisk(8, 4096), pattern(2, 4096));
  t.true(e.a.log.some((line) => line.includes("the data in use are the peer's!")));
});
