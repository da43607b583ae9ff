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
import type { HaResource, HaResourceGroup } from '../config/haresources.js';
import { Membership } from '../heartbeat/membership.js';
import type {
  MembershipConfig,
  MembershipEffect,
  Surroundings,
} from '../heartbeat/membership-types.js';
import type { NodeStatus } from '../heartbeat/node-record.js';
import type { Action, ScriptOutcome } from '../resource-manager/group-operation.js';
import type { HealthConfig } from '../resource-manager/health.js';
import { both, type Hold, includes } from '../resource-manager/hold.js';
import { LegacyState } from '../resource-manager/legacy-state.js';
import { Operations, type QueueEffect } from '../resource-manager/operations.js';
import {
  Permission,
  type PermissionConfig,
  type PermissionEffect,
} from '../resource-manager/permission.js';
import type { ResourceEffect, ResourceMachine } from '../resource-manager/resource-machine.js';
import { ResourceState } from '../resource-manager/resource-state.js';
import type { Standing } from '../resource-manager/standing.js';
import { decodeHaMessage, fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import { isAuthentic, type SigningKeys, signNetstring } from '../wire/hamsg-auth.js';
import { type BuiltIn, HeartbeatClients } from './heartbeat-clients.js';
import type { NodeAsk } from './heartbeat-questions.js';
import type { IpfailEffect } from './ipfail.js';
import { askPeersData, drbdResources } from './node-data.js';
import { NodeHealth } from './node-health.js';
import { NodeHomes } from './node-homes.js';

export type NodeLogLevel = 'debug' | 'info' | 'WARN' | 'ERROR' | 'CRIT';

/** What a life asks of its host. Nothing here answers inside the call. */
export interface HeartbeatPorts {
  transmit(datagram: Uint8Array): void;
  /** Run `resource`'s script; its end is told by `scriptDone(id)`. */
  runScript(id: number, resource: HaResource, action: Action): void;
  readonly ask: NodeAsk;
  log(level: NodeLogLevel, text: string): void;
  /** A group cannot be stopped: the machine must go down before anybody may take the group over. */
  stuck(group: HaResourceGroup): void;
  /** Everything is released and `shutdone` sent: end this life; `restart`: and begin a new one after a pause. */
  released(restart: boolean): void;
  /** State worth telling others has changed (status displays, dopd, the state file). */
  changed(): void;
  /** A message for somebody else in this daemon: dopd. */
  message(from: string, message: HaMessage): void;
}

export interface HeartbeatNodeConfig {
  readonly membership: MembershipConfig;
  readonly groups: readonly HaResourceGroup[];
  readonly autoFailback: 'on' | 'off' | 'legacy';
  readonly clients: readonly BuiltIn[]; // that ha.cf asks for
  readonly resume: Hold;
  readonly stopRetryMax: number;
  readonly innerSignature: boolean; // msgfmt classic
  readonly logBadpack: boolean;
  readonly permission: Omit<PermissionConfig, 'peer'>;
  readonly failbackDelayMs: number;
  readonly movesPerHour: number;
  readonly health: HealthConfig;
  readonly standing: Standing;
}

/** After a healed partition: first the peer hears of it, then we let go. */
const HEALED_RELEASE_MS = 2000;
const RESTART_DEADTIME_EXTRA_MS = 30_000;

export class HeartbeatNode {
  readonly membership: Membership;
  readonly resources: ResourceMachine;
  readonly operations: Operations;
  readonly permission: Permission;
  readonly homes: NodeHomes;
  readonly #clients: HeartbeatClients;
  readonly health: NodeHealth;
  readonly #config: HeartbeatNodeConfig;
  readonly #ports: HeartbeatPorts;
  readonly #digests: DigestSource;
  #keys: SigningKeys;
  readonly #peer: string | null;
  #stopAsked = false; // by an operator: no new life after it
  #restart = false; // the release under way ends in a new life
  #releaseMs = Number.POSITIVE_INFINITY;
  #ended = false;
  #ownJob = 0; // jobs that the resource machine knows nothing of: below 0

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
    this.#keys = keys;
    this.#digests = digests;
    this.#ports = ports;
    this.#peer = nodes.find((name) => name !== node) ?? null;
    this.membership = new Membership(config.membership, around, nowMs);
    const { groups, resume } = config;
    this.operations = new Operations(
      { stopRetryMax: config.stopRetryMax },
      groups.filter((group) => includes(resume, this.#scopeOf(group))),
    );
    this.permission = new Permission({ ...config.permission, peer: this.#peer });
    this.homes = new NodeHomes(groups, this.#peer, digests, ports.log);
    this.resources =
      config.autoFailback === 'legacy'
        ? new LegacyState({
            peer: this.#peer,
            groups: groups.map((group) => ({ key: group.key, scope: this.#scopeOf(group) })),
            resume,
          })
        : new ResourceState({
            node,
            peer: this.#peer,
            failBack: {
              wanted: config.autoFailback === 'on',
              delayMs: config.failbackDelayMs,
              needsData: this.#peersResources().length > 0,
            },
            movesPerHour: config.movesPerHour,
            resume,
            homes: this.homes.text,
          });
    const { resources } = this;
    this.#clients = new HeartbeatClients(
      {
        peer: this.#peer,
        keepaliveMs: config.membership.keepaliveMs,
        autoFailback: config.autoFailback,
        clients: config.clients,
      },
      {
        pings: () => this.#pings(),
        isPeerAlive: () => this.#peer !== null && this.membership.isAlive(this.#peer),
        get inTransition() {
          return resources.inTransition;
        },
        holds: (rsc) => {
          const scope = both(resources.hold, rsc);
          return config.groups.some((group) => includes(scope, this.#scopeOf(group)));
        },
      },
    );
    this.health = this.#health(nowMs);
  }

  #pings(): string[] {
    const nodes = [...this.membership.nodes.values()];
    return nodes.filter((node) => node.status === 'ping').map((node) => node.name);
  }

  #health(nowMs: number): NodeHealth {
    const { health, standing, groups, membership } = this.#config;
    const ports = this.#ports;
    const host = {
      node: membership.node,
      peer: this.#peer,
      groups,
      resources: this.resources,
      ask: ports.ask,
      leaving: () => this.leaving || this.#ended,
      peerStatus: () => this.peerStatus(),
      apply: (effects: readonly ResourceEffect[], atMs: number) =>
        this.#fromResources(effects, atMs),
      restart: (group: HaResourceGroup, from: number, atMs: number) =>
        this.#own('restart', group, from, atMs),
      giveUp: (group: HaResourceGroup, atMs: number) => this.#own('give', group, 0, atMs),
      abortTakes: () => this.operations.abortTakes(),
      leave: (atMs: number) => this.shutdown(atMs),
      changed: () => ports.changed(),
      log: (level: NodeLogLevel, text: string) => ports.log(level, text),
    };
    return new NodeHealth(health, standing, host, nowMs);
  }

  /** What is claimed stays claimed, so the other node starts nothing of it, whatever becomes of the job. */
  #own(kind: 'give' | 'restart', group: HaResourceGroup, from: number, nowMs: number): void {
    const out: QueueEffect[] = [];
    this.operations.add({ id: --this.#ownJob, kind, groups: [group], from }, nowMs, out);
    this.#fromOperations(out, nowMs);
  }

  get peer(): string | null {
    return this.#peer;
  }

  /** A shutdown or restart was begun. */
  get leaving(): boolean {
    return this.resources.state === 'SHUTDOWN' || this.#releaseMs < Number.POSITIVE_INFINITY;
  }

  peerStatus(): NodeStatus | null {
    return this.#peer === null ? null : (this.membership.nodes.get(this.#peer)?.status ?? null);
  }

  /** Of a client on this node: ipfail, dopd. */
  clientStatus(client: string): 'online' | 'offline' {
    return this.#clients.statusOf(client);
  }

  /** 0: none known. */
  peerGeneration(): number {
    return this.#peer === null ? 0 : (this.membership.nodes.get(this.#peer)?.generation ?? 0);
  }

  start(nowMs: number): void {
    const out: MembershipEffect[] = [];
    this.membership.start(out);
    this.#fromMembership(out, nowMs);
    this.tick(nowMs); // a cluster of one is active at once
  }

  /** authkeys was read again. */
  setKeys(keys: SigningKeys): void {
    this.#keys = keys;
  }

  receive(datagram: Uint8Array, link: string, nowMs: number): void {
    if (this.#ended) return;
    const decoded = decodeHaMessage(datagram);
    if (!decoded.ok) {
      if (this.#config.logBadpack) {
        this.#ports.log('ERROR', `bad packet on ${link}: ${decoded.text} at ${decoded.offset}`);
      }
      return;
    }
    if (!isAuthentic(decoded, this.#keys, this.#digests)) {
      if (this.#config.logBadpack) {
        const source = fieldOf(decoded.message, 'src') ?? '';
        const text =
          decoded.form === 'netstring'
            ? `authtoken does not match, authtoken=${decoded.signature ?? ''} [${source}]`
            : `node [${source}] failed authentication`;
        this.#ports.log('ERROR', text);
      }
      return;
    }
    const out: MembershipEffect[] = [];
    this.membership.receive(decoded.message, link, nowMs, out);
    this.#fromMembership(out, nowMs);
  }

  pingAnswered(name: string, nowMs: number): void {
    const out: MembershipEffect[] = [];
    this.membership.pingAnswered(name, nowMs, out);
    this.#fromMembership(out, nowMs);
  }

  /** A message of the host's own: dopd, the FIFO. */
  send(message: HaMessage, nowMs: number): void {
    if (this.#ended) return;
    const out: MembershipEffect[] = [];
    this.membership.send(message, out);
    this.#fromMembership(out, nowMs);
  }

  scriptDone(id: number, outcome: ScriptOutcome, nowMs: number): void {
    const out: QueueEffect[] = [];
    this.operations.answered(id, outcome, nowMs, out);
    this.#fromOperations(out, nowMs);
  }

  /** hb_standby. Null, or why it is refused. */
  standby(rsc: Hold, nowMs: number): string | null {
    const isOffline = this.resources.peerBarred ? `node ${this.#peer} is FAILED_OFFLINE` : null;
    const refusal = this.#refusal() ?? isOffline ?? this.resources.standbyBlocked;
    if (refusal) return refusal;
    const out: ResourceEffect[] = [];
    this.resources.requestStandby(rsc, out);
    this.#fromResources(out, nowMs);
    return null;
  }

  /** hb_takeover: asks the other node to go standby. `failback` is what the message says for our own groups. */
  takeover(rsc: Hold | 'failback', nowMs: number): string | null {
    const isOffline = this.resources.barred === null ? null : 'this node is FAILED_OFFLINE';
    const refusal = this.#refusal() ?? isOffline;
    if (refusal) return refusal;
    this.send(
      [
        { name: 't', value: 'hb_takeover' },
        { name: 'rsc_hold', value: rsc },
      ],
      nowMs,
    );
    return null;
  }

  #refusal(): string | null {
    if (this.resources.standbyRefusal !== null) return this.resources.standbyRefusal;
    if (this.leaving) return 'heartbeat is shutting down';
    if (!this.membership.commUp) return 'communication is not up yet';
    if (this.#peer === null) return 'there is no other node';
    const status = this.peerStatus();
    if (status !== 'active') return `node ${this.#peer} is ${status ?? 'unknown'}, not active`;
    return null;
  }

  /** Orderly leave: hand everything over, then `released(false)`. */
  shutdown(nowMs: number): void {
    this.#stopAsked = true;
    this.#restart = false;
    const out: ResourceEffect[] = [];
    if (!this.membership.commUp && this.#config.resume === 'none') {
      this.#end(nowMs); // nothing is held, and nobody counts on us
      this.abandon(); // nor takes over what nobody would stop again, should initdead be over now
      return;
    }
    this.#ports.log('info', 'Heartbeat shutdown in progress.');
    this.resources.shutdown(nowMs, out);
    this.#fromResources(out, nowMs);
  }

  /** Nobody is to be told any more: the sockets are closed by the host. */
  abandon(): void {
    this.#ended = true;
  }

  #end(nowMs: number): void {
    if (this.#ended) return;
    const out: IpfailEffect[] = [];
    this.#clients.end(out);
    this.#fromClients(out, nowMs);
    this.#ports.released(this.#restart);
  }

  tick(nowMs: number): void {
    if (this.#ended) return;
    const out: MembershipEffect[] = [];
    this.membership.tick(nowMs, out);
    this.#fromMembership(out, nowMs);
    if (nowMs >= this.#releaseMs) this.#release(nowMs); // before anything that was due meanwhile is begun
    const queue: QueueEffect[] = [];
    this.operations.tick(nowMs, queue);
    this.#fromOperations(queue, nowMs);
    const asked: PermissionEffect[] = [];
    this.permission.tick(nowMs, asked);
    this.#fromPermission(asked, nowMs);
    const effects: ResourceEffect[] = [];
    this.resources.tick(nowMs, effects);
    this.#fromResources(effects, nowMs);
    const clients: IpfailEffect[] = [];
    this.#clients.tick(nowMs, clients);
    this.#fromClients(clients, nowMs);
    this.health.tick(nowMs);
  }

  get deadlineMs(): number {
    if (this.#ended) return Number.POSITIVE_INFINITY;
    return Math.min(
      this.membership.deadlineMs,
      this.operations.deadlineMs,
      this.permission.deadlineMs,
      this.resources.deadlineMs,
      this.#clients.deadlineMs,
      this.health.deadlineMs,
      this.#releaseMs,
    );
  }

  /** The other side may run what we run: let go, then begin a new life. */
  #beginRestart(afterMs: number, nowMs: number): void {
    if (this.resources.state === 'SHUTDOWN') return;
    this.#restart = !this.#stopAsked;
    this.operations.abortTakes();
    this.#releaseMs = Math.min(this.#releaseMs, nowMs + afterMs);
  }

  #release(nowMs: number): void {
    this.#releaseMs = Number.POSITIVE_INFINITY;
    this.operations.abortTakes();
    this.#ports.log('info', 'Heartbeat shutdown in progress.');
    const raised: MembershipEffect[] = [];
    this.membership.raiseDeadtime(RESTART_DEADTIME_EXTRA_MS, raised);
    this.#fromMembership(raised, nowMs);
    const out: ResourceEffect[] = [];
    this.resources.release(out);
    this.#fromResources(out, nowMs);
  }

  #fromMembership(effects: readonly MembershipEffect[], nowMs: number): void {
    const { resources } = this;
    for (const effect of effects) {
      const out: ResourceEffect[] = [];
      const clients: IpfailEffect[] = [];
      switch (effect.type) {
        case 'transmit':
          this.#ports.transmit(
            signNetstring(effect.message, this.#keys, this.#digests, this.#config.innerSignature),
          );
          break;
        case 'deliver':
          this.#deliver(effect, nowMs, out, clients);
          break;
        case 'node-status':
          if (effect.node === this.#peer && effect.status !== 'dead') resources.peerHeard(out);
          this.#ports.changed();
          this.#clients.nodeStatus(effect.node, effect.status, clients);
          break;
        case 'link-status':
          this.#ports.changed();
          this.#clients.linkStatus(effect.node, effect.link, effect.status, clients);
          break;
        case 'node-restarted':
          resources.peerRestarted(out);
          break;
        case 'node-dead':
          resources.peerDied(effect.heard, nowMs, out);
          break;
        case 'comm-up':
          resources.active(nowMs, out);
          this.#clients.start(clients);
          break;
        case 'partition-healed':
          this.#beginRestart(HEALED_RELEASE_MS, nowMs);
          break;
        case 'stalled':
          this.#beginRestart(0, nowMs);
          break;
        case 'log':
          this.#ports.log(effect.level, effect.text);
          break;
      }
      this.#fromResources(out, nowMs);
      this.#fromClients(clients, nowMs);
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
    if (isForResources) {
      const isFree = this.homes.hear(own ? null : fieldOf(message, 'homes'));
      this.resources.receive(message, own, nowMs, out);
      if (isFree) this.resources.takeAgain(out);
    }
    if (own) return;
    if (!isForResources) this.#ports.message(from, message);
    this.#clients.receive(message, nowMs, clients);
  }

  #fromClients(effects: readonly IpfailEffect[], nowMs: number): void {
    for (const effect of effects) {
      const out: IpfailEffect[] = [];
      switch (effect.type) {
        case 'send':
          this.send(effect.message, nowMs);
          break;
        case 'standby': {
          // The ordinary standby: nothing starts on the other node before it has stopped here.
          const refusal = this.standby(effect.resources, nowMs);
          if (refusal !== null) this.#clients.refused(refusal, out);
          break;
        }
        case 'log':
          this.#ports.log(effect.level, effect.text);
          break;
      }
      this.#fromClients(out, nowMs);
    }
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
        case 'job': {
          const groups = this.#config.groups.filter((group) =>
            effect.key === null
              ? includes(effect.scope, this.#scopeOf(group))
              : group.key === effect.key,
          );
          const out: QueueEffect[] = [];
          const leaving =
            this.#releaseMs < Number.POSITIVE_INFINITY || this.resources.state === 'SHUTDOWN';
          const isTake = effect.kind === 'take';
          // Everything of a peer is only taken when nothing runs there.
          const mine = isTake && effect.scope !== 'all' ? this.homes.undisputed(groups) : groups;
          // A node that may run nothing: what it agreed to take before that goes back with the rest.
          const refused = isTake && (leaving || this.resources.barred !== null);
          const job = { id: effect.id, kind: effect.kind, groups: refused ? [] : mine, from: 0 };
          for (const { key } of job.groups) this.health.groupBusy(key);
          this.operations.add(job, nowMs, out);
          this.#fromOperations(out, nowMs);
          break;
        }
        case 'permission': {
          const out: PermissionEffect[] = [];
          const holds = this.resources.claims() !== 'none';
          this.permission.ask(effect.id, effect.needed, holds, nowMs, out);
          this.#fromPermission(out, nowMs);
          break;
        }
        case 'withdraw':
          this.permission.withdraw();
          break;
        case 'data':
          this.#askData();
          break;
        case 'released':
          this.#end(nowMs);
          break;
        case 'yield':
          this.#beginRestart(0, nowMs);
          break;
        case 'log':
          this.#ports.log(effect.level, effect.text);
          break;
      }
    }
  }

  #peersResources(): string[] {
    return drbdResources(this.#config.groups.filter((group) => this.#scopeOf(group) === 'foreign'));
  }

  #askData(): void {
    askPeersData(this.#ports.ask, this.#peer ?? '', this.#peersResources(), (verdict, nowMs) => {
      const out: ResourceEffect[] = [];
      this.resources.peersData(verdict, nowMs, out);
      this.#fromResources(out, nowMs);
    });
  }

  #fromPermission(effects: readonly PermissionEffect[], nowMs: number): void {
    for (const effect of effects) {
      const out: ResourceEffect[] = [];
      switch (effect.type) {
        case 'fence': {
          const { id, node } = effect;
          this.#ports.ask('fence', { node }, (answer, answeredMs) => {
            this.tick(answeredMs); // a node that stood still meanwhile lets go first
            const answered: PermissionEffect[] = [];
            this.permission.fenced(id, answer, answeredMs, answered);
            this.#fromPermission(answered, answeredMs);
          });
          break;
        }
        case 'told': {
          const { node, result } = effect;
          out.push({ type: 'send', message: haFields({ t: 'stonith', node, result }) });
          break;
        }
        case 'permitted':
          this.resources.permitted(effect.id, nowMs, out);
          break;
        case 'log':
          out.push(effect);
          break;
      }
      this.#fromResources(out, nowMs);
    }
  }

  #fromOperations(effects: readonly QueueEffect[], nowMs: number): void {
    for (const effect of effects) {
      const out: ResourceEffect[] = [];
      switch (effect.type) {
        case 'run':
          this.#ports.runScript(effect.id, effect.resource, effect.action);
          break;
        case 'log':
          this.#ports.log(effect.level, effect.text);
          break;
        case 'started':
          this.resources.started(effect.group.key);
          this.health.groupRuns(effect.group.key, nowMs);
          break;
        case 'start-failed':
          this.resources.startFailed(effect.group.key, this.#scopeOf(effect.group), nowMs, out);
          break;
        case 'restarted':
          this.health.restarted(effect.group.key, effect.worked, nowMs);
          break;
        case 'stuck':
          this.#ports.stuck(effect.group);
          break;
        case 'job-done':
          if (effect.job > 0) this.resources.jobDone(effect.job, nowMs, out);
          break;
      }
      this.#fromResources(out, nowMs);
    }
  }

  #scopeOf(group: HaResourceGroup): 'local' | 'foreign' {
    return group.node === this.#config.membership.node ? 'local' : 'foreign';
  }
}
