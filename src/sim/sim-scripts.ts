/**
 * The resource scripts of a simulated node: what resource.d/drbddisk, Filesystem, IPaddr and a service's script do, with
 * their tries, waits, words and exit statuses, on a machine whose devices and service are ports.
 *
 *     drbddisk::R            drbdadm primary (6 tries, 1 s apart) / secondary (3 tries) / role
 *     Filesystem::DEV::DIR   opens the device for writing / closes it; what uses it is ended first
 *     IPaddr::ADDRESS        refuses an address for which somebody else answers
 *     service                starts only on its mounted data; is never killed by its own script
 *     ocf::sim:service, systemd::service   the same, which says how it is in the words of that kind
 *
 * `monitor` finds what `status` finds, by its exit status. Faults are set by script and action: slow, failing (before or after it has done its work), hanging, lying in `status`.
 * Source: resource.d/.
 */
import type { Prng } from '../base/prng.js';
import type { HaResource, HaResourceKind } from '../config/haresources.js';
import type { Action, ScriptOutcome } from '../resource-manager/group-operation.js';
import type { NodeClock } from './node-clock.js';
import { ScriptProcess } from './sim-script-process.js';

/** The machine under the scripts. Answers may come inside the call. None comes after a power cut. */
export interface ScriptPorts {
  /** drbdadm's exit status and what it prints. */
  drbdadm(
    verb: 'primary' | 'secondary' | 'role',
    resource: string,
    done: (exit: number, text: string) => void,
  ): void;
  /** Mounting opens the device for writing: 0, or why not (errno). */
  mount(device: string, done: (errno: number) => void): void;
  umount(device: string, done: (errno: number) => void): void;
  /** `up`: it answers; it can be told to stop before that. */
  startService(name: string, done: (up: boolean) => void): void;
  /** SIGTERM: `done` when it has ended. It may take for ever, when its I/O does. */
  stopService(name: string, done: () => void): void;
  /** SIGKILL, the same. */
  killService(name: string, done: () => void): void;
  /** The node answers for the address from now on (and says so to everybody), or no longer. */
  address(address: string, here: boolean): void;
  /** Somebody else answers for it on the network. */
  isAddressTaken(address: string): boolean;
}

export interface ScriptFault {
  readonly slowMs?: number;
  /** It ends with this status ... */
  readonly exit?: number;
  /** ... having done its work, or not (the default). */
  readonly works?: boolean;
  /** It does not end until it is killed; nothing is done. */
  readonly hangs?: boolean;
  /** What `status` or `monitor` prints instead of the truth. */
  readonly says?: string;
  /** How many runs it is for; without it, all until it is cleared. */
  readonly times?: number;
}

export interface ScriptTrace {
  readonly text: string; // the resource
  readonly action: Action;
  readonly pid: number;
  readonly event: 'begins' | 'ends';
  readonly outcome: ScriptOutcome | null; // of one that ends
}

export interface SimScriptsOptions {
  /** How long any run takes besides its work, random in [min, max). */
  readonly delayMs: readonly [number, number];
  /** Scripts of services, and the directory whose file system holds their data (null: they need none). */
  readonly services: readonly string[];
  readonly serviceDir: string | null;
  /** FORCE_UNMOUNT of Filesystem. */
  readonly forceUnmount: boolean;
}

export const DEFAULT_SIM_SCRIPTS: SimScriptsOptions = {
  delayMs: [5, 40],
  services: ['service'],
  serviceDir: '/data',
  forceUnmount: true,
};

/** One run of a service: a later one of its name is another. */
export interface ServiceRun {
  readonly state: 'starting' | 'running' | 'stopping';
}

const PRIMARY_TRIES = 6;
const SECONDARY_TRIES = 3;
const TRY_MS = 1000;
const UNMOUNT_POLL_MS = 100;
const TERM_WAIT_MS = 3000;
const KILL_WAIT_MS = 10_000;
const SERVICE_POLL_MS = 50;
const START_WAIT_MS = 900_000;
const STOP_WAIT_MS = 120_000;
const DUPLICATE_WAIT_MS = 250;

