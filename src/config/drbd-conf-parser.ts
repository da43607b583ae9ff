/**
 * drbd.conf: a recursive descent parser for the 8.0 to 8.4 dialects. A wrong token ends the reading, everything else
 * that is wrong is collected; with any error there is no configuration, so nothing is ever half applied.
 *
 *     file     = { "global" {...} | "common" {...} | "resource" NAME {...} | "skip" ... {...} | "include" PATTERN ";" }
 *     resource = { section | volume-statement | "volume" N {...} | "on" NAME... {...} | "floating" ADDRESS ({...} | ";") }
 *
 * Stricter than drbdadm: a block that the end of the file leaves open is an error (drbdadm takes such a resource as it
 * stands), and so is one disk used by two volumes; an `on` section has at most MAX_HOST_NAMES names.
 * Source: drbd.conf(5), drbdadm 9.22 observed, docs/CONFIGURATION.md.
 */
import { ConfCursor, SyntaxFailure } from './drbd-conf-cursor.js';
import { Lexer, type Place, type Token } from './drbd-conf-lexer.js';
import {
  type ConfFiles,
  type ConfGlobal,
  type ConfHost,
  type ConfResource,
  type ConfVolume,
  type DrbdConfResult,
  emptyVolume,
  placeText,
} from './drbd-conf-model.js';
import { pushOption, readOptions } from './drbd-conf-section.js';
import { ConfUnique } from './drbd-conf-unique.js';
import { parseAddress, parseVolumeStatement, readVolume } from './drbd-conf-volume.js';
import { scaledNumber } from './drbd-option-table.js';

const MAX_INCLUDE_DEPTH = 10;
/** Of one `on` section: each of its volumes is looked at under each name. A cluster of two needs a handful. */
const MAX_HOST_NAMES = 256;
/** Sections of `drbdsetup show`, which leaves things out. */
const DRBDSETUP_HOSTS: ReadonlySet<string> = new Set(['_this_host', '_remote_host']);

/** `path` is absolute. */
export function parseDrbdConf(path: string, files: ConfFiles): DrbdConfResult {
  const parser = new Parser(files);
  try {
    parser.readFile(path, null);
  } catch (e) {
    if (!(e instanceof SyntaxFailure)) throw e;
    parser.errors.push(e.message);
  }
  const { errors, warnings, global, common, resources } = parser;
  if (errors.length > 0) return { config: null, errors, warnings };
  return { config: { file: path, global, common, resources }, errors, warnings };
}

export class Parser extends ConfCursor {
  readonly unique = new ConfUnique(this.errors);
  readonly global: ConfGlobal = {
    minorCount: null,
    dialogRefresh: 1,
    disableIpVerification: false,
    udevAlwaysUseVnr: false,
    usageCount: 'ask',
    cmdTimeoutShort: null,
    cmdTimeoutMedium: null,
    cmdTimeoutLong: null,
  };
  common: ConfResource | null = null;
  readonly resources: ConfResource[] = [];
  readonly #files: ConfFiles;
  readonly #seen = new Set<string>();
  #depth = 0;

  constructor(files: ConfFiles) {
    super();
    this.#files = files;
  }

  // The file

  readFile(path: string, includedAt: Place | null): void {
    const real = this.#files.real(path);
    if (this.#seen.has(real)) return;
    this.#seen.add(real);
    const text = this.#files.read(path);
    if (text === null) {
      if (includedAt) this.error(includedAt, `Failed to open include file '${path}'.`);
      else this.errors.push(`Can not open '${path}'.`);
      return;
    }
    this.#depth++;
    this.within(new Lexer(text, path), () => this.#statements(path));
    this.#depth--;
  }

  #statements(path: string): void {
    for (;;) {
      const token = this.next();
      if (token.kind === 'eof') return;
      switch (token.kind === 'word' ? token.text : '') {
        case 'global':
          this.#globalSection(token);
          break;
        case 'common':
          this.common = this.#resource('common', token.place);
          if (this.common.hosts.length > 0) {
            this.error(token.place, 'in the common section, there are no host sections allowed.');
          }
          break;
        case 'resource':
          this.#namedResource();
          break;
        case 'skip':
          this.#skip(token);
          break;
        case 'include':
          this.#include(path);
          break;
        default:
          this.fail(token, 'global, common, resource, skip or include');
      }
    }
  }

  #namedResource(): void {
    const name = this.string('the name of the resource (a string)');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    if (name.text === '' || /[\x00-\x1f\x7f]/.test(name.text)) {
      this.fail(name, 'a resource name without control characters');
    }
    const resource = this.#resource(name.text, name.place);
    if (/\//.test(name.text) || name.text === 'all') {
      this.warnings.push(
        `${placeText(name.place)}: resource '${name.text}' cannot be named on a command line`,
      );
    }
    this.resources.push(resource);
  }

