/**
 * drbdadm on a simulated node: each verb as the requests that drbdadm sends to drbdd for it, one after the other, with
 * drbdsetup's exit status.
 */
import type { NetOptions } from '../config/drbd-options.js';
import type { Resource } from '../drbd/resource.js';
import { type ControlReply, type ControlRequest, exitOf } from '../host/control.js';
import {
  type ClusterConfig,
  diskOptionsOf,
  minorsOf,
  type NodeName,
  peerOf,
  type ResourceName,
  volumeOf,
} from './config.js';
import type { SimDrbdd } from './sim-drbdd.js';

const PORT: Readonly<Record<ResourceName, number>> = { r0: 7788, r1: 7789 };

export const REPLICATION_ADDRESS: Readonly<Record<NodeName, string>> = {
  alpha: '10.1.0.1',
  beta: '10.1.0.2',
};

/** Where the data of a volume lie. */
export function lowerDiskOf(minor: number): string {
  return minor === 0 ? '/dev/lower' : `/dev/lower${minor}`;
}

/** Exit status and what was said. */
export type Answered = (exit: number, text: string) => void;

export type DrbdadmVerb = (typeof DRBDADM_VERBS)[number];
export const DRBDADM_VERBS = [
  'up',
  'down',
  'attach',
  'detach',
  'connect',
  'disconnect',
  'primary',
  'secondary',
  'invalidate',
  'invalidate-remote',
  'outdate',
  'pause-sync',
  'resume-sync',
  'suspend-io',
  'resume-io',
  'new-current-uuid',
  'verify',
  'adjust',
  'resize',
] as const;

/** What drbd.conf says now: the operator may edit it. */
export interface Configured {
  readonly config: ClusterConfig;
  readonly node: NodeName;
  readonly resource: ResourceName;
  /** `r0/1`: the minor of that volume alone; null: `r0`. */
  readonly only: number | null;
}

export function drbdadm(
  drbdd: SimDrbdd | null,
  c: Configured,
  verb: DrbdadmVerb,
  flags: readonly string[],
  done: Answered,
): void {
  if (!drbdd || drbdd.dead) {
    done(20, 'drbdd does not run');
    return;
  }
  const requests = requestsOf(c, verb, flags, drbdd);
  let worst = 0;
  const next = (): void => {
    const request = requests.shift();
    if (!request) {
      done(worst, '');
      return;
    }
    drbdd.request(request, (reply: ControlReply) => {
      if (reply.ok) {
        next();
        return;
      }
      const exit = exitOf(reply);
      worst = Math.max(worst, exit);
      const text = `(${reply.code}) ${reply.text} ${reply.info.join('; ')}`.trim();
      // `up` goes on as drbdadm does: without its disk a node can still connect.
      const goesOn = verb === 'up' && request.verb !== 'new-resource';
      // So does `outdate`, behind a disk that is less than that.
      if (goesOn || (verb === 'outdate' && exit === 5)) next();
      else done(worst, text);
    });
  };
  next();
}

function connectRequest(c: Configured, discardMyData: boolean): ControlRequest {
  const address = (n: NodeName) =>
    ({ family: 'ipv4', host: REPLICATION_ADDRESS[n], port: PORT[c.resource] }) as const;
  return {
    verb: 'connect',
    resource: c.resource,
    local: address(c.node),
    remote: address(peerOf(c.node)),
    options: c.config.net,
    discardMyData,
    tentative: false,
  };
}

function attachRequest({ config }: Configured, minor: number): ControlRequest {
  const disk = lowerDiskOf(minor);
  const options = diskOptionsOf(config, minor);
  return { verb: 'attach', minor, disk, metaDisk: disk, metaIndex: 'internal', options };
}

/** A verb of volumes goes from one to the next, and (but for `outdate`) leaves the others out when one refuses. */
function requestsOf(
  c: Configured,
  verb: DrbdadmVerb,
  flags: readonly string[],
  drbdd: SimDrbdd,
): ControlRequest[] {
  const force = flags.includes('--force');
  const { config, resource } = c;
  const minors = c.only === null ? minorsOf(config, resource) : [c.only];
  const connect = connectRequest(c, flags.includes('--discard-my-data'));
  switch (verb) {
    case 'up':
      return [
        { verb: 'new-resource', resource, options: config.resource },
        ...minors.map((minor) => {
          const device = `/dev/drbd${minor}`;
          const volume = volumeOf(config, minor);
          return { verb: 'new-minor', resource, minor, volume, device } as const;
        }),
        ...minors.map((minor) => attachRequest(c, minor)),
        connect,
      ];
    case 'attach':
      return minors.map((minor) => attachRequest(c, minor));
    case 'connect':
      return [connect];
    case 'down':
      return [{ verb, resource }];
    case 'disconnect':
      return [{ verb, resource, force }];
    case 'detach':
    case 'primary':
      return minors.map((minor) => ({ verb, minor, force }));
    case 'new-current-uuid': {
      const clearBitmap = flags.includes('--clear-bitmap');
      return minors.map((minor) => ({ verb, minor, clearBitmap }));
    }
    case 'verify':
      return minors.map((minor) => ({ verb, minor, startSector: null, stopSector: null }));
    case 'resize':
      return minors.map((minor) => ({
        verb,
        minor,
        sizeSectors: 0,
        assumePeerHasSpace: flags.includes('--assume-peer-has-space'),
        assumeClean: flags.includes('--assume-clean'),
        alStripes: null,
        alStripeSizeKib: null,
      }));
    case 'adjust':
      return adjustRequests(c, drbdd, connect);
    default:
      return minors.map((minor) => ({ verb, minor }));
  }
}

/**
 * What `adjust` does when only options changed, a disk is missing or the connection was given up. An order of volumes that is turned
 * round would be a cycle (133) while the old one holds: that goes first, as somebody at a terminal has to do it.
 */
function adjustRequests(c: Configured, drbdd: SimDrbdd, connect: ControlRequest): ControlRequest[] {
  const { config, resource } = c;
  const r = drbdd.loop.engine.resource(resource);
  const minors = minorsOf(config, resource);
  if (!r || minors.some((minor) => drbdd.volumeOf(minor) === null)) {
    return requestsOf(c, 'up', [], drbdd);
  }
  const requests: ControlRequest[] = [
    { verb: 'resource-options', resource, options: config.resource },
  ];
  for (const minor of minors) {
    const now = drbdd.volumeOf(minor);
    const options = diskOptionsOf(config, minor);
    const after = now && now.dataDisk >= 0 ? now.diskOptions.resyncAfterMinor : -1;
    if (after === -1 || after === options.resyncAfterMinor) continue;
    requests.push({ verb: 'disk-options', minor, options: { ...options, resyncAfterMinor: -1 } });
  }
  for (const minor of minors) {
    const isAttached = (drbdd.volumeOf(minor)?.dataDisk ?? -1) >= 0;
    const options = diskOptionsOf(config, minor);
    requests.push(isAttached ? { verb: 'disk-options', minor, options } : attachRequest(c, minor));
  }
  if (!r.configured) requests.push(connect);
  else if (needsReconnect(r, config.net)) {
    requests.push({ verb: 'disconnect', resource, force: false }, connect);
  } else requests.push({ verb: 'net-options', resource, options: config.net });
  return requests;
}

/** What a peer below version 100 can not be told while connected (163). */
function needsReconnect(r: Resource, wanted: NetOptions): boolean {
  const { netOptions: now, link } = r;
  if (!link || link.apv >= 100) return false;
  return now.protocol !== wanted.protocol || now.dataIntegrityAlg !== wanted.dataIntegrityAlg;
}
