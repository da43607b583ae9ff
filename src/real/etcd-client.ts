/**
 * etcd as the witness, over its JSON gateway: a key for each cluster, whose value says who holds it and which goes with its lease.
 *
 *     1. POST /v3/lease/grant   TTL = our lease                        a lease of its own for each question
 *     2. POST /v3/kv/txn        mod_revision = the one we know ?       0: the key is not there
 *          yes: put NODE GENERATION with the lease                    -> granted
 *          no:  range: not there, or ours -> 2. once more;  of a later life of ours, or another's -> refused
 *
 * A lease is never kept alive but replaced: it counts from its grant, which a majority has agreed to, and not from the word of a
 * leader that may have been replaced meanwhile. The revision sees to it that a request that was given up and arrives after all changes
 * nothing: the key goes with the latest lease that was answered. One question at a time, for the same reason; others are `silent`.
 *
 * Whoever asks counts our lease from before the grant, so it is over before etcd's; a TTL that is shorter than asked is no lease.
 * That somebody *released* the key cannot be told from a lease that ran out: `released` is 0.
 *
 * Several endpoints: the one that answered last, then the others. http only, and no user: docs/WITNESS.md.
 * Source: etcd 3.4 API reference (rpc.proto: LeaseGrant, Txn), and a real etcd in the tests.
 */
import { Agent, request } from 'node:http';
import type { ArbiterAnswer, ArbiterAsk } from '../resource-manager/answers.js';
import type { Arbiter } from './arbiter.js';

export interface EtcdPlace {
  readonly endpoints: readonly string[]; // http://ADDRESS:PORT
  readonly cluster: string;
}

const MAX_ANSWER_BYTES = 64 << 10;
const RELEASE_MS = 5000;
/** A question may go to three endpoints that do not answer. */
const TRIES = 3;
const SILENT: ArbiterAnswer = { verdict: 'silent' };

interface Held {
  readonly value: string;
  readonly revision: string;
  readonly lease: string;
}

interface TxnAnswer {
  readonly succeeded: boolean;
  readonly revision: string;
  readonly held: Held | null; // what the key has, when it did not succeed
}

export class EtcdClient {
  readonly #place: EtcdPlace;
  readonly #log: (text: string) => void;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 2 });
  readonly #key: string;
  #current = 0; // the endpoint that answered last
  /** The revision of the key when we wrote it, or an earlier life of ours did; '0': it is not ours. Never another's: that would be replaced. */
  #known = '0';
  #isBusy = false;
  #isFailing = false;

  constructor(place: EtcdPlace, log: (text: string) => void) {
    this.#place = place;
    this.#log = log;
    this.#key = base64(`twinbeat/${place.cluster}`);
  }

