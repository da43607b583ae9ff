/**
 * The devices of this node as their users see them: which /dev/fuse descriptor serves which minor, which loop device is
 * bound to it, where the links point, and what of this outlives the daemon.
 *
 *     create                 activate                       deactivate             remove
 *     mount, link -> file    bind loop, link -> /dev/loopN   release loop, link -> file   no link, file parked
 *     (Secondary)            (Primary)                      (Secondary)             (mount kept for the next create)
 *
 * Runs on the control thread, never on the engine thread; what has to wait for our own FUSE server runs in
 * DeviceWorker. Jobs of one device are made one after the other by the caller (drbdd's verbs are).
 *
 * The angel holds the descriptors, so their number is fixed when it starts: a removed minor keeps its mount
 * ("parked") and a new minor of that number gets it again. When the angel's descriptors are used up, or there is no
 * angel, the device still works, but its descriptor dies with this process (`restartable` false).
 *
 * The saved state (`devices.json`) is trusted only in a later incarnation under the same angel: the first one finds
 * no descriptor of an older life, so it clears away what is left and begins anew.
 */
import { execFile } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { assert } from '../base/assert.js';
import { DeviceLinks } from './device-links.js';
import { DeviceWorker } from './device-worker.js';
import { type FuseMounts, fuseMountsBelow } from './fuse-mount.js';
import type { LoopOptions } from './loop-device.js';
import { describeHolder, type Holder } from './openers.js';
import { RunFile, readRunFile } from './run-file.js';

export const RUN_DIRECTORY = 'run/twinbeat';
/** udev probes a loop device for some milliseconds after each change; longer is a user. */
const RELEASE_WAIT_MS = 1_000;
/** Of devices.json: some 200 devices. More need space in /run. */
const STATE_ROOM_BYTES = 60_000;
/** A stat of a FUSE file that nobody serves waits for ever. */
const PROBE_MS = 2_000;

export interface DeviceSpec {
  readonly minor: number;
  readonly device: string; // '/dev/drbd0'
  readonly resource: string;
  readonly volume: number;
}

/** What a FuseServer (or StatusFile) needs to serve it. */
export interface Attachment {
  readonly minor: number; // -1: the status file
  readonly descriptor: number;
  readonly file: string;
  /** A predecessor served the descriptor: FuseServerOptions.successor. */
  readonly successor: boolean;
  /** The mount was parked in this process: its FuseServer still runs, give it the volume with `setVolume`. */
  readonly reused: boolean;
  /** The bound loop device counts as one open for writing: FuseServerOptions.openWriters. */
  readonly openWriters: number;
  /** The angel holds the descriptor: users only wait while the daemon restarts. */
  readonly restartable: boolean;
}

export type Released =
  | { readonly ok: true }
  | { readonly ok: false; readonly holders: readonly Holder[]; readonly evidence: string[] };

/** One device of devices.json. */
export interface SavedDevice extends DeviceSpec {
  readonly descriptor: number;
  readonly file: string;
  readonly loop: string | null;
  readonly parked: boolean; // no volume: only the mount is kept
}

interface Saved {
  readonly version: 1;
  readonly devices: readonly SavedDevice[];
  readonly status: { readonly descriptor: number; readonly file: string } | null;
}

export interface DeviceManagerOptions {
  /** TWINBEAT_ROOT: '/' or a directory. */
  readonly root: string;
  /** TWINBEAT_FUSE_FDS, the angel's descriptors; empty without an angel. */
  readonly descriptors: readonly number[];
  /** TWINBEAT_INCARNATION; 1 without an angel. */
  readonly incarnation: number;
  readonly mounts: FuseMounts;
}

export type DeviceErrorCode = 'SERVED' | 'MINOR' | 'STATE';

/** A device that cannot be made. The message names the remedy. */
export class DeviceError extends Error {
  override name = 'DeviceError';
  readonly code: DeviceErrorCode;

