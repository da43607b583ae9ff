/**
 * What is said on the data socket before P_PROTOCOL: features, then, where a shared secret is configured, who we are.
 *
 *     features --(no cram-hmac-alg)--> agreed
 *     features --> challenge --> response --> agreed
 *
 * Both nodes do the same at the same time. An answer that a peer of this configuration would not give ends in
 * StandAlone; a lost, late or damaged one in another attempt: which is which is the kernel's choice
 * (docs/PROTOCOL.md#features, #authentication). Consumes whole packets only: what follows belongs to the connection.
 */
import type { DigestSource, RandomSource } from '../base/ports.js';
import {
  APV_BEFORE_FEATURES,
  CHALLENGE_BYTES,
  COMMANDS,
  commandName,
  FF,
} from '../wire/constants.js';
import { agree, FEATURES_BYTES, featuresCodec } from '../wire/handshake.js';
import { newHeader, readHeader } from '../wire/hot.js';
import type { Link } from '../wire/packet.js';
import { encodePacket, type Packet } from '../wire/packets.js';
import type { ConnectEffect, ConnectSettings, StandAloneReason } from './connect.js';

export type HandshakeOutcome =
  | { readonly type: 'agreed'; readonly apv: number; readonly features: number }
  | { readonly type: 'stand-alone'; readonly reason: StandAloneReason }
  | { readonly type: 'retry'; readonly reason: string };

const FEATURE_NAMES: readonly (readonly [number, string])[] = [
  [FF.TRIM, ' TRIM'],
  [FF.THIN_RESYNC, ' THIN_RESYNC'],
  [FF.WSAME, ' WRITE_SAME'],
  [FF.WZEROES, ' WRITE_ZEROES'],
];

export class ConnectHandshake {
  readonly #stream: number;
  readonly #settings: ConnectSettings;
  readonly #random: RandomSource;
  readonly #digests: DigestSource;
  #wait: 'features' | 'challenge' | 'response' = 'features';
  #link: Link = { apv: APV_BEFORE_FEATURES, features: 0 };
  #challenge: Uint8Array = new Uint8Array(0);
  #deadlineMs: number;
  #outcome: HandshakeOutcome | null = null;

  constructor(
    stream: number,
    settings: ConnectSettings,
    random: RandomSource,
    digests: DigestSource,
    nowMs: number,
    out: ConnectEffect[],
  ) {
    this.#stream = stream;
    this.#settings = settings;
    this.#random = random;
    this.#digests = digests;
    this.#deadlineMs = nowMs + settings.packetTimeoutMs;
    const { protocolMin, protocolMax, features } = settings;
    const body = { protocolMin, features, protocolMax, pad: 0 };
    this.#send({ type: 'P_CONNECTION_FEATURES', volume: 0, body }, out);
  }

  get outcome(): HandshakeOutcome | null {
    return this.#outcome;
  }
  get deadlineMs(): number {
    return this.#outcome === null ? this.#deadlineMs : Number.POSITIVE_INFINITY;
  }

  tick(nowMs: number): void {
    if (nowMs >= this.deadlineMs) this.#retry(`no ${this.#wait} packet in time`);
  }

