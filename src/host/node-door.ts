/**
 * What a node asks of the world before something is started, here or there: may a dead peer's groups be taken over
 * (resource-manager/permission.ts, which resets it first where that can be), and are the peer's disks good enough to give it
 * its groups back.
 *
 *     peer dead -> permission -> (reset) -> permitted -> the resource machine claims and starts
 *     something runs, or a question is open -> arbiter (lease-door.ts) -> go on, or stop all
 *     fail-back -> data -> peersData -> the resource machine offers
 *     peer dead -> own-data -> ownData -> the resource machine asks for permission
 */
import type { HaResourceGroup } from '../config/haresources.js';
import type { FenceAnswer } from '../resource-manager/answers.js';
import { type Hold, includes } from '../resource-manager/hold.js';
import { LeaseDoor, type LeaseEffect } from '../resource-manager/lease-door.js';
import { Permission, type PermissionEffect } from '../resource-manager/permission.js';
import type { ResourceEffect, ResourceMachine } from '../resource-manager/resource-machine.js';
import { haFields } from '../wire/hamsg.js';
import type { NodeAsk } from './heartbeat-questions.js';
import { askOwnData, askPeersData, drbdResources, scopesOnDisks } from './node-data.js';
import type { HeartbeatNodeConfig } from './node-ports.js';

export interface NodeDoorHost {
  readonly peer: string | null;
  readonly ask: NodeAsk;
  readonly resources: () => ResourceMachine;
  /** The latest life of the peer that was ever heard; 0: none. */
  readonly peerGeneration: () => number;
  /** When the peer gave its latest sign of life. */
  readonly peerHeardMs: () => number;
  /** Something may run here, or is being started or stopped. */
  readonly mayRun: () => boolean;
  /** What runs may not run any more, or any longer. */
  readonly stopAll: (nowMs: number) => void;
  readonly die: (why: string) => void;
  /** Something may be started now, perhaps. */
  readonly mayBegin: (nowMs: number) => void;
  /** What the resource machine wants done. */
  readonly apply: (effects: readonly ResourceEffect[], nowMs: number) => void;
}

/** A peer asks for no more (membership.ts), and counts no more. */
const MAX_DEADTIME_MS = 3_600_000;

export class NodeDoor {
  readonly permission: Permission;
  readonly lease: LeaseDoor | null;
  /** Of drbd, that the peer's groups promote there. */
  readonly peersResources: readonly string[];
  /** All groups of these need disks of drbd. */
  readonly onDisks: Hold;
  readonly #host: NodeDoorHost;
  #wished: ((answer: FenceAnswer) => void) | null = null;
  readonly #config: HeartbeatNodeConfig;

  constructor(config: HeartbeatNodeConfig, host: NodeDoorHost) {
    this.#host = host;
    this.#config = config;
    const { groups, membership, permission, lease } = config;
    const deadtimeMs = Math.min(membership.deadtimeMs, MAX_DEADTIME_MS);
    this.lease =
      lease && host.peer !== null
        ? new LeaseDoor({ ...lease, deadtimeMs }, lease.inheritedUntilMs)
        : null;
    this.permission = new Permission({ ...permission, peer: host.peer }, this.lease);
    const isPeers = (group: HaResourceGroup) => group.node !== membership.node;
    this.peersResources = drbdResources(groups.filter(isPeers));
    this.onDisks = scopesOnDisks(groups, membership.node);
  }