  constructor(code: DeviceErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** The angel's descriptors from its environment: `TWINBEAT_FUSE_FDS=3-18`. Without it none. */
export function angelDescriptors(range: string | undefined): number[] {
  const [, first, last] = /^(\d+)-(\d+)$/.exec(range ?? '') ?? [];
  if (first === undefined || last === undefined) return [];
  const count = Number(last) - Number(first) + 1;
  return Array.from({ length: Math.max(0, count) }, (_, i) => Number(first) + i);
}

export class DeviceManager {
  readonly #options: DeviceManagerOptions;
  readonly #worker = new DeviceWorker();
  readonly #links: DeviceLinks;
  readonly #run: string;
  readonly #file: RunFile;
  readonly #devices = new Map<number, SavedDevice>();
  readonly #saved = new Map<number, SavedDevice>(); // of the predecessor, not yet adopted
  readonly #spare: number[];
  #status: { readonly descriptor: number; readonly file: string } | null = null;

  private constructor(options: DeviceManagerOptions) {
    this.#options = options;
    this.#links = new DeviceLinks(options.root);
    this.#run = join(options.root, RUN_DIRECTORY);
    this.#file = new RunFile(join(this.#run, 'devices.json'), STATE_ROOM_BYTES);
    this.#spare = [...options.descriptors];
  }

  /** Reads what the predecessor left, or clears away what a dead one left. */
  static async open(options: DeviceManagerOptions): Promise<DeviceManager> {
    const manager = new DeviceManager(options);
    mkdirSync(join(manager.#run, 'dev'), { recursive: true, mode: 0o755 });
    mkdirSync(join(manager.#run, 'proc'), { recursive: true, mode: 0o755 });
    if (options.incarnation > 1 && options.descriptors.length > 0) manager.#load();
    else await manager.#clearAway();
    return manager;
  }

  /** Devices of the predecessor that wait for `adopt`, in the order of their minors. */
  get saved(): readonly SavedDevice[] {
    return [...this.#saved.values()].sort((a, b) => a.minor - b.minor);
  }

  /** Gives a minor its FUSE file and links. The caller starts a FuseServer on the descriptor. */
  async create(spec: DeviceSpec): Promise<Attachment> {
    const found = this.#devices.get(spec.minor);
    if (found && !found.parked) {
      throw new DeviceError('MINOR', `minor ${spec.minor} is used by resource ${found.resource}`);
    }
    if (this.#saved.has(spec.minor)) {
      const adopted = await this.adopt(spec.minor);
      assert(adopted !== null, 'a saved device is adopted');
      // From here on it is the caller's own, whatever it was called before.
      const device = this.#device(spec.minor);
      this.#put({ ...device, ...spec, parked: false });
      this.#addLinks(spec.minor);
      return adopted;
    }
    const file = found?.file ?? join(this.#run, 'dev', `drbd${spec.minor}`);
    const descriptor = found?.descriptor ?? (await this.#mount(file, `twinbeat-drbd${spec.minor}`));
    this.#put({ ...spec, descriptor, file, loop: null, parked: false });
    this.#addLinks(spec.minor);
    return this.#attachment(spec.minor, false, found !== undefined);
  }

  /**
   * After a restart: takes over a saved device, null when there is none of that minor. Nothing is asked of its FUSE
   * file yet, since nobody serves it; `settle` checks the loop device once the FuseServer runs.
   */
  async adopt(minor: number): Promise<Attachment | null> {
    const saved = this.#saved.get(minor);
    if (!saved) return null;
    this.#saved.delete(minor);
    this.#put(saved);
    if (!saved.parked) this.#addLinks(minor);
    return this.#attachment(minor, true, false);
  }

  /**
   * After `adopt`, with the FuseServer running: the predecessor may have died in the middle of binding or releasing
   * the loop device. The result is what is bound now.
   */
  async settle(minor: number): Promise<string | null> {
    const device = this.#device(minor);
    const { loop } = await this.#worker.run({
      kind: 'find',
      file: device.file,
      loop: device.loop,
    });
    this.#put({ ...device, loop });
    this.#links.point(minor, loop ?? device.file);
    return loop;
  }

  /** On promotion, after the volume lets itself be opened: a block device for the users. The result is its path. */
  async activate(minor: number, options: LoopOptions): Promise<string> {
    const device = this.#device(minor);
    if (device.loop !== null) return device.loop;
    const { loop } = await this.#worker.run({ kind: 'bind', file: device.file, options });
    assert(loop !== null, 'a bound loop device has a path');
    this.#put({ ...device, loop });
    this.#links.point(minor, loop);
    return loop;
  }

  /** On demotion, before the role changes. Refused with the evidence while somebody has the device open. */
  async deactivate(minor: number): Promise<Released> {
    const device = this.#device(minor);
    if (device.loop === null) return { ok: true };
    const { held, holders } = await this.#worker.run({
      kind: 'release',
      loop: device.loop,
      file: device.file,
      waitMs: RELEASE_WAIT_MS,
    });
    if (held) return { ok: false, holders, evidence: evidenceOf(device.loop, holders) };
    this.#put({ ...device, loop: null });
    this.#links.point(minor, device.file);
    return { ok: true };
  }

  /** The volume has another size. */
  async resized(minor: number): Promise<void> {
    const { loop } = this.#device(minor);
    if (loop !== null) await this.#worker.run({ kind: 'resize', loop });
  }

  /** Who has the device open, loop or file, whether or not it is to be released. */
  async holders(minor: number): Promise<readonly Holder[]> {
    const device = this.#device(minor);
    const path = device.loop ?? device.file;
    return (await this.#worker.run({ kind: 'holders', path })).holders;
  }

  /** Takes the device away from its users; its mount is parked. The caller calls `FuseServer.setVolume(null)`. */
  async remove(minor: number): Promise<Released> {
    const released = await this.deactivate(minor);
    if (!released.ok) return released;
    this.#links.remove(minor);
    this.#put({ ...this.#device(minor), parked: true });
    return released;
  }

  /** Its devices stay what they are; the names below by-res are those of the new name. */
  rename(resource: string, name: string): void {
    for (const device of [...this.#devices.values()]) {
      if (device.resource !== resource || device.parked) continue;
      this.#put({ ...device, resource: name });
    }
    this.#links.rename(resource, name);
  }

  /** Path of the block device of an active minor, null otherwise. */
  loopOf(minor: number): string | null {
    return this.#devices.get(minor)?.loop ?? null;
  }

  /** /run/twinbeat/proc/drbd, to be served by a StatusFile. */
  async statusFile(): Promise<Attachment> {
    const file = join(this.#run, 'proc/drbd');
    const kept = this.#status;
    if (kept === null) {
      this.#status = { descriptor: await this.#mount(file, 'twinbeat-status'), file };
      this.#save();
    }
    const { descriptor } = this.#status ?? { descriptor: -1 };
    const restartable = this.#options.descriptors.includes(descriptor);
    const successor = kept !== null;
    return { minor: -1, descriptor, file, successor, reused: false, openWriters: 0, restartable };
  }

  /**
   * The end, not a restart: everything unmounted, so that the FuseServers read ENODEV. Loop devices have to be
   * released before.
   */
  async shutdown(): Promise<void> {
    for (const device of this.#devices.values()) {
      assert(device.loop === null, 'a device is released before the shutdown');
      this.#links.remove(device.minor);
      await this.#options.mounts.unmount(device.file);
    }
    if (this.#status) await this.#options.mounts.unmount(this.#status.file);
    this.#devices.clear();
    this.#status = null;
    this.#save();
    await this.close();
  }

  /** Ends the worker thread; devices stay as they are (for a restart). */
  async close(): Promise<void> {
    await this.#worker.close();
  }

  #device(minor: number): SavedDevice {
    const device = this.#devices.get(minor);
    if (!device) throw new DeviceError('MINOR', `there is no device with minor ${minor}`);
    return device;
  }

  #put(device: SavedDevice): void {
    this.#devices.set(device.minor, device);
    this.#save();
  }

  #addLinks(minor: number): void {
    const d = this.#device(minor);
    this.#links.add(minor, d.device, d.resource, d.volume, d.loop ?? d.file);
  }

  #attachment(minor: number, successor: boolean, reused: boolean): Attachment {
    const { descriptor, file, loop } = this.#device(minor);
    const restartable = this.#options.descriptors.includes(descriptor);
    const openWriters = loop === null ? 0 : 1;
    return { minor, descriptor, file, successor, reused, openWriters, restartable };
  }

  async #mount(file: string, source: string): Promise<number> {
    const flags = constants.O_WRONLY | constants.O_CREAT;
    closeSync(openSync(file, flags, 0o600)); // only a place to mount on
    const spare = this.#spare.shift();
    const descriptor = spare ?? openSync('/dev/fuse', constants.O_RDWR);
    await this.#options.mounts.mount(descriptor, file, source);
    return descriptor;
  }

  #save(): void {
    const devices = [...this.#devices.values(), ...this.#saved.values()];
    const saved: Saved = { version: 1, devices, status: this.#status };
    this.#file.write(Buffer.from(`${JSON.stringify(saved, null, 2)}\n`));
  }

  #load(): void {
    const path = join(this.#run, 'devices.json');
    let saved: Saved;
    try {
      const content = readRunFile(path);
      if (content === null) return; // died before its first device
      saved = JSON.parse(Buffer.from(content).toString()) as Saved;
    } catch (error) {
      throw new DeviceError('STATE', `${path} cannot be read; users of the devices wait: ${error}`);
    }
    for (const device of saved.devices) {
      // A descriptor of the predecessor's own died with it, and its users got EIO.
      if (this.#claim(device.descriptor)) this.#saved.set(device.minor, device);
    }
    if (saved.status && this.#claim(saved.status.descriptor)) this.#status = saved.status;
  }

  #claim(descriptor: number): boolean {
    const index = this.#spare.indexOf(descriptor);
    if (index >= 0) this.#spare.splice(index, 1);
    return index >= 0;
  }

  /** Mounts of a dead life. One that is still served is somebody's: refused. */
  async #clearAway(): Promise<void> {
    for (const file of fuseMountsBelow(this.#run)) {
      if (!(await isDead(file))) {
        const text = `${file} is served by another process: is drbdd running already?`;
        throw new DeviceError('SERVED', text);
      }
      await this.#worker.run({ kind: 'drop-dead', file });
      await this.#options.mounts.unmount(file);
    }
  }
}

function evidenceOf(loop: string, holders: readonly Holder[]): string[] {
  if (holders.length === 0) return [`${loop} is open, by a process that cannot be seen from here`];
  return holders.map((holder) => `${loop} is ${describeHolder(holder)}`);
}

/** ENOTCONN: nobody has the descriptor any more. In a process of its own: it waits when somebody has. */
function isDead(file: string): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(
      'stat',
      ['-c', '%i', file],
      { timeout: PROBE_MS, killSignal: 'SIGKILL', env: { ...process.env, LC_ALL: 'C' } },
      (_error, _stdout, stderr) => resolve(stderr.includes('not connected')),
    );
  });
}