  /** `bytes` begin with the next byte of the stream. Returns how many were consumed. */
  receive(bytes: Uint8Array, nowMs: number, out: ConnectEffect[]): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const header = newHeader();
    let at = 0;
    while (this.#outcome === null) {
      const size = readHeader(view, at, bytes.length, this.#link.apv, header);
      if (size === 0) break;
      if (size < 0) {
        this.#say('error', `Wrong magic value in protocol version ${this.#link.apv}`, out);
        this.#retry('wrong magic');
        break;
      }
      // Command and length are judged before the body is waited for: nobody makes us wait for 4 GiB.
      if (!this.#fits(header.command, header.length, out)) break;
      if (bytes.length - at < size + header.length) break;
      const bodyAt = at + size;
      at = bodyAt + header.length;
      this.#deadlineMs = nowMs + this.#settings.packetTimeoutMs;
      if (this.#wait === 'features') this.#features(view, bodyAt, out);
      else if (this.#wait === 'challenge') this.#answer(bytes.subarray(bodyAt, at), out);
      else this.#verify(bytes.subarray(bodyAt, at), out);
    }
    return at;
  }

  #fits(command: number, length: number, out: ConnectEffect[]): boolean {
    const got = `received: ${commandName(command)} (0x${command.toString(16).padStart(4, '0')})`;
    switch (this.#wait) {
      case 'features':
        if (command !== COMMANDS.P_CONNECTION_FEATURES) {
          return this.#refuse('features', `expected ConnectionFeatures packet, ${got}`, out);
        }
        if (length !== FEATURES_BYTES) {
          const text = `expected ConnectionFeatures length: ${FEATURES_BYTES}, received: ${length}`;
          return this.#refuse('features', text, out);
        }
        return true;
      case 'challenge':
        // A peer without a secret goes on with P_PROTOCOL: this is where it is found out.
        if (command !== COMMANDS.P_AUTH_CHALLENGE) {
          return this.#refuseAuth(`expected AuthChallenge packet, ${got}`, out);
        }
        if (length > 2 * CHALLENGE_BYTES) {
          return this.#refuseAuth('expected AuthChallenge payload too big.', out);
        }
        if (length < CHALLENGE_BYTES) {
          return this.#refuseAuth('AuthChallenge payload too small.', out);
        }
        return true;
      case 'response':
        if (command !== COMMANDS.P_AUTH_RESPONSE) {
          return this.#retryAuth(`expected AuthResponse packet, ${got}`, out);
        }
        if (length !== this.#digests.digestBytes(this.#settings.cramHmacAlg)) {
          return this.#retryAuth('expected AuthResponse payload of wrong size', out);
        }
        return true;
    }
  }

  #features(view: DataView, at: number, out: ConnectEffect[]): void {
    const { protocolMin, protocolMax, features } = this.#settings;
    const peers = featuresCodec.decode(view, at, FEATURES_BYTES, this.#link);
    if ('error' in peers) {
      this.#retry(peers.error);
      return;
    }
    const link = agree({ protocolMin, protocolMax, features, pad: 0 }, peers);
    if (link === null) {
      const peerMax = peers.protocolMax || peers.protocolMin;
      this.#refuse(
        'version',
        `incompatible DRBD dialects: I support ${protocolMin}-${protocolMax}, ` +
          `peer supports ${peers.protocolMin}-${peerMax}`,
        out,
      );
      return;
    }
    this.#link = link;
    const names = FEATURE_NAMES.filter(([bit]) => (link.features & bit) !== 0);
    const list = names.map(([, name]) => name).join('') || ' none';
    const level = `0x${link.features.toString(16)}`;
    this.#say('info', `Handshake successful: Agreed network protocol version ${link.apv}`, out);
    this.#say('info', `Feature flags enabled on protocol level: ${level}${list}.`, out);
    if (this.#settings.cramHmacAlg === '') this.#agreed();
    else this.#ask(out);
  }

  #ask(out: ConnectEffect[]): void {
    if (!this.#digests.hasHmac(this.#settings.cramHmacAlg)) {
      this.#refuseAuth(`cram-hmac-alg ${this.#settings.cramHmacAlg} is not known here`, out);
      return;
    }
    this.#challenge = this.#random.bytes(CHALLENGE_BYTES);
    this.#wait = 'challenge';
    const body = { bytes: this.#challenge };
    this.#send({ type: 'P_AUTH_CHALLENGE', volume: 0, body }, out);
  }

  #answer(challenge: Uint8Array, out: ConnectEffect[]): void {
    // Else anybody could have our own answer from us.
    if (sameBytes(challenge.subarray(0, CHALLENGE_BYTES), this.#challenge)) {
      this.#refuseAuth('Peer presented the same challenge!', out);
      return;
    }
    this.#wait = 'response';
    const body = { bytes: this.#hmac(challenge) };
    this.#send({ type: 'P_AUTH_RESPONSE', volume: 0, body }, out);
  }

  #verify(response: Uint8Array, out: ConnectEffect[]): void {
    if (!sameBytes(response, this.#hmac(this.#challenge))) {
      this.#refuseAuth('', out);
      return;
    }
    this.#say('info', `Peer authenticated using ${response.length} bytes HMAC`, out);
    this.#agreed();
  }

  #hmac(message: Uint8Array): Uint8Array {
    const { cramHmacAlg, sharedSecret } = this.#settings;
    return this.#digests.hmac(cramHmacAlg, sharedSecret, message);
  }

  #agreed(): void {
    const { apv, features } = this.#link;
    this.#outcome = { type: 'agreed', apv, features };
  }

  #retry(reason: string): void {
    this.#outcome = { type: 'retry', reason };
  }

  #refuse(reason: StandAloneReason, text: string, out: ConnectEffect[]): false {
    if (text !== '') this.#say('error', text, out);
    this.#outcome = { type: 'stand-alone', reason };
    return false;
  }

  #refuseAuth(text: string, out: ConnectEffect[]): false {
    this.#refuse('authentication', text, out);
    this.#say('error', 'Authentication of peer failed', out);
    return false;
  }

  #retryAuth(text: string, out: ConnectEffect[]): false {
    this.#say('error', text, out);
    this.#say('error', 'Authentication of peer failed, trying again.', out);
    this.#retry(text);
    return false;
  }

  #say(level: 'info' | 'error', text: string, out: ConnectEffect[]): void {
    out.push({ type: 'log', level, text });
  }

  #send(packet: Packet, out: ConnectEffect[]): void {
    out.push({ type: 'send', stream: this.#stream, bytes: encodePacket(packet, this.#link) });
  }
}

/** In a time that does not tell where the first difference is. */
function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}
