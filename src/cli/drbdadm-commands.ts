/**
 * The drbdsetup and drbdmeta calls that drbdadm makes, as argument lists. The first word is the program's name as the
 * original prints it. Source: drbdadm 9.22 -d observed; docs/CONFIGURATION.md.
 */
import type { ConfAddress, ConfOption, ConfVolume } from '../config/drbd-conf-model.js';
import type { LocalResource } from '../config/drbd-conf-resolve.js';

export const DRBDSETUP = 'drbdsetup-84';
export const DRBDMETA = 'drbdmeta';

export type Command = readonly string[];

function optionArgs(options: readonly ConfOption[]): string[] {
  return options.map(({ name, value }) => `--${name}=${value}`);
}

export function addressArg({ family, host, port }: ConfAddress): string {
  return family === 'ipv6' ? `${family}:[${host}]:${port}` : `${family}:${host}:${port}`;
}

function metaDevice(volume: ConfVolume): string {
  return (volume.metaDisk === 'internal' ? volume.disk : volume.metaDisk) ?? '';
}

/** drbdmeta MINOR v08 DEVICE INDEX VERB... */
export function drbdmeta(volume: ConfVolume, verb: string, extra: readonly string[] = []): Command {
  const index = volume.metaIndex === 'flexible' ? 'flex-external' : (volume.metaIndex ?? '');
  return [DRBDMETA, `${volume.minor}`, 'v08', metaDevice(volume), index, verb, ...extra];
}

export function attach(volume: ConfVolume, extra: readonly string[]): Command {
  return [
    DRBDSETUP,
    'attach',
    `${volume.minor}`,
    volume.disk ?? '',
    metaDevice(volume),
    volume.metaIndex ?? '',
    ...optionArgs(volume.diskOptions),
    ...extra,
  ];
}

/** With `defaults`, what the file does not have goes back to its default; without, only `extra` changes. */
export function diskOptions(
  volume: ConfVolume,
  defaults: boolean,
  extra: readonly string[],
): Command {
  const changeable = volume.diskOptions.filter(
    ({ name }) => name !== 'size' && name !== 'max-bio-bvecs',
  );
  const all = defaults ? ['--set-defaults', ...optionArgs(changeable)] : [];
  return [DRBDSETUP, 'disk-options', `${volume.minor}`, ...all, ...extra];
}

export function newResource(r: LocalResource, extra: readonly string[]): Command {
  return [DRBDSETUP, 'new-resource', r.conf.name, ...optionArgs(r.conf.options), ...extra];
}

export function resourceOptions(
  r: LocalResource,
  defaults: boolean,
  extra: readonly string[],
): Command {
  const all = defaults ? ['--set-defaults', ...optionArgs(r.conf.options)] : [];
  return [DRBDSETUP, 'resource-options', r.conf.name, ...all, ...extra];
}

export function newMinor(r: LocalResource, volume: ConfVolume): Command {
  return [DRBDSETUP, 'new-minor', r.conf.name, `${volume.minor}`, `${volume.vnr}`];
}

/** LOCAL REMOTE; a peer that is not known prints as the original does. */
function endpoints(r: LocalResource): string[] {
  const mine = r.me?.address;
  const theirs = r.peer?.address;
  return [mine ? addressArg(mine) : 'N/A', theirs ? addressArg(theirs) : 'N/A'];
}

export function connect(r: LocalResource, extra: readonly string[]): Command {
  const [mine, theirs] = [r.me?.alternateAddress, r.peer?.alternateAddress];
  const alternate = mine && theirs ? ['--alternate-address', addressArg(mine)] : [];
  if (mine && theirs) alternate.push('--alternate-peer-address', addressArg(theirs));
  const options = [...alternate, ...optionArgs(r.conf.net), ...extra];
  return [DRBDSETUP, 'connect', r.conf.name, ...endpoints(r), ...options];
}

export function netOptions(r: LocalResource, defaults: boolean, extra: readonly string[]): Command {
  const all = defaults ? ['--set-defaults', ...optionArgs(r.conf.net)] : [];
  return [DRBDSETUP, 'net-options', ...endpoints(r), ...all, ...extra];
}

export function disconnect(r: LocalResource, extra: readonly string[]): Command {
  return [DRBDSETUP, 'disconnect', ...endpoints(r), ...extra];
}

/** drbdsetup VERB MINOR or, without a volume, VERB RESOURCE. */
export function generic(
  verb: string,
  r: LocalResource,
  volume: ConfVolume | null,
  extra: readonly string[],
): Command {
  return [DRBDSETUP, verb, volume ? `${volume.minor}` : r.conf.name, ...extra];
}

export function resize(
  r: LocalResource,
  volume: ConfVolume,
  extra: readonly string[],
): readonly [Command, Command] {
  const size = [...volume.diskOptions, ...r.conf.disk].find((o) => o.name === 'size');
  return [
    [DRBDSETUP, 'resize', `${volume.minor}`, ...(size ? optionArgs([size]) : []), ...extra],
    [DRBDSETUP, 'check-resize', `${volume.minor}`],
  ];
}

export function waitConnect(r: LocalResource, volume: ConfVolume): Command {
  return [DRBDSETUP, 'wait-connect', `${volume.minor}`, ...optionArgs(r.conf.startup)];
}

/** A word as a shell would read it back: everything but harmless characters gets a backslash. */
export function shellEscape(text: string): string {
  return text.replace(/[^%+\-./0-9:=@A-Z_a-z]/g, '\\$&');
}
