/** What one life of a heartbeat node (heartbeat-node.ts) is told at its start, and what it asks of its host. */
import type { HaResource, HaResourceGroup } from '../config/haresources.js';
import type { MembershipConfig } from '../heartbeat/membership-types.js';
import type { Action } from '../resource-manager/group-operation.js';
import type { HealthConfig } from '../resource-manager/health.js';
import type { Hold } from '../resource-manager/hold.js';
import type { LeaseConfig } from '../resource-manager/lease.js';
import type { PermissionConfig } from '../resource-manager/permission.js';
import type { Standing } from '../resource-manager/standing.js';
import type { HaMessage } from '../wire/hamsg.js';
import type { BuiltIn } from './heartbeat-clients.js';
import type { NodeAsk } from './heartbeat-questions.js';
import type { Outside } from './outside.js';

export type NodeLogLevel = 'debug' | 'info' | 'WARN' | 'ERROR' | 'CRIT';

/** What a life asks of its host. Nothing here answers inside the call. */
export interface HeartbeatPorts {
  transmit(datagram: Uint8Array): void;
  /** Run `resource`'s script; its end is told by `scriptDone(id)`. */
  runScript(id: number, resource: HaResource, action: Action): void;
  readonly ask: NodeAsk;
  log(level: NodeLogLevel, text: string): void;
  /** A group cannot be stopped: the machine must go down before anybody may take the group over. */
  stuck(group: HaResourceGroup): void;
  /** What runs here may not run any longer, and is not stopped: the machine must go down. */
  die(why: string): void;
  /** Everything is released and `shutdone` sent: end this life; `restart`: and begin a new one after a pause. */
  released(restart: boolean): void;
  /** State worth telling others has changed (status displays, dopd, the state file). */
  changed(): void;
  /** A message for somebody else in this daemon: dopd. */
  message(from: string, message: HaMessage): void;
  /** Programs beside this daemon that are told what happens. */
  readonly outside?: Outside | undefined;
}

/** What a running node takes, too. */
export interface NodeSettings {
  readonly warntimeMs: number;
  readonly deadpingMs: number;
  readonly logBadpack: boolean;
  readonly failbackDelayMs: number;
  readonly movesPerHour: number;
  readonly health: HealthConfig;
}

export interface HeartbeatNodeConfig extends Omit<NodeSettings, 'warntimeMs' | 'deadpingMs'> {
  readonly membership: MembershipConfig;
  readonly groups: readonly HaResourceGroup[];
  readonly autoFailback: 'on' | 'off' | 'legacy';
  readonly clients: readonly BuiltIn[]; // that ha.cf asks for
  readonly resume: Hold;
  readonly stopRetryMax: number;
  readonly innerSignature: boolean; // msgfmt classic
  readonly permission: Omit<PermissionConfig, 'peer'>;
  /** Null: no arbiter. `inheritedUntilMs`: so long may run what the life before left running, -Infinity: nothing. */
  readonly lease: (Omit<LeaseConfig, 'deadtimeMs'> & { readonly inheritedUntilMs: number }) | null;
  readonly standing: Standing;
}
