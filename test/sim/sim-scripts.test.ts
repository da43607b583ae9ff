/** The modelled resource scripts: what drbddisk does is compared with the real one; faults, signals, power cuts. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Prng } from '../../src/base/prng.js';
import { parseHaResource } from '../../src/config/haresources.js';
import type { Action, ScriptOutcome } from '../../src/resource-manager/group-operation.js';
import { NodeClock } from '../../src/sim/node-clock.js';
import { SimClock } from '../../src/sim/sim-clock.js';
import {
  DEFAULT_SIM_SCRIPTS,
  type ScriptPorts,
  SimScripts,
  type SimScriptsOptions,
} from '../../src/sim/sim-scripts.js';

type Drbdadm = (verb: string, count: number) => readonly [number, string];

interface Machine {
  drbdadm: Drbdadm;
  mount: number; // errno
  umount: number;
  kernelMs: number; // how long a mount or umount takes
  serviceMs: number; // how long it takes to answer; infinite: for ever
  up: boolean;
  termMs: number; // how long it lives after TERM
  taken: boolean;
}

const WELL: Machine = {
  drbdadm: () => [0, ''],
  mount: 0,
  umount: 0,
  kernelMs: 1,
  serviceMs: 10,
  up: true,
  termMs: 10,
  taken: false,
};

function world(machine: Partial<Machine> = {}, options: Partial<SimScriptsOptions> = {}) {
  const m: Machine = { ...WELL, ...machine };
  const clock = new SimClock();
  const node = new NodeClock(clock, 0);
  const calls: string[] = [];
  const after = (ms: number, run: () => void): void => {
    if (ms < Number.POSITIVE_INFINITY) node.after(ms, run);
  };
  const ports: ScriptPorts = {
    drbdadm: (verb, resource, done) => {
      calls.push(`${verb} ${resource}`);
      done(...m.drbdadm(verb, calls.length));
    },
    mount: (_device, done) => after(m.kernelMs, () => done(m.mount)),
    umount: (_device, done) => after(m.kernelMs, () => done(m.umount)),
    startService: (name, done) => {
      calls.push(`start ${name}`);
      after(m.serviceMs, () => done(m.up));
    },
    stopService: (name, done) => {
      calls.push(`TERM ${name}`);
      after(m.termMs, done);
    },
    killService: (name, done) => {
      calls.push(`KILL ${name}`);
      after(1, done);
    },
    address: (address, here) => calls.push(`${here ? '+' : '-'}${address}`),
    isAddressTaken: () => m.taken,
  };
  const scripts = new SimScripts(node, new Prng(1), ports, { ...DEFAULT_SIM_SCRIPTS, ...options });
  const begin = (text: string, action: Action) => {
    const outcomes: ScriptOutcome[] = [];
    const process = scripts.start(parseHaResource(text), action, (o) => outcomes.push(o));
    return { process, outcomes };
  };
  /** Exit status and output. */
  const run = (text: string, action: Action, limitMs = 2_000_000) => {
    const { process, outcomes } = begin(text, action);
    const startMs = clock.nowMs;
    while (process && outcomes.length === 0 && clock.nowMs - startMs < limitMs && clock.step());
    const [outcome] = outcomes;
    return [outcome?.exitStatus ?? outcome?.failure ?? null, outcome?.output.trim() ?? ''] as const;
  };
  return { m, clock, node, scripts, calls, begin, run };
}

const DISK = 'drbddisk::r0';
const DATA = 'Filesystem::/dev/drbd0::/data::ext4';
const ADDRESS = 'IPaddr::10.9.0.1';

