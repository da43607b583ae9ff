/** A device that has grown under internal meta-data: found at the last known place, and moved. */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { MetaDevice } from '../../src/cli/drbdmeta-device.js';
import { ActivityLog } from '../../src/drbd/activity-log.js';
import { layoutOfSuperblock, superblockSector } from '../../src/md/layout.js';
import { decodeSuperblock, MAGIC_UNCLEAN, MDF } from '../../src/md/superblock.js';
import { created, edit, MetaNode, MIB, superblock } from '../support/drbdmeta-node.js';

// docs/METADATA.md section 6, check-resize; with the areas apart, and overlapping.
for (const grownBytes of [96 * MIB, 64 * MIB + 8192, 64 * MIB + 4096, 160 * MIB]) {
  test(`meta-data is found and moved after the device grew to ${grownBytes}`, async (t) => {
    const node = new MetaNode(t);
    const path = await created(node);
    await node.run(['0', 'v08', path, 'internal', 'write-dev-uuid', '0123456789ABCDEF']);
    const log = new ActivityLog(1237, 1, 8);
    edit(path, (disk, l, sb) => {
      for (let i = 0; i < 512; i++) disk[l.bitmapSector * 512 + i] = (i * 37) & 255;
      for (const extent of [3, 9]) {
        log.enter(extent);
        const tr = log.prepare(disk, l.alSector * 512 + log.trNumber * 4096);
        if (tr) log.commit();
      }
      const flags = MDF.PRIMARY_IND | MDF.CONSISTENT | MDF.WAS_UP_TO_DATE;
      return { ...sb, laSizeSectors: 130992, magic: MAGIC_UNCLEAN, flags };
    });
    const old = readFileSync(path);
    const oldLayout = layoutOfSuperblock(superblock(path), 'internal', old.length / 512 - 8);
    const bitmap = old.subarray(oldLayout.bitmapSector * 512, oldLayout.bitmapSector * 512 + 4096);

    truncateSync(path, grownBytes);
    t.is((await node.run(['0', 'v08', path, 'internal', 'get-gi'])).status, 1);
    const r = await node.run(['0', 'v08', path, 'internal', 'check-resize']);
    t.like(r, {
      status: 0,
      out: 'Internal drbd meta data successfully moved.\n',
      err: 'Moving the internal meta data to its proper location\n',
    });
    const disk = readFileSync(path);
    const sb = superblock(path);
    const l = layoutOfSuperblock(sb, 'internal', superblockSector('internal', disk.length / 512));
    t.like(sb, {
      laSizeSectors: 130992,
      deviceUuid: 0x0123456789abcdefn,
      flags: 0x13,
      magic: MAGIC_UNCLEAN,
    });
    t.is(
      Buffer.compare(disk.subarray(l.bitmapSector * 512, l.bitmapSector * 512 + 4096), bitmap),
      0,
    );
    t.true(disk.subarray(l.bitmapSector * 512 + 4096, l.alSector * 512).every((b) => b === 0));
    const applied = await node.run(['0', 'v08', path, 'internal', 'apply-al']);
    t.regex(applied.err, /^Marked additional \d+ KB as out-of-sync/);
    t.true(
      readFileSync(path)
        .subarray(l.bitmapSector * 512 + 3 * 128, l.bitmapSector * 512 + 512)
        .every((b) => b === 255),
    );
    const dataEnd = Math.min(oldLayout.superblockSector + 8, l.bitmapSector) * 512;
    t.true(disk.subarray(oldLayout.bitmapSector * 512, dataEnd).every((b) => b === 0));
    // The old superblock lies in the data area now, unless it was written over: it must not be found again.
    t.not(decodeSuperblock(disk, oldLayout.superblockSector * 512).magic, MAGIC_UNCLEAN);
    t.is(
      (await node.run(['0', 'v08', path, 'internal', 'check-resize'])).out,
      '',
      'nothing more to do',
    );
  });
}

test('meta-data at the last known place is dumped with a note; create-md offers to move it', async (t) => {
  const node = new MetaNode(t);
  const path = await created(node);
  truncateSync(path, 96 * MIB);
  const dump = await node.run(['0', 'v08', path, 'internal', 'dump-md']);
  t.is(dump.status, 0);
  t.regex(
    dump.out,
    /### Device seems to have been resized!\n[\s\S]*## md_offset 100659200\n[\s\S]*# md_offset 67104768\n/,
  );
  const moved = await node.run(['0', 'v08', path, 'internal', 'create-md'], ['yes']);
  t.regex(moved.out, /successfully moved/);
  // With another identity at that place it is not ours.
  truncateSync(path, 128 * MIB);
  writeFileSync(
    join(node.root, 'var/lib/drbd/drbd-minor-0.lkbd'),
    `${96 * MIB}\t${path}\nuuid:\t00000000000000AA\n`,
  );
  const foreign = await node.run(['0', 'v08', path, 'internal', 'check-resize']);
  t.is(foreign.status, 1);
  t.regex(foreign.err, /Last known and found uuid differ[\s\S]*no suitable meta data found/);
});

/** What changes the device, or asks for durability. */
const STEPS = ['write', 'writeSuperblock', 'wipeSuperblock', 'erase', 'sync'] as const;

/** While `run` runs, the program is killed in front of step `last`. True: there was one. */
async function killedAt(last: number, run: () => Promise<unknown>): Promise<boolean> {
  let step = 0;
  const prototype = MetaDevice.prototype as unknown as Record<string, (...a: unknown[]) => unknown>;
  const original = STEPS.map((name) => [name, prototype[name]] as const);
  for (const [name, method] of original) {
    prototype[name] = function (...args) {
      if (step++ === last) throw new Error('killed');
      return method?.apply(this, args);
    };
  }
  try {
    await run();
    return false;
  } catch {
    return true;
  } finally {
    for (const [name, method] of original) if (method) prototype[name] = method;
  }
}

for (const grownBytes of [96 * MIB, 64 * MIB + 8192]) {
  test.serial(
    `check-resize to ${grownBytes} is killed in every step, and the device grows again: the log is there, or all is copied`,
    async (t) => {
      let step = 0;
      for (; ; step++) {
        const node = new MetaNode(t);
        const path = await created(node);
        await node.run(['0', 'v08', path, 'internal', 'write-dev-uuid', '0123456789ABCDEF']);
        const log = new ActivityLog(1237, 1, 8);
        edit(path, (disk, l, sb) => {
          log.enter(3);
          if (log.prepare(disk, l.alSector * 512 + log.trNumber * 4096)) log.commit();
          const flags = MDF.PRIMARY_IND | MDF.CONSISTENT | MDF.WAS_UP_TO_DATE;
          return { ...sb, laSizeSectors: 130992, magic: MAGIC_UNCLEAN, flags };
        });
        truncateSync(path, grownBytes);
        const isKilled = await killedAt(step, () =>
          node.run(['0', 'v08', path, 'internal', 'check-resize']),
        );
        truncateSync(path, grownBytes + 65536);
        const again = await node.run(['0', 'v08', path, 'internal', 'check-resize']);
        t.is(again.status, 0, `step ${step}: ${again.err}`);
        const isFull = (superblock(path).flags & MDF.FULL_SYNC) !== 0;
        const applied = await node.run(['0', 'v08', path, 'internal', 'apply-al']);
        t.true(isFull || /^Marked additional/.test(applied.err), `step ${step}: ${applied.err}`);
        if (!isKilled) break;
      }
      t.true(step > 5, `${step} steps`);
    },
  );
}