export class SimScripts {
  /** Sees every run begin and end. */
  trace: ((trace: ScriptTrace) => void) | null = null;
  readonly #clock: NodeClock;
  readonly #random: Prng;
  readonly #ports: ScriptPorts;
  readonly #options: SimScriptsOptions;
  readonly #faults = new Map<string, { readonly fault: ScriptFault; left: number }>();
  readonly #runs = new Map<number, ScriptProcess>(); // by pid
  readonly #mounts = new Map<string, string>(); // directory -> device
  readonly #services = new Map<string, { state: ServiceRun['state'] }>();
  readonly #addresses = new Set<string>();
  #boot = 1;
  #lastPid = 1000;

  constructor(
    clock: NodeClock,
    random: Prng,
    ports: ScriptPorts,
    options: SimScriptsOptions = DEFAULT_SIM_SCRIPTS,
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#ports = ports;
    this.#options = options;
  }

  get mounts(): ReadonlyMap<string, string> {
    return this.#mounts;
  }
  get services(): ReadonlyMap<string, ServiceRun> {
    return this.#services;
  }
  get addresses(): ReadonlySet<string> {
    return this.#addresses;
  }
  /** The runs that have not ended. */
  get runs(): Iterable<ScriptProcess> {
    return this.#runs.values();
  }

  /** From now on; null clears it. `script`: 'Filesystem', say. */
  fault(script: string, action: Action | 'monitor', fault: ScriptFault | null): void {
    const key = `${script} ${action}`;
    if (fault) this.#faults.set(key, { fault, left: fault.times ?? Number.POSITIVE_INFINITY });
    else this.#faults.delete(key);
  }

