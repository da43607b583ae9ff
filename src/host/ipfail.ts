/**
 * ipfail, built in: the node that reaches fewer ping nodes gives its groups up. Works with the original's ipfail on the
 * other side; a `respawn USER .../ipfail` line in ha.cf switches it on.
 *
 *     a link dead, a ping node back, the other's ipfail joins -> num_ping_nodes (our count) to the other
 *
 *     num_ping_nodes   ours greater -> you_are_dead    ours smaller -> give up `all` after 2 x keepalive
 *                      equal -> abort_giveup, ours aborted, too; none and auto_failback on -> give up `foreign`
 *     you_are_dead     give up `all` after 2 x keepalive             abort_giveup   ours aborted
 *
 * Giving up is a request to go standby, as hb_standby makes it: nothing stops before the other agrees, nothing starts there
 * before it has stopped here. Counts that are equal move nothing, but what auto_failback would bring home anyway.
 *
 * Pure. Order and words of the log are the original's. Deliberately different from it:
 * - Nothing is asked for that is not held: the original lets the other stop and start what runs there already.
 * - What could not be given up is counted again after 10 s, until it is given up or the counts are equal; the original waits
 *   for the other to become stable, which does not happen again when it is.
 * - More ping nodes than when the delay began: counted again instead of given up.
 *
 * Source: docs/IPFAIL.md; heartbeat 3.0.6 observed.
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';

export interface IpfailConfig {
  readonly peer: string;
  readonly keepaliveMs: number;
  readonly autoFailback: boolean;
}

/** What it looks at when it has to decide. */
export interface IpfailView {
  /** Ping nodes that answer. */
  pings(): readonly string[];
  readonly inTransition: boolean;
  /** Groups of haresources are held here that going standby with `resources` would give up. */
  holds(resources: 'all' | 'foreign'): boolean;
  isPeerAlive(): boolean;
}

export type IpfailEffect =
  | { readonly type: 'send'; readonly message: HaMessage }
  /** As hb_standby; a refusal comes back by `refused`. */
  | { readonly type: 'standby'; readonly resources: 'all' | 'foreign' }
  | {
      readonly type: 'log';
      readonly level: 'debug' | 'info' | 'ERROR';
      readonly text: string;
    };

/** Before what could not be given up is counted again. The original sleeps as long. */
const RECOUNT_MS = 10_000;

interface GiveUp {
  readonly id: number;
  readonly resources: 'all' | 'foreign';
  readonly atMs: number;
  readonly pings: number; // when the delay began
}

export class Ipfail {
  readonly #config: IpfailConfig;
  readonly #view: IpfailView;
  #giveUp: GiveUp | null = null;
  #lastId = 0;
  /** What is to be given up and was not yet. */
  #wanted: 'all' | 'foreign' | null = null;
  #recountMs = Number.POSITIVE_INFINITY;

  constructor(config: IpfailConfig, view: IpfailView) {
    this.#config = config;
    this.#view = view;
  }

