/**
 * The programs around the machines (host/outside.ts): children of ha.cf, clients of the API, event scripts. What the machines tell
 * is passed on when they are done, so that nobody calls back in the middle of them.
 */
import { builtInOf } from '../host/heartbeat-clients.js';
import type { HeartbeatReport } from '../host/heartbeat-control.js';
import type { HeartbeatNode } from '../host/heartbeat-node.js';
import type { HeartbeatConfig, LivesHost } from '../host/heartbeat-ports.js';
import type { Outside } from '../host/outside.js';
import { rebootForFailfast } from '../host/stuck-group.js';
import { type HaMessage, haFields } from '../wire/hamsg.js';
import { ClientApiServer } from './client-api-server.js';
import { EventScripts } from './event-scripts.js';
import { RespawnChildren } from './respawn-child.js';
import { within } from './within.js';

/** For all children together at the end of the daemon, each with its own time to end. */
const END_MS = 60_000;

export interface OutsideHost extends Pick<LivesHost, 'log' | 'reboot' | 'timers'> {
  readonly root: string;
  /** The node of the present life, to look at. */
  node(): HeartbeatNode | null;
  report(): HeartbeatReport;
  /** As any program of this node. */
  send(message: HaMessage): void;
  /** A program on the client API is there, or not any more. */
  clientOnline(client: string, online: boolean): void;
}

export class OutsidePrograms implements Outside {
  readonly #host: OutsideHost;
  readonly #children: RespawnChildren;
  readonly #events: EventScripts;
  readonly #api: ClientApiServer;
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
    this.#api = new ClientApiServer(host, config);
    this.configure(config);
  }

  /** A configuration is in force. */
  configure(config: HeartbeatConfig): void {
    this.#config = config;
    const lines = config.haCf.respawns.filter((client) => builtInOf(client) === null);
    this.#children.configure(config, lines);
    void this.#events.configure(config);
    this.#api.configure(config);
  }

  active(): void {
    setImmediate(() => {
      this.#api.active(); // before its clients are started
      void this.#children.start();
    });
  }

  heard(message: HaMessage): void {
    setImmediate(() => {
      this.#events.heard(message);
      this.#api.heard(message);
    });
  }

  nodeDead(node: string): void {
    setImmediate(() => this.#api.nodeDead(node));
  }

  link(node: string, link: string, status: 'up' | 'dead'): void {
    // As the original tells its own programs.
    const message = haFields({ t: 'ifstat', node, ifname: link, st: status });
    setImmediate(() => {
      this.#events.heard(message);
      this.#api.link(node, link, status);
    });
  }

  released(): void {
    setImmediate(() => {
      this.#events.clear();
      this.#api.close();
      void this.#children.stop();
    });
  }

  /** The daemon ends: nothing that it started stays behind. */
  async end(): Promise<void> {
    this.#api.close();
    // One that hangs in the kernel cannot be ended.
    await within(END_MS, this.#children.stop());
  }
}
