/** Shows which text of a module this process and its worker threads run; the exit status is the first argument. */
import { isMainThread, Worker } from 'node:worker_threads';
import { beginsGeneration, CREATED_UUIDS } from '../../src/drbd/generation.js';
import { Conns, Disks, INITIAL_STATE, Roles } from '../../src/drbd/state.js';

const connected = {
  ...INITIAL_STATE,
  role: Roles.Primary,
  conn: Conns.Connected,
  disk: Disks.UpToDate,
  pdsk: Disks.UpToDate,
};
const alone = { ...connected, conn: Conns.WFConnection, pdsk: Disks.DUnknown, suspFen: 1 };
const when = beginsGeneration(connected, alone, CREATED_UUIDS);
process.stdout.write(`${isMainThread ? 'main' : 'worker'} ${when}\n`);
if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url));
  worker.once('exit', () => {
    process.exitCode = Number(process.argv[2] ?? 0);
  });
}
