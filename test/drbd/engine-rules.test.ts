/** Rules of the engine that the random test of a pair (test/host/replication-random) found broken once. */
import test from 'ava';
import { PeerEpochs } from '../../src/drbd/peer-epochs.js';
import { PeerRequest } from '../../src/drbd/peer-request.js';
import { IDLE_CONTEXT, sanitize } from '../../src/drbd/sanitize.js';
import { Conns, Disks, INITIAL_STATE, Roles, type State } from '../../src/drbd/state.js';
import { TransferLog } from '../../src/drbd/transfer-log.js';

const CONNECTED: State = {
  ...INITIAL_STATE,
  peer: Roles.Secondary,
  conn: Conns.Connected,
  disk: Disks.UpToDate,
  pdsk: Disks.UpToDate,
};

test('the source loses its disk during the exchange of bitmaps: the target is not UpToDate', (t) => {
  for (const conn of [Conns.StartingSyncT, Conns.WFBitMapT, Conns.WFSyncUUID, Conns.PausedSyncT]) {
    const old = { ...CONNECTED, conn, disk: Disks.Outdated };
    const { state } = sanitize(old, { ...old, pdsk: Disks.Failed }, IDLE_CONTEXT);
    t.is(state.conn, Conns.Connected);
    t.is(state.disk, Disks.Inconsistent);
  }
});

test('the source itself does not believe in the peer when its own disk goes', (t) => {
  for (const conn of [Conns.StartingSyncS, Conns.WFBitMapS, Conns.PausedSyncS]) {
    const old = { ...CONNECTED, conn, pdsk: Disks.Consistent };
    const { state } = sanitize(old, { ...old, disk: Disks.Failed }, IDLE_CONTEXT);
    t.is(state.conn, Conns.Connected);
    t.is(state.pdsk, Disks.Inconsistent);
  }
});

test('a write that fails before its epoch may start does not come back when it may', (t) => {
  const opened: number[] = [];
  const acks: number[] = [];
  const epochs = new PeerEpochs({
    writeOrdering: () => 'drain',
    flushVolumes: (done) => done([]),
    refuse: () => {},
    barrierAck: (barrier) => acks.push(barrier),
    epochOpened: (request) => opened.push(request.index),
  });
  const [first, broken, last] = [new PeerRequest(1), new PeerRequest(2), new PeerRequest(3)];
  epochs.add(first);
  epochs.barrier(7);
  epochs.add(broken);
  epochs.add(last);
  t.false(broken.epochOpen);
  epochs.done(broken, false, 0); // its payload never arrived
  epochs.done(first, true, 0);
  t.deepEqual(acks, [7]);
  t.deepEqual(opened, [3]);
});

test('barrier acknowledgements: in order, with the right count, and only for epochs that ended', (t) => {
  const barriers: number[] = [];
  const log = new TransferLog(
    { sendBarrier: (n) => barriers.push(n), writeCovered: () => {}, flushCovered: () => {} },
    2048,
  );
  t.regex(log.barrierAck(0, 0) ?? '', /expected none/);
  log.close();
  t.deepEqual(barriers, []); // nothing was written in it
});
