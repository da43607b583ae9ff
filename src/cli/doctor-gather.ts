/** Reads the files below a root and asks the machine what the checks need to know (doctor-facts.ts). */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseAuthKeys } from '../config/authkeys.js';
import { placeText } from '../config/drbd-conf-model.js';
import { parseDrbdConf } from '../config/drbd-conf-parser.js';
import {
  addressProblem,
  type LocalResource,
  localConf,
  peerProblem,
} from '../config/drbd-conf-resolve.js';
import { diskOptions, netOptions, resourceOptions } from '../config/drbd-options-convert.js';
import { type HaCfResult, type HaCfSystem, parseHaCf } from '../config/ha-cf.js';
import { type HaResourceGroup, parseHaResources } from '../config/haresources.js';
import { parseTwinbeatIni } from '../config/twinbeat-ini.js';
import { arbiterRefusal } from '../host/arbiter-config.js';
import type { HeartbeatReport } from '../host/heartbeat-control.js';
import { DEFAULT_CONF_FILES, NodeConfFiles } from './conf-files.js';
import { handlerPath } from './doctor-drbd.js';
import {
  AUTHKEYS,
  bootMounts,
  type Facts,
  FSTAB,
  HA_CF,
  HARESOURCES,
  haCfLines,
  namesToResolve,
  nodesOf,
  placed,
  TWINBEAT_INI,
} from './doctor-facts.js';
import type { FoundAt } from './doctor-finding.js';
import type { Machine } from './doctor-machine.js';
import { Reader } from './doctor-reader.js';

export interface Gathered {
  readonly facts: Facts;
  readonly notSeen: readonly string[];
}

/** For a second look at a refused ha.cf: whatever it names is there. */
const ANYTHING_GOES: Omit<HaCfSystem, 'ownNode'> = {
  defaultUdpPort: 694,
  userExists: () => true,
  isExecutable: () => true,
  isStonithType: () => true,
  hasStonithConfig: () => true,
  interfaceError: () => null,
};

/** Says that the start is refused, but not why. */
const NO_REASON =
  /^(Heartbeat not started: configuration error|Authentication configuration error)\.$/;

/** `drbdConf`: the file instead of the default ones, as it is named on the command line. */
export async function gather(
  root: string,
  machine: Machine,
  drbdConf: string | null,
): Promise<Gathered> {
  const reader = new Reader(root);
  const drbd = readDrbd(reader, machine, drbdConf);
  const ha = readHa(reader, machine, drbd.path !== null);
  const { haCf, groups, ini } = ha;
  const refusal = haCf && ini && arbiterRefusal({ haCf, ini });
  if (refusal) reader.refuse(TWINBEAT_INI, `[witness] ${refusal}`);
  const paths = [
    ...(haCf?.watchdog ? [haCf.watchdog] : []),
    ...drbd.resources
      .flatMap(({ conf }) => conf.handlers)
      .map(({ value }) => handlerPath(value))
      .filter((path) => path !== null),
  ];
  const resources = placed(groups);
  const hasProgram = await Promise.all(resources.map((each) => machine.hasProgram(each.resource)));
  const names = haCf ? namesToResolve(haCf) : [];
  const resolved = await Promise.all(names.map((name) => machine.resolves(name)));
  const devices = [...new Set((haCf?.media ?? []).map(({ device }) => device))];
  const report = await machine.report();
  const facts: Facts = {
    node: machine.node,
    ...ha,
    drbdConf: drbd.path,
    drbdHost: machine.drbdHost.name,
    ownAddresses: machine.drbdHost.addresses,
    drbd: drbd.resources,
    refusals: reader.refusals,
    remarks: reader.remarks,
    duplicateChecksOff: duplicateChecksOff(reader, groups),
    missingPaths: new Set(paths.filter((path) => !machine.exists(path))),
    missingResources: resources.filter((_, i) => !hasProgram[i]),
    unresolvedNames: new Set(names.filter((_, i) => !resolved[i])),
    carriers: new Map(devices.map((device) => [device, machine.carrier(device)])),
    networks: new Map(devices.map((device) => [device, machine.networks(device)])),
    kernelPanicS: machine.sysctl('kernel.panic'),
    panicOnOops: machine.sysctl('kernel.panic_on_oops'),
    kernelDrbd: machine.kernelDrbd(),
    bootUnits: machine.bootUnits(),
    mounts: bootMounts(reader.read(FSTAB, '')?.text ?? ''),
    report,
  };
  return { facts, notSeen: [...reader.notSeen, ...notSeen(facts)] };
}

