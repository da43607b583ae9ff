/**
 * dopd in a simulated pair: what drbd-peer-outdater ends with when the replication link fails together with something else.
 * One test for each row of dopd's table in docs/IPFAIL.md. alpha is Primary, its handler asks about beta.
 */
import test from 'ava';
import { DEFAULT_CONFIG } from '../../src/sim/config.js';
import { HeartbeatPair } from './heartbeat-pair.js';

const DEADTIME_MS = DEFAULT_CONFIG.heartbeat?.deadtimeMs ?? 0;
const LIMIT_MS = 60_000; // drbd-peer-outdater's default
const OUTDATED = 4;
const UNREACHABLE = 5;

class Asked {
  readonly pair = HeartbeatPair.started({ networks: ['eth0', 'eth1'], respawnMs: 50 });
  exit: number | null = null;

  ask(): this {
    this.pair.alpha.heartbeat.outdatePeer('beta', 'r0', LIMIT_MS, (exit) => {
      this.exit = exit;
    });
    return this;
  }

  /** How long it took; -1: longer than the limit and its margin. */
  answered(): number {
    return this.pair.until(LIMIT_MS + 5000, () => this.exit !== null);
  }
}

test('1: the replication link alone: outdated', (t) => {
  const asked = new Asked().ask();
  t.true(asked.answered() < 1000);
  t.is(asked.exit, OUTDATED);
});

test('2: ... and one of two heartbeat links: outdated', (t) => {
  const asked = new Asked();
  asked.pair.net.cut('eth0');
  t.true(asked.ask().answered() < 1000);
  t.is(asked.exit, OUTDATED);
});

test('3: ... and beta: unreachable when beta is dead, not a minute later', (t) => {
  const asked = new Asked();
  asked.pair.powerCut('beta');
  const tookMs = asked.ask().answered();
  t.true(tookMs >= 0 && tookMs < DEADTIME_MS + 1500, `${tookMs}`);
  t.is(asked.exit, UNREACHABLE);
});

test('4: ... and both heartbeat links: the same, each takes the other for dead', (t) => {
  const asked = new Asked();
  asked.pair.net.cut('eth0');
  asked.pair.net.cut('eth1');
  const tookMs = asked.ask().answered();
  t.true(tookMs >= 0 && tookMs < DEADTIME_MS + 1500, `${tookMs}`);
  t.is(asked.exit, UNREACHABLE);
  t.is(asked.pair.beta.outdated, 0);
});

test('5: ... and beta’s heartbeat, which its angel starts again: asked again, outdated', (t) => {
  const asked = new Asked();
  asked.pair.beta.heartbeat.kill();
  asked.ask();
  const tookMs = asked.answered();
  t.true(tookMs >= 0 && tookMs < DEADTIME_MS + 5000, `${tookMs} ${asked.pair.tail()}`);
  t.is(asked.exit, OUTDATED);
});

test('6: ... and alpha’s heartbeat: unreachable at once, its socket is closed', (t) => {
  const asked = new Asked();
  asked.pair.beta.outdateStatus = null; // drbdadm there takes its time
  asked.ask();
  asked.pair.runFor(500);
  asked.pair.alpha.heartbeat.kill();
  t.true(asked.answered() < 1000);
  t.is(asked.exit, UNREACHABLE);
});
