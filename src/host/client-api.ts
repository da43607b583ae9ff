/**
 * The client API of heartbeat: programs that sign on at /run/heartbeat/register, ask about the cluster and talk to programs of the
 * same name on the other node.
 *
 *     connected -> received(signon) -> signed on -> received(requests, messages), heard(messages) -> closed
 *                                   -> refused: answered, closed
 *
 * A client with a name is announced to the cluster (hbapi-clstat); its messages carry its name twice, from_id and to_id, and go to
 * its namesakes. A casual one signs on under its process number, and only asks. It never speaks for the node: types that a part of
 * heartbeat acts upon are not sent, but for the questions hb_standby and hb_takeover ask; the original sends what it is given.
 *
 * Pure: real/client-api-server.ts has the sockets. Source: heartbeat 3.0.6 observed.
 */
import { fieldOf, type HaField, type HaMessage, haFields } from '../wire/hamsg.js';
import { answerQuery, type ClientView } from './client-queries.js';
import { type ClientRights, type Credentials, refusalOf } from './client-rights.js';
import { isForeignType } from './event-scripts.js';
import type { NodeLogLevel } from './node-ports.js';

export type ClientEffect =
  | { readonly type: 'answer'; readonly connection: number; readonly message: HaMessage }
  /** After what was answered is written. */
  | { readonly type: 'close'; readonly connection: number }
  /** To the cluster, as a program of this node. */
  | { readonly type: 'send'; readonly message: HaMessage }
  /** A client of that name is there, or not any more: the other node may ask. */
  | { readonly type: 'client'; readonly client: string; readonly online: boolean }
  | { readonly type: 'log'; readonly level: NodeLogLevel; readonly text: string };

/** It goes into messages, and programs of others may make file names of it. */
const NAME = /^(?!.*\.\.)[A-Za-z0-9_.+-]{1,64}$/;
const NUMBER = /^\d+$/;
/** What a client is told: bits of its filter. */
const KEPT = 0x01; // messages, and status that changed
const UNCHANGED = 0x02; // status that says nothing new
const FILTERS = 0x3f;
/** Nodes and ping nodes whose status is kept. */
const MOST_NODES = 100;
/** Set by us, or read by the node. */
const OURS: ReadonlySet<string> = new Set([
  ...['from_id', 'to_id', 'client_gen', 'src', 'srcuuid', 'destuuid', 'seq', 'hg', 'ts', 'ld'],
  ...['ttl', 'auth', 'homes', 'clean', 'offline', 'rx'],
]);
const HOLDS: readonly (string | null)[] = ['all', 'local', 'foreign'];

interface Client {
  readonly connection: number;
  readonly credentials: Credentials;
  id: string | null; // null: not signed on
  isCasual: boolean;
  generation: number;
  filter: number;
}

export class ClientApi {
  readonly #view: ClientView;
  readonly #clients = new Map<number, Client>(); // by connection
  readonly #statuses = new Map<string, string>(); // of nodes, as their messages said
  #rights: ClientRights;
  #nextGeneration = 0;

  constructor(view: ClientView, rights: ClientRights) {
    this.#view = view;
    this.#rights = rights;
  }

  /** A reload: who is signed on stays. */
  setRights(rights: ClientRights): void {
    this.#rights = rights;
  }

