/** The processes of the demo beside the nodes' daemons: the committing client, the count, and the ledger. */
import { rmSync, writeFileSync } from 'node:fs';
import { ENDLESS, readRoom, runClient } from './demo-client.js';
import { FileBook, serveLedger } from './demo-ledger.js';
import { openBlocks } from './demo-nbd.js';
import { CLIENT_LIMITS, type Limits, openStore, PATIENT_LIMITS, type Store } from './demo-store.js';
import { UsageError, type World } from './world.js';

type Options = Readonly<Record<string, string>>;

function wanted(options: Options, name: string): string {
  const value = options[name];
  if (value === undefined) throw new UsageError(`--${name} is missing`, 2);
  return value;
}

/** `--host` and `--port` may be lists of the same length: the first that can be reached is taken. */
function opener(options: Options): (limits: Limits) => Promise<Store> {
  const kind = wanted(options, 'kind');
  if (kind !== 'mysql' && kind !== 'ledger') throw new UsageError(`unknown kind ${kind}`, 2);
  const hosts = wanted(options, 'host').split(',');
  const ports = wanted(options, 'port').split(',').map(Number);
  return async (limits) => {
    let why: unknown = null;
    for (const [i, host] of hosts.entries()) {
      try {
        return await openStore(kind, host, ports[i] ?? 0, limits);
      } catch (e) {
        why = e;
      }
    }
    throw why;
  };
}

/** Until TERM or INT: a row that is under way is finished first. */
function onStop(stop: () => void): void {
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

export async function clientMain(options: Options, world: World): Promise<number> {
  let stopped = false;
  onStop(() => {
    stopped = true;
  });
  await runClient({
    open: opener(options),
    journal: wanted(options, 'journal'),
    room: options['room'] === undefined ? () => ENDLESS : () => readRoom(wanted(options, 'room')),
    limits: {
      ...CLIENT_LIMITS,
      answerMs: Number(options['patience'] ?? CLIENT_LIMITS.answerMs),
    },
    stopped: () => stopped,
    complain: (row, why) => world.err(`${new Date().toISOString()} row ${row}: ${why}\n`),
  });
  return 0;
}

/** Every row that is there, one a line. */
export async function rowsMain(options: Options, world: World): Promise<number> {
  const store = await opener(options)(PATIENT_LIMITS);
  try {
    world.out((await store.rows()).map((row) => `${row}\n`).join(''));
  } finally {
    store.close();
  }
  return 0;
}

/** Removes rows `--from` to `--to`. */
export async function removeMain(options: Options): Promise<number> {
  const store = await opener(options)(PATIENT_LIMITS);
  try {
    await store.remove(Number(wanted(options, 'from')), Number(wanted(options, 'to')));
  } finally {
    store.close();
  }
  return 0;
}

/** `--file FILE`, or `--export SOCKET` with the resource in `--name`. */
export async function ledgerMain(options: Options, world: World): Promise<number> {
  const host = options['host'] ?? '0.0.0.0';
  const socket = options['export'];
  const book = socket
    ? await openBlocks([socket], wanted(options, 'name'), PATIENT_LIMITS)
    : new FileBook(wanted(options, 'file'));
  const pidFile = options['pidFile'];
  let status = 0;
  await new Promise<void>((resolve) => {
    const fail = (e: unknown): void => {
      world.err(`ledger: ${e instanceof Error ? e.message : String(e)}\n`);
      status = 1;
      resolve();
    };
    const server = serveLedger(book, host, Number(wanted(options, 'port')), fail);
    server.once('error', fail);
    server.once('listening', () => {
      if (pidFile) writeFileSync(pidFile, `${process.pid}\n`);
    });
    onStop(resolve);
  });
  if (pidFile) rmSync(pidFile, { force: true });
  return status;
}
