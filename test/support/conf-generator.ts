/**
 * drbd.conf files from a seed: a walk over the grammar, with every section and option of the tables, today's spelling and
 * that of 8.0 to 8.3, includes, quoting, numbers at their limits. With `careless` above 0 some choices are wrong: a name
 * or an address twice, a value out of range, a statement that is missing or stands where it must not. What the file is
 * worth says the original, not this generator (test/cli/conf-matrix.test.ts).
 */
import type { Prng } from '../../src/base/prng.js';
import {
  HANDLER_NAMES,
  IGNORED_OPTIONS,
  type Option,
  SECTION_OPTIONS,
  type Section,
} from '../../src/config/drbd-option-table.js';
import {
  ALGORITHMS,
  HOSTS,
  NEGATED,
  ODD_NUMBERS,
  ODD_STRINGS,
  SCRIPTS,
  SYNCER_OPTIONS,
} from './conf-words.js';

export interface GeneratedConf {
  readonly node: string; // this host's name
  /** Tokens as they stand in the file; the first file is the main one. */
  readonly files: readonly { readonly path: string; readonly tokens: string[] }[];
}

export class ConfGenerator {
  readonly #rng: Prng;
  readonly #careless: number;
  #out: string[] = [];
  #files: { path: string; tokens: string[] }[] = [];
  #hosts: string[] = [];
  #minor = 0;
  #port = 7788;
  #disk = 0;
  #names: string[] = [];

  constructor(rng: Prng, careless: number) {
    this.#rng = rng;
    this.#careless = careless;
  }

