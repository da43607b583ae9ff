/**
 * Runs the programs of /etc/ha.d/rc.d (host/event-scripts.ts says which and when): by /etc/ha.d/harc, which writes it to the log, or
 * by themselves where there is none. Nobody waits for one, and no resource script does.
 */
import { constants } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import { EventQueue, eventEnvironment } from '../host/event-scripts.js';
import type { HeartbeatConfig } from '../host/heartbeat-ports.js';
import type { NodeLogLevel } from '../host/node-ports.js';
import type { HaMessage } from '../wire/hamsg.js';
import { scriptEnvironment } from './heartbeat-script.js';
import { programPath } from './limited-run.js';
import { killGroup, spawnAside } from './spawn-aside.js';

const RC_DIR = '/etc/ha.d/rc.d';
const HARC = '/etc/ha.d/harc';
/** How often it is looked whether the resource script has ended. */
const POLL_MS = 200;

export interface EventScriptsHost {
  readonly root: string;
  log(level: NodeLogLevel, text: string): void;
  /** A resource script runs. */
  busy(): boolean;
  /** init, up, active. */
  ownStatus(): string;
}

async function isProgram(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

export class EventScripts {
  readonly #host: EventScriptsHost;
  readonly #queue = new EventQueue();
  #config: HeartbeatConfig;
  #harc = false;
  #poll: NodeJS.Timeout | null = null;

  constructor(host: EventScriptsHost, config: HeartbeatConfig) {
    this.#host = host;
    this.#config = config;
  }

  /** The directory is looked at at the start and at a reload. */
  async configure(config: HeartbeatConfig): Promise<void> {
    this.#config = config;
    const { root } = this.#host;
    const names = await readdir(root + RC_DIR).catch(() => []);
    const programs: string[] = [];
    for (const name of names) {
      if (await isProgram(`${root}${RC_DIR}/${name}`)) programs.push(name);
    }
    // harc itself looks into the machine's directory.
    this.#harc = root === '' && (await isProgram(HARC));
    this.#queue.setTypes(programs);
  }

  heard(message: HaMessage): void {
    if (!this.#queue.add(message)) {
      this.#host.log('WARN', 'rc.d: too many messages wait for their scripts; others are dropped');
    }
    this.#next();
  }

  clear(): void {
    this.#queue.clear();
  }

  #next(): void {
    if (this.#poll) clearTimeout(this.#poll);
    this.#poll = null;
    const event = this.#queue.next(this.#host.busy());
    if (event) this.#run(event.type, event.message);
    else if (!this.#queue.isEmpty) this.#poll = setTimeout(() => this.#next(), POLL_MS);
  }

  #run(type: string, message: HaMessage): void {
    const { root, log } = this.#host;
    const script = `${root}${RC_DIR}/${type}`;
    const program = this.#harc ? HARC : script;
    const seconds = this.#config.ini.heartbeat.scriptTimeoutS;
    let isOver = false;
    let limit: NodeJS.Timeout | null = null;
    const done = (trouble: string | null) => {
      if (isOver) return;
      isOver = true;
      if (limit) clearTimeout(limit);
      if (trouble !== null) log('WARN', `${script} ${type}: ${trouble}`);
      this.#queue.done();
      this.#next();
    };
    log('debug', `Running ${script} ${type}`);
    try {
      const child = spawnAside(program, [type], {
        cwd: '/',
        env: this.#environment(message),
        stdio: 'ignore',
        detached: true,
      });
      child.on('error', (e) => done(e.message));
      child.on('exit', (status, signal) => {
        done(status === 0 ? null : `ended with ${signal ?? `status ${status}`}`);
      });
      const { pid } = child;
      if (seconds > 0 && pid !== undefined) {
        limit = setTimeout(() => killGroup(pid, 'SIGKILL'), seconds * 1000);
      }
    } catch (e) {
      // No descriptors, no memory.
      setImmediate(() => done(e instanceof Error ? e.message : String(e)));
    }
  }

  /** What the daemon says stands above what a message says. */
  #environment(message: HaMessage): NodeJS.ProcessEnv {
    return {
      ...process.env,
      PATH: programPath(),
      ...eventEnvironment(message),
      ...scriptEnvironment(this.#config),
      HA_OSTATUS: this.#host.ownStatus(),
      HA_RCDIR: RC_DIR,
      HA_RESOURCEDIR: '/etc/ha.d/resource.d',
      HA_FIFO: '/var/lib/heartbeat/fifo',
    };
  }
}
