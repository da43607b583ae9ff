/**
 * drbd.conf as read: the tree of the file, values as written. Nothing is inherited here (drbd-conf-expand.ts does) and
 * nothing is converted (drbd-options-convert.ts does), so that `drbdadm dump` can print it back.
 */
import type { Place } from './drbd-conf-lexer.js';

export interface ConfOption {
  readonly name: string; // today's name
  readonly value: string;
  readonly place: Place;
}

export interface ConfVolume {
  readonly vnr: number;
  readonly implicit: boolean; // statements outside a `volume` block
  device: string | null; // '/dev/drbd0'
  minor: number | null;
  disk: string | null;
  metaDisk: string | null; // 'internal' or a device
  metaIndex: string | null; // 'internal', 'flexible' or a number as written
  diskOptions: ConfOption[];
  readonly place: Place;
}

export interface ConfAddress {
  readonly family: string; // ipv4, ipv6, ssocks, sdp
  readonly host: string;
  readonly port: string;
  readonly place: Place;
}

export interface ConfHost {
  readonly names: readonly string[]; // a floating section: its address
  readonly floating: boolean;
  readonly place: Place;
  volumes: ConfVolume[]; // sorted by number
  address: ConfAddress | null;
  alternateAddress: ConfAddress | null;
  options: ConfOption[];
}

export interface ConfProxy {
  options: ConfOption[];
  plugins: readonly string[];
}

/** A resource, or the common section (without hosts and volumes). */
export interface ConfResource {
  readonly name: string;
  readonly place: Place;
  readonly openLine: number; // of its '{': where the original says that it is defined
  hosts: ConfHost[];
  volumes: ConfVolume[];
  net: ConfOption[];
  disk: ConfOption[];
  options: ConfOption[];
  startup: ConfOption[];
  handlers: ConfOption[];
  proxy: ConfProxy;
  becomePrimaryOn: readonly string[] | null;
  stackedTimeouts: boolean;
}

export interface ConfGlobal {
  minorCount: number | null;
  dialogRefresh: number; // seconds
  disableIpVerification: boolean;
  udevAlwaysUseVnr: boolean;
  usageCount: 'yes' | 'no' | 'ask';
  cmdTimeoutShort: number | null; // seconds
  cmdTimeoutMedium: number | null;
  cmdTimeoutLong: number | null;
}

export interface DrbdConf {
  readonly file: string;
  readonly global: ConfGlobal;
  readonly common: ConfResource | null;
  readonly resources: readonly ConfResource[];
}

export interface DrbdConfResult {
  readonly config: DrbdConf | null; // null: refused, see errors
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/** Access to files; paths are absolute. */
export interface ConfFiles {
  /** Null when it cannot be opened. */
  read(path: string): string | null;
  /** glob(3): sorted paths, none when nothing matches. */
  glob(pattern: string): readonly string[];
  /** The path without symbolic links. */
  real(path: string): string;
}

export function placeText(place: Place): string {
  return `${place.file}:${place.line}:${place.column}`;
}

export function hostNames(host: ConfHost): string {
  return host.names.join(' ');
}

export function emptyVolume(vnr: number, implicit: boolean, place: Place): ConfVolume {
  return {
    vnr,
    implicit,
    device: null,
    minor: null,
    disk: null,
    metaDisk: null,
    metaIndex: null,
    diskOptions: [],
    place,
  };
}
