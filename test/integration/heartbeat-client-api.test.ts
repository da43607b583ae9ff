/** The client API beside Debian's own programs: what they print of our daemon is what they printed of the original. */
import { readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { HeartbeatLab } from './heartbeat-lab.js';

const HA_CF = [
  'logfacility local0',
  'keepalive 500ms',
  'deadtime 5',
  'warntime 2',
  'initdead 12',
  'auto_failback off',
  'bcast eth0',
];
const CL_STATUS = '/usr/bin/cl_status';
const API_TEST = '/usr/libexec/heartbeat/api_test';

interface Probe {
  readonly words: readonly string[];
  readonly out: string;
  readonly status: number;
}

/** `$ cl_status WORDS`, what it printed, `rc=N`: heartbeat 3.0.6 on both nodes, both active, each with its group. */
function probes(): Probe[] {
  const text = readFileSync('test/golden/heartbeat/cl_status.txt', 'utf8');
  return text
    .split(/^\$ cl_status /m)
    .slice(1)
    .map((part) => {
      const [words = '', ...lines] = part.trimEnd().split('\n');
      const status = Number((lines.pop() ?? '').replace('rc=', ''));
      return { words: words.split(' '), out: lines.map((line) => `${line}\n`).join(''), status };
    });
}

/** Without when, and which process; whose version it is, is not the same. */
function plain(out: string): string {
  return out.replace(/^.*cl_status: \[\d+\]: /gm, '').replace(/^(version:\t3\.0\.6) .*$/m, '$1');
}

async function started(t: ExecutionContext, ...more: readonly string[]): Promise<HeartbeatLab> {
  const groups = 'node-a LabRes::one\nnode-b LabRes::two\n';
  const lab = await HeartbeatLab.up(t, [...HA_CF, ...more], groups);
  await Promise.all([lab.ours('node-a', 'heartbeat'), lab.ours('node-b', 'heartbeat')]);
  await lab.untilSays(t, 'node-a', 'ours', ['rscstatus'], 'local');
  await lab.untilSays(t, 'node-b', 'ours', ['rscstatus'], 'local');
  return lab;
}

test.serial("Debian's cl_status prints of ours what it prints of the original", async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter', CL_STATUS)) return;
  const lab = await started(t);
  const all = probes();
  t.true(all.length > 20);
  for (const { words, out, status } of all) {
    const ran = await lab.exec('node-a', CL_STATUS, ...words);
    const name = words.join(' ');
    if (name === 'clientstatus node-b ipfail') {
      // 500 ms were too short for the original's answer, which takes up to a second; ours is there.
      t.deepEqual([ran.out, ran.status], ['offline\n', 1], name);
    } else t.deepEqual([plain(ran.out), ran.status], [plain(out), status], name);
  }
  t.deepEqual(await lab.ours('node-a', 'cl_status', 'rscstatus'), { out: 'local\n', status: 0 });
});

test.serial(
  "Debian's api_test, a client with a name, walks through ours and talks to the other node",
  async (t) => {
    if (!need(t, 'root', 'netns', 'nsenter', 'setpriv', API_TEST)) return;
    const lab = await started(t);
    const asRoot = await lab.exec('node-a', API_TEST);
    t.is(asRoot.status, 1);
    t.regex(asRoot.out, /REASON: client failed authorization/, 'ping is for gid haclient');
    // It waits for messages without end.
    const asClient = ['setpriv', '--regid=haclient', '--clear-groups', 'timeout', '20', API_TEST];
    const running = lab.exec('node-a', ...asClient);
    const asked = ['clientstatus', 'node-a', 'ping', '2000'];
    await lab.until(t, 'the other node knows that it is there', async () => {
      const ran = await lab.exec('node-b', CL_STATUS, ...asked);
      return ran.out === 'online\n' && ran.status === 0;
    });
    const { out } = await running;
    const said = out.split('\n').map((line) => line.replace(/^.*api_test: \[\d+\]: /, ''));
    for (const line of [
      'info: Parameter keepalive is [500ms]',
      'info: Optional Parameter logfacility is [local0]',
      'info: Current resource status: local',
      'info: Cluster node: node-b: status: active',
      'info: \tnode node-b: intf: eth0 ifstatus: up',
      'info: node-b/api_test status: [offline]',
      'info: Cluster node: node-a: status: active',
      'info: \tnode node-a: intf: eth0 ifstatus: dead',
      'info: node-a/api_test status: [online]',
      'info: Sent ping request to cluster',
    ]) {
      t.true(said.includes(line), `${line}\n${out}`);
    }
    const after = await lab.exec('node-b', CL_STATUS, ...asked);
    t.deepEqual(after, { out: 'offline\n', status: 1 });
  },
);
