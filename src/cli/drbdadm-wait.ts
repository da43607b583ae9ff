/**
 * `drbdadm wait-con-int`: wait at boot until the peers are there, with the dialogue that lets an operator go on without.
 *
 *     0 to 10 s     a dot each second; when all waits end here, nothing more is said
 *     then          the box with the timeouts of the first resource, and
 *       terminal      "To abort waiting enter 'yes' [  12]:", the seconds drawn again every dialog-refresh seconds (0: never);
 *                     any other line asks again; the end of the input (Ctrl-D) is no answer
 *       nobody        "To abort waiting for DRBD connections, kill this process: kill PID"
 *
 * The terminal is standard input and output; where they are not one, the console. Ctrl-C is not caught: it ends this
 * program and leaves drbdd as it is. The exit status is 0 whatever the waits ended with: what could not be
 * reached in time does not hold up the boot. Source: drbdadm-84 9.22 observed on a terminal, on the console and without
 * either (test/golden/config/wait-con-int.txt).
 */
import type { LocalResource } from '../config/drbd-conf-resolve.js';
import { waitConnect } from './drbdadm-commands.js';
import type { Adm } from './drbdadm-verbs.js';
import type { Seat, Terminal } from './terminal-seat.js';

const DOTS = 10; // seconds of quiet waiting before the dialogue

export async function waitConnectInteractive(
  adm: Adm,
  resources: readonly LocalResource[],
  seat: Seat,
): Promise<number> {
  const { world, runner } = adm;
  const waits = resources.flatMap((r) =>
    (r.me?.volumes ?? []).map((volume) =>
      runner.run(waitConnect(r, volume), r.conf.name, 'forever'),
    ),
  );
  const all = Promise.all(waits).then((): 'over' => 'over');
  if (adm.args.dryRun) {
    await all;
    return 0;
  }
  const terminal = theTerminal(adm, seat);
  const write = terminal ? (text: string) => terminal.write(text) : world.out;
  try {
    const startMs = seat.nowMs();
    for (let i = 0; i < DOTS; i++) {
      if ((await first(seat, 1, all)) === 'over') return 0;
      write('.');
    }
    terminal?.prepare();
    write(box(resources[0]));
    if (terminal) {
      await dialogue(terminal, all, seat, startMs, adm.conf.conf.global.dialogRefresh);
      write('\n');
    } else {
      write(` To abort waiting for DRBD connections, kill this process: kill ${seat.pid}\n`);
      await all;
    }
    return 0;
  } finally {
    terminal?.close();
  }
}

/** Standard input and output, or the console, or nobody. */
function theTerminal({ world }: Adm, seat: Seat): Terminal | null {
  const own = seat.openOwn();
  if (own) return own;
  world.err('WARN: stdin/stdout is not a TTY; using /dev/console\n');
  const console = seat.openConsole();
  if (typeof console !== 'string') return console;
  world.err(`open('/dev/console'): ${console}\n`);
  return null;
}

/** What comes first, or 'time' after so many seconds (0: no such limit). */
async function first<T>(
  seat: Seat,
  seconds: number,
  ...others: readonly Promise<T>[]
): Promise<T | 'time'> {
  if (seconds === 0) return Promise.race(others);
  const timer = seat.sleep(seconds * 1000);
  try {
    return await Promise.race([...others, timer.done.then((): 'time' => 'time')]);
  } finally {
    timer.cancel();
  }
}

async function dialogue(
  terminal: Terminal,
  all: Promise<'over'>,
  seat: Seat,
  startMs: number,
  refreshS: number,
): Promise<void> {
  const prompt = " To abort waiting enter 'yes' [ -- ]:";
  // Save the cursor, write the seconds into the brackets of the line that it stands on, go back.
  const seconds = (): string => {
    const elapsed = Math.floor((seat.nowMs() - startMs) / 1000);
    return `\x1b[s\x1b[31G[${String(elapsed).padStart(4)}]:\x1b[u`;
  };
  terminal.write(`${prompt} ${seconds()}`);
  let line: Promise<{ readonly line: string | null }> | null = null;
  for (;;) {
    line ??= terminal.readLine().then((text) => ({ line: text }));
    const what: 'over' | 'time' | { readonly line: string | null } = await first<
      'over' | { readonly line: string | null }
    >(seat, refreshS, all, line);
    if (what === 'over') return;
    if (what === 'time') {
      terminal.write(seconds());
      continue;
    }
    line = null;
    if (what.line === 'yes') return; // what still waits ends with this process
    if (what.line !== null) terminal.write(prompt + seconds());
    else if ((await first(seat, Math.max(refreshS, 1), all)) === 'over') return; // no busy loop on a closed input
  }
}

function box(first: LocalResource | undefined): string {
  const option = (name: string): string =>
    first?.conf.startup.find((o) => o.name === name)?.value ?? '0';
  return [
    '',
    '***************************************************************',
    " DRBD's startup script waits for the peer node(s) to appear.",
    ' - If this node was already a degraded cluster before the',
    `   reboot, the timeout is ${option('degr-wfc-timeout')} seconds. [degr-wfc-timeout]`,
    ' - If the peer was available before the reboot, the timeout',
    `   is ${option('wfc-timeout')} seconds. [wfc-timeout]`,
    `   (These values are for resource '${first?.conf.name ?? ''}'; 0 sec -> wait forever)`,
    '',
  ].join('\n');
}
