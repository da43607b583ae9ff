/** Real-time class and locked code, in processes of their own. */
import { execFile, execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';

/** What the child finds: the warnings, its scheduling class and that of a program it starts, and its locked memory. */
interface Found {
  readonly logs: readonly string[];
  readonly own: { readonly policy: number; readonly priority: number };
  readonly child: { readonly policy: number; readonly priority: number };
  readonly lockedKiB: number;
}

const MODULE = resolve('build/src/real/realtime.js');
// Locked memory that V8 wants to give back would abort it: a heap grows, and shrinks.
const SCRIPT = `
import { becomeRealtime } from ${JSON.stringify(MODULE)};
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
const logs = [];
becomeRealtime(JSON.parse(process.argv[1]), (level, text) => logs.push(level + ': ' + text));
for (let i = 0; i < 5; i++) { let big = Array.from({ length: 300000 }, (_, n) => ({ n })); big = null; gc(); }
const scheduling = (stat) => {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { policy: Number(fields[38]), priority: Number(fields[37]) };
};
console.log(JSON.stringify({
  logs,
  own: scheduling(readFileSync('/proc/thread-self/stat', 'latin1')),
  child: scheduling(spawnSync('cat', ['/proc/self/stat']).stdout.toString()),
  lockedKiB: Number(/VmLck:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]),
}));`;

const ADDON = resolve('build/native/twinbeat.node');
const SCHED_FIFO = 1;

function run(
  t: ExecutionContext,
  haCf: { readonly realtime: boolean; readonly rtprio: number },
  before: readonly string[] = [],
): Promise<Found> {
  const node = [process.execPath, '--expose-gc', '--input-type=module', '-e', SCRIPT];
  const [program = '', ...args] = [...before, ...node, JSON.stringify(haCf)];
  return new Promise((done, fail) => {
    execFile(program, args, (error, stdout, stderr) => {
      if (stderr !== '') t.log(stderr);
      if (error) fail(error);
      else done(JSON.parse(stdout) as Found);
    });
  });
}

/** Whether this machine lets root: a container or a control group may not. */
function isAllowed(): boolean {
  try {
    execFileSync('chrt', ['--fifo', '1', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

test('allowed: SCHED_FIFO with rtprio, children without, code locked, and the heap may shrink', async (t) => {
  if (!need(t, 'root', 'chrt', ADDON)) return;
  const found = await run(t, { realtime: true, rtprio: 7 });
  t.true(found.lockedKiB > 10_000, `${found.lockedKiB} KiB`);
  t.is(found.child.policy, 0);
  if (isAllowed()) {
    t.deepEqual(found.logs, []);
    t.deepEqual(found.own, { policy: SCHED_FIFO, priority: 7 });
  } else t.regex(found.logs.join(), /sched_setscheduler/);
});

test('not allowed: said once, and it goes on', async (t) => {
  if (!need(t, 'root', 'setpriv', 'prlimit', ADDON)) return;
  const before = [
    ...['prlimit', '--memlock=0:0', '--rtprio=0:0'],
    ...['setpriv', '--bounding-set', '-ipc_lock,-sys_nice', '--'],
  ];
  const found = await run(t, { realtime: true, rtprio: 1 }, before);
  t.deepEqual(found.logs, [
    'WARN: realtime: not as ha.cf asks: mlock: EPERM; sched_setscheduler: EPERM. Going on without.',
  ]);
  t.is(found.own.policy, 0);
});

test('realtime off: neither', async (t) => {
  const found = await run(t, { realtime: false, rtprio: 1 });
  t.like(found, { logs: [], own: { policy: 0 }, lockedKiB: 0 });
});
