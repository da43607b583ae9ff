/** What a node believes, by the keys of authkeys, and how it signs what it says itself. Source: docs/HEARTBEAT.md, wire. */
import type { DigestSource } from '../base/ports.js';
import { decodeHaMessage, fieldOf, type HaMessage } from '../wire/hamsg.js';
import { isAuthentic, type SigningKeys, signNetstring } from '../wire/hamsg-auth.js';
import type { HeartbeatNodeConfig, HeartbeatPorts } from './node-ports.js';
import type { KeyNumbers } from './reload-plan.js';

export class NodeSignature {
  readonly #innerSignature: boolean;
  logBadpack: boolean;
  readonly #digests: DigestSource;
  readonly #log: HeartbeatPorts['log'];
  #keys: SigningKeys;

  constructor(
    config: Pick<HeartbeatNodeConfig, 'innerSignature' | 'logBadpack'>,
    keys: SigningKeys,
    digests: DigestSource,
    log: HeartbeatPorts['log'],
  ) {
    this.#innerSignature = config.innerSignature;
    this.logBadpack = config.logBadpack;
    this.#keys = keys;
    this.#digests = digests;
    this.#log = log;
  }

  /** By number: those that are believed, and the one that signs. */
  get keys(): KeyNumbers {
    const numbers = new Set(this.#keys.keys.map(({ number }) => number));
    return { numbers, signs: this.#keys.current.number };
  }

  /** authkeys was read again. */
  setKeys(keys: SigningKeys): void {
    this.#keys = keys;
  }

  sign(message: HaMessage): Uint8Array {
    return signNetstring(message, this.#keys, this.#digests, this.#innerSignature);
  }

  /** Null: it is no message, or not of one of ours. */
  read(datagram: Uint8Array, link: string): HaMessage | null {
    const decoded = decodeHaMessage(datagram);
    if (!decoded.ok) {
      this.#bad(`bad packet on ${link}: ${decoded.text} at ${decoded.offset}`);
      return null;
    }
    const { message, form } = decoded;
    if (isAuthentic(decoded, this.#keys, this.#digests)) return message;
    const source = fieldOf(message, 'src') ?? '';
    this.#bad(
      form === 'netstring'
        ? `authtoken does not match, authtoken=${decoded.signature ?? ''} [${source}]`
        : `node [${source}] failed authentication`,
    );
    return null;
  }

  #bad(text: string): void {
    if (this.logBadpack) this.#log('ERROR', text);
  }
}
