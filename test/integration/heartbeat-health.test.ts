/** Health in namespaces: real scripts that fail, a node that becomes FAILED_OFFLINE beside one of ours and beside Debian's. */
import { resolve } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { HeartbeatLab, type Ran } from './heartbeat-lab.js';

const HA_CF = ['keepalive 200ms', 'deadtime 4', 'warntime 2', 'initdead 5', 'auto_failback off'];
const GROUPS = 'node-a LabRes::one LabRes::two\nnode-b LabRes::three\n';
const INI = '[health]\\ninterval = 1\\nsteps = 3\\ntimeout = 60\\nrestarts-per-hour = 1\\n';
const BIN = resolve('build/bin');
const HEALTHY = '/var/lib/heartbeat/labres';

/** node-a's files below a root of its own: only /etc/ha.d is private to a host, and /etc/twinbeat.ini is the machine's. */
class Node {
  readonly #lab: HeartbeatLab;

  constructor(lab: HeartbeatLab) {
    this.#lab = lab;
  }

  static async create(lab: HeartbeatLab): Promise<Node> {
    const make =
      'mkdir -p /run/tb/etc /run/tb/var/lib /run/tb/run && ln -s /etc/ha.d /run/tb/etc/ha.d && ' +
      'ln -s /var/lib/heartbeat /run/tb/var/lib/heartbeat && ln -s /var/log /run/tb/var/log && ' +
      `printf '${INI}' >/run/tb/etc/twinbeat.ini`;
    const made = await lab.exec('node-a', 'sh', '-c', make);
    if (made.status !== 0) throw new Error(made.out);
    return new Node(lab);
  }

  run(program: string, ...args: readonly string[]): Promise<Ran> {
    return this.#lab.exec('node-a', 'env', 'TWINBEAT_ROOT=/run/tb', `${BIN}/${program}`, ...args);
  }

  async untilStatus(t: ExecutionContext, what: RegExp): Promise<void> {
    await this.#lab.until(t, `${what}`, async () =>
      what.test((await this.run('twinbeat', 'status')).out),
    );
  }

  /** `status` of that resource says nothing and exits 1, for good. */
  async breaks(name: string): Promise<void> {
    await this.#lab.exec('node-a', 'touch', `${HEALTHY}/fail-status-${name}`);
  }

  async mends(name: string): Promise<void> {
    await this.#lab.exec('node-a', 'rm', '-f', `${HEALTHY}/fail-status-${name}`);
  }
}

test.serial('two of ours: restarted in place, failed over, recovered', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter')) return;
  const lab = await HeartbeatLab.up(t, [...HA_CF, 'bcast eth0'], GROUPS);
  const a = await Node.create(lab);
  await Promise.all([a.run('heartbeat'), lab.ours('node-b', 'heartbeat')]);
  await lab.untilRunning(t, 'one two', 'three');
  await a.untilStatus(t, /^ {2}OK +LabRes::two/m);

  // Killed: only what failed is restarted, and the other node does nothing.
  const before = lab.calls('node-a').length;
  const there = lab.calls('node-b').length;
  await lab.exec('node-a', 'rm', `${HEALTHY}/on-two`);
  await lab.until(t, 'a restart in place', () => lab.calls('node-a').length === before + 2);
  t.deepEqual(lab.calls('node-a').slice(before), ['two stop', 'two start']);
  t.is(lab.calls('node-b').length, there);

  await a.breaks('two');
  await lab.untilRunning(t, '', 'one two three');
  await a.untilStatus(t, /^standing +FAILED_OFFLINE: LabRes::two/m);
  await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'all');
  t.regex(
    (await lab.ours('node-b', 'hb_standby', 'all')).out,
    /hb_standby: node node-a is FAILED_OFFLINE/,
  );
  const refused = await lab.ours('node-b', 'twinbeat', 'recover', 'node-a');
  t.regex(refused.out, /the check of LabRes::two fails: exit status 1; --force/);
  await a.mends('two');
  const recovered = await lab.ours('node-b', 'twinbeat', 'recover', 'node-a', '--activate-primary');
  t.is(recovered.status, 0, recovered.out);
  await lab.untilRunning(t, 'one two', 'three');
});

test.serial(
  "beside Debian's: it takes what failed here, also at a common start, and keeps it",
  async (t) => {
    const debian = ['cc', '/usr/libexec/heartbeat/heartbeat', '/usr/bin/cl_status'] as const;
    if (!need(t, 'root', 'netns', 'nsenter', ...debian)) return;
    const media = ['udpport 694', 'mcast eth0 239.77.0.1 694 1 0'];
    const lab = await HeartbeatLab.up(t, [...HA_CF, ...media], GROUPS);
    const a = await Node.create(lab);
    await Promise.all([lab.original('node-b'), a.run('heartbeat')]);
    await lab.until(t, 'all groups run', () => {
      return `${lab.running('node-a')} ${lab.running('node-b')}`.trim().split(/ +/).length === 3;
    });
    await a.breaks('two');
    await lab.untilRunning(t, '', 'one two three');
    await lab.untilSays(t, 'node-b', 'original', ['rscstatus'], 'all');
    await a.untilStatus(t, /^standing +FAILED_OFFLINE/m);

    // Both machines go down and come back: what is at home here is claimed, not started, and handed over.
    t.is((await a.run('heartbeat', '-k')).status, 0);
    await lab.crash('node-b');
    await lab.until(t, 'nothing runs', () => lab.running('node-b') === '');
    const before = lab.calls('node-a').length;
    await Promise.all([lab.original('node-b'), a.run('heartbeat')]);
    await lab.untilRunning(t, '', 'one two three');
    await lab.untilSays(t, 'node-b', 'original', ['rscstatus'], 'all');
    t.deepEqual(
      lab
        .calls('node-a')
        .slice(before)
        .filter((call) => call.endsWith('start')),
      [],
    );
  },
);
