/**
 * The control thread of drbdd: the control socket, devices and links, handlers, the log, and what a successor needs. All
 * I/O of volumes runs in the engine thread (drbdd-engine.ts); nothing here can stall it.
 *
 * A promotion first changes the role, then gives the users a block device; a demotion first takes the device away (refused
 * while somebody has it open), then changes the role. One request that changes something is done at a time.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, release } from 'node:os';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { TwinbeatIni } from '../config/twinbeat-ini.js';
import { stateText } from '../drbd/return-codes.js';
import { Roles } from '../drbd/state.js';
import type { NodeStatus } from '../drbd/status.js';
import type {
  ControlFailure,
  ControlReply,
  ControlRequest,
  RunningResource,
} from '../host/control.js';
import type { EngineSettings, FromEngine, ToEngine } from '../host/drbdd-messages.js';
import { type ResourceHandlers, resumeSteps, type SavedState } from '../host/drbdd-resume.js';
import { type Attachment, angelDescriptors, DeviceManager } from './device-manager.js';
import { runHandler } from './drbdd-handler.js';
import { ControlSocket, refuseSecond } from './drbdd-socket.js';
import { loadExposed, loadState, saveState } from './drbdd-state.js';
import { FlightKeeper } from './flight-files.js';
import { fuseMounts } from './fuse-mount.js';
import { setIoFlusher } from './native-addon.js';
import { RunFile } from './run-file.js';

/** Exit status that the angel takes as "start me again at once". */
export const RESTART_STATUS = 75;
/** 512, since that is what a moved DRBD volume has. */
const LOOP = { blockBytes: 512, discard: true };

type DownRequest = { readonly verb: 'down' | 'del-resource'; readonly resource: string };

export interface DrbddOptions {
  readonly root: string; // TWINBEAT_ROOT, '' on a real node
  readonly version: string;
  readonly ini: TwinbeatIni['drbdd'];
  readonly flight: TwinbeatIni['flight'];
  readonly engine: 'auto' | 'native' | 'fallback';
  readonly log: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Called once at the end with the exit status. */
  readonly ended: (status: number) => void;
}

/** A message to the engine without its number, which `#ask` gives. */
type Ask = ToEngine extends infer M
  ? M extends { readonly id: number }
    ? Omit<M, 'id'>
    : never
  : never;

/** A hundred resources: who adds more when /run is full is refused. */
const STATE_ROOM_BYTES = 100_000;

export class Drbdd {
  readonly #options: DrbddOptions;
  readonly #log: Logger;
  readonly #worker: Worker;
  readonly #socket: ControlSocket;
  readonly #run: string;
  readonly #stateFile: RunFile;
  readonly #statePath: string;
  readonly #answers = new Map<number, (reply: ControlReply) => void>();
  readonly #handlers = new Map<string, ResourceHandlers>();
  readonly #flight: FlightKeeper | null;
  #devices: DeviceManager | null = null;
  #nextId = 1;
  #busy: Promise<unknown> = Promise.resolve();
  #ending = false;
  #procTimer: ReturnType<typeof setInterval> | null = null;