  /** May the groups of the peer, which is dead, be taken over? */
  ask({ id, needed }: Extract<ResourceEffect, { type: 'permission' }>, nowMs: number): void {
    // What runs, not what is claimed: a node that no line of haresources names claims `local`, and runs nothing. It only decides who waits.
    const holds = this.#host.mayRun();
    const out: PermissionEffect[] = [];
    this.permission.heard(this.#host.peerHeardMs());
    this.permission.ask(id, needed, holds, nowMs, out);
    this.#apply(out, nowMs);
  }

  /** The peer, alive, wants to be reset. */
  wish(done: (answer: FenceAnswer) => void, nowMs: number): void {
    const out: PermissionEffect[] = [];
    this.#wished = done;
    this.permission.wish(nowMs, out);
    this.#apply(out, nowMs);
  }

  /** That question is not open any more. */
  withdraw(): void {
    this.permission.withdraw();
  }

  tick(nowMs: number): void {
    const out: PermissionEffect[] = [];
    this.permission.tick(nowMs, out);
    this.#apply(out, nowMs);
  }

  /** Before anything else that was due: what may not run any more is stopped first. */
  tickLease(nowMs: number): void {
    const out: LeaseEffect[] = [];
    this.lease?.holds(this.#host.mayRun());
    this.lease?.tick(nowMs, out);
    this.#applyLease(out, nowMs);
  }

  get deadlineMs(): number {
    return Math.min(this.permission.deadlineMs, this.lease?.deadlineMs ?? Number.POSITIVE_INFINITY);
  }

  mayStart(nowMs: number): boolean {
    return this.lease === null || this.lease.mayStart(nowMs);
  }

  /** A status of the peer. */
  heardByPeer(proves: boolean, sentMs: number | null, nowMs: number): void {
    if (!this.lease) return;
    const out: LeaseEffect[] = [];
    this.lease.peerProves(proves, out);
    if (sentMs !== null) this.lease.provedHeard(sentMs);
    this.#applyLease(out, nowMs);
    this.#host.mayBegin(nowMs);
  }

  /** This life has stopped everything. */
  release(nowMs: number): void {
    const out: LeaseEffect[] = [];
    this.lease?.release(nowMs, out);
    this.#applyLease(out, nowMs);
  }

  #applyLease(effects: readonly LeaseEffect[], nowMs: number): void {
    const { ask, stopAll, die, apply, peerGeneration } = this.#host;
    const { node, generation } = this.#config.membership;
    const leaseMs = this.#config.lease?.leaseMs ?? 0;
    for (const effect of effects) {
      switch (effect.type) {
        case 'arbiter': {
          const { id, verb } = effect;
          ask('arbiter', { verb, node, generation, leaseMs }, (answer, answeredMs) => {
            const answered: LeaseEffect[] = [];
            this.lease?.arbitrated(id, answer, peerGeneration(), answeredMs, answered);
            this.#applyLease(answered, answeredMs);
            this.tick(answeredMs);
            this.#host.mayBegin(answeredMs);
          });
          break;
        }
        case 'stop-all':
          stopAll(nowMs);
          break;
        case 'die':
          die(effect.why);
          break;
        case 'log':
          apply([effect], nowMs);
          break;
      }
    }
  }

  #apply(effects: readonly PermissionEffect[], nowMs: number): void {
    const { ask, resources, apply } = this.#host;
    for (const effect of effects) {
      const out: ResourceEffect[] = [];
      switch (effect.type) {
        case 'fence': {
          const { id, node } = effect;
          ask('fence', { node }, (answer, answeredMs) => {
            const answered: PermissionEffect[] = [];
            this.permission.heard(this.#host.peerHeardMs());
            this.permission.fenced(id, answer, answeredMs, answered);
            this.#apply(answered, answeredMs);
          });
          break;
        }
        case 'told': {
          const { node, result } = effect;
          out.push({ type: 'send', message: haFields({ t: 'stonith', node, result }) });
          break;
        }
        case 'permitted':
          resources().permitted(effect.id, nowMs, out);
          break;
        case 'wish-answered':
          this.#wished?.(effect.answer);
          this.#wished = null;
          break;
        case 'log':
          out.push(effect);
          break;
      }
      apply(out, nowMs);
    }
  }

  /** Are the data of the peer's groups up to date there? */
  askData(): void {
    const { ask, peer, resources, apply } = this.#host;
    askPeersData(ask, peer ?? '', this.peersResources, (verdict, nowMs) => {
      const out: ResourceEffect[] = [];
      resources().peersData(verdict, nowMs, out);
      apply(out, nowMs);
    });
  }

  /** Are our own disks good enough for what the dead peer ran? */
  askOwnData({ id, scope }: Extract<ResourceEffect, { type: 'own-data' }>, askedMs: number): void {
    const { ask, peer, resources, apply } = this.#host;
    const { groups, membership } = this.#config;
    const wanted = groups.filter(({ node }) =>
      includes(scope, node === membership.node ? 'local' : 'foreign'),
    );
    askOwnData(ask, peer ?? '', wanted, askedMs, (verdict, nowMs) => {
      const out: ResourceEffect[] = [];
      resources().ownData(id, verdict, nowMs, out);
      apply(out, nowMs);
    });
  }
}
