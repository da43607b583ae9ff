/** `respawn` and `failfast` programs of a real daemon: who they are, when they run, and that none stays behind. */
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { BUILT, HeartbeatRoot } from '../support/heartbeat-root.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';

const HEARTBEAT = `${BUILT}/heartbeat`;
/** Says what it is, then stays until it is told to end. */
const CHILD = `#!/bin/sh
out=$(dirname "$0")/out/$1
{
  id -un; id -Gn; echo "$*"
  echo "$HA_CURHOST $HA_keepalive $HA_OWN"
  readlink /proc/$$/fd/0
} >"$out.said"
trap 'date +%s%N >"$out.ended"; exit 0' TERM
echo $$ >>"$out.pids"
while :; do sleep 0.1; done
`;

class Children {
  readonly root: HeartbeatRoot;
  readonly #t: ExecutionContext;

  private constructor(t: ExecutionContext, root: HeartbeatRoot) {
    this.#t = t;
    this.root = root;
  }

  static async create(t: ExecutionContext): Promise<Children> {
    const root = await HeartbeatRoot.create(t);
    chmodSync(root.dir, 0o755);
    mkdirSync(root.path('/out'));
    chmodSync(root.path('/out'), 0o777);
    await root.write('/child', CHILD, 0o755);
    return new Children(t, root);
  }

  /** `lines` of ha.cf; CHILD is the path of ours. */
  async configure(...lines: readonly string[]): Promise<void> {
    const text = this.root.read('/etc/ha.d/ha.cf').replace(/^(respawn|failfast|env) .*\n/gm, '');
    const path = this.root.path('/child');
    const added = lines.map((line) => `${line.replaceAll('CHILD', path)}\n`).join('');
    await this.root.write('/etc/ha.d/ha.cf', text + added);
  }

  async start(): Promise<void> {
    const { code, stderr } = await this.root.run(HEARTBEAT);
    this.#t.is(code, 0, stderr);
  }

  said(name: string): string {
    return this.root.read(`/out/${name}.said`);
  }

  pids(name: string): number[] {
    return this.root.read(`/out/${name}.pids`).trim().split('\n').filter(Boolean).map(Number);
  }

  /** The life of a child: the first is 1. */
  async life(name: string, count: number): Promise<number> {
    await this.until(() => this.pids(name).length >= count, `${name} ${count}`);
    return this.pids(name)[count - 1] ?? 0;
  }

  runs(pid: number): boolean {
    try {
      return readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.[0] !== 'Z';
    } catch {
      return false;
    }
  }

  async until(ready: () => boolean, what: string): Promise<void> {
    await until(ready, () => `${what}\n${this.root.read('/var/log/ha-log')}`);
  }

  untilLogged(text: string): Promise<void> {
    return this.until(() => this.root.read('/var/log/ha-log').includes(text), text);
  }
}

test('a child is its user, with HA_* and nothing to read; all end, the last one first', async (t) => {
  if (!need(t, 'root', 'setpriv')) return;
  const children = await Children.create(t);
  await children.configure(
    'env OWN=word',
    'respawn nobody CHILD one with words',
    'respawn root CHILD two',
  );
  await children.start();
  const [one, two] = [await children.life('one', 1), await children.life('two', 1)];
  t.is(children.said('one'), 'nobody\nnogroup\none with words\nnode-a 200ms word\n/dev/null\n');
  t.true(children.said('two').startsWith('root\nroot\ntwo\n'));
  t.is(statSync(`/proc/${one}`).uid, 65_534);

  t.is((await children.root.run(HEARTBEAT, '-k')).code, 0);
  t.false(children.runs(one) || children.runs(two), 'heartbeat -k waits for them');
  const ended = (name: string) => BigInt(children.root.read(`/out/${name}.ended`).trim());
  t.true(ended('two') < ended('one'));
});