  private constructor(options: DrbddOptions, worker: Worker, flight: FlightKeeper | null) {
    this.#flight = flight;
    this.#options = options;
    this.#log = options.log;
    this.#worker = worker;
    this.#run = `${options.root}/run/twinbeat`;
    this.#statePath = join(this.#run, 'drbdd.state');
    this.#stateFile = new RunFile(this.#statePath, STATE_ROOM_BYTES);
    this.#socket = new ControlSocket(join(this.#run, 'drbdd.sock'), (request) =>
      this.handle(request),
    );
  }

  static async start(options: DrbddOptions): Promise<Drbdd> {
    const run = `${options.root}/run/twinbeat`;
    mkdirSync(run, { recursive: true, mode: 0o755 });
    await refuseSecond(join(run, 'drbdd.sock'));
    const flight = flightKeeper(options);
    const settings: EngineSettings = {
      version: options.version,
      poolMiB: options.ini.poolMiB,
      engine: options.engine,
      runDirectory: run,
      procFormat: options.ini.procFormat,
      buildTag: `twinbeat ${options.version}`,
      flight: flight?.plan ?? null,
    };
    markIoFlusher(options.log); // before the thread is made: it inherits the mark
    const worker = new Worker(new URL('./drbdd-engine.js', import.meta.url), {
      workerData: settings,
    });
    const drbdd = new Drbdd(options, worker, flight);
    await drbdd.#engineReady();
    await drbdd.#openDevices();
    await drbdd.#resume();
    await drbdd.#socket.listen();
    return drbdd;
  }

  // ---- start

  #engineReady(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#worker.on('error', (e) => {
        // A broken invariant: nothing of this process may write any more. The angel starts a successor.
        this.#log.fatal({ object: 'engine' }, e.stack ?? e.message);
        reject(e);
        this.#options.ended(1);
      });
      this.#worker.on('exit', (code) => {
        if (!this.#ending) {
          this.#log.fatal({ object: 'engine' }, `the engine thread ended (${code})`);
          this.#options.ended(1);
        }
      });
      this.#worker.on('message', (m: FromEngine) => {
        if (m.type === 'ready') {
          this.#log.info(`twinbeat ${this.#options.version}: I/O engine ${m.engine}`);
          for (const remark of m.remarks) this.#log.warn(remark);
          if (m.recording) void this.#flight?.start();
          resolve();
        } else this.#fromEngine(m);
      });
    });
  }

  get #usesFuse(): boolean {
    return this.#options.ini.deviceDriver === 'fuse';
  }

  /** The angel's descriptors, where the kernel can hand requests to a successor (Linux 6.9). */
  get #kept(): number[] {
    const descriptors = angelDescriptors(this.#options.env['TWINBEAT_FUSE_FDS']);
    const [major = 0, minor = 0] = release().split('.').map(Number);
    return major > 6 || (major === 6 && minor >= 9) ? descriptors : [];
  }

  get #incarnation(): number {
    return Number(this.#options.env['TWINBEAT_INCARNATION'] ?? '1');
  }

  async #openDevices(): Promise<void> {
    const { env, root, ini } = this.#options;
    if (this.#usesFuse) {
      if (this.#kept.length === 0 && env['TWINBEAT_FUSE_FDS'] !== undefined) {
        this.#log.warn(
          `Linux ${release()} can not hand a device to a restarted engine (6.9 can): its users would see I/O errors`,
        );
      }
      this.#devices = await DeviceManager.open({
        root: root === '' ? '/' : root,
        descriptors: this.#kept,
        incarnation: this.#incarnation,
        mounts: fuseMounts(),
      });
      return;
    }
    const listen = rootedListen(root, ini.exportListen);
    // Left by a predecessor that was killed: nobody else serves this node (refuseSecond).
    if (listen.startsWith('unix:')) rmSync(listen.slice(5), { force: true });
    const reply = await this.#ask({ type: 'export', listen });
    if (!reply.ok) throw new Error(reply.text);
    this.#log.info(`volumes are exported by NBD at ${ini.exportListen}`);
  }

  async #statusFile(): Promise<void> {
    if (this.#devices) {
      try {
        const a = await this.#devices.statusFile();
        const served = await this.#serve(a);
        if (served.ok) return;
        this.#log.warn(`status file: ${served.text}`);
      } catch (e) {
        this.#log.warn(`status file: ${text(e)}`);
      }
    }
    // Without FUSE: a plain file, renewed once a second.
    const file = join(this.#run, 'proc/drbd');
    mkdirSync(dirname(file), { recursive: true });
    const write = async (): Promise<void> => {
      const reply = await this.#ask({ type: 'proc' });
      if (reply.ok && typeof reply.value === 'string') writeFileSync(file, reply.value);
    };
    await write().catch((e) => this.#log.warn(`status file: ${text(e)}`));
    this.#procTimer = setInterval(() => void write().catch(() => {}), 1000);
  }

  /** After a restart under its angel: configure everything as it was, Primary first of all. */
  async #resume(): Promise<void> {
    // The export driver has no device that a file system could hang on, but its clients reconnect.
    const mayResume = this.#incarnation > 1 && (this.#kept.length > 0 || !this.#usesFuse);
    const saved = mayResume ? loadState(this.#statePath) : null;
    if (saved) await this.#resumeFrom(saved);
    else this.#stateFile.remove();
    await this.#statusFile();
  }

  async #resumeFrom(saved: SavedState): Promise<void> {
    this.#log.info('resuming what the predecessor served');
    for (const [name, handlers] of Object.entries(saved.handlers))
      this.#handlers.set(name, handlers);
    for (const step of resumeSteps(saved, loadExposed(this.#run))) {
      switch (step.type) {
        case 'request': {
          const { request } = step;
          const reply = await this.#request(request);
          if (!reply.ok) this.#log.error(`${request.verb}: ${reply.text} ${reply.info.join('; ')}`);
          break;
        }
        case 'resume-primary': {
          const reply = await this.#ask(step);
          if (!reply.ok) this.#log.error(`minor ${step.minor}: Primary again: ${reply.text}`);
          break;
        }
        case 'device':
          await this.#adopt(step);
          break;
      }
    }
    // The loop devices are looked at last: that asks the FUSE files, which are served by now.
    for (const minor of saved.primaries) {
      try {
        const loop = await this.#devices?.settle(minor);
        if (this.#devices && loop === null) {
          await this.#devices.activate(minor, LOOP);
        }
      } catch (e) {
        this.#log.error(`minor ${minor}: device: ${text(e)}`);
      }
    }
    await this.#save();
  }

  async #adopt(spec: {
    minor: number;
    device: string;
    resource: string;
    volume: number;
  }): Promise<void> {
    if (!this.#devices) return;
    const attachment =
      (await this.#devices.adopt(spec.minor)) ?? (await this.#devices.create(spec));
    const served = await this.#serve(attachment);
    if (!served.ok) this.#log.error(`minor ${spec.minor}: device: ${served.text}`);
  }

  // ---- the engine thread

  #send(message: ToEngine): void {
    this.#worker.postMessage(message);
  }

  #ask(message: Ask): Promise<ControlReply> {
    const id = this.#nextId++;
    return new Promise((resolve) => {
      this.#answers.set(id, resolve);
      this.#send({ ...message, id } as ToEngine);
    });
  }

  #request(request: ControlRequest): Promise<ControlReply> {
    return this.#ask({ type: 'request', request });
  }

  #serve(a: Attachment): Promise<ControlReply> {
    const { minor, descriptor, successor, reused, openWriters } = a;
    return this.#ask({ type: 'serve', minor, descriptor, successor, reused, openWriters });
  }

  #fromEngine(m: FromEngine): void {
    switch (m.type) {
      case 'reply': {
        const resolve = this.#answers.get(m.id);
        this.#answers.delete(m.id);
        resolve?.(m.reply);
        return;
      }
      case 'log':
        this.#log[m.level]({ object: m.object }, m.text);
        return;
      case 'handler':
        void this.#handler(m.id, m.event, m.resource, m.minor);
        return;
      case 'size-changed':
        // Before its device is made (at a restart) there is nothing to tell.
        void this.#devices?.resized(m.minor).catch((e) => {
          this.#log.debug(`minor ${m.minor}: new size: ${text(e)}`);
        });
        return;
      case 'fuse-ended':
        if (!this.#ending) this.#log.error(`FUSE of minor ${m.minor} ended (errno ${m.error})`);
        return;
      case 'state-changed':
      case 'ready':
        return;
    }
  }

  // ---- handlers

  async #handler(id: number, event: string, resource: string, minor: number | null): Promise<void> {
    const configured = this.#handlers.get(resource);
    const command = configured?.handlers[event];
    if (!command || !configured) {
      this.#send({ type: 'handler-done', id, exit: 0 });
      return;
    }
    const what = minor === null ? resource : `minor-${minor}`;
    this.#log.info({ object: resource }, `helper command: /sbin/drbdadm ${event} ${what}`);
    const exit = await runHandler(command, {
      HOME: '/',
      TERM: 'linux',
      PATH: `${process.env['PATH'] ?? ''}:/sbin:/usr/sbin:/bin:/usr/bin`,
      ...configured.environment,
      ...(this.#options.root === '' ? {} : { TWINBEAT_ROOT: this.#options.root }),
      DRBD_RESOURCE: resource,
      ...(minor === null ? await this.#minorsOf(resource) : { DRBD_MINOR: String(minor) }),
    });
    const hex = (exit << 8).toString(16);
    this.#log.info(
      { object: resource },
      `helper command: /sbin/drbdadm ${event} ${what} exit code ${exit} (0x${hex})`,
    );
    this.#send({ type: 'handler-done', id, exit });
  }

  async #minorsOf(resource: string): Promise<Record<string, string>> {
    const list = await this.#running();
    const found = list.find((r) => r.name === resource);
    return { DRBD_MINOR: (found?.volumes ?? []).map((v) => v.minor).join(' ') };
  }

  async #running(): Promise<readonly RunningResource[]> {
    const reply = await this.#request({ verb: 'running' });
    return reply.ok ? (reply.value as readonly RunningResource[]) : [];
  }

  async #status(): Promise<NodeStatus | null> {
    const reply = await this.#request({ verb: 'status' });
    return reply.ok ? (reply.value as NodeStatus) : null;
  }

  // ---- requests

  /** One request of the control socket. */
  async handle(request: ControlRequest): Promise<ControlReply> {
    switch (request.verb) {
      case 'status':
      case 'running':
      case 'get-gi':
      case 'wait-connect':
        return this.#request(request);
      case 'restart':
        return this.#restart();
      case 'shutdown':
        setImmediate(() => void this.shutdown());
        return { ok: true, value: null };
      default: {
        const done = this.#busy.then(() => this.#change(request));
        this.#busy = done.catch(() => {});
        const reply = await done;
        await this.#save().catch((e) => this.#notSaved(e));
        return reply;
      }
    }
  }

  async #change(request: ControlRequest): Promise<ControlReply> {
    switch (request.verb) {
      case 'set-handlers':
        this.#handlers.set(request.resource, {
          handlers: request.handlers,
          environment: request.environment,
        });
        return { ok: true, value: null };
      case 'new-minor':
        return this.#newMinor(request);
      case 'primary':
        return this.#primary(request);
      case 'secondary':
        return this.#secondary(request);
      case 'down':
        return this.#down(request as DownRequest);
      case 'del-minor': {
        const reply = await this.#request(request);
        if (reply.ok) await this.#devices?.remove(request.minor);
        return reply;
      }
      default:
        return this.#request(request);
    }
  }

  async #newMinor(request: Extract<ControlRequest, { verb: 'new-minor' }>): Promise<ControlReply> {
    const { minor, device, resource, volume } = request;
    const before = await this.#running();
    const known = before.some((r) => r.volumes.some((v) => v.minor === minor));
    const reply = await this.#request(request);
    if (!reply.ok || known || !this.#devices) return reply;
    try {
      const attachment = await this.#devices.create({ minor, device, resource, volume });
      const served = await this.#serve(attachment);
      if (served.ok) {
        if (!attachment.restartable) {
          this.#log.warn(
            `minor ${minor}: without the angel (drbdd --keepalive) the device ends with this process`,
          );
        }
        return reply;
      }
      throw new Error(served.text);
    } catch (e) {
      await this.#request({ verb: 'del-minor', minor });
      return fail(`the device can not be made: ${text(e)}`);
    }
  }

  async #primary(request: Extract<ControlRequest, { verb: 'primary' }>): Promise<ControlReply> {
    const { minor } = request;
    const reply = await this.#request(request);
    if (!reply.ok || !this.#devices) return reply;
    try {
      await this.#devices.activate(minor, LOOP);
      return reply;
    } catch (e) {
      await this.#request({ verb: 'secondary', minor });
      return fail(`promoted, but no block device could be made: ${text(e)}; Secondary again`);
    }
  }

  async #secondary(request: Extract<ControlRequest, { verb: 'secondary' }>): Promise<ControlReply> {
    const { minor } = request;
    const held = await this.#takeAway(minor);
    if (held) return held;
    const reply = await this.#request(request);
    if (!reply.ok) {
      await this.#devices?.activate(minor, LOOP).catch(() => {});
    }
    return reply;
  }

  /** Release the block device; a refusal when somebody has it open, or null. */
  async #takeAway(minor: number): Promise<ControlFailure | null> {
    if (!this.#devices) return null;
    try {
      const released = await this.#devices.deactivate(minor);
      if (released.ok) return null;
      return {
        ok: false,
        kind: 'state',
        code: -12,
        text: stateText(-12),
        info: released.evidence,
        next: ['end what uses the device (umount, stop the database), then try again'],
      };
    } catch (e) {
      // No such device: the engine says what is wrong with the minor.
      this.#log.debug(`minor ${minor}: ${text(e)}`);
      return null;
    }
  }

  async #down(request: DownRequest): Promise<ControlReply> {
    const found = (await this.#running()).find((r) => r.name === request.resource);
    const minors = (found?.volumes ?? []).map((v) => v.minor);
    const taken: number[] = [];
    const giveBack = async (): Promise<void> => {
      const primaries = await this.#primaries();
      for (const minor of taken) {
        if (!primaries.includes(minor)) continue;
        await this.#devices?.activate(minor, LOOP).catch(() => {});
      }
    };
    for (const minor of minors) {
      const held = await this.#takeAway(minor);
      if (held) {
        await giveBack();
        return held;
      }
      taken.push(minor);
    }
    const reply = await this.#request(request);
    if (!reply.ok) {
      await giveBack();
      return reply;
    }
    for (const minor of minors) await this.#devices?.remove(minor);
    this.#handlers.delete(request.resource);
    return reply;
  }

  async #primaries(): Promise<number[]> {
    const status = await this.#status();
    const volumes = (status?.resources ?? []).flatMap((r) => r.volumes);
    return volumes.filter((v) => v.state.role === Roles.Primary).map((v) => v.minor);
  }

  /** The change itself is done. */
  #notSaved(e: unknown): void {
    const next = `free space in ${this.#run}, then change anything (\`drbdadm adjust all\`)`;
    this.#log.error(
      `${text(e)}: a restart of drbdd would go back to what was before this request; ${next}`,
    );
  }

  /** For a successor. */
  async #save(): Promise<void> {
    const resources = await this.#running();
    saveState(this.#stateFile, {
      version: 1,
      resources,
      primaries: await this.#primaries(),
      handlers: Object.fromEntries(this.#handlers),
    });
  }

  // ---- the end

  /** Orderly hand-over: what was read is answered; the angel starts the successor, which gets the rest. */
  async #restart(): Promise<ControlReply> {
    if (this.#kept.length === 0) {
      return {
        ok: false,
        kind: 'failure',
        code: 0,
        text: 'no angel holds the devices: their users would see I/O errors',
        info: ['drbdd was started without --keepalive'],
        next: ['end the users, `drbdadm down all`, and start `drbdd --keepalive`'],
      };
    }
    this.#ending = true;
    await this.#busy;
    try {
      await this.#save();
    } catch (e) {
      this.#ending = false;
      return {
        ok: false,
        kind: 'failure',
        code: 0,
        text: 'the successor would not know what runs here',
        info: [text(e)],
        next: [`free space in ${this.#run}`, '`twinbeat restart drbdd`'],
      };
    }
    await this.#ask({ type: 'drain' });
    await this.#ask({ type: 'stop' });
    await this.#flight?.end();
    setImmediate(() => this.#options.ended(RESTART_STATUS));
    return { ok: true, value: null };
  }

  /** SIGTERM: down everything that is not in use, then end. With devices in use it stays, and says who uses them. */
  async shutdown(): Promise<boolean> {
    if (this.#ending) return false;
    for (const r of await this.#running()) {
      const reply = await this.handle({ verb: 'down', resource: r.name });
      if (!reply.ok) {
        this.#log.error({ object: r.name }, `can not stop: ${reply.text} ${reply.info.join('; ')}`);
        return false;
      }
    }
    this.#ending = true;
    if (this.#procTimer) clearInterval(this.#procTimer);
    await this.#devices?.shutdown();
    await this.#ask({ type: 'stop' });
    await this.#flight?.end();
    this.#socket.close();
    this.#stateFile.remove();
    this.#log.info('drbdd ends');
    this.#options.ended(0);
    return true;
  }
}

function flightKeeper(options: DrbddOptions): FlightKeeper | null {
  const { flight, root, env, log } = options;
  if (flight.enabled === 'no') return null;
  return FlightKeeper.prepare({
    root,
    daemon: 'drbdd',
    node: env['__DRBD_NODE__'] || hostname(),
    sizeMiB: flight.sizeMiB,
    lives: flight.lives,
    wallMs: Date.now(),
    pid: process.pid,
    warn: (what) => log.warn(what),
  });
}

/** Writeback must not wait for the device that this process serves (needs CAP_SYS_RESOURCE). */
function markIoFlusher(log: Logger): void {
  try {
    setIoFlusher();
  } catch (e) {
    log.info(`not marked as I/O flusher: ${text(e)}`);
  }
}

function rootedListen(root: string, listen: string): string {
  return listen.startsWith('unix:') ? `unix:${root}${listen.slice(5)}` : listen;
}

function text(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}

function fail(what: string): ControlFailure {
  return { ok: false, kind: 'failure', code: 0, text: what, info: [], next: [] };
}
