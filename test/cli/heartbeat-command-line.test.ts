/** heartbeat's command line beside what 3.0.6 was recorded to print (test/golden/config). */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { main as heartbeat } from '../../src/cli/heartbeat.js';
import { DEFAULTS } from '../../src/cli/heartbeat-defaults.js';
import { type HaCfSystem, parseHaCf } from '../../src/config/ha-cf.js';
import { BUILT, HeartbeatRoot } from '../support/heartbeat-root.js';
import { memoryWorld } from '../support/memory-world.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';

const golden = (name: string): string => readFileSync(`test/golden/config/${name}`, 'utf8');

async function said(...argv: readonly string[]) {
  const world = memoryWorld({ root: '/nonexistent' });
  const status = await heartbeat(argv, world);
  return { status, out: world.stdout(), err: world.stderr() };
}

/** Each probe's lines and exit status. */
function probes(): ReadonlyMap<string, { readonly text: string; readonly status: number }> {
  const found = new Map<string, { text: string; status: number }>();
  let text = '';
  for (const line of golden('heartbeat-command-line.txt').trimEnd().split('\n')) {
    const [, name = '', status = ''] = /^(\S+) rc=(\d+)$/.exec(line) ?? [];
    if (name === '') text += `${line}\n`;
    else {
      found.set(name, { text: alike(text), status: Number(status) });
      text = '';
    }
  }
  return found;
}

/** Without date, host and process, and without the reason that ours adds in brackets. */
function alike(text: string): string {
  return text
    .replace(/^\w{3} +\d+ [\d:]+ \S+ /gm, '')
    .replace(/\[\d+\]: /g, '[N]: ')
    .replace(/pid \d+/g, 'pid N')
    .replace(/running on \S+ /g, 'running on HOST ')
    .replace(/(connection to heartbeat) \(.*\)$/gm, '$1');
}

test('every recorded call: the text and the status of 3.0.6', async (t) => {
  const root = await HeartbeatRoot.create(t);
  const haCf = root.read('/etc/ha.d/ha.cf').replace('initdead 2', 'initdead 12');
  await root.write('/etc/ha.d/ha.cf', haCf);
  const recorded = probes();
  const seen: string[] = [];
  const probe = async (name: string, program: string, ...args: readonly string[]) => {
    seen.push(name);
    const { code, stdout, stderr } = await root.run(`${BUILT}/${program}`, ...args);
    t.deepEqual({ text: alike(stdout + stderr), status: code }, recorded.get(name), name);
  };
  await probe('status-stopped', 'heartbeat', '-s');
  await probe('kill-stopped', 'heartbeat', '-k');
  await probe('reload-stopped', 'heartbeat', '-r'); // starts it
  await probe('status-running', 'heartbeat', '-s');
  process.kill(root.running(), 'SIGKILL');
  await until(() => root.daemon() === null, 'its death');
  await probe('status-deadpid', 'heartbeat', '-s');
  await probe('hbstatus-stopped', 'cl_status', 'hbstatus');
  await probe('nodestatus-stopped', 'cl_status', 'nodestatus', 'node-b');
  await probe('bogus', 'cl_status', 'bogus');
  t.deepEqual(seen.sort(), [...recorded.keys()].sort());
});

test('-D and -D -W print what the original prints', async (t) => {
  t.deepEqual(await said('-D'), { status: 0, out: golden('heartbeat-D.txt'), err: '' });
  t.deepEqual(await said('-D', '-W'), { status: 0, out: golden('heartbeat-DW.txt'), err: '' });
  t.is((await said('-WD')).out, golden('heartbeat-DW.txt'));
  t.regex((await said('-V', '-D')).out, /^3\.0\.6 /);
});

test('the defaults that -D prints are those of the parser', (t) => {
  const system: HaCfSystem = {
    ownNode: 'a',
    defaultUdpPort: 694,
    userExists: () => true,
    isExecutable: () => true,
    isStonithType: () => true,
    hasStonithConfig: () => true,
    interfaceError: () => null,
  };
  const config = (line: string) => {
    const text = `${line}\nlogfacility local0\nbcast eth0\nnode a\n`;
    const parsed = parseHaCf(text, 'ha.cf', system);
    t.not(parsed.config, null, `${line}: ${JSON.stringify(parsed.messages)}`);
    return { ...parsed.config, parameters: {} };
  };
  const before = config('');
  for (const { name, value } of DEFAULTS) t.deepEqual(config(`${name} ${value}`), before, name);
});

test('what only the original can use is refused with the reason', async (t) => {
  for (const argv of [['-R'], ['-R', '-C', 'all'], ['-C', 'all'], ['-M'], ['-f', '-M']]) {
    const { status, out, err } = await said(...argv);
    t.deepEqual([status, out], [2, ''], argv.join(' '));
    t.regex(
      err,
      argv.includes('-M') ? /-M .* is not supported/ : /use -r, which keeps the resources/,
    );
  }
  t.is((await said('-z')).status, 2);
  t.is((await said('-C')).status, 2);
});

test('-d: debug lines on the stderr of a daemon in the foreground, also after a reload', async (t) => {
  const root = await HeartbeatRoot.create(t);
  const path = '/etc/ha.d/resource.d/service';
  await root.write(path, root.read(path).replace('case', 'echo "asked to $1"\ncase'), 0o755);
  const { child } = root.launch(`${BUILT}/heartbeat`, '-f', '-d');
  t.teardown(() => child.kill('SIGTERM'));
  let stderr = '';
  child.stderr?.on('data', (text: Buffer) => {
    stderr += text.toString();
  });
  const says = (words: string) =>
    until(
      () => stderr.includes(words),
      () => `${words}\n${stderr}`,
    );
  await root.untilServing();
  await says('debug: service: asked to start');
  await root.write('/etc/ha.d/ha.cf', `${root.read('/etc/ha.d/ha.cf')}rtprio 7\n`);
  process.kill(root.running(), 'SIGHUP');
  await says('keeping all resources');
  process.kill(root.running(), 'SIGTERM');
  await says('debug: service: asked to stop');
  await says('shutdown complete');
  t.is(root.service(), null);
});

test('-d and -l reach the daemon that detaches', async (t) => {
  const root = await HeartbeatRoot.create(t);
  t.is((await root.run(`${BUILT}/heartbeat`, '-ddl')).code, 0);
  const words = readFileSync(`/proc/${root.running()}/cmdline`, 'latin1').split('\0');
  t.deepEqual(words.slice(2, -1), ['-f', '-d', '-d', '-l']);
});

test('-v shows the configuration, and not what a fencing device is told', async (t) => {
  if (!need(t, '/usr/sbin/stonith')) return;
  const root = await HeartbeatRoot.create(t);
  const haCf = `${root.read('/etc/ha.d/ha.cf')}stonith_host * external/ssh open-sesame\n`;
  await root.write('/etc/ha.d/ha.cf', haCf);
  const { code, stdout, stderr } = await root.run(`${BUILT}/heartbeat`, '-v');
  t.is(code, 0, stderr);
  t.true(stdout.includes('"external/ssh"'));
  t.false(stdout.includes('sesame'));
});
