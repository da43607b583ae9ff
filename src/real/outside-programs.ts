/**
 * The programs around the machines (host/outside.ts): children of ha.cf and event scripts. What the machines tell
 * is passed on when they are done, so that nobody calls back in the middle of them.
 */
import { builtInOf } from '../host/heartbeat-clients.js';
import type { HeartbeatNode } from '../host/heartbeat-node.js';
import type { HeartbeatConfig, LivesHost } from '../host/heartbeat-ports.js';
import type { Outside } from '../host/outside.js';
import { rebootForFailfast } from '../host/stuck-group.js';
import { type HaMessage, haFields } from '../wire/hamsg.js';
import { EventScripts } from './event-scripts.js';
import { RespawnChildren } from './respawn-child.js';

export interface OutsideHost extends Pick<LivesHost, 'log' | 'reboot' | 'timers'> {
  readonly root: string;
  /** The node of the present life, to look at. */
  node(): HeartbeatNode | null;
}

export class OutsidePrograms implements Outside {
  readonly #host: OutsideHost;
  readonly #children: RespawnChildren;
  readonly #events: EventScripts;
  #config: HeartbeatConfig;

  constructor(host: OutsideHost, config: HeartbeatConfig) {
    this.#host = host;
    this.#config = config;
    this.#children = new RespawnChildren({
      root: host.root,
      log: host.log,
      reboot: (why) => rebootForFailfast(why, this.#config.ini.heartbeat.stopFailure, this.#host),
    });
    this.#events = new EventScripts(
      {
        root: host.root,
        log: host.log,
        busy: () => host.node()?.operations.busy ?? false,
        ownStatus: () => host.node()?.membership.status ?? 'init',
      },
      config,
    );
    this.configure(config);
  }

  /** A configuration is in force. */
  configure(config: HeartbeatConfig): void {
    this.#config = config;
    const lines = config.haCf.respawns.filter((client) => builtInOf(client) === null);
    this.#children.configure(config, lines);
    void this.#events.configure(config);
  }

  active(): void {
    setImmediate(() => void this.#children.start());
  }

  heard(message: HaMessage): void {
    setImmediate(() => this.#events.heard(message));
  }

  nodeDead(_node: string): void {}

  link(node: string, link: string, status: 'up' | 'dead'): void {
    // As the original tells its own programs.
    this.heard(haFields({ t: 'ifstat', node, ifname: link, st: status }));
  }

  released(): void {
    setImmediate(() => {
      this.#events.clear();
      void this.#children.stop();
    });
  }

  /** The daemon ends: nothing that it started stays behind. */
  async end(): Promise<void> {
    await this.#children.stop();
  }
}
