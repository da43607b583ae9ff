/**
 * The datagram between a node and the witness: who of a cluster may serve while its nodes do not hear each other.
 *
 *     offset  bytes  field
 *          0      4  'TBWT'
 *          4      1  version, 1
 *          5      1  verb: 1 take, 2 renew, 3 release; answers: 129 granted, 130 refused
 *          6      8  generation of the node's life, big-endian as all numbers here
 *         14     16  nonce: eight bytes of a count, which grows with each request of a life, and eight random ones
 *         30      4  lease in milliseconds; 0 in `release` and `refused`
 *         34      8  in `granted`: generation of the life that held the lease before and has released it, else 0
 *         42    1+n  cluster, 1 to 64 bytes
 *               1+n  node: who asks
 *               1+n  holder: who holds the lease; empty in a request
 *                32  HMAC-SHA256 with the key of the cluster over everything before it
 *
 * An answer repeats nonce, cluster, node and generation of its request. Requests and answers have different verbs, so that
 * none can be played back as the other. What is old is seen by the count (host/witness-server.ts), which needs no clock.
 *
 * Decoding takes any bytes: it looks at the signature before it believes anything, and needs the name of the cluster for that.
 */
import type { DigestSource } from '../base/ports.js';
import { isWitnessName, MAX_WITNESS_NAME_BYTES } from '../base/witness-name.js';

export const WITNESS_VERSION = 1;
export const WITNESS_NONCE_BYTES = 16;
const MAC_BYTES = 32;
const NAMES_AT = 42;
/** No datagram of this kind is longer. */
export const MAX_WITNESS_BYTES = NAMES_AT + 3 * (1 + MAX_WITNESS_NAME_BYTES) + MAC_BYTES;
const MIN_WITNESS_BYTES = NAMES_AT + 3 + MAC_BYTES;
const MAGIC = [0x54, 0x42, 0x57, 0x54];
const MAX_LEASE_MS = 0xffff_ffff;

const VERBS = { take: 1, renew: 2, release: 3, granted: 129, refused: 130 } as const;

export type WitnessVerb = keyof typeof VERBS;
export type WitnessRequestVerb = 'take' | 'renew' | 'release';

export interface WitnessMessage {
  readonly verb: WitnessVerb;
  readonly generation: number; // refused above 2^53
  readonly count: number; // the first half of the nonce; refused above 2^53
  readonly salt: bigint; // the second half, random
  readonly leaseMs: number;
  readonly released: number; // a generation, 0: not released
  readonly cluster: string;
  readonly node: string;
  readonly holder: string; // '': nobody
}

export type WitnessDecoded =
  | { readonly ok: true; readonly message: WitnessMessage }
  | { readonly ok: false; readonly text: string; readonly offset: number };

/** The names have to be names (`isWitnessName`), the holder may be empty. */
export function encodeWitness(
  message: WitnessMessage,
  key: Uint8Array,
  digests: DigestSource,
): Uint8Array {
  const names = [message.cluster, message.node, message.holder];
  const length = names.reduce((sum, name) => sum + 1 + name.length, NAMES_AT);
  const bytes = new Uint8Array(length + MAC_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  bytes[4] = WITNESS_VERSION;
  bytes[5] = VERBS[message.verb];
  view.setBigUint64(6, BigInt(message.generation));
  view.setBigUint64(14, BigInt(message.count));
  view.setBigUint64(22, message.salt);
  view.setUint32(30, Math.min(message.leaseMs, MAX_LEASE_MS));
  view.setBigUint64(34, BigInt(message.released));
  let at = NAMES_AT;
  for (const name of names) {
    bytes[at++] = name.length;
    for (let i = 0; i < name.length; i++) bytes[at++] = name.charCodeAt(i);
  }
  bytes.set(digests.hmac('sha256', key, bytes.subarray(0, length)), length);
  return bytes;
}

/** Bytes of any kind. `keyOf`: the key of a cluster, null for one that is not known. */
export function decodeWitness(
  bytes: Uint8Array,
  keyOf: (cluster: string) => Uint8Array | null,
  digests: DigestSource,
): WitnessDecoded {
  const bad = (text: string, offset: number): WitnessDecoded => ({ ok: false, text, offset });
  if (bytes.length < MIN_WITNESS_BYTES || bytes.length > MAX_WITNESS_BYTES) {
    return bad(`${bytes.length} bytes`, 0);
  }
  if (!MAGIC.every((byte, i) => bytes[i] === byte)) return bad('not a datagram of a witness', 0);
  if (bytes[4] !== WITNESS_VERSION) return bad(`version ${bytes[4]}, not ${WITNESS_VERSION}`, 4);
  const end = bytes.length - MAC_BYTES;
  const names: string[] = [];
  let at = NAMES_AT;
  for (let i = 0; i < 3; i++) {
    const length = bytes[at] ?? 0;
    const name = String.fromCharCode(...bytes.subarray(at + 1, at + 1 + length));
    if (at + 1 + length > end) return bad('a name beyond the end', at);
    if (!(isWitnessName(name) || (name === '' && i === 2))) return bad('not a name', at);
    names.push(name);
    at += 1 + length;
  }
  if (at !== end) return bad('bytes behind the names', at);
  const [cluster = '', node = '', holder = ''] = names;
  const key = keyOf(cluster);
  if (key === null) return bad(`cluster ${cluster} is not known`, NAMES_AT);
  const mac = digests.hmac('sha256', key, bytes.subarray(0, end));
  if (!isSame(mac, bytes.subarray(end))) return bad(`cluster ${cluster}: wrong signature`, end);
  const verb = (Object.keys(VERBS) as WitnessVerb[]).find((each) => VERBS[each] === bytes[5]);
  if (verb === undefined) return bad(`verb ${bytes[5]}`, 5);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const numbers: number[] = [];
  for (const offset of [6, 14, 34]) {
    const number = view.getBigUint64(offset);
    if (number > BigInt(Number.MAX_SAFE_INTEGER)) return bad('a number above 2^53', offset);
    numbers.push(Number(number));
  }
  const [generation = 0, count = 0, released = 0] = numbers;
  const salt = view.getBigUint64(22);
  const leaseMs = view.getUint32(30);
  const message = { verb, generation, count, salt, leaseMs, released, cluster, node, holder };
  return { ok: true, message };
}

/** In a time that does not tell how many bytes are right. */
function isSame(a: Uint8Array, b: Uint8Array): boolean {
  let differ = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) differ |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return differ === 0;
}

/** Whether `answer` is one to `request`. */
export function isAnswerTo(answer: WitnessMessage, request: WitnessMessage): boolean {
  return (
    (answer.verb === 'granted' || answer.verb === 'refused') &&
    answer.cluster === request.cluster &&
    answer.node === request.node &&
    answer.generation === request.generation &&
    answer.count === request.count &&
    answer.salt === request.salt
  );
}
