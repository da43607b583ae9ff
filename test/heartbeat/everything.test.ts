/**
 * All that moves groups, together: a device that resets and fails, health, fail-back that looks at the data, ping nodes, files that
 * differ, operators, kills, cuts, pauses. With a device nothing ever runs twice; healed, everything that may run runs once.
 */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { NAMES, type Name, SimCluster } from './sim-cluster.js';

const PINGS = ['10.0.0.253', '10.0.0.254'];
const A = 'node-a LabRes::one LabRes::two\nnode-b drbddisk::three LabRes::four\n';
const GROUPS = [
  ['LabRes::one', 'LabRes::two'],
  ['drbddisk::three', 'LabRes::four'],
];
const RESOURCES = GROUPS.flat();
/** The first group is at home on the other node. */
const B = 'node-b LabRes::one LabRes::two\nnode-b drbddisk::three LabRes::four\n';

class Trouble {
  readonly c: SimCluster;
  readonly #prng: Prng;
  readonly #files: boolean;
  healed = false;

  constructor(seed: number) {
    const prng = new Prng(seed);
    this.#prng = prng;
    const autoFailback = prng.pick(['off', 'on', 'legacy'] as const);
    this.#files = autoFailback !== 'legacy' && prng.chance(0.3);
    const reliability = prng.pick([0, 0.3, 0.7, 1]);
    this.c = new SimCluster({
      seed,
      haresources: A,
      autoFailback,
      loss: prng.pick([0, 0.05, 0.2]),
      maxDelayMs: prng.pick([1, 20, 150]),
      maxScriptMs: prng.pick([5, 300, 3000]),
      fence: () =>
        this.healed || prng.chance(reliability) ? 'OK' : prng.pick(['bad', 'badhost', 'none']),
      fenceDelayMs: prng.pick([0, 2000]),
      failbackDelayMs: prng.pick([0, 4000]),
      pings: prng.chance(0.4) ? PINGS : [],
      health: prng.chance(0.6)
        ? {
            intervalMs: 1000 * (1 + prng.below(4)),
            steps: 3,
            timeoutMs: 1000,
            restartsPerHour: prng.below(4),
          }
        : { intervalMs: 0, steps: 3, timeoutMs: 1000, restartsPerHour: 0 },
    });
    for (const name of NAMES) this.#reachAll(name);
    if (this.#files && prng.chance(0.5)) this.c.files['node-b'] = B;
  }

  #reachAll(name: Name): void {
    for (const host of PINGS) this.c.machines[name].reaches.add(host);
  }

  /** A daemon that is there again at once goes on with what it claimed. */
  #respawn(name: Name): void {
    const { c } = this;
    const machine = c.machines[name];
    if (!machine.node || machine.paused) return;
    const resume = machine.node.resources.claims();
    c.killDaemon(name);
    const { life } = machine;
    c.at(this.#prng.below(1500), () => {
      if (machine.life === life) c.boot(name, resume);
    });
  }

  /** In the middle of a hand-over, perhaps. */
  #cutSoon(): void {
    const { c } = this;
    c.at(this.#prng.below(8000), () => {
      if (!this.healed) c.cut['node-a'] = c.cut['node-b'] = true;
    });
  }

  step(): void {
    const { c } = this;
    const prng = this.#prng;
    c.runFor(prng.below(prng.pick([300, 3000, 15_000])));
    const name = prng.pick(NAMES);
    const machine = c.machines[name];
    const what = prng.below(20);
    c.log.push(`${c.nowMs} TROUBLE ${what} ${name}`);
    switch (what) {
      case 0:
        c.crash(name);
        break;
      case 1:
      case 2:
        if (machine.node) break;
        c.crash(name); // the services of a killed daemon go with the machine
        if (this.#files) c.files[name] = prng.pick([A, B]);
        c.boot(name);
        break;
      case 3:
        if (prng.chance(0.3)) this.#cutSoon();
        machine.node?.standby(prng.pick(['all', 'local', 'foreign']), c.nowMs);
        break;
      case 4:
        if (prng.chance(0.3)) this.#cutSoon();
        machine.node?.takeover(prng.pick(['all', 'local', 'foreign']), c.nowMs);
        break;
      case 5:
        machine.node?.shutdown(c.nowMs);
        break;
      case 6:
        c.killDaemon(name);
        break;
      case 7:
        this.#respawn(name);
        break;
      case 8:
        c.cut[name] = true;
        if (prng.chance(0.5)) c.cut['node-a'] = c.cut['node-b'] = true;
        break;
      case 9:
        c.cut['node-a'] = c.cut['node-b'] = false;
        break;
      case 10:
        machine.paused = true;
        break;
      case 11:
        machine.paused = false;
        break;
      case 12:
        for (const text of RESOURCES) if (prng.chance(0.5)) machine.broken.add(text);
        break;
      case 13:
        machine.broken.clear();
        machine.failing.clear();
        break;
      case 14:
        machine.node?.health.recover(prng.chance(0.5), () => {});
        break;
      case 15:
        machine.peersDisk = prng.pick(['UpToDate', 'Inconsistent']);
        break;
      case 16: {
        const host = prng.pick(PINGS);
        if (!machine.reaches.delete(host)) machine.reaches.add(host);
        break;
      }
      case 17:
        machine.failing.add(prng.pick(RESOURCES));
        break;
      case 18:
      case 19: {
        // One that runs everything gives it away.
        const giver = NAMES.find((each) => c.machines[each].node?.resources.hold === 'all');
        if (!giver) break;
        if (prng.chance(0.5)) this.#cutSoon();
        c.machines[giver].node?.standby('all', c.nowMs);
        c.runFor(12_000);
        break;
      }
    }
  }

  heal(): void {
    const { c } = this;
    c.cut['node-a'] = c.cut['node-b'] = false;
    c.loss = 0;
    this.healed = true;
    for (let i = 0; i < 4; i++) {
      for (const name of NAMES) {
        const machine = c.machines[name];
        machine.paused = false;
        machine.broken.clear();
        machine.failing.clear();
        machine.peersDisk = 'UpToDate';
        this.#reachAll(name);
        machine.node?.health.recover(true, () => {});
        if (machine.node) continue;
        c.crash(name);
        c.files[name] = A;
        c.boot(name);
      }
      c.runFor(60_000);
    }
  }
}

/** Null: nothing is wrong. */
function judge(seed: number): string | null {
  const trouble = new Trouble(seed);
  const { c } = trouble;
  c.boot('node-a');
  c.runFor(700);
  c.boot('node-b');
  c.runFor(20_000);
  for (let i = 0; i < 20; i++) trouble.step();
  trouble.heal();
  const all = NAMES.flatMap((name) => c.running(name)).sort();
  const mayBeStopped = /stays stopped until an operator acts|is in dispute/.test(c.log.join('\n'));
  const isOnce = all.length === RESOURCES.length || mayBeStopped;
  if (c.violations.length === 0 && isOnce) return null;
  return `seed ${seed}: ${all.join(' ')}\n${c.violations.slice(0, 3).join('\n')}\n${c.tail(400)}`;
}

test('swarm: everything at once: never twice, and in the end everything once', (t) => {
  const first = Number(process.env['TWINBEAT_FIRST'] ?? Date.now() % 1_000_000);
  t.log(`random seeds from ${first}`);
  const count = Number(process.env['TWINBEAT_SEEDS'] ?? 40); // more for a long search
  for (let seed = 1; seed <= 60; seed++) t.is(judge(seed), null);
  t.is(judge(42_157), null); // cut off while it starts what it was given
  for (let seed = first; seed < first + count; seed++) t.is(judge(seed), null);
});
