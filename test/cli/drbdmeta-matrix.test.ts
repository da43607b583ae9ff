/**
 * Our drbdmeta against the one of drbd-utils on random devices of 128 KiB to 16 GiB, in both directions: the same words,
 * exit status and bytes after every step. The largest devices have a test of their own.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmdirSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { Bench, bytesAt, GIB, ORACLE_NEEDS, plain } from '../support/drbdmeta-bench.js';
import { MIB } from '../support/drbdmeta-node.js';
import { MetaWalk } from '../support/drbdmeta-walk.js';
import { need } from '../support/need.js';

// More of them: TWINBEAT_FIRST_SEED=1000 TWINBEAT_DEVICES=300
const FIRST = Number(process.env['TWINBEAT_FIRST_SEED'] ?? 1);
const DEVICES = Number(process.env['TWINBEAT_DEVICES'] ?? 40);
const STEPS = 15;

for (let seed = FIRST; seed < FIRST + DEVICES; seed++) {
  test.serial(`device ${seed}`, async (t) => {
    if (!need(t, ...ORACLE_NEEDS)) return;
    const walk = new MetaWalk(t, new Bench(t, 1010), new Prng(seed), 16 * GIB);
    const succeeded = await walk.run(STEPS);
    t.true(succeeded > 0 || walk.length < STEPS, `nothing came of ${walk.what}`);
  });
}

test.serial('what the original makes and no kernel would attach is refused', async (t) => {
  if (!need(t, ...ORACLE_NEEDS)) return;
  const bench = new Bench(t, 1010);
  const short = await bench.loop(bench.file('short', MIB)); // the slot ends behind the device
  t.is((await bench.theirs(short, '0', 'create-md')).status, 0);
  const refused = await bench.ours(short, '0', 'create-md');
  t.is(refused.status, 10);
  t.regex(refused.err, /^slot 0 ends behind the device of 2048 sectors$/m);
  const striped = await bench.loop(bench.file('striped', 128 * MIB)); // slots have one stripe
  t.is((await bench.theirs(striped, '0', 'create-md', '--al-stripes', '4')).status, 0);
  const other = await bench.ours(striped, '0', 'create-md', '--al-stripes', '4');
  t.is(other.status, 10);
  t.regex(other.err, /^an indexed slot has an activity log of 1 stripe of 32 kB$/m);
});

test.serial("16 TiB: the meta-data of either is the other's", async (t) => {
  if (!need(t, ...ORACLE_NEEDS)) return;
  // ext4 ends one block before 16 TiB, and /dev/shm may be small.
  const dir = mkdtempSync(join(tmpdir(), 'tbo-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2g', 'tmpfs', dir]);
  t.teardown(() => {
    execFileSync('umount', [dir]);
    rmdirSync(dir);
  });
  const bench = new Bench(t, 1010, dir);
  const said: string[] = [];
  for (const who of ['theirs', 'ours'] as const) {
    const file = bench.file(who, 2 ** 44);
    const loop = await bench.loop(file);
    const made = await bench[who](loop, 'internal', 'create-md');
    t.is(made.status, 0);
    const gi = await bench[who](loop, 'internal', 'set-gi', 'A1:B2:C3:D4:1:1:1');
    t.is(gi.status, 0);
    for (const reader of ['theirs', 'ours'] as const) {
      for (const verb of ['show-gi', 'dump-md', 'dstate', 'apply-al']) {
        const r = await bench[reader](loop, 'internal', verb);
        said.push(`${verb} ${r.status} ${plain(r.out, loop)} ${plain(r.err, loop)}`);
      }
    }
    const hash = createHash('sha256').update(bytesAt(file, 2 ** 44 - 2 * MIB, 2 * MIB));
    said.push(`${made.out}${made.err}${hash.digest('hex')}`);
    truncateSync(file, 0); // its bitmap is half a gigabyte of memory
  }
  t.deepEqual(said.slice(0, said.length / 2), said.slice(said.length / 2));
  t.deepEqual(said.slice(0, 4), said.slice(4, 8));
});
