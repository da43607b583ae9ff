/**
 * The options of drbd.conf as the engine wants them: every one present, in one unit, named by it. The tables that
 * parse, range-check and print them are in drbd-option-table.ts. Source: drbd.conf(5) 8.4, docs/CONFIGURATION.md.
 */

export type Protocol = 'A' | 'B' | 'C';

export interface NetOptions {
  readonly protocol: Protocol;
  readonly timeoutDs: number; // tenths of a second
  readonly maxEpochSize: number; // writes
  readonly maxBuffers: number; // pages of 4 KiB
  readonly unplugWatermark: number;
  readonly connectIntS: number;
  readonly pingIntS: number;
  readonly pingTimeoutDs: number;
  readonly sndbufBytes: number; // 0: automatic
  readonly rcvbufBytes: number;
  readonly koCount: number;
  readonly allowTwoPrimaries: boolean;
  readonly cramHmacAlg: string; // '' : no authentication
  readonly sharedSecret: string;
  readonly afterSb0pri: string;
  readonly afterSb1pri: string;
  readonly afterSb2pri: string;
  readonly alwaysAsbp: boolean;
  readonly rrConflict: string;
  readonly dataIntegrityAlg: string;
  readonly tcpCork: boolean;
  readonly onCongestion: string;
  readonly congestionFillSectors: number;
  readonly congestionExtents: number;
  readonly csumsAlg: string;
  readonly verifyAlg: string;
  readonly csumsAfterCrashOnly: boolean;
  readonly useRle: boolean;
  readonly socketCheckTimeoutDs: number;
}

export interface DiskOptions {
  readonly sizeSectors: number; // 0: all of it
  readonly onIoError: 'detach' | 'pass_on' | 'call-local-io-error';
  readonly fencing: 'dont-care' | 'resource-only' | 'resource-and-stonith';
  readonly diskBarrier: boolean;
  readonly diskFlushes: boolean;
  readonly diskDrain: boolean;
  readonly mdFlushes: boolean;
  readonly maxBioBvecs: number;
  readonly diskTimeoutDs: number;
  readonly resyncRateKiBps: number;
  readonly resyncAfterMinor: number; // -1: none
  readonly alExtents: number;
  readonly alUpdates: boolean;
  readonly cPlanAheadDs: number;
  readonly cDelayTargetDs: number;
  readonly cFillTargetSectors: number;
  readonly cMaxRateKiBps: number;
  readonly cMinRateKiBps: number;
  readonly readBalancing: string;
  readonly discardZeroesIfAligned: boolean;
  readonly disableWriteSame: boolean;
  readonly rsDiscardGranularityBytes: number;
}

export interface ResourceOptions {
  readonly cpuMask: string;
  readonly onNoDataAccessible: 'io-error' | 'suspend-io';
}

/** The handlers of a resource that are configured: event name -> shell command. */
export type Handlers = Readonly<Record<string, string>>;

export const DEFAULT_NET_OPTIONS: NetOptions = {
  protocol: 'C',
  timeoutDs: 60,
  maxEpochSize: 2048,
  maxBuffers: 2048,
  unplugWatermark: 128,
  connectIntS: 10,
  pingIntS: 10,
  pingTimeoutDs: 5,
  sndbufBytes: 0,
  rcvbufBytes: 0,
  koCount: 7,
  allowTwoPrimaries: false,
  cramHmacAlg: '',
  sharedSecret: '',
  afterSb0pri: 'disconnect',
  afterSb1pri: 'disconnect',
  afterSb2pri: 'disconnect',
  alwaysAsbp: false,
  rrConflict: 'disconnect',
  dataIntegrityAlg: '',
  tcpCork: true,
  onCongestion: 'block',
  congestionFillSectors: 0,
  congestionExtents: 1237,
  csumsAlg: '',
  verifyAlg: '',
  csumsAfterCrashOnly: false,
  useRle: true,
  socketCheckTimeoutDs: 0,
};

export const DEFAULT_DISK_OPTIONS: DiskOptions = {
  sizeSectors: 0,
  onIoError: 'detach',
  fencing: 'dont-care',
  diskBarrier: false,
  diskFlushes: true,
  diskDrain: true,
  mdFlushes: true,
  maxBioBvecs: 0,
  diskTimeoutDs: 0,
  resyncRateKiBps: 250,
  resyncAfterMinor: -1,
  alExtents: 1237,
  alUpdates: true,
  cPlanAheadDs: 20,
  cDelayTargetDs: 10,
  cFillTargetSectors: 100,
  cMaxRateKiBps: 102400,
  cMinRateKiBps: 250,
  readBalancing: 'prefer-local',
  discardZeroesIfAligned: true,
  disableWriteSame: false,
  rsDiscardGranularityBytes: 0,
};

export const DEFAULT_RESOURCE_OPTIONS: ResourceOptions = {
  cpuMask: '',
  onNoDataAccessible: 'io-error',
};
