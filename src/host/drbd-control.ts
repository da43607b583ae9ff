/**
 * Carries out requests of the control socket on the replication engine. Runs on the engine thread; devices, links and files
 * are the control thread's (real/drbdd-server.ts). Every field is checked again: whoever reaches the socket can write to it.
 */
import type { DiskOptions, ResourceOptions } from '../config/drbd-options.js';
import { attach } from '../drbd/attach.js';
import { waitConnect, waitTimeoutType } from '../drbd/attach-decision.js';
import {
  detach,
  invalidate,
  invalidateRemote,
  newCurrentUuid,
  outdate,
  pauseSync,
  suspendIo,
} from '../drbd/disk-verbs.js';
import {
  changeDiskOptions,
  changeNetOptions,
  netRefusal,
  type OptionRefusal,
} from '../drbd/option-change.js';
import type { Outcome } from '../drbd/outcome.js';
import { resize } from '../drbd/resize.js';
import type { Resource } from '../drbd/resource.js';
import { Err, failureText, Ss, stateText } from '../drbd/return-codes.js';
import { resumeRole, setPrimary, setSecondary } from '../drbd/roles.js';
import { Conns, connName, Disks, diskName, roleName } from '../drbd/state.js';
import { verify } from '../drbd/verify-start.js';
import type { Volume } from '../drbd/volume.js';
import type {
  ControlFailure,
  ControlReply,
  ControlRequest,
  RunningResource,
  WaitEnd,
} from './control.js';
import { notUnderstood, withDefaults, wrongField } from './control-check.js';
import type { DrbdLoop } from './drbd-loop.js';
import { expose } from './exposed.js';
import { OpenRequests } from './open-requests.js';
import type { TimerId } from './timers.js';

export type Reply = (reply: ControlReply) => void;

type WaitRequest = Extract<ControlRequest, { verb: 'wait-connect' | 'wait-sync' }>;

/** Null: not yet. wait-sync is over when the peer is there and no resync or verify runs (drbdsetup 8.4). */
function waitOver(
  verb: WaitRequest['verb'],
  conn: number,
  afterSb: boolean,
): WaitEnd['over'] | null {
  const connect = waitConnect(conn, afterSb);
  if (connect === 'given-up') return connect;
  const isThere = verb === 'wait-sync' ? conn === Conns.Connected : connect === 'connected';
  return isThere ? 'there' : null;
}

const OK: ControlReply = { ok: true, value: null };
const RESOURCE_NAME = /^[^\s/]{1,127}$/;

export function failure(
  code: number,
  info: readonly string[] = [],
  next: readonly string[] = [],
): ControlFailure {
  return { ok: false, kind: 'failure', code, text: failureText(code), info, next };
}

export class DrbdControl {
  readonly #loop: DrbdLoop;
  readonly #version: string;
  /** wait-connect requests that have not been answered. */
  readonly #waiting = new Set<() => void>();
  readonly #open = new OpenRequests();

  constructor(loop: DrbdLoop, version: string) {
    this.#loop = loop;
    this.#version = version;
  }

