/** Buffers for answers that several connections wait for. */
import test from 'ava';
import { AnswerBuffers } from '../../src/drbd/answer-buffers.js';
import { Core } from '../../src/drbd/core.js';
import type { DataPort, EngineHost } from '../../src/drbd/ports.js';

/** So many small and medium buffers. */
function pool(small: number, medium: number) {
  const free = { small, medium };
  const port = {
    alloc(bytes: number): number {
      const size = bytes <= 4096 ? 'small' : 'medium';
      return free[size] > 0 ? --free[size] : -1;
    },
  } as unknown as DataPort;
  return { free, port, queue: new AnswerBuffers(port) };
}

const BUSY = { name: 'busy' };
const QUIET = { name: 'quiet' };

test('who came first has the next one of its size, whoever tries first', (t) => {
  const { free, queue } = pool(1, 1);
  t.not(queue.take(BUSY, 65536), -1);
  t.is(queue.take(QUIET, 65536), -1);
  free.medium++;
  t.is(queue.take(BUSY, 65536), -1, 'not its turn');
  t.not(queue.take(QUIET, 65536), -1);
  free.medium++;
  t.is(queue.take(QUIET, 65536), -1, 'it waits behind the other one now');
  t.not(queue.take(BUSY, 65536), -1);
});

test('another size is nobody’s turn', (t) => {
  const { queue } = pool(1, 0);
  t.is(queue.take(QUIET, 65536), -1);
  t.not(queue.take(BUSY, 4096), -1);
});

test('who does not want one any more keeps nobody waiting', (t) => {
  const { free, queue } = pool(0, 0);
  t.is(queue.take(QUIET, 512), -1);
  t.is(queue.take(BUSY, 512), -1);
  free.small = 1;
  queue.leaves(QUIET);
  t.is(queue.take(BUSY, 512), 0);
});

for (const leaves of [false, true]) {
  test(`who was passed over has its buffer before the turn is over, when the one before it ${leaves ? 'wants none any more' : 'has its own'}`, (t) => {
    const { free, port } = pool(0, 0);
    const core = new Core(port, {} as EngineHost, 0);
    const { answers } = core;
    t.is(answers.take(QUIET, 65536), -1);
    const had: object[] = [];
    let wanted = true;
    const part = (who: object, wants: () => boolean) => ({
      turnEnd(): void {
        if (had.includes(who)) return;
        if (!wants()) answers.leaves(who);
        else if (answers.take(who, 65536) >= 0) had.push(who);
      },
    });
    core.addTurnEnd(part(BUSY, () => true));
    core.addTurnEnd(part(QUIET, () => wanted));
    core.turnEnd();
    t.deepEqual(had, []);
    free.medium = 3;
    wanted = !leaves;
    core.turnEnd();
    t.deepEqual(had, leaves ? [BUSY] : [QUIET, BUSY]);
  });
}
