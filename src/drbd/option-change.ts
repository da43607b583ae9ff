/**
 * Options that change while they are in use: what is refused, and what the peer is told.
 *
 *     net-options   judged -> taken -> P_PROTOCOL_UPDATE -> what we send has the new digest -> P_SYNC_PARAM89 of each volume
 *     disk-options  judged -> (al-extents, al-updates: the activity log drains and is exchanged) -> taken -> P_SYNC_PARAM89
 *     the peer's    P_PROTOCOL_UPDATE: protocol, after-sb-* and the digest of what it sends from the next packet on;
 *                   P_SYNC_PARAM89: resync rates, names of verify-alg and csums-alg (handshake.ts)
 *
 * A change is judged as a whole before any of it is done. The digest belongs to a direction: each node announces its own, and
 * the peer goes on sending with what it had. Nothing is compared while connected; what differs then is found by the next handshake.
 * Facts: docs/PROTOCOL.md, changes while connected; order of the checks: drbd_adm_net_opts and its kin of kernel 8.4.
 */
import { DIGEST_NAMES, nameFault } from '../base/digest-names.js';
import type { DiskOptions, NetOptions, Protocol } from '../config/drbd-options.js';
import { maxAlSlots } from '../md/activity-log.js';
import { MDF } from '../md/superblock.js';
import { COMMANDS } from '../wire/constants.js';
import { AFTER_SB, type ProtocolParams, type SyncParam } from '../wire/params.js';
import { ActivityLog } from './activity-log.js';
import type { Link } from './link.js';
import { sendProtocol, sendSyncParam } from './params.js';
import type { Resource } from './resource.js';
import { Err } from './return-codes.js';
import { Conns, Disks, isSuspended } from './state.js';
import { fittingOptions } from './thin-resync.js';
import type { Volume } from './volume.js';

/** The original's code, the evidence, the next command. */
export interface OptionRefusal {
  readonly code: number;
  readonly info: readonly string[];
  readonly next: readonly string[];
}

const refused = (code: number, info: string, ...next: string[]): OptionRefusal => ({
  code,
  info: info === '' ? [] : [info],
  next,
});

// ---- net-options

/** Why a connection can not have these options, whether it is made with them or has others now; null: it can. */
export function netRefusal(
  r: Resource,
  o: NetOptions,
  discardMyData = false,
): OptionRefusal | null {
  if (o.allowTwoPrimaries) {
    return refused(
      Err.NOT_PROTO_C,
      'allow-two-primaries is not supported: one node at a time is Primary',
      'remove allow-two-primaries from the net section',
    );
  }
  const stonith = r.volumes.some((v) => v.diskOptions.fencing === 'resource-and-stonith');
  if (o.protocol === 'A' && stonith) return refused(Err.STONITH_AND_PROT_A, '');
  if (discardMyData && r.isPrimary) return refused(Err.DISCARD_IMPOSSIBLE, '');
  if (o.protocol !== 'A' && o.onCongestion !== 'block') return refused(Err.CONG_NOT_PROTO_A, '');
  return inUseRefusal(r, o) ?? digestRefusal(r, o);
}

/** What is being used with the value that it has. */
function inUseRefusal(r: Resource, o: NetOptions): OptionRefusal | null {
  const old = r.netOptions;
  const { link } = r;
  if (!link) return null;
  const agreed = o.protocol !== old.protocol || o.dataIntegrityAlg !== old.dataIntegrityAlg;
  if (link.apv < 100 && agreed) {
    return refused(
      Err.NEED_APV_100,
      `the connection has version ${link.apv}: protocol and data-integrity-alg hold as long as it does`,
      `drbdadm disconnect ${r.name} && drbdadm adjust ${r.name}, on both nodes`,
    );
  }
  const busy = (from: number, ...more: number[]): Volume | undefined =>
    r.volumes.find((v) => [from, ...more].includes(v.state.conn));
  const { SyncSource, SyncTarget, PausedSyncS, PausedSyncT, VerifyS, VerifyT } = Conns;
  const resync = busy(SyncSource, SyncTarget, PausedSyncS, PausedSyncT);
  if (resync && o.csumsAlg !== old.csumsAlg) {
    return refused(Err.CSUMS_RESYNC_RUNNING, `${resync.name} is being resynchronised`);
  }
  const verify = busy(VerifyS, VerifyT);
  if (verify && o.verifyAlg !== old.verifyAlg) {
    return refused(Err.VERIFY_RUNNING, `${verify.name} is being verified`);
  }
  return null;
}