function isCompared({ files }: HeartbeatReport): boolean {
  return Object.values(files).some((state) => state !== 'unknown');
}

/** What doctor cannot see on this node. */
function notSeen({ report }: Facts): readonly string[] {
  return [
    report
      ? isCompared(report)
        ? 'Of twinbeat.ini only [witness] is compared with the other node.'
        : 'The files of the other node: they are compared when a twinbeat runs there, and not with auto_failback legacy.'
      : 'heartbeat is not running: cannot see whether haresources differ, which links live, or what was given up.',
    'The other node: run `twinbeat doctor` there, too.',
    'Whether the clocks agree, and how late heartbeats come: heartbeat does not report it.',
  ];
}

type HaFacts = Pick<
  Facts,
  | 'haCfLines'
  | 'haCfMessages'
  | 'haCf'
  | 'groups'
  | 'authkeys'
  | 'authkeysMode'
  | 'ini'
  | 'stonithTypes'
>;

const NO_HA: HaFacts = {
  haCfLines: [],
  haCfMessages: [],
  haCf: null,
  groups: [],
  authkeys: null,
  authkeysMode: null,
  ini: null,
  stonithTypes: new Map(),
};

function readHa(reader: Reader, machine: Machine, hasDrbd: boolean): HaFacts {
  const ini = readIni(reader);
  const isThere = [HA_CF, HARESOURCES, AUTHKEYS].some((file) => {
    try {
      return statSync(reader.root + file) !== undefined;
    } catch (e) {
      return (e as NodeJS.ErrnoException).code !== 'ENOENT';
    }
  });
  if (!isThere && hasDrbd) {
    reader.notSeen.push('There is no ha.cf, haresources or authkeys: heartbeat is not used here.');
    return { ...NO_HA, ini };
  }
  const text = reader.read(HA_CF)?.text ?? null;
  const lines = haCfLines(text ?? '');
  const nodes = nodesOf(lines);
  const asNode = (node: string): HaCfResult | null =>
    text === null ? null : parseHaCf(text, HA_CF, { ...ANYTHING_GOES, ownNode: node });
  const strict = text === null ? null : parseHaCf(text, HA_CF, machine.haCf);
  if (strict && !strict.config) refuseHaCf(reader, strict);
  if (nodes.length > 2) {
    reader.refuse(HA_CF, `${nodes.length} nodes in ${HA_CF}: a cluster of two is supported`);
  }
  const result = strict?.config ? strict : asNode(nodes[0] ?? '');
  return {
    haCfLines: lines,
    haCfMessages: result?.messages ?? [],
    haCf: result?.config ?? null,
    groups: readGroups(reader, nodes),
    ...readKeys(reader),
    ini,
    stonithTypes: new Map(
      nodes.map((node) => [node, (asNode(node)?.config?.stonith ?? []).map(({ type }) => type)]),
    ),
  };
}

/** One refusal for a line, with all that is said of it. */
function refuseHaCf(reader: Reader, { messages }: HaCfResult): void {
  const byLine = new Map<number, string[]>();
  const reasons = messages.filter(
    ({ level, text }) => (level === 'ERROR' || level === 'stderr') && !NO_REASON.test(text),
  );
  for (const { line, text } of reasons) {
    if (line === 0) reader.refuse(HA_CF, text);
    else byLine.set(line, [...(byLine.get(line) ?? []), text]);
  }
  for (const [line, texts] of byLine) {
    reader.refusals.push({ at: { file: HA_CF, line }, text: texts.join('; ') });
  }
}

