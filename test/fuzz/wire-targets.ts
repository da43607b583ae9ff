/** What comes from the network: the packet codec, bitmaps, the handshake, and the engine beside a peer that says anything. */
import type { Prng } from '../../src/base/prng.js';
import { BitmapReceiver } from '../../src/wire/bitmap.js';
import {
  COMMANDS,
  type CommandName,
  PROTOCOL_MAX,
  PROTOCOL_MIN,
} from '../../src/wire/constants.js';
import { headerBytes, putHeader } from '../../src/wire/hot.js';
import { isWireError, type Link } from '../../src/wire/packet.js';
import { encodePacket, PACKETS, readPacket } from '../../src/wire/packets.js';
import { Network, OurNode, settings, stranger } from '../support/connect-network.js';
import { readRecording, recordingNames } from '../support/recording.js';
import { randomBytes, spoiled } from './bytes.js';
import { HostilePeer } from './hostile-peer.js';
import type { FuzzTarget } from './targets.js';

const NAMES = Object.keys(PACKETS) as CommandName[];
const COMMAND_NUMBERS = Object.values(COMMANDS);

function anyLink(rng: Prng): Link {
  const apv = rng.pick([80, PROTOCOL_MIN + rng.below(PROTOCOL_MAX - PROTOCOL_MIN + 1)]);
  return { apv, features: rng.below(16) };
}

/** Of every version, from recordings: each kind of packet a few times. */
function recorded(): readonly { readonly bytes: Uint8Array; readonly link: Link }[] {
  const count = new Map<string, number>();
  return recordingNames().flatMap((name) =>
    readRecording(name).filter(({ packet, link, bytes }) => {
      const key = `${packet.type} ${link.apv}`;
      count.set(key, (count.get(key) ?? 0) + 1);
      return (count.get(key) ?? 0) <= 3 && bytes.length <= 8_192;
    }),
  );
}

/** Any header of the version, with a body of about the right length. */
function madeUp(rng: Prng, link: Link): Uint8Array {
  const name = rng.pick(NAMES);
  const size = PACKETS[name].size(link);
  const [least, most] = PACKETS[name].payload(link);
  const payload = rng.pick([least, least + rng.below(80), Math.min(most, 4_096)]);
  const length = Math.max(0, size + payload + rng.pick([0, 0, 0, -1, 1, 8]));
  const header = headerBytes(link.apv, length);
  const bytes = new Uint8Array(header + length);
  const volume = link.apv >= 100 ? rng.below(3) : 0;
  const command = rng.chance(0.95)
    ? COMMANDS[name]
    : rng.pick([...COMMAND_NUMBERS, rng.below(0x10000)]);
  putHeader(new DataView(bytes.buffer), 0, link.apv, command, volume, length);
  bytes.set(randomBytes(rng, length), header);
  return bytes;
}

function packets(): FuzzTarget {
  const good = recorded();
  return {
    name: 'packets',
    input: (rng) => {
      const pick = rng.pick(good);
      const link = rng.chance(0.8) ? pick.link : anyLink(rng);
      const bytes = rng.chance(0.6) ? spoiled(rng, pick.bytes) : madeUp(rng, link);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const phase = rng.chance(0.8) ? 'running' : 'connecting';
      const read = readPacket(view, 0, bytes.length, rng.pick(['data', 'meta']), phase, link);
      if (read === null || isWireError(read)) return 1;
      if (read.bytes > bytes.length) throw new Error('more was read than there is');
      // What was understood can be said; what stands behind the NUL of a name is left out.
      const again = encodePacket(read.packet, link);
      if (again.length > read.bytes) throw new Error(`${read.packet.type}: ${again.length} bytes`);
      return 1;
    },
  };
}

