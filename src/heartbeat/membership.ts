/**
 * Heartbeat membership: which nodes live, judged by the age of their last status, and the stream of messages between
 * them. One instance is one life of a node: a restart is a new instance with a higher generation.
 *
 *     own status   init -> up -> (every other node heard or dead) -> reqnodes/repnodes -> active
 *     other nodes  init -> up -> active, as they say of themselves;  silent for their own dt -> dead -> up ...
 *
 * Here is what is known of the other nodes. What this node says is in own-status.ts and own-messages.ts, how it becomes active in
 * joining.ts, what is lost on the way in retransmission.ts, its own stalls in stall.ts.
 *
 * Pure: the host passes monotonic milliseconds in and carries out, in order, the effects pushed to `out`. Source: docs/HEARTBEAT.md,
 * transport and membership.
 *
 * Deliberately different from the original, always towards less running twice:
 * - A heartbeat later than deadtime is reported, but does not make the node dead at the moment it is heard again.
 * - Own stalls (SIGSTOP, a paused VM) are not held against others; a stall beyond our own deadtime while another node
 *   was alive means it has taken over: `stalled`, and the host gives everything up.
 * - A node that we held for dead and that comes back as `active` without having joined through us has run alone: a
 *   healed partition also when its generation is new to us.
 */
import { assert } from '../base/assert.js';
import { bytesOf, fieldOf, type HaMessage, hexOf } from '../wire/hamsg.js';
import { isForUs, isSameUuid, senderOf } from './addressing.js';
import { Doubt, type DoubtEffect } from './doubt.js';
import { FlowControl } from './flow-control.js';
import { Incoming, type IncomingEffect } from './incoming.js';
import { Joining } from './joining.js';
import type {
  LogLevel,
  MembershipConfig,
  MembershipEffect,
  Surroundings,
} from './membership-types.js';
import {
  isAlive,
  linkUp,
  liveMembers,
  NODE_STATUSES,
  type NodeRecord,
  type NodeStatus,
} from './node-record.js';
import { OwnMessages } from './own-messages.js';
import { OwnStatus } from './own-status.js';
import { Retransmission } from './retransmission.js';
import { CHECK_MS, Stall } from './stall.js';

/** A peer asking for more time than this is not believed. */
const MAX_DEADTIME_MS = 3_600_000;

export class Membership {
  #config: MembershipConfig;
  readonly #around: Surroundings;
  readonly #nodes = new Map<string, NodeRecord>();
  readonly #own: OwnMessages;
  readonly #status: OwnStatus; // ours
  readonly #flow: FlowControl;
  readonly #streams: Retransmission; // of messages, ours and theirs
  readonly #joining: Joining;
  readonly #stall: Stall;
  readonly #startMs: number;
  #checkedMs: number; // when timeouts were last looked at
  #namesakeWarned = false;

  constructor(config: MembershipConfig, around: Surroundings, nowMs: number) {
    assert(config.nodes.includes(config.node), 'our node is among the nodes');
    assert(config.deadtimeMs > 2 * config.keepaliveMs, 'deadtime > 2 x keepalive');
    this.#config = config;
    this.#around = around;
    this.#startMs = nowMs;
    this.#checkedMs = nowMs;
    this.#own = new OwnMessages(config, around, this.#nodes);
    this.#stall = new Stall(this.#nodes, nowMs);
    this.#status = new OwnStatus(config, this.#nodes, this.#own, this.#stall, nowMs);
    this.#flow = new FlowControl(this.#nodes, this.#own.history);
    this.#streams = new Retransmission(config, this.#nodes, this.#own, this.#flow);
    this.#joining = new Joining(config, this.#nodes, this.#own, this.#status, this.#flow);
    for (const name of config.nodes) this.#add(name, 'normal');
    for (const name of config.pings) this.#add(name, 'ping');
  }

