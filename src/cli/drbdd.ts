/**
 * drbdd: the daemon of all replicated devices of a node. In the foreground; `--keepalive` puts the angel above it, which
 * restarts it when it dies and keeps its devices alive meanwhile.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, Option } from 'commander';
import { DEFAULT_TWINBEAT_INI, parseTwinbeatIni } from '../config/twinbeat-ini.js';
import { openLog } from '../real/drbdd-log.js';
import { Drbdd } from '../real/drbdd-server.js';
import { AlreadyRunningError } from '../real/drbdd-socket.js';
import { replaceProcess } from '../real/native-addon.js';
import { rooted, UsageError, type World } from './world.js';

const HERE = dirname(fileURLToPath(import.meta.url));
const ANGEL = resolve(HERE, '../../native/angel');
/** Devices that survive a restart: descriptors that the angel opens in advance; one is the status file's. */
const FUSE_DESCRIPTORS = 17;

function version(): string {
  const text = readFileSync(join(HERE, '../../../package.json'), 'utf8');
  return (JSON.parse(text) as { readonly version: string }).version;
}

interface Options {
  readonly keepalive?: true;
  readonly foreground?: true;
  readonly pidfile: string;
  readonly log?: string;
  readonly ioEngine: 'auto' | 'native' | 'fallback';
}

export async function main(argv: readonly string[], world: World): Promise<number> {
  const command = new Command('drbdd')
    .description('serves the replicated devices of this node; configured by drbdadm')
    .option('--keepalive', 'run under the angel, which restarts drbdd when it dies')
    .option('-f, --foreground', 'stay in the foreground (the default)')
    .option('--pidfile <file>', 'where the process number goes', '/run/twinbeat/drbdd.pid')
    .option('--log <file>', 'append the log to a file instead of standard error')
    .addOption(
      new Option('--io-engine <engine>', 'io_uring, or the slow one over fs and net')
        .choices(['auto', 'native', 'fallback'])
        .default('auto'),
    )
    .version(version(), '-V, --version')
    .exitOverride()
    .configureOutput({ writeOut: (t) => world.out(t), writeErr: (t) => world.err(t) });
  try {
    command.parse([...argv], { from: 'user' });
  } catch (e) {
    if (e instanceof CommanderError) return e.exitCode === 0 ? 0 : 1;
    throw e;
  }
  const options = command.opts<Options>();
  if (options.keepalive)
    return underAngel(
      argv.filter((a) => a !== '--keepalive'),
      world,
    );
  return serve(options, world);
}

/** Become the angel: it is small, and its process number is the one that was started. */
function underAngel(args: readonly string[], world: World): number {
  const program = join(HERE, '../bin/drbdd.js');
  const angelArgs = ['--fuse', String(FUSE_DESCRIPTORS), '--log-prefix', 'drbdd angel', '--'];
  try {
    return replaceProcess([ANGEL, ...angelArgs, process.execPath, program, ...args]);
  } catch (e) {
    world.err(`drbdd: ${e instanceof Error ? e.message : String(e)} (\`make native\` builds it)\n`);
    return 1;
  }
}

function settings(world: World) {
  const path = rooted(world.root, '/etc/twinbeat.ini');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return DEFAULT_TWINBEAT_INI;
    throw e;
  }
  const { config, errors } = parseTwinbeatIni(text, path);
  if (!config) throw new UsageError(errors.join('\n'), 10);
  return config;
}

async function serve(options: Options, world: World): Promise<number> {
  const ini = settings(world);
  const log = openLog('drbdd', ini.drbdd.logLevel, ini.drbdd.logFormat, options.log ?? null);
  const pidfile = rooted(world.root, options.pidfile);
  let end: (status: number) => void = () => {};
  const ended = new Promise<number>((done) => {
    end = done;
  });
  let drbdd: Drbdd;
  try {
    drbdd = await Drbdd.start({
      root: world.root,
      version: version(),
      ini: ini.drbdd,
      flight: ini.flight,
      engine: options.ioEngine,
      log,
      env: world.env,
      ended: (status) => end(status),
    });
  } catch (e) {
    if (e instanceof AlreadyRunningError) {
      world.err(`drbdd: ${e.message}\n  it serves this node already: drbdadm status\n`);
      return 0; // the angel shall not try again
    }
    world.err(`drbdd: ${e instanceof Error ? (e.stack ?? e.message) : String(e)}\n`);
    return 1;
  }
  writeFileSync(pidfile, `${process.pid}\n`);
  const stop = (): void => void drbdd.shutdown();
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  const status = await ended;
  if (status === 0) rmSync(pidfile, { force: true });
  return status;
}
