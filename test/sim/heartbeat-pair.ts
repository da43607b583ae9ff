/**
 * Two simulated nodes with heartbeat, resource scripts and, in place of drbd, the plainest device that refuses what drbd
 * refuses: two Primaries while connected, Secondary while it is open, an open while Secondary.
 */
import { Prng } from '../../src/base/prng.js';
import { DEFAULT_TWINBEAT_INI, type TwinbeatIni } from '../../src/config/twinbeat-ini.js';
import { ERRNO } from '../../src/host/errno.js';
import type { Answers } from '../../src/host/heartbeat-questions.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import { checkAnswer } from '../../src/sim/answer-check.js';
import { standingAnswer } from '../../src/sim/answer-standing.js';
import { DEFAULT_CONFIG, NODES, type NodeName, peerOf } from '../../src/sim/config.js';
import { NO_ANSWERS } from '../../src/sim/heartbeat-answers.js';
import { HARESOURCES, heartbeatTexts } from '../../src/sim/heartbeat-config.js';
import { NodeClock } from '../../src/sim/node-clock.js';
import { SimClock } from '../../src/sim/sim-clock.js';
import { SimHeartbeat, type SimHeartbeatHost } from '../../src/sim/sim-heartbeat.js';
import { SimNet } from '../../src/sim/sim-net.js';
import {
  DEFAULT_SIM_SCRIPTS,
  type ScriptPorts,
  SimScripts,
  type SimScriptsOptions,
} from '../../src/sim/sim-scripts.js';

export interface PairOptions {
  readonly seed: number;
  readonly haresources: string;
  readonly autoFailback: 'on' | 'off' | 'legacy';
  readonly networks: readonly ('eth0' | 'eth1')[];
  readonly scriptTimeoutS: number;
  readonly stopFailure: 'reboot' | 'hold' | 'fence';
  readonly respawnMs: number | null;
  readonly haCf: readonly string[]; // further lines
  readonly authkeys: string | null; // the whole file; null: as the simulator has it
  readonly record: ((name: NodeName) => SimHeartbeatHost['record']) | null;
  readonly scripts: Partial<SimScriptsOptions>;
  readonly health: Partial<TwinbeatIni['health']>;
  readonly witness: Partial<TwinbeatIni['witness']>;
}

const DEFAULTS: PairOptions = {
  seed: 1,
  haresources: HARESOURCES,
  autoFailback: 'off',
  networks: ['eth0'],
  scriptTimeoutS: 0,
  stopFailure: 'reboot',
  respawnMs: null,
  haCf: [],
  authkeys: null,
  record: null,
  scripts: {},
  health: {},
  witness: {},
};

function recording(options: PairOptions, name: NodeName): Pick<SimHeartbeatHost, 'record'> {
  const record = options.record?.(name);
  return record ? { record } : {};
}

export class PairNode {
  readonly name: NodeName;
  readonly clock: NodeClock;
  readonly scripts: SimScripts;
  readonly heartbeat: SimHeartbeat;
  powered = true;
  role: 'Primary' | 'Secondary' = 'Secondary';
  openers = 0;
  /** drbdadm's status for `outdate`; null: it takes until `outdating` is called. */
  outdateStatus: number | null = 0;
  readonly outdating: ((status: number) => void)[] = [];
  outdated = 0;
  /** What its world answers; a test puts its own there. */
  readonly answers: { -readonly [K in keyof Answers]: Answers[K] } = { ...NO_ANSWERS };
  /** Ping nodes that answer here. */
  readonly reaches = new Set<string>();
  /** The service ignores SIGTERM. */
  stubborn = false;

  constructor(pair: HeartbeatPair, name: NodeName, seed: Prng) {
    this.name = name;
    this.clock = new NodeClock(pair.clock, name === 'alpha' ? 40 : -60);
    this.scripts = new SimScripts(this.clock, new Prng(seed.u32()), this.#ports(pair), {
      ...DEFAULT_SIM_SCRIPTS,
      ...pair.options.scripts,
    });
    this.answers.check = checkAnswer(this.scripts, this.clock);
    this.scripts.trace = ({ text, action, event, outcome }) => {
      if (event === 'begins') pair.note(`${name} ${text} ${action}`);
      else pair.note(`${name} ${text} ${action} = ${outcome?.exitStatus ?? outcome?.failure}`);
    };
    this.heartbeat = new SimHeartbeat(
      {
        node: name,
        clock: this.clock,
        net: pair.net,
        random: new Prng(seed.u32()),
        digests: nodeDigests,
        scripts: this.scripts,
        drbdadmOutdate: (_resource, ended) => {
          this.outdated++;
          if (this.outdateStatus !== null) ended(this.outdateStatus);
          else this.outdating.push(ended);
        },
        powerOff: () => {
          pair.note(`${name} reboots`);
          pair.powerCut(name);
        },
        answers: this.answers,
        log: (level, text) => pair.note(`${name} ${level}: ${text}`),
        ping: (host) => this.reaches.has(host),
        loadMs: [80, 200],
        ...recording(pair.options, name),
        respawnMs: pair.options.respawnMs,
      },
      pair.texts(),
    );
    this.answers.standing = standingAnswer(this.heartbeat.files);
  }

  #ports(pair: HeartbeatPair): ScriptPorts {
    return {
      drbdadm: (verb, _resource, done) => {
        const peer = pair.nodes[peerOf(this.name)];
        if (verb === 'role') done(0, `${this.role}/Unknown`);
        else if (verb === 'secondary') {
          if (this.openers > 0) done(11, 'State change failed: (-12) Device is held open');
          else {
            this.role = 'Secondary';
            done(0, '');
          }
        } else if (peer.powered && pair.connected && peer.role === 'Primary') {
          done(11, 'State change failed: (-1) Multiple primaries not allowed by config');
        } else {
          this.role = 'Primary';
          done(0, '');
        }
      },
      mount: (_device, done) => {
        if (this.role !== 'Primary') {
          done(ERRNO.EROFS);
          return;
        }
        this.openers++;
        done(0);
      },
      umount: (_device, done) => {
        this.openers--;
        done(0);
      },
      startService: (_name, done) => void this.clock.after(120, () => done(true)),
      stopService: (_name, done) => {
        if (!this.stubborn) this.clock.after(80, done);
      },
      killService: (_name, done) => void this.clock.after(5, done),
      address: () => {},
      isAddressTaken: (address) => {
        const peer = pair.nodes[peerOf(this.name)];
        const answers = peer.powered && !peer.clock.paused;
        return answers && peer.scripts.addresses.has(address);
      },
    };
  }

  /** What of the group is here: role, mounts, service, addresses. */
  get has(): string {
    return [
      ...(this.role === 'Primary' ? ['Primary'] : []),
      ...this.scripts.mounts.keys(),
      ...this.scripts.addresses,
      ...[...this.scripts.services].map(([name, { state }]) =>
        state === 'running' ? name : `${name} ${state}`,
      ),
    ].join(' ');
  }
}

