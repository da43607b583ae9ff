/**
 * The control thread of drbdd: its start, what an operator asks, what a successor is told, the end. All I/O of volumes runs
 * in the engine thread (drbdd-engine.ts); nothing here can stall it.
 *
 *     control socket -> Drbdd -> DrbddDevices (role and block device, in order) -> EngineThread -> engine thread
 *                        ^ news: log lines, handlers to run (HandlerTable), new sizes <-'
 *
 * Requests that change something are done in the order of host/change-order.ts: one after the other for each resource, and what
 * a successor must know is saved after each.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, release } from 'node:os';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { assert } from '../base/assert.js';
import type { TwinbeatIni } from '../config/twinbeat-ini.js';
import { ChangeOrder } from '../host/change-order.js';
import type { ControlReply, ControlRequest, RunningGeneration } from '../host/control.js';
import type { EngineSettings } from '../host/drbdd-messages.js';
import { resumeSteps, type SavedState } from '../host/drbdd-resume.js';
import { EventFeed, type Listener } from '../host/event-feed.js';
import { angelDescriptors, DeviceManager } from './device-manager.js';
import { DrbddDevices } from './drbdd-devices.js';
import { type EngineNews, EngineThread } from './drbdd-engine-thread.js';
import { HandlerTable } from './drbdd-handlers.js';
import { ControlSocket, refuseSecond } from './drbdd-socket.js';
import { loadExposed, loadState, saveState } from './drbdd-state.js';
import { FlightKeeper } from './flight-files.js';
import { fuseMounts } from './fuse-mount.js';
import { lastKnownFile, saveLastKnown } from './last-known.js';
import { setIoFlusher } from './native-addon.js';
import { RunFile } from './run-file.js';
import { StateSaver } from './state-saver.js';
import { within } from './within.js';

/** Exit status that the angel takes as "start me again at once". */
export const RESTART_STATUS = 75;
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

/** A restart does not wait longer for what waits for a handler or for frozen I/O: the successor takes all that up again. */
const RESTART_PATIENCE_MS = 10_000;
/** Nor for answers to what was read, while nothing more is: nobody's I/O goes on meanwhile. The kernel sends it all again. */
const DRAIN_PATIENCE_MS = 3_000;
const ENDING: ControlReply = {
  ok: false,
  kind: 'failure',
  code: 0,
  text: 'drbdd is being restarted',
  info: [],
  next: ['ask again: its successor answers in a moment'],
};
/** A hundred resources: who adds more when /run is full is refused. */
const STATE_ROOM_BYTES = 100_000;

export class Drbdd {
  readonly #options: DrbddOptions;
  readonly #log: Logger;
  readonly #engine: EngineThread;
  readonly #socket: ControlSocket;
  readonly #run: string;
  readonly #stateFile: RunFile;
  readonly #statePath: string;
  readonly #handlers: HandlerTable;
  readonly #flight: FlightKeeper | null;
  #devices: DrbddDevices | null = null; // until it has started
  readonly #order = new ChangeOrder();
  readonly #feed = new EventFeed();
  readonly #saver = new StateSaver(() => this.#save());
  readonly #resourceOf = new Map<number, string>(); // by minor
  #ending = false;
  #resumed = false; // half of a state would be all that a successor knows
  #procTimer: ReturnType<typeof setInterval> | null = null;

