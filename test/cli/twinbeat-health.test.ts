/** twinbeat status, recover and bound, beside a real daemon that checks a real process. */
import test, { type ExecutionContext } from 'ava';
import { boundText } from '../../src/cli/twinbeat-bound.js';
import { statusText } from '../../src/cli/twinbeat-status.js';
import type { HeartbeatReport } from '../../src/host/heartbeat-control.js';
import { BUILT, HeartbeatRoot } from '../support/heartbeat-root.js';
import { until } from '../support/until.js';

const HEARTBEAT = `${BUILT}/heartbeat`;
const TWINBEAT = `${BUILT}/twinbeat`;
/** A long time limit: on a busy machine a check takes its time, and has not failed. */
const INI = '[health]\ninterval = 1\nsteps = 3\ntimeout = 60\nrestarts-per-hour = 1\n';

/** With a monitor, which says what is in /run/verdict when the process runs. */
const SERVICE = `#!/bin/sh
pid=$TWINBEAT_ROOT/run/service.pid
running() { [ -e "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null; }
case "$1" in
start) running || { sleep 600 >/dev/null 2>&1 & echo $! >"$pid"; } ;;
stop) running && kill "$(cat "$pid")"; rm -f "$pid" ;;
status) if running; then echo running; else echo stopped; fi ;;
monitor)
	[ ! -e "$TWINBEAT_ROOT/run/verdict" ] || { echo bad; exit "$(cat "$TWINBEAT_ROOT/run/verdict")"; }
	running || { echo stopped; exit 3; }
	;;
esac
exit 0
`;

async function untilStatus(root: HeartbeatRoot, what: RegExp): Promise<{ code: number | null }> {
  let out = '';
  let code: number | null = null;
  await until(
    async () => {
      const result = await root.run(TWINBEAT, 'status');
      ({ code } = result);
      out = result.stdout;
      return what.test(out);
    },
    () => `${what}\n${out}\n${root.read('/var/log/ha-log')}`,
  );
  return { code };
}

async function started(t: ExecutionContext): Promise<HeartbeatRoot> {
  const root = await HeartbeatRoot.create(t);
  await root.write('/etc/twinbeat.ini', INI);
  await root.write('/etc/ha.d/resource.d/service', SERVICE, 0o755);
  t.is((await root.run(HEARTBEAT)).code, 0);
  await root.untilServing();
  return root;
}

test('a killed process is started again; one that stays bad makes the node FAILED_OFFLINE until recover', async (t) => {
  const root = await started(t);
  const first = root.service() ?? 0;
  t.is((await untilStatus(root, /^ {2}OK +service/m)).code, 0);
  process.kill(first, 'SIGKILL');
  await until(
    () => root.service() !== null && root.service() !== first,
    () => `another process\n${root.read('/var/log/ha-log')}`,
  );

  // A restart in place has been measured.
  const bounds = async (): Promise<unknown[]> => {
    const { stdout } = await root.run(TWINBEAT, 'bound', '--json');
    const all = JSON.parse(stdout) as { bounds: { of: string; isComplete: boolean }[] };
    return all.bounds.map(({ of, isComplete }) => (isComplete ? of : `${of}?`));
  };
  let known: unknown[] = [];
  await until(
    async () => {
      known = await bounds();
      return !String(known).includes('?');
    },
    () => `all parts of ${known}\n${root.read('/var/log/ha-log')}`,
  );
  t.deepEqual(known, ['node', 'restart', 'fail-over']);

  await root.write('/run/verdict', '1\n');
  t.is((await untilStatus(root, /^standing +FAILED_OFFLINE: service: bad/m)).code, 2);
  t.regex(root.read('/var/lib/twinbeat/heartbeat.standing'), /FAILED_OFFLINE/);
  const refused = await root.run(TWINBEAT, 'recover', 'node-a');
  t.is(refused.code, 1);
  t.is(
    refused.stderr,
    'twinbeat recover: the check of service fails: bad; --force recovers it all the same\n',
  );

  // Also for the next daemon, and for none.
  process.kill(root.running(), 'SIGKILL');
  await until(() => root.daemon() === null, 'the end of the daemon');
  t.regex((await root.run(TWINBEAT, 'recover', 'node-a')).stderr, /the check of service fails/);
  t.regex((await root.run(TWINBEAT, 'recover', 'node-b')).stderr, /has to ask node node-b/);
  t.is((await root.run(HEARTBEAT)).code, 0);
  await untilStatus(root, /^standing +FAILED_OFFLINE/m);
  await root.remove('/run/verdict');
  const recovered = await root.run(TWINBEAT, 'recover', 'NODE-A');
  t.is(recovered.stdout, 'Node node-a is recovered.\n', recovered.stderr);
  await untilStatus(root, /^standing +ok/m);
  await until(
    () => root.service() !== null,
    () => `the service, taken over\n${root.read('/var/log/ha-log')}`,
  );
  t.regex((await root.run(TWINBEAT, 'recover', 'node-a')).stderr, /is not FAILED_OFFLINE/);
});

