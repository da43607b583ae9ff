/**
 * A machine of the profile `cluster`: its heartbeat with all that a daemon is, its scripts and services, watchdog, device to reset the
 * other one, line to the witness. Without drbd: a group is an address and a service.
 */
import type { DigestSource } from '../base/ports.js';
import type { Prng } from '../base/prng.js';
import type { Answers } from '../host/heartbeat-questions.js';
import { SimAsker } from './answer-arbiter.js';
import { checkAnswer } from './answer-check.js';
import { standingAnswer } from './answer-standing.js';
import { clusterTexts, type KeyStep } from './cluster-setup.js';
import type { ClusterWorld } from './cluster-world.js';
import { type NodeName, peerOf } from './config.js';
import { between, dice } from './dice.js';
import { NO_ANSWERS } from './heartbeat-answers.js';
import { NodeClock } from './node-clock.js';
import { SimFence } from './sim-fence.js';
import { SimHeartbeat } from './sim-heartbeat.js';
import { type ScriptPorts, SimScripts } from './sim-scripts.js';
import { SimWatchdog } from './sim-watchdog.js';

const LOAD_MS = [80, 300] as const;
/** From a reset or a reboot until heartbeat is started. */
const BOOT_MS = [2000, 9000] as const;
const KILL_MS = 5;
/** It was told to end, and does when it is not stubborn any more. */
const STUBBORN_LOOK_MS = 500;

export class ClusterNode {
  readonly name: NodeName;
  readonly clock: NodeClock;
  readonly scripts: SimScripts;
  readonly heartbeat: SimHeartbeat;
  readonly watchdog: SimWatchdog;
  readonly fence: SimFence;
  powered = false;
  /** Ping nodes that answer here. */
  readonly reaches: Set<string>;
  /** Services that do not end when they are told to. */
  readonly stubborn = new Set<string>();
  readonly #world: ClusterWorld;
  readonly #random: Prng;
  #boots = 0;
  #keys: KeyStep = 'old';
  #edits = 0;

