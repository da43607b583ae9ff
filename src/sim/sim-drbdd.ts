/**
 * One life of drbdd on a simulated node: the production engine, loop and control over the simulated port, and a model of
 * the control thread (changes in their order, the state for a successor, handlers).
 */
import type { DigestSource } from '../base/ports.js';
import type { Prng } from '../base/prng.js';
import type { Dialect } from '../drbd/connect.js';
import type { LogLevel } from '../drbd/ports.js';
import { Roles } from '../drbd/state.js';
import type { Volume } from '../drbd/volume.js';
import { ChangeOrder } from '../host/change-order.js';
import type { ControlReply, ControlRequest, RunningResource } from '../host/control.js';
import { DrbdControl } from '../host/drbd-control.js';
import { DrbdLoop } from '../host/drbd-loop.js';
import { type Exposed, resumeSteps, type SavedState } from '../host/drbdd-resume.js';
import type { NodeName } from './config.js';
import { randomSource } from './dice.js';
import type { NodeClock, ProcessClock } from './node-clock.js';
import type { SimDevice } from './sim-device.js';
import type { SimDisk } from './sim-disk.js';
import { SimIo } from './sim-io.js';
import type { SimNet } from './sim-net.js';

const POOL = { head: 96, small: 256, medium: 48, large: 20 };
const STREAMS = 8;
export const VERSION = 'sim';
/** Of the volume that every cluster has. */
const FIRST_MINOR = 0;

export interface DrbddHost {
  readonly name: NodeName;
  readonly clock: NodeClock;
  readonly net: SimNet;
  readonly disks: ReadonlyMap<string, SimDisk>;
  device(minor: number): SimDevice | null;
  /** All that the cluster may have. */
  readonly devices: readonly SimDevice[];
  readonly random: Prng;
  readonly digests: DigestSource;
  readonly dialect: Dialect;
  log(level: LogLevel, object: string, text: string): void;
  /** How many resources the cluster has, and which of them has a minor. */
  readonly resources: number;
  resourceOf(minor: number): string;
  /** Runs a handler for a resource; `done` gets its exit status. */
  handler(event: string, resource: string, done: (exit: number) => void): void;
  /** After each change of state. */
  changed(): void;
  exposed(minor: number, generations: readonly bigint[]): void;
  metaStoredLate(lowerDisk: string): void;
  /** What a successor will find. Kept in /run: gone with the power. */
  save(state: SavedState): void;
  /** The lower disk has meta-data at the end of so many bytes. */
  lowerSize(minor: number, bytes: number): void;
}

/** What a process says that died before it could answer. */
const NO_ANSWER: ControlReply = {
  ok: false,
  kind: 'failure',
  code: 0,
  text: 'drbdd does not answer',
  info: [],
  next: [],
};

interface Waiting {
  readonly request: ControlRequest;
  readonly reply: (reply: ControlReply) => void;
}

export class SimDrbdd {
  readonly io: SimIo;
  readonly loop: DrbdLoop;
  readonly control: DrbdControl;
  readonly process: ProcessClock;
  readonly #host: DrbddHost;
  readonly #order = new ChangeOrder();
  readonly #open = new Set<Waiting>(); // not answered
  #resuming = false;
  dead = false;