export const EVERYTHING = 'Primary /data 10.9.0.1 service';

export class HeartbeatPair {
  readonly clock = new SimClock();
  readonly net: SimNet;
  readonly options: PairOptions;
  readonly nodes: Readonly<Record<NodeName, PairNode>>;
  readonly log: string[] = [];
  /** The replication link, as far as the plain device looks at it. */
  connected = true;
  /** What was seen on both nodes at one time, and when. */
  readonly twice: string[] = [];

  constructor(options: Partial<PairOptions> = {}) {
    this.options = { ...DEFAULTS, ...options };
    const seed = new Prng(this.options.seed);
    this.net = new SimNet(this.clock, new Prng(seed.u32()));
    for (const [i, name] of NODES.entries()) {
      this.net.addHost(name, { eth0: `10.2.0.${i + 1}`, eth1: `10.3.0.${i + 1}` });
    }
    this.nodes = {
      alpha: new PairNode(this, 'alpha', seed),
      beta: new PairNode(this, 'beta', seed),
    };
  }

  texts() {
    const { haresources, autoFailback, networks, scriptTimeoutS, haCf, authkeys } = this.options;
    const { stopFailure, health, witness } = this.options;
    const cluster = { ...DEFAULT_CONFIG, autoFailback, heartbeatNetworks: networks };
    const texts = heartbeatTexts(cluster, haresources);
    return {
      ...texts,
      haCf: texts.haCf + haCf.map((line) => `${line}\n`).join(''),
      scriptTimeoutS,
      health: { ...DEFAULT_TWINBEAT_INI.health, ...health },
      witness: { ...DEFAULT_TWINBEAT_INI.witness, ...witness },
      stopFailure,
      ...(authkeys === null ? {} : { authkeys }),
    };
  }

  get alpha(): PairNode {
    return this.nodes.alpha;
  }
  get beta(): PairNode {
    return this.nodes.beta;
  }

  note(text: string): void {
    this.log.push(`${this.clock.nowMs.toFixed(3)} ${text}`);
  }

  runFor(ms: number): void {
    const endMs = this.clock.nowMs + ms;
    while (this.clock.nowMs < endMs) {
      this.clock.runUntil(Math.min(endMs, this.clock.nowMs + 50));
      for (const name of this.alpha.scripts.services.keys()) {
        if (this.beta.scripts.services.has(name)) this.twice.push(`${this.clock.nowMs} ${name}`);
      }
    }
  }

  /** Runs until it is so; the time it took, or -1 after `limitMs`. */
  until(limitMs: number, isSo: () => boolean): number {
    const startMs = this.clock.nowMs;
    while (!isSo()) {
      if (this.clock.nowMs - startMs >= limitMs) return -1;
      this.runFor(50);
    }
    return this.clock.nowMs - startMs;
  }

  /** Both on, and at rest: alpha has the group. */
  static started(options: Partial<PairOptions> = {}): HeartbeatPair {
    const pair = new HeartbeatPair(options);
    pair.alpha.heartbeat.start();
    pair.runFor(300);
    pair.beta.heartbeat.start();
    pair.runFor(30_000);
    return pair;
  }

  powerCut(name: NodeName): void {
    const node = this.nodes[name];
    node.powered = false;
    node.heartbeat.powerCut();
    node.scripts.powerCut();
    node.role = 'Secondary';
    node.openers = 0;
    this.net.crash(name, true);
  }

  boot(name: NodeName): void {
    this.nodes[name].powered = true;
    this.net.boot(name);
    this.nodes[name].heartbeat.start();
  }

  /** The machine stands still. */
  freeze(name: NodeName): void {
    this.nodes[name].clock.pause();
    this.net.freeze(name);
  }

  thaw(name: NodeName): void {
    this.net.thaw(name);
    this.nodes[name].clock.resume();
  }

  /** Scripts that began on the node, in order, without `status`. */
  calls(name: NodeName, fromMs = 0): string[] {
    return this.log
      .filter((line) => Number(line.split(' ')[0]) >= fromMs)
      .map((line) => line.split(' ').slice(1).join(' '))
      .filter((line) => line.startsWith(`${name} `) && / (start|stop)$/.test(line))
      .map((line) => line.split(' ').slice(1).join(' '));
  }

  tail(lines = 80): string {
    return this.log.slice(-lines).join('\n');
  }
}
