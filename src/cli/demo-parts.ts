/** The processes of the demo beside the nodes' daemons: the committing client, the count, and the ledger. */
import { rmSync, writeFileSync } from 'node:fs';
import { runClient } from './demo-client.js';
import { Ledger, serveLedger } from './demo-ledger.js';
import { openBlocks } from './demo-nbd.js';
import { type Limits, openStore, PATIENT_LIMITS, type Store } from './demo-store.js';
import { UsageError, type World } from './world.js';

type Options = Readonly<Record<string, string>>;

function wanted(options: Options, name: string): string {
  const value = options[name];
  if (value === undefined) throw new UsageError(`--${name} is missing`, 2);
  return value;
}

/** `--kind mysql|ledger --host --port`, or `--kind blocks --host PATH,PATH` (sockets of exports) `--port EXPORT`. */
function opener(options: Options): (limits: Limits) => Promise<Store> {
  const kind = wanted(options, 'kind');
  const host = wanted(options, 'host');
  const port = wanted(options, 'port');
  if (kind === 'blocks') return (limits) => openBlocks(host.split(','), port, limits);
  if (kind !== 'mysql' && kind !== 'ledger') throw new UsageError(`unknown kind ${kind}`, 2);
  return (limits) => openStore(kind, host, Number(port), limits);
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

export async function ledgerMain(options: Options, _world: World): Promise<number> {
  const server = serveLedger(new Ledger(wanted(options, 'file')), Number(wanted(options, 'port')));
  const pidFile = options['pidFile'];
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      if (pidFile) writeFileSync(pidFile, `${process.pid}\n`);
    });
    onStop(resolve);
  });
  if (pidFile) rmSync(pidFile, { force: true });
  return 0;
}
