/** The client of kernel-migration.test.ts sees what it is there for: a record that is missing, old, or of nobody. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { run } from '../../src/cli/pair-run.js';
import { MigrationClient, RECORD_BYTES, RECORDS_FILE, type Serve } from './migration-client.js';

const shell: Serve = async (line) => {
  const { status, stdout, stderr } = await run(['sh', '-c', line]);
  return { status, out: `${stdout}${stderr}` };
};

test('records that were acknowledged and are not there are named', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-client-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const file = join(dir, RECORDS_FILE);
  const client = new MigrationClient();
  client.start(shell, dir);
  await client.more(5);
  await client.stop();
  const whole = readFileSync(file);
  t.is(whole.length, client.acknowledged * RECORD_BYTES);
  t.true(whole.equals(client.expected()));
  t.deepEqual(client.lost(whole), []);

  copyFileSync(file, join(dir, 'older'));
  truncateSync(join(dir, 'older'), whole.length - RECORD_BYTES);
  t.deepEqual(client.lost(readFileSync(join(dir, 'older'))), [`${client.acknowledged}`]);
  const altered = Buffer.from(whole);
  altered.writeUInt8(0, RECORD_BYTES + 17);
  t.deepEqual(client.lost(altered), ['2']);
});

test('what was not acknowledged is asked for again, of whoever has the service next', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-client-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const client = new MigrationClient();
  let asked = 0;
  const dying: Serve = async (line) => {
    if (++asked > 3) throw new Error('the shell ended');
    return shell(line);
  };
  client.start(dying, dir);
  await t.throwsAsync(client.more(10), { message: /record 4: status -1: .*the shell ended/ });
  await client.stop();
  t.is(client.acknowledged, 3);
  client.start(shell, dir);
  await client.more(4);
  await client.stop();
  t.is(client.failure, null);
  t.deepEqual(client.lost(readFileSync(join(dir, RECORDS_FILE))), []);
});

test('the file goes round: the last record of each slot counts', (t) => {
  const client = new MigrationClient();
  client.acknowledged = 1026;
  const numbers = [0, 1, 2, 1023].map((slot) =>
    Number(client.expected().subarray(slot * RECORD_BYTES, (slot + 1) * RECORD_BYTES)),
  );
  t.deepEqual(numbers, [1025, 1026, 3, 1024]);
});
