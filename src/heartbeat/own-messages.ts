/**
 * What this node sends: the standard fields are added to each message, it gets its number, and is kept so that it can be sent again
 * (outgoing.ts). Messages NS_* are about the stream itself: they have no number, and are not kept.
 *
 * A message of our own is delivered to ourselves after it is transmitted. Source: docs/HEARTBEAT.md, transport.
 */
import { fieldOf, type HaField, type HaMessage } from '../wire/hamsg.js';
import type { MembershipConfig, MembershipEffect, Surroundings } from './membership-types.js';
import type { NodeRecord } from './node-record.js';
import { Outgoing } from './outgoing.js';

export class OwnMessages {
  readonly #config: MembershipConfig;
  readonly #around: Surroundings;
  readonly #nodes: ReadonlyMap<string, NodeRecord>;
  readonly history: Outgoing;

  constructor(
    config: MembershipConfig,
    around: Surroundings,
    nodes: ReadonlyMap<string, NodeRecord>,
  ) {
    this.#config = config;
    this.#around = around;
    this.#nodes = nodes;
    this.history = new Outgoing(config.maxRexmitDelayMs);
  }

  /** Send fields of our own (`t` first). Everybody hears it, `dest` or not. */
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
    const seq = isNs ? 0 : this.history.next();
    if (!isNs) message.push({ name: 'seq', value: seq.toString(16) });
    message.push({ name: 'hg', value: this.#config.generation.toString(16) });
    message.push({ name: 'ts', value: Math.max(1, this.#around.wallSeconds()).toString(16) });
    if (!isNs) message.push({ name: 'ld', value: this.#around.loadavg() });
    const ttl = this.#config.hopfudge + this.#nodes.size + 1;
    message.push({ name: 'ttl', value: String(ttl) });
    if (!isNs) this.history.remember(seq, message);
    out.push({ type: 'transmit', message });
    const isForUs = dest === null || dest === this.#config.node;
    if (!isNs && type !== 'status' && isForUs) {
      out.push({ type: 'deliver', from: this.#config.node, own: true, message });
    }
  }
}
