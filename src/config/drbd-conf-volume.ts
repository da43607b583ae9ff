/**
 * The statements of a volume (device, disk, meta-disk) and addresses.
 *
 *     device    = "device" ( NAME ["minor" N] | "minor" N ) ";"     NAME /dev/drbdN, or /dev/drbd_anything with a minor
 *     disk      = "disk" PATH ";" | "disk" { options }
 *     meta-disk = "meta-disk" ( "internal" | PATH [ "[" N "]" ] ) ";"
 *     address   = ["ipv4" | "sdp" | "ssocks" | "sci"] A.B.C.D ":" PORT | "ipv6" "[" ADDRESS "]" ":" PORT
 *
 * Source: drbd.conf(5), drbdadm 9.22 observed.
 */
import type { Place, Token } from './drbd-conf-lexer.js';
import { type ConfAddress, type ConfVolume, emptyVolume } from './drbd-conf-model.js';
import type { Parser } from './drbd-conf-parser.js';
import { readOptions } from './drbd-conf-section.js';

const DEVICE = '/dev/drbd';
const IPV4_FAMILIES: ReadonlySet<string> = new Set(['sci', 'ssocks', 'sdp', 'ipv4']);

/** `volume N { ... }`, the word already read. `hosts` are empty at resource level. */
export function readVolume(p: Parser, hosts: readonly string[], place: Place): ConfVolume {
  const volume = emptyVolume(p.integer('the number of the volume'), false, place);
  p.op('{');
  for (;;) {
    const token = p.next();
    if (p.isOp(token, '}')) return volume;
    if (token.kind !== 'word' || !parseVolumeStatement(p, volume, token, hosts)) {
      p.fail(token, "device, disk, meta-disk, flexible-meta-disk or '}'");
    }
  }
}

/** False when `token` begins no statement of a volume; nothing more is read then. */
export function parseVolumeStatement(
  p: Parser,
  volume: ConfVolume,
  token: Token,
  hosts: readonly string[],
): boolean {
  switch (token.text) {
    case 'disk':
      if (p.isOp(p.peek(), '{')) {
        volume.diskOptions = [];
        readOptions(p, null, 'disk', volume.diskOptions);
      } else {
        volume.disk = p.string("a device (a string) or '{'").text;
        p.op(';');
      }
      return true;
    case 'device':
      parseDevice(p, volume, token.place, hosts);
      return true;
    case 'meta-disk':
      volume.metaDisk = p.string('internal or a device (a string)').text;
      volume.metaIndex = metaIndex(p, volume.metaDisk === 'internal');
      return true;
    case 'flexible-meta-disk':
      volume.metaDisk = p.string('internal or a device (a string)').text;
      volume.metaIndex = volume.metaDisk === 'internal' ? 'internal' : 'flexible';
      p.op(';');
      return true;
    default:
      return false;
  }
}

function metaIndex(p: Parser, isInternal: boolean): string {
  const token = p.next();
  if (p.isOp(token, ';')) return isInternal ? 'internal' : 'flexible';
  if (isInternal) p.fail(token, "';'");
  if (!p.isOp(token, '[')) p.fail(token, "'[' or ';'");
  const index = p.next();
  if (index.kind !== 'int') p.fail(index, 'a number');
  p.op(']');
  p.op(';');
  return index.text;
}

function parseDevice(p: Parser, volume: ConfVolume, place: Place, hosts: readonly string[]): void {
  let token = p.next();
  if (token.kind === 'string') {
    volume.device = token.text.startsWith('drbd') ? `/dev/${token.text}` : token.text;
    if (!volume.device.startsWith(DEVICE)) {
      p.error(
        token.place,
        'device name must start with /dev/drbd (/dev/ is optional, but drbd is required)',
      );
    }
    token = p.next();
  } else if (token.kind !== 'word' || token.text !== 'minor') {
    p.fail(token, 'a device name (a string) or minor');
  }
  const rest = volume.device?.startsWith(DEVICE) ? volume.device.slice(DEVICE.length) : null;
  if (token.kind === 'word' && token.text === 'minor') {
    volume.minor = p.integer('a minor number');
    p.op(';');
    checkName(p, rest, volume.minor, place);
  } else if (p.isOp(token, ';')) {
    if (rest !== null && /^\d{1,7}$/.test(rest)) volume.minor = Number(rest);
    else p.error(place, 'no minor given nor device name contains a minor number');
  } else {
    p.fail(token, "minor or ';'");
  }
  p.unique.addDevice(volume, hosts, place);
}

function checkName(p: Parser, rest: string | null, minor: number, place: Place): void {
  if (rest === null || rest.startsWith('_')) return;
  if (!/^\d+$/.test(rest)) {
    p.error(place, 'arbitrary device name must start with /dev/drbd_ (mind the _)');
  } else if (Number(rest) !== minor) {
    p.error(
      place,
      `explicit minor number must match with device name: try "device /dev/drbd${minor} minor ${minor};"`,
    );
  }
}

export function parseAddress(p: Parser): ConfAddress {
  let token = p.next();
  const { place } = token;
  let family = 'ipv4';
  if (token.kind === 'word' && token.text === 'ipv6') {
    family = 'ipv6';
    p.op('[');
    token = p.next();
    if (token.kind !== 'ipv6') p.fail(token, 'an IPv6 address');
    p.op(']');
  } else {
    if (token.kind === 'word' && IPV4_FAMILIES.has(token.text)) {
      family = token.text === 'sci' ? 'ssocks' : token.text; // its earlier name
      token = p.next();
    }
    if (token.kind !== 'ipv4') p.fail(token, 'an address (ADDRESS:PORT, or ipv6 [ADDRESS]:PORT)');
  }
  p.op(':');
  const port = p.next();
  if (port.kind !== 'int') p.fail(port, 'a port number');
  const n = Number(port.text);
  if (Number.isNaN(n))
    p.error(port.place, `expected a port number without unit, got '${port.text}'`);
  else if (n < 1 || n > 65535) {
    p.error(port.place, `port ${port.text} => ${n} out of range [1..65535].`);
  }
  return { family, host: token.text, port: port.text, place };
}