  conf(): GeneratedConf {
    const rng = this.#rng;
    const main: string[] = [];
    this.#files = [{ path: 'drbd.conf', tokens: main }];
    this.#out = main;
    this.#names = [];
    this.#minor = rng.pick([0, 0, 1, 99, 1_048_570]);
    this.#port = rng.pick([7788, 7788, 1, 65_500]);
    this.#disk = 0;
    this.#hosts = rng.chance(0.8) ? ['one', 'two'] : [rng.pick(HOSTS), rng.pick(HOSTS), 'one'];
    if (!rng.chance(0.1)) this.#global();
    if (rng.chance(0.4)) this.#common();
    const resources = rng.pick([0, 1, 1, 1, 1, 2, 2, 3, 5]);
    for (let i = 0; i < resources; i++) {
      if (rng.chance(0.08)) this.#skip();
      if (rng.chance(0.15)) this.#included(`d${i}.res`, () => this.#resource());
      else this.#resource();
    }
    if (this.#slip()) this.#stacked();
    if (this.#slip()) this.#global();
    if (this.#slip()) this.#common();
    if (this.#slip()) this.#say('skip', 'resource', 'r9', '{', 'net', '{', '}', '}');
    if (this.#slip())
      main.push('include', rng.pick(['nosuch', '"no-*.res"', '"d*"', 'd0.res']), ';');
    const node = rng.chance(0.85) ? 'one' : rng.pick(['two', '10.0.0.1', 'elsewhere', '127.0.0.1']);
    return { node, files: this.#files };
  }

  // What everything uses

  /** Now something may be wrong. */
  #slip(): boolean {
    return this.#rng.chance(this.#careless);
  }

  #say(...tokens: readonly string[]): void {
    this.#out.push(...tokens);
  }

  #block(head: readonly string[], body: () => void): void {
    this.#say(...head, '{');
    body();
    this.#say('}');
  }

  #maybe(probability: number, what: () => void): void {
    if (this.#rng.chance(probability)) what();
  }

  #times(max: number, what: () => void): void {
    for (let n = this.#rng.below(max + 1); n > 0; n--) what();
  }

  #shuffled<T>(list: readonly T[]): T[] {
    const rest = [...list];
    const result: T[] = [];
    while (rest.length > 0) result.push(...rest.splice(this.#rng.below(rest.length), 1));
    return result;
  }

  #included(name: string, what: () => void): void {
    const rng = this.#rng;
    const outer = this.#out;
    const path = rng.chance(0.5) ? `inc/${name}` : name;
    const pattern = rng.pick(['.r*', '.r?s', '.[r]es', '.[!a-q]es', '[.-x]res', '.r[z-a]s*']);
    outer.push('include', rng.chance(0.5) ? path : `"${path.replace('.res', pattern)}"`, ';');
    this.#out = [];
    this.#files.push({ path, tokens: this.#out });
    what();
    this.#out = outer;
  }

  #number(min: number, max: number): string {
    const rng = this.#rng;
    if (this.#slip()) return rng.pick([...ODD_NUMBERS, `${max + 1}`, `${min - 1}`]);
    const n = rng.pick([min, max, min + 1, max - 1, min + rng.below(max - min + 1)]);
    return n > 99_999_999 ? `${min + rng.below(9_999)}` : `${n}`;
  }

  #string(plain: string): string {
    const rng = this.#rng;
    if (this.#slip()) return rng.pick(ODD_STRINGS);
    if (rng.chance(0.15)) return `"${plain}"`;
    return rng.chance(0.02) ? `"\\${plain}"` : plain;
  }

  // Sections

  /** A third copy, on top of the last resource. */
  #stacked(): void {
    const lower = this.#names.at(-1) ?? 'r0';
    this.#block(['resource', `s${this.#names.length}`], () => {
      this.#block(['stacked-on-top-of', lower], () =>
        this.#say('device', 'minor', '900000', ';', 'address', ...this.#address(210), ';'),
      );
      this.#host(['three'], this.#volume(true), this.#address(211));
    });
  }

  #global(): void {
    const rng = this.#rng;
    this.#block(['global'], () => {
      this.#maybe(0.9, () => this.#say('disable-ip-verification', ';'));
      this.#maybe(0.5, () => this.#say('usage-count', rng.pick(['yes', 'no', 'ask']), ';'));
      this.#maybe(0.2, () => this.#say('minor-count', this.#number(1, 255), ';'));
      this.#maybe(0.2, () => this.#say('dialog-refresh', this.#number(0, 600), ';'));
      this.#maybe(0.1, () => this.#say('udev-always-use-vnr', ';'));
      for (const name of ['cmd-timeout-short', 'cmd-timeout-medium', 'cmd-timeout-long']) {
        this.#maybe(0.1, () => this.#say(name, this.#number(0, 900), ';'));
      }
    });
  }

  #common(): void {
    this.#block(['common'], () => {
      for (const section of this.#shuffled(this.#sections())) section();
      if (this.#slip()) this.#host(['one'], this.#volume(true), null);
    });
  }

  #skip(): void {
    const rng = this.#rng;
    this.#say('skip', ...rng.pick([[], ['anything'], ['"r 9"']]));
    this.#say(
      '{',
      ...rng.pick([[], ['a', '{', '"}"', '}'], ['resource', 'x', '{', '5', '}']]),
      '}',
    );
  }

  /** Those that stand in this resource, each at most once. */
  #sections(): (() => void)[] {
    const of = (probability: number, what: () => void) =>
      this.#rng.chance(probability) ? [what] : [];
    const again = this.#slip() ? [() => this.#optionSection('net')] : [];
    return [
      ...of(0.35, () => this.#say('protocol', this.#protocol(), ';')),
      ...of(0.5, () => this.#optionSection('net')),
      ...of(0.5, () => this.#optionSection('disk')),
      ...of(0.2, () => this.#optionSection('options')),
      ...of(0.3, () => this.#startup()),
      ...of(0.3, () => this.#handlers()),
      ...of(0.3, () => this.#syncer()),
      ...of(0.06, () => this.#proxy()),
      ...again,
    ];
  }

  #protocol(): string {
    return this.#slip() ? this.#rng.pick(['D', '5', '"CC"', 'on']) : this.#rng.pick([...'ABCabc']);
  }

  #optionSection(section: Section): void {
    this.#block([section], () => {
      this.#times(this.#rng.pick([1, 4, 12]), () => this.#option(section));
    });
  }

  #option(section: Section): void {
    const rng = this.#rng;
    const from: Section = this.#slip() ? rng.pick(['net', 'disk', 'options', 'handlers']) : section;
    const old = rng.chance(0.1) ? this.#oldForm(section) : null;
    if (old) {
      this.#say(...old, ';');
      return;
    }
    const option = rng.pick([...(SECTION_OPTIONS.get(from)?.values() ?? [])]);
    this.#say(option.name, ...this.#value(option), ';');
  }

  /** As 8.0 to 8.3 had it, or null where there was nothing else. */
  #oldForm(section: Section): string[] | null {
    const rng = this.#rng;
    if (section !== 'net' && section !== 'disk') return null;
    const ignored = [rng.pick([...IGNORED_OPTIONS]), this.#number(1, 9)];
    if (section === 'net') return rng.pick([['no-tcp-cork'], ignored]);
    return rng.pick([[rng.pick(NEGATED)], ['rate', '5M'], ['after', this.#after()], ignored]);
  }

  /** A value for each kind; none or yes or no for a flag. */
  #value(option: Option): string[] {
    const rng = this.#rng;
    if (this.#slip()) return rng.pick([[], ['on'], ['yes'], ['5', '6'], ['{'], ['"5"']]);
    switch (option.kind) {
      case 'flag':
        return rng.pick([[], ['yes'], ['no']]);
      case 'word':
        if (option.name === 'protocol') return [this.#protocol()];
        if (option.name === 'after-sb-0pri' && rng.chance(0.2)) {
          return [`discard-node-${this.#slip() ? 'nosuch' : rng.pick(this.#hosts)}`];
        }
        return [this.#string(rng.pick(option.words))];
      case 'text':
        return [rng.pick(option.name.endsWith('-alg') ? ALGORITHMS : SCRIPTS)];
      case 'number':
        if (option.name === 'resync-after') return [this.#after()];
        return [this.#scaled(option.min, option.max, option.scale)];
    }
  }

  #scaled(min: number, max: number, scale: '1' | 'k' | 's'): string {
    const rng = this.#rng;
    if (this.#slip()) return this.#number(min, max);
    if (!rng.chance(0.4)) return this.#number(min, max);
    const bytes = { '1': 1, k: 1024, s: 512 }[scale];
    const unit = rng.pick(['K', 'M', 'G', 's'] as const);
    const per = { K: 1024, M: 2 ** 20, G: 2 ** 30, s: 512 }[unit] / bytes;
    const low = Math.ceil(min / per);
    const high = Math.min(Math.floor(max / per), 9_999_999);
    if (high < low) return this.#number(min, max);
    return `${rng.pick([low, high, low + rng.below(high - low + 1)])}${unit}`;
  }

  #after(): string {
    const rng = this.#rng;
    const known = this.#names.map((name) => name.replaceAll('"', ''));
    if (this.#slip() || known.length === 0) return rng.pick(['nosuch', 'r0/9', '5', '-1']);
    return rng.chance(0.3) ? `${rng.pick(known)}/0` : `"${rng.pick(known)}"`;
  }

  #startup(): void {
    this.#block(['startup'], () => {
      this.#times(3, () => this.#option('startup'));
      this.#maybe(0.2, () => this.#say('stacked-timeouts', ';'));
      this.#maybe(0.3, () => {
        const both = this.#slip() ? ['both'] : this.#slip() ? ['nosuch'] : [];
        this.#say('become-primary-on', ...both, this.#rng.pick(this.#hosts), ';');
      });
    });
  }

  #handlers(): void {
    const rng = this.#rng;
    this.#block(['handlers'], () => {
      this.#times(4, () =>
        this.#say(rng.pick([...HANDLER_NAMES, 'outdate-peer']), rng.pick(SCRIPTS), ';'),
      );
    });
  }

  #syncer(): void {
    const rng = this.#rng;
    this.#block(['syncer'], () => {
      this.#times(4, () => {
        const name = rng.pick(SYNCER_OPTIONS);
        const today = { rate: 'resync-rate', after: 'resync-after' }[name] ?? name;
        const lists = [...SECTION_OPTIONS.values()];
        const option = lists.map((list) => list.get(today)).find((o) => o !== undefined);
        this.#say(name, ...(option ? this.#value(option) : ['1']), ';');
      });
    });
  }

  #proxy(): void {
    this.#block(['proxy'], () => {
      this.#times(3, () => this.#option('proxy'));
      this.#maybe(0.5, () =>
        this.#block(['plugin'], () => {
          this.#times(2, () =>
            this.#say(...this.#rng.pick([['zlib', 'level', '9'], ['lzma']]), ';'),
          );
        }),
      );
    });
  }

  // Resources

  #resource(): void {
    const rng = this.#rng;
    const isAgain = this.#slip() && this.#names.length > 0;
    const name = isAgain ? rng.pick(this.#names) : this.#string(`r${this.#names.length}`);
    this.#names.push(name);
    const isExplicit = rng.chance(0.3);
    const vnrs = isExplicit ? rng.pick([[0], [0, 1], [0, 3], [7, 2, 0]]) : [];
    const volumes = isExplicit ? vnrs.map((vnr) => ({ vnr, ...this.#volume(false) })) : [];
    const implicit = this.#volume(true);
    const inResource = rng.pick([[], [], ['device', 'disk', 'meta-disk'], ['device', 'meta-disk']]);
    const hosts = rng.chance(0.9) ? this.#hosts.slice(0, 2) : rng.pick([['one'], this.#hosts]);
    const isFloating = rng.chance(0.1);

    const items = this.#shuffled(this.#sections());
    const volumeItems = volumes.map(
      (volume) => () =>
        this.#block(['volume', `${volume.vnr}`], () => this.#volumeBody(volume, inResource)),
    );
    const before = isExplicit
      ? inResource.length > 0
        ? volumeItems
        : []
      : [() => this.#volumeBody(implicit, inResource)];
    const octet = 1 + rng.below(200);
    const hostItems = hosts.map((host, i) => () => {
      const address = isFloating ? null : this.#address(i + octet);
      const rest = ['device', 'disk', 'meta-disk'].filter((s) => !inResource.includes(s));
      const body = () => {
        if (isExplicit) this.#hostVolumes(volumes, rest);
        else this.#volumeBody(implicit, rest);
      };
      if (isFloating) this.#floating(i + octet, body);
      else this.#host([host], body, address);
    });
    this.#minor += rng.pick([10, 10, 0 + this.#slipNumber(10)]);
    this.#port += this.#slipNumber(1);
    this.#block(['resource', name], () => {
      this.#maybe(0.04, () => this.#say('ignore-on', 'three', ';'));
      if (rng.chance(0.5)) for (const item of items.splice(0, 3)) item();
      for (const item of before) item();
      for (const item of [...hostItems, ...items]) item();
    });
  }

  /** `step`, or 0: the next one collides. */
  #slipNumber(step: number): number {
    return this.#slip() ? 0 : step;
  }

  #volume(isImplicit: boolean): Volume {
    const rng = this.#rng;
    const minor = this.#minor + (this.#disk % 10);
    this.#disk += this.#slipNumber(1);
    const disk = rng.pick(['/dev/sd', '/dev/vg0/lv-', '/dev/disk/by-id/x_']) + this.#disk;
    const index = rng.below(3);
    const meta = rng.pick([
      ['meta-disk', 'internal'],
      ['meta-disk', 'internal'],
      ['flexible-meta-disk', 'internal'],
      ['flexible-meta-disk', `/dev/md${this.#disk}`],
      ['meta-disk', `/dev/md${this.#disk}`],
      ['meta-disk', `/dev/md${this.#disk}`, '[', `${index}`, ']'],
      ['meta-disk', '/dev/shared', '[', `${this.#disk}`, ']'],
    ]);
    const device = rng.pick([
      ['device', `/dev/drbd${minor}`],
      ['device', `/dev/drbd${minor}`],
      ['device', `drbd${minor}`],
      ['device', `/dev/drbd${minor}`, 'minor', `${minor}`],
      ['device', 'minor', `${minor}`],
      ['device', `/dev/drbd_x${minor}`, 'minor', `${minor}`],
    ]);
    const wrong = [
      ['device', '/dev/sda'],
      ['device', '/dev/drbd'],
      ['device', `/dev/drbdx${minor}`, 'minor', `${minor}`],
      ['device', `/dev/drbd${minor}`, 'minor', `${minor + 1}`],
      ['device', 'minor', rng.pick(ODD_NUMBERS)],
    ];
    return {
      device: this.#slip() ? rng.pick(wrong) : device,
      disk: ['disk', this.#string(disk)],
      meta: this.#slip() ? ['meta-disk', 'internal', '[', '0', ']'] : meta,
      hasOptions: rng.chance(isImplicit ? 0.05 : 0.2),
    };
  }

  #volumeBody(volume: Volume, statements: readonly string[]): void {
    for (const statement of this.#shuffled(statements)) {
      if (this.#slip()) continue;
      if (statement === 'device') this.#say(...volume.device, ';');
      else if (statement === 'disk') this.#say(...volume.disk, ';');
      else this.#say(...volume.meta, ';');
      if (this.#slip()) this.#say(...volume.disk, ';');
    }
    if (statements.includes('disk') && volume.hasOptions) this.#optionSection('disk');
  }

  #hostVolumes(volumes: readonly (Volume & { vnr: number })[], rest: readonly string[]): void {
    for (const volume of volumes) {
      if (this.#slip()) continue;
      if (rest.length === 0 && this.#rng.chance(0.7)) continue;
      this.#block(['volume', `${volume.vnr + (this.#slip() ? 1 : 0)}`], () =>
        this.#volumeBody(volume, rest),
      );
    }
  }

  #host(names: readonly string[], body: Volume | (() => void), address: string[] | null): void {
    const rng = this.#rng;
    const more = rng.chance(0.03) ? ['alias'] : [];
    this.#block(['on', ...names.map((name) => this.#string(name)), ...more], () => {
      const items = [
        () => {
          if (typeof body === 'function') body();
          else this.#volumeBody(body, ['device', 'disk', 'meta-disk']);
        },
        () => {
          if (address && !this.#slip()) this.#say('address', ...address, ';');
          if (address && this.#slip()) this.#say('address', ...address, ';');
        },
        ...(rng.chance(0.06) ? [() => this.#optionSection('options')] : []),
        ...(this.#slip() ? [() => this.#proxyOn()] : []),
        ...(rng.chance(0.02)
          ? [() => this.#say('alternate-link-address', ...this.#address(3), ';')]
          : []),
      ];
      for (const item of this.#shuffled(items)) item();
    });
  }

  #proxyOn(): void {
    this.#say('proxy', 'on', 'one', '{', 'inside', '127.0.0.1', ':', '7789', ';');
    this.#say('outside', '10.0.0.200', ':', '7789', ';', '}');
  }

  #floating(number: number, body: () => void): void {
    this.#block(['floating', ...this.#address(number)], body);
  }

  #address(number: number): string[] {
    const rng = this.#rng;
    const port = this.#slip()
      ? rng.pick(['0', '65536', '70000', '5x', '1K', '"7"'])
      : `${this.#port}`;
    if (rng.chance(0.15)) {
      const host = rng.pick([`fd00::${number}`, `fe80::${number}%eth0`, `::ffff:10.0.0.${number}`]);
      const shown = this.#slip() ? rng.pick(['fd00::x', '10.0.0.1', '::', ':']) : host;
      return ['ipv6', '[', shown, ']', ':', port];
    }
    const family = rng.pick([[], [], [], [], ['ipv4'], ['sdp'], ['ssocks'], ['sci']]);
    const host = this.#slip()
      ? rng.pick(['10.0.0', 'host', '10.0.0.0.1', '999.1.1.1', '127.0.0.1'])
      : rng.chance(0.05)
        ? '127.0.0.1'
        : `10.0.0.${number}`;
    return [...family, host, ':', port];
  }
}

interface Volume {
  readonly device: readonly string[];
  readonly disk: readonly string[];
  readonly meta: readonly string[];
  readonly hasOptions: boolean;
}
