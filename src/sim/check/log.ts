/** The log never contradicts the state: what it said last of role, connection and disks is what they are. */
import { connName, diskName, roleName, type State } from '../../drbd/state.js';
import type { NodeName } from '../config.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';

const FIELDS = ['role', 'peer', 'conn', 'disk', 'pdsk'] as const;

export class Log extends DeviceChecker {
  readonly #said: Record<string, Map<string, string>> = { alpha: new Map(), beta: new Map() };

  constructor(device: ReplicatedDevice) {
    super(device, 'log', 'log');
  }

  override died(node: Replica): void {
    this.#said[node.name]?.clear();
  }

  override logged(node: NodeName, object: string, level: string, text: string): void {
    if (object === 'drbdadm' && text.startsWith('drbdadm down')) this.#said[node]?.clear();
    if (object !== this.device.name || level !== 'info') return;
    for (const [, field, to] of text.matchAll(/(\w+)\( \S+ -> (\S+) \)/g)) {
      if (field && to) this.#said[node]?.set(field, to);
    }
  }

  override tick(): void {
    for (const node of this.device.bothNodes) {
      const s = node.state;
      const said = this.#said[node.name];
      if (!s || !said) continue;
      this.look();
      for (const field of FIELDS) {
        const was = said.get(field);
        const is = wordOf(s, field);
        if (was !== undefined && was !== is) {
          this.violate(`${node.name}: the log says ${field} ${was}, it is ${is}`);
        }
      }
    }
  }
}

function wordOf(s: State, field: (typeof FIELDS)[number]): string {
  switch (field) {
    case 'role':
      return roleName(s.role);
    case 'peer':
      return roleName(s.peer);
    case 'conn':
      return connName(s.conn);
    case 'disk':
      return diskName(s.disk);
    case 'pdsk':
      return diskName(s.pdsk);
  }
}
