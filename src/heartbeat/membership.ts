/**
 * Heartbeat membership: which nodes live, judged by the age of their last status, and the stream of messages between
 * them. One instance is one life of a node: a restart is a new instance with a higher generation.
 *
 *     own status   init -> up -> (every other node heard or dead) -> reqnodes/repnodes -> active
 *     other nodes  init -> up -> active, as they say of themselves;  silent for their own dt -> dead -> up ...
 *
 * Pure: the host passes monotonic milliseconds in and carries out, in order, the effects pushed to `out`. A message of
 * our own is delivered to ourselves after it is transmitted. Source: docs/HEARTBEAT.md, transport and membership.
 *
 * Deliberately different from the original, always towards less running twice:
 * - A heartbeat later than deadtime is reported, but does not make the node dead at the moment it is heard again.
 * - Own stalls (SIGSTOP, a paused VM) are not held against others; a stall beyond our own deadtime while another node
 *   was alive means it has taken over: `stalled`, and the host gives everything up.
 * - A node that we held for dead and that comes back as `active` without having joined through us has run alone: a
 *   healed partition also when its generation is new to us.
 */
import { assert } from '../base/assert.js';
import {
  bytesOf,
  decimalOf,
  fieldOf,
  type HaField,
  type HaMessage,
  haFields,
  hexOf,
} from '../wire/hamsg.js';
import { Doubt, type DoubtEffect } from './doubt.js';
import { Incoming, type IncomingEffect } from './incoming.js';
import type {
  LogLevel,
  MembershipConfig,
  MembershipEffect,
  Surroundings,
} from './membership-types.js';
import { linkUp, NODE_STATUSES, type NodeRecord, type NodeStatus } from './node-record.js';
import { Outgoing, type OutgoingEffect } from './outgoing.js';

/** Timeouts are looked at this often at least. */
const CHECK_MS = 250;
/** Lateness of a check that is still the machine's everyday life. */
const STALL_MS = 500;
const START_DEADTIME_EXTRA_MS = 2000;
const START_DEADTIME_MS = 5000;
const REQNODES_MS = 1000;
/** With more unacknowledged messages clients of the API wait; the history keeps twice as many. */
const FLOW_LIMIT = 250;
/** Statuses whose time of sending is remembered: more than a deadtime of keepalives is of no use to anybody. */
const MAX_SENT = 500;
/** A peer asking for more time than this is not believed. */
const MAX_DEADTIME_MS = 3_600_000;

export class Membership {
  readonly #config: MembershipConfig;
  readonly #around: Surroundings;
  readonly #nodes = new Map<string, NodeRecord>();
  readonly #outgoing: Outgoing;
  readonly #startMs: number;
  #status: NodeStatus = 'init';
  #deadtimeMs: number; // what we announce
  #deadtimeFalls: boolean; // the extra of the first seconds is still in it
  #keepaliveMs: number; // when the next is due
  #ranMs: number; // when we last ran at all
  #checkedMs: number; // when timeouts were last looked at
  #commUp = false;
  #waitsForNodes = false; // reqnodes was sent
  #reqnodesMs = Number.POSITIVE_INFINITY;
  #flowControl = true; // until a status without `protocol` is heard
  #clientsPaused = false;
  #namesakeWarned = false;
  readonly #sent = new Map<number, number>(); // seq of our statuses -> when they were sent, or a little before

