/**
 * What may stand only once: sections within a resource; resource names, addresses, minors, devices, disks and metadata
 * over the whole file. One disk under two volumes would be overwritten by both: drbdadm only sees it when the disk is
 * inherited from the resource, here it is always an error.
 */
import type { Place } from './drbd-conf-lexer.js';
import { type ConfAddress, type ConfVolume, placeText } from './drbd-conf-model.js';

export class ConfUnique {
  readonly #errors: string[];
  readonly #file = new Map<string, Place>();
  #resource = new Map<string, Place>();

  constructor(errors: string[]) {
    this.#errors = errors;
  }

  newResource(): void {
    this.#resource = new Map();
  }

  add(what: string, key: string, place: Place): void {
    this.#add(this.#file, what, `${what} ${key}`, key, place);
  }

  addInResource(what: string, key: string, place: Place): void {
    this.#add(this.#resource, what, key, key, place);
  }

  /** Loopback addresses are a host's own, all others must be unique. `hosts` null: a floating section. */
  addAddress(address: ConfAddress, hosts: readonly string[] | null): void {
    const shown = `${address.host}:${address.port}`;
    const isLocal = hosts !== null && (/^127\./.test(address.host) || address.host === '::1');
    for (const key of isLocal ? hosts.map((host) => `${host}:${shown}`) : [shown]) {
      this.add('IP', key, address.place);
    }
  }

  addDevice(volume: ConfVolume, hosts: readonly string[], place: Place): void {
    for (const host of hosts) {
      if (volume.device !== null) this.add('device', `device:${host}:${volume.device}`, place);
    }
  }

  /** A complete volume of a host, with what it inherited. */
  addVolume(volume: ConfVolume, hosts: readonly string[]): void {
    for (const host of hosts) {
      if (volume.minor !== null) this.add('device-minor', `${host}:${volume.minor}`, volume.place);
      if (volume.disk !== null) this.add('disk', `${host}:${volume.disk}`, volume.place);
      if (volume.metaDisk !== null && volume.metaDisk !== 'internal') {
        const key = `${host}:${volume.metaDisk}[${volume.metaIndex}]`;
        this.add('meta-disk', key, volume.place);
      }
    }
  }

  #add(map: Map<string, Place>, what: string, id: string, shown: string, place: Place): void {
    const first = map.get(id);
    if (first === undefined) map.set(id, place);
    else this.#conflict(what, shown, first, place);
  }

  #conflict(what: string, shown: string, first: Place, place: Place): void {
    this.#errors.push(
      `${placeText(place)}: conflicting use of ${what} '${shown}' ...`,
      `${placeText(first)}: ${what} '${shown}' first used here.`,
    );
  }
}
