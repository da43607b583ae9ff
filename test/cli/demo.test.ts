/** The parts of the demo that count: the client's protocol against a real MariaDB, the ledger, the journal, the verdict. */
import { spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  ENDLESS,
  JournalReader,
  longestGap,
  lostRows,
  readJournal,
  readRoom,
  runClient,
  writeRoom,
} from '../../src/cli/demo-client.js';
import { FileBook, ledgerAnswer, serveLedger } from '../../src/cli/demo-ledger.js';
import { MysqlClient, SqlError } from '../../src/cli/demo-mysql.js';
import { openBlocks } from '../../src/cli/demo-nbd.js';
import {
  CLIENT_LIMITS,
  CREATE_TABLE,
  DEMO_LOGIN,
  openStore,
  PATIENT_LIMITS,
  TABLE,
} from '../../src/cli/demo-store.js';
import { Stream } from '../../src/cli/demo-stream.js';
import { parseProcDrbd } from '../../src/cli/pair-cluster.js';
import { waitUntil } from '../../src/cli/pair-run.js';
import { need } from '../support/need.js';

function directory(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-demo-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  return typeof address === 'object' && address ? address.port : 0;
}

test.serial('rows are committed to a real MariaDB, and known again', async (t) => {
  if (!need(t, 'root', 'mariadbd', 'mariadb-install-db', 'mariadb')) return;
  const dir = directory(t);
  chmodSync(dir, 0o755);
  const data = join(dir, 'data');
  const socket = join(dir, 'run', 'sock');
  const port = await freePort();
  // Temporary tables are named by pid, which a server in another test's namespace may have as well.
  const temporary = join(dir, 'tmp');
  const run = (program: string, args: string[], input = ''): void => {
    const done = spawnSync(program, args, {
      input,
      encoding: 'utf8',
      env: {
        ...process.env,
        MYSQL_OPTIONS: `--bind-address=127.0.0.1 --innodb-log-file-size=8M --innodb-buffer-pool-size=16M --tmpdir=${temporary}`,
      },
    });
    if (done.status !== 0) throw new Error(`${program}: ${done.stderr}${done.stdout}`);
  };
  const service = (action: string): void =>
    run(resolve('resource.d/mysql'), [data, socket, String(port), action]);
  run('install', ['-d', '-o', 'mysql', temporary]);
  run('mariadb-install-db', [
    ...[
      '--no-defaults',
      '--user=mysql',
      `--tmpdir=${temporary}`,
      `--datadir=${data}`,
      '--skip-test-db',
      '--innodb-log-file-size=8M',
    ],
    '--auth-root-authentication-method=normal',
  ]);
  service('start');
  t.teardown(() => service('stop'));
  run('mariadb', ['--no-defaults', '-u', 'root', '-S', socket], CREATE_TABLE);

  const login = { host: '127.0.0.1', port, ...DEMO_LOGIN };
  await t.throwsAsync(MysqlClient.connect({ ...login, password: 'wrong' }, 5_000, 5_000), {
    message: /^1045: Access denied/,
  });
  const sql = await MysqlClient.connect(login, 5_000, 5_000);
  t.deepEqual(await sql.query(`SELECT 1, NULL, '', REPEAT('x', 70000)`), [
    ['1', null, '', 'x'.repeat(70_000)],
  ]);
  const error = await t.throwsAsync(sql.query('SELECT nonsense'), { instanceOf: SqlError });
  t.is(error?.errno, 1054);
  t.deepEqual(await sql.query('SELECT 2 WHERE 1 = 0'), [], 'still good after an error');
  sql.close();

  const store = await openStore('mysql', '127.0.0.1', port, PATIENT_LIMITS);
  for (const row of [1, 2, 3, 2]) await store.commit(row);
  t.deepEqual(await store.rows(), [1, 2, 3]);
  for (const row of [4, 5, 6]) await store.commit(row);
  await store.remove(4, 6);
  t.deepEqual(await store.rows(), [1, 2, 3]);
  store.close();
  // A row that is there already may be there in memory alone: asking again committed something, so it is on the disk.
  const looks = await MysqlClient.connect(login, 5_000, 5_000);
  const notes = await looks.query(`SELECT n, note FROM ${TABLE} ORDER BY n`);
  looks.close();
  t.deepEqual(
    notes.map(([n, note]) => [n, note?.replace(/, .*/, ', again')]),
    [
      ['1', 'row 1'],
      ['2', 'row 2, again'],
      ['3', 'row 3'],
    ],
  );
});

