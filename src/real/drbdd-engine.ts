/**
 * The engine thread of drbdd: one I/O engine, the replication engine, and the front ends that serve devices. It never
 * waits for anything but I/O completions and messages; files, sockets for operators and loop devices are the control
 * thread's (drbdd-server.ts).
 */
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { ProgressWatch } from '../drbd/old-events.js';
import { procText } from '../drbd/proc-text.js';
import type { BlockVolume } from '../host/block.js';
import { DEFAULT_POOL, type PoolCounts } from '../host/buffer-pool.js';
import type { ControlRequest } from '../host/control.js';
import { DrbdControl, type Reply } from '../host/drbd-control.js';
import { type DrbdHooks, DrbdLoop, type FrontPart } from '../host/drbd-loop.js';
import type { EngineSettings, FromEngine, ServeMessage, ToEngine } from '../host/drbdd-messages.js';
import { DEFAULT_FEED, FuseServer } from '../host/fuse-server.js';
import type { Endpoint } from '../host/io.js';
import { NbdServer } from '../host/nbd-server.js';
import { RecordedDrbd } from '../host/recording-hooks.js';
import { StatusFile } from '../host/status-file.js';
import { ExposedFiles } from './drbdd-state.js';
import { flightMemory } from './flight-files.js';
import { nodeDigests, nodeRandom, nodeTimers } from './node-ports.js';
import { openIo } from './open-io.js';

const settings = workerData as EngineSettings;
const port = parentPort;
if (!port) throw new Error('drbdd-engine runs as a worker of drbdd');

function post(message: FromEngine): void {
  port?.postMessage(message);
}

/** Buffers for about so much memory, in the proportions of the default. */
function poolCounts(mib: number): PoolCounts {
  const factor = Math.max(0.25, mib / 94);
  const scale = (n: number, least: number): number => Math.max(least, Math.round(n * factor));
  return {
    head: scale(DEFAULT_POOL.head, 256),
    small: scale(DEFAULT_POOL.small, 512),
    medium: scale(DEFAULT_POOL.medium, 64),
    large: scale(DEFAULT_POOL.large, 16),
  };
}

let watched = false;
const handlers = new Map<number, (exit: number) => void>();
let nextHandler = 1;

const pool = poolCounts(settings.poolMiB);
const opened = openIo({ engine: settings.engine, pool, streams: 256 });
const { io } = opened;
const remarks = [...opened.remarks];
let control: DrbdControl | null = null;
const exposed = new ExposedFiles(settings.runDirectory);
const hooks: DrbdHooks = {
  random: nodeRandom,
  digests: nodeDigests,
  timers: nodeTimers,
  log: (level, object, text) => post({ type: 'log', level, object, text }),
  handler: (event, resource, minor, done) => {
    const id = nextHandler++;
    handlers.set(id, done);
    post({ type: 'handler', id, event, resource, minor });
  },
  exposed: (minor, generations) => exposed.save(minor, generations),
  sizeChanged: (minor) => {
    const sizeSectors = loop.engine.volume(minor)?.sizeSectors ?? 0;
    post({ type: 'size-changed', minor, sizeSectors });
  },
  stateChanged: (resource) => {
    control?.stateChanged();
    tellStatus(resource);
  },
  toBeSaved: (resource) => post({ type: 'to-be-saved', resource }),
};

/** Whoever listens to events is told of every step, not only of where it led. */
function tellStatus(resource: string): void {
  if (watched) post({ type: 'status', resource, status: loop.engine.resourceStatus(resource) });
}

/** How often progress is looked at. */
const PROGRESS_MS = 2_000;
let progressTimer: ReturnType<typeof setInterval> | null = null;

function watch(on: boolean): void {
  watched = on;
  if (progressTimer) clearInterval(progressTimer);
  progressTimer = null;
  if (!on) return;
  const resyncs = new ProgressWatch();
  progressTimer = setInterval(() => {
    for (const progress of resyncs.look(loop.engine.status(settings.version))) {
      post({ type: 'progress', progress });
    }
  }, PROGRESS_MS);
}

/** A request may have made or removed objects, which is no change of a state. */
function tellObjects(before: readonly string[]): void {
  const names = new Set([...before, ...loop.engine.resources.map((r) => r.name)]);
  for (const name of names) tellStatus(name);
}

/** The flight recorder between the engine and everything else; null when there is none. */
function recorder(): RecordedDrbd | null {
  const plan = settings.flight;
  if (!plan) return null;
  try {
    const memory = flightMemory(plan);
    const { node, life } = plan;
    const start = {
      daemon: 'drbdd',
      version: settings.version,
      node,
      life,
      setup: { pool },
    } as const;
    return new RecordedDrbd(io, hooks, memory, start);
  } catch (e) {
    remarks.push(`flight recorder: off: ${e instanceof Error ? e.message : String(e)}`);
    return null;
  }
}

const recorded = recorder();
const loop = new DrbdLoop(recorded?.io ?? io, recorded?.hooks ?? hooks);
recorded?.join(loop);
control = new DrbdControl(loop, settings.version);

function addFront(part: FrontPart): void {
  if (recorded) recorded.addFront(part);
  else loop.addFront(part);
}

function removeFront(part: FrontPart): void {
  if (recorded) recorded.removeFront(part);
  else loop.removeFront(part);
}

/** A turn in which front ends begin or end something. */
function enter<T>(work: () => T): T {
  return recorded ? recorded.enter(loop, work) : loop.enter(work);
}

