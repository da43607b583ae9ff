/**
 * Two simulated heartbeats with plain services under random faults. In calm weather (the links lose packets but hold,
 * daemons are killed and come back, stand still for less than deadtime) nothing ever runs on both nodes. In rough
 * weather (cuts, one-way cuts, machines that stand still for long) it may: there is no fencing here. Once it is over
 * everything runs, once. The same with resources of all kinds, whose status fails, too. TWINBEAT_SEEDS: how many fresh seeds.
 */
import test, { type ExecutionContext } from 'ava';
import { Prng } from '../../src/base/prng.js';
import { NODES } from '../../src/sim/config.js';
import { HeartbeatPair, type PairNode } from './heartbeat-pair.js';

type Weather = 'calm' | 'rough';

const SERVICES = ['one', 'two', 'three'];
const HARESOURCES = 'alpha one two\nbeta three\n';
const KINDS = 'alpha one systemd::two\nbeta ocf::sim:three\n';
const LINKS = ['eth0', 'eth1'] as const;
const HOLDS = ['all', 'local', 'foreign'] as const;
/** An angel brings a killed daemon back in time, but not one that dies again and again. */
const KILL_PAUSE_MS = 2500;

class Swarm {
  readonly pair: HeartbeatPair;
  readonly #random: Prng;
  readonly #killedMs = new Map<string, number>();
  #angry = 0;

  readonly #steps: readonly Step[]; // of calm weather

  constructor(seed: number, haresources: string) {
    this.#steps = haresources === KINDS ? [...CALM, ...STATUS] : CALM;
    const random = new Prng(seed);
    this.#random = random;
    this.pair = new HeartbeatPair({
      seed,
      haresources,
      autoFailback: random.pick(['on', 'off', 'legacy']),
      networks: random.chance(0.5) ? ['eth0'] : LINKS,
      respawnMs: 60,
      scriptTimeoutS: random.pick([0, 20]),
      scripts: {
        services: SERVICES,
        serviceDir: null,
        delayMs: [5, random.pick([20, 400, 3000])],
      },
    });
    const faults = {
      loss: random.pick([0, 0, 0.05, 0.15]),
      duplicate: random.pick([0, 0.1]),
      reorder: random.pick([0, 0.05]),
      corrupt: random.pick([0, 0.03]),
    };
    for (const link of LINKS) this.pair.net.faults(link, faults);
  }

