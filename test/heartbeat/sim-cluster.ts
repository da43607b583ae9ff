/**
 * Two heartbeat nodes in virtual time: a lossy network, scripts that take time, machines that crash. The nodes are
 * the real machines (host/heartbeat-node); only the ports are simulated. Everything follows from the seed.
 */
import { Prng } from '../../src/base/prng.js';
import { parseHaResources } from '../../src/config/haresources.js';
import { HeartbeatNode } from '../../src/host/heartbeat-node.js';
import type { Answers, QuestionKind } from '../../src/host/heartbeat-questions.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import type { ArbiterAnswer, ArbiterAsk, FenceAnswer } from '../../src/resource-manager/answers.js';
import type { ScriptOutcome } from '../../src/resource-manager/group-operation.js';
import type { HealthConfig } from '../../src/resource-manager/health.js';
import type { Hold } from '../../src/resource-manager/hold.js';
import { OK, type Standing } from '../../src/resource-manager/standing.js';
import { SimAsker } from '../../src/sim/answer-arbiter.js';
import { SimWitness } from '../../src/sim/sim-witness.js';

export interface SimOptions {
  readonly seed: number;
  readonly haresources: string;
  readonly autoFailback: 'on' | 'off' | 'legacy';
  readonly loss: number; // probability for each datagram and receiver
  readonly maxDelayMs: number; // of a datagram: also reorders
  readonly maxScriptMs: number;
  /** What a reset of a node comes to; null: no device. With OK the machine goes down. */
  readonly fence: ((victim: Name) => FenceAnswer) | null;
  readonly fenceDelayMs: number;
  readonly failbackDelayMs: number;
  readonly movesPerHour: number;
  readonly pings: readonly string[]; // with any, ipfail runs
  readonly health: HealthConfig;
  /** A witness is asked; null: nobody is. Each machine has a watchdog then. */
  readonly arbiter: { readonly leaseMs: number; readonly stopLimitMs: number } | null;
}

const DEFAULTS: SimOptions = {
  seed: 1,
  haresources: 'node-a LabRes::one LabRes::two\nnode-b LabRes::three\n',
  autoFailback: 'off',
  loss: 0,
  maxDelayMs: 5,
  maxScriptMs: 50,
  fence: null,
  fenceDelayMs: 0,
  failbackDelayMs: 0,
  movesPerHour: 0,
  pings: [],
  health: { intervalMs: 0, steps: 5, timeoutMs: 1000, restartsPerHour: 0 },
  arbiter: null,
};

export const NAMES = ['node-a', 'node-b'] as const;
export type Name = (typeof NAMES)[number];

export const KEEPALIVE_MS = 200;
export const DEADTIME_MS = 3000;
export const INITDEAD_MS = 6000;

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

type SimAnswers = {
  readonly [K in keyof Answers]: (
    ask: Parameters<Answers[K]>[1],
    answered: Parameters<Answers[K]>[2],
  ) => void;
};

/** One machine: what survives its daemon (running resources, generation) and what does not. */
class Machine {
  readonly running = new Map<string, 'starting' | 'running' | 'stopping'>();
  readonly failing = new Set<string>(); // 'start LabRes::one': that call fails
  readonly unstoppable = new Set<string>(); // its stop fails, and status goes on saying running
  node: HeartbeatNode | null = null;
  generation = 100;
  life = 0; // answers for an earlier life are dropped
  stuck: string[] = [];
  paused = false;
  readonly reaches = new Set<string>(); // ping nodes that answer
  readonly broken = new Set<string>(); // runs, but its check fails
  standing: Standing = OK; // on disk
  ownDisk = 'UpToDate'; // of drbd
  peersDisk = 'UpToDate'; // as our drbd knows it
  serveUntilMs: number | null = null; // in the state file
  fedMs = 0; // its watchdog
  feeds: 'life' | 'rest' | 'nobody' | 'off' = 'off'; // who feeds it
  asker: SimAsker | null = null;
  readonly asking: QuestionKind[] = []; // what its daemon asked and has not heard
  readonly waiting = new Set<() => void>(); // what it was told while it stood still
}

