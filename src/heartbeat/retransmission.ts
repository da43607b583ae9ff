/**
 * Messages that are lost are sent again. What the streams of each node (incoming.ts) and our own (outgoing.ts) want is carried out here,
 * and the messages NS_* about streams are taken:
 *
 *     a gap -> NS_rexmit -> the message again, or NS_nak_rexmit (it is not kept any more)
 *     all up to a number -> NS_ackmsg -> those need not be kept for this node
 *
 * Source: docs/HEARTBEAT.md, transport.
 */
import { decimalOf, fieldOf, type HaMessage, haFields, hexOf } from '../wire/hamsg.js';
import { isForUs } from './addressing.js';
import type { FlowControl } from './flow-control.js';
import type { IncomingEffect } from './incoming.js';
import type { LogLevel, MembershipConfig, MembershipEffect } from './membership-types.js';
import { isAlive, liveMembers, type NodeRecord } from './node-record.js';
import type { OutgoingEffect } from './outgoing.js';
import type { OwnMessages } from './own-messages.js';

export class Retransmission {
  readonly #config: MembershipConfig;
  readonly #nodes: ReadonlyMap<string, NodeRecord>;
  readonly #messages: OwnMessages;
  readonly #flow: FlowControl;

  constructor(
    config: MembershipConfig,
    nodes: ReadonlyMap<string, NodeRecord>,
    messages: OwnMessages,
    flow: FlowControl,
  ) {
    this.#config = config;
    this.#nodes = nodes;
    this.#messages = messages;
    this.#flow = flow;
  }

  /** A message NS_* of that node. */
  receive(
    node: NodeRecord,
    type: string,
    message: HaMessage,
    nowMs: number,
    out: MembershipEffect[],
  ): void {
    if (type === 'NS_nak_rexmit') {
      this.#givenUp(node, message, out);
      return;
    }
    if (!isForUs(message, this.#config)) return;
    const { history } = this.#messages;
    const effects: OutgoingEffect[] = [];
    if (type === 'NS_ackmsg') {
      const seq = hexOf(message, 'ackseq');
      const live = liveMembers(this.#nodes).map((other) => other.name);
      if (seq !== null) history.acknowledged(node.name, seq, live, effects);
      this.#flow.check(out);
    } else if (type === 'NS_rexmit') {
      const first = decimalOf(message, 'firstseq'); // the only decimal numbers of the protocol
      const last = decimalOf(message, 'lastseq');
      if (first !== null && last !== null) {
        history.requested(node.name, first, last, nowMs, effects);
      }
    }
    for (const effect of effects) this.#sendAgain(effect, out);
  }

  /** It cannot send a message again. */
  #givenUp(node: NodeRecord, message: HaMessage, out: MembershipEffect[]): void {
    const first = hexOf(message, 'firstseq');
    const effects: IncomingEffect[] = [];
    if (first !== null && node.incoming.giveUp(first, effects) && isForUs(message, this.#config)) {
      const info = fieldOf(message, 'info') ?? '';
      const text = `node ${node.name} cannot send packet ${first} again: ${info}`;
      out.push({ type: 'log', level: 'ERROR', text });
    }
    this.carryOut(node, effects, out);
  }

  /** What the stream of that node has come to. */
  carryOut(node: NodeRecord, effects: readonly IncomingEffect[], out: MembershipEffect[]): void {
    const log = (level: LogLevel, text: string) => out.push({ type: 'log', level, text });
    for (const effect of effects) {
      switch (effect.type) {
        case 'request': {
          if (!isAlive(node)) break;
          const n = String(effect.seq);
          const ask = { t: 'NS_rexmit', dest: node.name, firstseq: n, lastseq: n };
          this.#messages.send(haFields(ask), out);
          break;
        }
        case 'acknowledge':
          if (this.#flow.isOn) {
            const ackseq = effect.seq.toString(16);
            this.#messages.send(haFields({ t: 'NS_ackmsg', dest: node.name, ackseq }), out);
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
          if (!isForUs(effect.message, this.#config)) break;
          out.push({ type: 'deliver', from: node.name, own: false, message: effect.message });
          break;
        }
      }
    }
  }

  #sendAgain(effect: OutgoingEffect, out: MembershipEffect[]): void {
    switch (effect.type) {
      case 'resend':
        out.push({ type: 'transmit', message: effect.message });
        break;
      case 'nak': {
        const firstseq = effect.seq.toString(16);
        const { node: dest, info } = effect;
        this.#messages.send(haFields({ t: 'NS_nak_rexmit', firstseq, dest, info }), out);
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
}