  #include(path: string): void {
    const pattern = this.string('the pattern of the files to include (a string)');
    this.op(';');
    const directory = path.slice(0, path.lastIndexOf('/'));
    const absolute = pattern.text.startsWith('/') ? pattern.text : `${directory}/${pattern.text}`;
    if (this.#depth >= MAX_INCLUDE_DEPTH) {
      throw new SyntaxFailure(
        `${placeText(pattern.place)}: expected at most ${MAX_INCLUDE_DEPTH} nested files, got '${pattern.text}'`,
      );
    }
    const found = this.#files.glob(absolute);
    if (found.length === 0 && !/[?*[]/.test(pattern.text)) {
      this.error(pattern.place, `Failed to open include file '${pattern.text}'.`);
    }
    for (const file of found) this.readFile(file, pattern.place);
  }

  /** `skip resource r9 {` is what the manual shows; drbdadm 9.22 takes one plain word only. */
  #skip(skip: Token): void {
    let token = this.next();
    while (token.kind === 'string' || token.kind === 'word') token = this.next();
    if (!this.isOp(token, '{')) this.fail(token, "'{' of the block to skip");
    for (let level = 1; level > 0; ) {
      token = this.next();
      if (this.isOp(token, '{')) level++;
      else if (this.isOp(token, '}')) level--;
      else if (token.kind === 'eof') {
        this.fail(token, `'}' of the skip block begun in line ${skip.place.line}`);
      }
    }
  }

  #globalSection(at: Token): void {
    this.unique.add('global section', 'global', at.place);
    if (this.resources.length > 0) {
      this.warnings.push(
        `${placeText(at.place)}: You should put the global {} section in front of any resource {} section`,
      );
    }
    const counted = (name: string, min: number, max: number): number => {
      const token = this.next();
      if (token.kind !== 'int') this.fail(token, `a number after ${name}`);
      const n = scaledNumber(token.text, '1') ?? -1;
      if (n < min || n > max) {
        this.error(token.place, `${name} ${token.text} => ${n} out of range [${min}..${max}].`);
      }
      return Number.parseInt(token.text, 10);
    };
    const g = this.global;
    this.op('{');
    for (;;) {
      const token = this.next();
      if (this.isOp(token, '}')) return;
      switch (token.kind === 'word' ? token.text : '') {
        case 'udev-always-use-vnr':
          g.udevAlwaysUseVnr = true;
          break;
        case 'disable-ip-verification':
          g.disableIpVerification = true;
          break;
        case 'minor-count':
          g.minorCount = counted('minor-count', 1, 255);
          break;
        case 'dialog-refresh':
          g.dialogRefresh = counted('dialog-refresh', 0, 600);
          break;
        case 'cmd-timeout-short':
          g.cmdTimeoutShort = counted('cmd-timeout-short', 0, 900);
          break;
        case 'cmd-timeout-medium':
          g.cmdTimeoutMedium = counted('cmd-timeout-medium', 0, 900);
          break;
        case 'cmd-timeout-long':
          g.cmdTimeoutLong = counted('cmd-timeout-long', 0, 900);
          break;
        case 'usage-count': {
          const value = this.next();
          if (value.kind !== 'word') this.fail(value, 'yes, no or ask');
          if (value.text !== 'yes' && value.text !== 'no' && value.text !== 'ask') {
            this.fail(value, 'yes, no or ask');
          }
          g.usageCount = value.text;
          break;
        }
        default:
          this.fail(
            token,
            'minor-count, dialog-refresh, usage-count, disable-ip-verification, udev-always-use-vnr or cmd-timeout-*',
          );
      }
      this.op(';');
    }
  }

  #resource(name: string, place: Place): ConfResource {
    const open = this.op('{');
    this.unique.add('resource section', name, place);
    this.unique.newResource();
    const r: ConfResource = {
      name,
      place,
      openLine: open.place.line,
      hosts: [],
      volumes: [],
      net: [],
      disk: [],
      options: [],
      startup: [],
      handlers: [],
      proxy: { options: [], plugins: [] },
      becomePrimaryOn: null,
      stackedTimeouts: false,
    };
    for (;;) {
      const token = this.next();
      if (this.isOp(token, '}')) break;
      if (token.kind === 'word') this.#resourceItem(r, token);
      else this.fail(token, `a statement or section of resource ${name}, or '}'`);
    }
    this.#sameVolumes(r);
    return r;
  }

  #resourceItem(r: ConfResource, token: Token): void {
    const once = (what: string) => this.unique.addInResource(`${what} section`, what, token.place);
    switch (token.text) {
      case 'protocol': {
        this.unique.addInResource('protocol statement', 'protocol', token.place);
        const value = this.string('A, B or C (a string)');
        pushOption(this, 'net', token, value, r.net);
        this.op(';');
        return;
      }
      case 'on':
        this.#host(r, this.names('{', MAX_HOST_NAMES), token.place);
        return;
      case 'floating':
        this.#floating(r, token.place);
        return;
      case '_this_host':
      case '_remote_host':
        this.op('{');
        this.#host(r, [token.text], token.place);
        return;
      case 'stacked-on-top-of':
        this.error(token.place, 'stacked resources (a third copy) are not supported');
        throw new SyntaxFailure(
          `${placeText(token.place)}: expected on or floating, got 'stacked-on-top-of'`,
        );
      case 'ignore-on':
        this.string('a host name (a string)');
        this.op(';');
        this.warnings.push(
          `${placeText(token.place)}: in resource ${r.name}, WARN: The 'ignore-on' keyword is deprecated.`,
        );
        return;
      case 'disk':
        if (this.isOp(this.peek(), '{')) {
          once('disk');
          readOptions(this, r, 'disk', r.disk);
          return;
        }
        break;
      case 'net':
      case 'options':
      case 'startup':
      case 'handlers':
        once(token.text);
        readOptions(this, r, token.text, r[token.text]);
        return;
      case 'syncer':
        once('syncer');
        readOptions(this, r, 'syncer', []);
        return;
      case 'proxy':
        once('proxy');
        readOptions(this, r, 'proxy', r.proxy.options);
        return;
      case 'volume': {
        const volume = readVolume(this, [], token.place);
        insertVolume(r.volumes, volume);
        return;
      }
      case 'device':
        this.unique.addInResource('device statement', 'device', token.place);
        break;
    }
    const volume = this.implicitVolume(r.volumes, token.place);
    if (!parseVolumeStatement(this, volume, token, [])) {
      this.fail(
        token,
        'protocol, on, floating, volume, device, disk, meta-disk, net, syncer, startup, handlers, options or proxy',
      );
    }
  }

  /** The one volume of statements outside `volume` blocks. */
  implicitVolume(volumes: ConfVolume[], place: Place): ConfVolume {
    const first = volumes[0];
    if (first) {
      if (!first.implicit) {
        this.error(place, 'mixing explicit and implicit volumes is not allowed');
      }
      return first;
    }
    const volume = emptyVolume(0, true, place);
    volumes.push(volume);
    return volume;
  }

  names(end: string, most = Number.POSITIVE_INFINITY): string[] {
    const names: string[] = [];
    for (;;) {
      const token = this.next();
      if (names.length > 0 && this.isOp(token, end)) return names;
      if (names.length >= most) this.fail(token, `at most ${most} names of a host`);
      if (token.kind !== 'string') this.fail(token, 'a host name (a string)');
      names.push(token.text);
    }
  }

  #floating(r: ConfResource, place: Place): void {
    const address = parseAddress(this);
    this.unique.addAddress(address, null);
    const shown = address.family === 'ipv6' ? `ipv6 [${address.host}]` : address.host;
    const end = this.next();
    if (!this.isOp(end, '{') && !this.isOp(end, ';')) this.fail(end, "'{' or ';'");
    const host = emptyHost([`${shown}:${address.port}`], true, place);
    host.address = address;
    this.#hostBody(r, host, this.isOp(end, '{'));
  }

  #host(r: ConfResource, names: readonly string[], place: Place): void {
    this.#hostBody(r, emptyHost(names, false, place), true);
  }

  #hostBody(r: ConfResource, host: ConfHost, hasBody: boolean): void {
    for (const name of host.names) {
      this.unique.addInResource('host section', `on ${name}`, host.place);
    }
    r.hosts.push(host);
    while (hasBody) {
      const token = this.next();
      if (this.isOp(token, '}')) break;
      if (token.kind !== 'word') this.fail(token, "a statement of the host, or '}'");
      this.#hostItem(host, token);
    }
    inheritVolumes(r.volumes, host);
    const drbdsetup = host.names.some((name) => DRBDSETUP_HOSTS.has(name));
    for (const volume of host.volumes) {
      this.unique.addVolume(volume, host.names);
      if (!drbdsetup) this.#complete(r, host, volume);
    }
    if (!drbdsetup && !host.address) this.#missing(r, host, 'address');
  }

  #hostItem(host: ConfHost, token: Token): void {
    const once = (what: string) => {
      for (const name of host.names) {
        this.unique.addInResource(`${what} statement`, `${name}:${what}`, token.place);
      }
    };
    switch (token.text) {
      case 'address':
      case 'alternate-link-address': {
        if (host.floating) {
          this.error(token.place, 'address statement not allowed for floating {} host sections');
        }
        once(token.text);
        const address = parseAddress(this);
        this.unique.addAddress(address, host.names);
        this.op(';');
        if (token.text === 'address') host.address = address;
        else host.alternateAddress = address;
        return;
      }
      case 'proxy':
        this.error(token.place, 'DRBD proxy is not supported');
        throw new SyntaxFailure(
          `${placeText(token.place)}: expected a host section without 'proxy on'`,
        );
      case 'volume':
        insertVolume(host.volumes, readVolume(this, host.names, token.place));
        return;
      case 'options':
        host.options = [];
        readOptions(this, null, 'options', host.options);
        return;
      case 'flexible-meta-disk':
        once('meta-disk');
        break;
      default:
        once(token.text);
    }
    const volume = this.implicitVolume(host.volumes, token.place);
    if (!parseVolumeStatement(this, volume, token, host.names)) {
      this.fail(token, 'disk, device, address, meta-disk, flexible-meta-disk, volume or options');
    }
  }

  #complete(r: ConfResource, host: ConfHost, volume: ConfVolume): void {
    if (volume.device === null && volume.minor === null) this.#missing(r, host, 'device');
    if (volume.disk === null) this.#missing(r, host, 'disk');
    if (volume.metaDisk === null) this.#missing(r, host, 'meta-disk');
  }

  #missing(r: ConfResource, host: ConfHost, what: string): void {
    this.error(
      host.place,
      `in resource ${r.name}, on ${host.names.join(' ')} { ... }: '${what}' keyword missing.`,
    );
  }

  /** All hosts have the same volumes. */
  #sameVolumes(r: ConfResource): void {
    const [first, ...others] = r.hosts;
    if (!first) return;
    const expected = byNumber(first.volumes);
    for (const other of others) {
      const where = `in resource ${r.name}, on ${first.names.join(' ')} { ... }:`;
      const name = other.names.join(' ');
      const there = byNumber(other.volumes);
      for (const volume of first.volumes) {
        const same = there.get(volume.vnr);
        if (!same) {
          this.error(volume.place, `${where} volume ${volume.vnr} not defined on ${name}`);
        } else if (same.implicit !== volume.implicit) {
          this.error(
            volume.place,
            `${where} volume ${volume.vnr} must not be implicit on one but not the other`,
          );
        }
      }
      for (const volume of other.volumes) {
        if (expected.has(volume.vnr)) continue;
        this.error(volume.place, `${where} volume ${volume.vnr} missing (present on ${name})`);
      }
    }
  }
}