export class SimCluster {
  readonly machines: Readonly<Record<Name, Machine>> = {
    'node-a': new Machine(),
    'node-b': new Machine(),
  };
  readonly log: string[] = [];
  readonly #options: SimOptions;
  readonly #prng: Prng;
  readonly #events: Event[] = []; // in order of time, then of creation
  #order = 0;
  nowMs = 0;
  readonly witness: SimWitness;
  /** cut['node-a']: nothing sent by node-a arrives. */
  readonly cut: Record<Name, boolean> = { 'node-a': false, 'node-b': false };
  /** Messages of this type that it sends do not arrive. */
  readonly loses: Partial<Record<Name, string>> = {};
  loss: number;
  /** haresources of each machine. */
  readonly files: Record<Name, string>;
  readonly violations: string[] = [];
  /** While false, a group may run twice (partition) without being noted. */
  checking = true;

  constructor(given: Partial<SimOptions>) {
    const options = { ...DEFAULTS, ...given };
    this.#options = options;
    this.#prng = new Prng(options.seed);
    this.loss = options.loss;
    this.witness = new SimWitness(
      {
        nowMs: () => this.nowMs,
        after: (delayMs, run) => this.at(delayMs, run),
        random: new Prng(options.seed),
        digests: nodeDigests,
      },
      options.arbiter?.leaseMs ?? 0,
    );
    if (options.arbiter) {
      this.witness.start();
      this.#watch();
    }
    this.files = { 'node-a': options.haresources, 'node-b': options.haresources };
  }

