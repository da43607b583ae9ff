/**
 * Heartbeat and the resource scripts of a simulated node, joined to its drbdd, its device and its service: what haresources
 * starts here is the node's client.
 */
import type { DigestSource } from '../base/ports.js';
import { roleName } from '../drbd/state.js';
import { checkAnswer } from './answer-check.js';
import { dataAnswer } from './answer-data.js';
import { standingAnswer } from './answer-standing.js';
import { type ClusterConfig, type ResourceName, resourcesOf } from './config.js';
import { dice } from './dice.js';
import { NO_ANSWERS } from './heartbeat-answers.js';
import { heartbeatTexts } from './heartbeat-config.js';
import { SimHeartbeat } from './sim-heartbeat.js';
import type { SimNet } from './sim-net.js';
import type { SimNode } from './sim-node.js';
import { type ScriptPorts, type ScriptTrace, SimScripts } from './sim-scripts.js';

export interface NodeHeartbeatWorld {
  readonly seed: number;
  readonly net: SimNet;
  readonly digests: DigestSource;
  readonly config: ClusterConfig;
  log(node: SimNode['name'], object: string, level: string, text: string): void;
  scripted(node: SimNode, trace: ScriptTrace): void;
}

const LOAD_MS = [20, 300] as const;
const RESPAWN_MS = 500;
const OUTDATE_TIMEOUT_MS = 5000;

export class NodeHeartbeat {
  readonly heartbeat: SimHeartbeat;
  readonly scripts: SimScripts;
  readonly #node: SimNode;

  constructor(world: NodeHeartbeatWorld, node: SimNode) {
    this.#node = node;
    const { seed, config, net, digests } = world;
    this.scripts = new SimScripts(
      node.clock,
      dice(seed, `scripts ${node.name}`),
      this.#ports(world),
    );
    this.scripts.trace = (trace) => world.scripted(node, trace);
    const answers = {
      ...NO_ANSWERS,
      data: dataAnswer(node),
      check: checkAnswer(this.scripts, node.clock),
    };
    this.heartbeat = new SimHeartbeat(
      {
        node: node.name,
        clock: node.clock,
        net,
        random: dice(seed, `heartbeat ${node.name}`),
        digests,
        scripts: this.scripts,
        drbdadmOutdate: (resource, ended) => {
          const named = resourcesOf(world.config).find((name) => name === resource);
          node.drbdadm('outdate', [], (exit) => ended(exit), named);
        },
        powerOff: () => node.reboot(),
        answers,
        log: (level, text) => world.log(node.name, 'heartbeat', level, text),
        loadMs: LOAD_MS,
        respawnMs: RESPAWN_MS,
      },
      heartbeatTexts(config),
    );
    answers.standing = standingAnswer(this.heartbeat.files);
  }

  start(): void {
    this.heartbeat.start();
  }

  powerCut(): void {
    this.scripts.powerCut();
    this.heartbeat.powerCut();
  }

  outdatePeer(resource: ResourceName, done: (exit: number) => void): void {
    this.heartbeat.outdatePeer(this.#node.peer.name, resource, OUTDATE_TIMEOUT_MS, done);
  }

  #ports(world: NodeHeartbeatWorld): ScriptPorts {
    const node = this.#node;
    return {
      drbdadm: (verb, _resource, done) => {
        const s = node.state;
        if (verb !== 'role') node.drbdadm(verb, [], done);
        else if (s) done(0, `${roleName(s.role)}/${roleName(s.peer)}`);
        else done(0, 'Unconfigured');
      },
      mount: (_device, done) => done(node.open()),
      umount: (_device, done) => {
        node.release();
        done(0);
      },
      startService: (_name, done) => {
        node.startClient();
        done(true);
      },
      stopService: (_name, done) => node.stopClient(done),
      killService: (_name, done) => {
        node.killClient();
        done();
      },
      address: (address, here) =>
        world.log(node.name, 'address', 'info', `${address} ${here ? 'is here' : 'is gone'}`),
      isAddressTaken: (address) => {
        const { peer } = node;
        const { network } = world.net;
        const answers = peer.powered && !peer.clock.paused;
        const heard =
          network.passes('eth0', node.name, peer.name) &&
          network.passes('eth0', peer.name, node.name);
        return answers && heard && (peer.heartbeat?.scripts.addresses.has(address) ?? false);
      },
    };
  }
}
