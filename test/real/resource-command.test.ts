/**
 * OCF agents and units of systemd as programs: what they are called with, and what their answers are taken for. Debian's own
 * agents are run; systemctl is a stand-in, since systemd is not pid 1 where these tests run: its words and exit statuses
 * are those of systemd 252.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { parseHaResource } from '../../src/config/haresources.js';
import type { Action } from '../../src/resource-manager/group-operation.js';
import { judge } from '../../src/resource-manager/verdict.js';
import { need } from '../support/need.js';
import { type Run, runResource, scriptRoot } from '../support/resource-run.js';

const AGENTS = '/usr/lib/ocf/resource.d/heartbeat';

async function verdict(dir: string, resource: string): Promise<string> {
  const { outcome } = await runResource(dir, resource, 'status');
  return judge(parseHaResource(resource), outcome);
}

// ---- OCF

test('an agent gets its parameters, its name and a place for its state', async (t) => {
  const shown = 'echo "$# $1"; env | grep -E "^(OCF_|HA_RSCTMP)" | sort; exit 7';
  const dir = scriptRoot(t, { '../usr/lib/ocf/resource.d/some.where/Env-1': shown });
  const text = 'ocf::some.where:Env-1::ip=10.0.0.1::opts=a=b,c';
  const lines = async (action: Action, timeoutMs = 0) => {
    const { outcome, logs } = await runResource(dir, text, action, timeoutMs);
    t.is(outcome.exitStatus, 7);
    t.true(
      logs.some((l) =>
        l.endsWith(
          `Running ${dir}/usr/lib/ocf/resource.d/some.where/Env-1 ${outcome.output.split(/[ \n]/)[1]}`,
        ),
      ),
    );
    return outcome.output.trimEnd().split('\n');
  };
  t.deepEqual(await lines('status'), [
    '1 monitor',
    `HA_RSCTMP=${dir}/run/resource-agents`,
    'OCF_RA_VERSION_MAJOR=1',
    'OCF_RA_VERSION_MINOR=0',
    'OCF_RESKEY_CRM_meta_interval=0',
    'OCF_RESKEY_ip=10.0.0.1',
    'OCF_RESKEY_opts=a=b,c',
    'OCF_RESOURCE_INSTANCE=Env-1-719872a3',
    'OCF_RESOURCE_PROVIDER=some.where',
    'OCF_RESOURCE_TYPE=Env-1',
    'OCF_ROOT=/usr/lib/ocf',
  ]);
  t.is((await lines('start'))[0], '1 start');
  t.true((await lines('stop', 90_000)).includes('OCF_RESKEY_CRM_meta_timeout=90000'));
  t.true(statSync(join(dir, 'run/resource-agents')).isDirectory());
});

test('an agent that is not there, or is no program, is missing', async (t) => {
  const dir = scriptRoot(t, { '../usr/lib/ocf/resource.d/x/A': '' });
  writeFileSync(join(dir, 'usr/lib/ocf/resource.d/x/B'), '#!/bin/sh\n', { mode: 0o644 });
  t.is((await runResource(dir, 'ocf::x:A', 'start')).outcome.exitStatus, 0);
  for (const text of ['ocf::x:B', 'ocf::x:C', 'ocf::nobody:A']) {
    t.is((await runResource(dir, text, 'status')).outcome.failure, 'missing', text);
  }
});

test("Debian's Dummy: stopped, running, two of them, stopped again", async (t) => {
  if (!need(t, `${AGENTS}/Dummy`)) return;
  const dir = scriptRoot(t, {});
  const [one, two] = ['ocf::heartbeat:Dummy', `ocf::heartbeat:Dummy::state=${dir}/two`];
  const exit = async (text: string, action: Action) =>
    (await runResource(dir, text, action)).outcome.exitStatus;
  t.is(await verdict(dir, one), 'stopped');
  t.is(await exit(one, 'stop'), 0, 'of what does not run');
  t.is(await exit(one, 'start'), 0);
  t.is(await exit(one, 'start'), 0, 'of what runs');
  t.deepEqual([await verdict(dir, one), await verdict(dir, two)], ['running', 'stopped']);
  t.is(await exit(two, 'start'), 0);
  t.true(existsSync(join(dir, 'two')));
  t.is(await exit(one, 'stop'), 0);
  t.deepEqual([await verdict(dir, one), await verdict(dir, two)], ['stopped', 'running']);
  t.deepEqual(readdirSync(join(dir, 'run/resource-agents')), []);
});

test("Debian's IPaddr2 without an address has not looked: unknown, not stopped", async (t) => {
  if (!need(t, `${AGENTS}/IPaddr2`)) return;
  const dir = scriptRoot(t, {});
  const { outcome } = await runResource(dir, 'ocf::heartbeat:IPaddr2', 'status');
  t.is(outcome.exitStatus, 6, outcome.output);
  t.is(await verdict(dir, 'ocf::heartbeat:IPaddr2'), 'unknown');
});

// ---- systemd

/** A systemctl in front of PATH. It writes down its words; a unit is as the file of its name says. */
function standIn(t: ExecutionContext): {
  readonly dir: string;
  calls(): string[];
  unit(name: string, state: string): void;
} {
  const dir = scriptRoot(t, {
    '../bin/systemctl': [
      'cd "$(dirname "$0")" || exit 1',
      'echo "$*" >>calls',
      'verb=$1',
      'for unit; do unit=./$unit; done',
      'case $verb in',
      'show) printf "ActiveState=%s\\nSubState=x\\n" "$(cat "$unit" 2>/dev/null || echo inactive)" ;;',
      'start) [ -e "$unit" ] || { echo "Failed to start $unit: Unit $unit not found." >&2; exit 5; }; echo active >"$unit" ;;',
      'stop) [ "$(cat "$unit")" != deactivating ] && echo inactive >"$unit" ;;',
      'esac',
    ].join('\n'),
  });
  const before = process.env['PATH'] ?? '';
  process.env['PATH'] = `${dir}/bin:${before}`;
  t.teardown(() => {
    process.env['PATH'] = before;
  });
  const calls = join(dir, 'bin/calls');
  return {
    dir,
    calls: () => (existsSync(calls) ? readFileSync(calls, 'utf8').trimEnd().split('\n') : []),
    unit: (name, state) => writeFileSync(join(dir, 'bin', name), state),
  };
}