  at(inMs: number, run: () => void): void {
    const event = { atMs: this.nowMs + inMs, order: this.#order++, run };
    let i = this.#events.length;
    while (i > 0 && (this.#events[i - 1]?.atMs ?? 0) > event.atMs) i--;
    this.#events.splice(i, 0, event);
  }

  runFor(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const next = this.#events[0];
      let who: Name | null = null;
      let dueMs = next?.atMs ?? Number.POSITIVE_INFINITY;
      for (const name of NAMES) {
        const machine = this.machines[name];
        const deadlineMs = machine.paused ? Number.POSITIVE_INFINITY : machine.node?.deadlineMs;
        if (deadlineMs !== undefined && deadlineMs < dueMs) {
          dueMs = deadlineMs;
          who = name;
        }
      }
      if (dueMs > endMs) break;
      if (who === null) this.#events.shift();
      if (dueMs <= this.nowMs && who !== null) dueMs = this.nowMs + 1; // a late timer
      this.nowMs = Math.max(this.nowMs, dueMs);
      if (who !== null) this.machines[who].node?.tick(this.nowMs);
      else next?.run();
      this.#check();
    }
    this.nowMs = endMs;
  }

  /** A watchdog that is not fed for half of stop-limit takes its machine down. */
  #watch(): void {
    this.at(50, () => {
      const { stopLimitMs } = this.#options.arbiter ?? { stopLimitMs: 0 };
      for (const name of NAMES) {
        const machine = this.machines[name];
        if (machine.feeds === 'rest' && !machine.paused) machine.fedMs = this.nowMs;
        if (machine.feeds === 'off' || this.nowMs - machine.fedMs < stopLimitMs / 2) continue;
        this.log.push(`${this.nowMs} ${name} watchdog`);
        this.crash(name);
      }
      this.#watch();
    });
  }

  boot(name: Name, resume: Hold = 'none'): void {
    const machine = this.machines[name];
    const { arbiter } = this.#options;
    if (arbiter) machine.paused = false;
    machine.asker ??= new SimAsker(this.witness, {
      after: (delayMs, run) => this.at(delayMs, run),
      digests: nodeDigests,
    });
    if (arbiter) machine.feeds = 'life';
    machine.fedMs = this.nowMs;
    const inheritedUntilMs =
      resume === 'none' ? Number.NEGATIVE_INFINITY : (machine.serveUntilMs ?? this.nowMs);
    const life = ++machine.life;
    const groups = parseHaResources(this.files[name], 'haresources', NAMES).groups;
    if (!groups) throw new Error('bad haresources');
    const key = { number: 1, method: 'md5', key: 'k' } as const;
    const isCurrent = () => machine.life === life;
    const other = NAMES.find((n) => n !== name) ?? name;
    machine.generation++;
    const node = new HeartbeatNode(
      {
        membership: {
          node: name,
          nodes: NAMES,
          pings: this.#options.pings,
          links: ['eth0'],
          uuid: new TextEncoder().encode(`uuid of ${name}..`).slice(0, 16),
          generation: machine.generation,
          generations: new Map(),
          keepaliveMs: KEEPALIVE_MS,
          deadtimeMs: DEADTIME_MS,
          warntimeMs: 1000,
          initdeadMs: INITDEAD_MS,
          deadpingMs: DEADTIME_MS,
          maxRexmitDelayMs: 250,
          hopfudge: 1,
          proves: arbiter !== null,
        },
        groups,
        autoFailback: this.#options.autoFailback,
        clients: this.#options.pings.length > 0 ? ['ipfail'] : [],
        resume,
        stopRetryMax: 10,
        innerSignature: true,
        logBadpack: true,
        permission: {
          stonith: this.#options.fence !== null,
          fenceDelayMs: this.#options.fenceDelayMs,
        },
        lease: arbiter && { ...arbiter, inheritedUntilMs },
        failbackDelayMs: this.#options.failbackDelayMs,
        movesPerHour: this.#options.movesPerHour,
        health: this.#options.health,
        standing: machine.standing,
      },
      { current: key, keys: [key] },
      nodeDigests,
      {
        wallSeconds: () => 1_795_000_000 + Math.floor(this.nowMs / 1000),
        loadavg: () => '0.00 0.00 0.00 1/1 1',
        random: { u32: () => this.#prng.u32(), bytes: (n) => new Uint8Array(n) },
      },
      {
        transmit: (datagram) => {
          machine.serveUntilMs = machine.node?.serveUntilMs ?? null;
          if (machine.node?.mayFeed(this.nowMs)) machine.fedMs = this.nowMs;
          this.#transmit(name, other, datagram);
        },
        runScript: (id, resource, action) => {
          const text = resource.text;
          if (action === 'start') machine.running.set(text, 'starting');
          const delayMs = 1 + this.#prng.below(this.#options.maxScriptMs);
          this.at(delayMs, () => {
            if (!isCurrent() || !machine.node) return;
            const outcome = this.#script(machine, text, action);
            this.log.push(
              `${this.nowMs} ${name} ${text} ${action} ${outcome.exitStatus} ${outcome.output}`,
            );
            this.#whenAwake(machine, () => {
              if (isCurrent()) machine.node?.scriptDone(id, outcome, this.nowMs);
            });
          });
        },
        log: (level, text) => this.log.push(`${this.nowMs} ${name} ${level}: ${text}`),
        stuck: (group) => machine.stuck.push(group.key),
        die: (why) => {
          this.log.push(`${this.nowMs} ${name} dies: ${why}`);
          this.at(0, () => {
            if (isCurrent()) this.crash(name);
          });
        },
        released: (restart) => {
          machine.node?.abandon();
          if (arbiter) machine.feeds = restart ? 'rest' : 'off';
          const restartMs = DEADTIME_MS + 2000;
          this.at(0, () => {
            if (isCurrent()) machine.node = null;
          });
          if (restart) {
            this.at(restartMs, () => {
              if (isCurrent()) this.boot(name);
            });
          }
        },
        ask: (kind, ask, answered) => {
          if (kind === 'arbiter') {
            this.#askWitness(machine, ask as ArbiterAsk, (answer) => {
              if (isCurrent()) answered(answer as never, this.nowMs);
            });
            return;
          }
          machine.asking.push(kind);
          this.at(1 + this.#prng.below(this.#options.maxScriptMs), () => {
            if (kind !== 'fence' && !isCurrent()) return;
            this.#answers(name, other)[kind](ask, (answer) => {
              this.#whenAwake(machine, () => {
                machine.asking.splice(machine.asking.indexOf(kind), 1);
                if (isCurrent()) answered(answer, this.nowMs);
              });
            });
          });
        },
        changed: () => {},
        message: () => {},
      },
      this.nowMs,
    );
    machine.node = node;
    node.start(this.nowMs);
    const ping = () => {
      if (!isCurrent() || machine.node !== node) return;
      for (const host of machine.reaches) node.pingAnswered(host, this.nowMs);
      this.at(KEEPALIVE_MS, ping);
    };
    if (this.#options.pings.length > 0) ping();
  }

  /** The datagram leaves at once; what comes back is heard by a daemon that runs. */
  #askWitness(machine: Machine, ask: ArbiterAsk, answered: (answer: ArbiterAnswer) => void): void {
    machine.asker?.ask(ask, (answer) => this.#whenAwake(machine, () => answered(answer)));
  }

  /** What a daemon that stands still is told, it hears when it goes on. */
  #whenAwake(machine: Machine, run: () => void): void {
    if (!machine.paused) {
      run();
      return;
    }
    machine.waiting.add(run);
    this.at(50, () => {
      if (machine.waiting.delete(run)) this.#whenAwake(machine, run);
    });
  }

  /** Goes on, and hears what it was told meanwhile before its own timers run: as a process does that was in epoll_wait. */
  wake(name: Name): void {
    const machine = this.machines[name];
    machine.paused = false;
    for (const run of [...machine.waiting]) if (machine.waiting.delete(run)) run();
  }

  #answers(name: Name, other: Name): SimAnswers {
    const machine = this.machines[name];
    return {
      arbiter: (_ask, answered) => answered({ verdict: 'silent' }), // asked elsewhere
      fence: (_ask, answered) => answered(this.#fence(other)),
      data: (_ask, answered) => answered({ own: [machine.ownDisk], peer: [machine.peersDisk] }),
      check: ({ resource: { text } }, answered) => {
        const runs = machine.running.get(text) === 'running';
        const exitStatus = runs ? (machine.broken.has(text) ? 1 : 0) : 7;
        answered({ exitStatus, output: '', failure: null });
      },
      digests: (_ask, answered) => answered(null),
      announce: ({ resource: { text } }, answered) => {
        this.log.push(`${this.nowMs} ${name} ${text} announce`);
        answered(null);
      },
      standing: ({ standing }, answered) => {
        machine.standing = standing;
        answered(true);
      },
    };
  }

  /** A plug-in does what it does, whether the daemon that started it still runs or not. */
  #fence(victim: Name): FenceAnswer {
    const answer = this.#options.fence?.(victim) ?? 'none';
    this.log.push(`${this.nowMs} fence ${victim} ${answer}`);
    if (answer === 'OK') this.crash(victim);
    return answer;
  }

  #script(machine: Machine, text: string, action: 'start' | 'stop' | 'status'): ScriptOutcome {
    const ok = { exitStatus: 0, output: '', failure: null };
    const fail = { exitStatus: 1, output: '', failure: null };
    if (action === 'status') {
      return { ...ok, output: machine.running.has(text) ? 'running' : 'stopped' };
    }
    if (action === 'start') {
      if (machine.failing.has(text)) {
        machine.running.delete(text);
        return fail;
      }
      machine.running.set(text, 'running');
      return ok;
    }
    if (machine.unstoppable.has(text)) return fail;
    machine.running.delete(text);
    return ok;
  }

  #transmit(from: Name, to: Name, datagram: Uint8Array): void {
    if (this.cut[from] || this.#prng.chance(this.loss)) return;
    const type = this.loses[from];
    if (type && new TextDecoder('latin1').decode(datagram).includes(`(0)t=${type},`)) return;
    const copies = this.#prng.chance(0.02) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      this.at(this.#prng.below(this.#options.maxDelayMs + 1), () => {
        const machine = this.machines[to];
        if (!machine.paused) machine.node?.receive(datagram, 'eth0', this.nowMs);
      });
    }
  }

  /** Power off: daemon and services are gone at once. */
  crash(name: Name): void {
    const machine = this.machines[name];
    machine.life++;
    machine.node = null;
    if (this.#options.arbiter) machine.paused = false;
    machine.feeds = 'off';
    machine.serveUntilMs = null;
    machine.running.clear();
    machine.stuck = [];
  }

  /** Only the daemon dies: what it started goes on running. */
  killDaemon(name: Name): void {
    this.machines[name].life++;
    this.machines[name].node = null;
    if (this.machines[name].feeds !== 'off') this.machines[name].feeds = 'nobody';
  }

  /** The resources of the file that run (or are being started or stopped) on `name`. */
  running(name: Name): string[] {
    return [...this.machines[name].running.keys()].sort();
  }

  #check(): void {
    if (!this.checking) return;
    for (const text of this.machines['node-a'].running.keys()) {
      if (this.machines['node-b'].running.has(text)) {
        if (this.violations.length < 50)
          this.violations.push(`${this.nowMs}: ${text} runs on both nodes`);
      }
    }
  }

  tail(lines = 60): string {
    return `${this.violations.slice(0, 3).join('\n')}\n${this.log.slice(-lines).join('\n')}`;
  }
}
