/**
 * The numbers and sentences of a refusal, as `drbdsetup` prints them: the codes of a state change (`SS_*`: "State change
 * failed: (-2) Need access to UpToDate data") and the failure codes of an administrative request (`ERR_*`: "Failure:
 * (127) Device minor not allocated"). Log, control socket and command line share these tables. Numbers: linux/drbd.h;
 * texts: drbdsetup 8.4 (drbdsetup(8) prints them unchanged).
 */

/** Result of a state change request. Negative: refused. Positive: done, or nothing to do. */
export const Ss = {
  CW_NO_NEED: 4, // not a matter for the whole cluster
  CW_SUCCESS: 3, // the peer agreed
  NOTHING_TO_DO: 2,
  SUCCESS: 1,
  UNKNOWN_ERROR: 0,
  TWO_PRIMARIES: -1,
  NO_UP_TO_DATE_DISK: -2,
  NO_LOCAL_DISK: -4,
  NO_REMOTE_DISK: -5,
  CONNECTED_OUTDATES: -6,
  PRIMARY_NOP: -7,
  RESYNC_RUNNING: -8,
  ALREADY_STANDALONE: -9,
  CW_FAILED_BY_PEER: -10,
  IS_DISKLESS: -11,
  DEVICE_IN_USE: -12,
  NO_NET_CONFIG: -13,
  NO_VERIFY_ALG: -14,
  NEED_CONNECTION: -15,
  LOWER_THAN_OUTDATED: -16,
  NOT_SUPPORTED: -17,
  IN_TRANSIENT_STATE: -18, // the engine retries after the next state change; not shown to a user
  CONCURRENT_ST_CHG: -19,
  O_VOL_PEER_PRI: -20,
  OUTDATE_WO_CONN: -21,
} as const;
export type StateCode = (typeof Ss)[keyof typeof Ss];

const STATE_TEXTS: Readonly<Record<number, string>> = {
  [Ss.TWO_PRIMARIES]: 'Multiple primaries not allowed by config',
  [Ss.NO_UP_TO_DATE_DISK]: 'Need access to UpToDate data',
  [Ss.NO_LOCAL_DISK]: 'Can not resync without local disk',
  [Ss.NO_REMOTE_DISK]: 'Can not resync without remote disk',
  [Ss.CONNECTED_OUTDATES]: 'Refusing to be Outdated while Connected',
  [Ss.PRIMARY_NOP]: 'Refusing to be Primary while peer is not outdated',
  [Ss.RESYNC_RUNNING]: 'Can not start OV/resync since it is already active',
  [Ss.ALREADY_STANDALONE]: 'Can not disconnect a StandAlone device',
  [Ss.CW_FAILED_BY_PEER]: 'State change was refused by peer node',
  [Ss.IS_DISKLESS]: 'Device is diskless, the requested operation requires a disk',
  [Ss.DEVICE_IN_USE]: 'Device is held open by someone',
  [Ss.NO_NET_CONFIG]: 'Have no net/connection configuration',
  [Ss.NO_VERIFY_ALG]: 'Need a verify algorithm to start online verify',
  [Ss.NEED_CONNECTION]: 'Need a connection to start verify or resync',
  [Ss.LOWER_THAN_OUTDATED]: 'Disk state is lower than outdated',
  [Ss.NOT_SUPPORTED]: 'Peer does not support protocol',
  [Ss.IN_TRANSIENT_STATE]: 'In transient state, retry after next state change',
  [Ss.CONCURRENT_ST_CHG]: 'Concurrent state changes detected and aborted',
  [Ss.O_VOL_PEER_PRI]: 'Other vol primary on peer not allowed by config',
  [Ss.OUTDATE_WO_CONN]: 'Need a connection for a graceful disconnect/outdate peer',
};

/** The sentence behind "State change failed: (code) ". */
export function stateText(code: number): string {
  return STATE_TEXTS[code] ?? 'unknown error.';
}