  constructor(config: MembershipConfig, around: Surroundings, nowMs: number) {
    assert(config.nodes.includes(config.node), 'our node is among the nodes');
    assert(config.deadtimeMs > 2 * config.keepaliveMs, 'deadtime > 2 x keepalive');
    this.#config = config;
    this.#around = around;
    this.#outgoing = new Outgoing(config.maxRexmitDelayMs);
    this.#startMs = nowMs;
    this.#ranMs = nowMs;
    this.#checkedMs = nowMs;
    this.#keepaliveMs = nowMs + config.keepaliveMs;
    this.#deadtimeMs = config.deadtimeMs + START_DEADTIME_EXTRA_MS;
    this.#deadtimeFalls = true;
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
      deadtimeMs: kind === 'ping' ? this.#config.deadpingMs : this.#config.deadtimeMs,
      shortDtMs: 0,
      askedNodes: false,
    });
  }

  get status(): NodeStatus {
    return this.#status;
  }

  get commUp(): boolean {
    return this.#commUp;
  }

  get generation(): number {
    return this.#config.generation;
  }

  get nodes(): ReadonlyMap<string, Readonly<NodeRecord>> {
    return this.#nodes;
  }

  /** Flow control: programs on the client API may send nothing now. What the cluster itself has to say goes on. */
  get clientsPaused(): boolean {
    return this.#clientsPaused;
  }

  #checkFlow(out: MembershipEffect[]): void {
    const live = this.#live().flatMap((node) => (node.heard ? [node.name] : []));
    const paused = this.#flowControl && this.#outgoing.unacknowledged(live) > FLOW_LIMIT;
    if (paused === this.#clientsPaused) return;
    this.#clientsPaused = paused;
    const text = `all clients are now ${paused ? 'paused' : 'resumed'}`;
    out.push({ type: 'log', level: 'info', text });
  }

  /** Members other than us that are not dead, heard or not. */
  #live(): NodeRecord[] {
    return [...this.#nodes.values()].filter((n) => n.kind === 'normal' && n.status !== 'dead');
  }

  isAlive(name: string): boolean {
    const node = this.#nodes.get(name);
    return node !== undefined && (node.status === 'up' || node.status === 'active');
  }

  /** The first messages of our life. */
  start(out: MembershipEffect[]): void {
    this.#sendStatus(out);
    this.#setStatus('up', out);
    this.#sendStatus(out);
  }

  /** Give peers more time before they take us for dead: before a pause that we know of. */
  raiseDeadtime(byMs: number, out: MembershipEffect[]): void {
    this.#deadtimeMs += byMs;
    this.#deadtimeFalls = false;
    this.#sendStatus(out);
  }

  /** Send fields of our own (`t` first); the standard ones are added. Everybody hears it, `dest` or not. */
  send(fields: HaMessage, out: MembershipEffect[]): void {
    const type = fieldOf(fields, 't') ?? '';
    const isNs = type.startsWith('NS_');
    const dest = fieldOf(fields, 'dest');
    const destUuid =
      dest === this.#config.node ? this.#config.uuid : (this.#nodes.get(dest ?? '')?.uuid ?? null);
    const message: HaField[] = [...fields];
    if (destUuid) message.push({ name: 'destuuid', kind: 1, value: destUuid });
    message.push({ name: 'src', value: this.#config.node });
    message.push({ name: 'srcuuid', kind: 1, value: this.#config.uuid });
    const seq = isNs ? 0 : this.#outgoing.next();
    if (!isNs) message.push({ name: 'seq', value: seq.toString(16) });
    message.push({ name: 'hg', value: this.#config.generation.toString(16) });
    message.push({ name: 'ts', value: Math.max(1, this.#around.wallSeconds()).toString(16) });
    if (!isNs) message.push({ name: 'ld', value: this.#around.loadavg() });
    const ttl = this.#config.hopfudge + this.#nodes.size + 1;
    message.push({ name: 'ttl', value: String(ttl) });
    if (!isNs) this.#outgoing.remember(seq, message);
    out.push({ type: 'transmit', message });
    const isForUs = dest === null || dest === this.#config.node;
    if (!isNs && type !== 'status' && isForUs) {
      out.push({ type: 'deliver', from: this.#config.node, own: true, message });
    }
  }

  #sendStatus(out: MembershipEffect[]): void {
    const dt = this.#deadtimeMs.toString(16);
    const rx = this.#config.proves ? { rx: this.#heardOfPeer() } : {};
    this.send(haFields({ t: 'status', st: this.#status, dt, protocol: '1', ...rx }), out);
    if (!this.#config.proves) return;
    this.#sent.set(this.#outgoing.seq, this.#ranMs);
    const [oldest] = this.#sent.keys();
    if (this.#sent.size > MAX_SENT && oldest !== undefined) this.#sent.delete(oldest);
  }

  /** `rx`: GENERATION.SEQ of the latest status of the other node, in hex; ours: a seq alone may be of its next life. */
  #heardOfPeer(): string {
    const node = [...this.#nodes.values()].find(({ kind }) => kind === 'normal');
    if (!node || node.statusSeq === 0) return '0.0';
    return `${node.generation.toString(16)}.${node.statusSeq.toString(16)}`;
  }

  /** What the peer says that it has heard. Its own words count: a status that comes late proves what it proved when it was sent. */
  #provedBy(node: NodeRecord, message: HaMessage, out: MembershipEffect[]): void {
    if (!this.#config.proves) return;
    const [, generation = '', seq = ''] =
      /^([0-9a-f]{1,13})\.([0-9a-f]{1,13})$/.exec(fieldOf(message, 'rx') ?? '') ?? [];
    const isOurs = Number.parseInt(generation, 16) === this.#config.generation;
    const sentMs = isOurs ? (this.#sent.get(Number.parseInt(seq, 16)) ?? null) : null;
    out.push({ type: 'heard-by-peer', node: node.name, proves: generation !== '', sentMs });
  }

  #setStatus(status: NodeStatus, out: MembershipEffect[]): void {
    this.#status = status;
    out.push({ type: 'log', level: 'info', text: `Local status now set to: '${status}'` });
    this.#sendStatus(out);
  }

  /** A message with a good signature came in on the medium `link`. */
  receive(message: HaMessage, link: string, nowMs: number, out: MembershipEffect[]): void {
    this.#checkStall(nowMs, out);
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
    const node = this.#find(message, source);
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
    if (isNs) this.#receiveNs(node, type, message, nowMs, out);
    else this.#receiveSequenced(node, type, seq ?? 0, message, nowMs, out);
    this.#checkComm(nowMs, out);
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
      if (effect.type === 'ask') this.send(effect.message, out);
      else if (effect.type === 'log') out.push(effect);
      else if (this.#isForUs(message)) {
        out.push({ type: 'deliver', from: node.name, own: false, message });
      }
    }
    return isProved;
  }

  #find(message: HaMessage, source: string): NodeRecord | null {
    const uuid = bytesOf(message, 'srcuuid');
    for (const node of this.#nodes.values()) {
      if (uuid && node.uuid && node.kind === 'normal' && isSame(uuid, node.uuid)) return node;
    }
    const node = this.#nodes.get(source);
    return node?.kind === 'normal' ? node : null;
  }

  /** Our own messages come back by multicast and broadcast; somebody else's with our name must not go unnoticed. */
  #checkNamesake(message: HaMessage, out: MembershipEffect[]): void {
    const uuid = bytesOf(message, 'srcuuid');
    if (this.#namesakeWarned || !uuid || isSame(uuid, this.#config.uuid)) return;
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
    this.#outgoing.forget(node.name);
    // First of all what we are: an original to which our link comes up by an acknowledgement or `repnodes` becomes
    // active with us as not there, and with auto_failback legacy starts its groups without asking.
    this.#sendStatus(out);
    if (!known) return;
    out.push({ type: 'log', level: 'info', text: `Heartbeat restart on node ${node.name}` });
    out.push({ type: 'node-restarted', node: node.name });
  }

  #receiveNs(
    node: NodeRecord,
    type: string,
    message: HaMessage,
    nowMs: number,
    out: MembershipEffect[],
  ): void {
    if (type === 'NS_nak_rexmit') {
      const first = hexOf(message, 'firstseq');
      const effects: IncomingEffect[] = [];
      if (first !== null && node.incoming.giveUp(first, effects) && this.#isForUs(message)) {
        const info = fieldOf(message, 'info') ?? '';
        const text = `node ${node.name} cannot send packet ${first} again: ${info}`;
        out.push({ type: 'log', level: 'ERROR', text });
      }
      this.#fromIncoming(node, effects, out);
      return;
    }
    if (!this.#isForUs(message)) return;
    const effects: OutgoingEffect[] = [];
    if (type === 'NS_ackmsg') {
      const seq = hexOf(message, 'ackseq');
      const live = this.#live().map((other) => other.name);
      if (seq !== null) this.#outgoing.acknowledged(node.name, seq, live, effects);
      this.#checkFlow(out);
    } else if (type === 'NS_rexmit') {
      const first = decimalOf(message, 'firstseq'); // the only decimal numbers of the protocol
      const last = decimalOf(message, 'lastseq');
      if (first !== null && last !== null) {
        this.#outgoing.requested(node.name, first, last, nowMs, effects);
      }
    }
    for (const effect of effects) this.#fromOutgoing(effect, out);
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
    if (isNew && type === 'reqnodes' && this.#isForUs(message)) this.#answerNodes(node, out);
    if (isNew && type === 'repnodes' && this.#isForUs(message)) this.#nodesAnswered(message, out);
    this.#fromIncoming(node, effects, out);
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
    this.#sendStatus(out);
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
    if (fieldOf(message, 'protocol') === null && this.#flowControl) {
      this.#flowControl = false;
      const text = 'flow control disabled due to different version heartbeat';
      out.push({ type: 'log', level: 'WARN', text });
    }
    this.#provedBy(node, message, out);
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

  /** A starting node asks who the members are; it does not become active before it knows. */
  #answerNodes(node: NodeRecord, out: MembershipEffect[]): void {
    node.askedNodes = true;
    const nodelist = this.#config.nodes.map((name) => `${name} `).join('');
    this.send(haFields({ t: 'repnodes', dest: node.name, nodelist, delnodelist: ' ' }), out);
  }

  #nodesAnswered(message: HaMessage, out: MembershipEffect[]): void {
    if (!this.#waitsForNodes) return;
    const names = (fieldOf(message, 'nodelist') ?? '').split(' ').filter((name) => name !== '');
    const missing = this.#config.nodes.filter((name) => !names.includes(name));
    const extra = names.filter((name) => !this.#config.nodes.includes(name));
    if (missing.length > 0 || extra.length > 0) {
      const from = fieldOf(message, 'src') ?? '';
      const text = `node list of ${from} [${names.join(' ')}] differs from ours [${this.#config.nodes.join(' ')}]`;
      out.push({ type: 'log', level: 'ERROR', text });
    }
    this.#becomeActive(out);
  }

  #isForUs(message: HaMessage): boolean {
    const uuid = bytesOf(message, 'destuuid');
    if (uuid) return isSame(uuid, this.#config.uuid);
    const dest = fieldOf(message, 'dest');
    return dest === null || dest === this.#config.node;
  }

  #fromIncoming(
    node: NodeRecord,
    effects: readonly IncomingEffect[],
    out: MembershipEffect[],
  ): void {
    const log = (level: LogLevel, text: string) => out.push({ type: 'log', level, text });
    for (const effect of effects) {
      switch (effect.type) {
        case 'request': {
          if (!this.isAlive(node.name)) break;
          const n = String(effect.seq);
          this.send(haFields({ t: 'NS_rexmit', dest: node.name, firstseq: n, lastseq: n }), out);
          break;
        }
        case 'acknowledge':
          if (this.#flowControl) {
            const ackseq = effect.seq.toString(16);
            this.send(haFields({ t: 'NS_ackmsg', dest: node.name, ackseq }), out);
          }
          break;
        case 'lost':
          log(
            'WARN',
            `${effect.count} lost packet(s) for [${node.name}] [${effect.last}:${effect.seq}]`,
          );
          break;
        case 'lost-a-lot':
          log('ERROR', `lost a lot of packets! [${node.name}]`);
          break;
        case 'complete':
          log('info', `No pkts missing from ${node.name}!`);
          break;
        case 'deliver': {
          const type = fieldOf(effect.message, 't') ?? '';
          if (type === 'status' || type === 'reqnodes' || type === 'repnodes') break;
          if (!this.#isForUs(effect.message)) break;
          out.push({ type: 'deliver', from: node.name, own: false, message: effect.message });
          break;
        }
      }
    }
  }

  #fromOutgoing(effect: OutgoingEffect, out: MembershipEffect[]): void {
    switch (effect.type) {
      case 'resend':
        out.push({ type: 'transmit', message: effect.message });
        break;
      case 'nak': {
        const firstseq = effect.seq.toString(16);
        const { node: dest, info } = effect;
        this.send(haFields({ t: 'NS_nak_rexmit', firstseq, dest, info }), out);
        break;
      }
      case 'bad-request': {
        const text = `${effect.node} asks for packet ${effect.seq}, which was never sent`;
        out.push({ type: 'log', level: 'WARN', text });
        break;
      }
      case 'corrupted-ack': {
        const text = `corrupted ackseq ${effect.seq} from ${effect.node}`;
        out.push({ type: 'log', level: 'ERROR', text });
        break;
      }
    }
  }

  /** A ping node answered an echo. */
  pingAnswered(name: string, nowMs: number, out: MembershipEffect[]): void {
    const node = this.#nodes.get(name);
    if (node?.kind !== 'ping') return;
    this.#checkStall(nowMs, out);
    node.heard = true;
    node.statusMs = nowMs;
    if (linkUp(node, name, nowMs)) this.#logLink(name, name, 'up', out);
    if (node.status !== 'ping') this.#setNodeStatus(node, 'ping', out);
    this.#checkComm(nowMs, out);
  }

  /** Time passed. Calling late, or twice at one time, is harmless. */
  tick(nowMs: number, out: MembershipEffect[]): void {
    this.#checkStall(nowMs, out);
    this.#checkedMs = nowMs;
    if (this.#deadtimeFalls && nowMs - this.#startMs >= START_DEADTIME_MS) {
      this.#deadtimeFalls = false;
      this.#deadtimeMs = this.#config.deadtimeMs;
      this.#sendStatus(out);
    }
    if (nowMs >= this.#keepaliveMs) {
      this.#keepaliveMs = Math.max(nowMs, this.#keepaliveMs + this.#config.keepaliveMs);
      this.#sendStatus(out);
    }
    for (const node of this.#nodes.values()) {
      this.#checkDead(node, nowMs, out);
      const effects: IncomingEffect[] = [];
      node.incoming.tick(nowMs, effects);
      this.#fromIncoming(node, effects, out);
    }
    this.#checkComm(nowMs, out);
    if (this.#waitsForNodes && nowMs >= this.#reqnodesMs) this.#askNodes(nowMs, out);
    this.#checkFlow(out);
  }

  get deadlineMs(): number {
    const gapsMs = [...this.#nodes.values()].map((node) => node.incoming.deadlineMs);
    const nodesMs = this.#waitsForNodes ? this.#reqnodesMs : Number.POSITIVE_INFINITY;
    return Math.min(this.#keepaliveMs, this.#checkedMs + CHECK_MS, nodesMs, ...gapsMs);
  }

  #checkDead(node: NodeRecord, nowMs: number, out: MembershipEffect[]): void {
    const limitMs = this.#commUp ? node.deadtimeMs : this.#config.initdeadMs;
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
    this.#outgoing.forget(node.name);
    out.push({ type: 'log', level: 'WARN', text: `node ${node.name}: is dead` });
    out.push({ type: 'node-status', node: node.name, status: 'dead' });
    if (node.kind !== 'normal') return;
    // Before communication is up nobody listens yet: becoming active comes first, then the takeover.
    this.#checkComm(nowMs, out);
    out.push({ type: 'node-dead', node: node.name, heard: node.generation > 0 });
  }

  #logLink(node: string, link: string, status: 'up' | 'dead', out: MembershipEffect[]): void {
    out.push({ type: 'log', level: 'info', text: `Link ${node}:${link} ${status}.` });
    out.push({ type: 'link-status', node, link, status });
  }

  /** Our own lateness is not the others' silence. */
  #checkStall(nowMs: number, out: MembershipEffect[]): void {
    const lateMs = nowMs - this.#ranMs - CHECK_MS;
    this.#ranMs = nowMs;
    if (lateMs <= STALL_MS) return;
    const text = `this node did not run for ${Math.round(lateMs + CHECK_MS)} ms`;
    out.push({ type: 'log', level: 'WARN', text });
    const othersLived = this.#live().some((node) => node.status !== 'init');
    for (const node of this.#nodes.values()) {
      node.statusMs = Math.min(nowMs, node.statusMs + lateMs);
      for (const link of node.links) link.heardMs = Math.min(nowMs, link.heardMs + lateMs);
    }
    if (othersLived && lateMs + CHECK_MS > this.#deadtimeMs) {
      out.push({ type: 'log', level: 'CRIT', text: 'No local heartbeat. Forcing restart.' });
      out.push({ type: 'stalled', stallMs: lateMs + CHECK_MS });
    }
  }

  /** Communication is up when every other node has been heard or declared dead. */
  #checkComm(nowMs: number, out: MembershipEffect[]): void {
    if (this.#commUp) return;
    for (const node of this.#nodes.values()) {
      if (!node.heard && node.status !== 'dead') return;
    }
    if (this.#live().length === 0 || !this.#flowControl) {
      this.#becomeActive(out);
    } else if (!this.#waitsForNodes) {
      this.#waitsForNodes = true;
      this.#askNodes(nowMs, out);
    }
  }

  #askNodes(nowMs: number, out: MembershipEffect[]): void {
    const [node] = this.#live();
    if (!node) return;
    this.#reqnodesMs = nowMs + REQNODES_MS;
    this.send(haFields({ t: 'reqnodes', dest: node.name }), out);
  }

  #becomeActive(out: MembershipEffect[]): void {
    this.#waitsForNodes = false;
    this.#commUp = true;
    const text = 'Comm_now_up(): updating status to active';
    out.push({ type: 'log', level: 'info', text });
    this.#setStatus('active', out);
    out.push({ type: 'comm-up' });
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