function emptyHost(names: readonly string[], floating: boolean, place: Place): ConfHost {
  return {
    names,
    floating,
    place,
    volumes: [],
    address: null,
    alternateAddress: null,
    options: [],
  };
}

/** Sorted by number; of two with one number the later stands behind. */
function insertVolume(volumes: ConfVolume[], volume: ConfVolume): void {
  let at = volumes.length;
  for (let from = 0; from < at; ) {
    const middle = (from + at) >> 1;
    if ((volumes[middle]?.vnr ?? 0) > volume.vnr) at = middle;
    else from = middle + 1;
  }
  volumes.splice(at, 0, volume);
}

/** Of two with one number the first. */
function byNumber(volumes: readonly ConfVolume[]): Map<number, ConfVolume> {
  return new Map(volumes.map((volume) => [volume.vnr, volume] as const).reverse());
}

/** Statements at resource level hold for each host that lacks them. */
function inheritVolumes(from: readonly ConfVolume[], host: ConfHost): void {
  const own = byNumber(host.volumes);
  for (const s of from) {
    let t = own.get(s.vnr);
    if (!t) {
      t = emptyVolume(s.vnr, s.implicit, s.place);
      own.set(s.vnr, t);
      insertVolume(host.volumes, t);
    }
    t.disk ??= s.disk;
    t.device ??= s.device;
    t.minor ??= s.minor;
    if (t.metaDisk === null) {
      t.metaDisk = s.metaDisk;
      t.metaIndex = s.metaIndex;
    }
  }
}
