/**
 * The programs around the machines (host/outside.ts): children of ha.cf, and later clients and event scripts. What the machines tell
 * is passed on when they are done, so that nobody calls back in the middle of them.
 */
import { builtInOf } from '../host/heartbeat-clients.js';
import type { HeartbeatConfig, LivesHost } from '../host/heartbeat-ports.js';
import type { Outside } from '../host/outside.js';
import { rebootForFailfast } from '../host/stuck-group.js';
import type { HaMessage } from '../wire/hamsg.js';
import { RespawnChildren } from './respawn-child.js';

export interface OutsideHost extends Pick<LivesHost, 'log' | 'reboot' | 'timers'> {
  readonly root: string;
}

export class OutsidePrograms implements Outside {
  readonly #host: OutsideHost;
  readonly #children: RespawnChildren;
  #config: HeartbeatConfig;

  constructor(host: OutsideHost, config: HeartbeatConfig) {
    this.#host = host;
    this.#config = config;
    this.#children = new RespawnChildren({
      root: host.root,
      log: host.log,
      reboot: (why) => rebootForFailfast(why, this.#config.ini.heartbeat.stopFailure, this.#host),
    });
    this.configure(config);
  }

  /** A configuration is in force. */
  configure(config: HeartbeatConfig): void {
    this.#config = config;
    const lines = config.haCf.respawns.filter((client) => builtInOf(client) === null);
    this.#children.configure(config, lines);
  }

  active(): void {
    setImmediate(() => void this.#children.start());
  }

  heard(_message: HaMessage): void {}

  nodeDead(_node: string): void {}

  link(_node: string, _link: string, _status: 'up' | 'dead'): void {}

  released(): void {
    setImmediate(() => void this.#children.stop());
  }

  /** The daemon ends: nothing that it started stays behind. */
  async end(): Promise<void> {
    await this.#children.stop();
  }
}
