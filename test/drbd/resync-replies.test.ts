/** Which answers to blocks of a resync clear bits at its source (src/drbd/resync-replies.ts). The whole of it: swarm 4203418@4. */
import test from 'ava';
import { ResyncReplies } from '../../src/drbd/resync-replies.js';

test('an answer is believed unless a write was refused since its block was sent', (t) => {
  const replies = new ResyncReplies();
  replies.sent(0, 64);
  replies.sent(64, 72);
  replies.sent(72, 80);
  replies.refused(60, 65);
  t.deepEqual(
    [0, 64, 72].map((s) => replies.answered(s)),
    [false, false, true],
  );
  t.true(replies.answered(64), 'nothing is known of it: as it says');
});

test('sent again before the first answer is here: the second one counts', (t) => {
  const replies = new ResyncReplies();
  replies.sent(8, 16);
  replies.refused(8, 9);
  replies.sent(8, 16);
  t.false(replies.answered(8));
  t.true(replies.answered(8));
  replies.sent(8, 16);
  replies.refused(8, 9);
  replies.clear();
  t.true(replies.answered(8));
});