  run(weather: Weather): void {
    const { pair } = this;
    pair.alpha.heartbeat.start();
    pair.runFor(this.#random.below(9000));
    pair.beta.heartbeat.start();
    for (let i = 0; i < 14; i++) {
      pair.runFor(this.#random.below(this.#random.pick([300, 3000, 15_000])));
      const steps = weather === 'rough' ? [...this.#steps, ...ROUGH] : this.#steps;
      this.#random.pick(steps)(this, pair.nodes[this.#random.pick(NODES)]);
    }
    this.heal();
    for (const link of LINKS) pair.net.faults(link, {});
    for (const name of NODES) {
      for (const service of SERVICES) {
        for (const action of ['start', 'stop', 'status'] as const) {
          pair.nodes[name].scripts.fault(service, action, null);
        }
      }
    }
    for (let i = 0; i < 3; i++) {
      for (const name of NODES) {
        if (pair.nodes[name].powered) pair.nodes[name].heartbeat.start();
        else pair.boot(name);
      }
      pair.runFor(60_000);
    }
  }

  /** Null, or what is wrong. */
  verdict(weather: Weather): string | null {
    const { pair } = this;
    if (weather === 'calm' && pair.twice.length > 0) return `runs twice: ${pair.twice[0]}`;
    // `legacy` never tries a group that did not start again, the others try each node once.
    if (pair.log.some((line) => line.includes('stays stopped until an operator acts'))) return null;
    const runs = NODES.flatMap((name) =>
      [...pair.nodes[name].scripts.services].map(([service, { state }]) => `${service} ${state}`),
    );
    const wanted = SERVICES.map((service) => `${service} running`);
    return runs.sort().join() === wanted.sort().join() ? null : `in the end: ${runs.join(', ')}`;
  }

  below(bound: number): number {
    return this.#random.below(bound);
  }
  chance(): boolean {
    return this.#random.chance(0.5);
  }
  pick<T>(list: readonly T[]): T {
    return this.#random.pick(list);
  }
  note(text: string): void {
    this.pair.note(`== ${text}`);
  }

  /** Killed a moment ago: what silences it now, too, may silence it for deadtime in all. */
  isShaken(node: PairNode): boolean {
    const killedMs = this.#killedMs.get(node.name) ?? -KILL_PAUSE_MS;
    return this.pair.clock.nowMs - killedMs < KILL_PAUSE_MS;
  }

  kill(node: PairNode): void {
    if (this.isShaken(node)) return;
    this.#killedMs.set(node.name, this.pair.clock.nowMs);
    this.note(`kill ${node.name}`);
    node.heartbeat.kill();
  }

  reload(node: PairNode): void {
    this.note(`reload ${node.name}`);
    const texts = this.pair.texts();
    node.heartbeat.configure({ ...texts, haCf: `${texts.haCf}debug ${++this.#angry % 200}\n` });
    node.heartbeat.reload();
  }

  heal(): void {
    this.note('heal');
    for (const link of LINKS) this.pair.net.heal(link);
  }
}

type Step = (swarm: Swarm, node: PairNode) => void;

const CALM: readonly Step[] = [
  (swarm, node) => {
    if (!node.powered) swarm.pair.boot(node.name);
    else if (swarm.chance()) swarm.pair.powerCut(node.name);
    swarm.note(`${node.name} has power: ${node.powered}`);
  },
  (swarm, node) => swarm.kill(node),
  (swarm, node) => swarm.kill(node),
  (swarm, node) => {
    const hold = swarm.pick(HOLDS);
    swarm.note(`hb_standby ${hold} on ${node.name}`);
    node.heartbeat.standby(hold);
  },
  (swarm, node) => {
    const hold = swarm.pick(HOLDS);
    swarm.note(`hb_takeover ${hold} on ${node.name}`);
    node.heartbeat.takeover(hold);
  },
  (swarm, node) => {
    swarm.note(`stop ${node.name}`);
    node.heartbeat.stop();
  },
  (swarm, node) => {
    swarm.note(`start ${node.name}`);
    if (node.powered) node.heartbeat.start();
  },
  (swarm, node) => swarm.reload(node),
  (swarm, node) => {
    const ms = swarm.below(2000);
    if (swarm.isShaken(node)) return;
    swarm.note(`SIGSTOP ${node.name} for ${ms} ms`);
    node.heartbeat.pause();
    swarm.pair.runFor(ms);
    node.heartbeat.resume();
  },
  (swarm, node) => {
    const service = swarm.pick(SERVICES);
    swarm.note(`start of ${service} fails on ${node.name}`);
    node.scripts.fault(service, 'start', { exit: 1, times: 1, works: swarm.chance() });
  },
  (swarm, node) => {
    const service = swarm.pick(SERVICES);
    swarm.note(`stop of ${service} fails or is slow on ${node.name}`);
    const fault = swarm.chance() ? { exit: 1, times: 3 } : { slowMs: 8000, times: 1 };
    node.scripts.fault(service, 'stop', fault);
  },
];

/** An answer that is none, for some time: silence, an agent that has not looked, a unit nobody can ask about. */
const STATUS: readonly Step[] = [
  (swarm, node) => {
    const service = swarm.pick(SERVICES);
    const exit = swarm.pick([1, 2, 5, 100]);
    swarm.note(`status of ${service} fails with ${exit} on ${node.name}`);
    node.scripts.fault(service, 'status', { exit, times: 1 + swarm.below(4) });
  },
];

const ROUGH: readonly Step[] = [
  (swarm, node) => {
    const link = swarm.pick(LINKS);
    const isOneWay = swarm.chance();
    swarm.note(`cut ${link} ${isOneWay ? `from ${node.name}` : ''}`);
    if (isOneWay) swarm.pair.net.cut(link, node.name);
    else swarm.pair.net.cut(link);
  },
  (swarm) => swarm.heal(),
  (swarm, node) => {
    const ms = swarm.below(20_000);
    if (!node.powered) return;
    swarm.note(`${node.name} stands still for ${ms} ms`);
    swarm.pair.freeze(node.name);
    swarm.pair.runFor(ms);
    swarm.pair.thaw(node.name);
  },
  (swarm, node) => {
    const ms = swarm.below(20_000);
    swarm.note(`SIGSTOP ${node.name} for ${ms} ms`);
    node.heartbeat.pause();
    swarm.pair.runFor(ms);
    node.heartbeat.resume();
  },
];

function judge(
  t: ExecutionContext,
  weather: Weather,
  from: number,
  count: number,
  haresources = HARESOURCES,
): void {
  for (let seed = from; seed < from + count; seed++) {
    const swarm = new Swarm(seed, haresources);
    swarm.run(weather);
    const verdict = swarm.verdict(weather);
    const tail = verdict === null ? '' : swarm.pair.tail(10_000);
    if (!t.is(verdict, null, `${weather} seed ${seed}\n${tail}`)) return;
  }
}

const FRESH = Number(process.env['TWINBEAT_SEEDS'] ?? 40);

for (const weather of ['calm', 'rough'] as const) {
  test(`${weather} weather, fixed seeds`, (t) => judge(t, weather, 1, 60));

  test(`${weather} weather, resources of all kinds`, (t) => {
    judge(t, weather, 1, FRESH, KINDS);
  });

  test(`${weather} weather, fresh seeds`, (t) => {
    const from = Date.now() % 1_000_000;
    t.log(`from seed ${from}`);
    judge(t, weather, from, FRESH);
  });
}
