/**
 * twinbeat: what has no counterpart among the programs of DRBD and Heartbeat. A table of commands; each is a handler with the
 * world, and the exit status is its result.
 */
import { Command, CommanderError } from 'commander';
import { demoDown, demoMain } from './demo.js';
import { clientMain, ledgerMain, removeMain, rowsMain } from './demo-parts.js';
import { type AgentFlags, agentMain, agentOnce, maintMain } from './twinbeat-agent.js';
import { boundMain } from './twinbeat-bound.js';
import { type DoctorFlags, doctorMain } from './twinbeat-doctor.js';
import { type RecoverFlags, recoverMain } from './twinbeat-recover.js';
import { type ReplayOptions, replayMain } from './twinbeat-replay.js';
import { reportMain } from './twinbeat-report.js';
import { restartMain } from './twinbeat-restart.js';
import { simCommand, simMain } from './twinbeat-sim.js';
import type { SimFlags } from './twinbeat-sim-options.js';
import { statusMain } from './twinbeat-status.js';
import { type WitnessFlags, witnessMain } from './twinbeat-witness.js';
import { version } from './version.js';
import { type Main, UsageError, type World } from './world.js';

export const twinbeat: Main = async (argv, world) => {
  let status = 0;
  const program = build(argv, world, (result) => {
    status = result;
  });
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (e) {
    if (!(e instanceof CommanderError)) throw e;
    if (e.exitCode === 0 || e.code === 'commander.help') return e.exitCode;
    throw new UsageError(e.message.replace(/^error: /, 'twinbeat: '), 2);
  }
  return status;
};

function build(argv: readonly string[], world: World, done: (status: number) => void): Command {
  const program = new Command('twinbeat')
    .description('One service kept alive on two machines')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => world.out(text),
      writeErr: (text) => world.err(text),
      outputError: () => undefined, // `run` prints it
    });

  program
    .command('demo')
    .description('two nodes on this machine: switch-over, power cut, take-over, return')
    .option('--keep', 'leave the pair running at the end')
    .option('--down', 'end pairs that were left running')
    .option('--size <MiB>', 'size of each lower disk', '512')
    .action(async (options: { keep?: true; down?: true; size: string }) => {
      if (options.down) return done(await demoDown(world));
      const diskMiB = Number(options.size);
      if (!Number.isInteger(diskMiB) || diskMiB < 256) {
        throw new UsageError('twinbeat demo: --size is in MiB, at least 256', 2);
      }
      done(await demoMain({ keep: options.keep === true, diskMiB }, world));
    });

  program
    .command('restart <daemon>')
    .description('restart drbdd under its mounted file systems')
    .action(async (daemon: string) => done(await restartMain(daemon, world)));

  program
    .command('status')
    .description('heartbeat on this node: who runs what, health, standing')
    .option('--json', 'everything, as one object')
    .action(async (flags: { json?: true }) => done(await statusMain(flags.json === true, world)));

  program
    .command('recover <node>')
    .description('a node that is FAILED_OFFLINE may run resources again')
    .option('--activate-primary', 'and takes the groups of its own lines')
    .option('--force', 'although a check fails there')
    .action(async (node: string, flags: RecoverFlags) =>
      done(await recoverMain(node, flags, world)),
    );

  program
    .command('bound')
    .description('how long an outage may last, part by part')
    .option('--json', 'as one object')
    .action(async (flags: { json?: true }) => done(await boundMain(flags.json === true, world)));

  program
    .command('report <node>')
    .description('one word of a node, for programs: OK/ACTIVE, OK/STANDBY, FAILED_OFFLINE, ...')
    .action(async (node: string) => done(await reportMain(node, world)));

  program
    .command('agent')
    .description('tell load balancers whether this node serves; without a port: once, here')
    .option('--agent <address:port>', "for HAProxy's agent-check")
    .option('--http <address:port>', 'for checks by HTTP')
    .option(
      '--group <group>',
      'of haresources, by its first resource; needed where there are several',
    )
    .action(async (flags: AgentFlags) => {
      const isOnce = flags.agent === undefined && flags.http === undefined;
      done(await (isOnce ? agentOnce(flags.group ?? null, world) : agentMain(flags, world)));
    });

  program
    .command('maint <on|off> [why...]')
    .description('take this node out for the load balancers, or let it in again')
    .action((action: string, why: string[]) => done(maintMain(action, why, world)));

  program
    .command('doctor')
    .description('what is wrong with the files and this machine; status 1: warnings, 2: errors')
    .option('-c, --config-file <file>', 'drbd.conf, instead of that in /etc')
    .option('--json', 'as one object')
    .option('--show <finding>', 'play what it warns of, with the times of ha.cf')
    .action(async (flags: DoctorFlags) => done(await doctorMain(flags, world)));

  program
    .command('witness')
    .description('the third machine: says who may serve while two nodes do not hear each other')
    .requiredOption('--listen <address:port>', 'where the nodes ask, UDP')
    .requiredOption('--key-file <file>', 'a line CLUSTER KEY for each cluster')
    .option('--lease <seconds>', 'the longest lease that is granted', '30')
    .action(async (flags: WitnessFlags) => done(await witnessMain(flags, world)));

  simCommand(program).action(async (flags: SimFlags) =>
    done(await simMain(flags, argv.slice(argv.indexOf('sim') + 1), world)),
  );

  program
    .command('replay <file...>')
    .description('feed recordings of drbdd and heartbeat to the same machines again')
    .option('--until <time>', 'stop there: +SECONDS, HH:MM:SS, or a date with a time')
    .option('--explain', 'why each transition happened; log lines and refusals, too')
    .option('--json', 'one object a line')
    .action(async (files: string[], options: ReplayOptions) =>
      done(await replayMain(files, options, version(), world)),
    );

  program
    .command('version')
    .description('print the version')
    .action(() => {
      world.out(`twinbeat ${version()}\n`);
    });

  // Parts of the demo that are processes of their own.
  const part = (name: string): Command =>
    program
      .command(name, { hidden: true })
      .option('--kind <mysql|ledger>')
      .option('--host <address>')
      .option('--port <port>')
      .option('--journal <file>')
      .option('--patience <ms>')
      .option('--room <file>')
      .option('--from <row>')
      .option('--to <row>')
      .option('--file <file>')
      .option('--export <socket>')
      .option('--name <resource>')
      .option('--pid-file <file>');
  part('demo-client').action(async (o: Record<string, string>) => done(await clientMain(o, world)));
  part('demo-rows').action(async (o: Record<string, string>) => done(await rowsMain(o, world)));
  part('demo-remove').action(async (o: Record<string, string>) => done(await removeMain(o)));
  part('demo-ledger').action(async (o: Record<string, string>) => done(await ledgerMain(o, world)));
  return program;
}