/** A volume as front ends see it. */
function frontVolume(minor: number): BlockVolume | null {
  const volume = loop.engine.volume(minor);
  return volume && recorded ? recorded.volume(volume) : volume;
}

const fuse = new Map<number, FuseServer>();
let status: StatusFile | null = null;
let nbd: NbdServer | null = null;

function render(): string {
  return procText(loop.engine.status(settings.version), {
    format: settings.procFormat,
    details: settings.procDetails,
    buildTag: settings.buildTag,
  });
}

/** Serve a descriptor; throws where there are no buffers for it. */
function serve(m: ServeMessage): void {
  if (m.minor < 0) {
    status = new StatusFile({
      io,
      descriptor: m.descriptor,
      successor: m.successor,
      render,
      ended: (error) => post({ type: 'fuse-ended', minor: -1, error }),
    });
    status.start();
    addFront(status);
    return;
  }
  const volume = frontVolume(m.minor);
  const old = fuse.get(m.minor);
  if (m.reused && old) {
    if (!old.setVolume(volume)) throw new Error(`the device of minor ${m.minor} is still in use`);
    return;
  }
  const server = new FuseServer({
    io,
    descriptor: m.descriptor,
    volume,
    successor: m.successor,
    openWriters: m.openWriters,
    ownerUid: 0,
    feed: DEFAULT_FEED,
    ended: (error) => {
      fuse.delete(m.minor);
      removeFront(server);
      post({ type: 'fuse-ended', minor: m.minor, error });
    },
  });
  if (m.openWriters > 0) volume?.open(true);
  server.start();
  fuse.set(m.minor, server);
  addFront(server);
}

function endpoint(text: string): Endpoint {
  if (text.startsWith('unix:')) return { family: 'unix', path: text.slice(5) };
  const cut = text.lastIndexOf(':');
  const host = text.slice(0, cut).replace(/^\[|\]$/g, '');
  return { family: host.includes(':') ? 'ipv6' : 'ipv4', host, port: Number(text.slice(cut + 1)) };
}

/** The export driver: every volume by the name of its resource, volume 0 without a number. */
function exportVolumes(listen: string): number {
  nbd ??= new NbdServer({
    io,
    exports: () => {
      const names = new Map<string, BlockVolume>();
      for (const r of loop.engine.resources) {
        for (const v of r.volumes) {
          const front = recorded ? recorded.volume(v) : v;
          names.set(v.number === 0 ? r.name : `${r.name}/${v.number}`, front);
        }
      }
      return names;
    },
    log: (text) => post({ type: 'log', level: 'info', object: 'export', text }),
  });
  addFront(nbd);
  return nbd.listen(endpoint(listen));
}

function drain(done: () => void): void {
  let left = fuse.size + 1;
  const one = (): void => {
    left--;
    if (left === 0) done();
  };
  for (const server of fuse.values()) server.drain(one);
  one();
}

function reply(id: number, value: unknown): void {
  post({ type: 'reply', id, reply: { ok: true, value } });
}

function refuse(id: number, text: string): void {
  post({
    type: 'reply',
    id,
    reply: { ok: false, kind: 'failure', code: 0, text, info: [], next: [] },
  });
}

function request(r: ControlRequest, done: Reply): void {
  if (!control) return;
  if (recorded) recorded.request(control, r, done);
  else control.handle(r, done);
}

function resumePrimary(minor: number, done: Reply): void {
  if (!control) return;
  if (recorded) recorded.resumePrimary(control, minor, done);
  else control.resumePrimary(minor, done);
}

function message(m: ToEngine): void {
  switch (m.type) {
    case 'request': {
      const before = watched ? loop.engine.resources.map((r) => r.name) : [];
      request(m.request, (answer) => {
        if (watched) tellObjects(before);
        // A minor that is gone leaves its file behind without a volume.
        if (answer.ok && (m.request.verb === 'down' || m.request.verb === 'del-minor')) {
          for (const [minor, server] of fuse) {
            if (!loop.engine.volume(minor)) server.setVolume(null);
          }
        }
        post({ type: 'reply', id: m.id, reply: answer });
      });
      return;
    }
    case 'serve':
      try {
        enter(() => serve(m));
        reply(m.id, null);
      } catch (e) {
        refuse(m.id, e instanceof Error ? e.message : String(e));
      }
      return;
    case 'export': {
      const result = enter(() => exportVolumes(m.listen));
      if (result < 0) refuse(m.id, `can not listen on ${m.listen} (errno ${-result})`);
      else reply(m.id, null);
      return;
    }
    case 'resume-primary':
      resumePrimary(m.minor, (answer) => post({ type: 'reply', id: m.id, reply: answer }));
      return;
    case 'proc':
      reply(m.id, render());
      return;
    case 'watch':
      watch(m.on);
      reply(m.id, loop.engine.status(settings.version));
      return;
    case 'handler-done': {
      const done = handlers.get(m.id);
      handlers.delete(m.id);
      done?.(m.exit);
      return;
    }
    case 'drain':
      enter(() => drain(() => reply(m.id, null)));
      return;
    case 'stop':
      watch(false);
      loop.stop();
      recorded?.recorder.stop('stopped');
      void io.destroy().then(() => reply(m.id, null));
      return;
  }
}

try {
  setPriority(0, -10); // best effort: I/O of others waits for this thread
} catch {
  // Without the right it runs as everybody does.
}
port.on('message', message);
post({ type: 'ready', engine: opened.engine, remarks, recording: recorded !== null });