  private constructor(options: DrbddOptions, engine: EngineThread, flight: FlightKeeper | null) {
    this.#flight = flight;
    this.#options = options;
    this.#log = options.log;
    this.#engine = engine;
    this.#handlers = new HandlerTable({
      engine,
      root: options.root,
      log: options.log,
      limitMs: options.ini.handlerTimeoutS * 1000,
      told: (what, exit) => this.#feed.helper(what, exit),
    });
    this.#run = `${options.root}/run/twinbeat`;
    this.#statePath = join(this.#run, 'drbdd.state');
    this.#stateFile = new RunFile(this.#statePath, STATE_ROOM_BYTES);
    this.#socket = new ControlSocket(join(this.#run, 'drbdd.sock'), {
      handle: (request) => this.handle(request),
      listen: (listener) => this.#listen(listener),
      read: (listener) => this.#feed.read(listener),
      gone: (listener) => this.#gone(listener),
    });
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
      procDetails: options.ini.procDetails,
      buildTag: `twinbeat ${options.version}`,
      flight: flight?.plan ?? null,
    };
    markIoFlusher(options.log); // before the thread is made: it inherits the mark
    const drbdd = new Drbdd(options, new EngineThread(settings), flight);
    await drbdd.#engineReady();
    drbdd.#devices = new DrbddDevices(drbdd.#engine, await drbdd.#openDevices(), options.log);
    await drbdd.#resume();
    drbdd.#resumed = true;
    await drbdd.#socket.listen();
    return drbdd;
  }

  // ---- start

  async #engineReady(): Promise<void> {
    const ready = await this.#engine.ready({
      news: (news) => this.#news(news),
      broken: (e) => {
        // The angel starts a successor.
        this.#log.fatal({ object: 'engine' }, e.stack ?? e.message);
        this.#options.ended(1);
      },
      exited: (code) => {
        if (this.#ending) return;
        this.#log.fatal({ object: 'engine' }, `the engine thread ended (${code})`);
        this.#options.ended(1);
      },
    });
    this.#log.info(`twinbeat ${this.#options.version}: I/O engine ${ready.engine}`);
    for (const remark of ready.remarks) this.#log.warn(remark);
    if (ready.recording) void this.#flight?.start();
  }

  #news(news: EngineNews): void {
    switch (news.type) {
      case 'log':
        this.#log[news.level]({ object: news.object }, news.text);
        return;
      case 'handler':
        this.#handlers.run(news);
        return;
      case 'size-changed':
        // Before its device is made (at a restart) there is nothing to tell.
        this.#devices?.resized(news.minor);
        // Where the meta-data are, a successor must know; and drbdmeta, when their disk grows once more.
        if (!this.#resumed) return;
        void this.#saver
          .save()
          .then(() => this.#noteSize(news.minor))
          .catch((e) => this.#notSaved(e));
        return;
      case 'fuse-ended':
        if (!this.#ending)
          this.#log.error(`FUSE of minor ${news.minor} ended (errno ${news.error})`);
        return;
      case 'status':
        this.#feed.status(news.resource, news.status);
        return;
      case 'progress':
        this.#feed.progress(news.progress);
        return;
      case 'to-be-saved':
        if (!this.#resumed) return;
        // What the peer told holds for a successor, too; and whose users it has.
        void this.#saver.save().catch((e) => this.#notSaved(e));
        return;
    }
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

  /** Null: volumes are exported by NBD. */
  async #openDevices(): Promise<DeviceManager | null> {
    const { env, root, ini } = this.#options;
    if (this.#usesFuse) {
      if (this.#kept.length === 0 && env['TWINBEAT_FUSE_FDS'] !== undefined) {
        this.#log.warn(
          `Linux ${release()} can not hand a device to a restarted engine (6.9 can): its users would see I/O errors`,
        );
      }
      return await DeviceManager.open({
        root: root === '' ? '/' : root,
        descriptors: this.#kept,
        incarnation: this.#incarnation,
        mounts: fuseMounts(),
      });
    }
    const listen = rootedListen(root, ini.exportListen);
    // Left by a predecessor that was killed: nobody else serves this node (refuseSecond).
    if (listen.startsWith('unix:')) rmSync(listen.slice(5), { force: true });
    const reply = await this.#engine.ask({ type: 'export', listen });
    if (!reply.ok) throw new Error(reply.text);
    this.#log.info(`volumes are exported by NBD at ${ini.exportListen}`);
    return null;
  }

  async #statusFile(): Promise<void> {
    if (await this.#devices?.serveStatusFile()) return;
    // Without FUSE: a plain file, renewed once a second.
    const file = join(this.#run, 'proc/drbd');
    mkdirSync(dirname(file), { recursive: true });
    const write = async (): Promise<void> => {
      const reply = await this.#engine.ask({ type: 'proc' });
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
    for (const r of saved.resources)
      for (const v of r.volumes) this.#resourceOf.set(v.minor, r.name);
    for (const step of resumeSteps(saved, loadExposed(this.#run))) {
      switch (step.type) {
        case 'request': {
          const { request } = step;
          const reply = await this.#engine.request(request);
          if (!reply.ok) this.#log.error(`${request.verb}: ${reply.text} ${reply.info.join('; ')}`);
          break;
        }
        case 'resume-primary': {
          const reply = await this.#engine.ask(step);
          if (!reply.ok) this.#log.error(`minor ${step.minor}: Primary again: ${reply.text}`);
          break;
        }
        case 'device':
          await this.#devices?.adopt(step);
          break;
      }
    }
    await this.#devices?.settle(saved.primaries);
    await this.#saver.save();
  }

  // ---- requests

  // ---- events

  async #listen(listener: Listener): Promise<void> {
    const status = await this.#engine.watch(true);
    if (status) this.#feed.add(listener, status);
  }

  #gone(listener: Listener): void {
    this.#feed.remove(listener);
    if (this.#feed.isEmpty) void this.#engine.watch(false);
  }

  /** One request of the control socket. */
  async handle(request: ControlRequest): Promise<ControlReply> {
    switch (request.verb) {
      case 'status':
      case 'running':
      case 'get-gi':
      case 'wait-connect':
      case 'wait-sync':
      case 'timeout-type':
        return this.#engine.request(request);
      case 'restart':
        return this.#restart();
      case 'shutdown':
        setImmediate(() => void this.shutdown());
        return { ok: true, value: null };
      default: {
        const reply = await this.#inOrder(request);
        await this.#saver.save().catch((e) => this.#notSaved(e));
        return reply;
      }
    }
  }

  /** When its turn among the changes of its resource has come. */
  #inOrder(request: ControlRequest): Promise<ControlReply> {
    const key = this.#keyOf(request);
    return new Promise((resolve, reject) => {
      this.#order.add({
        key,
        verb: request.verb,
        begin: (done) => {
          const change = this.#ending ? Promise.resolve(ENDING) : this.#change(key, request);
          void change.then(resolve, reject).finally(done);
        },
      });
    });
  }

  /** Its resource. What is not known yet, or is no request at all, is the engine's to refuse. */
  #keyOf(request: ControlRequest): string {
    if ('resource' in request) return String(request.resource);
    if ('minor' in request) return this.#resourceOf.get(request.minor) ?? `minor-${request.minor}`;
    return '';
  }

  async #change(resource: string, request: ControlRequest): Promise<ControlReply> {
    const devices = this.#devices;
    assert(devices, 'the socket listens when the start is over');
    switch (request.verb) {
      case 'set-handlers': {
        const { handlers, environment, lowerDisks } = request;
        this.#handlers.set(request.resource, { handlers, environment, lowerDisks });
        return { ok: true, value: null };
      }
      case 'new-minor': {
        const reply = await devices.newMinor(request);
        if (reply.ok) this.#resourceOf.set(request.minor, request.resource);
        return reply;
      }
      case 'del-minor': {
        const reply = await devices.delMinor(resource, request.minor);
        if (reply.ok) this.#resourceOf.delete(request.minor);
        return reply;
      }
      case 'rename-resource': {
        const reply = await devices.rename(request);
        if (reply.ok) this.#renamed(request.resource, request.name);
        return reply;
      }
      case 'primary':
        return devices.primary(resource, request);
      case 'secondary':
        return devices.secondary(resource, request);
      case 'down': {
        const reply = await devices.down(request.resource);
        if (!reply.ok) return reply;
        this.#handlers.delete(request.resource);
        for (const [minor, of] of this.#resourceOf) {
          if (of === request.resource) this.#resourceOf.delete(minor);
        }
        return reply;
      }
      default:
        return this.#engine.request(request);
    }
  }

  #renamed(old: string, name: string): void {
    this.#handlers.rename(old, name);
    for (const [minor, of] of this.#resourceOf) if (of === old) this.#resourceOf.set(minor, name);
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
    const resources = await this.#engine.running();
    saveState(this.#stateFile, {
      version: 1,
      resources,
      primaries: await this.#engine.primaries(),
      handlers: this.#handlers.saved,
    });
  }

  async #noteSize(minor: number): Promise<void> {
    const volumes = (await this.#engine.running()).flatMap((r) => r.volumes);
    const disk = volumes.find((v) => v.minor === minor)?.disk;
    const lowerSectors = disk?.lowerSectors ?? 0;
    if (disk?.metaIndex !== 'internal' || lowerSectors === 0) return;
    const reply = await this.#engine.request({ verb: 'get-gi', minor });
    if (!reply.ok) return;
    const { deviceUuid } = reply.value as RunningGeneration;
    const file = `${this.#options.root}${lastKnownFile(minor)}`;
    try {
      const uuid = BigInt(`0x${deviceUuid}`);
      saveLastKnown(file, { sizeBytes: lowerSectors * 512, path: disk.disk, uuid });
    } catch (e) {
      this.#log.warn(
        `${file}: ${text(e)}: after the disk of minor ${minor} has grown once more, drbdmeta needs it`,
      );
    }
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
    await this.#changesDone();
    try {
      await this.#saver.save();
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
    await within(DRAIN_PATIENCE_MS, this.#engine.ask({ type: 'drain' }));
    await this.#engine.ask({ type: 'stop' });
    await this.#flight?.end();
    setImmediate(() => this.#options.ended(RESTART_STATUS));
    return { ok: true, value: null };
  }

  /** Nothing is in the middle of a change; what has not begun is refused by now. */
  async #changesDone(): Promise<void> {
    await within(RESTART_PATIENCE_MS, new Promise<void>((done) => this.#order.whenIdle(done)));
  }

  /** SIGTERM: down everything that is not in use, then end. With devices in use it stays, and says who uses them. */
  async shutdown(): Promise<boolean> {
    if (this.#ending) return false;
    for (const r of await this.#engine.running()) {
      const reply = await this.handle({ verb: 'down', resource: r.name });
      if (!reply.ok) {
        this.#log.error({ object: r.name }, `can not stop: ${reply.text} ${reply.info.join('; ')}`);
        return false;
      }
    }
    this.#ending = true;
    if (this.#procTimer) clearInterval(this.#procTimer);
    await this.#devices?.shutdown();
    await this.#engine.ask({ type: 'stop' });
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