  /** Runs a script; null when there is none of that name. `ended` never comes inside this call. */
  start(
    resource: HaResource,
    action: Action,
    ended: (outcome: ScriptOutcome) => void,
  ): ScriptProcess | null {
    const { text } = resource;
    const process = this.#start(resource, action, action, (outcome) => {
      this.trace?.({ text, action, pid: process?.pid ?? 0, event: 'ends', outcome });
      ended(outcome);
    });
    if (process) this.trace?.({ text, action, pid: process.pid, event: 'begins', outcome: null });
    return process;
  }

  /** The same for `monitor`. It changes nothing: no trace has it. */
  check(resource: HaResource, ended: (outcome: ScriptOutcome) => void): ScriptProcess | null {
    return this.#start(resource, 'status', 'monitor', ended);
  }

  #start(
    resource: HaResource,
    action: Action,
    called: Action | 'monitor',
    ended: (outcome: ScriptOutcome) => void,
  ): ScriptProcess | null {
    const name = nameOf(resource);
    const work = this.#workOf(resource, name);
    if (!work) return null;
    const { text } = resource;
    const pid = ++this.#lastPid;
    const process = new ScriptProcess(pid, text, action, this.#clock.process(), (outcome) => {
      this.#runs.delete(pid);
      ended(outcome);
    });
    this.#runs.set(pid, process);
    const fault = this.#takeFault(`${name} ${called}`);
    const [min, max] = this.#options.delayMs;
    const delayMs = min + (this.#random.u32() / 0x100000000) * (max - min);
    process.sleep(delayMs + (fault.slowMs ?? 0), () => {
      if (fault.hangs) return;
      if (action === 'status' && fault.says !== undefined && resource.kind !== 'heartbeat') {
        process.exit(
          sayState(
            process,
            resource.kind,
            /stopped|not running/.test(fault.says) ? null : 'running',
          ),
        );
      } else if (action === 'status' && fault.says !== undefined) {
        process.say(fault.says);
        process.exit(fault.exit ?? (/stopped|not running/.test(fault.says) ? 3 : 0));
      } else if (fault.exit === undefined) {
        work(process, resource.args, (status) => process.exit(status));
      } else {
        const { exit } = fault;
        if (fault.works) work(process, resource.args, () => process.exit(exit));
        else process.exit(exit);
      }
    });
    return process;
  }

  /** Whether that process still runs, as /proc tells. */
  isRunning(pid: number, start: string): boolean {
    return start === this.startOf(pid) && this.#runs.has(pid);
  }

  /** As kill(2) on its process group. */
  kill(pid: number, start: string, signal: string): void {
    if (start === this.startOf(pid)) this.#runs.get(pid)?.kill(signal);
  }

  /** When a process began, in the kernel's words; differs from boot to boot. */
  startOf(pid: number): string {
    return `${this.#boot}.${pid}`;
  }

  /** The service ended by itself (it crashed, or its I/O failed). */
  serviceEnded(name: string): void {
    this.#services.delete(name);
  }

  /** Nothing runs, nothing is mounted, no address is up. */
  powerCut(): void {
    this.#boot++;
    for (const run of this.#runs.values()) run.vanish();
    this.#runs.clear();
    this.#mounts.clear();
    this.#services.clear();
    this.#addresses.clear();
  }

  #takeFault(key: string): ScriptFault {
    const entry = this.#faults.get(key);
    if (!entry) return {};
    if (--entry.left <= 0) this.#faults.delete(key);
    return entry.fault;
  }

  #workOf({ kind }: HaResource, script: string): Work | null {
    const isService = this.#options.services.includes(script);
    if (kind !== 'heartbeat' && !isService) return null;
    if (script === 'drbddisk') return this.#drbddisk;
    if (script === 'Filesystem') return this.#filesystem;
    if (script === 'IPaddr') return this.#ipaddr;
    if (isService) return (process, _args, exit) => this.#service(process, kind, script, exit);
    return null;
  }

  /** Answers of the machine of before a power cut do not count. */
  #ofThisBoot<T extends readonly unknown[]>(done: (...result: T) => void): (...result: T) => void {
    const boot = this.#boot;
    return (...result) => {
      if (boot === this.#boot) done(...result);
    };
  }

  // ---- drbddisk

  readonly #drbddisk: Work = (process, [resource = 'all'], exit) => {
    if (process.action === 'start') this.#try(process, 'primary', resource, PRIMARY_TRIES, exit);
    else if (process.action === 'stop') {
      this.#try(process, 'secondary', resource, SECONDARY_TRIES, exit);
    } else if (resource === 'all') {
      process.say('A resource name is required for status inquiries.');
      exit(10);
    } else {
      this.#drbdadm(process, 'role', resource, (status, text) => {
        const role = status === 0 ? (text.trim().split('/')[0] ?? '') : '';
        const [says, code] = DRBDDISK_STATUS[role] ?? [
          `cannot determine status, may be running (${role})`,
          4,
        ];
        process.say(says);
        exit(code);
      });
    }
  };

  #drbdadm(
    process: ScriptProcess,
    verb: 'primary' | 'secondary' | 'role',
    resource: string,
    next: (exit: number, text: string) => void,
  ): void {
    process.wait<[number, string]>(
      (done) => this.#ports.drbdadm(verb, resource, this.#ofThisBoot(done)),
      next,
    );
  }

  #try(
    process: ScriptProcess,
    verb: 'primary' | 'secondary',
    resource: string,
    left: number,
    exit: (status: number) => void,
  ): void {
    this.#drbdadm(process, verb, resource, (status, text) => {
      if (text !== '') process.say(text.trimEnd());
      if (status === 0) exit(0);
      else if (left <= 1) exit(1);
      else process.sleep(TRY_MS, () => this.#try(process, verb, resource, left - 1, exit));
    });
  }

  // ---- Filesystem

  readonly #filesystem: Work = (process, [device = '', dir = ''], exit) => {
    const mounted = this.#mounts.get(dir);
    if (process.action === 'status') {
      process.say(mounted === device ? 'running' : 'stopped');
      exit(mounted === device ? 0 : 3);
    } else if (process.action === 'stop') {
      if (mounted === undefined) exit(0);
      else if (mounted !== device) exit(1);
      else this.#unmount(process, dir, process.nowMs, exit);
    } else if (mounted !== undefined) {
      process.say(`Filesystem: ${mounted} is already mounted on ${dir}`);
      exit(mounted === device ? 0 : 1);
    } else {
      process.waitInKernel<[number]>(
        (done) =>
          this.#ports.mount(
            device,
            this.#ofThisBoot((errno) => {
              if (errno === 0) this.#mounts.set(dir, device);
              done(errno);
            }),
          ),
        (errno) => {
          if (errno !== 0) process.say(`Filesystem: cannot mount ${device} on ${dir} (${errno})`);
          exit(errno === 0 ? 0 : 1);
        },
      );
    }
  };

  /** What of this machine works in the directory. */
  #usersOf(dir: string): string[] {
    return dir === this.#options.serviceDir ? [...this.#services.keys()] : [];
  }

  #unmount(
    process: ScriptProcess,
    dir: string,
    sinceMs: number,
    exit: (status: number) => void,
  ): void {
    const users = this.#usersOf(dir);
    const waitedMs = process.nowMs - sinceMs;
    const again = () =>
      process.sleep(UNMOUNT_POLL_MS, () => this.#unmount(process, dir, sinceMs, exit));
    if (users.length > 0) {
      if (waitedMs === 0) process.say(`Filesystem: ${dir} is busy: ${users.join(' ')}`);
      if (!this.#options.forceUnmount || waitedMs >= TERM_WAIT_MS + KILL_WAIT_MS) {
        process.say(`Filesystem: cannot unmount ${dir}`);
        exit(1);
        return;
      }
      for (const name of users) {
        if (waitedMs >= TERM_WAIT_MS) this.#kill(name);
        else this.#terminate(name);
      }
      again();
      return;
    }
    const device = this.#mounts.get(dir);
    if (device === undefined) {
      exit(0);
      return;
    }
    process.waitInKernel<[number]>(
      (done) =>
        this.#ports.umount(
          device,
          this.#ofThisBoot((errno) => {
            if (errno === 0) this.#mounts.delete(dir);
            done(errno);
          }),
        ),
      (errno) => {
        if (errno === 0) exit(0);
        else if (waitedMs >= TERM_WAIT_MS + KILL_WAIT_MS) exit(1);
        else again();
      },
    );
  }

  // ---- IPaddr

  readonly #ipaddr: Work = (process, [given = ''], exit) => {
    const address = given.split('/')[0] ?? '';
    const isHere = this.#addresses.has(address);
    if (process.action === 'status') {
      process.say(isHere ? 'running' : 'stopped');
      exit(isHere ? 0 : 3);
    } else if (process.action === 'stop') {
      if (this.#addresses.delete(address)) this.#ports.address(address, false);
      exit(0);
    } else if (isHere) {
      exit(0);
    } else {
      const isTaken = this.#ports.isAddressTaken(address);
      process.sleep(isTaken ? 1 : DUPLICATE_WAIT_MS, () => {
        if (isTaken) {
          process.say(`IPaddr: ${address} is in use`);
          exit(1);
          return;
        }
        this.#addresses.add(address);
        this.#ports.address(address, true);
        exit(0);
      });
    }
  };

  // ---- a service

  #service(
    process: ScriptProcess,
    kind: HaResourceKind,
    name: string,
    exit: (status: number) => void,
  ): void {
    const state = this.#services.get(name)?.state;
    if (process.action === 'status') exit(sayState(process, kind, state ?? null));
    else if (process.action === 'stop') {
      this.#terminate(name);
      this.#untilStopped(process, name, process.nowMs + STOP_WAIT_MS, exit);
    } else {
      if (state === undefined) {
        const { serviceDir } = this.#options;
        if (serviceDir !== null && !this.#mounts.has(serviceDir)) {
          process.say(`${name}: ${serviceDir} holds no data (is it mounted?)`);
          exit(1);
          return;
        }
        this.#launch(name);
      }
      this.#untilUp(process, name, process.nowMs + START_WAIT_MS, exit);
    }
  }

  #launch(name: string): void {
    const run: { state: ServiceRun['state'] } = { state: 'starting' };
    this.#services.set(name, run);
    const done = (up: boolean): void => {
      if (!up) this.#gone(name, run);
      else if (run.state === 'starting') run.state = 'running';
    };
    this.#ports.startService(name, this.#ofThisBoot(done));
  }

  #terminate(name: string): void {
    const run = this.#services.get(name);
    if (!run || run.state === 'stopping') return;
    run.state = 'stopping';
    const done = () => this.#gone(name, run);
    this.#ports.stopService(name, this.#ofThisBoot(done));
  }

  #kill(name: string): void {
    const run = this.#services.get(name);
    if (!run) return;
    const done = () => this.#gone(name, run);
    this.#ports.killService(name, this.#ofThisBoot(done));
  }

  #gone(name: string, run: ServiceRun): void {
    if (this.#services.get(name) === run) this.#services.delete(name);
  }

  #untilUp(
    process: ScriptProcess,
    name: string,
    limitMs: number,
    exit: (status: number) => void,
  ): void {
    const state = this.#services.get(name)?.state;
    if (state === 'running') exit(0);
    else if (state === undefined) {
      process.say(`${name}: the server ended`);
      exit(1);
    } else if (process.nowMs >= limitMs) {
      // Half started is worse than not started: the caller gives the group back after a failure.
      this.#terminate(name);
      this.#untilStopped(process, name, process.nowMs + STOP_WAIT_MS, () => exit(1));
    } else {
      process.sleep(SERVICE_POLL_MS, () => this.#untilUp(process, name, limitMs, exit));
    }
  }

  #untilStopped(
    process: ScriptProcess,
    name: string,
    limitMs: number,
    exit: (status: number) => void,
  ): void {
    if (!this.#services.has(name)) exit(0);
    else if (process.nowMs >= limitMs) {
      process.say(`${name}: the server still runs`);
      exit(1);
    } else {
      process.sleep(SERVICE_POLL_MS, () => this.#untilStopped(process, name, limitMs, exit));
    }
  }
}

/** What a script of resource.d is called, an agent without its provider, a unit. */
function nameOf({ kind, script }: HaResource): string {
  return kind === 'ocf' ? script.slice(script.indexOf(':') + 1) : script;
}

/** Says what `status` says of a service; null: there is none. The exit status. */
function sayState(
  process: ScriptProcess,
  kind: HaResourceKind,
  state: ServiceRun['state'] | null,
): number {
  if (kind === 'ocf') return state === null ? 7 : state === 'running' ? 0 : 1;
  if (kind === 'systemd') {
    process.say(`ActiveState=${state === null ? 'inactive' : UNIT_STATES[state]}`);
    return 0;
  }
  if (state === null) process.say('stopped');
  else process.say(state === 'running' ? 'running' : 'running, but does not answer');
  return state === null ? 3 : state === 'running' ? 0 : 1;
}

const UNIT_STATES = {
  starting: 'activating',
  running: 'active',
  stopping: 'deactivating',
} as const;

type Work = (
  process: ScriptProcess,
  args: readonly string[],
  exit: (status: number) => void,
) => void;

const DRBDDISK_STATUS: Readonly<Record<string, readonly [string, number]>> = {
  Primary: ['running (Primary)', 0],
  Secondary: ['stopped (Secondary)', 3],
  Unconfigured: ['stopped (Unconfigured)', 3],
};
