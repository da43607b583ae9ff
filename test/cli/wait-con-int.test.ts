/**
 * The dialogue of `drbdadm wait-con-int`, second by second, against what drbdadm-84 9.22 wrote on a terminal and without one
 * (test/golden/config/wait-con-int.txt). The clock is ours, so nothing here waits.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { drbdadm } from '../../src/cli/drbdadm-core.js';
import type { Seat, Terminal } from '../../src/cli/terminal-seat.js';
import { memoryWorld } from '../support/memory-world.js';

const PID = 4711;

/** Events in the order of their time; between two of them everything that can go on does. */
class FakeSeat implements Seat {
  readonly pid = PID;
  readonly written = new Map<number, string>(); // by second
  readonly #kind: 'terminal' | 'console' | 'nobody';
  readonly #events: { readonly atMs: number; readonly run: () => void }[] = [];
  readonly #lines: (string | null)[] = [];
  #reader: ((line: string | null) => void) | null = null;
  #nowMs = 0;

  constructor(kind: 'terminal' | 'console' | 'nobody') {
    this.#kind = kind;
  }

  at(atMs: number, run: () => void): void {
    this.#events.push({ atMs, run });
  }

  type(seconds: number, line: string | null): void {
    this.at(seconds * 1000, () => {
      if (this.#reader) this.#reader(line);
      else this.#lines.push(line);
      this.#reader = null;
    });
  }

  /** Until `done`, or nothing is left to happen. */
  async play(done: Promise<unknown>): Promise<void> {
    let isDone = false;
    void done.then(() => {
      isDone = true;
    });
    for (;;) {
      for (let i = 0; i < 4; i++) await new Promise((go) => setImmediate(go));
      const [next] = this.#events.toSorted((a, b) => a.atMs - b.atMs);
      if (isDone || !next) return;
      this.#events.splice(this.#events.indexOf(next), 1);
      this.#nowMs = next.atMs;
      next.run();
    }
  }

  write(text: string): void {
    const second = Math.floor(this.#nowMs / 1000);
    this.written.set(second, (this.written.get(second) ?? '') + text);
  }

  nowMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number): { readonly done: Promise<void>; cancel(): void } {
    let event: { readonly atMs: number; readonly run: () => void } | null = null;
    const done = new Promise<void>((resolve) => {
      event = { atMs: this.#nowMs + ms, run: resolve };
      this.#events.push(event);
    });
    return {
      done,
      cancel: () => {
        const index = event ? this.#events.indexOf(event) : -1;
        if (index >= 0) this.#events.splice(index, 1);
      },
    };
  }

  openOwn(): Terminal | null {
    return this.#kind === 'terminal' ? this.#terminal() : null;
  }

  openConsole(): Terminal | string {
    return this.#kind === 'console' ? this.#terminal() : 'no such device';
  }

  #terminal(): Terminal {
    return {
      write: (text) => this.write(text),
      readLine: () =>
        new Promise((resolve) => {
          const line = this.#lines.shift();
          if (line === undefined) this.#reader = resolve;
          else resolve(line);
        }),
      prepare: () => {},
      close: () => {},
    };
  }
}

function conf(t: ExecutionContext, refresh: number, startup: string): string {
  const root = mkdtempSync(join(tmpdir(), 'wait-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'etc'));
  const resource = (name: string, minor: number): string =>
    `resource ${name} { disk { resync-rate 1M; }
  on one { device /dev/drbd${minor}; disk /dev/sdb${minor}; address 127.0.0.1:${7788 + minor}; meta-disk internal; }
  on two { device /dev/drbd${minor}; disk /dev/sdb${minor}; address 10.0.0.2:${7788 + minor}; meta-disk internal; } }\n`;
  const text =
    `global { dialog-refresh ${refresh}; }\ncommon { startup { ${startup} } }\n` +
    resource('r0', 0) +
    resource('r1', 1);
  writeFileSync(join(root, 'etc/drbd.conf'), text);
  return root;
}

interface Scene {
  readonly kind?: 'terminal' | 'console' | 'nobody';
  readonly refresh?: number;
  readonly startup?: string;
  readonly endsAt?: number; // seconds; the waits of all volumes
  readonly endsWith?: number; // exit status of the waits
  readonly typed?: readonly (readonly [number, string | null])[];
}

const STARTUP = 'wfc-timeout 0; degr-wfc-timeout 120;';

async function play(t: ExecutionContext, scene: Scene) {
  const seat = new FakeSeat(scene.kind ?? 'terminal');
  const root = conf(t, scene.refresh ?? 1, scene.startup ?? STARTUP);
  const base = memoryWorld({ root, env: { __DRBD_NODE__: 'one' } });
  const world = { ...base, out: (text: string) => seat.write(text) };
  const calls: string[] = [];
  for (const [seconds, line] of scene.typed ?? []) seat.type(seconds, line);
  const drbdsetup = (argv: readonly string[]): Promise<number> => {
    calls.push(argv.join(' '));
    return new Promise((resolve) => {
      if (scene.endsAt !== undefined)
        seat.at(scene.endsAt * 1000, () => resolve(scene.endsWith ?? 0));
    });
  };
  const ran = drbdadm(['wait-con-int'], world, { drbdsetup, drbdmeta: async () => 0 }, seat);
  await seat.play(ran);
  const status = await ran;
  const text = [...seat.written].map(([s, what]) => `${s} ${JSON.stringify(what)}\n`).join('');
  return { status, text, calls, err: base.stderr() };
}

/** A section of the recording, with the escape written as JSON.stringify does. */
function recorded(title: string): string {
  const golden = readFileSync('test/golden/config/wait-con-int.txt', 'utf8');
  const section = golden.split('\n\n').find((part) => part.includes(`# ${title}`));
  return `${section?.trim().split('\n').slice(1).join('\n') ?? ''}\n`;
}

test('a terminal: dots, the box, the seconds, a wrong word, yes', async (t) => {
  const { status, text, calls } = await play(t, {
    refresh: 2,
    typed: [
      [12.3, 'no'],
      [15.2, 'yes'],
    ],
  });
  t.is(text, recorded('terminal, dialog-refresh 2; typed: 12.3 "no", 15.2 "yes"'));
  t.is(status, 0);
  t.deepEqual(calls, [
    'wait-connect 0 --degr-wfc-timeout=120 --wfc-timeout=0',
    'wait-connect 1 --degr-wfc-timeout=120 --wfc-timeout=0',
  ]);
});

test('dialog-refresh 0 never draws the seconds again; the peers come', async (t) => {
  const { status, text } = await play(t, { refresh: 0, startup: '', endsAt: 15 });
  t.is(text, recorded('terminal, dialog-refresh 0; the waits end at 15'));
  t.is(status, 0);
});

test('nobody there: how to end it, and no question', async (t) => {
  const { status, text, err } = await play(t, { kind: 'nobody', endsAt: 12 });
  const want = recorded('no terminal, no console; the waits end at 12');
  t.is(text, want.replace('PID', `${PID}`));
  t.is(
    err,
    "WARN: stdin/stdout is not a TTY; using /dev/console\nopen('/dev/console'): no such device\n",
  );
  t.is(status, 0);
});

test('the console is asked where there is no terminal', async (t) => {
  const { status, text } = await play(t, { kind: 'console', typed: [[20, 'yes']] });
  t.regex(text, /To abort waiting enter 'yes'/);
  t.regex(text, /19 "\\u001b\[s\\u001b\[31G\[ {2}19\]:\\u001b\[u"\n20 .*\\n"\n$/);
  t.is(status, 0);
});

test('who comes in the first ten seconds hears no question', async (t) => {
  const { status, text } = await play(t, { endsAt: 3.5 });
  t.is(text, recorded('terminal; the waits end at 3'));
  t.is(status, 0);
});

// drbdadm-84: Ctrl-D is no answer, however often; the next line is read.
test('the end of the input is no answer', async (t) => {
  const { status, text } = await play(t, {
    refresh: 1,
    typed: [
      [11.5, null],
      [12.1, null],
      [13.3, null],
      [15.2, 'yes'],
    ],
  });
  t.is(status, 0);
  t.regex(text, /\n1[5-7] .*\\n"\n$/);
});

// A wait that timed out (5), and one that could not begin (20): the boot goes on, as the original's does.
test('what the waits end with does not hold up the boot', async (t) => {
  for (const endsWith of [5, 20]) {
    const { status, text } = await play(t, { endsAt: 0, endsWith });
    t.is(status, 0);
    t.is(text, '');
  }
});
