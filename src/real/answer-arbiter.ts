/**
 * Asks a witness over UDP. Each question is one datagram with a count of its own, many may be under way, and whoever asks counts a
 * lease from when it asked: a line that is slow or loses much costs nothing but datagrams. Without an answer within the lease
 * the question is answered with `silent`; a later answer would be worth nothing.
 */
import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { RandomSource } from '../base/ports.js';
import type { TwinbeatIni } from '../config/twinbeat-ini.js';
import { witnessKeyBytes } from '../config/witness-keys.js';
import type { Answers } from '../host/heartbeat-questions.js';
import type { ArbiterAnswer } from '../resource-manager/answers.js';
import { decodeWitness, encodeWitness, isAnswerTo, type WitnessMessage } from '../wire/witness.js';
import type { Arbiter } from './arbiter.js';
import { EtcdClient } from './etcd-client.js';
import { nodeDigests, nodeRandom } from './node-ports.js';

export interface WitnessPlace {
  readonly address: string;
  readonly port: number;
  readonly cluster: string;
  readonly key: Uint8Array;
}

/** More are not under way: whoever asks so often does not wait for answers. */
const MAX_UNDER_WAY = 100;
/** Of a release, which is not for long. */
const RELEASE_MS = 5000;

interface Question {
  readonly request: WitnessMessage;
  readonly timer: NodeJS.Timeout;
  readonly answered: (answer: ArbiterAnswer) => void;
}

export class WitnessAsker {
  readonly #place: WitnessPlace;
  readonly #random: RandomSource;
  readonly #log: (text: string) => void;
  readonly #questions = new Map<number, Question>(); // by count
  #socket: Socket | null = null;
  #count = 0;
  #isFailing = false;

  constructor(place: WitnessPlace, random: RandomSource, log: (text: string) => void) {
    this.#place = place;
    this.#random = random;
    this.#log = log;
  }

  readonly ask: Arbiter = ({ verb, node, generation, leaseMs }, answered) => {
    if (this.#questions.size >= MAX_UNDER_WAY) {
      setImmediate(answered, { verdict: 'silent' });
      return;
    }
    const count = ++this.#count;
    const salt = new DataView(this.#random.bytes(8).buffer).getBigUint64(0);
    const { cluster, key, port, address } = this.#place;
    const request: WitnessMessage = {
      verb,
      generation,
      count,
      salt,
      leaseMs: verb === 'release' ? 0 : leaseMs,
      released: 0,
      cluster,
      node,
      holder: '',
    };
    const limitMs = verb === 'release' ? RELEASE_MS : leaseMs;
    const timer = setTimeout(() => this.#answer(count, { verdict: 'silent' }), limitMs);
    timer.unref(); // a daemon that ends does not wait for a witness
    this.#questions.set(count, { request, timer, answered });
    // One that could not be sent has no answer; the next one is tried anew.
    this.#open().send(encodeWitness(request, key, nodeDigests), port, address, (e) => {
      if (e) this.#failed(e);
      else this.#isFailing = false;
    });
  };

  /** Nobody is waiting any more. */
  close(): void {
    for (const { timer } of this.#questions.values()) clearTimeout(timer);
    this.#questions.clear();
    this.#socket?.close();
    this.#socket = null;
  }

  #open(): Socket {
    if (this.#socket) return this.#socket;
    const socket = createSocket(isIPv6(this.#place.address) ? 'udp6' : 'udp4');
    socket.unref();
    socket.on('message', (bytes) => this.#received(bytes));
    socket.on('error', (e) => {
      this.#failed(e);
      if (this.#socket === socket) this.#socket = null;
      socket.close();
    });
    this.#socket = socket;
    return socket;
  }

  /** Once, until it works again. */
  #failed(e: Error): void {
    if (!this.#isFailing) {
      this.#log(`cannot ask witness ${this.#place.address}: ${e.message}`);
    }
    this.#isFailing = true;
  }

  #received(bytes: Uint8Array): void {
    const { cluster, key } = this.#place;
    const decoded = decodeWitness(bytes, (name) => (name === cluster ? key : null), nodeDigests);
    if (!decoded.ok) return; // whoever sent it: it is not signed
    const { message } = decoded;
    const question = this.#questions.get(message.count);
    if (!question || !isAnswerTo(message, question.request)) return;
    const { verb, released, holder } = message;
    const answer: ArbiterAnswer =
      verb === 'granted' ? { verdict: 'granted', released } : { verdict: 'refused', holder };
    this.#answer(message.count, answer);
  }

  #answer(count: number, answer: ArbiterAnswer): void {
    const question = this.#questions.get(count);
    if (!question) return;
    this.#questions.delete(count);
    clearTimeout(question.timer);
    question.answered(answer);
  }
}

type Client = Pick<WitnessAsker, 'ask' | 'close'>;

/** Null: nobody is to be asked. */
function clientOf(witness: TwinbeatIni['witness'], log: (text: string) => void): Client | null {
  const { address, endpoints, cluster, key } = witness;
  if (endpoints !== '') return new EtcdClient({ endpoints: endpoints.split(' '), cluster }, log);
  const [, ipv6, ipv4, port] = /^(?:\[(.*)\]|(.*)):(\d+)$/.exec(address) ?? [];
  if (port === undefined) return null;
  const place = {
    address: ipv6 ?? ipv4 ?? '',
    port: Number(port),
    cluster,
    key: witnessKeyBytes(key),
  };
  return new WitnessAsker(place, nodeRandom, log);
}

/** Asks whom the configuration names; another one from the first question of a new configuration on. */
export function arbiterAnswer(log: (text: string) => void): Answers['arbiter'] {
  let named = '';
  let client: Client | null = null;
  return ({ ini: { witness } }, ask, answered) => {
    const name = JSON.stringify(witness);
    if (name !== named) {
      client?.close(); // what it was asked is a life's that is over
      client = clientOf(witness, log);
      named = name;
    }
    if (client) client.ask(ask, answered);
    else setImmediate(answered, { verdict: 'silent' });
  };
}