  #add(name: string, kind: 'normal' | 'ping'): void {
    if (name === this.#config.node || this.#nodes.has(name)) return;
    const names = kind === 'ping' ? [name] : this.#config.links;
    this.#nodes.set(name, {
      name,
      kind,
      links: names.map((link) => ({ name: link, status: 'dead', heardMs: this.#startMs })),
      incoming: new Incoming(this.#around.random, this.#config.maxRexmitDelayMs),
      status: 'init',
      uuid: null,
      heard: false,
      generation: 0,
      deadGeneration: null,
      isReturning: false,
      knownGeneration: this.#config.generations.get(name) ?? 0,
      doubt: new Doubt(name, this.#around.random),
      statusMs: this.#startMs,
      statusSeq: 0,
      statusHeard: false,
      asksArbiter: false,
      deadtimeMs: kind === 'ping' ? this.#config.deadpingMs : this.#config.deadtimeMs,
      shortDtMs: 0,
      askedNodes: false,
    });
  }

  /** Settings that no other node sees. */
  configure(times: Pick<MembershipConfig, 'warntimeMs' | 'deadpingMs'>): void {
    this.#config = { ...this.#config, ...times };
    for (const node of this.#nodes.values()) {
      if (node.kind === 'ping') node.deadtimeMs = times.deadpingMs;
    }
  }

  get status(): NodeStatus {
    return this.#status.status;
  }

  get commUp(): boolean {
    return this.#joining.commUp;
  }

  get generation(): number {
    return this.#config.generation;
  }

  get nodes(): ReadonlyMap<string, Readonly<NodeRecord>> {
    return this.#nodes;
  }

  /** Flow control: programs on the client API may send nothing now. What the cluster itself has to say goes on. */
  get clientsPaused(): boolean {
    return this.#flow.clientsPaused;
  }

  isAlive(name: string): boolean {
    const node = this.#nodes.get(name);
    return node !== undefined && isAlive(node);
  }

  /** The first messages of our life. */
  start(out: MembershipEffect[]): void {
    this.#status.send(out);
    this.#status.set('up', out);
    this.#status.send(out);
  }

  /** Give peers more time before they take us for dead: before a pause that we know of. */
  raiseDeadtime(byMs: number, out: MembershipEffect[]): void {
    this.#status.raiseDeadtime(byMs, out);
  }

  /** Send fields of our own (`t` first); the standard ones are added. Everybody hears it, `dest` or not. */
  send(fields: HaMessage, out: MembershipEffect[]): void {
    this.#own.send(fields, out);
  }

  /** A message with a good signature came in on the medium `link`. */
  receive(message: HaMessage, link: string, nowMs: number, out: MembershipEffect[]): void {
    this.#stall.check(nowMs, this.#status.deadtimeMs, out);
    const type = fieldOf(message, 't');
    const source = fieldOf(message, 'src');
    const seq = hexOf(message, 'seq');
    const isNs = type?.startsWith('NS_') ?? false;
    if (type === null || source === null || !hexOf(message, 'ts') || (!isNs && !seq)) {
      out.push({
        type: 'log',
        level: 'ERROR',
        text: `malformed message: type [${type ?? ''}] from [${source ?? ''}]`,
      });
      return;
    }
    if (source === this.#config.node) {
      this.#checkNamesake(message, out);
      return;
    }
    const node = senderOf(this.#nodes, message, source);
    if (!node) {
      const text = `process_status_message: bad node [${source}] in message`;
      out.push({ type: 'log', level: 'ERROR', text });
      return;
    }
    const generation = hexOf(message, 'hg') ?? 0;
    // Known are also those above its present one, which may have gone down: a recording of them is no new life.
    const isKnown = generation === node.knownGeneration && node.generation > 0;
    if (generation !== node.generation && (generation < node.knownGeneration || isKnown)) {
      if (!this.#doubted(node, generation, message, nowMs, out)) return;
    }
    if (linkUp(node, link, nowMs)) this.#logLink(node.name, link, 'up', out);
    node.uuid = bytesOf(message, 'srcuuid') ?? node.uuid;
    if (generation !== node.generation) this.#restarted(node, generation, out);
    node.heard = true;
    if (isNs) this.#streams.receive(node, type, message, nowMs, out);
    else this.#receiveSequenced(node, type, seq ?? 0, message, nowMs, out);
    this.#joining.check(nowMs, out);
  }

  /** A generation that was heard before, or a lower one. True: it is its node, which lives. */
  #doubted(
    node: NodeRecord,
    generation: number,
    message: HaMessage,
    nowMs: number,
    out: MembershipEffect[],
  ): boolean {
    const known = node.knownGeneration;
    if (node.heard && node.status !== 'dead' && generation < node.generation) {
      // It lives with its higher generation: this is a late datagram of its last life, or a replay.
      const text = `should_drop_message: attempted replay attack [${node.name}]? [gen = ${generation}, curgen = ${node.generation}]`;
      out.push({ type: 'log', level: 'ERROR', text });
      return false;
    }
    const effects: DoubtEffect[] = [];
    const isProved = node.doubt.hear(message, generation, known, nowMs, effects);
    for (const effect of effects) {
      if (effect.type === 'ask') this.#own.send(effect.message, out);
      else if (effect.type === 'log') out.push(effect);
      else if (isForUs(message, this.#config)) {
        out.push({ type: 'deliver', from: node.name, own: false, message });
      }
    }
    return isProved;
  }

  /** Our own messages come back by multicast and broadcast; somebody else's with our name must not go unnoticed. */
  #checkNamesake(message: HaMessage, out: MembershipEffect[]): void {
    const uuid = bytesOf(message, 'srcuuid');
    if (this.#namesakeWarned || !uuid || isSameUuid(uuid, this.#config.uuid)) return;
    this.#namesakeWarned = true;
    const text = `another machine sends as node [${this.#config.node}]: node names must be unique`;
    out.push({ type: 'log', level: 'CRIT', text });
  }

  #restarted(node: NodeRecord, generation: number, out: MembershipEffect[]): void {
    const known = node.generation > 0;
    node.generation = generation;
    node.knownGeneration = Math.max(node.knownGeneration, generation);
    node.incoming.forget();
    node.statusSeq = 0;
    node.statusHeard = false;
    node.isReturning = false;
    node.askedNodes = false;
    this.#own.history.forget(node.name);
    // First of all what we are: an original to which our link comes up by an acknowledgement or `repnodes` becomes
    // active with us as not there, and with auto_failback legacy starts its groups without asking.
    this.#status.send(out);
    if (!known) return;
    out.push({ type: 'log', level: 'info', text: `Heartbeat restart on node ${node.name}` });
    out.push({ type: 'node-restarted', node: node.name });
  }

  #receiveSequenced(
    node: NodeRecord,
    type: string,
    seq: number,
    message: HaMessage,
    nowMs: number,
    out: MembershipEffect[],
  ): void {
    const isStatus = type === 'status';
    if (node.status === 'dead' && node.deadGeneration === node.generation) {
      // The generation that we declared dead: only a newer status shows that it lives.
      if (!isStatus || seq <= node.statusSeq) return;
      this.#healed(node, out);
    } else if (
      (node.status === 'dead' || node.isReturning) &&
      isStatus &&
      fieldOf(message, 'st') === 'active'
    ) {
      // A generation that is new to us is active already although nobody but us could have let it in.
      if (!node.askedNodes) this.#healed(node, out);
    }
    const effects: IncomingEffect[] = [];
    const isNew = node.incoming.accept(seq, message, !isStatus, nowMs, effects);
    if (isNew && isStatus) this.#receiveStatus(node, seq, message, nowMs, out);
    else if (isNew && node.status === 'dead') this.#begins(node, nowMs, out);
    if (isNew && type === 'reqnodes' && isForUs(message, this.#config))
      this.#joining.asked(node, out);
    if (isNew && type === 'repnodes' && isForUs(message, this.#config))
      this.#joining.answered(message, out);
    this.#streams.carryOut(node, effects, out);
  }

  /**
   * Something else than a status is the first that we hear of a new life: its status was lost. It lives, and what was asked because
   * of its death is not open any more; so it is not dead for us either, and dies again when it falls silent. The original keeps
   * `dead` here, which only its status ends.
   */
  #begins(node: NodeRecord, nowMs: number, out: MembershipEffect[]): void {
    node.statusMs = nowMs;
    node.isReturning = true;
    this.#setNodeStatus(node, 'init', out);
  }

  #setNodeStatus(node: NodeRecord, status: NodeStatus, out: MembershipEffect[]): void {
    node.status = status;
    const text = `Status update for node ${node.name}: status ${status}`;
    out.push({ type: 'log', level: 'info', text });
    out.push({ type: 'node-status', node: node.name, status });
  }

  #healed(node: NodeRecord, out: MembershipEffect[]): void {
    const log = (level: LogLevel, text: string) => out.push({ type: 'log', level, text });
    log('CRIT', `Cluster node ${node.name} returning after partition.`);
    log(
      'info',
      'For information on cluster partitions, See URL: http://linux-ha.org/wiki/Split_Brain',
    );
    log('WARN', 'Deadtime value may be too small.');
    log('info', 'See FAQ for information on tuning deadtime.');
    log('info', 'URL: http://linux-ha.org/wiki/FAQ#Heavy_Load');
    node.statusHeard = false; // the silence is known about
    this.#status.send(out);
    out.push({ type: 'partition-healed', node: node.name });
  }

  #receiveStatus(
    node: NodeRecord,
    seq: number,
    message: HaMessage,
    nowMs: number,
    out: MembershipEffect[],
  ): void {
    if (seq < node.statusSeq) return; // a late one: what it says is over
    const intervalMs = Math.round(nowMs - node.statusMs);
    if (node.statusHeard && intervalMs > this.#config.warntimeMs) {
      const beyond = intervalMs > this.#config.deadtimeMs;
      const text = `Late heartbeat: Node ${node.name}: interval ${intervalMs} ms${beyond ? ' (> deadtime)' : ''}`;
      out.push({ type: 'log', level: beyond ? 'CRIT' : 'WARN', text });
    }
    node.statusMs = nowMs;
    node.statusSeq = seq;
    node.statusHeard = true;
    node.isReturning = false;
    const dt = hexOf(message, 'dt') ?? 0;
    node.deadtimeMs = this.#deadtimeOf(node, dt, out);
    if (fieldOf(message, 'protocol') === null) this.#flow.turnOff(out);
    this.#status.provedBy(node, message, out);
    const said = fieldOf(message, 'st');
    const status = NODE_STATUSES.find((candidate) => candidate === said);
    if (status && status !== node.status) this.#setNodeStatus(node, status, out);
  }

  /** Believed within bounds: with less than a keepalive or two a living node would be taken for dead. */
  #deadtimeOf(node: NodeRecord, dt: number, out: MembershipEffect[]): number {
    const leastMs = 2 * this.#config.keepaliveMs;
    if (dt === 0) return this.#config.deadtimeMs;
    if (dt >= leastMs) return Math.min(dt, MAX_DEADTIME_MS);
    if (node.shortDtMs !== dt) {
      node.shortDtMs = dt;
      const text = `node ${node.name} announces a deadtime of ${dt} ms: taken as ${leastMs} ms, 2 x keepalive`;
      out.push({ type: 'log', level: 'WARN', text });
    }
    return leastMs;
  }

  /** A ping node answered an echo. */
  pingAnswered(name: string, nowMs: number, out: MembershipEffect[]): void {
    const node = this.#nodes.get(name);
    if (node?.kind !== 'ping') return;
    this.#stall.check(nowMs, this.#status.deadtimeMs, out);
    node.heard = true;
    node.statusMs = nowMs;
    if (linkUp(node, name, nowMs)) this.#logLink(name, name, 'up', out);
    if (node.status !== 'ping') this.#setNodeStatus(node, 'ping', out);
    this.#joining.check(nowMs, out);
  }

  /** Time passed. Calling late, or twice at one time, is harmless. */
  tick(nowMs: number, out: MembershipEffect[]): void {
    this.#stall.check(nowMs, this.#status.deadtimeMs, out);
    this.#checkedMs = nowMs;
    this.#status.tick(nowMs, out);
    for (const node of this.#nodes.values()) {
      this.#checkDead(node, nowMs, out);
      const effects: IncomingEffect[] = [];
      node.incoming.tick(nowMs, effects);
      this.#streams.carryOut(node, effects, out);
    }
    this.#joining.check(nowMs, out);
    this.#joining.tick(nowMs, out);
    this.#flow.check(out);
  }

  get deadlineMs(): number {
    const gapsMs = [...this.#nodes.values()].map((node) => node.incoming.deadlineMs);
    const ownMs = Math.min(this.#status.deadlineMs, this.#joining.deadlineMs);
    const deathsMs = liveMembers(this.#nodes).map((node) => this.#deathMs(node));
    return Math.min(ownMs, this.#checkedMs + CHECK_MS, ...gapsMs, ...deathsMs);
  }

  /** When a node is dead of which nothing more is heard: the first moment at which #checkDead finds so. */
  #deathMs({ statusMs, deadtimeMs }: NodeRecord): number {
    const waitMs = this.#joining.commUp ? deadtimeMs : this.#config.initdeadMs;
    return statusMs + (this.#config.proves ? Math.max(waitMs, deadtimeMs) : waitMs) + 1;
  }

  #checkDead(node: NodeRecord, nowMs: number, out: MembershipEffect[]): void {
    const limitMs = this.#joining.commUp ? node.deadtimeMs : this.#config.initdeadMs;
    const silentMs = nowMs - node.statusMs;
    // One that has proved to be heard counts on its own deadtime, whatever we wait for at a start.
    const isSure = this.#config.proves && silentMs <= node.deadtimeMs;
    if (node.status !== 'dead' && silentMs > limitMs && !isSure) this.#died(node, nowMs, out);
    // After its node, as in the original: ipfail counts the ping nodes when a link of one is dead.
    for (const link of node.links) {
      if (link.status === 'dead' || nowMs - link.heardMs <= limitMs) continue;
      link.status = 'dead';
      this.#logLink(node.name, link.name, 'dead', out);
    }
  }

  #died(node: NodeRecord, nowMs: number, out: MembershipEffect[]): void {
    node.status = 'dead';
    node.deadGeneration = node.generation;
    node.isReturning = false;
    node.incoming.forget();
    this.#own.history.forget(node.name);
    out.push({ type: 'log', level: 'WARN', text: `node ${node.name}: is dead` });
    out.push({ type: 'node-status', node: node.name, status: 'dead' });
    if (node.kind !== 'normal') return;
    // Before communication is up nobody listens yet: becoming active comes first, then the takeover.
    this.#joining.check(nowMs, out);
    out.push({ type: 'node-dead', node: node.name, heard: node.generation > 0 });
  }

  #logLink(node: string, link: string, status: 'up' | 'dead', out: MembershipEffect[]): void {
    out.push({ type: 'log', level: 'info', text: `Link ${node}:${link} ${status}.` });
    out.push({ type: 'link-status', node, link, status });
  }
}
