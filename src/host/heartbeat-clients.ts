/**
 * ipfail and dopd are parts of this daemon, not programs on its client API. The other node, and programs on it, see them as
 * the original's: they join when communication is up and leave at the end, and who asks gets an answer.
 *
 *     communication up -> hbapi-clstat st=join info=signon           orderly end -> hbapi-clstat st=leave info=died
 *     query-cstatus cn=NAME from_id=ID -> respond-cstatus cn=NAME to_id=ID cs=online|offline   (cl_status clientstatus)
 *
 * Only what ha.cf has a `respawn` line for joins; dopd works without one. Source: heartbeat 3.0.6 observed.
 */
import type { RespawnClient } from '../config/ha-cf.js';
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import { Ipfail, type IpfailEffect, type IpfailView } from './ipfail.js';

/** The programs of `respawn` and `failfast` lines that are built in here. */
export const BUILT_IN = ['ipfail', 'dopd'] as const;
export type BuiltIn = (typeof BUILT_IN)[number];

export interface ClientsConfig {
  readonly peer: string | null;
  readonly keepaliveMs: number;
  readonly autoFailback: 'on' | 'off' | 'legacy';
  readonly clients: readonly BuiltIn[]; // that ha.cf asks for, in its order
}

/** A client's name or a process number, as it goes back into a message. */
const ID = /^[A-Za-z0-9_.+-]{1,64}$/;

export function builtInOf(client: Pick<RespawnClient, 'path'>): BuiltIn | null {
  return BUILT_IN.find((name) => client.path.endsWith(`/${name}`)) ?? null;
}

export function builtInClients(respawns: readonly RespawnClient[]): BuiltIn[] {
  return [...new Set(respawns.flatMap((client) => builtInOf(client) ?? []))];
}

export class HeartbeatClients {
  readonly #config: ClientsConfig;
  readonly #view: IpfailView;
  #joined: readonly BuiltIn[] = [];
  #ipfail: Ipfail | null = null;
  readonly #others = new Set<string>(); // programs on the client API

  constructor(config: ClientsConfig, view: IpfailView) {
    this.#config = config;
    this.#view = view;
  }

  /** Communication is up. */
  start(out: IpfailEffect[]): void {
    const { peer, keepaliveMs, autoFailback, clients } = this.#config;
    const isLegacy = autoFailback === 'legacy';
    if (clients.includes('ipfail') && isLegacy) {
      const text = 'ipfail: auto_failback set to incompatible legacy option.';
      out.push({ type: 'log', level: 'ERROR', text }); // the original ends with 100: no more
    }
    this.#joined = clients.filter((name) => peer !== null && (name !== 'ipfail' || !isLegacy));
    if (peer !== null && this.#joined.includes('ipfail')) {
      const config = { peer, keepaliveMs, autoFailback: autoFailback === 'on' };
      this.#ipfail = new Ipfail(config, this.#view);
    }
    for (const name of this.#joined) this.#say(name, 'join', 'signon', out);
  }

  /** Everything is released: this life ends. */
  end(out: IpfailEffect[]): void {
    this.#ipfail = null;
    for (const name of [...this.#joined].reverse()) this.#say(name, 'leave', 'died', out);
    this.#joined = [];
  }

  #say(name: BuiltIn, st: string, info: string, out: IpfailEffect[]): void {
    const ids = { from_id: name, to_id: name };
    const message = haFields({ t: 'hbapi-clstat', st, ...ids, info, client_gen: '0' });
    out.push({ type: 'send', message });
  }

  nodeStatus(node: string, status: string, out: IpfailEffect[]): void {
    this.#ipfail?.nodeStatus(node, status, out);
  }

  linkStatus(node: string, link: string, status: 'up' | 'dead', out: IpfailEffect[]): void {
    this.#ipfail?.linkStatus(node, link, status, out);
  }

  /** A message of the other node. */
  receive(message: HaMessage, nowMs: number, out: IpfailEffect[]): void {
    if (fieldOf(message, 't') === 'query-cstatus') this.#answer(message, out);
    else this.#ipfail?.receive(message, nowMs, out);
  }

  #answer(message: HaMessage, out: IpfailEffect[]): void {
    const { peer } = this.#config;
    const cn = fieldOf(message, 'cn') ?? '';
    const id = fieldOf(message, 'from_id') ?? '';
    if (peer === null || !ID.test(cn) || !ID.test(id)) return;
    const cs = this.statusOf(cn);
    const fields = { t: 'respond-cstatus', dest: peer, result: 'OK', cn, to_id: id, cs };
    out.push({ type: 'send', message: haFields(fields) });
  }

  /** A program on the client API signed on, or is gone. */
  setOther(client: string, online: boolean): void {
    if (online) this.#others.add(client);
    else this.#others.delete(client);
  }

  /** Of a client on this node. */
  statusOf(client: string): 'online' | 'offline' {
    const isBuiltIn = client === 'dopd' || (client === 'ipfail' && this.#ipfail !== null);
    return isBuiltIn || this.#others.has(client) ? 'online' : 'offline';
  }

  /** The `standby` of an effect was refused. */
  refused(why: string, out: IpfailEffect[]): void {
    this.#ipfail?.refused(why, out);
  }

  tick(nowMs: number, out: IpfailEffect[]): void {
    this.#ipfail?.tick(nowMs, out);
  }

  get deadlineMs(): number {
    return this.#ipfail?.deadlineMs ?? Number.POSITIVE_INFINITY;
  }
}
