/**
 * The handlers of drbd.conf (`fence-peer`, `split-brain`, ...): which resource has which, and what one is told. They are run
 * as the kernel's usermode helper and drbdadm run them, with the same environment and two lines in the log; what a handler's
 * exit code means is the engine's to decide. docs/STATES.md has the table of events.
 *
 *     asked -> not configured: 0 at once
 *           -> runs -> its exit code; 127 when it can not be started, is killed, or takes too long
 */
import { spawn } from 'node:child_process';
import type { Logger } from 'pino';
import type { RunningResource } from '../host/control.js';
import type { ResourceHandlers } from '../host/drbdd-resume.js';
import type { EngineNews, EngineThread } from './drbdd-engine-thread.js';

/** That of a shell which finds no such command: none of the codes that a handler says anything with. */
const BROKEN = 127;
/** Of one resource, at once. A connection that comes and goes may ask for another fence-peer each time. */
const MAX_RUNNING = 16;

type Asked = Extract<EngineNews, { type: 'handler' }>;

export interface HandlerTableOptions {
  readonly engine: EngineThread;
  readonly root: string; // TWINBEAT_ROOT
  readonly log: Logger;
  readonly limitMs: number; // 0: none
  /** One is called (null), or has ended. */
  readonly told: (what: Asked, exit: number | null) => void;
}

export class HandlerTable {
  readonly #options: HandlerTableOptions;
  readonly #handlers = new Map<string, ResourceHandlers>();
  readonly #running = new Map<string, number>(); // by resource

  constructor(options: HandlerTableOptions) {
    this.#options = options;
  }

  set(resource: string, handlers: ResourceHandlers): void {
    this.#handlers.set(resource, handlers);
  }

  delete(resource: string): void {
    this.#handlers.delete(resource);
  }

  rename(resource: string, name: string): void {
    const handlers = this.#handlers.get(resource);
    if (!handlers || name === resource) return;
    this.#handlers.delete(resource);
    this.#handlers.set(name, handlers);
  }

  /** For a successor. */
  get saved(): Readonly<Record<string, ResourceHandlers>> {
    return Object.fromEntries(this.#handlers);
  }

  /** The engine is told how it ended, whatever becomes of it. What is not configured counts as done. */
  run(asked: Asked): void {
    const { engine, log } = this.#options;
    const { id, event, resource } = asked;
    const configured = this.#handlers.get(resource);
    const command = configured?.handlers[event];
    if (!command || !configured) {
      engine.handlerDone(id, 0);
      return;
    }
    const running = this.#running.get(resource) ?? 0;
    if (running >= MAX_RUNNING) {
      log.error({ object: resource }, `${event}: ${running} handlers run already, none more`);
      engine.handlerDone(id, BROKEN);
      return;
    }
    this.#running.set(resource, running + 1);
    void this.#runConfigured(asked, command, configured)
      .catch((e) => {
        log.error({ object: resource }, `${event}: ${e instanceof Error ? e.message : String(e)}`);
        return BROKEN;
      })
      .then((exit) => {
        const left = (this.#running.get(resource) ?? 1) - 1;
        if (left > 0) this.#running.set(resource, left);
        else this.#running.delete(resource);
        engine.handlerDone(id, exit);
      });
  }

  async #runConfigured(
    asked: Asked,
    command: string,
    configured: ResourceHandlers,
  ): Promise<number> {
    const { engine, root, log, limitMs } = this.#options;
    const { event, resource, minor } = asked;
    const call = `/sbin/drbdadm ${event} ${minor === null ? resource : `minor-${minor}`}`;
    log.info({ object: resource }, `helper command: ${call}`);
    this.#options.told(asked, null);
    const running = (await engine.running()).find((r) => r.name === resource);
    const env = handlerEnvironment(asked, configured, running ?? null, root);
    const { exit, remark } = await runHandler(command, env, limitMs);
    if (remark !== null) log.warn({ object: resource }, `helper command: ${call} ${remark}`);
    const hex = (exit << 8).toString(16);
    log.info({ object: resource }, `helper command: ${call} exit code ${exit} (0x${hex})`);
    this.#options.told(asked, exit);
    return exit;
  }
}

/**
 * What drbdadm gives a handler that the kernel calls it for. PATH has that of the daemon in front: a handler's `drbdadm` is then the
 * one that belongs to it.
 */
export function handlerEnvironment(
  { resource, minor }: Pick<Asked, 'resource' | 'minor'>,
  { environment, lowerDisks }: Omit<ResourceHandlers, 'handlers'>,
  running: RunningResource | null,
  root: string,
): Readonly<Record<string, string>> {
  const volumes = running?.volumes ?? [];
  const env: Record<string, string> = {
    HOME: '/',
    TERM: 'linux',
    PATH: [process.env['PATH'], '/sbin:/usr/sbin:/bin:/usr/bin'].filter(Boolean).join(':'),
    ...environment,
    ...(root === '' ? {} : { TWINBEAT_ROOT: root }),
    DRBD_RESOURCE: resource,
    DRBD_MINOR: minor === null ? volumes.map((v) => v.minor).join(' ') : String(minor),
  };
  const volume = minor === null ? null : volumes.find((v) => v.minor === minor);
  if (volume) {
    env['DRBD_VOLUME'] = String(volume.volume);
    env['DRBD_LL_DISK'] = lowerDisks?.[String(minor)] ?? volume.disk?.disk ?? '';
  }
  return env;
}

interface HandlerEnd {
  readonly exit: number;
  readonly remark: string | null; // what is to be said beside the exit code
}

/** `limitMs` 0: it may take as long as it does. What is left of its process group is killed with it. */
export function runHandler(
  command: string,
  env: Readonly<Record<string, string>>,
  limitMs: number,
): Promise<HandlerEnd> {
  return new Promise((resolve) => {
    const child = spawn('/bin/sh', ['-c', command], { env, stdio: 'ignore', detached: true });
    let limit: NodeJS.Timeout | undefined;
    const end = (exit: number, remark: string | null): void => {
      clearTimeout(limit);
      resolve({ exit, remark });
    };
    const tooLong = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // ended in this moment
      }
      // One that hangs in the kernel takes no signal: nobody waits for it.
      end(BROKEN, `killed after ${limitMs / 1000} s (handler-timeout in twinbeat.ini)`);
    };
    if (limitMs > 0) limit = setTimeout(tooLong, limitMs);
    child.on('error', (e) => end(BROKEN, `can not be started: ${e.message}`));
    child.on('exit', (code, signal) => {
      if (code === null) end(BROKEN, `ended by ${signal}`);
      else end(code, null);
    });
  });
}