/** Also those of nodes that ha.cf does not have. */
function readGroups(reader: Reader, nodes: readonly string[]): readonly HaResourceGroup[] {
  const text = reader.read(HARESOURCES)?.text;
  if (text === undefined) return [];
  const strict = parseHaResources(text, HARESOURCES, nodes);
  for (const { level, text: message } of strict.messages) {
    if (level === 'WARN') reader.remark(HARESOURCES, message);
    else if (nodes.length > 0 || !message.startsWith('Bad nodename')) {
      reader.refuse(HARESOURCES, message);
    }
  }
  const words = text.split(/\s+/).map((word) => word.toLowerCase());
  return parseHaResources(text, HARESOURCES, words).groups ?? [];
}

function readKeys(reader: Reader): Pick<Facts, 'authkeys' | 'authkeysMode'> {
  const file = reader.read(AUTHKEYS);
  if (!file) return { authkeys: null, authkeysMode: null };
  const authkeysMode = file.mode & 0o777;
  const { authkeys, messages } = parseAuthKeys(file.text, AUTHKEYS, 0o600);
  for (const { level, text } of messages) {
    if (level === 'WARN') reader.remark(AUTHKEYS, text);
    else if (!authkeys && !NO_REASON.test(text)) reader.refuse(AUTHKEYS, text);
  }
  return { authkeys, authkeysMode };
}

function readIni(reader: Reader): Facts['ini'] {
  const file = reader.read(TWINBEAT_INI, '');
  if (!file) return null;
  const { config, errors } = parseTwinbeatIni(file.text, TWINBEAT_INI);
  for (const error of errors) reader.refuse(TWINBEAT_INI, error);
  return config;
}

/** Settings of the scripts that take addresses: resource.d/.addresses. */
function duplicateChecksOff(
  reader: Reader,
  groups: readonly HaResourceGroup[],
): readonly FoundAt[] {
  const scripts = new Set(placed(groups).map(({ resource }) => resource.script));
  return ['IPaddr', 'IPaddr2', 'IPv6addr', 'SendArp']
    .filter((script) => scripts.has(script))
    .flatMap((script): FoundAt[] => {
      const file = `/etc/twinbeat/${script}`;
      const lines = (reader.read(file, '')?.text ?? '').split('\n');
      const index = lines.findLastIndex((line) => /^\s*(export )?DUPLICATE_CHECK=/.test(line));
      return /=["']?no\b/.test(lines[index] ?? '') ? [{ file, line: index + 1 }] : [];
    });
}

function readDrbd(
  reader: Reader,
  machine: Machine,
  given: string | null,
): { readonly path: string | null; readonly resources: readonly LocalResource[] } {
  const files = new NodeConfFiles(given === null ? reader.root : '');
  const path =
    given === null
      ? (DEFAULT_CONF_FILES.find((file) => files.read(file) !== null) ?? null)
      : resolve(given);
  if (path === null) return { path, resources: [] };
  const { config, errors, warnings } = parseDrbdConf(path, files);
  const local = config && localConf(config, machine.drbdHost, null, 'expanded', 'script');
  const problems = (local?.resources ?? [])
    .filter(({ me }) => me !== null)
    .flatMap((each) => [
      ...optionProblems(each),
      peerProblem(each, null) ?? [],
      (config && addressProblem(config, each, machine.drbdHost)) ?? [],
    ])
    .flat();
  const all = [...errors, ...(local?.errors ?? []), ...problems];
  for (const error of new Set(all)) reader.refuse(path, error);
  for (const warning of [...warnings, ...(local?.warnings ?? [])]) reader.remark(path, warning);
  return { path, resources: local?.resources ?? [] };
}

/** What `drbdadm up` would refuse of its options. */
function optionProblems({ conf, me }: LocalResource): readonly string[] {
  const errors = [
    ...netOptions(conf.net).errors,
    ...resourceOptions(conf.options).errors,
    ...(me?.volumes ?? []).flatMap((volume) => diskOptions(volume.diskOptions).errors),
  ];
  return errors.map((error) => `${placeText(conf.place)}: in resource ${conf.name}: ${error}`);
}