/** A digest that is not there, or lacks its secret. */
function digestRefusal(r: Resource, o: NetOptions): OptionRefusal | null {
  const { digests } = r.core.host;
  const plain = [
    ['csums-alg', o.csumsAlg, Err.CSUMS_ALG, Err.CSUMS_ALG_ND],
    ['verify-alg', o.verifyAlg, Err.VERIFY_ALG, Err.VERIFY_ALG_ND],
    ['data-integrity-alg', o.dataIntegrityAlg, Err.INTEGRITY_ALG, Err.INTEGRITY_ALG_ND],
  ] as const;
  for (const [option, name, code, noDigest] of plain) {
    if (name === '' || digests.digestBytes(name) > 0) continue;
    return unknownDigest(option, name, code, noDigest, DIGEST_NAMES);
  }
  const { cramHmacAlg, sharedSecret } = o;
  if (cramHmacAlg === '') return null;
  if (!digests.hasHmac(cramHmacAlg)) {
    const hmacs = DIGEST_NAMES.filter((name) => digests.hasHmac(name));
    return unknownDigest('cram-hmac-alg', cramHmacAlg, Err.AUTH_ALG, Err.AUTH_ALG_ND, hmacs);
  }
  if (sharedSecret !== '') return null;
  return refused(Err.AUTH_ALG, 'cram-hmac-alg is set, shared-secret is not');
}

function unknownDigest(
  option: string,
  name: string,
  code: number,
  noDigest: number,
  names: readonly string[],
): OptionRefusal {
  const what = {
    unknown: 'kernels have no digest of that name',
    'kernel-only': 'kernels may have it, here it is not there',
    'no-digest': 'it is no digest without a key',
  };
  const fault = nameFault(name);
  return refused(
    fault === 'no-digest' ? noDigest : code,
    `${option} "${name}": ${what[fault]}`,
    `${option} of both nodes: one of ${names.join(', ')}`,
  );
}

/** net-options, of a connection that may be there. */
export function changeNetOptions(r: Resource, o: NetOptions): OptionRefusal | null {
  const refusal = netRefusal(r, o);
  if (refusal) return refusal;
  r.netOptions = o;
  r.connector.optionsChanged();
  const { link } = r;
  if (!link) return null;
  promiseBy(r, o.protocol);
  link.transferLog.maxEpochSize = o.maxEpochSize;
  if (link.apv >= 100) {
    sendProtocol(link, r, COMMANDS.P_PROTOCOL_UPDATE);
    link.sends = link.integrity(o.dataIntegrityAlg); // behind that packet
  }
  for (const v of r.volumes) sendSyncParam(link, v);
  return null;
}

/** What is under way is answered as it was begun, but what a flush says of it may be worth less from now on. */
function promiseBy(r: Resource, letter: Protocol): void {
  const log = r.link?.transferLog;
  log?.visit((request) => request.owner.promises.lower(request, letter));
  if (r.protocolInForce !== letter) log?.close(); // what was begun before has its end
}

