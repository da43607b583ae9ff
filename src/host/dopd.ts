/**
 * dopd, built in: carries `drbd-peer-outdater`'s request to the other node and runs `drbdadm outdate` for the other's.
 * Works with the original's dopd on the other side; no `respawn` line is needed.
 *
 *     outdater -> here: start_outdate dop_res=R dest=P -> there: drbdadm outdate R -> outdate_rc dop_value=RC -> outdater
 *
 *     drbdadm there    0    5    17   anything else     no answer, no such node, dead
 *     exit status      4    3    6    20                5
 *
 * An answer must be to what was asked: one that comes when its asker has given up says nothing about the disk of the
 * next, which has been resynchronised meanwhile, perhaps. So ours carry `dop_id`. The original's answers have none, but come
 * in the order of the requests, one for each.
 *
 * The original's dopd crashes when it has served a program of its own node, and is back a second later (`join`). A request
 * that came meanwhile is lost, so it is sent again then. What the old one answered was heard before the join: messages are
 * delivered in order. So nothing is asked twice of one dopd.
 *
 * Source: docs/HEARTBEAT.md, dopd; drbd-peer-outdater observed.
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import type { Timers } from './timers.js';

export interface DopdHost {
  readonly peer: string | null;
  readonly timers: Timers;
  /** Of the present life; no other has it. */
  readonly generation: number;
  /** The other node as membership knows it. */
  peerState(): { readonly status: string | null; readonly generation: number };
  send(message: HaMessage): void;
  /** Runs `drbdadm outdate`; null for one that did not end by itself. Once, never inside this call. */
  runDrbdadmOutdate(resource: string, ended: (status: number | null) => void): void;
  log(level: 'info' | 'ERROR', text: string): void;
}

export const UNREACHABLE = 5;
/** A drbdadm that runs longer is killed. */
export const DRBDADM_LIMIT_MS = 60_000;
const PENDING = 21;
const RESOURCE = /^[A-Za-z0-9_.+-]{1,128}$/;
const ID = /^[0-9.]{1,32}$/;
/** Requests about a resource whose answer may still come. More only without any dopd on the other node. */
const MAX_UNANSWERED = 16;

/** drbdadm's exit status as what drbd-peer-outdater reports; null: it did not end by itself. */
export function outdateResult(status: number | null): number {
  return status === 0 ? 4 : status === 5 ? 3 : status === 17 ? 6 : 20;
}

interface Pending {
  readonly id: string;
  peerGeneration: number; // of the life that was asked
  readonly finish: (result: number) => void;
}

export class Dopd {
  readonly #host: DopdHost;
  readonly #pending = new Map<string, Pending>(); // by resource
  /** By resource, the numbers that the present dopd of the other node has not answered, in their order. */
  readonly #unanswered = new Map<string, string[]>();
  #joins = false; // the other's dopd says when it starts: one of ours without a `respawn` line does not
  #asked = 0;

  constructor(host: DopdHost) {
    this.#host = host;
  }

  /** A local drbd-peer-outdater asks. `done` gets its exit status, perhaps inside this call. */
  outdate(peer: string, resource: string, timeoutMs: number, done: (result: number) => void): void {
    const { status, generation } = this.#host.peerState();
    const isAlive = status === 'up' || status === 'active';
    if (peer.toLowerCase() !== this.#host.peer || !isAlive) {
      done(UNREACHABLE);
      return;
    }
    if (this.#pending.has(resource)) {
      done(PENDING);
      return;
    }
    const timer = this.#host.timers.after(timeoutMs, () => finish(UNREACHABLE));
    const finish = (result: number) => {
      this.#host.timers.cancel(timer);
      this.#pending.delete(resource);
      done(result);
    };
    const id = `${this.#host.generation}.${++this.#asked}`;
    this.#pending.set(resource, { id, peerGeneration: generation, finish });
    this.#ask(resource, id);
  }

  #ask(resource: string, id: string): void {
    const ids = [...(this.#unanswered.get(resource) ?? []), id];
    this.#unanswered.set(resource, ids.slice(-MAX_UNANSWERED));
    this.#send({ t: 'start_outdate', dop_res: resource, dop_id: id });
  }

  /** The dopd that was asked is gone. */
  #askAgain(): void {
    this.#unanswered.clear();
    const { generation } = this.#host.peerState();
    for (const [resource, pending] of this.#pending) {
      pending.peerGeneration = generation;
      this.#host.log('info', `dopd of the other node started anew: asked again about ${resource}`);
      this.#ask(resource, pending.id);
    }
  }

  /** The other node's state may have changed. */
  look(): void {
    const { status, generation } = this.#host.peerState();
    if (status === 'dead') {
      for (const { finish } of [...this.#pending.values()]) finish(UNREACHABLE);
      return;
    }
    if (status !== 'active' || this.#joins) return;
    if ([...this.#pending.values()].some((each) => each.peerGeneration !== generation)) {
      this.#askAgain();
    }
  }

  #send(fields: Readonly<Record<string, string>>): void {
    const { peer } = this.#host;
    if (peer === null) return;
    const ids = { dest: peer, from_id: 'dopd', to_id: 'dopd', client_gen: '0' };
    this.#host.send(haFields({ ...fields, ...ids }));
  }

  /** A message for dopd from the other node. */
  receive(message: HaMessage): void {
    const type = fieldOf(message, 't');
    if (type === 'hbapi-clstat') {
      if (fieldOf(message, 'from_id') !== 'dopd' || fieldOf(message, 'st') !== 'join') return;
      this.#joins = true;
      this.#askAgain();
      return;
    }
    const resource = fieldOf(message, 'dop_res') ?? '';
    if (!RESOURCE.test(resource)) return;
    const given = fieldOf(message, 'dop_id');
    const id = given !== null && ID.test(given) ? given : null;
    if (type === 'start_outdate') this.#runOutdate(resource, id);
    if (type === 'outdate_rc') this.#answered(resource, given, fieldOf(message, 'dop_value') ?? '');
  }

  #answered(resource: string, given: string | null, value: string): void {
    if (!/^\d{1,3}$/.test(value)) return;
    const ids = this.#unanswered.get(resource) ?? [];
    const id = given ?? ids[0];
    this.#unanswered.set(
      resource,
      ids.filter((each) => each !== id),
    );
    const pending = this.#pending.get(resource);
    if (pending && pending.id === id) pending.finish(Number(value));
    else this.#host.log('info', `late answer about ${resource} ignored: ${value}`);
  }

  #runOutdate(resource: string, id: string | null): void {
    this.#host.runDrbdadmOutdate(resource, (status) => {
      const result = outdateResult(status);
      const text = `drbdadm outdate ${resource}: ${status ?? 'killed'}, told as ${result}`;
      this.#host.log('info', text);
      const answer = { t: 'outdate_rc', dop_value: String(result), dop_res: resource };
      this.#send(id === null ? answer : { ...answer, dop_id: id });
    });
  }
}
