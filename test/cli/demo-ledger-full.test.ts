/** The ledger on a disk that is full: a write that went half way is an error, and no row is lost. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { FileBook } from '../../src/cli/demo-ledger.js';
import { need } from '../support/need.js';

test('a copy without some rows that does not fit does not take the place of the file', async (t) => {
  if (!need(t, 'root', 'netns', 'mount')) return;
  const dir = mkdtempSync(join(tmpdir(), 'ledger-full-'));
  t.teardown(() => {
    execFileSync('umount', ['--lazy', dir]); // the ledger has no end of its own: its file is open
    rmSync(dir, { recursive: true, force: true });
  });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=12k', 'none', dir]);
  const file = join(dir, 'ledger');
  const rows = Array.from({ length: 1600 }, (_, i) => 1000 + i); // 8000 bytes, two pages: one is left
  writeFileSync(file, rows.map((row) => `${row}\n`).join(''));
  const book = new FileBook(file);
  await t.throwsAsync(book.remove(1000, 1001), { code: 'ENOSPC' });
  t.deepEqual(await new FileBook(file).rows(), rows);
});

test('a row that is written half is not answered', async (t) => {
  if (!need(t, 'root', 'netns', 'mount')) return;
  const dir = mkdtempSync(join(tmpdir(), 'ledger-full-'));
  t.teardown(() => {
    execFileSync('umount', ['--lazy', dir]);
    rmSync(dir, { recursive: true, force: true });
  });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4k', 'none', dir]);
  const file = join(dir, 'ledger');
  writeFileSync(file, `${'1'.repeat(4)}\n`.repeat(818)); // 4090 of 4096 bytes
  const book = new FileBook(file);
  await t.throwsAsync(book.commit(123_456_789), { code: 'ENOSPC' });
  t.deepEqual(await new FileBook(file).rows(), [1111]);
});
