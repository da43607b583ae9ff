/**
 * heartbeat: starts, stops, reloads and asks for the daemon, with the original's texts and exit statuses.
 *
 *     heartbeat              start as a daemon; 0 when the configuration is accepted, 6 when not (4: no rights)
 *     heartbeat -f           stay in the foreground
 *     heartbeat -k           end the running one, wait for it; 0, also when none runs; 1 when it died before it was through
 *     heartbeat -r           reread the configuration; starts when none runs
 *     heartbeat -s           0 running, 1 stale pid file, 3 stopped
 *     heartbeat --keepalive  ours: under the angel, which starts it again when it dies
 *     heartbeat --verify-idle  ours, for the init script: how many resources run without it
 *     heartbeat -d, -l       with a start: more debugging, no real-time priority
 *     heartbeat -D [-W]      the defaults of ha.cf, as a table or for the original's wiki
 *
 * Refused, 2: -M, under which a pair of 3.0.6 runs nothing, and -R and -C, by which the original calls itself.
 *
 * Source: docs/HEARTBEAT.md, command line; heartbeat 3.0.6 observed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError } from 'commander';
import { VERSION } from '../host/heartbeat-report.js';
import { withoutKeys } from '../host/recording-heartbeat.js';
import { type LoadedConfig, loadConfig, ownNodeName } from '../real/heartbeat-config.js';
import { isSocketFree } from '../real/heartbeat-control-server.js';
import { HeartbeatDaemon } from '../real/heartbeat-daemon.js';
import { daemonPid, readKept } from '../real/heartbeat-files.js';
import { replaceProcess } from '../real/native-addon.js';
import { heartbeatReport } from './heartbeat-client.js';
import { defaultsTable, defaultsWiki } from './heartbeat-defaults.js';
import { verifyIdle } from './heartbeat-idle.js';
import { ANGEL_NAME, ANGEL_PID_FILE, stopHeartbeat } from './heartbeat-stop.js';
import { version } from './version.js';
import type { World } from './world.js';

const EXIT_USAGE = 2;
const EXIT_CONFIG = 6;
const EXIT_DENIED = 4;
/** The angel does not start again what refuses its configuration. */
const EXIT_ANGEL_CONFIG = 78;
const START_LIMIT_MS = 10_000;
/** /var/lib/twinbeat may hang: the node starts without what it knows. */
const KEPT_LIMIT_MS = 3000;
const MAX_DEBUG = 255; // of the directive

interface Options {
  readonly f?: boolean;
  readonly k?: boolean;
  readonly r?: boolean;
  readonly s?: boolean;
  readonly v?: boolean;
  readonly V?: boolean;
  readonly D?: boolean;
  readonly W?: boolean;
  readonly M?: boolean;
  readonly R?: boolean;
  readonly C?: string;
  readonly d: number;
  readonly l?: boolean;
  readonly keepalive?: boolean;
  readonly verifyIdle?: boolean;
}

function parser(world: World): Command {
  return new Command('heartbeat')
    .exitOverride()
    .configureOutput({ writeOut: (text) => world.out(text), writeErr: (text) => world.err(text) })
    .option('-f', 'stay in the foreground')
    .option('-k', 'stop the running heartbeat')
    .option('-r', 'reread the configuration')
    .option('-s', 'status')
    .option('-d', 'more debugging, with -f on stderr', (_, level: number) => level + 1, 0)
    .option('-v', 'show the configuration in force after reading it')
    .option('-V', 'version')
    .option('-D', 'show default settings')
    .option('-W', 'with -D: for a wiki')
    .option('-l', 'no real-time class, whatever ha.cf says')
    .option('-M', 'without resource management: refused')
    .option('-R', 'of the original alone: refused')
    .option('-C <state>', 'of the original alone: refused')
    .option('--keepalive', 'under the angel, which restarts it when it dies')
    .option('--verify-idle', 'tell which resources run though heartbeat does not');
}