  connected(connection: number, credentials: Credentials): void {
    this.#clients.set(connection, {
      connection,
      credentials,
      id: null,
      isCasual: true,
      generation: 0,
      filter: KEPT,
    });
  }

  isSignedOn(connection: number): boolean {
    return (this.#clients.get(connection)?.id ?? null) !== null;
  }

  /** A new life of this node: those that are there join the cluster again. */
  active(out: ClientEffect[]): void {
    for (const client of this.#clients.values()) if (!client.isCasual) this.#join(client, out);
  }

  /** The connection is gone, or its stream broken. */
  closed(connection: number, why: string, out: ClientEffect[]): void {
    const client = this.#clients.get(connection);
    if (!client) return;
    this.#clients.delete(connection);
    if (client.id === null || client.isCasual) return;
    out.push({ type: 'client', client: client.id, online: false });
    out.push({ type: 'send', message: haFields(this.#stateOf(client, 'leave', why)) });
  }

  received(connection: number, message: HaMessage, out: ClientEffect[]): void {
    const client = this.#clients.get(connection);
    const type = fieldOf(message, 't');
    if (!client || type === null) return;
    if (type === 'hbapi-req' && fieldOf(message, 'reqtype') === 'signon') {
      this.#signOn(client, message, out);
    } else if (client.id === null) {
      // The original says nothing and goes on reading.
      this.#clients.delete(connection);
      out.push({ type: 'close', connection });
    } else if (type === 'hbapi-req') this.#request(client, message, out);
    else if (!client.isCasual) this.#send(client, type, message, out);
    else {
      const text = `client ${client.id}: general message from casual client!`;
      out.push({ type: 'log', level: 'info', text });
      this.#drop(client, 'died', out);
    }
  }

  // ---- signing on and off

  #signOn(client: Client, message: HaMessage, out: ClientEffect[]): void {
    const { credentials, connection } = client;
    const wanted = fieldOf(message, 'from_id') ?? '';
    const pid = fieldOf(message, 'pid') ?? '';
    const isCasual = NUMBER.test(wanted);
    const info = this.#refusal(client, wanted, pid, isCasual);
    const generation = this.#nextGeneration++;
    if (info !== null) {
      const answer = { ...this.#signOnFields(info), ...this.#view.signOn() };
      out.push({ type: 'answer', connection, message: haFields(answer) });
      const text = `client [${printable(wanted)}] pid ${credentials.pid}: ${info}`;
      out.push({ type: 'log', level: 'WARN', text });
      if (client.id !== null) this.#drop(client, info, out);
      else {
        this.#clients.delete(connection);
        out.push({ type: 'close', connection });
      }
      return;
    }
    client.id = wanted;
    client.isCasual = isCasual;
    client.generation = generation;
    const answer = { ...this.#signOnFields(null), ...this.#view.signOn() };
    out.push({ type: 'answer', connection, message: haFields(answer) });
    if (!isCasual) this.#join(client, out);
  }

  #signOnFields(info: string | null): Record<string, string> {
    const result = info === null ? { result: 'OK' } : { info, result: 'badreq' };
    return { t: 'hbapi-resp', reqtype: 'signon', ...result };
  }

  #refusal(client: Client, wanted: string, pid: string, isCasual: boolean): string | null {
    const { credentials } = client;
    const isTaken = [...this.#clients.values()].some(({ id }) => id === wanted);
    if (client.id !== null || isTaken || this.#view.isBuiltIn(wanted)) {
      return 'duplicate add request';
    }
    if (pid !== String(credentials.pid) || (isCasual && wanted !== pid)) return 'pid mismatch';
    if (!NAME.test(wanted)) return 'no default client auth';
    return refusalOf(this.#rights, isCasual ? 'anon' : wanted, credentials);
  }

  #stateOf(client: Client, st: string, info: string): Record<string, string> {
    const id = client.id ?? '';
    const ids = { from_id: id, to_id: id };
    return { t: 'hbapi-clstat', st, ...ids, info, client_gen: String(client.generation) };
  }

  #join(client: Client, out: ClientEffect[]): void {
    out.push({ type: 'client', client: client.id ?? '', online: true });
    out.push({ type: 'send', message: haFields(this.#stateOf(client, 'join', 'signon')) });
  }

  /** It is told that it left, and the cluster, too. */
  #drop(client: Client, why: string, out: ClientEffect[]): void {
    const { connection } = client;
    if (!client.isCasual) {
      const state = { ...this.#stateOf(client, 'leave', why), src: this.#view.node };
      out.push({ type: 'answer', connection, message: haFields(state) });
    }
    this.closed(connection, why, out);
    out.push({ type: 'close', connection });
  }

  // ---- what a client asks

  #request(client: Client, message: HaMessage, out: ClientEffect[]): void {
    const { connection, id } = client;
    const reqtype = fieldOf(message, 'reqtype');
    if (reqtype === null || reqtype === 'set_sendqlen') return; // not answered
    const answer = (fields: Readonly<Record<string, string>>) => {
      const all = haFields({ t: 'hbapi-resp', reqtype, ...fields });
      out.push({ type: 'answer', connection, message: all });
    };
    if (reqtype === 'signoff') this.#drop(client, 'signoff', out);
    else if (reqtype === 'setfilter') {
      const text = fieldOf(message, 'fmask') ?? '';
      const mask = /^(0x)?[0-9a-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) & FILTERS : 0;
      if (mask === 0 || client.isCasual) answer({ result: 'badreq', info: 'EINVAL' });
      else {
        client.filter = mask;
        answer({ result: 'OK' });
      }
    } else if (reqtype === 'clientstatus') {
      this.#clientStatus(id ?? '', message, answer, out);
    } else {
      for (const fields of answerQuery(reqtype, message, this.#view)) {
        out.push({
          type: 'answer',
          connection,
          message: [...haFields({ t: 'hbapi-resp', reqtype }), ...fields],
        });
      }
    }
  }

  /** Of a client on this node from memory; the other node is asked, and what it answers goes to the client as it is. */
  #clientStatus(
    id: string,
    message: HaMessage,
    answer: (fields: Readonly<Record<string, string>>) => void,
    out: ClientEffect[],
  ): void {
    const node = fieldOf(message, 'node') ?? '';
    const cn = fieldOf(message, 'cn') ?? '';
    const isKnown = this.#view.nodes().some((one) => one.name === node && one.type === 'normal');
    if (!isKnown || !NAME.test(cn)) answer({ result: 'badreq', info: 'EINVAL' });
    else if (node === this.#view.node) {
      answer({ subt: 'respond-cstatus', cs: this.#onlineOf(cn), result: 'OK' });
    } else {
      const query = { t: 'query-cstatus', dest: node, cn, from_id: id };
      out.push({ type: 'send', message: haFields(query) });
    }
  }

  #onlineOf(name: string): 'online' | 'offline' {
    const isThere = [...this.#clients.values()].some(
      ({ id, isCasual }) => id === name && !isCasual,
    );
    return isThere || this.#view.isBuiltIn(name) ? 'online' : 'offline';
  }

  // ---- what a client sends

  #send(client: Client, type: string, message: HaMessage, out: ClientEffect[]): void {
    const id = client.id ?? '';
    const rsc = fieldOf(message, 'rsc_hold');
    const isStandby =
      type === 'ask_resources' && fieldOf(message, 'info') === 'me' && HOLDS.includes(rsc);
    const isTakeover = type === 'hb_takeover' && [...HOLDS, 'failback'].includes(rsc);
    if (isStandby || isTakeover) {
      const fields = { t: type, rsc_hold: rsc ?? '', ...(isStandby ? { info: 'me' } : {}) };
      out.push({ type: 'send', message: haFields(fields) });
      return;
    }
    if (type === 'query-cstatus') {
      this.#query(client, message, out);
      return;
    }
    if (!isForeignType(type)) {
      const text = `client ${id}: a message [${printable(type)}] of heartbeat itself is not sent`;
      out.push({ type: 'log', level: 'WARN', text });
      return;
    }
    const names = new Set(message.map((field) => field.name));
    if (names.size < message.length || message.some((field) => !isPlain(field))) {
      const text = `client ${id}: a message with a field twice, or one that no message can have, is not sent`;
      out.push({ type: 'log', level: 'WARN', text });
      return;
    }
    const fields = message.filter((field) => !OURS.has(field.name));
    const ids = { from_id: id, to_id: id, client_gen: String(client.generation) };
    out.push({ type: 'send', message: [...fields, ...haFields(ids)] });
  }

  /** Without `dest` everybody answers, we among them. */
  #query(client: Client, message: HaMessage, out: ClientEffect[]): void {
    const id = client.id ?? '';
    const cn = fieldOf(message, 'cn') ?? '';
    const dest = fieldOf(message, 'dest');
    if (!NAME.test(cn)) return;
    const own = this.#view.node;
    if (dest === null || dest === own) {
      const cs = this.#onlineOf(cn);
      const fields = { t: 'respond-cstatus', dest: own, result: 'OK', cn, to_id: id, cs, src: own };
      const answer = { type: 'answer', connection: client.connection } as const;
      out.push({ ...answer, message: haFields(fields) });
    }
    if (dest === own) return;
    const query = { t: 'query-cstatus', ...(dest === null ? {} : { dest }), cn, from_id: id };
    out.push({ type: 'send', message: haFields(query) });
  }

  // ---- what a client hears

  /** A message of the cluster, our own to all among them. */
  heard(message: HaMessage, out: ClientEffect[]): void {
    const type = fieldOf(message, 't') ?? '';
    const dest = fieldOf(message, 'dest');
    if (type === '' || (dest !== null && dest !== this.#view.node)) return;
    if (type === 'query-cstatus') return; // it is answered
    const to = fieldOf(message, 'to_id');
    const kind = type === 'status' ? this.#kindOf(message) : KEPT;
    for (const { connection, id, isCasual, filter } of this.#clients.values()) {
      const isFor = to === null ? !isCasual : to === id;
      if (id === null || !isFor || (!isCasual && (filter & kind) === 0)) continue;
      out.push({ type: 'answer', connection, message });
    }
  }

  #kindOf(message: HaMessage): number {
    const src = fieldOf(message, 'src') ?? '';
    const st = fieldOf(message, 'st') ?? '';
    if (this.#statuses.get(src) === st) return UNCHANGED;
    if (this.#statuses.has(src) || this.#statuses.size < MOST_NODES) this.#statuses.set(src, st);
    return KEPT;
  }

  nodeDead(node: string, out: ClientEffect[]): void {
    this.heard(haFields({ t: 'status', src: node, st: 'dead' }), out);
  }

  link(node: string, ifname: string, st: 'up' | 'dead', out: ClientEffect[]): void {
    this.heard(haFields({ t: 'ifstat', node, ifname, st }), out);
  }
}

/** One that is the same field in both forms of a message: in the netstring form a name may have a newline, and be two. */
function isPlain({ name, value }: HaField): boolean {
  return /^[\w.-]{1,64}$/.test(name) && !(typeof value === 'string' && value.includes('\0'));
}

function printable(text: string): string {
  return text.slice(0, 64).replace(/[^\x20-\x7e]/g, '?');
}
