/**
 * One life of a heartbeat node: membership, resource state and the queue of scripts, wired together. The machines'
 * effects become port calls in the order they were pushed; the ports' answers come back as inputs.
 *
 *     datagram -> receive -> Membership -> deliver -> ResourceState -> job -> Operations -> run script -> scriptDone
 *     deadlineMs -> tick
 *
 * The same class runs in production (real/heartbeat-daemon) and in the simulated cluster of the tests.
 */
import type { DigestSource } from '../base/ports.js';
import type { HaResourceGroup } from '../config/haresources.js';
import { Membership } from '../heartbeat/membership.js';
import type { MembershipEffect, Surroundings } from '../heartbeat/membership-types.js';
import type { NodeStatus } from '../heartbeat/node-record.js';
import type { FenceAnswer } from '../resource-manager/answers.js';
import type { ScriptOutcome } from '../resource-manager/group-operation.js';
import type { Hold } from '../resource-manager/hold.js';
import { LegacyState } from '../resource-manager/legacy-state.js';
import type { Operations } from '../resource-manager/operations.js';
import type { Permission } from '../resource-manager/permission.js';
import type { ResourceEffect, ResourceMachine } from '../resource-manager/resource-machine.js';
import { ResourceState } from '../resource-manager/resource-state.js';
import { fieldOf, type HaMessage } from '../wire/hamsg.js';
import type { SigningKeys } from '../wire/hamsg-auth.js';
import type { NodeAsk } from './heartbeat-questions.js';
import type { IpfailEffect } from './ipfail.js';
import { NodeAnnounce } from './node-announce.js';
import { NodeDoor } from './node-door.js';
import { NodeFiles } from './node-files.js';
import { NodeHealth } from './node-health.js';
import { NodeHomes } from './node-homes.js';
import { NodeJobs } from './node-jobs.js';
import { NodeLeaving } from './node-leaving.js';
import type {
  HeartbeatNodeConfig,
  HeartbeatPorts,
  NodeLogLevel,
  NodeSettings,
} from './node-ports.js';
import { NodeRequests } from './node-requests.js';
import { NodeSignature } from './node-signature.js';
import type { PeerKeys } from './reload-plan.js';

/** After a healed partition: first the peer hears of it, then we let go. */
const HEALED_RELEASE_MS = 2000;

export class HeartbeatNode {
  readonly membership: Membership;
  readonly resources: ResourceMachine;
  readonly homes: NodeHomes;
  readonly health: NodeHealth;
  readonly files: NodeFiles;
  readonly #jobs: NodeJobs;
  readonly #door: NodeDoor;
  readonly #requests: NodeRequests;
  readonly #leaving: NodeLeaving;
  readonly #announce: NodeAnnounce;
  readonly #signature: NodeSignature;
  readonly #config: HeartbeatNodeConfig;
  readonly #ports: HeartbeatPorts;
  readonly #peer: string | null;

