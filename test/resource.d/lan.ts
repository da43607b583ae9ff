/** Two nodes and a client on one virtual cable, a bridge: 10.93.0.1, .2 and .3, fd93::1, ::2 and ::3. For the address scripts. */
import type { ExecutionContext } from 'ava';
import { Room, until } from './room.js';

export const LAN_WANTS = ['root', 'netns', 'ip', 'ping'];

export interface Lan {
  readonly client: Room; // has the bridge, br0, with the nodes' cables on port1 and port2
  readonly a: Room;
  readonly b: Room;
}

/** `dad`: 'usual' takes the kernel 1 to 2 s, 'quick' a tenth of that. */
export async function lan(t: ExecutionContext, dad: 'usual' | 'quick' = 'quick'): Promise<Lan> {
  const client = await Room.open(t);
  client.must('ip', 'link', 'add', 'br0', 'type', 'bridge');
  client.must('ip', 'addr', 'add', '10.93.0.3/24', 'dev', 'br0');
  client.must('ip', 'addr', 'add', 'fd93::3/64', 'dev', 'br0', 'nodad');
  client.must('ip', 'link', 'set', 'br0', 'up');
  const nodes: Room[] = [];
  for (const n of [1, 2]) {
    const node = await Room.open(t);
    client.wire(`port${n}`, node, 'eth0');
    client.must('ip', 'link', 'set', `port${n}`, 'master', 'br0', 'up');
    node.must('ip', 'addr', 'add', `10.93.0.${n}/24`, 'broadcast', '+', 'dev', 'eth0');
    node.must('ip', 'addr', 'add', `fd93::${n}/64`, 'dev', 'eth0', 'nodad');
    if (dad === 'quick') {
      node.must('sh', '-c', 'echo 100 >/proc/sys/net/ipv6/neigh/eth0/retrans_time_ms');
      node.must('sh', '-c', 'echo 0 >/proc/sys/net/ipv6/conf/eth0/router_solicitation_delay');
    }
    node.must('ip', 'link', 'set', 'eth0', 'up');
    nodes.push(node);
  }
  const [a, b] = nodes;
  if (!a || !b) throw new Error('two nodes');
  for (const [n, node] of nodes.entries()) {
    // A bridge port forwards a moment after it came up.
    t.true(await until(() => node.run(['ping', '-c1', '-W1', '10.93.0.3']).status === 0), `${n}`);
    t.true(await until(() => node.run(['ping', '-c1', '-W1', 'fd93::3']).status === 0), `${n}`);
  }
  return { client, a, b };
}

export function mac(room: Room): string {
  return /link\/ether (\S+)/.exec(room.must('ip', '-o', 'link', 'show', 'eth0'))?.[1] ?? '?';
}

/** Whom the client takes for the owner of the address. */
export function owner(client: Room, ip: string): string {
  return /lladdr (\S+)/.exec(client.must('ip', 'neigh', 'show', 'to', ip))?.[1] ?? '';
}

/** The client believes in an owner who is gone; it asks nobody, only an announcement can tell it better. */
export function mislead(client: Room, ip: string): void {
  const words = ['lladdr', '02:00:00:00:00:99', 'dev', 'br0', 'nud', 'permanent'];
  client.must('ip', 'neigh', 'replace', ip, ...words);
  client.must('ip', 'neigh', 'change', ip, ...words.slice(0, -1), 'stale');
}

/** The room has no such programs any more. */
export function without(t: ExecutionContext, room: Room, ...programs: readonly string[]): void {
  const hide = 'for p; do p=$(command -v "$p") && mount --bind /dev/null "$p"; done';
  room.run(['sh', '-c', hide, 'hide', ...programs]);
  for (const program of programs) {
    t.not(room.run(['sh', '-c', 'command -v "$0"', program]).status, 0, program);
  }
}

/** The address as `ip -o addr` shows it, without interface number, life times and `nodad`; empty when it is not there. */
export function shown(room: Room, ip: string): string {
  const out = room.must('ip', '-o', 'addr', 'show', 'to', ip);
  return out
    .replace(/^\d+: /, '')
    .replace(/\\.*/s, '')
    .replace(/ nodad\b/, '')
    .replace(/ +/g, ' ')
    .trim();
}
