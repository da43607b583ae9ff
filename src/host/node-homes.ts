/** What a node makes of the other's haresources (resource-manager/homes.ts): what it says, and what it does not start. */
import type { DigestSource } from '../base/ports.js';
import type { HaResourceGroup } from '../config/haresources.js';
import { type Dispute, PeerHomes } from '../resource-manager/homes.js';
import type { HeartbeatPorts } from './node-ports.js';

const DIGEST_CHARS = 12; // enough to tell the resources of two files apart
const REMEDY = 'Make the files the same, then run heartbeat -r on both nodes.';

export class NodeHomes {
  readonly #homes: PeerHomes;
  readonly #peer: string | null;
  readonly #log: HeartbeatPorts['log'];

  constructor(
    groups: readonly HaResourceGroup[],
    peer: string | null,
    digests: DigestSource,
    log: HeartbeatPorts['log'],
  ) {
    this.#homes = new PeerHomes(groups, (text) => shortDigest(digests, text));
    this.#peer = peer;
    this.#log = log;
  }

  /** The field `homes` of what we send. */
  get text(): string {
    return this.#homes.text;
  }

  get disputes(): readonly Dispute[] {
    return this.#homes.disputes;
  }

  /** The peer's field `homes`; null: it has none. True when a group that was held back need not be any more. */
  hear(text: string | null): boolean {
    const before = this.disputes.map((dispute) => dispute.group);
    const news = text === null ? null : this.#homes.hear(text);
    if (!news) return false;
    for (const { group, resource, ours, theirs } of news.disputes) {
      this.#log(
        'ERROR',
        `haresources:${group.line}: ${resource} is at home on ${ours} here, and on ${theirs} by the file of ${this.#peer}: group ${group.key} is in dispute. ${REMEDY}`,
      );
    }
    if (news.missing.length > 0) {
      const resources = news.missing.join(' ');
      this.#log(
        'WARN',
        `haresources of ${this.#peer} lacks ${resources}: it will not take that over. ${REMEDY}`,
      );
    }
    const free = before.filter((group) => !this.#homes.isDisputed(group));
    for (const { key } of free) {
      this.#log(
        'info',
        `group ${key} is not in dispute any more: haresources of ${this.#peer} agrees`,
      );
    }
    return free.length > 0;
  }

  /** Without those that the other node may have started as its own. */
  undisputed(groups: readonly HaResourceGroup[]): readonly HaResourceGroup[] {
    return groups.filter((group) => {
      if (!this.#homes.isDisputed(group)) return true;
      const text = `group ${group.key} is not started: by the file of ${this.#peer} it is at home elsewhere, and may run there. ${REMEDY}`;
      this.#log('ERROR', text);
      return false;
    });
  }
}

function shortDigest(digests: DigestSource, text: string): string {
  const bytes = new TextEncoder().encode(text);
  const digest = new Uint8Array(digests.digestBytes('sha256'));
  digests.digest('sha256', bytes, 0, bytes.length, digest, 0);
  const hex = [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.slice(0, DIGEST_CHARS);
}