test.serial('the ledger keeps what it answered, and cuts off a torn line', async (t) => {
  const file = join(directory(t), 'ledger');
  const first = new FileBook(file);
  t.is(await ledgerAnswer(first, '5'), 'ok 5\n');
  t.is(await ledgerAnswer(first, '7'), 'ok 7\n');
  t.is(await ledgerAnswer(first, '5'), 'ok 5\n');
  t.is(await ledgerAnswer(first, 'x'), 'not a number\n');
  appendFileSync(file, '12'); // the number 123 was being written when the power failed
  const second = new FileBook(file);
  t.is(await ledgerAnswer(second, 'list'), '5\n7\nend\n');
  t.is(await ledgerAnswer(second, '8'), 'ok 8\n');
  t.is(readFileSync(file, 'utf8'), '5\n7\n8\n');

  const server = serveLedger(second, '127.0.0.1', 0, (e) => t.fail(String(e)));
  t.teardown(() => server.close());
  await new Promise((done) => server.once('listening', done));
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const store = await openStore('ledger', '127.0.0.1', port, PATIENT_LIMITS);
  await store.commit(9);
  t.deepEqual(await store.rows(), [5, 7, 8, 9]);
  await store.remove(1, 7);
  await store.commit(10);
  t.deepEqual(await store.rows(), [8, 9, 10]);
  store.close();
  t.is(readFileSync(file, 'utf8'), '8\n9\n10\n', 'removed from the file, too');
});

test.serial('the client goes no further than its room', async (t) => {
  const dir = directory(t);
  const journal = join(dir, 'journal');
  const room = join(dir, 'room');
  const ledger = new FileBook(join(dir, 'ledger'));
  writeRoom(room, { slow: 5, stop: 8 });
  let asked = 0;
  let stopped = false;
  const client = runClient({
    journal,
    limits: CLIENT_LIMITS,
    room: () => {
      asked++;
      return readRoom(room);
    },
    open: async () => ({
      commit: (row) => ledger.commit(row),
      rows: () => ledger.rows(),
      remove: (from, to) => ledger.remove(from, to),
      close: () => undefined,
    }),
    stopped: () => stopped,
    complain: (_row, why) => t.fail(why),
  });
  const reader = new JournalReader(journal);
  t.teardown(() => reader.close());
  const rows: number[] = [];
  const reach = (last: number): Promise<boolean> =>
    waitUntil(() => {
      rows.push(...reader.more().map((r) => r.row));
      return rows.at(-1) === last;
    }, 20_000);
  t.true(await reach(7));
  const then = asked;
  t.true(await waitUntil(() => asked >= then + 3, 20_000), 'it asks whether there is more');
  t.deepEqual(await ledger.rows(), [1, 2, 3, 4, 5, 6, 7]);
  writeRoom(room, { slow: 9, stop: 12 });
  t.true(await reach(11));
  stopped = true;
  await client;
  t.deepEqual(rows, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 'the journal read while it grows');
  t.deepEqual(await ledger.rows(), rows);
});

test.serial(
  'the client sends a row again until it is acknowledged, and journals each once',
  async (t) => {
    const dir = directory(t);
    const journal = join(dir, 'journal');
    const ledger = new FileBook(join(dir, 'ledger'));
    const port = await freePort();
    // A service that dies every few rows: after it stored the row, before it answers.
    let calls = 0;
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.setEncoding('utf8').on('data', (text: string) => {
        for (const line of text.split('\n').filter(Boolean)) {
          void ledgerAnswer(ledger, line).then((answer) => {
            if (++calls % 5 === 0) socket.destroy();
            else socket.write(answer);
          });
        }
      });
    });
    await new Promise<void>((done) => server.listen(port, '127.0.0.1', done));
    t.teardown(() => server.close());
    let stopped = false;
    let complaints = 0;
    await runClient({
      journal,
      limits: CLIENT_LIMITS,
      room: () => ENDLESS,
      open: (limits) => openStore('ledger', '127.0.0.1', port, limits),
      stopped: () => stopped,
      complain: () => {
        stopped = ++complaints === 4;
      },
    });
    const acknowledged = readJournal(journal).map((r) => r.row);
    t.deepEqual(
      acknowledged,
      acknowledged.map((_, i) => i + 1),
      'no gap, none twice',
    );
    t.is(acknowledged.length, 16, 'every fifth of twenty answers did not come');
    const there = await ledger.rows();
    t.deepEqual(lostRows(readJournal(journal), there), []);
  },
);

