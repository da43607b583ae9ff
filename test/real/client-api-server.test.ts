/** The socket of the client API, and clients that mean no good: whoever else is there is served. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { HeartbeatReport } from '../../src/host/heartbeat-control.js';
import type { HeartbeatNode } from '../../src/host/heartbeat-node.js';
import type { HeartbeatConfig } from '../../src/host/heartbeat-ports.js';
import { ClientApiServer, REGISTER } from '../../src/real/client-api-server.js';
import { encodeFrame, FrameReader } from '../../src/wire/client-frame.js';
import { fieldOf, type HaMessage, haFields } from '../../src/wire/hamsg.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';

const CONFIG = {
  node: 'node-a',
  haCf: {
    apiauths: [{ client: 'default', uids: ['root'], gids: [] }],
    respawns: [],
    parameters: {},
    deadtimeMs: 5000,
    keepaliveMs: 500,
    logfacility: 'local0',
  },
} as unknown as HeartbeatConfig;
const REPORT = { nodes: [], rscStatus: 'local' } as unknown as HeartbeatReport;

/** A daemon's end of it, with what it did. */
class Desk {
  readonly server: ClientApiServer;
  readonly root = mkdtempSync(join(tmpdir(), 'client-api-'));
  readonly sent: string[] = [];
  readonly logs: string[] = [];
  isPaused = false;

  constructor(t: ExecutionContext) {
    this.server = new ClientApiServer(
      {
        root: this.root,
        log: (_level, text) => this.logs.push(text),
        send: (message) =>
          this.sent.push(['t', 'st', 'from_id'].map((name) => fieldOf(message, name)).join(' ')),
        clientOnline: () => undefined,
        node: () => ({ membership: { clientsPaused: this.isPaused } }) as unknown as HeartbeatNode,
        report: () => REPORT,
      },
      CONFIG,
    );
    t.teardown(() => {
      this.server.close();
      rmSync(this.root, { recursive: true, force: true });
    });
  }

  get path(): string {
    return this.root + REGISTER;
  }

  async open(): Promise<void> {
    this.server.active();
    await until(() => existsSync(this.path), 'the socket');
  }
}

class Client {
  readonly socket: Socket;
  readonly heard: HaMessage[] = [];
  isClosed = false;
  readonly #reader = new FrameReader();

  constructor(desk: Desk) {
    this.socket = connect(desk.path);
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.isClosed = true;
    });
    this.socket.on('data', (bytes) => {
      this.#reader.push(bytes);
      for (let next = this.#reader.next(); next !== null; next = this.#reader.next()) {
        if (next.ok) this.heard.push(next.message);
      }
    });
  }

  say(fields: Readonly<Record<string, string>>): void {
    this.socket.write(encodeFrame(haFields(fields)));
  }

  ask(reqtype: string, fields: Readonly<Record<string, string>> = {}): void {
    this.say({ t: 'hbapi-req', reqtype, ...fields });
  }

  results(reqtype: string): string[] {
    const answers = this.heard.filter((message) => fieldOf(message, 'reqtype') === reqtype);
    return answers.map((message) => fieldOf(message, 'result') ?? '');
  }

  /** The number of answers to a request. */
  async answered(reqtype: string, count: number): Promise<void> {
    await until(
      () => this.results(reqtype).length >= count,
      () => `${count} x ${reqtype}, got ${this.results(reqtype).length}`,
    );
  }

  async signOn(from_id: string): Promise<string> {
    const before = this.results('signon').length;
    this.ask('signon', { from_id, pid: String(process.pid) });
    await this.answered('signon', before + 1);
    return this.results('signon').at(-1) ?? '';
  }

  async closed(): Promise<void> {
    await until(() => this.isClosed, 'the connection is closed');
  }
}

async function desk(t: ExecutionContext): Promise<Desk | null> {
  if (!need(t, 'root', resolve('build/native/twinbeat.node'))) return null;
  const one = new Desk(t);
  await one.open();
  return one;
}

