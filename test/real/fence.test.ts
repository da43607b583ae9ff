/** Resetting the other node: the real `stonith` with the laboratory's plug-in, fence-agents, and that nothing secret is seen. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { HeartbeatConfig } from '../../src/host/heartbeat-ports.js';
import { checkFenceDevice } from '../../src/real/answer-fence.js';
import type { FenceAnswer } from '../../src/resource-manager/answers.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';
import { agent, config, PASSWORD, PLUGIN, rig } from './fence-rig.js';

const STONITH = ['root', 'netns', '/usr/sbin/stonith'];
const METADATA = 'metadata) echo \'<action name="reboot"/><action name="status"/>\'; exit 0;;';

function params(dir: string, hosts = 'beta,gamma'): readonly string[] {
  return [hosts, dir, PASSWORD];
}

const RESET = 'labpower\0reset\0beta';

/** What 3.0.6 was recorded to say, with our device and node in it. */
function original(section: string): readonly string[] {
  const text = readFileSync('test/golden/heartbeat/stonith.txt', 'utf8');
  const found = text.split('##### ').find((part) => part.startsWith(`${section}:`)) ?? '';
  const lines = found.split('\n').slice(1);
  return lines.map((line) =>
    line.replace(/(labfence|SSH STONITH) device/, PLUGIN).replaceAll('node-a', 'beta'),
  );
}

/** The lines that are not the device's own, each of which the original has. */
function inItsWords(t: ExecutionContext, logs: readonly string[], section: string): void {
  const said = logs.filter((line) => !line.includes(`: ${PLUGIN}: `));
  const words = original(section);
  t.is(said.length, 2);
  for (const line of said) t.true(words.includes(line), line);
}

/** Arguments of all that runs. (The plug-in has its parameters in its environment, which is root's.) */
function argumentsOfAll(): string {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return ''; // it has ended
      }
    })
    .join('\n');
}

test('no device: none', async (t) => {
  const r = rig(t, 'works');
  t.is(await r.fence(config(null)), 'none');
  t.deepEqual(r.logs, []);
});

test('a plug-in that says that it has reset the node: OK, with the words of the original', async (t) => {
  if (!need(t, ...STONITH)) return;
  const r = rig(t, 'lies');
  t.is(await r.fence(config({ params: params(r.dir) })), 'OK');
  t.deepEqual(r.logs, [`info: Resetting node beta with [${PLUGIN}]`, 'info: node beta now reset.']);
  t.deepEqual(r.asked(), ['gethosts with password', 'reset beta with password']);
});

test('the parameters may be in a file, the last one with blanks', async (t) => {
  if (!need(t, ...STONITH)) return;
  const r = rig(t, 'lies');
  const file = join(r.dir, 'labpower.cfg');
  writeFileSync(file, `# hosts, switch, password\nbeta ${r.dir} two  words\n`);
  t.is(await r.fence(config({ host: null, file })), 'OK');
  t.deepEqual(r.asked(), ['gethosts with password', 'reset beta with password']);
});

test('one that fails: bad, and what it says is in the log without the password', async (t) => {
  if (!need(t, ...STONITH)) return;
  const r = rig(t, 'fails');
  t.is(await r.fence(config({ params: params(r.dir) })), 'bad');
  t.is(r.logs.at(-1), 'ERROR: Host beta not reset!');
  t.true(
    r.logs.some((line) => line === `ERROR: ${PLUGIN}: no login with ***`),
    r.logs.join('\n'),
  );
  t.false(r.logs.join('\n').includes(PASSWORD));
});

test('a node that is not in its list is not reset, although the plug-in would: badhost', async (t) => {
  if (!need(t, ...STONITH)) return;
  const r = rig(t, 'lies');
  t.is(await r.fence(config({ params: params(r.dir, 'gamma,beta2') })), 'badhost');
  t.is(r.logs.at(-1), `ERROR: Device ${PLUGIN} cannot reset host beta.`);
  inItsWords(t, r.logs, 'badhost');
  t.deepEqual(r.asked(), ['gethosts with password']);
});

test('names of nodes are the same in any case', async (t) => {
  if (!need(t, ...STONITH)) return;
  const r = rig(t, 'lies');
  t.is(await r.fence(config({ params: params(r.dir, 'BETA') })), 'OK');
});

test('a list that cannot be had, parameters that are too few, a type that is not there: bad', async (t) => {
  if (!need(t, ...STONITH)) return;
  const mute = rig(t, 'mute');
  t.is(await mute.fence(config({ params: params(mute.dir) })), 'bad');
  t.deepEqual(mute.asked(), ['gethosts with password']);
  const r = rig(t, 'lies');
  t.is(await r.fence(config({ params: ['beta'] })), 'bad');
  t.is(await r.fence(config({ params: [] })), 'bad');
  t.is(await r.fence(config({ file: '/nonexistent' })), 'bad');
  t.is(await r.fence(config({ type: 'external/nosuch', params: params(r.dir) })), 'bad');
  t.deepEqual(r.asked(), []);
});