/** P_PROTOCOL_UPDATE. Null, or what is wrong with it. */
export function receiveProtocolUpdate(r: Resource, link: Link, p: ProtocolParams): string | null {
  const letter = (['A', 'B', 'C'] as const)[p.protocol - 1];
  if (letter === undefined) return `protocol ${p.protocol}`;
  const sb = [p.afterSb0p, p.afterSb1p, p.afterSb2p].map((n) => AFTER_SB[mirrored(n)]);
  const [afterSb0pri, afterSb1pri, afterSb2pri] = sb;
  if (afterSb0pri === undefined || afterSb1pri === undefined || afterSb2pri === undefined) {
    return `after-sb ${p.afterSb0p}, ${p.afterSb1p}, ${p.afterSb2p}`;
  }
  const { host } = r.core;
  const receives = link.integrity(p.integrityAlg);
  if (p.integrityAlg !== '' && receives.bytes === 0) {
    r.standAlone(`peer data-integrity-alg ${p.integrityAlg} not supported`);
    return null;
  }
  if (p.twoPrimaries !== 0) {
    host.log(
      'warn',
      r.name,
      'The peer allows two primaries: while this node is one, it is refused',
    );
  }
  const old = r.netOptions;
  if (p.integrityAlg !== link.receives.alg) {
    host.log('info', r.name, `peer data-integrity-alg: ${p.integrityAlg || '(none)'}`);
  }
  if (letter !== old.protocol) {
    host.log('info', r.name, `protocol ${letter}, as the peer says (was ${old.protocol})`);
  }
  link.receives = receives;
  if (link.peerProtocol) link.peerProtocol = { ...p, connFlags: link.peerProtocol.connFlags };
  r.netOptions = { ...old, protocol: letter, afterSb0pri, afterSb1pri, afterSb2pri };
  promiseBy(r, letter);
  r.toBeSaved();
  return null;
}

/**
 * Names of digests in a P_SYNC_PARAM that is not the first one of a connection. False: one of them is not known here, and the
 * connection is given up, as a kernel does: the peer would compare by it.
 */
export function adoptAlgorithms(link: Link, r: Resource, p: SyncParam): boolean {
  const old = r.netOptions;
  const verifyAlg = link.apv >= 88 ? p.verifyAlg : old.verifyAlg;
  const csumsAlg = link.apv >= 89 ? p.csumsAlg : old.csumsAlg;
  const { log, digests } = r.core.host;
  const both = [
    ['verify-alg', verifyAlg, old.verifyAlg],
    ['csums-alg', csumsAlg, old.csumsAlg],
  ] as const;
  for (const [option, name, before] of both) {
    if (name === before) continue;
    if (name !== '' && digests.digestBytes(name) === 0) {
      r.standAlone(`Can not allocate "${name}" as ${option}, which the peer uses now`);
      return false;
    }
    log('info', r.name, `using ${option}: "${name}"`);
  }
  if (verifyAlg === old.verifyAlg && csumsAlg === old.csumsAlg) return true;
  r.netOptions = { ...old, verifyAlg, csumsAlg };
  r.toBeSaved();
  return true;
}

/** discard-local here is discard-remote there. */
export function mirrored(policy: number): number {
  return policy === 5 ? 6 : policy === 6 ? 5 : policy;
}

// ---- disk-options

/** So long the activity log may take to drain: writes that do not end are frozen, or on a disk that does not answer. */
const DRAIN_MS = 10_000;

/** disk-options. `size` is not among them: that is a resize. */
export function changeDiskOptions(
  v: Volume,
  wanted: DiskOptions,
  done: (refusal: OptionRefusal | null) => void,
): void {
  const options = (): DiskOptions => ({ ...wanted, sizeSectors: v.diskOptions.sizeSectors });
  const refusal = diskRefusal(v, wanted);
  if (refusal) {
    done(refusal);
    return;
  }
  const { alUpdates, alExtents } = v.diskOptions;
  if (wanted.alUpdates === alUpdates && wanted.alExtents === alExtents) {
    take(v, options());
    done(null);
    return;
  }
  exchangeLog(v, wanted, done, () => {
    take(v, options());
  });
}