/** Failure codes of an administrative request. `NO_ERROR` is success. */
export const Err = {
  NO_ERROR: 101,
  LOCAL_ADDR: 102,
  PEER_ADDR: 103,
  OPEN_DISK: 104,
  OPEN_MD_DISK: 105,
  DISK_NOT_BDEV: 107,
  MD_NOT_BDEV: 108,
  DISK_TOO_SMALL: 111,
  MD_DISK_TOO_SMALL: 112,
  BDCLAIM_DISK: 114,
  BDCLAIM_MD_DISK: 115,
  MD_IDX_INVALID: 116,
  IO_MD_DISK: 118,
  MD_INVALID: 119,
  AUTH_ALG: 120,
  AUTH_ALG_ND: 121,
  NOMEM: 122,
  DISCARD_IMPOSSIBLE: 123,
  DISK_CONFIGURED: 124,
  NET_CONFIGURED: 125,
  MANDATORY_TAG: 126,
  MINOR_INVALID: 127,
  INTR: 129,
  RESIZE_RESYNC: 130,
  NO_PRIMARY: 131,
  RESYNC_AFTER: 132,
  RESYNC_AFTER_CYCLE: 133,
  PAUSE_IS_SET: 134,
  PAUSE_IS_CLEAR: 135,
  PACKET_NR: 137,
  NO_DISK: 138,
  NOT_PROTO_C: 139,
  NOMEM_BITMAP: 140,
  INTEGRITY_ALG: 141,
  INTEGRITY_ALG_ND: 142,
  CPU_MASK_PARSE: 143,
  CSUMS_ALG: 144,
  CSUMS_ALG_ND: 145,
  VERIFY_ALG: 146,
  VERIFY_ALG_ND: 147,
  CSUMS_RESYNC_RUNNING: 148,
  VERIFY_RUNNING: 149,
  DATA_NOT_CURRENT: 150,
  CONNECTED: 151,
  PERM: 152,
  NEED_APV_93: 153,
  STONITH_AND_PROT_A: 154,
  CONG_NOT_PROTO_A: 155,
  PIC_AFTER_DEP: 156,
  PIC_PEER_DEP: 157,
  RES_NOT_KNOWN: 158,
  RES_IN_USE: 159,
  MINOR_CONFIGURED: 160,
  MINOR_OR_VOLUME_EXISTS: 161,
  INVALID_REQUEST: 162,
  NEED_APV_100: 163,
  NEED_ALLOW_TWO_PRI: 164,
  MD_UNCLEAN: 165,
  MD_LAYOUT_CONNECTED: 166,
  MD_LAYOUT_TOO_BIG: 167,
  MD_LAYOUT_TOO_SMALL: 168,
  MD_LAYOUT_NO_FIT: 169,
  IMPLICIT_SHRINK: 170,
} as const;
export type FailureCode = (typeof Err)[keyof typeof Err];

const UNKNOWN_ALGORITHM =
  'you specified is not known in the kernel. (Maybe you need to modprobe it, or modprobe hmac?)';