test('one that hangs is killed with all that it started: bad; no argument shows the password', async (t) => {
  if (!need(t, ...STONITH)) return;
  const r = rig(t, 'hangs');
  const slow = config({ params: params(r.dir) }, { timeoutS: 8 });
  const first = r.fence(slow);
  await until(() => r.asked().includes('reset beta with password'), 'the plug-in hangs');
  t.true(argumentsOfAll().includes(RESET));
  t.false(argumentsOfAll().includes(PASSWORD));
  // Not queued: bad at once, and no second reset.
  t.is(await r.fence(slow), 'bad');
  t.is(r.logs.at(-1), 'ERROR: Host beta not reset: the last reset still runs');
  t.is(await first, 'bad');
  t.deepEqual(r.logs.slice(-2), [
    `ERROR: ${PLUGIN} does not end: killed after 8 s`,
    'ERROR: Host beta not reset!',
  ]);
  t.is(r.asked().filter((line) => line.startsWith('reset')).length, 1);
  await until(() => !argumentsOfAll().includes(RESET), 'its processes are gone');
  // The next one is begun.
  writeFileSync(join(r.dir, 'mode'), 'lies');
  t.is(await r.fence(slow), 'OK');
});

test('an agent is told everything on stdin: reboot, then status', async (t) => {
  const r = rig(t, '');
  const name = agent(r, `${METADATA}\nreboot) exit 0;;\nstatus) exit 2;;`);
  const options = `ip=10.0.0.9 password=${PASSWORD}`;
  t.is(await r.fence(config(null, { agent: name, options })), 'OK');
  const told = (action: string) => readFileSync(join(r.dir, `told-${action}`), 'utf8');
  t.is(told('metadata'), 'action=metadata\n');
  const lines = `ip=10.0.0.9\npassword=${PASSWORD}\nport=beta\n`;
  t.is(told('reboot'), `${lines}action=reboot\n`);
  t.is(told('status'), `${lines}action=status\n`);
  t.deepEqual(r.logs, [`info: Resetting node beta with [${name}]`, 'info: node beta now reset.']);
  // A plug of one's own, and the agent goes before ha.cf.
  const own = config({ params: ['beta', r.dir, 'x'] }, { agent: name, options: 'plug=7' });
  t.is(await r.fence(own), 'OK');
  t.is(told('reboot'), 'plug=7\naction=reboot\n');
  t.deepEqual(r.asked(), []);
});

test('an agent that fails, does not say its status, has none, is missing, or hangs', async (t) => {
  const cases: readonly (readonly [string, FenceAnswer, string])[] = [
    [`${METADATA}\nreboot) echo "bad password=${PASSWORD}" >&2; exit 1;;`, 'bad', 'it failed'],
    [`${METADATA}\nreboot) exit 0;;\nstatus) exit 1;;`, 'bad', 'no status'],
    ['metadata) echo \'<action name="reboot"/>\'; exit 0;;\nreboot) exit 0;;', 'OK', 'has none'],
    ['reboot) exit 0;;', 'OK', 'no metadata'],
    [`${METADATA}\nreboot) sleep 1000;;`, 'bad', 'hangs'],
  ];
  for (const [text, answer, what] of cases) {
    const r = rig(t, '');
    const name = agent(r, text);
    const timeoutS = what === 'hangs' ? 1 : 60;
    const options = `password=${PASSWORD}`;
    t.is(await r.fence(config(null, { agent: name, options, timeoutS })), answer, what);
    t.false(r.logs.join('\n').includes(PASSWORD), what);
  }
  const r = rig(t, '');
  t.is(await r.fence(config(null, { agent: join(r.dir, 'fence_nosuch') })), 'bad');
  t.regex(r.logs.join('\n'), /fence_nosuch.*not found/);
});

test('a secret that begins with another one is not shown either', async (t) => {
  const r = rig(t, '');
  const name = agent(r, 'metadata) exit 0;;\nreboot) echo "open-sesame refused"; exit 1;;');
  const options = 'login=open- password=open-sesame';
  t.is(await r.fence(config(null, { agent: name, options })), 'bad');
  t.true(r.logs.join('\n').includes('*** refused'));
  t.false(r.logs.join('\n').includes('sesame'));
});

test('the status of a device is asked at the start, and said when it is not good', async (t) => {
  const said = async (given: HeartbeatConfig) => {
    const logs: string[] = [];
    const log = (level: string, text: string) => logs.push(`${level}: ${text}`);
    await checkFenceDevice({ root: '', log }, given);
    return logs;
  };
  t.deepEqual(await said(config(null)), []);
  const r = rig(t, 'works');
  const working = agent(r, 'monitor) exit 0;;');
  t.deepEqual(await said(config(null, { agent: working, options: 'ip=x' })), [
    `info: Checking status of STONITH device [${working}]`,
  ]);
  t.is(readFileSync(join(r.dir, 'told-monitor'), 'utf8'), 'ip=x\naction=monitor\n');
  if (!need(t, ...STONITH)) return;
  t.is((await said(config({ params: params(r.dir) }))).length, 1);
  const words = original('status');
  for (const given of [
    config({ params: ['beta'] }),
    config({ params: params(rig(t, 'fails').dir) }),
  ]) {
    const logs = (await said(given)).filter((line) => !line.includes(`: ${PLUGIN}: `));
    t.is(logs.length, 4);
    for (const line of logs) t.true(words.includes(line), line);
  }
});

test("fence-agents' own fence_dummy", async (t) => {
  if (!need(t, 'fence_dummy')) return;
  const r = rig(t, '');
  const file = join(r.dir, 'status');
  const options = `type=file status_file=${file} password=${PASSWORD}`;
  t.is(await r.fence(config(null, { agent: 'fence_dummy', options })), 'OK');
  t.is(readFileSync(file, 'utf8').trim(), 'on');
  t.is(await r.fence(config(null, { agent: 'fence_dummy', options: 'type=fail' })), 'bad');
  t.is(r.logs.at(-1), 'ERROR: Host beta not reset!');
  t.false(r.logs.join('\n').includes(PASSWORD)); // it names options that it does not know
});