test('one that is killed comes back, one that exits with 100 does not', async (t) => {
  if (!need(t, 'root', 'setpriv')) return;
  const children = await Children.create(t);
  await children.root.write('/hundred', '#!/bin/sh\nexit 100\n', 0o755);
  await children.configure(
    'respawn root CHILD one',
    `respawn root ${children.root.path('/hundred')}`,
  );
  await children.start();
  process.kill(await children.life('one', 1), 'SIGKILL');
  const second = await children.life('one', 2);
  t.true(children.runs(second));
  await children.untilLogged('exited with return code 100.');
  const log = children.root.read('/var/log/ha-log');
  t.regex(log, /WARN: Managed \S+\/child one process \d+ killed by SIGKILL\./);
  t.is(log.split('Starting child client').length - 1, 3, 'one, one again, and the other once');
});

test('a reload ends the child whose line is gone and leaves the others alone', async (t) => {
  if (!need(t, 'root', 'setpriv')) return;
  const children = await Children.create(t);
  await children.configure('respawn root CHILD one', 'respawn root CHILD two');
  await children.start();
  const [one, two] = [await children.life('one', 1), await children.life('two', 1)];
  const service = await children.root.untilServing();
  await children.configure('respawn root CHILD two', 'respawn root CHILD three');
  process.kill(children.root.running(), 'SIGHUP');
  const three = await children.life('three', 1);
  await children.until(() => !children.runs(one), 'the first ends');
  t.true(children.runs(two) && children.runs(three));
  t.deepEqual(children.pids('two'), [two]);
  t.is(children.root.service(), service);
});

test('children of a killed daemon are ended before its successor starts its own', async (t) => {
  if (!need(t, 'root', 'setpriv')) return;
  const children = await Children.create(t);
  await children.configure('respawn root CHILD one');
  await children.start();
  const left = await children.life('one', 1);
  process.kill(children.root.running(), 'SIGKILL');
  await children.until(() => children.root.daemon() === null, 'killed');
  t.true(children.runs(left));
  await children.start();
  const next = await children.life('one', 2);
  t.false(children.runs(left));
  t.true(children.runs(next));
  t.true(children.root.read('/out/one.ended') !== '', 'by TERM');
});

test('where they cannot be written down they run all the same, once', async (t) => {
  if (!need(t, 'root', 'setpriv')) return;
  const children = await Children.create(t);
  await children.configure('respawn root CHILD one');
  mkdirSync(children.root.path('/run/twinbeat/heartbeat.children'), { recursive: true });
  await children.start();
  const one = await children.life('one', 1);
  await children.untilLogged('a successor will not know the children');
  t.is((await children.root.run(HEARTBEAT, '-k')).code, 0);
  t.false(children.runs(one));
  t.deepEqual(children.pids('one'), [one]);
});

test('a failfast that ends asks for the reboot; where there is none it runs again', async (t) => {
  if (!need(t, 'root', 'setpriv')) return;
  const children = await Children.create(t);
  await children.configure('failfast root CHILD one');
  await children.start();
  process.kill(await children.life('one', 1), 'SIGTERM');
  await children.life('one', 2);
  t.regex(
    children.root.read('/var/log/ha-log'),
    /CRIT: failfast \S+\/child one ended: this machine is not rebooted\./,
  );
});

test('ipfail and dopd of a respawn line are built in, and not started', async (t) => {
  if (!need(t, 'root', 'setpriv')) return;
  const children = await Children.create(t);
  for (const name of ['ipfail', 'dopd']) {
    writeFileSync(
      children.root.path(`/${name}`),
      `#!/bin/sh\n>>${children.root.path('/out')}/ran\n`,
    );
    chmodSync(children.root.path(`/${name}`), 0o755);
  }
  await children.configure(
    `respawn root ${children.root.path('/ipfail')}`,
    `respawn root ${children.root.path('/dopd')}`,
    'respawn root CHILD one',
  );
  await children.start();
  await children.life('one', 1);
  t.is(children.root.read('/out/ran'), '');
  t.false(children.root.read('/var/log/ha-log').includes('/ipfail"'));
});
