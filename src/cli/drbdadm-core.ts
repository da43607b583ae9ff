/**
 * drbdadm: reads drbd.conf and runs drbdsetup and drbdmeta. This file goes from the command line to the verb: which file,
 * is it valid, which resources. Nothing is run while anything in the file is wrong. Exit codes: 1 usage, 10 configuration
 * invalid, 20 could not execute, otherwise that of the failed command; with several resources the highest.
 * Source: drbdadm(8), drbdadm 9.22 for DRBD 8.4 observed.
 */
import { resolve } from 'node:path';
import {
  confQuote,
  dumpHeader,
  dumpResource,
  dumpResourceXml,
  dumpXml,
} from '../config/drbd-conf-dump.js';
import type { ConfVolume, DrbdConf } from '../config/drbd-conf-model.js';
import { parseDrbdConf } from '../config/drbd-conf-parser.js';
import {
  addressProblem,
  type LocalConf,
  type LocalHost,
  type LocalResource,
  localConf,
  peerProblem,
} from '../config/drbd-conf-resolve.js';
import { diskOptions, netOptions, resourceOptions } from '../config/drbd-options-convert.js';
import { DEFAULT_CONF_FILES, localHost, NodeConfFiles } from './conf-files.js';
import { adjust } from './drbdadm-adjust.js';
import { type AdmArgs, parseAdmArgs } from './drbdadm-args.js';
import { DRBDMETA, DRBDSETUP, shellEscape } from './drbdadm-commands.js';
import { hiddenCommands, usageText, versionText } from './drbdadm-help.js';
import { runWithTable } from './drbdadm-progress.js';
import { EXIT_EXEC_ERROR, type Programs, Runner } from './drbdadm-run.js';
import { type Adm, runDeferred, VERBS, type Verb } from './drbdadm-verbs.js';
import { waitConnectInteractive } from './drbdadm-wait.js';
import { RealSeat, type Seat } from './terminal-seat.js';
import { UsageError, type World } from './world.js';

const EXIT_USAGE = 1;
const EXIT_CONFIG = 10;

/** Verbs of this file and its neighbours, beside the table. */
const ADJUST: Verb = {
  level: 1,
  perVolume: false,
  verifyIps: true,
  needsPeer: true,
  needsVolume: false,
  run: (call) => adjust(call),
};
const TABLE: ReadonlyMap<string, Verb> = new Map([
  ...Object.entries(VERBS),
  ['adjust', ADJUST],
  ['adjust-with-progress', ADJUST],
]);
const DUMPS: ReadonlySet<string> = new Set(['dump', 'dump-xml']);
const NO_RESOURCE: ReadonlySet<string> = new Set([
  'sh-nop',
  'sh-resources',
  'sh-mod-parms',
  'sh-status',
  'wait-con-int',
]);
const RENAMED: ReadonlyMap<string, string> = new Map([
  ['state', 'role'],
  ['outdate-peer', 'fence-peer'],
]);
export const ALL_VERBS: ReadonlySet<string> = new Set([
  ...TABLE.keys(),
  ...DUMPS,
  ...NO_RESOURCE,
  ...RENAMED.keys(),
  'syncer', // 8.3
  'hidden-commands',
]);
/** Verbs that hand options to drbdd: all of them are converted before the first one runs. */
const APPLIES: ReadonlySet<string> = new Set([
  ...['up', 'attach', 'connect', 'adjust', 'adjust-with-progress', 'new-resource'],
]);

export async function drbdadm(
  argv: readonly string[],
  world: World,
  programs: Programs,
  seat: Seat = new RealSeat(),
): Promise<number> {
  let args: AdmArgs;
  try {
    args = parseAdmArgs(argv, { verbs: ALL_VERBS });
  } catch (e) {
    if (!(e instanceof UsageError)) throw e;
    world.err(`${e.message}\n`);
    return e.status;
  }
  if (args.version) {
    world.out(versionText());
    return 0;
  }
  if (args.verb === 'hidden-commands') {
    world.out(hiddenCommands(TABLE, NO_RESOURCE));
    return 0;
  }
  const usage = (info: string | null, status: number): number => {
    world.out(usageText(args.verb, TABLE, info));
    return status;
  };
  if (args.help) return usage(null, 0);
  if (args.verb === null) return usage('No command specified', EXIT_USAGE);
  const verb = RENAMED.get(args.verb) ?? args.verb;
  if (verb !== args.verb) {
    world.err(`'drbdadm ${args.verb}' is deprecated, use 'drbdadm ${verb}' instead.\n`);
  }
  if (args.stacked) {
    world.err('stacked resources are not supported\n');
    return EXIT_USAGE;
  }
  if (args.resources.length === 0 && !DUMPS.has(verb) && verb !== 'status') {
    if (!NO_RESOURCE.has(verb)) return usage('No resource names specified', EXIT_USAGE);
  }
  return withConfig(args, verb, world, programs, seat);
}