  constructor(
    config: HeartbeatNodeConfig,
    keys: SigningKeys,
    digests: DigestSource,
    around: Surroundings,
    ports: HeartbeatPorts,
    nowMs: number,
  ) {
    const { node, nodes } = config.membership;
    this.#config = config;
    this.#ports = ports;
    this.#peer = nodes.find((name) => name !== node) ?? null;
    this.#signature = new NodeSignature(config, keys, digests, ports.log);
    this.membership = new Membership(config.membership, around, nowMs);
    this.homes = new NodeHomes(config.groups, this.#peer, digests, ports.log);
    const apply = (effects: readonly ResourceEffect[], atMs: number) =>
      this.#fromResources(effects, atMs);
    this.#jobs = new NodeJobs(config, {
      ports,
      homes: this.homes,
      resources: () => this.resources,
      health: () => this.health,
      leaving: () => this.leaving,
      mayStart: (atMs) => this.#door.mayStart(atMs),
      apply,
    });
    this.#door = new NodeDoor(config, {
      peer: this.#peer,
      ask: this.#ask,
      resources: () => this.resources,
      peerGeneration: () => this.#knownGeneration(),
      peerHeardMs: () => this.#peerHeardMs(),
      mayRun: () => this.#jobs.mayRun,
      stopAll: (atMs) => this.#leaving.beginRestart(0, atMs),
      die: (why) => ports.die(why),
      mayBegin: (atMs) => this.#jobs.begin(atMs),
      apply,
    });
    this.resources = this.#machine();
    this.#requests = new NodeRequests(config, {
      peer: this.#peer,
      membership: this.membership,
      resources: this.resources,
      jobs: this.#jobs,
      log: (level, text) => ports.log(level, text),
      leaving: () => this.leaving,
      send: (message, atMs) => this.send(message, atMs),
      apply,
    });
    this.#leaving = new NodeLeaving({
      resume: config.resume,
      membership: this.membership,
      resources: this.resources,
      operations: this.operations,
      ports,
      tell: (effects, atMs) => this.#fromMembership(effects, atMs),
      apply,
      endClients: (atMs) => {
        const out: IpfailEffect[] = [];
        this.#requests.clients.end(out);
        this.#requests.apply(out, atMs);
      },
    });
    this.health = this.#newHealth(apply, nowMs);
    this.files = new NodeFiles({
      peer: this.#peer,
      ask: this.#ask,
      keys: () => this.#signature.keys,
      peerGeneration: () => this.peerGeneration(),
      leaving: () => this.leaving,
      send: (message, atMs) => this.send(message, atMs),
      changed: () => ports.changed(),
      log: (level, text) => ports.log(level, text),
    });
    this.#announce = new NodeAnnounce({
      groups: config.groups,
      stateOf: (key) => this.operations.stateOf(key),
      ask: this.#ask,
      leaving: () => this.leaving || this.#leaving.isOver,
      isStable: () => this.resources.state === 'STABLE',
    });
  }

  #machine(): ResourceMachine {
    const { groups, resume, autoFailback, failbackDelayMs, movesPerHour, membership } =
      this.#config;
    const peer = this.#peer;
    if (autoFailback === 'legacy') {
      const scoped = groups.map((group) => ({
        key: group.key,
        scope: this.#jobs.scopeOf(group),
      }));
      return new LegacyState({ peer, groups: scoped, resume });
    }
    return new ResourceState({
      node: membership.node,
      peer,
      failBack: {
        wanted: autoFailback === 'on',
        delayMs: failbackDelayMs,
        needsData: this.#door.peersResources.length > 0,
      },
      movesPerHour,
      onDisks: this.#door.onDisks,
      resume,
      homes: this.homes.text,
    });
  }

  #newHealth(
    apply: (effects: readonly ResourceEffect[], nowMs: number) => void,
    nowMs: number,
  ): NodeHealth {
    const { health, standing, groups, membership } = this.#config;
    const ports = this.#ports;
    const host = {
      node: membership.node,
      peer: this.#peer,
      groups,
      resources: this.resources,
      ask: this.#ask,
      leaving: () => this.leaving || this.#leaving.isOver,
      peerStatus: () => this.peerStatus(),
      apply,
      restart: (group: HaResourceGroup, from: number, atMs: number) =>
        this.#jobs.addOwn('restart', group, from, atMs),
      giveUp: (group: HaResourceGroup, atMs: number) => this.#jobs.addOwn('give', group, 0, atMs),
      abortTakes: () => this.operations.abortTakes(),
      leave: (atMs: number) => this.shutdown(atMs),
      changed: () => ports.changed(),
      log: (level: NodeLogLevel, text: string) => ports.log(level, text),
    };
    return new NodeHealth(health, standing, host, nowMs);
  }

  get operations(): Operations {
    return this.#jobs.operations;
  }

  get permission(): Permission {
    return this.#door.permission;
  }

  get peer(): string | null {
    return this.#peer;
  }

  /** A shutdown or restart was begun. */
  get leaving(): boolean {
    return this.#leaving.isBegun;
  }

  peerStatus(): NodeStatus | null {
    return this.#peer === null ? null : (this.membership.nodes.get(this.#peer)?.status ?? null);
  }

  /** Names of the links on which the peer is heard. */
  get heardOn(): readonly string[] {
    const record = this.#peer === null ? null : this.membership.nodes.get(this.#peer);
    if (!record || record.status === 'dead') return [];
    return record.links.filter(({ status }) => status === 'up').map(({ name }) => name);
  }

  /** Of the peer, while it is heard; null: it is not, or has not said. */
  get peerKeys(): PeerKeys | null {
    return this.heardOn.length === 0 ? null : this.files.peerKeys;
  }

  /** Whether the peer asks a witness, by its latest status; null: it is not heard. */
  get peerAsksArbiter(): boolean | null {
    const record = this.#peer === null ? null : this.membership.nodes.get(this.#peer);
    const isHeard = record?.statusHeard === true && record.status !== 'dead';
    return isHeard ? record.asksArbiter : null;
  }

  /** Of a client on this node: ipfail, dopd. */
  clientStatus(client: string): 'online' | 'offline' {
    return this.#requests.clients.statusOf(client);
  }

  /** The peer wants to be reset: it cannot stop a group. */
  resetPeer(done: (answer: FenceAnswer) => void, nowMs: number): void {
    this.#catchUp(nowMs);
    if (this.leaving) done('none');
    else this.#door.wish(done, nowMs);
  }

  /** A program on the client API is there, or not any more. */
  setClient(client: string, online: boolean): void {
    this.#requests.clients.setOther(client, online);
  }

  /** 0: none known. */
  peerGeneration(): number {
    return this.#peer === null ? 0 : (this.membership.nodes.get(this.#peer)?.generation ?? 0);
  }

  /** Also of a life that was heard by an earlier one of ours. */
  #knownGeneration(): number {
    return this.#peer === null ? 0 : (this.membership.nodes.get(this.#peer)?.knownGeneration ?? 0);
  }

  #peerHeardMs(): number {
    const record = this.#peer === null ? null : this.membership.nodes.get(this.#peer);
    return Math.max(...(record?.links ?? []).map(({ heardMs }) => heardMs));
  }

  /** Until when what runs here may run, as far as an arbiter is asked; null: none is. */
  get serveUntilMs(): number | null {
    const { lease } = this.#door;
    return lease?.isInForce ? lease.serveUntilMs : null;
  }

  /** Whether a watchdog may be fed. */
  mayFeed(nowMs: number): boolean {
    return this.#door.lease?.mayFeed(nowMs) ?? true;
  }

  start(nowMs: number): void {
    const out: MembershipEffect[] = [];
    this.membership.start(out);
    this.#fromMembership(out, nowMs);
    this.tick(nowMs); // a cluster of one is active at once
  }

  /** Settings that need no new life. */
  configure(settings: NodeSettings, nowMs: number): void {
    this.#catchUp(nowMs); // by the old ones
    const { warntimeMs, deadpingMs, logBadpack, failbackDelayMs, movesPerHour } = settings;
    this.membership.configure({ warntimeMs, deadpingMs });
    this.#signature.logBadpack = logBadpack;
    this.resources.configure({ failbackDelayMs, movesPerHour }, nowMs);
    const isRunning = (key: string) => this.operations.stateOf(key) === 'runs';
    this.health.configure(settings.health, isRunning, nowMs);
    this.files.changed();
  }

  /** authkeys was read again. */
  setKeys(keys: SigningKeys, nowMs: number): void {
    this.#signature.setKeys(keys);
    this.files.keysChanged(nowMs);
  }

  receive(datagram: Uint8Array, link: string, nowMs: number): void {
    if (this.#leaving.isOver) return;
    const message = this.#signature.read(datagram, link);
    if (!message) return;
    const out: MembershipEffect[] = [];
    this.membership.receive(message, link, nowMs, out);
    this.#fromMembership(out, nowMs);
  }

  pingAnswered(name: string, nowMs: number): void {
    const out: MembershipEffect[] = [];
    this.membership.pingAnswered(name, nowMs, out);
    this.#fromMembership(out, nowMs);
  }

  /** A message of the host's own: dopd, the FIFO. */
  send(message: HaMessage, nowMs: number): void {
    if (this.#leaving.isOver) return;
    const out: MembershipEffect[] = [];
    this.membership.send(message, out);
    this.#fromMembership(out, nowMs);
  }

  /** What is answered to a life that ends meanwhile is dropped. */
  readonly #ask: NodeAsk = (kind, ask, answered) =>
    this.#ports.ask(kind, ask, (answer, nowMs) => {
      this.#catchUp(nowMs);
      if (!this.#leaving.isOver) answered(answer, nowMs);
    });

  /**
   * What was due before something is heard is done before it. So a node that stood still lets go first, whatever it hears: the other
   * node may run everything by now.
   */
  #catchUp(nowMs: number): void {
    if (nowMs >= this.deadlineMs) this.tick(nowMs);
  }

  scriptDone(id: number, outcome: ScriptOutcome, nowMs: number): void {
    this.#catchUp(nowMs);
    this.#jobs.scriptDone(id, outcome, nowMs);
  }

  /** hb_standby. Null, or why it is refused. */
  standby(rsc: Hold, nowMs: number): string | null {
    this.#catchUp(nowMs);
    return this.#requests.standby(rsc, nowMs);
  }

  /** hb_takeover: asks the other node to go standby. `failback` is what the message says for our own groups. */
  takeover(rsc: Hold | 'failback', nowMs: number): string | null {
    this.#catchUp(nowMs);
    return this.#requests.takeover(rsc, nowMs);
  }

  /** Orderly leave: hand everything over, then `released(false)`. */
  shutdown(nowMs: number): void {
    this.#leaving.shutdown(nowMs);
  }

  /** Nobody is to be told any more: the sockets are closed by the host. */
  abandon(): void {
    this.#leaving.abandon();
  }

  tick(nowMs: number): void {
    if (this.#leaving.isOver) return;
    const out: MembershipEffect[] = [];
    this.membership.tick(nowMs, out);
    this.#fromMembership(out, nowMs);
    this.#door.tickLease(nowMs);
    this.#leaving.tick(nowMs); // before anything that was due meanwhile is begun
    this.#jobs.tick(nowMs);
    this.#door.tick(nowMs);
    const effects: ResourceEffect[] = [];
    this.resources.tick(nowMs, effects);
    this.#fromResources(effects, nowMs);
    const clients: IpfailEffect[] = [];
    this.#requests.clients.tick(nowMs, clients);
    this.#requests.apply(clients, nowMs);
    this.health.tick(nowMs);
    this.#announce.tick(nowMs);
  }

  get deadlineMs(): number {
    if (this.#leaving.isOver) return Number.POSITIVE_INFINITY;
    return Math.min(
      this.membership.deadlineMs,
      this.operations.deadlineMs,
      this.#door.deadlineMs,
      this.resources.deadlineMs,
      this.#requests.clients.deadlineMs,
      this.health.deadlineMs,
      this.#announce.deadlineMs,
      this.#leaving.deadlineMs,
    );
  }

  #fromMembership(effects: readonly MembershipEffect[], nowMs: number): void {
    const { resources } = this;
    for (const effect of effects) {
      const out: ResourceEffect[] = [];
      const clients: IpfailEffect[] = [];
      switch (effect.type) {
        case 'transmit':
          this.#ports.transmit(this.#signature.sign(effect.message));
          break;
        case 'deliver':
          this.#deliver(effect, nowMs, out, clients);
          break;
        case 'node-status':
          if (effect.node === this.#peer && effect.status !== 'dead') {
            resources.peerHeard(out);
            this.#door.lease?.peerHeard();
          }
          if (effect.status !== 'dead') this.#announce.healed(nowMs);
          else this.#ports.outside?.nodeDead(effect.node);
          this.#ports.changed();
          this.#requests.clients.nodeStatus(effect.node, effect.status, clients);
          break;
        case 'link-status':
          this.#ports.changed();
          this.#ports.outside?.link(effect.node, effect.link, effect.status);
          if (effect.status === 'up') this.#announce.healed(nowMs);
          this.#requests.clients.linkStatus(effect.node, effect.link, effect.status, clients);
          break;
        case 'heard-by-peer':
          this.#door.heardByPeer(effect.proves, effect.sentMs, nowMs);
          break;
        case 'node-restarted':
          this.#door.lease?.peerHeard();
          resources.peerRestarted(out);
          this.#announce.healed(nowMs);
          break;
        case 'node-dead':
          resources.peerDied(effect.heard, nowMs, out);
          break;
        case 'comm-up':
          resources.active(nowMs, out);
          this.#requests.clients.start(clients);
          this.#ports.outside?.active();
          break;
        case 'partition-healed':
          // With the lease we are the one that serves: the other one has let go, or is about to. Who waited with it and serves nothing yet
          // begins anew: the other one may not have heard that it started, and would wait for that for ever.
          if (this.#door.lease?.isHeld(nowMs) && this.resources.claims() !== 'none') break;
          this.#leaving.beginRestart(HEALED_RELEASE_MS, nowMs);
          break;
        case 'stalled':
          this.#leaving.beginRestart(0, nowMs);
          break;
        case 'log':
          this.#ports.log(effect.level, effect.text);
          break;
      }
      this.#fromResources(out, nowMs);
      this.#requests.apply(clients, nowMs);
    }
  }

  #deliver(
    effect: Extract<MembershipEffect, { type: 'deliver' }>,
    nowMs: number,
    out: ResourceEffect[],
    clients: IpfailEffect[],
  ): void {
    const { from, own, message } = effect;
    // By its type, as in the original: its ipfail asks to go standby under its own name.
    const type = fieldOf(message, 't') ?? '';
    // A question of a node that is not believed comes here, too: it is no sign that the node lives.
    const isForClients = fieldOf(message, 'to_id') !== null || type === 'query-cstatus';
    const isForResources = !isForClients || type === 'ask_resources';
    if (type === 'shutdone' && !own) this.#door.lease?.peerLeft();
    if (isForResources) {
      const isFree = this.homes.hear(own ? null : fieldOf(message, 'homes'));
      this.resources.receive(message, own, nowMs, out);
      if (isFree) this.resources.takeAgain(out);
    }
    this.#ports.outside?.heard(message);
    if (own) return;
    this.files.hear(message);
    if (!isForResources) this.#ports.message(from, message);
    this.#requests.clients.receive(message, nowMs, clients);
  }

  #fromResources(effects: readonly ResourceEffect[], nowMs: number): void {
    if (effects.length > 0) this.#ports.changed();
    for (const effect of effects) {
      switch (effect.type) {
        case 'send': {
          const out: MembershipEffect[] = [];
          this.membership.send(effect.message, out);
          this.#fromMembership(out, nowMs);
          break;
        }
        case 'job':
          this.#jobs.add(effect, nowMs);
          break;
        case 'permission':
          this.#door.ask(effect, nowMs);
          break;
        case 'withdraw':
          this.#door.withdraw();
          break;
        case 'data':
          this.#door.askData();
          break;
        case 'own-data':
          this.#door.askOwnData(effect, nowMs);
          break;
        case 'released':
          this.#door.release(nowMs);
          this.#leaving.released(nowMs);
          break;
        case 'yield':
          this.#leaving.beginRestart(0, nowMs);
          break;
        case 'log':
          this.#ports.log(effect.level, effect.text);
          break;
      }
    }
  }
}
