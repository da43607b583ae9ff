/** `twinbeat bound` against what really happens: in random simulated outages it is never less, and never more than twice. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import type { Bound } from '../../src/host/bound.js';
import { EVERYTHING, HeartbeatPair } from './heartbeat-pair.js';

const RUNS = Number(process.env['TWINBEAT_SEEDS'] ?? 60);
const KINDS = ['node', 'restart', 'fail-over'] as const;
type Kind = (typeof KINDS)[number];

interface Outage {
  readonly what: string;
  readonly bound: Bound;
  readonly tookMs: number;
  /** It could not have been worse: the whole group was restarted, or moved. */
  readonly isWhole: boolean;
}

function outage(seed: number): Outage {
  const random = new Prng(seed);
  const kind = random.pick<Kind>(KINDS);
  const intervalS = 2 + random.below(30);
  const restartsPerHour = random.below(3) + (kind === 'restart' ? 1 : 0);
  const health = {
    intervalS,
    steps: 5 + random.below(6),
    timeoutS: 1 + random.below(Math.ceil(intervalS / 3)),
    restartsPerHour,
  };
  const slowMs = random.below(1000);
  const pair = HeartbeatPair.started({
    seed,
    health,
    scripts: { delayMs: [slowMs / 2 + 1, slowMs + 10] },
  });
  // Moved once each way, so that both know how long their scripts take.
  for (const name of ['alpha', 'beta'] as const) {
    pair[name].heartbeat.standby('all');
    pair.runFor(40_000);
  }
  if (pair.alpha.has !== EVERYTHING) throw new Error(pair.tail());
  pair.runFor(random.below(intervalS * 1000));
  const { scripts, heartbeat } = pair.alpha;
  const bound = heartbeat.bounds.find((each) => each.of === kind);
  if (!bound) throw new Error(`no bound of ${kind}`);
  const hangs = random.below(2) === 0;
  const what = `seed ${seed}: ${kind}, ${JSON.stringify(health)}, scripts ${slowMs} ms, ${hangs ? 'hung' : 'fails'}`;
  const fails = hangs ? { hangs } : { exit: 1 };
  const isFirst = random.below(2) === 0; // of the group: all of it is restarted then
  const fromMs = pair.clock.nowMs;
  if (kind === 'node') pair.powerCut('alpha');
  else if (kind === 'fail-over') scripts.fault('service', 'monitor', fails);
  else if (isFirst) scripts.fault('drbddisk', 'monitor', { ...fails, times: health.steps - 1 });
  else scripts.serviceEnded('service');
  const where = kind === 'restart' ? pair.alpha : pair.beta;
  const isUp = () => where.has === EVERYTHING && pair.calls(where.name, fromMs).length > 0;
  const tookMs = pair.until(10 * bound.ms, isUp);
  if (tookMs < 0 || pair.twice.length > 0) throw new Error(`${what}\n${pair.tail()}`);
  return { what, bound, tookMs, isWhole: kind !== 'restart' || isFirst };
}

test(`the bound holds in ${RUNS} random outages, and is not more than twice what they took`, (t) => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= RUNS; seed++) {
    const { what, bound, tookMs, isWhole } = outage(seed);
    const line = `${what}: bound ${bound.ms} ms, took ${tookMs} ms`;
    t.true(bound.isComplete, line);
    t.true(tookMs <= bound.ms, line);
    if (!isWhole) continue; // the bound of a group is that of its first resource
    t.true(bound.ms <= 2 * tookMs, line);
    seen.set(bound.of, (seen.get(bound.of) ?? 0) + 1);
  }
  for (const kind of KINDS) t.true((seen.get(kind) ?? 0) >= 5, kind);
});
