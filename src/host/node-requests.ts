/**
 * What is asked of a node from beside it: by an operator (hb_standby, hb_takeover), and by the programs of the original that are
 * built in (heartbeat-clients.ts), of which ipfail goes standby by itself. Both go the ordinary way, and are refused for the
 * same reasons: nothing starts on the other node before it has stopped here.
 */
import type { Membership } from '../heartbeat/membership.js';
import { both, type Hold, includes } from '../resource-manager/hold.js';
import type { ResourceEffect, ResourceMachine } from '../resource-manager/resource-machine.js';
import { type HaMessage, haFields } from '../wire/hamsg.js';
import { HeartbeatClients } from './heartbeat-clients.js';
import type { IpfailEffect } from './ipfail.js';
import type { NodeJobs } from './node-jobs.js';
import type { HeartbeatNodeConfig, HeartbeatPorts } from './node-ports.js';

export interface NodeRequestsHost {
  readonly peer: string | null;
  readonly membership: Membership;
  readonly resources: ResourceMachine;
  readonly jobs: NodeJobs;
  readonly log: HeartbeatPorts['log'];
  /** A shutdown or restart was begun. */
  readonly leaving: () => boolean;
  readonly send: (message: HaMessage, nowMs: number) => void;
  /** What the resource machine wants done. */
  readonly apply: (effects: readonly ResourceEffect[], nowMs: number) => void;
}

export class NodeRequests {
  readonly clients: HeartbeatClients;
  readonly #host: NodeRequestsHost;

  constructor(config: HeartbeatNodeConfig, host: NodeRequestsHost) {
    this.#host = host;
    const { autoFailback, clients, groups } = config;
    const { keepaliveMs } = config.membership;
    const { peer, membership, resources, jobs } = host;
    this.clients = new HeartbeatClients(
      { peer, keepaliveMs, autoFailback, clients },
      {
        pings: () => {
          const nodes = [...membership.nodes.values()];
          return nodes.filter((node) => node.status === 'ping').map((node) => node.name);
        },
        isPeerAlive: () => peer !== null && membership.isAlive(peer),
        get inTransition() {
          return resources.inTransition;
        },
        holds: (rsc) => {
          const scope = both(resources.hold, rsc);
          return groups.some((group) => includes(scope, jobs.scopeOf(group)));
        },
      },
    );
  }

  /** hb_standby. Null, or why it is refused. */
  standby(rsc: Hold, nowMs: number): string | null {
    const { resources, peer, apply } = this.#host;
    const isOffline = resources.peerBarred ? `node ${peer} is FAILED_OFFLINE` : null;
    const refusal = this.#refusal() ?? isOffline ?? resources.standbyBlocked;
    if (refusal) return refusal;
    const out: ResourceEffect[] = [];
    resources.requestStandby(rsc, out);
    apply(out, nowMs);
    return null;
  }

  /** hb_takeover: asks the other node to go standby. `failback` is what the message says for our own groups. */
  takeover(rsc: Hold | 'failback', nowMs: number): string | null {
    const isOffline = this.#host.resources.barred === null ? null : 'this node is FAILED_OFFLINE';
    const refusal = this.#refusal() ?? isOffline;
    if (refusal) return refusal;
    this.#host.send(haFields({ t: 'hb_takeover', rsc_hold: rsc }), nowMs);
    return null;
  }

  #refusal(): string | null {
    const { resources, leaving, membership, peer } = this.#host;
    if (resources.standbyRefusal !== null) return resources.standbyRefusal;
    if (leaving()) return 'heartbeat is shutting down';
    if (!membership.commUp) return 'communication is not up yet';
    if (peer === null) return 'there is no other node';
    const status = membership.nodes.get(peer)?.status ?? null;
    if (status !== 'active') return `node ${peer} is ${status ?? 'unknown'}, not active`;
    return null;
  }

  /** Carry out what `clients` want. */
  apply(effects: readonly IpfailEffect[], nowMs: number): void {
    for (const effect of effects) {
      const out: IpfailEffect[] = [];
      switch (effect.type) {
        case 'send':
          this.#host.send(effect.message, nowMs);
          break;
        case 'standby': {
          // The ordinary standby: nothing starts on the other node before it has stopped here.
          const refusal = this.standby(effect.resources, nowMs);
          if (refusal !== null) this.clients.refused(refusal, out);
          break;
        }
        case 'log':
          this.#host.log(effect.level, effect.text);
          break;
      }
      this.apply(out, nowMs);
    }
  }
}