export async function main(argv: readonly string[], world: World): Promise<number> {
  const command = parser(world);
  try {
    command.parse(argv, { from: 'user' });
  } catch (e) {
    if (!(e instanceof CommanderError)) throw e;
    return e.exitCode === 0 ? 0 : EXIT_USAGE;
  }
  const options = command.opts<Options>();
  if (command.args.length > 0) {
    world.err(`heartbeat: no arguments expected, got '${command.args.join(' ')}'\n`);
    return EXIT_USAGE;
  }
  if (options.V) {
    world.out(`${VERSION} (twinbeat)\n`);
    return 0;
  }
  const wrong = refusedOption(options);
  if (wrong !== null) {
    world.err(`heartbeat: ${wrong}\n`);
    return EXIT_USAGE;
  }
  if (options.D) {
    world.out(options.W ? defaultsWiki() : defaultsTable());
    return 0;
  }
  if (options.s) return status(world);
  if (options.k) return stopHeartbeat(world);
  if (options.r) return reload(world, options);
  if (options.verifyIdle) return idle(world);
  return start(world, options);
}

/** Why an option that the original has is not taken. */
function refusedOption({ M, R, C }: Options): string | null {
  if (R || C !== undefined) {
    return '-R and -C are how heartbeat 3.0.6 calls itself when it reloads: use -r, which keeps the resources';
  }
  // Observed: with one node of 3.0.6 under -M, the other waits for its word for ever (rscstatus `transition`).
  if (M) return '-M (no resource management) is not supported: neither node would run anything';
  return null;
}

/** What the files and the command line say. */
function load(root: string, { d, l }: Options): LoadedConfig {
  const loaded = loadConfig(root);
  if (!loaded.config) return loaded;
  const { haCf } = loaded.config;
  const debug = Math.min(MAX_DEBUG, haCf.debug + d);
  const realtime = haCf.realtime && !l;
  return { ...loaded, config: { ...loaded.config, haCf: { ...haCf, debug, realtime } } };
}

function status(world: World): number {
  const daemon = daemonPid(world.root);
  if (!daemon?.running) {
    world.out('heartbeat is stopped. No process\n');
    return daemon ? 1 : 3;
  }
  const node = ownNodeName(world.root);
  world.out(`heartbeat OK [pid ${daemon.pid} et al] is running on ${hostname()} [${node}]...\n`);
  return 0;
}

/** Nothing to say while the daemon runs, and of a configuration that it will refuse itself. */
async function idle(world: World): Promise<number> {
  const { config } = loadConfig(world.root);
  return config && !daemonPid(world.root)?.running ? verifyIdle(world, config) : 0;
}

async function reload(world: World, options: Options): Promise<number> {
  const daemon = daemonPid(world.root);
  if (!daemon?.running) return start(world, options);
  const loaded = loadConfig(world.root);
  if (!accept(world, loaded)) return refusal(loaded);
  say(world, 'info', `Signalling heartbeat pid ${daemon.pid} to reread config files`);
  process.kill(daemon.pid, 'SIGHUP');
  return 0;
}

function say(world: World, level: string, text: string): void {
  world.err(`heartbeat: [${process.pid}]: ${level}: ${text}\n`);
}

/** Print what there is to say of a configuration, but for debug lines; false when it is refused. */
function accept(world: World, loaded: LoadedConfig): boolean {
  for (const { level, text } of loaded.messages) {
    if (level === 'debug') continue;
    if (level === 'stderr') world.err(`${text}\n`);
    else say(world, level, text);
  }
  return loaded.config !== null;
}

function refusal(loaded: LoadedConfig): number {
  if (process.env['TWINBEAT_ANGEL'] !== undefined) return EXIT_ANGEL_CONFIG;
  return loaded.denied ? EXIT_DENIED : EXIT_CONFIG;
}

