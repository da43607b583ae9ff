/**
 * The handlers of drbd.conf (`fence-peer`, `split-brain`, ...): which resource has which, and what one is told. They are run
 * as the kernel's usermode helper runs them, with its environment and its two lines in the log; what a handler's exit code
 * means is the engine's to decide.
 */
import { spawn } from 'node:child_process';
import type { Logger } from 'pino';
import type { ResourceHandlers } from '../host/drbdd-resume.js';
import type { EngineNews, EngineThread } from './drbdd-engine-thread.js';

/** A handler that runs longer is killed and counts as broken: it must not hold up the engine for ever. */
const HANDLER_LIMIT_MS = 300_000;

export class HandlerTable {
  readonly #engine: EngineThread;
  readonly #root: string;
  readonly #log: Logger;
  readonly #handlers = new Map<string, ResourceHandlers>();

  /** `root`: TWINBEAT_ROOT. */
  constructor(engine: EngineThread, root: string, log: Logger) {
    this.#engine = engine;
    this.#root = root;
    this.#log = log;
  }

  set(resource: string, handlers: ResourceHandlers): void {
    this.#handlers.set(resource, handlers);
  }

  delete(resource: string): void {
    this.#handlers.delete(resource);
  }

  /** For a successor. */
  get saved(): Readonly<Record<string, ResourceHandlers>> {
    return Object.fromEntries(this.#handlers);
  }

  /** What is not configured counts as done. */
  async run(asked: Extract<EngineNews, { type: 'handler' }>): Promise<void> {
    const { id, event, resource, minor } = asked;
    const configured = this.#handlers.get(resource);
    const command = configured?.handlers[event];
    if (!command || !configured) {
      this.#engine.handlerDone(id, 0);
      return;
    }
    const what = minor === null ? resource : `minor-${minor}`;
    this.#log.info({ object: resource }, `helper command: /sbin/drbdadm ${event} ${what}`);
    const exit = await runHandler(command, {
      HOME: '/',
      TERM: 'linux',
      PATH: `${process.env['PATH'] ?? ''}:/sbin:/usr/sbin:/bin:/usr/bin`,
      ...configured.environment,
      ...(this.#root === '' ? {} : { TWINBEAT_ROOT: this.#root }),
      DRBD_RESOURCE: resource,
      DRBD_MINOR: minor === null ? await this.#minorsOf(resource) : String(minor),
    });
    const hex = (exit << 8).toString(16);
    this.#log.info(
      { object: resource },
      `helper command: /sbin/drbdadm ${event} ${what} exit code ${exit} (0x${hex})`,
    );
    this.#engine.handlerDone(id, exit);
  }

  async #minorsOf(resource: string): Promise<string> {
    const found = (await this.#engine.running()).find((r) => r.name === resource);
    return (found?.volumes ?? []).map((v) => v.minor).join(' ');
  }
}

/** Exit code of a handler; 127 when it cannot be started or takes too long. */
function runHandler(command: string, env: Readonly<Record<string, string>>): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn('/bin/sh', ['-c', command], { env, stdio: 'ignore', detached: true });
    const limit = setTimeout(() => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, HANDLER_LIMIT_MS);
    child.on('error', () => {
      clearTimeout(limit);
      resolve(127);
    });
    child.on('exit', (code) => {
      clearTimeout(limit);
      resolve(code ?? 127);
    });
  });
}