const bitmaps: FuzzTarget = {
  name: 'bitmaps',
  input: (rng) => {
    const bits = 1 + rng.below(rng.pick([64, 1_000, 40_000, 200_000]));
    const words = new Uint8Array(Math.ceil(bits / 64) * 8);
    const receiver = new BitmapReceiver({ words, bits }, anyLink(rng));
    for (let n = 1 + rng.below(4); n > 0; n--) {
      const isPlain = rng.chance(0.3);
      const length = isPlain ? Math.min(words.length, 4_088) : rng.below(rng.pick([4, 40, 4_096]));
      const body = rng.chance(0.3) ? new Uint8Array(length) : randomBytes(rng, length);
      if (!isPlain && rng.chance(0.9) && length > 0) body[0] = ((body[0] ?? 0) & 0xf0) | 2;
      const command = isPlain ? COMMANDS.P_BITMAP : COMMANDS.P_COMPRESSED_BITMAP;
      const wrong = receiver.receive(command, body);
      if (receiver.progress.bit > bits) throw new Error('beyond the end');
      if (wrong !== null) break;
    }
    for (let bit = bits; bit < words.length * 8; bit++) {
      if (((words[bit >> 3] ?? 0) >> (bit & 7)) & 1)
        throw new Error(`bit ${bit} of ${bits} is set`);
    }
    return 1;
  },
};

const CONNECTING = [
  'P_INITIAL_DATA',
  'P_INITIAL_META',
  'P_CONNECTION_FEATURES',
  'P_AUTH_CHALLENGE',
  'P_AUTH_RESPONSE',
] as const;
const CALM = { minDelayMs: 1, maxDelayMs: 20, lostDials: 0, resets: 0, healMs: 0 };

/** What a stranger could say on a new stream. */
function opening(rng: Prng): Uint8Array {
  const parts = Array.from({ length: 1 + rng.below(4) }, () => {
    const name = rng.pick(CONNECTING);
    const link = { apv: rng.chance(0.8) ? 80 : 101, features: 0 };
    const length = rng.pick([0, 0, 80, 64, 16, 20, 128, rng.below(200)]);
    const header = headerBytes(link.apv, length);
    const bytes = new Uint8Array(header + length);
    const view = new DataView(bytes.buffer);
    putHeader(view, 0, link.apv, COMMANDS[name], 0, length);
    if (length >= 12) {
      view.setUint32(header, rng.pick([86, 86, 101, 0, rng.u32()]));
      view.setUint32(header + 4, rng.pick([15, 0, rng.u32()]));
      view.setUint32(header + 8, rng.pick([101, 86, 0, rng.u32()]));
    }
    return bytes;
  });
  const all = Uint8Array.from(parts.flatMap((part) => [...part]));
  return rng.chance(0.5) ? spoiled(rng, all) : all;
}

const HANDSHAKES = 8; // strangers of one attempt

const handshake: FuzzTarget = {
  name: 'handshake',
  input: (rng) => {
    const network = new Network(rng.u32(), CALM);
    const secret = rng.chance(0.5) ? { cramHmacAlg: 'sha1', sharedSecret: 'secret' } : {};
    const [mine, theirs] = settings(secret);
    const [a, b] = [new OurNode(network, mine), new OurNode(network, theirs)];
    [a.peer, b.peer] = [b, a];
    a.start();
    if (rng.chance(0.5)) b.start();
    for (let n = 0; n < HANDSHAKES; n++) {
      network.at(rng.below(20_000), () => stranger(network, a, opening(rng)));
    }
    network.run([a, b], 60_000);
    const problem = [...a.problems, ...b.problems].find((text) => !text.startsWith('leftover'));
    if (problem !== undefined) throw new Error(problem);
    if (a.openStreams > 8) throw new Error(`${a.openStreams} streams are open`);
    return HANDSHAKES;
  },
};

const PACKETS_OF_A_PEER = 200;

const peer: FuzzTarget = {
  name: 'peer',
  input: (rng) => {
    const hostile = new HostilePeer(rng);
    try {
      hostile.run(PACKETS_OF_A_PEER);
    } catch (e) {
      throw new Error(`behind ${hostile.last}`, { cause: e });
    }
    return Math.max(1, hostile.sent);
  },
};

export const wireTargets = (): readonly FuzzTarget[] => [packets(), bitmaps, handshake, peer];
