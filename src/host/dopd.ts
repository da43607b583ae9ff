/**
 * dopd, built in: carries `drbd-peer-outdater`'s request to the other node and runs `drbdadm outdate` for the other's.
 * Works with the original's dopd on the other side; no `respawn` line is needed.
 *
 *     outdater -> here: start_outdate dop_res=R dest=P -> there: drbdadm outdate R -> outdate_rc dop_value=RC -> outdater
 *
 *     drbdadm there    0    5    17   anything else     no answer, no such node, dead
 *     exit status      4    3    6    20                5
 *
 * Source: docs/HEARTBEAT.md, dopd; drbd-peer-outdater observed.
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import type { Timers } from './timers.js';

export interface DopdHost {
  readonly peer: string | null;
  readonly timers: Timers;
  isPeerAlive(): boolean;
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

/** drbdadm's exit status as what drbd-peer-outdater reports; null: it did not end by itself. */
export function outdateResult(status: number | null): number {
  return status === 0 ? 4 : status === 5 ? 3 : status === 17 ? 6 : 20;
}

export class Dopd {
  readonly #host: DopdHost;
  readonly #pending = new Map<string, (result: number) => void>(); // by resource

  constructor(host: DopdHost) {
    this.#host = host;
  }

  /** A local drbd-peer-outdater asks. `done` gets its exit status, perhaps inside this call. */
  outdate(peer: string, resource: string, timeoutMs: number, done: (result: number) => void): void {
    if (peer.toLowerCase() !== this.#host.peer || !this.#host.isPeerAlive()) {
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
    this.#pending.set(resource, finish);
    this.#send({ t: 'start_outdate', dop_res: resource });
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
    const resource = fieldOf(message, 'dop_res') ?? '';
    if (!RESOURCE.test(resource)) return;
    if (type === 'start_outdate') this.#runOutdate(resource);
    if (type === 'outdate_rc') {
      const value = fieldOf(message, 'dop_value') ?? '';
      if (/^\d{1,3}$/.test(value)) this.#pending.get(resource)?.(Number(value));
    }
  }

  #runOutdate(resource: string): void {
    this.#host.runDrbdadmOutdate(resource, (status) => {
      const result = outdateResult(status);
      const text = `drbdadm outdate ${resource}: ${status ?? 'killed'}, told as ${result}`;
      this.#host.log('info', text);
      this.#send({ t: 'outdate_rc', dop_value: String(result), dop_res: resource });
    });
  }
}