async function start(world: World, options: Options): Promise<number> {
  const daemon = daemonPid(world.root);
  if (daemon?.running) {
    say(world, 'info', `already running [pid ${daemon.pid}].`);
    return 0;
  }
  if (!(await isSocketFree(world.root))) {
    say(world, 'ERROR', 'another heartbeat answers on the control socket: not started');
    return 1;
  }
  const loaded = load(world.root, options);
  if (!accept(world, loaded) || !loaded.config) return refusal(loaded);
  if (options.v) world.out(`${JSON.stringify(withoutKeys(loaded.config).haCf, null, 2)}\n`);
  const isChild = world.env['TWINBEAT_ANGEL'] !== undefined;
  if (options.f && (!options.keepalive || isChild)) {
    const unread: string[] = [];
    const kept = await readKept(world.root, KEPT_LIMIT_MS, (text) => unread.push(text));
    const node = new HeartbeatDaemon(
      world.root,
      loaded.config,
      () => load(world.root, options),
      !isDetached(world),
      version(),
      kept,
    );
    for (const text of unread) node.log('CRIT', text);
    for (const { level, text } of loaded.messages) {
      if (level !== 'stderr') node.log(level, text);
    }
    node.log('info', `Configuration validated. Starting heartbeat ${VERSION}`);
    return node.run();
  }
  return options.f ? underAngel(world, options) : detach(world, options);
}

/** Started by `detach`: stderr goes nowhere. */
function isDetached(world: World): boolean {
  return world.env['TWINBEAT_DETACHED'] === '1';
}

function ownProgram({ d, l }: Options): readonly string[] {
  const here = dirname(fileURLToPath(import.meta.url)); // build/src/cli
  const flags = ['-f', ...Array<string>(d).fill('-d'), ...(l ? ['-l'] : [])];
  return [process.execPath, resolve(here, '../bin/heartbeat.js'), ...flags];
}

function angelProgram(): string {
  return resolve(dirname(fileURLToPath(import.meta.url)), '../../native/angel');
}

function commandLine(world: World, options: Options): readonly [string, readonly string[]] {
  const [program = '', ...args] = ownProgram(options);
  if (!options.keepalive) return [program, args];
  const pidFile = world.root + ANGEL_PID_FILE;
  mkdirSync(dirname(pidFile), { recursive: true });
  const angel = ['--log-prefix', ANGEL_NAME, '--pidfile', pidFile];
  return [angelProgram(), [...angel, '--', program, ...args]];
}

/** In the foreground: become the angel. */
function underAngel(world: World, options: Options): Promise<number> {
  const [program, args] = commandLine(world, options);
  if (!existsSync(program)) {
    say(world, 'ERROR', `${program} is missing: run make native, or start without --keepalive`);
    return Promise.resolve(1);
  }
  try {
    return Promise.resolve(replaceProcess([program, ...args]));
  } catch (e) {
    say(world, 'ERROR', `cannot start ${program}: ${e instanceof Error ? e.message : String(e)}`);
    return Promise.resolve(1);
  }
}

/** As a daemon: returns when it answers on its control socket. */
async function detach(world: World, options: Options): Promise<number> {
  const [program, args] = commandLine(world, options);
  if (!existsSync(program)) {
    say(world, 'ERROR', `${program} is missing: run make native, or start without --keepalive`);
    return 1;
  }
  const child: ChildProcess = spawn(program, args, {
    cwd: '/',
    detached: true,
    stdio: 'ignore',
    env: { ...process.env, TWINBEAT_DETACHED: '1' },
  });
  child.unref();
  let exit: number | null = null;
  child.on('error', (e) => {
    say(world, 'ERROR', `cannot start ${program}: ${e.message}`);
    exit = 1;
  });
  child.on('exit', (value) => {
    exit = value ?? 1;
  });
  const limitMs = performance.now() + START_LIMIT_MS;
  while (performance.now() < limitMs) {
    if (exit !== null) return exit;
    if ((await heartbeatReport(world.root)).report) return 0;
    await pause(50);
  }
  say(world, 'ERROR', 'heartbeat was started but does not answer on its control socket');
  return 1;
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