async function withConfig(
  args: AdmArgs,
  verb: string,
  world: World,
  programs: Programs,
  seat: Seat,
): Promise<number> {
  if (args.resources.length > 0 && NO_RESOURCE.has(verb)) {
    world.err('This command will ignore resource names!\n');
  }
  const host = localHost(world);
  const isDump = DUMPS.has(verb);
  if (args.configToTest !== null && !isDump && verb !== 'sh-nop') {
    world.err(
      'The --config-to-test (-t) option is only allowed with the dump and sh-nop commands\n',
    );
    return EXIT_USAGE;
  }
  const read = await readConf(args, world);
  if (typeof read === 'number') return read;
  const detail = args.dryRun || args.verbose ? 'expanded' : 'as written';
  const reader = world.stdin.isTTY ? 'terminal' : 'script';
  const conf = localConf(read, host, args.peer, isDump ? detail : 'for commands', reader);
  const g = read.global;
  const runner = new Runner(world, programs, {
    dryRun: args.dryRun,
    verbose: args.verbose,
    shVarname: args.shVarname,
    drbdsetup: args.drbdsetup ?? DRBDSETUP,
    drbdmeta: args.drbdmeta ?? DRBDMETA,
    timeoutsS: {
      short: g.cmdTimeoutShort ?? 5,
      medium: g.cmdTimeoutMedium ?? 121,
      long: g.cmdTimeoutLong ?? 0, // metadata of a large disk takes its time
      forever: 0,
    },
  });
  const adm: Adm = { args, conf, host, runner, world, deferred: [] };
  if (NO_RESOURCE.has(verb)) return withoutResource(adm, verb, seat);
  print(world, conf.warnings);
  if (print(world, conf.errors)) return EXIT_CONFIG;
  return isDump ? dump(adm, verb) : withResources(adm, verb);
}

/** The configuration, or the exit status when there is none. */
async function readConf(args: AdmArgs, world: World): Promise<DrbdConf | number> {
  const parse = (path: string, files: NodeConfFiles): DrbdConf | null => {
    const { config, errors, warnings } = parseDrbdConf(path, files);
    print(world, warnings);
    print(world, errors);
    return config;
  };
  const given = args.configFile;
  const files = new NodeConfFiles(given === null ? world.root : '');
  let path: string;
  if (given === '-') {
    path = `${process.cwd()}/STDIN`;
    files.give(path, await readStdin(world));
  } else if (given !== null) {
    path = resolve(given);
    if (files.read(path) === null) {
      world.err(`Can not open '${given}'.\n`);
      return EXIT_EXEC_ERROR;
    }
  } else {
    const found = DEFAULT_CONF_FILES.find((file) => files.read(file) !== null);
    if (found === undefined) {
      world.err(`Can not open '${DEFAULT_CONF_FILES.at(-1)}': No such file or directory\n`);
      return EXIT_CONFIG;
    }
    path = found;
  }
  const config = parse(path, files);
  if (!config) return EXIT_CONFIG;
  if (args.configToTest !== null) {
    const test = resolve(args.configToTest);
    const testFiles = new NodeConfFiles('');
    if (testFiles.read(test) === null) {
      world.err(`Can not open '${args.configToTest}'.\n`);
      return EXIT_EXEC_ERROR;
    }
    // Read behind the other, so that it is also checked against it.
    const text = files.read(path) ?? '';
    testFiles.give(path, `${text}\ninclude "${test}";\n`);
    if (!parse(path, testFiles)) return EXIT_CONFIG;
  }
  return config;
}

