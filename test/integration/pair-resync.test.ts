/** After a whole first resync nothing is left marked: not in memory, not on disk, and a source that dies finds no bit set. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { RESOURCE } from '../../src/cli/pair-config.js';
import { kill, run } from '../../src/cli/pair-run.js';
import { engineOf } from '../soak/soak-support.js';
import { deviceBytes, diskPair, sameDisks, until, WANTS } from '../support/disk-pair.js';
import { need } from '../support/need.js';

const BLOCK_BYTES = 4096;
/** Internal meta-data at the end of the disk: this bitmap of 16374 bits is in one block, 32 KiB of activity log and the superblock follow. */
const BLOCKS_FROM_END = 1 + 8 + 1;

/** No bit is set on the lower disk. */
async function isClearOnDisk(device: string): Promise<boolean> {
  const { stdout } = await run(['blockdev', '--getsize64', device]);
  const at = Number(stdout) / BLOCK_BYTES - BLOCKS_FROM_END;
  const read = `dd if=${device} bs=${BLOCK_BYTES} skip=${at} count=1 iflag=direct status=none`;
  const ran = await run(['sh', '-c', `${read} | tr -d '\\0' | wc -c`]);
  return ran.stdout.trim() === '0';
}

test('the bitmap on disk is clear after the first resync, whoever dies next', async (t) => {
  if (!need(t, ...WANTS)) return;
  const cluster = await diskPair({ diskMiB: 64, initial: 'sync', alExtents: 7 });
  t.teardown(() => cluster.destroy());
  const marked = (index: 0 | 1): string[] =>
    readFileSync(cluster.node(index).log('drbdd'), 'utf8')
      .split('\n')
      .filter((line) => line.includes('marked out-of-sync by on disk bit-map'))
      .map((line) => line.replace(/.*?: drbd0: /, ''));
  const clear = '0 KB (0 bits) marked out-of-sync by on disk bit-map.';

  // The Primary's daemon dies and its angel starts the next.
  t.is(marked(0).length, 1, 'the log of a daemon under its angel is written');
  // The source says that it is done while it writes its bitmap.
  const lower = cluster.node(0).lowerDevice;
  await until(cluster, 'the bitmap is clear on disk', () => isClearOnDisk(lower));
  t.true(kill(engineOf(cluster.node(0))));
  await until(cluster, 'the successor has attached', async () => marked(0).length === 2);
  t.is(marked(0)[1], clear);
  await cluster.waitInSync(0);

  // The whole nodes go; another program reads the disks.
  for (const index of [0, 1] as const) {
    await cluster.node(index).powerCut();
    await cluster.pair.powerOn(index);
    const dump = await cluster.type(index, 'drbdadm', '--', '--force', 'dump-md', RESOURCE);
    t.regex(dump, /^# bits-set 0;/m);
  }
  for (const index of [0, 1] as const) {
    await cluster.startDrbd(index);
    await cluster.up(index);
    t.is(marked(index).at(-1), clear);
  }
  await cluster.waitInSync(0);
  await cluster.type(0, 'drbdadm', 'primary', RESOURCE);
  await sameDisks(cluster, 0, await deviceBytes(cluster, 0));
});