/** What resource.d/drbddisk does with a drbdadm that is a shell text. */
function realDrbddisk(t: ExecutionContext, drbdadm: string, args: readonly string[]) {
  const dir = mkdtempSync(join(tmpdir(), 'sim-scripts-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const program = (name: string, text: string): void => {
    writeFileSync(join(dir, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(dir, name), 0o755);
  };
  program('drbdadm', `echo "$*" >>${dir}/trace\n${drbdadm}`);
  program('sleep', ':');
  const done = spawnSync(resolve('resource.d/drbddisk'), args, {
    env: { PATH: `${dir}:${process.env['PATH'] ?? ''}`, DRBDADM: join(dir, 'drbdadm') },
    encoding: 'utf8',
  });
  const trace = join(dir, 'trace');
  const calls = existsSync(trace) ? readFileSync(trace, 'utf8').trim().split('\n') : [];
  // Looking for a status file is a way out that the model does not have.
  return {
    status: done.status,
    out: done.stdout.trim(),
    calls: calls.filter((c) => !/ sh-/.test(c)),
  };
}

const DRBDADMS: readonly { readonly shell: string; readonly model: Drbdadm }[] = [
  { shell: 'exit 11', model: () => [11, ''] },
  { shell: 'exit 0', model: () => [0, ''] },
  {
    shell: '[ "$(wc -l <"$(dirname "$0")/trace")" -ge 3 ]',
    model: (_verb, count) => [count >= 3 ? 0 : 1, ''],
  },
  { shell: 'echo Primary/Secondary', model: () => [0, 'Primary/Secondary\n'] },
  { shell: 'echo Secondary/Unknown', model: () => [0, 'Secondary/Unknown\n'] },
  { shell: 'echo Unconfigured', model: () => [0, 'Unconfigured\n'] },
];

test('drbddisk: tries, words and statuses are those of the real script', (t) => {
  for (const [i, { shell, model }] of DRBDADMS.entries()) {
    for (const [text, args] of [
      [DISK, ['r0']],
      ['drbddisk', []],
    ] as const) {
      for (const action of ['start', 'stop', 'status'] as const) {
        const { run, calls } = world({ drbdadm: model });
        const [status, output] = run(text, action);
        const real = realDrbddisk(t, shell, [...args, action]);
        const what = `${text} ${action} with ${shell}`;
        t.is(status, real.status, what);
        if (action === 'status') t.is(output, real.out, what);
        if (!(action === 'status' && i < 3)) t.deepEqual(calls, real.calls, what);
      }
    }
  }
});

test('drbddisk waits a second between tries', (t) => {
  const { run, clock } = world({ drbdadm: () => [11, ''] });
  run(DISK, 'start');
  t.true(clock.nowMs >= 5000 && clock.nowMs < 5100, `${clock.nowMs}`);
});

test('Filesystem: running, stopped, refused', (t) => {
  const { run, scripts, m } = world();
  t.deepEqual(run(DATA, 'status'), [3, 'stopped']);
  t.deepEqual(run(DATA, 'stop'), [0, '']);
  t.is(run(DATA, 'start')[0], 0);
  t.deepEqual(run(DATA, 'status'), [0, 'running']);
  t.is(run(DATA, 'start')[0], 0, 'already');
  t.is(run('Filesystem::/dev/drbd1::/data', 'start')[0], 1, 'another device is there');
  t.is(run(DATA, 'stop')[0], 0);
  t.deepEqual([...scripts.mounts], []);
  m.mount = 30;
  t.is(run(DATA, 'start')[0], 1);
  t.deepEqual(run(DATA, 'status'), [3, 'stopped']);
});

test('Filesystem ends what uses it, first with TERM, then with KILL', (t) => {
  for (const [termMs, calls] of [
    [10, ['TERM service']],
    [Number.POSITIVE_INFINITY, ['TERM service', 'KILL service']],
  ] as const) {
    const w = world({ termMs });
    w.run(DATA, 'start');
    t.is(w.run('service', 'start')[0], 0);
    w.calls.splice(0);
    t.is(w.run(DATA, 'stop')[0], 0);
    t.deepEqual([...new Set(w.calls)], calls);
    t.deepEqual([w.scripts.services.size, w.scripts.mounts.size], [0, 0]);
  }
  const w = world({}, { forceUnmount: false });
  w.run(DATA, 'start');
  w.run('service', 'start');
  t.is(w.run(DATA, 'stop')[0], 1, 'busy');
  t.is(w.scripts.services.get('service')?.state, 'running');
});

test('IPaddr: an address for which somebody else answers is refused', (t) => {
  const { run, calls, m } = world({ taken: true });
  t.is(run(ADDRESS, 'start')[0], 1);
  m.taken = false;
  t.is(run('10.9.0.1/24/eth0', 'start')[0], 0, 'the shorthand');
  t.deepEqual(run(ADDRESS, 'status'), [0, 'running']);
  t.is(run(ADDRESS, 'stop')[0], 0);
  t.is(run(ADDRESS, 'stop')[0], 0);
  t.deepEqual(run(ADDRESS, 'status'), [3, 'stopped']);
  t.deepEqual(calls, ['+10.9.0.1', '-10.9.0.1']);
});

test('a service starts on its mounted data only and is waited for', (t) => {
  const { run, m, scripts, calls, clock } = world({ serviceMs: 30_000 });
  t.is(run('service', 'start')[0], 1);
  run(DATA, 'start');
  const fromMs = clock.nowMs;
  t.is(run('service', 'start')[0], 0);
  t.true(clock.nowMs - fromMs > 30_000, 'through a crash recovery');
  t.deepEqual(run('service', 'status'), [0, 'running']);
  t.is(run('service', 'start')[0], 0);
  t.deepEqual(calls, ['start service'], 'not a second one beside it');
  m.termMs = 200_000;
  t.is(run('service', 'stop')[0], 1, 'it still runs after two minutes');
  t.deepEqual(run('service', 'status'), [1, 'running, but does not answer']);
  t.is(run('service', 'stop')[0], 0, 'and has ended when asked again');
  t.deepEqual(calls, ['start service', 'TERM service'], 'never killed');
  m.up = false;
  t.is(run('service', 'start')[0], 1);
  t.deepEqual(run('service', 'status'), [3, 'stopped']);
  t.is(scripts.services.size, 0);
});

test('faults: slow, failing before and after the work, hanging, lying; a number of times', (t) => {
  const { run, scripts, clock } = world();
  scripts.fault('Filesystem', 'start', { slowMs: 5000, times: 1 });
  t.is(run(DATA, 'start')[0], 0);
  t.true(clock.nowMs > 5000);
  scripts.fault('Filesystem', 'stop', { exit: 2, times: 1 });
  t.is(run(DATA, 'stop')[0], 2);
  t.is(scripts.mounts.size, 1);
  scripts.fault('Filesystem', 'stop', { exit: 2, works: true });
  t.is(run(DATA, 'stop')[0], 2);
  t.is(scripts.mounts.size, 0);
  t.is(run(DATA, 'stop')[0], 2);
  scripts.fault('Filesystem', 'stop', null);
  t.is(run(DATA, 'stop')[0], 0);
  scripts.fault('Filesystem', 'status', { says: 'running' });
  t.deepEqual(run(DATA, 'status'), [0, 'running']);
  scripts.fault('service', 'stop', { hangs: true });
  t.deepEqual(run('service', 'stop', 3_600_000), [null, '']);
});

test('a signal ends a script, but not what it has set going; in the kernel it waits', (t) => {
  const w = world({ kernelMs: 4000, serviceMs: 1000 });
  const mounting = w.begin(DATA, 'start');
  w.clock.runUntil(2000);
  mounting.process?.kill('SIGKILL');
  t.deepEqual(mounting.outcomes, []);
  w.clock.runUntil(6000);
  t.is(mounting.outcomes[0]?.failure, 'killed');
  t.is(w.scripts.mounts.size, 1, 'mounted all the same');
  const starting = w.begin('service', 'start');
  w.clock.runUntil(6500);
  starting.process?.kill('SIGTERM');
  t.is(starting.outcomes[0]?.failure, 'killed');
  w.clock.runUntil(8000);
  t.is(w.scripts.services.get('service')?.state, 'running');
  t.deepEqual([...w.scripts.runs], []);
});

test('a power cut ends everything without a word', (t) => {
  const w = world({ kernelMs: 4000, serviceMs: 4000 });
  t.is(w.run(DATA, 'start')[0], 0);
  const { process, outcomes } = w.begin('service', 'start');
  const start = w.scripts.startOf(process?.pid ?? 0);
  t.true(w.scripts.isRunning(process?.pid ?? 0, start));
  w.clock.runUntil(w.clock.nowMs + 1000);
  const unmounting = w.begin(DATA, 'stop');
  w.scripts.powerCut();
  t.is(w.scripts.mounts.size + w.scripts.services.size, 0);
  t.false(w.scripts.isRunning(process?.pid ?? 0, start));
  w.clock.runUntil(w.clock.nowMs + 20_000);
  t.deepEqual([...outcomes, ...unmounting.outcomes], []);
  t.is(w.scripts.mounts.size + w.scripts.services.size, 0, 'nothing comes of it later');
});

test('there is no script of that name', (t) => {
  t.is(world().begin('nosuch::x', 'start').process, null);
});

test('an agent and a unit say how their service is in their own way', (t) => {
  const w = world({ serviceMs: 50 }, { serviceDir: null });
  for (const [text, stopped, running, wrong] of [
    ['ocf::sim:service', [7, ''], [0, ''], 1],
    ['systemd::service', [0, 'ActiveState=inactive'], [0, 'ActiveState=active'], 1],
  ] as const) {
    t.deepEqual(w.run(text, 'status'), stopped);
    t.deepEqual(w.run(text, 'start'), [0, '']);
    t.deepEqual(w.run(text, 'status'), running);
    w.scripts.fault('service', 'status', { says: 'stopped', times: 1 });
    t.deepEqual(w.run(text, 'status'), stopped, 'it lies');
    w.scripts.fault('service', 'status', { exit: wrong, times: 1 });
    t.deepEqual(w.run(text, 'status'), [wrong, '']);
    t.deepEqual(w.run(text, 'stop'), [0, '']);
  }
  t.is(w.begin('systemd::nginx', 'start').process, null);
  t.is(w.begin('ocf::heartbeat:drbddisk', 'start').process, null, 'no service');
});
