/** Running programs of the machine for the pair harness: to their end, with output collected and a time limit. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface Ran {
  readonly status: number; // exit status, or 128 + signal
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input: string;
  readonly timeoutMs: number; // then SIGKILL, to the program and its children
  readonly env: Readonly<Record<string, string>>; // the whole environment
}

/** A program that had to succeed did not. */
export class CommandError extends Error {
  override name = 'CommandError';
  readonly status: number;
  constructor(argv: readonly string[], ran: Ran) {
    const words = `${ran.stderr}${ran.stdout}`.trim().slice(-4_000);
    super(`${argv.join(' ')}: exit ${ran.status}${words ? `\n${words}` : ''}`);
    this.status = ran.status;
  }
}

const SIGNALS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };

export function statusOf(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + (SIGNALS[signal ?? ''] ?? 0);
}

export function run(argv: readonly string[], options: Partial<RunOptions> = {}): Promise<Ran> {
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.env && { env: options.env }),
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.stdin.on('error', () => undefined); // a program that does not read its input
    child.stdin.end(options.input ?? '');
    const timer = options.timeoutMs
      ? setTimeout(() => {
          stderr += `killed: not done after ${options.timeoutMs} ms\n`;
          killTree(child);
        }, options.timeoutMs)
      : null;
    child.once('error', reject);
    // 'exit', then a moment for the pipes: a daemon that the program left behind may hold them open for ever.
    child.once('exit', (code, signal) => {
      if (timer) clearTimeout(timer);
      const done = (): void => resolve({ status: statusOf(code, signal), stdout, stderr });
      const late = setTimeout(done, 200);
      child.once('close', () => {
        clearTimeout(late);
        done();
      });
    });
  });
}

/** The output of a program that has to succeed. */
export async function must(
  argv: readonly string[],
  options: Partial<RunOptions> = {},
): Promise<string> {
  const ran = await run(argv, options);
  if (ran.status !== 0) throw new CommandError(argv, ran);
  return ran.stdout;
}

/** Direct children, as /proc tells. */
export function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return [];
  }
}

/** nsenter waits for what it started; killing only nsenter would leave that behind. */
export function killTree(child: ChildProcess): void {
  if (child.pid === undefined) return;
  const all = [child.pid];
  for (const pid of all) all.push(...childrenOf(pid));
  for (const pid of all.reverse()) kill(pid);
}

export function kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Ticks since boot at which a process started; with the pid it names one process for good. Null when it is gone. */
export function startTicks(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : Number(fields[19]);
  } catch {
    return null;
  }
}

export interface ProcessName {
  readonly pid: number;
  readonly startTicks: number;
}
export function isAlive(name: ProcessName): boolean {
  return startTicks(name.pid) === name.startTicks;
}
export function processName(pid: number): ProcessName {
  return { pid, startTicks: startTicks(pid) ?? -1 };
}

/** Poll until `ready` holds. False when `limitMs` are over, counted anew whenever `ready` calls `advanced`. */
export async function waitUntil(
  ready: (advanced: () => void) => boolean | Promise<boolean>,
  limitMs: number,
  everyMs = 25,
): Promise<boolean> {
  let end = performance.now() + limitMs;
  const advanced = (): void => {
    end = performance.now() + limitMs;
  };
  for (;;) {
    if (await ready(advanced)) return true;
    if (performance.now() > end) return false;
    await new Promise((done) => setTimeout(done, everyMs));
  }
}