const FAILURE_TEXTS: Readonly<Record<FailureCode, string>> = {
  [Err.NO_ERROR]: 'No further Information available.',
  [Err.LOCAL_ADDR]: 'Local address(port) already in use.',
  [Err.PEER_ADDR]: 'Remote address(port) already in use.',
  [Err.OPEN_DISK]: 'Can not open backing device.',
  [Err.OPEN_MD_DISK]: 'Can not open meta device.',
  [Err.DISK_NOT_BDEV]: 'Lower device is not a block device.',
  [Err.MD_NOT_BDEV]: 'Meta device is not a block device.',
  [Err.DISK_TOO_SMALL]: 'Low.dev. smaller than requested DRBD-dev. size.',
  [Err.MD_DISK_TOO_SMALL]: 'Meta device too small.',
  [Err.BDCLAIM_DISK]: 'Lower device is already claimed. This usually means it is mounted.',
  [Err.BDCLAIM_MD_DISK]: 'Meta device is already claimed. This usually means it is mounted.',
  [Err.MD_IDX_INVALID]: 'Lower device / meta device / index combination invalid.',
  [Err.IO_MD_DISK]: 'IO error(s) occurred during initial access to meta-data.',
  [Err.MD_INVALID]:
    "No valid meta-data signature found.\n\n\t==> Use 'drbdadm create-md res' to initialize meta-data area. <==",
  [Err.AUTH_ALG]: `The 'cram-hmac-alg' ${UNKNOWN_ALGORITHM}`,
  [Err.AUTH_ALG_ND]: "The 'cram-hmac-alg' you specified is not a digest.",
  [Err.NOMEM]: 'kmalloc() failed. Out of memory?',
  [Err.DISCARD_IMPOSSIBLE]: '--discard-my-data not allowed when primary.',
  [Err.DISK_CONFIGURED]: 'Device is attached to a disk (use detach first)',
  [Err.NET_CONFIGURED]: 'Device has a net-config (use disconnect first)',
  [Err.MANDATORY_TAG]: 'UnknownMandatoryTag',
  [Err.MINOR_INVALID]: 'Device minor not allocated',
  [Err.INTR]: 'Interrupted by Signal',
  [Err.RESIZE_RESYNC]: 'Resize not allowed during resync.',
  [Err.NO_PRIMARY]: 'Need one Primary node to resize.',
  [Err.RESYNC_AFTER]: 'The resync-after minor number is invalid',
  [Err.RESYNC_AFTER_CYCLE]: 'This would cause a resync-after dependency cycle',
  [Err.PAUSE_IS_SET]: 'Sync-pause flag is already set',
  [Err.PAUSE_IS_CLEAR]: 'Sync-pause flag is already cleared',
  [Err.PACKET_NR]: 'Kernel does not know how to handle your request.',
  [Err.NO_DISK]: 'Device does not have a disk-config',
  [Err.NOT_PROTO_C]: 'Protocol C required',
  [Err.NOMEM_BITMAP]: 'vmalloc() failed. Out of memory?',
  [Err.INTEGRITY_ALG]: `The 'data-integrity-alg' ${UNKNOWN_ALGORITHM}`,
  [Err.INTEGRITY_ALG_ND]: "The 'data-integrity-alg' you specified is not a digest.",
  [Err.CPU_MASK_PARSE]: 'Invalid cpu-mask.',
  [Err.CSUMS_ALG]: 'CSUMSAlgNotAvail',
  [Err.CSUMS_ALG_ND]: 'CSUMSAlgNotDigest',
  [Err.VERIFY_ALG]: 'VERIFYAlgNotAvail',
  [Err.VERIFY_ALG_ND]: 'VERIFYAlgNotDigest',
  [Err.CSUMS_RESYNC_RUNNING]: 'Can not change csums-alg while resync is in progress',
  [Err.VERIFY_RUNNING]: 'Can not change verify-alg while online verify runs',
  [Err.DATA_NOT_CURRENT]: 'Can only attach to the data we lost last (see kernel log).',
  [Err.CONNECTED]: 'Need to be StandAlone',
  [Err.PERM]: 'Permission denied. CAP_SYS_ADMIN necessary',
  [Err.NEED_APV_93]: 'Protocol version 93 required to use --assume-clean',
  [Err.STONITH_AND_PROT_A]: 'Fencing policy resource-and-stonith only with prot B or C allowed',
  [Err.CONG_NOT_PROTO_A]: 'on-congestion policy pull-ahead only with prot A allowed',
  [Err.PIC_AFTER_DEP]:
    'Sync-pause flag is already cleared.\nNote: Resync pause caused by a local resync-after dependency.',
  [Err.PIC_PEER_DEP]:
    'Sync-pause flag is already cleared.\nNote: Resync pause caused by the peer node.',
  [Err.RES_NOT_KNOWN]: 'Unknown resource',
  [Err.RES_IN_USE]: 'Resource still in use (delete all minors first)',
  [Err.MINOR_CONFIGURED]: 'Minor still configured (down it first)',
  [Err.MINOR_OR_VOLUME_EXISTS]: 'Minor or volume exists already (delete it first)',
  [Err.INVALID_REQUEST]: 'Invalid configuration request',
  [Err.NEED_APV_100]:
    'Prot version 100 required in order to change\nthese network options while connected',
  [Err.NEED_ALLOW_TWO_PRI]:
    'Can not clear allow_two_primaries as long as\nthere a primaries on both sides',
  [Err.MD_UNCLEAN]: "Unclean meta-data found.\nYou need to 'drbdadm apply-al res'",
  [Err.MD_LAYOUT_CONNECTED]: 'DRBD need to be connected for online MD layout change',
  [Err.MD_LAYOUT_TOO_BIG]: 'Resulting AL area too big',
  [Err.MD_LAYOUT_TOO_SMALL]: 'Resulting AL are too small',
  [Err.MD_LAYOUT_NO_FIT]: 'Resulting AL does not fit into available meta data space',
  [Err.IMPLICIT_SHRINK]: 'Implicit device shrinking not allowed. See kernel log.',
};

/** The sentence behind "Failure: (code) ". Some have several lines. */
export function failureText(code: number): string {
  return code in FAILURE_TEXTS ? FAILURE_TEXTS[code as FailureCode] : `Error code ${code} unknown.`;
}

/** The exit status of drbdsetup after a refused state change. */
export function stateExitStatus(code: number): number {
  if (code === Ss.LOWER_THAN_OUTDATED) return 5;
  if (code === Ss.NO_LOCAL_DISK) return 16;
  if (code === Ss.NO_UP_TO_DATE_DISK) return 17;
  return code < Ss.SUCCESS ? 11 : 0;
}