async function readStdin(world: World): Promise<string> {
  const lines: string[] = [];
  for (;;) {
    const line = await world.stdin.readLine();
    if (line === null) return `${lines.join('\n')}\n`;
    lines.push(line);
  }
}

/** True when there was something to print. */
function print(world: World, lines: readonly string[]): boolean {
  for (const line of lines) world.err(`${line}\n`);
  return lines.length > 0;
}

async function withoutResource(adm: Adm, verb: string, seat: Seat): Promise<number> {
  const { world, conf, runner } = adm;
  const mine = conf.resources.filter((r) => r.me !== null);
  const minors = mine.reduce((n, r) => n + (r.me?.volumes.length ?? 0), 0);
  switch (verb) {
    case 'sh-resources':
      if (mine.length > 0) world.out(`${mine.map((r) => confQuote(r.conf.name)).join(' ')}\n`);
      return 0;
    case 'sh-mod-parms': {
      const count = conf.conf.global.minorCount ?? Math.min(255, Math.max(32, minors + 3));
      world.out(`minor_count=${count}\n`);
      return 0;
    }
    case 'sh-status': {
      if (!adm.args.dryRun) {
        world.out(`_drbd_version=9.22.0\n_drbd_api=1\n`);
        world.out(`_config_file=${shellEscape(conf.conf.file)}\n\n\n`);
      }
      for (const { conf: r, me } of mine) {
        world.out(`_conf_res_name=${shellEscape(r.name)}\n`);
        world.out(`_conf_file_line=${shellEscape(r.place.file)}:${r.openLine}\n\n`);
        world.out('_stacked_on=\n_stacked_on_device=\n_stacked_on_minor=\n');
        for (const volume of me?.volumes ?? []) {
          world.out(`_conf_volume=${volume.vnr}\n`);
          const command = [DRBDSETUP, 'sh-status', `${volume.minor}`];
          const status = await runner.run(command, r.name);
          if (status !== 0) return status;
        }
      }
      return 0;
    }
    case 'wait-con-int':
      return waitConnectInteractive(adm, mine, seat);
    default:
      return 0; // sh-nop: it could be read
  }
}

function dump(adm: Adm, verb: string): number {
  const { args, conf, host, world } = adm;
  const named = args.resources[0] === 'all' ? [] : args.resources;
  const resources = named.length === 0 ? conf.resources : find(adm, named).map((f) => f.r);
  if (resources.length < named.length) return EXIT_USAGE;
  if (!args.dryRun && print(world, addressProblems(conf, resources, host))) return EXIT_CONFIG;
  if (verb === 'dump-xml') {
    if (named.length === 0) world.out(dumpXml(conf));
    else for (const r of resources) world.out(dumpResourceXml(r.conf));
    return 0;
  }
  if (named.length === 0) world.out(dumpHeader(conf.conf, args.verbose));
  for (const r of resources) world.out(dumpResource(r, host.name));
  return 0;
}

function addressProblems(
  conf: LocalConf,
  resources: readonly LocalResource[],
  host: LocalHost,
): string[] {
  return resources.flatMap((r) => addressProblem(conf.conf, r, host) ?? []);
}

interface Found {
  readonly r: LocalResource;
  readonly volume: ConfVolume | null;
}

/** Resources by name, `name/volume` or `minor-N`; ends at the first that is not there. */
function find(adm: Adm, names: readonly string[]): Found[] {
  const mine = adm.conf.resources.filter((r) => r.me !== null);
  const found: Found[] = [];
  for (const name of names) {
    const minor = /^minor-(\d+)$/.exec(name)?.[1];
    const [resource = '', vnr] = name.split('/');
    const hit =
      mine.flatMap((r): Found[] => {
        const isNamed = r.conf.name === resource;
        if (isNamed && vnr === undefined) return [{ r, volume: null }];
        const volume = r.me?.volumes.find((v) =>
          isNamed ? `${v.vnr}` === vnr : minor !== undefined && v.minor === Number(minor),
        );
        return volume ? [{ r, volume }] : [];
      })[0] ?? null;
    if (!hit) {
      adm.world.err(`'${name}' not defined in your config (for this host).\n`);
      return found;
    }
    found.push(hit);
  }
  return found;
}