test('recover where no heartbeat runs: the file, after the same checks', async (t) => {
  const root = await HeartbeatRoot.create(t);
  await root.write('/etc/ha.d/resource.d/service', SERVICE, 0o755);
  const recover = (...flags: string[]) => root.run(TWINBEAT, 'recover', 'node-a', ...flags);
  t.regex((await recover()).stderr, /node node-a is not FAILED_OFFLINE/);
  const failed = '{"state":"FAILED_OFFLINE","why":"x"}\n';
  await root.write('/var/lib/twinbeat/heartbeat.standing', failed);
  await root.write('/run/verdict', '1\n');
  t.is((await recover()).code, 1);
  t.is(root.read('/var/lib/twinbeat/heartbeat.standing'), failed);
  const forced = await recover('--force');
  t.is(forced.code, 0, forced.stderr);
  t.is(root.read('/var/lib/twinbeat/heartbeat.standing'), '{"state":"ok"}\n');
  t.regex(forced.stdout, /does not run here: start it/);
  const none = await root.run(TWINBEAT, 'status');
  t.is(none.code, 1);
  t.is((await root.run(TWINBEAT, 'bound')).code, 1);
});

test('status and bound in words', (t) => {
  const report: HeartbeatReport = {
    pid: 1,
    version: '3.0.6',
    node: 'a',
    generation: 7,
    rscStatus: 'none',
    hold: 'none',
    other: 'all',
    peerOffline: false,
    state: 'STABLE',
    standby: 'NOT',
    leaving: false,
    stuck: [],
    disputes: [],
    waits: [],
    files: {
      'ha.cf': 'same',
      haresources: 'same',
      'twinbeat.ini': 'same',
      'drbd.conf': 'same',
      authkeys: 'same',
    },
    witness: { own: false, peer: null },
    lateMs: 0,
    standing: { state: 'FAILED_OFFLINE', why: 'mysql: does not answer' },
    health: [{ key: 'r0', resource: 'mysql', level: 'OK_WARN', words: 'too many connections' }],
    gaveUp: [{ key: 'r0', why: 'mysql: does not answer' }],
    nodes: [
      { name: 'a', status: 'active', type: 'normal', links: [] },
      { name: 'b', status: 'dead', type: 'normal', links: [{ name: 'eth0', status: 'dead' }] },
    ],
    groups: [{ key: 'r0', node: 'a', resources: ['r0', 'mysql'], state: 'runs' }],
    current: null,
    parameters: {},
    keepaliveMs: 500,
    deadtimeMs: 5000,
  };
  t.is(
    statusText(report),
    [
      'standing   FAILED_OFFLINE: mysql: does not answer',
      'resources  none',
      'node       a active (this one)',
      'node       b dead [eth0 dead]',
      'group      r0, home a, STOPPED: mysql: does not answer',
      '  OK_WARN      mysql: too many connections',
      '',
    ].join('\n'),
  );
  const parts = [
    { what: 'deadtime', ms: 5000, note: 'of ha.cf' },
    { what: 'start of r0', ms: null, note: 'was not run here yet' },
  ];
  t.is(
    boundText({ of: 'node', key: null, parts, ms: 5000, isComplete: false, notes: ['x'] }),
    [
      'this node dies: at least 5.0 s',
      '       5.0 s  deadtime (of ha.cf)',
      '     unknown  start of r0 (was not run here yet)',
      '  note: x',
      '',
    ].join('\n'),
  );
});