  /** A state changed: waiters look again. */
  stateChanged(): void {
    for (const look of [...this.#waiting]) look();
  }

  handle(request: ControlRequest, reply: Reply): void {
    const wrong = wrongField(request);
    if (wrong !== null) {
      reply(notUnderstood(wrong));
      return;
    }
    this.#loop.enter(() => this.#verb(withDefaults(request), reply));
  }

  #verb(request: ControlRequest, reply: Reply): void {
    const { engine } = this.#loop;
    switch (request.verb) {
      case 'status':
        reply({ ok: true, value: engine.status(this.#version) });
        return;
      case 'running':
        reply({ ok: true, value: engine.resources.map(running) });
        return;
      case 'new-resource':
        if (!RESOURCE_NAME.test(request.resource)) reply(failure(Err.INVALID_REQUEST));
        else {
          engine.addResource(request.resource, request.options as ResourceOptions);
          reply(OK);
        }
        return;
      case 'new-minor':
        this.#newMinor(request, reply);
        return;
      case 'connect':
      case 'disconnect':
      case 'net-options':
      case 'resource-options':
      case 'del-resource':
      case 'rename-resource':
      case 'down': {
        const r = engine.resource(request.resource);
        if (!r) {
          if (request.verb === 'down')
            reply(OK); // nothing is there: as wanted
          else if (request.verb === 'disconnect')
            reply(failure(Err.INVALID_REQUEST, ['unknown connection']));
          else reply(failure(Err.RES_NOT_KNOWN));
          return;
        }
        this.#resourceVerb(r, request, this.#open.of(r, reply));
        return;
      }
      case 'set-handlers':
      case 'events':
      case 'restart':
      case 'shutdown':
        reply(OK); // the control thread's
        return;
      default: {
        const v = engine.volume(request.minor);
        if (!v) reply(failure(Err.MINOR_INVALID));
        else this.#volumeVerb(v, request, this.#open.of(v.resource, reply));
      }
    }
  }

  #newMinor(request: Extract<ControlRequest, { verb: 'new-minor' }>, reply: Reply): void {
    const { engine } = this.#loop;
    const r = engine.resource(request.resource);
    if (!r) {
      reply(failure(Err.RES_NOT_KNOWN));
      return;
    }
    const old = engine.volume(request.minor);
    if (old) {
      if (old.resource === r && old.number === request.volume) reply(OK);
      else
        reply(
          failure(Err.MINOR_OR_VOLUME_EXISTS, [
            `minor ${request.minor} belongs to ${old.resource.name}/${old.number}`,
          ]),
        );
      return;
    }
    if (r.volume(request.volume)) {
      reply(failure(Err.MINOR_OR_VOLUME_EXISTS, [`volume ${request.volume} of ${r.name} exists`]));
      return;
    }
    engine.addVolume(r, request.volume, request.minor, request.device);
    reply(OK);
  }

  #resourceVerb(
    r: Resource,
    request: Extract<
      ControlRequest,
      {
        verb:
          | 'connect'
          | 'disconnect'
          | 'net-options'
          | 'resource-options'
          | 'del-resource'
          | 'rename-resource'
          | 'down';
      }
    >,
    reply: Reply,
  ): void {
    const { engine } = this.#loop;
    switch (request.verb) {
      case 'connect':
        this.#connect(r, request, reply);
        return;
      case 'disconnect':
        if (!r.configured) reply(failure(Err.INVALID_REQUEST, ['unknown connection']));
        else this.#disconnect(r, request.force, reply, () => reply(OK));
        return;
      case 'net-options':
        if (!r.configured) reply(failure(Err.INVALID_REQUEST, ['unknown connection']));
        else {
          const refused = changeNetOptions(r, request.options);
          reply(refused ? optionFailure(refused) : OK);
        }
        return;
      case 'resource-options':
        r.resourceOptions = request.options as ResourceOptions;
        reply(OK);
        return;
      case 'del-resource':
        // Its listener and its streams would stay, and nobody could name them any more.
        if (r.configured || r.link) reply(failure(Err.NET_CONFIGURED));
        else if (r.volumes.length > 0) reply(failure(Err.RES_IN_USE));
        else {
          engine.removeResource(r);
          reply(OK);
        }
        return;
      case 'rename-resource':
        if (!RESOURCE_NAME.test(request.name)) reply(failure(Err.INVALID_REQUEST));
        else if (engine.renameResource(r, request.name)) reply(OK);
        else reply(failure(Err.INVALID_REQUEST, [`there is a resource ${request.name} already`]));
        return;
      case 'down':
        this.#down(r, reply);
        return;
    }
  }

  #connect(r: Resource, request: Extract<ControlRequest, { verb: 'connect' }>, reply: Reply): void {
    const { engine } = this.#loop;
    const o = request.options;
    const same = (a: typeof request.local | null, b: typeof request.local): boolean =>
      a !== null && a.host === b.host && a.port === b.port;
    if (r.configured) {
      reply(failure(Err.NET_CONFIGURED));
      return;
    }
    if (r.volumes.some((v) => v.state.conn !== Conns.StandAlone)) {
      reply(failure(Err.NET_CONFIGURED, ['the old connection is still being ended']));
      return;
    }
    for (const other of engine.resources) {
      if (other === r || !other.configured) continue;
      if (same(other.local, request.local)) {
        reply(
          failure(Err.LOCAL_ADDR, [
            `${request.local.host}:${request.local.port} is used by ${other.name}`,
          ]),
        );
        return;
      }
      if (same(other.remote, request.remote)) {
        reply(
          failure(Err.PEER_ADDR, [
            `${request.remote.host}:${request.remote.port} is used by ${other.name}`,
          ]),
        );
        return;
      }
    }
    const refused = netRefusal(r, o, request.discardMyData);
    if (!refused) {
      r.connect(request.local, request.remote, o, request.discardMyData, request.tentative);
    }
    reply(refused ? optionFailure(refused) : OK);
  }

  #disconnect(r: Resource, forceIt: boolean, reply: Reply, then: () => void): void {
    r.disconnect(forceIt, (code, rule) => {
      const [v] = r.volumes;
      if (code >= Ss.SUCCESS || !v) then();
      else reply(refusal(v, { kind: 'state', code, info: [`rule: ${rule}`] }));
    });
  }

