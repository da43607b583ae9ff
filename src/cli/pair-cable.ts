/**
 * The virtual cables of the pair, and the client at the end of one:
 *
 *     node 0 eth0 ──┐                      ┌── eth0 node 1        10.77.0.1 and .2: the LAN, with the service address
 *                   ├── lan (bridge) ──────┤
 *                   └── 10.77.0.3, the client
 *     node 0 eth1 ───── link (bridge) ──────── eth1 node 1        10.77.1.1 and .2: replication, second heartbeat
 *
 * The bridges live in a network namespace of their own (the switch). A cut is made there: the node's interface keeps its
 * addresses and loses its carrier, as when a cable is pulled; `silent` keeps the carrier and drops what is sent.
 */
import { Namespace, type NamespaceKind, type Spawned } from './pair-namespace.js';
import { must, type ProcessName, type Ran, type RunOptions } from './pair-run.js';

export type Net = 'lan' | 'link';
export const NETS: readonly Net[] = ['lan', 'link'];
const SWITCH_KINDS: readonly NamespaceKind[] = ['net', 'pid'];

const PREFIX: Readonly<Record<Net, string>> = { lan: '10.77.0', link: '10.77.1' };
export const INTERFACE: Readonly<Record<Net, string>> = { lan: 'eth0', link: 'eth1' };
export const CLIENT_ADDRESS = `${PREFIX.lan}.3`;
export const SERVICE_ADDRESS = `${PREFIX.lan}.10`;

export function nodeAddress(net: Net, index: 0 | 1): string {
  return `${PREFIX[net]}.${index + 1}`;
}

const SET_UP = `
ip link set lo up
for bridge in br-lan br-link; do
  ip link add "$bridge" type bridge
  ip link set "$bridge" type bridge mcast_snooping 0 2>/dev/null || true
  ip link set "$bridge" up
done
ip addr add "$1/24" dev br-lan
`;

function port(net: Net, index: 0 | 1): string {
  return `p-${net}${index}`;
}

export class Cable {
  readonly #inside: Namespace;
  readonly #silent = new Set<string>(); // ports that drop what is sent

  private constructor(inside: Namespace) {
    this.#inside = inside;
  }

  static async create(env: Readonly<Record<string, string>>): Promise<Cable> {
    return new Cable(await Namespace.open(SWITCH_KINDS, SET_UP, [CLIENT_ADDRESS], env));
  }

  get first(): ProcessName {
    return this.#inside.first;
  }

  /** The namespaces of a node that was switched on get their interfaces. The addresses of the hardware never change. */
  async plugIn(index: 0 | 1, node: Namespace): Promise<void> {
    const pid = String(node.first.pid);
    for (const [n, net] of NETS.entries()) {
      const name = INTERFACE[net];
      const mac = `02:77:00:00:0${n}:0${index + 1}`;
      // Not inside the switch's pid namespace: there the node's number means nothing.
      await must([
        ...['nsenter', '--target', String(this.first.pid), '--net', 'ip', 'link', 'add'],
        ...[port(net, index), 'type', 'veth'],
        ...['peer', 'name', name, 'address', mac, 'netns', pid],
      ]);
      await node.must(['ip', 'addr', 'add', `${nodeAddress(net, index)}/24`, 'dev', name]);
      await node.must(['ip', 'link', 'set', name, 'up']);
      await this.#inside.must(['ip', 'link', 'set', port(net, index), 'master', `br-${net}`, 'up']);
    }
    await node.must(['ip', 'route', 'add', 'default', 'via', CLIENT_ADDRESS]);
  }

  /** All cables of a node, at once; from here on nothing that it sends arrives. */
  async pullOut(index: 0 | 1): Promise<void> {
    for (const net of NETS) this.#silent.delete(port(net, index));
    const text = NETS.map((net) => `link del ${port(net, index)}\n`).join('');
    await this.#inside.must(['ip', '-batch', '-'], { input: text });
  }

  /** Cut one net between the nodes (on `lan` the node `index` alone, the client stays with the other). */
  async cut(net: Net = 'link', index: 0 | 1 = 0, how: 'carrier' | 'silent' = 'carrier') {
    const name = port(net, index);
    if (how === 'carrier') await this.#inside.must(['ip', 'link', 'set', name, 'down']);
    else {
      await this.#inside.must(['bridge', 'link', 'set', 'dev', name, 'state', '0']);
      this.#silent.add(name);
    }
  }

  async heal(net: Net = 'link', index: 0 | 1 = 0): Promise<void> {
    const name = port(net, index);
    await this.#inside.must(['ip', 'link', 'set', name, 'up']);
    // One whose carrier comes back forwards by itself, and refuses the word before it is there.
    if (!this.#silent.delete(name)) return;
    await this.#inside.must(['bridge', 'link', 'set', 'dev', name, 'state', '3']);
  }

  /** Run a program as the client does: on the LAN, on neither node. */
  exec(argv: readonly string[], options: Partial<RunOptions> = {}): Promise<Ran> {
    return this.#inside.exec(argv, options);
  }

  spawn(argv: readonly string[], logFile: string): Promise<Spawned> {
    return this.#inside.spawn(argv, logFile);
  }

  enter(argv: readonly string[]): string[] {
    return this.#inside.enter(argv);
  }

  keep(): void {
    this.#inside.keep();
  }

  async destroy(): Promise<void> {
    await this.#inside.kill();
  }
}
