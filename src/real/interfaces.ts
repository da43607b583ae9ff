/**
 * The interfaces of this machine and their addresses, also of one that has no carrier: the node at the other end of a crossover
 * cable is down, and ours has to start all the same. Node's own list (os.networkInterfaces) leaves such ones out; it is what
 * there is without the addon.
 */
import { networkInterfaces } from 'node:os';
import { IoError } from '../host/io-error.js';
import { loadAddon, type NativeInterface } from './native-addon.js';

export function allInterfaces(): readonly NativeInterface[] {
  const addon = loadAddon();
  const all = addon instanceof IoError ? 0 : addon.interfaces();
  if (typeof all !== 'number') return all;
  return Object.entries(networkInterfaces()).flatMap(([name, infos]) =>
    (infos ?? []).map(
      ({ family, address, netmask }): NativeInterface =>
        family === 'IPv4' ? [name, 4, address, netmask, ''] : [name, 6, address, '', ''],
    ),
  );
}

function ofDevice(device: string, family: 4 | 6): readonly NativeInterface[] {
  return allInterfaces().filter(([name, f]) => name === device && f === family);
}

export function ownAddresses(): ReadonlySet<string> {
  return new Set(allInterfaces().map(([, , address]) => address));
}

/** Its first address; of family 6 rather one that is not link-local. Throws when it has none. */
export function interfaceAddress(device: string, family: 4 | 6): string {
  const all = ofDevice(device, family).map(([, , address]) => address);
  const found = all.find((address) => !address.startsWith('fe80:')) ?? all[0];
  if (found === undefined) throw new Error(`interface ${device} has no IPv${family} address`);
  return found;
}

/** Throws when it has no address. */
export function broadcastAddress(device: string): string {
  const address = interfaceAddress(device, 4);
  const found = ofDevice(device, 4).find((row) => row[2] === address);
  const [, , , netmask = '', broadcast = ''] = found ?? [];
  if (broadcast !== '' && broadcast !== '0.0.0.0') return broadcast;
  const mask = netmask.split('.').map(Number);
  return address
    .split('.')
    .map((part, i) => Number(part) | (~(mask[i] ?? 255) & 255))
    .join('.');
}

/** Null, or why a medium cannot be used on the interface now. */
export function interfaceError(
  device: string,
  use: 'device' | 'address' | 'broadcast',
): string | null {
  if (!allInterfaces().some(([name]) => name === device)) return 'No such device';
  if (use === 'device') return null;
  if (ofDevice(device, 4).length === 0) return 'Cannot assign requested address';
  if (use === 'broadcast' && broadcastAddress(device) === interfaceAddress(device, 4)) {
    return 'interface has no broadcast address';
  }
  return null;
}