  #log(level: 'debug' | 'info', text: string, out: IpfailEffect[]): void {
    out.push({ type: 'log', level, text: `ipfail: ${text}` });
  }

  /** Another node, a ping node perhaps. */
  nodeStatus(node: string, status: string, out: IpfailEffect[]): void {
    this.#log('info', `Status update: Node ${node} now has status ${status}`, out);
    if (status === 'dead') {
      const text = this.#count(out) > 0 ? 'NS: We are still alive!' : 'NS: We are dead. :<';
      this.#log('info', text, out);
    } else if (status === 'ping') {
      this.#log('info', 'A ping node just came up.', out);
      this.#ask(this.#count(out), out);
    }
  }

  linkStatus(node: string, link: string, status: 'up' | 'dead', out: IpfailEffect[]): void {
    this.#log('info', `Link Status update: Link ${node}/${link} now has status ${status}`, out);
    if (status !== 'dead') return;
    const count = this.#count(out);
    if (count === 0) this.#log('info', 'We are dead. :<', out);
    this.#ask(count, out);
    if (count > 0) this.#log('info', 'Checking remote count of ping nodes.', out);
  }

  /** A message of the other node, for ipfail or not. */
  receive(message: HaMessage, nowMs: number, out: IpfailEffect[]): void {
    switch (fieldOf(message, 't')) {
      case 'hbapi-clstat':
        this.#joined(message, out);
        break;
      case 'num_ping_nodes':
        this.#compare(message, nowMs, out);
        break;
      case 'you_are_dead':
        this.#log('info', 'Giving up because we were told that we have less ping nodes.', out);
        this.#delay('all', this.#count([]), nowMs, out);
        break;
      case 'abort_giveup':
        this.#abort(out);
        break;
      case 'resource':
        this.#stability(message, nowMs, out);
        break;
    }
  }

  #joined(message: HaMessage, out: IpfailEffect[]): void {
    if (fieldOf(message, 'from_id') !== 'ipfail' || fieldOf(message, 'st') !== 'join') return;
    const from = this.#config.peer;
    this.#log('debug', `Got join message from another ipfail client. (${from})`, out);
    this.#ask(this.#count(out), out);
  }

  #compare(message: HaMessage, nowMs: number, out: IpfailEffect[]): void {
    const text = fieldOf(message, 'num_ping') ?? '';
    if (!/^\d{1,5}$/.test(text)) return;
    this.#log('debug', 'Got asked for num_ping.', out);
    const theirs = Number(text);
    const ours = this.#count(out);
    if (ours > theirs) {
      this.#log('info', 'Telling other node that we have more visible ping nodes.', out);
      this.#log('debug', 'Sending you_are_dead.', out);
      this.#send({ t: 'you_are_dead' }, out);
      this.#log('debug', 'Message [you_are_dead] sent.', out);
    } else if (ours < theirs) {
      this.#log('info', 'Giving up because we have less visible ping nodes.', out);
      this.#delay('all', ours, nowMs, out);
    } else {
      this.#balanced(ours, nowMs, out);
    }
  }

  #balanced(count: number, nowMs: number, out: IpfailEffect[]): void {
    this.#log('info', 'Ping node count is balanced.', out);
    this.#send({ t: 'abort_giveup' }, out);
    this.#log('debug', 'Abort message sent.', out);
    this.#forget();
    if (this.#giveUp !== null) {
      this.#abort(out);
    } else if (
      this.#config.autoFailback &&
      !this.#view.inTransition &&
      this.#view.holds('foreign')
    ) {
      this.#log('info', 'Giving up foreign resources (auto_failback).', out);
      this.#delay('foreign', count, nowMs, out);
    }
  }

  /** Debug lines as the original's at every count. */
  #count(out: IpfailEffect[]): number {
    const pings = this.#view.pings();
    for (const name of pings) this.#log('debug', `Found ping node ${name}!`, out);
    return pings.length;
  }

  #ask(count: number, out: IpfailEffect[]): void {
    this.#log('info', 'Asking other side for ping node count.', out);
    this.#send({ t: 'num_ping_nodes', num_ping: String(count) }, out);
    this.#log('debug', 'Message [num_ping] sent.', out);
  }

  #send(fields: Readonly<Record<string, string>>, out: IpfailEffect[]): void {
    const ids = { dest: this.#config.peer, from_id: 'ipfail', to_id: 'ipfail', client_gen: '0' };
    out.push({ type: 'send', message: haFields({ ...fields, ...ids }) });
  }

  #delay(resources: 'all' | 'foreign', pings: number, nowMs: number, out: IpfailEffect[]): void {
    const delayMs = 2 * this.#config.keepaliveMs;
    this.#log('info', `Delayed giveup in ${Math.floor(delayMs / 1000)} seconds.`, out);
    if (this.#giveUp) {
      this.#log('debug', 'Detected existing delay timer, overriding', out);
    }
    this.#forget();
    this.#giveUp = { id: ++this.#lastId, resources, atMs: nowMs + delayMs, pings };
  }

  #abort(out: IpfailEffect[]): void {
    this.#forget();
    const text = this.#giveUp
      ? `Aborted delayed giveup (${this.#giveUp.id})`
      : 'No giveup timer to abort.';
    this.#log('info', text, out);
    this.#giveUp = null;
  }

  #forget(): void {
    this.#wanted = null;
    this.#recountMs = Number.POSITIVE_INFINITY;
  }

  #stability(message: HaMessage, nowMs: number, out: IpfailEffect[]): void {
    const isStable = fieldOf(message, 'isstable');
    if (isStable === '0') this.#log('debug', 'Other side is unstable.', out);
    if (isStable !== '1' || fieldOf(message, 'info') !== null) return;
    this.#log('debug', 'Other side is now stable.', out);
    if (this.#wanted !== null) this.#recountMs = nowMs + RECOUNT_MS;
  }

  /** The request to go standby was not sent. */
  refused(why: string, out: IpfailEffect[]): void {
    this.#log('info', `not given up: ${why}`, out);
  }

  /** Time passed. */
  tick(nowMs: number, out: IpfailEffect[]): void {
    const giveUp = this.#giveUp;
    if (giveUp !== null && nowMs >= giveUp.atMs) {
      this.#giveUp = null;
      this.#log('info', 'giveup() called (timeout worked)', out);
      this.#give(giveUp, nowMs, out);
      this.#log('debug', 'giveup timeout has been destroyed.', out);
    }
    if (nowMs >= this.#recountMs) this.#recount(nowMs, out);
  }

  #give({ resources, pings }: GiveUp, nowMs: number, out: IpfailEffect[]): void {
    // Looked at again until the groups are gone: a request may be refused, or not be answered.
    this.#wanted = resources;
    this.#recountMs = nowMs + RECOUNT_MS;
    if (this.#view.inTransition) return; // it may be about to start some
    if (!this.#view.holds(resources)) {
      this.#forget();
      this.#log('info', `No ${resources} resources here to give up.`, out);
      return;
    }
    const count = this.#count(out);
    if (count > pings) {
      this.#forget();
      this.#log('info', `More ping nodes than ${pings} now: counting again.`, out);
      this.#ask(count, out);
      return;
    }
    // The other node does not run them: it starts nothing before the `done` of this standby.
    out.push({ type: 'standby', resources });
    this.#log('debug', 'Message [ask_resources] sent.', out);
  }

  #recount(nowMs: number, out: IpfailEffect[]): void {
    const wanted = this.#wanted;
    if (wanted === null || !this.#view.isPeerAlive()) {
      this.#forget(); // there is nobody to take them: they stay
    } else if (this.#view.inTransition) {
      this.#recountMs = nowMs + RECOUNT_MS;
    } else {
      this.#forget();
      if (this.#view.holds(wanted)) this.#ask(this.#count(out), out);
    }
  }

  get deadlineMs(): number {
    return Math.min(this.#giveUp?.atMs ?? Number.POSITIVE_INFINITY, this.#recountMs);
  }
}