test.serial('a silent server is noticed', async (t) => {
  const server = createServer(() => undefined);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => server.close());
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const stream = await Stream.open('127.0.0.1', port, 5_000);
  await t.throwsAsync(stream.readLine(50), { message: /no answer within 50 ms/ });
  await t.throwsAsync(stream.readLine(50), { message: /no answer/ }, 'and stays lost');
});

test.serial('the verdict: lost rows and the longest silence', (t) => {
  const file = join(directory(t), 'journal');
  writeFileSync(file, '1 1000.5\n2 1010\n3 1500\n4 4500\n5 4510\n6 45'); // the last line is being written
  const rows = readJournal(file);
  t.deepEqual(
    rows.map((r) => r.row),
    [1, 2, 3, 4, 5],
  );
  t.deepEqual(lostRows(rows, [1, 2, 4, 5, 9]), [3]);
  t.deepEqual(longestGap(rows, 1_490), { fromMs: 1_500, toMs: 4_500 });
  t.deepEqual(longestGap(rows, 1_000), { fromMs: 1_500, toMs: 4_500 });
  t.deepEqual(longestGap(rows, 4_505), { fromMs: 4_500, toMs: 4_510 });
});

test.serial('/proc/drbd as the demo reads it', (t) => {
  const head = 'version: 8.4.11 (api:1/proto:86-101)\nsrcversion: F73C670A7EC572DB9CF3E5B \n';
  const counters = 'ns:4348 nr:0 dw:292 dr:4056 al:9 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:64';
  t.deepEqual(
    parseProcDrbd(
      `${head} 0: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----\n    ${counters}\n` +
        `\t[=========>..........] sync'ed: 50.2% (2028/4056)K\n\tfinish: 0:00:09 speed: 64 (64) K/sec\n`,
    ),
    {
      ...{ cs: 'SyncSource', ro: 'Primary/Secondary', ds: 'UpToDate/Inconsistent' },
      ...{
        oosKiB: 64,
        sentKiB: 4348,
        progress: `[=========>..........] sync'ed: 50.2% (2028/4056)K`,
      },
    },
  );
  t.is(parseProcDrbd(head).cs, '');
});

async function accepts(socket: string): Promise<boolean> {
  try {
    const stream = await Stream.openUnix(socket, 20_000);
    stream.close();
    return true;
  } catch {
    return false;
  }
}

test.serial('rows on bare blocks, through a real NBD server', async (t) => {
  if (!need(t, 'qemu-nbd')) return;
  const dir = directory(t);
  const image = join(dir, 'image');
  const socket = join(dir, 'sock');
  writeFileSync(image, '');
  truncateSync(image, 64 * 4096);
  const server = spawn('qemu-nbd', ['-f', 'raw', '-k', socket, '-x', 'r0', '-t', '-e', '3', image]);
  t.teardown(() => server.kill());
  t.true(await waitUntil(() => accepts(socket), 20_000)); // the file is there before the server listens
  await t.throwsAsync(openBlocks([socket], 'r9', PATIENT_LIMITS), { message: /no export/ });
  const store = await openBlocks([join(dir, 'none'), socket], 'r0', PATIENT_LIMITS);
  for (let row = 1; row <= 100; row++) await store.commit(row);
  const all = Array.from({ length: 100 }, (_, i) => i + 1);
  t.deepEqual(await store.rows(), all, 'a ring: later rows stand for those they overwrote');
  store.close();
  const bytes = readFileSync(image);
  t.true(
    bytes
      .subarray(36 * 4096)
      .toString()
      .startsWith('twinbeat row 100\n'),
  );
  // A torn block is not a row: its predecessors in the same block are not found either.
  bytes[36 * 4096 + 4000] = 0;
  writeFileSync(image, bytes);
  const again = await openBlocks([socket], 'r0', PATIENT_LIMITS);
  t.deepEqual(
    lostRows(
      all.map((row) => ({ row, atMs: 0 })),
      await again.rows(),
    ),
    [36, 100],
  );
  again.close();
});
