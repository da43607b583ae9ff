/**
 * `drbdadm dump` and `dump-xml`: the tree as text, byte for byte as drbdadm 9.22 prints it for DRBD 8.4. Texts only:
 * the order of sections (hosts, options, net, disk, startup, proxy, handlers) and the columns are the original's.
 */
import type {
  ConfAddress,
  ConfGlobal,
  ConfHost,
  ConfOption,
  ConfResource,
  ConfVolume,
  DrbdConf,
} from './drbd-conf-model.js';
import type { LocalConf, LocalResource } from './drbd-conf-resolve.js';

const INDENT = 4;
const MAX_PLAIN = 80;

/** A value as the parser reads it again: quoted unless it is a plain, short word. */
export function confQuote(value: string): string {
  if (value !== '' && /^[a-zA-Z0-9/._-]*$/.test(value) && value.length <= MAX_PLAIN) return value;
  return `"${value.replace(/["\\]/g, '\\$&')}"`;
}

function xmlEscape(value: string): string {
  const entities: Readonly<Record<string, string>> = {
    "'": '&apos;',
    '"': '&quot;',
    '<': '&lt;',
    '>': '&gt;',
    '&': '&amp;',
  };
  return value.replace(/['"<>&]/g, (c) => entities[c] ?? c);
}

class Lines {
  text = '';
  #level = 0;

  line(content: string): void {
    this.text += `${' '.repeat(INDENT * this.#level)}${content}\n`;
  }
  open(content: string): void {
    this.line(content);
    this.#level++;
  }
  close(content: string): void {
    this.#level--;
    this.line(content);
  }
  /** A name and its value in columns that do not move with the indent. */
  aligned(name: string, value: string): void {
    this.line(`${name.padEnd(24 - INDENT * this.#level)} ${value.padStart(3)};`);
  }
  get level(): number {
    return this.#level;
  }
}

/** An option for printing: without a value it is a word alone; `raw` is printed as it is. */
interface Printed {
  readonly name: string;
  readonly value: string | null;
  readonly raw: boolean;
}

function printed(options: readonly ConfOption[]): Printed[] {
  return options.map(({ name, value }) => ({ name, value, raw: false }));
}

function startup(r: ConfResource): Printed[] {
  const list = printed(r.startup);
  if (r.stackedTimeouts) list.push({ name: 'stacked-timeouts', value: null, raw: true });
  const primary = r.becomePrimaryOn;
  if (primary) list.push({ name: 'become-primary-on', value: primary.join(' '), raw: true });
  return list;
}

function sections(r: ConfResource): readonly (readonly [string, readonly Printed[]])[] {
  return [
    ['options', printed(r.options)],
    ['net', printed(r.net)],
    ['disk', printed(r.disk)],
    ['startup', startup(r)],
    ['proxy', printed(r.proxy.options)],
    ['handlers', printed(r.handlers)],
  ];
}

// drbd.conf syntax

function dumpOptions(
  out: Lines,
  name: string,
  options: readonly Printed[],
  plugins: readonly string[] = [],
): void {
  if (options.length === 0 && plugins.length === 0) return;
  out.open(`${name} {`);
  for (const o of options) {
    if (o.value === null) out.line(`${o.name};`);
    else out.aligned(o.name, o.raw ? o.value : confQuote(o.value));
  }
  if (plugins.length > 0) {
    out.open('plugin {');
    for (const plugin of plugins) out.line(`${plugin};`);
    out.close('}');
  }
  out.close('}');
}

function dumpSections(out: Lines, r: ConfResource): void {
  for (const [name, options] of sections(r)) {
    dumpOptions(out, name, options, name === 'proxy' ? r.proxy.plugins : []);
  }
}

function dumpGlobal(out: Lines, g: ConfGlobal, verbose: boolean): void {
  const isDefault =
    g.minorCount === null &&
    !g.disableIpVerification &&
    g.dialogRefresh === 1 &&
    g.usageCount === 'ask';
  if (isDefault && !verbose) return;
  out.open('global {');
  if (g.disableIpVerification) out.line('disable-ip-verification;');
  if (g.minorCount !== null) out.line(`minor-count ${g.minorCount};`);
  if (g.dialogRefresh !== 1) out.line(`dialog-refresh ${g.dialogRefresh};`);
  if (g.usageCount !== 'ask') out.line(`usage-count ${g.usageCount};`);
  // drbdadm 9.22 compares with one set of defaults and starts from another: medium and long are always printed.
  const short = g.cmdTimeoutShort ?? 5;
  const medium = g.cmdTimeoutMedium ?? 600;
  const long = g.cmdTimeoutLong ?? 0;
  if (short !== 5) out.line(`cmd-timeout-short ${short};`);
  if (medium !== 121) out.line(`cmd-timeout-medium ${medium};`);
  if (long !== 600) out.line(`cmd-timeout-long ${long};`);
  out.close('}\n');
}

function addressText(address: ConfAddress): string {
  const host = address.family === 'ipv6' ? `[${address.host}]` : address.host;
  return `${address.family} ${host}:${address.port}`;
}

function dumpVolume(out: Lines, volume: ConfVolume): void {
  if (!volume.implicit) out.open(`volume ${volume.vnr} {`);
  dumpOptions(out, 'disk', printed(volume.diskOptions));
  const device = volume.device === null ? '' : `${confQuote(volume.device)} `;
  const pad = ' '.repeat(Math.max(0, 19 - INDENT * out.level));
  out.line(`device${pad}${device}minor ${volume.minor ?? -1};`);
  out.aligned('disk', confQuote(volume.disk ?? ''));
  const metaDisk = confQuote(volume.metaDisk ?? '');
  if (volume.metaIndex === 'internal') out.aligned('meta-disk', 'internal');
  else if (volume.metaIndex === 'flexible') out.line(`${'meta-disk'.padEnd(16)} ${metaDisk};`);
  else out.line(`${'meta-disk'.padEnd(16)} ${metaDisk} [${volume.metaIndex}];`);
  if (!volume.implicit) out.close('}');
}

function dumpHost(out: Lines, host: ConfHost): void {
  const { address, alternateAddress } = host;
  out.open(
    host.floating && address
      ? `floating ${addressText(address)} {`
      : `on ${host.names.join(' ')} {`,
  );
  dumpOptions(out, 'options', printed(host.options));
  for (const volume of host.volumes) dumpVolume(out, volume);
  if (!host.floating && address) out.line(`${'address'.padEnd(16)} ${addressText(address)};`);
  if (alternateAddress) {
    out.line(`${'alternate-link-address'.padEnd(16)} ${addressText(alternateAddress)};`);
  }
  out.close('}');
}

/** The head of a dump of everything: the file, the global and the common section. */
export function dumpHeader(conf: DrbdConf, verbose: boolean): string {
  const out = new Lines();
  out.line(`# ${conf.file}`);
  dumpGlobal(out, conf.global, verbose);
  if (conf.common) {
    out.open('common {');
    dumpSections(out, conf.common);
    out.close('}\n');
  }
  return out.text;
}

export function dumpResource({ conf: r, me }: LocalResource, nodeName: string): string {
  const out = new Lines();
  const name = confQuote(r.name);
  out.line(`# resource ${name} on ${nodeName}: ${me ? 'not ignored' : 'ignored'}, not stacked`);
  out.line(`# defined at ${r.place.file}:${r.openLine}`);
  out.open(`resource ${name} {`);
  for (const host of r.hosts) dumpHost(out, host);
  dumpSections(out, r);
  out.close('}\n');
  return out.text;
}

export const NO_RESOURCES = '# no resources configured\n';

// XML

function xmlOptions(
  out: Lines,
  name: string,
  options: readonly Printed[],
  plugins: readonly string[] = [],
): void {
  if (options.length === 0 && plugins.length === 0) return;
  out.open(`<section name="${name}">`);
  for (const o of options) {
    if (o.value === null) out.line(`<option name="${o.name}"/>`);
    else out.line(`<option name="${o.name}" value="${o.raw ? o.value : xmlEscape(o.value)}"/>`);
  }
  if (plugins.length > 0) {
    out.open('<section name="plugin">');
    for (const plugin of plugins) out.line(`<option name="${plugin}"/>`);
    out.close('</section>');
  }
  out.close('</section>');
}

function xmlSections(out: Lines, r: ConfResource): void {
  for (const [name, options] of sections(r)) {
    xmlOptions(out, name, options, name === 'proxy' ? r.proxy.plugins : []);
  }
}

function xmlVolume(out: Lines, volume: ConfVolume): void {
  out.open(`<volume vnr="${volume.vnr}">`);
  xmlOptions(out, 'disk', printed(volume.diskOptions));
  out.line(`<device minor="${volume.minor ?? -1}">${xmlEscape(volume.device ?? '')}</device>`);
  out.line(`<disk>${xmlEscape(volume.disk ?? '')}</disk>`);
  const metaDisk = xmlEscape(volume.metaDisk ?? '');
  if (volume.metaIndex === 'internal') out.line('<meta-disk>internal</meta-disk>');
  else if (volume.metaIndex === 'flexible') out.line(`<meta-disk>${metaDisk}</meta-disk>`);
  else out.line(`<meta-disk index="${volume.metaIndex}">${metaDisk}</meta-disk>`);
  out.close('</volume>');
}

function xmlHost(out: Lines, host: ConfHost): void {
  out.open(host.floating ? '<host floating="1">' : `<host name="${host.names.join(' ')}">`);
  xmlOptions(out, 'options', printed(host.options));
  for (const volume of host.volumes) xmlVolume(out, volume);
  const a = host.address;
  if (a) out.line(`<address family="${a.family}" port="${a.port}">${a.host}</address>`);
  out.close('</host>');
}

function xmlResource(out: Lines, r: ConfResource): void {
  const at = `${xmlEscape(r.place.file)}:${r.openLine}`;
  out.open(`<resource name="${xmlEscape(r.name)}" conf-file-line="${at}">`);
  for (const host of r.hosts) xmlHost(out, host);
  xmlSections(out, r);
  out.close('</resource>');
}

/** The whole file. */
export function dumpXml({ conf, resources }: LocalConf): string {
  const out = new Lines();
  const g = conf.global;
  out.open(`<config file="${conf.file}">`);
  if (g.minorCount !== null || g.disableIpVerification || g.dialogRefresh !== 1) {
    out.open('<global>');
    if (g.disableIpVerification) out.line('<disable-ip-verification/>');
    if (g.minorCount !== null) out.line(`<minor-count count="${g.minorCount}"/>`);
    if (g.dialogRefresh !== 1) out.line(`<dialog-refresh refresh="${g.dialogRefresh}"/>`);
    out.close('</global>');
  }
  if (conf.common) {
    out.open('<common>');
    xmlSections(out, conf.common);
    out.close('</common>');
  }
  for (const r of resources) xmlResource(out, r.conf);
  out.close('</config>');
  return out.text;
}

/** One resource, without the frame of the file. */
export function dumpResourceXml(r: ConfResource): string {
  const out = new Lines();
  xmlResource(out, r);
  return out.text;
}
