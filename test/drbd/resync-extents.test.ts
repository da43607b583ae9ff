import test from 'ava';
import { ActivityLog } from '../../src/drbd/activity-log.js';
import { MAX_LOCKED_EXTENTS, ResyncExtents } from '../../src/drbd/resync-extents.js';

function setUp(): { log: ActivityLog; extents: ResyncExtents; commit: () => void } {
  const log = new ActivityLog(67, 1, 8);
  const block = new Uint8Array(4096);
  const commit = (): void => {
    if (log.prepare(block, 0)) log.commit();
  };
  return { log, extents: new ResyncExtents(log), commit };
}

test('a lock keeps writes out of its four activity-log extents until the last request is done', (t) => {
  const { extents } = setUp();
  t.true(extents.tryLock(1));
  t.true(extents.tryLock(1));
  t.is(extents.pending(1), 2);
  t.true(extents.mayWrite(3, 3));
  t.true(extents.mayWrite(8, 8));
  t.false(extents.mayWrite(3, 4), 'one of two extents is enough');
  t.false(extents.mayWrite(7, 7));
  t.false(extents.tryLock(1), 'a write waits: no further requests here');
  t.false(extents.unlock(1));
  t.true(extents.unlock(1), 'open, and somebody waits');
  t.true(extents.mayWrite(7, 7));
});

test('an extent that is written to is reserved, drains, and is locked', (t) => {
  const { log, extents, commit } = setUp();
  log.enter(5);
  t.false(extents.tryLock(1), 'a write waits for its transaction: active');
  commit();
  t.false(extents.tryLock(1));
  t.false(extents.mayWrite(6, 6), 'reserved: new writes wait');
  log.leave(5);
  t.true(extents.tryLock(1), 'drained before the next attempt');
  t.false(extents.tryLock(1), 'the waiting write stops further requests');
  t.true(extents.unlock(1));
});

test('a reservation that does not drain while a write waits is given up', (t) => {
  const { log, extents, commit } = setUp();
  log.enter(5);
  commit();
  t.false(extents.tryLock(1));
  t.false(extents.takeReleased());
  t.false(extents.mayWrite(5, 5));
  t.false(extents.tryLock(1));
  t.true(extents.takeReleased());
  t.false(extents.takeReleased());
  t.true(extents.mayWrite(5, 5));
  t.is(extents.size, 0);
});

test('one reservation at a time; stop leaves none', (t) => {
  const { log, extents } = setUp();
  log.enter(5);
  log.enter(20);
  t.false(extents.tryLock(1));
  t.false(extents.mayWrite(4, 4));
  t.false(extents.tryLock(5));
  t.true(extents.takeReleased(), 'the first was released, and a write waits for it');
  t.true(extents.mayWrite(4, 4));
  t.false(extents.mayWrite(20, 20));
  extents.stop();
  t.true(extents.takeReleased());
  t.true(extents.mayWrite(20, 20));
});

test('the number of locked extents is bounded', (t) => {
  const { log, extents } = setUp();
  for (let e = 0; e < MAX_LOCKED_EXTENTS; e++) t.true(extents.tryLock(e));
  t.false(extents.tryLock(1000));
  log.enter(4 * 1000);
  t.false(extents.tryLock(1000));
  t.is(extents.size, MAX_LOCKED_EXTENTS);
  extents.unlock(0);
  log.leave(4 * 1000);
  t.true(extents.tryLock(1000));
});
