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
import { spawn } from 'node:child_process';
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';

export interface DopdHost {
  readonly peer: string | null;
  isPeerAlive(): boolean;
  send(message: HaMessage): void;
  log(level: 'info' | 'ERROR', text: string): void;
}

export const UNREACHABLE = 5;
const PENDING = 21;
const DRBDADM_LIMIT_MS = 60_000;
const RESOURCE = /^[A-Za-z0-9_.+-]{1,128}$/;

/** drbdadm's exit status as what drbd-peer-outdater reports; null: it did not end by itself. */
export function outdateResult(status: number | null): number {
  return status === 0 ? 4 : status === 5 ? 3 : status === 17 ? 6 : 20;
}

export class Dopd {
  readonly #host: DopdHost;
  readonly #pending = new Map<string, (result: number) => void>();

  constructor(host: DopdHost) {
    this.#host = host;
  }

  /** A local drbd-peer-outdater asks: its exit status. */
  outdate(peer: string, resource: string, timeoutMs: number): Promise<number> {
    if (peer.toLowerCase() !== this.#host.peer || !this.#host.isPeerAlive()) {
      return Promise.resolve(UNREACHABLE);
    }
    if (this.#pending.has(resource)) return Promise.resolve(PENDING);
    return new Promise((resolve) => {
      const timer = setTimeout(() => finish(UNREACHABLE), timeoutMs);
      const finish = (result: number) => {
        clearTimeout(timer);
        this.#pending.delete(resource);
        resolve(result);
      };
      this.#pending.set(resource, finish);
      this.#send({ t: 'start_outdate', dop_res: resource });
    });
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
    const child = spawn('drbdadm', ['outdate', resource], { stdio: 'ignore', cwd: '/' });
    const timer = setTimeout(() => child.kill('SIGKILL'), DRBDADM_LIMIT_MS);
    let isOver = false;
    const ended = (status: number | null) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      const result = outdateResult(status);
      this.#host.log(
        'info',
        `drbdadm outdate ${resource}: ${status ?? 'killed'}, told as ${result}`,
      );
      this.#send({ t: 'outdate_rc', dop_value: String(result), dop_res: resource });
    };
    child.on('error', (e) => {
      this.#host.log('ERROR', `cannot run drbdadm: ${e.message}`);
      ended(null);
    });
    child.on('exit', (status) => ended(status));
  }
}