export function diskRefusal(v: Volume, o: DiskOptions): OptionRefusal | null {
  const r = v.resource;
  if (!v.diskUsable()) return refused(Err.NO_DISK, '');
  if (r.configured && r.netOptions.protocol === 'A' && o.fencing === 'resource-and-stonith') {
    return refused(Err.STONITH_AND_PROT_A, '');
  }
  return afterRefusal(v, o);
}

function afterRefusal(v: Volume, { resyncAfterMinor }: DiskOptions): OptionRefusal | null {
  const wrong = v.core.resyncOrder.refusal(v.minor, resyncAfterMinor);
  return wrong === null ? null : refused(wrong, `${v.name} resync-after ${resyncAfterMinor}`);
}

function take(v: Volume, options: DiskOptions): void {
  v.diskOptions = fittingOptions(v.core, v, options);
  const { link } = v;
  v.core.resyncOrder.settle();
  if (link && v.state.conn >= Conns.Connected) sendSyncParam(link, v);
}

/**
 * Another size of the activity log, or none on disk any more: writes wait until it is empty. What it covered is durable then, so
 * that it may be forgotten; and the superblock says whether there is one before any write relies on it.
 */
function exchangeLog(
  v: Volume,
  wanted: DiskOptions,
  done: (refusal: OptionRefusal | null) => void,
  takeOptions: () => void,
): void {
  const { store, bitmap, log } = v;
  const layout = store?.layout;
  if (!store || !bitmap || !layout) {
    done(refused(Err.NO_DISK, ''));
    return;
  }
  let over = false;
  const giveUp = (why: OptionRefusal): void => {
    if (over) return;
    over = true;
    if (v.store === store) log.goOn(null);
    done(why);
  };
  const gone = (): boolean => over || v.store !== store || v.state.disk < Disks.Inconsistent;
  const failed = (result: number): boolean => {
    if (result < 0) v.metaFailed(-result);
    if (!gone() && result >= 0) return false;
    giveUp(refused(Err.NO_DISK, 'the disk was let go meanwhile'));
    return true;
  };
  const began = log.drain((isEmpty) => {
    if (!isEmpty) {
      giveUp(refused(Err.NO_DISK, 'the disk was let go meanwhile'));
      return;
    }
    // The bits of what was written, and the data of bits that were cleared: the log knows of them no longer.
    store.writeBitmap(
      bitmap,
      null,
      (result) => {
        if (failed(result)) return;
        const refusal = afterRefusal(v, wanted); // another device may have come to wait for this one since
        if (refusal) {
          giveUp(refusal);
          return;
        }
        const disabled = wanted.alUpdates ? 0 : MDF.AL_DISABLED;
        v.flags = (v.flags & ~MDF.AL_DISABLED) | disabled;
        takeOptions();
        store.writeSuperblock((written) => {
          if (failed(written)) return;
          over = true;
          const slots = Math.min(wanted.alExtents, maxAlSlots(layout.alBlocks));
          const { alStripes, alStripeSize4k } = layout;
          log.goOn(new ActivityLog(slots, alStripes, alStripeSize4k, log.trNumber));
          done(null);
        });
      },
      true,
    );
  });
  if (!began) {
    over = true;
    done(refused(Err.INVALID_REQUEST, 'another change of the activity log is under way'));
    return;
  }
  v.link?.transferLog.close(); // what is acknowledged with its epoch need not wait for more of it
  const lookAtIt = (): void => {
    if (over || log.isEmptied) return;
    giveUp(
      refused(
        Err.INVALID_REQUEST,
        'Activity log still in use! Writes are under way that do not end: nothing was changed',
        'resume-io where I/O is suspended, then again',
      ),
    );
  };
  // Frozen writes end with resume-io or with the peer, whose connection may have been asked for behind this.
  if (isSuspended(v.state)) lookAtIt();
  else v.resource.after(DRAIN_MS, lookAtIt);
}
