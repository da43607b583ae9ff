/**
 * Ping nodes: ICMP echo by ping(8), since Node has no raw sockets. One child for each member; a group answers when any
 * of its members does. A ping that cannot run is reported once and tried again: its node is simply never heard.
 */
import type { ChildProcess } from 'node:child_process';
import type { PingNode } from '../config/ha-cf.js';
import { NOT_RUN, spawnAside } from './spawn-aside.js';

export interface PingHost {
  answered(name: string): void;
  log(level: 'WARN', text: string): void;
}

const RETRY_MS = 5000;
/** ping(8) refuses shorter intervals to users other than root. */
const MIN_INTERVAL_MS = 200;

export class PingMedium {
  readonly #node: PingNode;
  readonly #intervalMs: number;
  readonly #host: PingHost;
  readonly #children = new Map<string, ChildProcess>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #warned = false;
  #closed = false;

  constructor(node: PingNode, keepaliveMs: number, host: PingHost) {
    this.#node = node;
    this.#intervalMs = Math.max(MIN_INTERVAL_MS, keepaliveMs);
    this.#host = host;
  }

  open(): void {
    for (const member of this.#node.members) this.#start(member);
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const child of this.#children.values()) child.kill('SIGTERM');
  }

  #start(member: string): void {
    if (this.#closed) return;
    const family = this.#node.type === 'ping6' ? '-6' : '-4';
    const args = [family, '-n', '-i', String(this.#intervalMs / 1000), '--', member];
    const child = spawnAside('ping', args, {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    this.#children.set(member, child);
    child.stdout?.setEncoding('latin1');
    child.stdout?.on('data', (text: string) => {
      if (text.includes(' bytes from ')) this.#host.answered(this.#node.name);
    });
    let isOver = false;
    const ended = (why: string) => {
      if (isOver || this.#closed) return;
      isOver = true;
      if (!this.#warned) this.#host.log('WARN', `ping ${member}: ${why}; trying again`);
      this.#warned = true;
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        this.#start(member);
      }, RETRY_MS);
      this.#timers.add(timer);
    };
    child.on('error', (e) => ended(e.message));
    child.on('exit', (status) => {
      const isMissing = status !== null && NOT_RUN.has(status);
      ended(isMissing ? 'ping(8) cannot be run' : `ended with ${status ?? 'a signal'}`);
    });
  }
}