  constructor(host: DrbddHost) {
    this.#host = host;
    this.process = host.clock.process();
    this.io = new SimIo({
      name: host.name,
      clock: this.process,
      net: host.net,
      disks: host.disks,
      pool: POOL,
      streams: STREAMS * host.resources,
      metaStoredLate: (path) => host.metaStoredLate(path),
    });
    this.loop = new DrbdLoop(this.io, {
      random: randomSource(host.random),
      digests: host.digests,
      dialect: () => host.dialect,
      timers: this.process,
      log: (level, object, text) => host.log(level, object, text),
      handler: (event, resource, _minor, done) => {
        host.handler(event, resource, (exit) => {
          if (!this.dead) done(exit);
        });
      },
      exposed: (minor, generations) => host.exposed(minor, generations),
      sizeChanged: (minor) => this.process.after(0, () => this.#noteSize(minor)),
      stateChanged: () => {
        this.control.stateChanged();
        host.changed();
      },
      toBeSaved: () => {
        if (!this.#resuming) this.process.after(0, () => this.#save());
      },
    });
    this.control = new DrbdControl(this.loop, VERSION);
  }

  /** Where drbdmeta looks for internal meta-data, when the disk grows once more. */
  #noteSize(minor: number): void {
    const volume = this.volumeOf(minor);
    const sectors = volume && volume.dataDisk >= 0 ? volume.lowerSectors : 0; // as DrbddServer
    if (sectors > 0 && !this.#resuming) this.#host.lowerSize(minor, sectors * 512);
  }

  get volume(): Volume | null {
    return this.volumeOf(FIRST_MINOR);
  }

  volumeOf(minor: number): Volume | null {
    return this.loop.engine.volume(minor);
  }

  /** One request of the control socket: nobody listens there before all is as it was. */
  request(request: ControlRequest, reply: (reply: ControlReply) => void): void {
    if (this.dead || this.#resuming) this.process.after(0, () => reply(NO_ANSWER));
    else this.#request(request, reply);
  }

  #request(request: ControlRequest, reply: (reply: ControlReply) => void): void {
    const waiting: Waiting = { request, reply };
    this.#open.add(waiting);
    // A machine that stands still reads its socket when it goes on.
    if (this.#host.clock.paused) this.process.after(0, () => this.#begin(waiting));
    else this.#begin(waiting);
  }

  #begin(waiting: Waiting): void {
    const { request } = waiting;
    switch (request.verb) {
      case 'status':
      case 'running':
      case 'get-gi':
      case 'wait-connect':
        this.control.handle(request, (answer) => this.#answer(waiting, answer));
        return;
      default:
        this.#order.add({
          key: this.#keyOf(request),
          verb: request.verb,
          begin: (done) => this.#change(waiting, done),
        });
    }
  }

  /** Its resource. */
  #keyOf(request: ControlRequest): string {
    if ('resource' in request) return request.resource ?? '';
    return 'minor' in request ? this.#host.resourceOf(request.minor) : '';
  }

  /** Go on where the predecessor died. */
  resume(saved: SavedState, exposed: Exposed): void {
    const steps = resumeSteps(saved, exposed);
    this.#resuming = true; // its users are answered when their volume is there again
    const next = (): void => {
      const step = steps.shift();
      if (this.dead) return;
      if (!step) {
        this.#resuming = false;
        this.#save();
        return;
      }
      const done = (answer: ControlReply): void => {
        if (!answer.ok)
          this.#host.log('error', 'drbdd', `resume: ${answer.text} ${answer.info.join('; ')}`);
        next();
      };
      if (step.type === 'request') {
        this.#request(step.request, done);
      } else if (step.type === 'resume-primary') this.control.resumePrimary(step.minor, done);
      else {
        this.#serve(step.minor);
        next();
      }
    };
    next();
  }

  /**
   * The process dies. `power`: the machine with it. With `successor` the users of the device wait, otherwise they get
   * errors.
   */
  kill(power: boolean, successor: boolean): void {
    if (this.dead) return;
    this.dead = true;
    this.loop.stop();
    this.io.crash(power);
    this.process.end();
    for (const device of this.#host.devices) {
      if (power) device.powerOff();
      else device.unserve(successor);
    }
    const open = [...this.#open];
    this.#open.clear();
    if (!power) for (const w of open) this.#host.clock.after(0, () => w.reply(NO_ANSWER));
  }

  #change(waiting: Waiting, done: () => void): void {
    if (this.dead) return;
    const { request } = waiting;
    this.control.handle(request, (answer) => {
      if (answer.ok && request.verb === 'new-minor' && !this.#resuming) this.#serve(request.minor);
      if (!this.#resuming) this.#save(); // half of a state would be all that a successor knows
      this.#answer(waiting, answer);
      done();
    });
  }

  #answer(waiting: Waiting, answer: ControlReply): void {
    if (this.dead || !this.#open.delete(waiting)) return;
    this.process.after(0, () => waiting.reply(answer)); // over a socket, not inside the engine's turn
  }

  #serve(minor: number): void {
    const volume = this.volumeOf(minor);
    const device = this.#host.device(minor);
    if (volume) device?.serve(this.io, volume, (work) => this.loop.enter(work));
  }

  #save(): void {
    this.control.handle({ verb: 'running' }, (answer) => {
      if (!answer.ok) return;
      const resources = answer.value as readonly RunningResource[];
      const minors = resources.flatMap((r) => r.volumes.map((v) => v.minor));
      this.#host.save({
        version: 1,
        resources,
        primaries: minors.filter((m) => this.volumeOf(m)?.state.role === Roles.Primary),
        handlers: {},
      });
    });
  }
}
