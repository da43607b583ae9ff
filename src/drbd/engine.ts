/**
 * All replicated resources of a node: names, minors, and the time that passes for them.
 */
import type { ResourceOptions } from '../config/drbd-options.js';
import { uuidText } from '../md/generation-flags.js';
import { Core } from './core.js';
import type { DataPort, EngineHost } from './ports.js';
import { Resource } from './resource.js';
import { ordered } from './resync-after.js';
import { Conns, Disks, Roles } from './state.js';
import type { NodeStatus, ResourceStatus, VolumeDetails, VolumeStatus } from './status.js';
import { Volume } from './volume.js';

export class Engine {
  readonly core: Core;
  readonly #resources = new Map<string, Resource>();
  readonly #minors = new Map<number, Volume>();

  /** `tagBase`: the first tag that the port gave this owner. */
  constructor(port: DataPort, host: EngineHost, tagBase: number) {
    this.core = new Core(port, host, tagBase);
  }

  resource(name: string): Resource | null {
    return this.#resources.get(name) ?? null;
  }

  get resources(): readonly Resource[] {
    return [...this.#resources.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  volume(minor: number): Volume | null {
    return this.#minors.get(minor) ?? null;
  }

  addResource(name: string, options: ResourceOptions): Resource {
    const resource = this.#resources.get(name) ?? new Resource(this.core, name);
    resource.resourceOptions = options;
    this.#resources.set(name, resource);
    return resource;
  }

  addVolume(resource: Resource, number: number, minor: number, device: string): Volume {
    const volume = new Volume(this.core, resource, number, minor, device);
    resource.volumes.push(volume);
    resource.volumes.sort((a, b) => a.number - b.number);
    this.#minors.set(minor, volume);
    this.core.resyncOrder.add(ordered(volume));
    resource.volumeAdded(volume);
    return volume;
  }

  /** Diskless and Secondary, and nothing is agreed with the peer or on its way from it: nothing is left of it. */
  isUnconfigured(v: Volume): boolean {
    const { conn, disk, role } = v.state;
    const alone =
      conn === Conns.StandAlone || conn === Conns.Unconnected || conn === Conns.WFConnection;
    return alone && disk === Disks.Diskless && role === Roles.Secondary;
  }

  removeVolume(v: Volume): void {
    const { volumes } = v.resource;
    volumes.splice(volumes.indexOf(v), 1);
    this.#minors.delete(v.minor);
    this.core.resyncOrder.remove(v.minor);
  }

  removeResource(r: Resource): void {
    if (this.#resources.get(r.name) === r) this.#resources.delete(r.name);
  }

  /** False: another one has that name. */
  renameResource(r: Resource, name: string): boolean {
    if (this.#resources.has(name)) return this.#resources.get(name) === r;
    this.removeResource(r);
    r.name = name;
    this.#resources.set(name, r);
    return true;
  }

  // ---- driven by the host's loop

  ioDone(index: number, result: number): void {
    this.core.ioDone(index, result);
  }

  tick(nowMs: number): void {
    for (const r of this.#resources.values()) if (nowMs >= r.deadlineMs) r.tick(nowMs);
  }

  get deadlineMs(): number {
    let at = Number.POSITIVE_INFINITY;
    for (const r of this.#resources.values()) at = Math.min(at, r.deadlineMs);
    return at;
  }

  turnEnd(): void {
    this.core.turnEnd();
  }

  // ---- what it looks like

  /** Null: there is no such resource. */
  resourceStatus(name: string): ResourceStatus | null {
    const r = this.#resources.get(name);
    return r ? resourceStatus(r) : null;
  }

  status(version: string): NodeStatus {
    return {
      version,
      nowMs: this.core.port.nowMs(),
      resources: this.resources.map(resourceStatus),
    };
  }
}

function resourceStatus(r: Resource): ResourceStatus {
  return {
    name: r.name,
    connection: r.configured ? r.conn : null,
    volumes: r.volumes.map(volumeStatus),
  };
}

function volumeStatus(v: Volume): VolumeStatus {
  const r = v.resource;
  const ordering = { flush: 'f', drain: 'd', none: 'n' } as const;
  const { uuids } = v;
  return {
    resource: r.name,
    volume: v.number,
    minor: v.minor,
    device: v.device,
    lowerDisk: v.lowerDisk,
    state: v.state,
    sizeSectors: v.sizeSectors,
    protocol: r.configured ? r.netOptions.protocol : null,
    alSuspended: v.alSuspended,
    writeOrdering: ordering[r.writeOrdering()],
    congested: false,
    counters: {
      sendSectors: v.sendSectors,
      receiveSectors: v.receiveSectors,
      writeSectors: v.writeSectors,
      readSectors: v.readSectors,
      alTransactions: v.log.transactions,
      bitmapWrites: 0,
      localPending: v.app.local + v.peerIo.local,
      peerPending: v.app.remote + v.resync.pending + v.verify.pending,
      unacked: v.peerIo.unacked + v.verify.unacked,
      applicationPending: v.app.pending,
      epochs: Math.max(v.link?.epochs.count ?? 1, v.link?.transferLog.epochs ?? 1),
      outOfSyncBits: v.bitmap?.count ?? 0,
    },
    details: volumeDetails(v),
    progress: v.resync.progress ?? v.verify.progress,
    uuids: [
      uuidText(uuids.current),
      uuidText(uuids.bitmap),
      uuidText(uuids.history1),
      uuidText(uuids.history2),
    ],
  };
}

function volumeDetails(v: Volume): VolumeDetails | null {
  const totalBits = v.bitmap?.bits ?? 0;
  if (v.dataDisk < 0 || totalBits === 0) return null;
  const verifyLeft = v.verify.progress?.leftBits ?? null;
  return {
    resync: v.resync.requests.extents,
    actLog: v.log.counts,
    blockedOnLog: v.log.waiting,
    positionBits: verifyLeft === null ? v.resync.positionBits : Math.max(0, totalBits - verifyLeft),
    totalBits,
    stopSector: verifyLeft === null ? 0 : v.verify.questions.stopSector,
  };
}
