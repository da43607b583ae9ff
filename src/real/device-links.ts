/**
 * The names of a device: links that users open, pointing at the loop device while the node is Primary and at the FUSE
 * file (whose open is refused as DRBD refuses it) while it is Secondary.
 *
 *     /dev/drbd0, /dev/drbd/by-res/r0 (the resource's only volume 0) or /dev/drbd/by-res/r0/0
 *
 * The names are those of drbd-utils' udev rules. A link is replaced by rename(2): there is no moment without it.
 */
import {
  lstatSync,
  mkdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

interface Named {
  readonly minor: number;
  readonly device: string; // '/dev/drbd0', below the root
  resource: string;
  readonly volume: number;
  target: string;
}

export type LinkErrorCode = 'NOT_OURS';

/** Something that is no link of ours has the name (the kernel's DRBD has a node there). */
export class LinkError extends Error {
  override name = 'LinkError';
  readonly code: LinkErrorCode = 'NOT_OURS';
}

export class DeviceLinks {
  readonly #root: string;
  readonly #named = new Map<number, Named>();
  #serial = 0;

  /** `root` is put before /dev. */
  constructor(root: string) {
    this.#root = root;
  }

  add(minor: number, device: string, resource: string, volume: number, target: string): void {
    this.remove(minor);
    const old = this.#byRes(resource);
    this.#named.set(minor, { minor, device, resource, volume, target });
    // A second volume turns by-res/r0 from a link into a directory.
    for (const path of old) if (!this.#byRes(resource).includes(path)) this.#unlink(path);
    this.#linkResource(resource);
    this.#link(join(this.#root, device), target);
  }

  point(minor: number, target: string): void {
    const named = this.#named.get(minor);
    if (!named) return;
    named.target = target;
    this.#link(join(this.#root, named.device), target);
    this.#link(this.#byResOf(named), target);
  }

  remove(minor: number): void {
    const named = this.#named.get(minor);
    if (!named) return;
    const old = this.#byRes(named.resource);
    this.#named.delete(minor);
    this.#unlink(join(this.#root, named.device));
    const kept = this.#byRes(named.resource);
    for (const path of old) if (!kept.includes(path)) this.#unlink(path);
    try {
      rmdirSync(join(this.#root, 'dev/drbd/by-res', named.resource));
    } catch {
      // Other volumes are in it, or it was a link.
    }
    this.#linkResource(named.resource);
  }

  /** The device's own name stays where it is all the time. */
  rename(resource: string, name: string): void {
    const old = this.#byRes(resource);
    for (const named of this.#named.values())
      if (named.resource === resource) named.resource = name;
    this.#linkResource(name);
    const kept = this.#byRes(name);
    for (const path of old) if (!kept.includes(path)) this.#unlink(path);
    try {
      rmdirSync(join(this.#root, 'dev/drbd/by-res', resource));
    } catch {
      // It was a link.
    }
  }

  #linkResource(resource: string): void {
    for (const named of this.#named.values()) {
      if (named.resource === resource) this.#link(this.#byResOf(named), named.target);
    }
  }

  #byRes(resource: string): string[] {
    return [...this.#named.values()]
      .filter((named) => named.resource === resource)
      .map((named) => this.#byResOf(named));
  }

  #byResOf(named: Named): string {
    const volumes = [...this.#named.values()].filter((n) => n.resource === named.resource);
    const base = join(this.#root, 'dev/drbd/by-res', named.resource);
    return volumes.length === 1 && named.volume === 0 ? base : join(base, String(named.volume));
  }

  #link(path: string, target: string): void {
    this.#check(path);
    mkdirSync(dirname(path), { recursive: true });
    const fresh = `${path}.new${process.pid}.${this.#serial++}`;
    symlinkSync(target, fresh);
    try {
      renameSync(fresh, path);
    } catch (error) {
      unlinkSync(fresh);
      throw error;
    }
  }

  #unlink(path: string): void {
    try {
      if (lstatSync(path).isSymbolicLink()) unlinkSync(path);
    } catch {
      // Gone already.
    }
  }

  #check(path: string): void {
    let found: ReturnType<typeof lstatSync>;
    try {
      found = lstatSync(path);
    } catch {
      return;
    }
    if (found.isSymbolicLink()) return;
    throw new LinkError(
      `${path} exists and is no link: does the kernel's DRBD run? Unload it, or remove that node`,
    );
  }
}

/** Where a link points, or null. */
export function linkTarget(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