  readonly ask: Arbiter = (ask, answered) => {
    if (this.#isBusy) {
      setImmediate(answered, SILENT);
      return;
    }
    this.#isBusy = true;
    const limitMs = ask.verb === 'release' ? RELEASE_MS : ask.leaseMs;
    const untilMs = performance.now() + limitMs;
    const asking = ask.verb === 'release' ? this.#release(ask, untilMs) : this.#take(ask, untilMs);
    void asking
      .then(
        (answer) => {
          this.#isFailing = false;
          return answer;
        },
        (e: unknown) => {
          if (!this.#isFailing) this.#log(`etcd: ${e instanceof Error ? e.message : String(e)}`);
          this.#isFailing = true;
          return SILENT;
        },
      )
      .then((answer) => {
        this.#isBusy = false;
        setImmediate(answered, answer); // what the machines throw is not for a promise
      });
  };

  close(): void {
    this.#agent.destroy();
  }

  async #take(ask: ArbiterAsk, untilMs: number): Promise<ArbiterAnswer> {
    const seconds = Math.ceil(ask.leaseMs / 1000);
    const granted = await this.#post('/v3/lease/grant', { TTL: String(seconds) }, untilMs);
    const lease = textOf(granted['ID']);
    if (lease === '' || Number(granted['TTL']) * 1000 < ask.leaseMs) {
      throw new Error(`a lease of ${textOf(granted['TTL'])} s instead of ${seconds} s`);
    }
    const value = base64(`${ask.node} ${ask.generation}`);
    const put = { request_put: { key: this.#key, value, lease } };
    for (let round = 0; round < 2; round++) {
      const { succeeded, revision, held } = await this.#txn(put, untilMs);
      if (succeeded) {
        this.#known = revision;
        return { verdict: 'granted', released: 0 };
      }
      if (held?.value === value && held.lease === lease) {
        this.#known = held.revision; // done by a request whose answer was lost
        return { verdict: 'granted', released: 0 };
      }
      const holder = otherThan(ask, held);
      this.#known = holder === null ? (held?.revision ?? '0') : '0';
      if (holder !== null) return { verdict: 'refused', holder };
    }
    return SILENT; // it changes under our hands
  }

  async #release(ask: ArbiterAsk, untilMs: number): Promise<ArbiterAnswer> {
    const remove = { request_delete_range: { key: this.#key } };
    for (let round = 0; round < 2; round++) {
      // Unknown as yet, or not there: look first, so that nothing of another's is removed.
      const { succeeded, held } =
        this.#known === '0' ? await this.#look(untilMs) : await this.#txn(remove, untilMs);
      if (succeeded || held === null) {
        this.#known = '0';
        return { verdict: 'granted', released: 0 };
      }
      const holder = otherThan(ask, held);
      this.#known = holder === null ? held.revision : '0';
      if (holder !== null) return { verdict: 'refused', holder };
    }
    return SILENT;
  }

  #look(untilMs: number): Promise<TxnAnswer> {
    return this.#txn(null, untilMs);
  }

  /** `change`: when the key has the revision that we know; null: only what it has is asked for. */
  async #txn(change: object | null, untilMs: number): Promise<TxnAnswer> {
    const revision = change === null ? '-1' : this.#known;
    const compare = { key: this.#key, target: 'MOD', result: 'EQUAL', mod_revision: revision };
    const range = { request_range: { key: this.#key } };
    const body = { compare: [compare], success: change ? [change] : [], failure: [range] };
    const answer = await this.#post('/v3/kv/txn', body, untilMs);
    const header = recordOf(answer['header']);
    const [response] = listOf(answer['responses']);
    const [kv] = listOf(recordOf(recordOf(response)['response_range'])['kvs']);
    const found = recordOf(kv);
    return {
      succeeded: answer['succeeded'] === true,
      revision: textOf(header['revision']),
      held: kv
        ? {
            value: textOf(found['value']),
            revision: textOf(found['mod_revision']),
            lease: textOf(found['lease']),
          }
        : null,
    };
  }

  /** The first endpoint that answers. Throws when none does in time. */
  async #post(path: string, body: object, untilMs: number): Promise<Record<string, unknown>> {
    const { endpoints } = this.#place;
    const eachMs = (untilMs - performance.now()) / Math.min(TRIES, endpoints.length);
    let why: unknown = new Error('no answer in time');
    for (let i = 0; i < endpoints.length; i++) {
      const index = (this.#current + i) % endpoints.length;
      const limitMs = Math.min(eachMs, untilMs - performance.now());
      if (limitMs <= 0) break;
      const url = `${endpoints[index]}${path}`;
      try {
        const answer = await post(this.#agent, url, JSON.stringify(body), limitMs);
        this.#current = index;
        return answer;
      } catch (e) {
        why = e;
      }
    }
    throw why;
  }
}

/** Who holds the key instead of the asker; a later life of its own, too. Null: nobody. */
function otherThan(ask: ArbiterAsk, held: Held | null): string | null {
  if (held === null) return null;
  const [node = '', generation = ''] = Buffer.from(held.value, 'base64').toString().split(' ');
  const isOlder = node === ask.node && Number(generation) <= ask.generation;
  return isOlder ? null : node || '?';
}

function post(
  agent: Agent,
  url: string,
  body: string,
  limitMs: number,
): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const fail = (text: string): void => {
      clearTimeout(timer);
      reject(new Error(`${url}: ${text}`));
      sent.destroy();
    };
    const timer = setTimeout(() => fail('no answer in time'), limitMs);
    const headers = { 'content-type': 'application/json', 'content-length': body.length };
    const sent = request(url, { method: 'POST', agent, headers }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > MAX_ANSWER_BYTES) fail('an answer without end');
      });
      answer.on('error', (e) => fail(e.message));
      answer.on('end', () => {
        if (answer.statusCode !== 200) {
          fail(`status ${answer.statusCode}: ${text.slice(0, 200).trim()}`);
          return;
        }
        clearTimeout(timer);
        try {
          resolve(recordOf(JSON.parse(text)));
        } catch {
          fail('an answer that is not JSON');
        }
      });
    });
    sent.on('error', (e) => fail(e.message));
    sent.end(body);
  });
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
