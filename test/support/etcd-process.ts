/** A real etcd on loopback, of one or several members. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { until } from './until.js';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

export class EtcdMember {
  readonly endpoint: string;
  readonly #child: ChildProcess;
  #hasEnded = false;

  constructor(endpoint: string, args: readonly string[]) {
    this.endpoint = endpoint;
    this.#child = spawn('etcd', args, { stdio: 'ignore' });
    this.#child.on('exit', () => {
      this.#hasEnded = true;
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async ended(): Promise<void> {
    this.signal('SIGKILL');
    await until(() => this.#hasEnded, 'the end of etcd');
  }

  async isLeader(): Promise<boolean> {
    const answer = await post(`${this.endpoint}/v3/maintenance/status`, {});
    const { leader, header } = answer as { leader?: string; header?: { member_id?: string } };
    return leader !== undefined && leader === header?.member_id;
  }
}

export async function post(url: string, body: object): Promise<unknown> {
  const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
  return answer.json();
}

/** Ready to answer; ends with the test. */
export async function startEtcd(t: ExecutionContext, count: number): Promise<EtcdMember[]> {
  const dir = mkdtempSync(join(tmpdir(), 'etcd-'));
  const places: { name: string; client: string; peer: string }[] = [];
  for (let i = 0; i < count; i++) {
    const client = `http://127.0.0.1:${await freePort()}`;
    places.push({ name: `m${i}`, client, peer: `http://127.0.0.1:${await freePort()}` });
  }
  const all = places.map(({ name, peer }) => `${name}=${peer}`).join(',');
  const members = places.map(
    ({ name, client, peer }) =>
      new EtcdMember(client, [
        ...['--name', name, '--data-dir', join(dir, name)],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
        ...['--initial-cluster', all],
      ]),
  );
  t.teardown(async () => {
    for (const member of members) await member.ended();
    rmSync(dir, { recursive: true });
  });
  for (const { endpoint } of members) {
    const isReady = () =>
      post(`${endpoint}/v3/kv/range`, { key: 'eA==' }).then(
        (answer) => 'header' in (answer as object),
        () => false,
      );
    await until(isReady, `etcd at ${endpoint}`);
  }
  return members;
}