test.serial('a unit is started and stopped, never enabled, and asked for its state', async (t) => {
  const { dir, calls, unit } = standIn(t);
  unit('nginx', 'inactive');
  const ran: Run[] = [];
  for (const action of ['status', 'start', 'status', 'stop', 'status'] as const) {
    ran.push(await runResource(dir, 'systemd::nginx', action));
  }
  const resource = parseHaResource('systemd::nginx');
  const verdicts = [0, 2, 4].map((i) => ran[i] && judge(resource, ran[i].outcome));
  t.deepEqual(verdicts, ['stopped', 'running', 'stopped']);
  t.deepEqual(
    ran.map(({ outcome }) => outcome.exitStatus),
    [0, 0, 0, 0, 0],
  );
  t.deepEqual(calls(), [
    'show --property=ActiveState,SubState -- nginx',
    'start --no-ask-password -- nginx',
    'show --property=ActiveState,SubState -- nginx',
    'stop --no-ask-password --job-mode=replace-irreversibly -- nginx',
    'show --property=ActiveState,SubState -- nginx',
  ]);
});

test.serial(
  'a unit that fails, or is on its way, is neither; one that is not there does not start',
  async (t) => {
    const { dir, unit } = standIn(t);
    for (const state of ['failed', 'activating', 'deactivating']) {
      unit('-odd', state);
      t.is(await verdict(dir, 'systemd::-odd'), 'failed', state);
    }
    t.is((await runResource(dir, 'systemd::-odd', 'stop')).outcome.exitStatus, 1);
    t.is(await verdict(dir, 'systemd::nosuch'), 'stopped');
    t.is((await runResource(dir, 'systemd::nosuch', 'start')).outcome.exitStatus, 5);
  },
);

test.serial('systemctl without systemd: nothing is known; no systemctl: missing', async (t) => {
  const dir = scriptRoot(t, {});
  const text = 'systemd::twinbeat-no-such-unit';
  if (need(t, 'systemctl')) {
    // Where systemd runs, it says that there is no such unit.
    const wanted = existsSync('/run/systemd/system') ? 'stopped' : 'unknown';
    t.is(await verdict(dir, text), wanted);
  }
  const before = process.env['PATH'] ?? '';
  mkdirSync(join(dir, 'empty'));
  process.env['PATH'] = join(dir, 'empty');
  t.teardown(() => {
    process.env['PATH'] = before;
  });
  t.is((await runResource(dir, text, 'status')).outcome.failure, 'missing');
});