  constructor(world: ClusterWorld, name: NodeName, digests: DigestSource) {
    const { setup, seed, net } = world;
    this.#world = world;
    this.name = name;
    this.#random = dice(seed, `machine ${name}`);
    this.clock = new NodeClock(world.clock, setup.driftPpm[name]);
    this.reaches = new Set(setup.pings);
    this.scripts = new SimScripts(this.clock, dice(seed, `scripts ${name}`), this.#ports(), {
      delayMs: setup.scriptMs,
      services: setup.groups.map(({ service }) => service),
      serviceDir: null,
      forceUnmount: true,
    });
    this.scripts.trace = (trace) => world.scripted(this, trace);
    this.watchdog = new SimWatchdog(world.clock, () => this.reset('its watchdog was not fed'));
    this.fence = new SimFence({
      after: (delayMs, run) => this.later(delayMs, run),
      reset: () => this.peer.reset(`it is fenced by ${name}`),
      said: (answer, isTrue) => world.fenced(this, answer, isTrue),
    });
    const answers: { -readonly [K in keyof Answers]: Answers[K] } = {
      ...NO_ANSWERS,
      ...this.#answers(digests),
      check: checkAnswer(this.scripts, this.clock),
    };
    this.heartbeat = new SimHeartbeat(
      {
        node: name,
        clock: this.clock,
        net,
        random: dice(seed, `heartbeat ${name}`),
        digests,
        scripts: this.scripts,
        drbdadmOutdate: (_resource, ended) => ended(1),
        powerOff: () => this.reset('it takes itself down'),
        answers,
        log: (level, text) => world.log(this, level, text),
        ping: (host) => this.reaches.has(host),
        watchdog: this.watchdog,
        loadMs: LOAD_MS,
        respawnMs: setup.respawnMs,
      },
      clusterTexts(setup, 'old', 0),
    );
    const keep = standingAnswer(this.heartbeat.files);
    answers.standing = (config, ask, answered) => {
      keep(config, ask, answered);
      world.stood(this, ask.standing.state !== 'ok');
    };
  }

  get peer(): ClusterNode {
    return this.#world.nodes[peerOf(this.name)];
  }

  /** It acts: what runs on a machine that stands still answers nobody. */
  get acts(): boolean {
    return this.powered && !this.clock.paused;
  }

  boot(): void {
    if (this.powered) return;
    this.#boots++;
    this.powered = true;
    this.#world.net.boot(this.name);
    this.heartbeat.start();
  }

  powerCut(): void {
    if (!this.powered) return;
    this.#boots++;
    this.powered = false;
    this.clock.resume();
    this.heartbeat.powerCut();
    this.scripts.powerCut();
    this.watchdog.powerCut();
    this.#world.net.crash(this.name, true);
    this.#world.died(this);
  }

  /** It goes down, and comes back by itself. */
  reset(why: string): void {
    if (!this.powered) return;
    this.#world.note(this, 'machine', `reset: ${why}`);
    this.powerCut();
    this.#world.clock.after(between(this.#random, BOOT_MS), () => this.boot());
  }

  pause(): void {
    if (!this.acts) return;
    this.clock.pause();
    this.#world.net.freeze(this.name);
  }

  resume(): void {
    if (!this.powered || !this.clock.paused) return;
    this.#world.net.thaw(this.name);
    this.clock.resume();
  }

  /** ha.cf is edited, well or not, and heartbeat told to look. */
  reload(isGood: boolean): void {
    if (isGood) this.#edits++;
    const texts = clusterTexts(this.#world.setup, this.#keys, this.#edits);
    this.heartbeat.configure(isGood ? texts : { ...texts, haCf: `${texts.haCf}nonsense 1\n` });
    this.heartbeat.reload();
  }

  setKeys(keys: KeyStep): void {
    this.#keys = keys;
    this.heartbeat.configure(clusterTexts(this.#world.setup, keys, this.#edits));
    this.heartbeat.reload();
  }

  get keys(): KeyStep {
    return this.#keys;
  }

  /** On its clock; not after a power cut. */
  later(delayMs: number, run: () => void): void {
    const boots = this.#boots;
    this.clock.after(delayMs, () => {
      if (boots === this.#boots) run();
    });
  }

  #answers(digests: DigestSource): Pick<Answers, 'fence' | 'arbiter' | 'announce'> {
    const world = this.#world;
    const { witness } = world;
    const after = (delayMs: number, run: () => void) => this.later(delayMs, run);
    const asker = witness && new SimAsker(witness, { after, digests });
    return {
      fence: ({ ini }, _ask, answered) => {
        world.shoots(this);
        this.fence.shoot(ini.fence.timeoutS * 1000, answered);
      },
      arbiter: (_config, ask, answered) => {
        if (!asker) {
          answered({ verdict: 'silent' });
          return;
        }
        const { nowMs } = world.clock;
        asker.ask(ask, (answer) => {
          world.leased(this, ask, answer, nowMs);
          answered(answer);
        });
      },
      announce: (_config, { resource }, answered) => {
        const address = resource.args[0] ?? '';
        if (this.scripts.addresses.has(address)) world.announced(this, address);
        answered(null);
      },
    };
  }

  #ports(): ScriptPorts {
    const world = this.#world;
    return {
      drbdadm: (_verb, _resource, done) => done(1, ''),
      mount: (_device, done) => done(1),
      umount: (_device, done) => done(1),
      startService: (name, done) => {
        world.launched(this, name);
        this.later(world.setup.startMs, () => done(true));
      },
      stopService: (name, done) => {
        const end = () => {
          if (this.stubborn.has(name)) this.later(STUBBORN_LOOK_MS, end);
          else done();
        };
        this.later(world.setup.startMs / 2, end);
      },
      killService: (_name, done) => this.later(KILL_MS, done),
      address: (address, isHere) => {
        if (isHere) world.announced(this, address);
      },
      isAddressTaken: (address) => {
        const { network } = world.net;
        const { peer } = this;
        const isHeard =
          network.passes('eth0', this.name, peer.name) &&
          network.passes('eth0', peer.name, this.name);
        return peer.acts && isHeard && peer.scripts.addresses.has(address);
      },
    };
  }
}
