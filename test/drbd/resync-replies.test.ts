/** Which answers to blocks of a resync clear bits at its source (src/drbd/resync-replies.ts). The whole of it: swarm 4203418@4. */
import test from 'ava';
import { MOST_REPLIES, ResyncReplies } from '../../src/drbd/resync-replies.js';

test('an answer is believed unless a write was refused since its block was sent', (t) => {
  const replies = new ResyncReplies();
  replies.sent(0, 64);
  replies.sent(64, 72);
  replies.sent(72, 80);
  replies.refused(60, 65);
  t.deepEqual(
    [
      [0, 64],
      [64, 72],
      [72, 80],
    ].map(([sector = 0, end = 0]) => replies.answered(sector, end)),
    [false, false, true],
  );
});

test('sent again before the first answer is here: the second one counts', (t) => {
  const replies = new ResyncReplies();
  replies.sent(8, 16);
  replies.refused(8, 9);
  replies.sent(8, 16);
  t.false(replies.answered(8, 16));
  t.true(replies.answered(8, 16));
  replies.sent(8, 16);
  replies.refused(8, 9);
  replies.clear();
  replies.sent(8, 16);
  t.true(replies.answered(8, 16));
});

test('an answer to what was not sent, or sent otherwise, or answered before, proves nothing', (t) => {
  const replies = new ResyncReplies();
  t.false(replies.answered(8, 16));
  replies.sent(8, 16);
  t.false(replies.answered(8, 24));
  replies.sent(8, 16);
  t.true(replies.answered(8, 16));
  t.false(replies.answered(8, 16));
});

test('a peer that never answers: what was sent first is forgotten, and proves nothing any more', (t) => {
  const replies = new ResyncReplies();
  for (let n = 0; n <= MOST_REPLIES; n++) replies.sent(n * 8, n * 8 + 8);
  t.false(replies.answered(0, 8));
  t.true(replies.answered(8, 16));
  t.true(replies.answered(MOST_REPLIES * 8, MOST_REPLIES * 8 + 8));
});
