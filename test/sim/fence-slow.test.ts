/** A device that resets a node later than that has started again. Whole daemons, simulated. */
import test from 'ava';
import { EVERYTHING, HeartbeatPair } from './heartbeat-pair.js';

const DEVICE = ['stonith_host * external/test x'];

const count = (pair: HeartbeatPair, what: RegExp) => pair.log.filter((l) => what.test(l)).length;

/** The machine comes back by itself. */
function reset(pair: HeartbeatPair, bootMs: number): void {
  pair.powerCut('alpha');
  pair.clock.after(bootMs, () => {
    if (!pair.alpha.powered) pair.boot('alpha');
  });
}

for (const [takesMs, bootMs, most] of [
  [20_000, 8000, 1],
  [20_000, 15_000, 1],
  [20_000, 19_000, 1],
  // slower to start than the device: the time that is waited grows
  [12_000, 15_000, 2],
] as const) {
  test(`the device takes ${takesMs} ms, the node starts in ${bootMs}: it is not reset for ever`, (t) => {
    const pair = HeartbeatPair.started({ haCf: DEVICE });
    pair.beta.answers.fence = (_config, { node }, answered) => {
      pair.note(`fence ${node}`);
      pair.beta.clock.after(takesMs, () => {
        pair.note(`fence strikes ${node}`);
        if (pair.alpha.powered) reset(pair, bootMs);
        answered('OK');
      });
    };
    reset(pair, bootMs);
    pair.runFor(900_000);
    const strikes = count(pair, /fence strikes/);
    t.true(strikes <= most, `${strikes} resets\n${pair.tail(300)}`);
    t.is([pair.alpha.has, pair.beta.has].join(''), EVERYTHING);
    for (const { heartbeat } of [pair.alpha, pair.beta]) {
      t.deepEqual(
        heartbeat.report?.nodes.map(({ status }) => status),
        ['active', 'active'],
      );
    }
    t.deepEqual(pair.twice, []);
  });
}

// What a reset that is confirmed late does not prove: that the life which was heard since is over.
test('reset at once, confirmed late: the node that is back and then cut off is reset once more before anything of it is started', (t) => {
  const pair = HeartbeatPair.started({ haCf: DEVICE });
  let shots = 0;
  pair.beta.answers.fence = (_config, { node }, answered) => {
    const shot = ++shots;
    pair.note(`fence ${shot} ${node}`);
    if (shot === 1) pair.beta.clock.after(40_000, () => answered('OK'));
    else {
      if (pair.alpha.powered) pair.powerCut('alpha');
      answered('OK');
    }
  };
  reset(pair, 8000);
  t.true(pair.until(30_000, () => shots === 1) >= 0);
  pair.runFor(25_000);
  t.is(pair.alpha.has, EVERYTHING, pair.tail());
  pair.net.cut('eth0');
  pair.runFor(25_000);
  t.is(count(pair, /beta WARN: STONITH of alpha: OK, too late/), 1, pair.tail());
  t.is(pair.beta.has, '');
  t.is(shots, 1);
  pair.runFor(60_000);
  t.is(shots, 2);
  t.is(pair.beta.has, EVERYTHING, pair.tail());
  t.deepEqual(pair.twice, []);
});