  /** Demote, disconnect, detach, forget: what `drbdsetup down` does. Stops at the first refusal. */
  #down(r: Resource, reply: Reply): void {
    const { engine } = this.#loop;
    const remove = (): void => {
      for (const v of [...r.volumes]) engine.removeVolume(v);
      engine.removeResource(r);
      reply(OK);
      const info = 'the resource was taken down before this was done';
      this.#open.removed(r, failure(Err.RES_NOT_KNOWN, [info]));
    };
    const detachNext = (i: number): void => {
      const v = r.volumes[i];
      if (!v) {
        remove();
        return;
      }
      detach(v, false, (outcome) => {
        if (outcome.kind === 'ok') detachNext(i + 1);
        else reply(refusal(v, outcome));
      });
    };
    const demoteNext = (i: number): void => {
      const v = r.volumes[i];
      if (v) {
        setSecondary(v, (outcome) => {
          if (outcome.kind === 'ok') demoteNext(i + 1);
          else reply(refusal(v, outcome));
        });
      } else if (r.configured) this.#disconnect(r, false, reply, () => detachNext(0));
      else detachNext(0);
    };
    demoteNext(0);
  }

  #volumeVerb(v: Volume, request: Extract<ControlRequest, { minor: number }>, reply: Reply): void {
    const outcome = (o: Outcome): void => reply(o.kind === 'ok' ? OK : refusal(v, o));
    switch (request.verb) {
      case 'attach':
        attach(v, { ...request, options: request.options as DiskOptions }, (failed) => {
          if (failed) reply(failure(failed.code, failed.info, nextOfAttach(v, failed.code)));
          else reply(OK);
        });
        return;
      case 'detach':
        detach(v, request.force, outcome);
        return;
      case 'primary':
        setPrimary(v, request.force, outcome);
        return;
      case 'secondary':
        setSecondary(v, outcome);
        return;
      case 'invalidate':
        invalidate(v, outcome);
        return;
      case 'invalidate-remote':
        invalidateRemote(v, outcome);
        return;
      case 'outdate':
        outdate(v, outcome);
        return;
      case 'pause-sync':
      case 'resume-sync':
        pauseSync(v, request.verb === 'pause-sync', outcome);
        return;
      case 'suspend-io':
      case 'resume-io':
        suspendIo(v, request.verb === 'suspend-io', outcome);
        return;
      case 'new-current-uuid':
        newCurrentUuid(v, request.clearBitmap, outcome);
        return;
      case 'disk-options':
        changeDiskOptions(v, request.options, (refused) => {
          reply(refused ? optionFailure(refused) : OK);
        });
        return;
      case 'verify':
        verify(v, request.startSector, request.stopSector, outcome);
        return;
      case 'del-minor':
        if (!this.#loop.engine.isUnconfigured(v)) reply(failure(Err.MINOR_CONFIGURED));
        else {
          this.#loop.engine.removeVolume(v);
          reply(OK);
        }
        return;
      case 'get-gi':
        if (v.dataDisk < 0) reply(failure(Err.NO_DISK));
        else {
          const s = v.superblock();
          const hex = (uuid: bigint): string => uuid.toString(16).toUpperCase().padStart(16, '0');
          const uuids = [s.current, s.bitmap, s.history1, s.history2].map(hex);
          reply({ ok: true, value: { uuids, flags: s.flags, deviceUuid: hex(s.deviceUuid) } });
        }
        return;
      case 'expose': {
        const { generations, users } = request;
        const done = Array.isArray(generations) && expose(v, generations, users);
        reply(done ? OK : failure(Err.INVALID_REQUEST));
        return;
      }
      case 'wait-connect':
      case 'wait-sync':
        this.#wait(v, request, reply);
        return;
      case 'timeout-type':
        reply({ ok: true, value: waitTimeoutType(v.state, v.degraded) });
        return;
      case 'resize':
        resize(v, request, outcome);
        return;
      case 'new-minor':
        return;
    }
  }

  /** Answers once it is there, or when waiting makes no sense any more, or after the time. */
  #wait(v: Volume, request: WaitRequest, reply: Reply): void {
    const { timers } = this.#loop;
    const { timeoutS } = request;
    let timer: TimerId | null = null;
    let afterSb = request.afterSb;
    const done = (answer: ControlReply): void => {
      this.#waiting.delete(look);
      if (timer !== null) timers.cancel(timer);
      reply(answer);
    };
    const look = (): void => {
      if (this.#loop.engine.volume(v.minor) !== v) {
        done(failure(Err.MINOR_INVALID)); // taken down meanwhile
        return;
      }
      const { conn } = v.state;
      if (conn >= Conns.Unconnected) afterSb = false; // when it gives up from now on, that is news
      const over = waitOver(request.verb, conn, afterSb);
      if (over === null) return;
      const value: WaitEnd = {
        over,
        resource: v.resource.name,
        volume: v.number,
        cstate: connName(conn),
      };
      done({ ok: true, value });
    };
    this.#waiting.add(look);
    if (timeoutS > 0) {
      timer = timers.after(timeoutS * 1000, () => {
        done({ ok: false, kind: 'timeout', code: 0, text: 'timeout', info: [], next: [] });
      });
    }
    look();
  }

  /**
   * After a restart under a mounted file system: this node was Primary when its engine died, and still is for its
   * users. No rule is asked; what the crash left open is in the bitmap by now.
   */
  resumePrimary(minor: number, reply: Reply): void {
    this.#loop.enter(() => {
      const v = this.#loop.engine.volume(minor);
      if (!v) {
        reply(failure(Err.MINOR_INVALID));
        return;
      }
      resumeRole(v, (outcome) => reply(outcome.kind === 'ok' ? OK : refusal(v, outcome)));
    });
  }
}