async function withResources(adm: Adm, wanted: string): Promise<number> {
  const { args, conf, host, world } = adm;
  const verb = wanted === 'syncer' ? 'adjust' : wanted; // 8.3: options of a running resource
  const entry = TABLE.get(verb);
  if (!entry) return EXIT_USAGE;
  if (conf.resources.length === 0) {
    world.err('no resources defined!\n');
    return EXIT_USAGE;
  }
  const isAll = args.resources.length === 0 || args.resources[0] === 'all';
  const mine = conf.resources.filter((r) => r.me !== null);
  if (isAll && mine.length === 0) {
    world.err(
      `WARN: no normal resources defined for this host (${host.name})!?\n` +
        "Misspelled name of the local machine with the 'on' keyword ?\n",
    );
    return EXIT_USAGE;
  }
  let found: readonly Found[] = mine.map((r) => ({ r, volume: null }));
  if (!isAll) {
    found = find(adm, args.resources);
    if (found.length < args.resources.length) return EXIT_USAGE;
  }
  const targets: Found[] = [];
  for (const [index, { r, volume }] of found.entries()) {
    const first = r.me?.volumes[0] ?? null;
    if (entry.needsVolume && !volume && !first?.implicit) {
      const name = args.resources[index] ?? r.conf.name;
      world.err(
        `${verb} requires a specific volume id, but none is specified.\n` +
          `Try '${verb} minor-<minor_number>' or '${verb} ${name}/<vnr>'\n`,
      );
      return EXIT_USAGE;
    }
    if (!entry.needsVolume && !entry.perVolume && volume && !volume.implicit) {
      world.err(`${verb} operates on whole resources, but you specified a specific volume!\n`);
      return EXIT_USAGE;
    }
    if (entry.perVolume && !volume) {
      for (const each of r.me?.volumes ?? []) targets.push({ r, volume: each });
    } else {
      const ofVolume = entry.needsVolume ? (volume ?? first) : entry.perVolume ? volume : null;
      targets.push({ r, volume: ofVolume });
    }
  }
  const named = [...new Set(targets.map((t) => t.r))];
  if (print(world, check(adm, verb, entry, named))) return EXIT_CONFIG;

  let status = 0;
  let failed: LocalResource | null = null; // its other volumes are left out
  for (const { r, volume } of targets) {
    if (r === failed) continue;
    const result = await entry.run({ adm, verb, r, volume });
    if (result >= 20) return result;
    if (result !== 0 && !goesOn(verb, result)) failed = r;
    status = Math.max(status, result);
  }
  const isTable = verb === 'adjust-with-progress' && !args.dryRun && !args.verbose;
  return Math.max(status, await (isTable ? runWithTable(adm) : runDeferred(adm)));
}

/**
 * A disk that is less than Outdated cannot be outdated (5), and its volume is not promoted. The peer takes that for an answer (fence-peer
 * exit 3) and goes on with all volumes: the others must know that. (The original leaves them out, and they can be promoted.)
 */
function goesOn(verb: string, status: number): boolean {
  return verb === 'outdate' && status === 5;
}

/** What must hold before anything is run. */
function check(
  { args, conf, host }: Adm,
  verb: string,
  entry: Verb,
  resources: readonly LocalResource[],
): string[] {
  if (args.dryRun) return [];
  const problems = entry.verifyIps ? addressProblems(conf, resources, host) : [];
  for (const r of resources) {
    if (entry.needsPeer) problems.push(...[peerProblem(r, args.peer) ?? []].flat());
    if (!APPLIES.has(verb)) continue;
    const at = `${r.conf.place.file}:${r.conf.place.line}: in resource ${r.conf.name}:`;
    const errors = [
      ...netOptions(r.conf.net).errors,
      ...resourceOptions(r.conf.options).errors,
      ...(r.me?.volumes ?? []).flatMap((v) => diskOptions(v.diskOptions).errors),
    ];
    for (const host of r.conf.hosts) {
      const family = host.address?.family ?? 'ipv4';
      if (family !== 'ipv4' && family !== 'ipv6') {
        errors.push(`address family ${family} is not supported, use ipv4 or ipv6`);
      }
      if (host.alternateAddress) errors.push('alternate-link-address is not supported');
    }
    problems.push(...new Set(errors.map((error) => `${at} ${error}`)));
  }
  return problems;
}