test('sign on, ask, sign off; a client that vanishes is missed, and its name is free', async (t) => {
  const d = await desk(t);
  if (!d) return;
  const first = new Client(d);
  t.is(await first.signOn('foo'), 'OK');
  first.ask('getrsc');
  await first.answered('getrsc', 1);
  t.is(await new Client(d).signOn('foo'), 'badreq');
  first.socket.destroy();
  await until(() => d.sent.includes('hbapi-clstat leave foo'), 'it is missed');
  const second = new Client(d);
  t.is(await second.signOn('foo'), 'OK');
  second.ask('signoff');
  await second.closed();
  t.deepEqual(d.sent, [
    'hbapi-clstat join foo',
    'hbapi-clstat leave foo',
    'hbapi-clstat join foo',
    'hbapi-clstat leave foo',
  ]);
  d.server.close();
  t.false(existsSync(d.path));
});

test('one that sends no frames, or one without end, is cut off; the next one is served', async (t) => {
  const d = await desk(t);
  if (!d) return;
  for (const bytes of [Buffer.alloc(1000, 'x'), Buffer.from('00000040cdab0000', 'hex')]) {
    const bad = new Client(d);
    bad.socket.write(bytes);
    await bad.closed();
  }
  t.is(await new Client(d).signOn(String(process.pid)), 'OK');
});

test('one that does not read is dropped, and holds nobody up', async (t) => {
  const d = await desk(t);
  if (!d) return;
  const [slow, good] = [new Client(d), new Client(d)];
  await slow.signOn('slow');
  await good.signOn('good');
  slow.socket.pause();
  const message = haFields({ t: 'resource', text: 'x'.repeat(10_000) });
  for (let n = 0; n < 2000 && d.logs.length === 0; n++) {
    d.server.heard(message);
    good.ask('getrsc');
    await good.answered('getrsc', n + 1);
  }
  t.regex(d.logs.join(), /a client does not read: connection closed/);
  t.true(d.sent.includes('hbapi-clstat leave slow'));
  t.false(good.isClosed);
});

test('more connections than there may be: the oldest that has not signed on goes', async (t) => {
  const d = await desk(t);
  if (!d) return;
  const named = new Client(d);
  t.is(await named.signOn('foo'), 'OK');
  const idle = Array.from({ length: 120 }, () => new Client(d));
  t.is(await new Client(d).signOn(String(process.pid)), 'OK');
  await idle[0]?.closed();
  t.false(named.isClosed);
  for (const { socket } of idle) socket.destroy();
});

test('a thousand requests at once are answered in turns, in order', async (t) => {
  const d = await desk(t);
  if (!d) return;
  const client = new Client(d);
  await client.signOn('foo');
  const frame = encodeFrame(haFields({ t: 'hbapi-req', reqtype: 'getrsc' }));
  client.socket.write(Buffer.concat(Array.from({ length: 1000 }, () => frame)));
  client.ask('numnodes');
  await client.answered('numnodes', 1);
  t.is(client.results('getrsc').length, 1000);
});

test('flow control: clients wait until the other node has heard enough', async (t) => {
  const d = await desk(t);
  if (!d) return;
  const client = new Client(d);
  await client.signOn('foo');
  d.isPaused = true;
  client.say({ t: 'hello' });
  client.ask('getrsc');
  await until(() => client.socket.writableLength === 0, 'it is written');
  d.server.heard(haFields({ t: 'status', src: 'node-b', st: 'active' }));
  await until(() => client.heard.some((message) => fieldOf(message, 't') === 'status'), 'it hears');
  t.false(d.sent.includes('hello  foo'));
  d.isPaused = false;
  d.server.heard(haFields({ t: 'status', src: 'node-b', st: 'active' }));
  await client.answered('getrsc', 1);
  t.true(d.sent.includes('hello  foo'));
});