function optionFailure({ code, info, next }: OptionRefusal): ControlFailure {
  return failure(code, info, next);
}

/** A refusal that explains itself: the rule, the evidence, the next command. */
export function refusal(v: Volume, outcome: Outcome): ControlFailure {
  if (outcome.kind === 'failure') return failure(outcome.code, outcome.info);
  const s = v.state;
  const evidence =
    `${v.resource.name} is cs:${connName(s.conn)} ro:${roleName(s.role)}/${roleName(s.peer)} ` +
    `ds:${diskName(s.disk)}/${diskName(s.pdsk)}`;
  return {
    ok: false,
    kind: 'state',
    code: outcome.code,
    text: stateText(outcome.code),
    info: [evidence, ...outcome.info],
    next: nextOfState(v, outcome.code),
  };
}

function nextOfState(v: Volume, code: number): string[] {
  const res = v.resource.name;
  const { disk, conn } = v.state;
  switch (code) {
    case Ss.TWO_PRIMARIES:
      return [`on the peer: drbdadm secondary ${res}   (or, with heartbeat: hb_takeover here)`];
    case Ss.NO_UP_TO_DATE_DISK:
      if (disk === Disks.Inconsistent && conn >= Conns.Connected) {
        return [
          'wait for the resync to end (cat /run/twinbeat/proc/drbd)',
          `for a first sync only, if this node's data are the right ones: drbdadm primary --force ${res}`,
        ];
      }
      if (disk === Disks.Diskless) return [`drbdadm attach ${res}`];
      return [`drbdadm connect ${res}   (the peer's data may be newer)`];
    case Ss.DEVICE_IN_USE:
      return ['end what uses the device (umount, stop the database), then try again'];
    case Ss.CONNECTED_OUTDATES:
      return [`drbdadm disconnect ${res}`];
    default:
      return [];
  }
}

function nextOfAttach(v: Volume, code: number): string[] {
  const res = v.resource.name;
  if (code === 119)
    return [
      `drbdadm create-md ${res}   (new meta-data; the data area is kept, the peer's copy is needed)`,
    ];
  if (code === Err.DISK_TOO_SMALL) return ['use the disk that was used before, or a larger one'];
  if (code === Err.BDCLAIM_DISK) return ['umount it or stop what uses it'];
  return [];
}

function running(r: Resource): RunningResource {
  return {
    name: r.name,
    options: r.resourceOptions,
    net:
      r.configured && r.local && r.remote
        ? { local: r.local, remote: r.remote, options: r.netOptions }
        : null,
    volumes: r.volumes.map((v) => ({
      volume: v.number,
      minor: v.minor,
      device: v.device,
      disk:
        v.dataDisk >= 0
          ? {
              disk: v.lowerDisk,
              metaDisk: v.metaDisk,
              metaIndex: v.metaIndex,
              options: v.diskOptions,
              lowerSectors: v.lowerSectors,
            }
          : null,
      ...(v.state.susp !== 0 ? { suspended: true as const } : {}),
    })),
  };
}
