/** twinbeat agent, maint and report beside a real daemon, and a real HAProxy that believes the agent. */
import { connect } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { nodeWord } from '../../src/cli/twinbeat-report.js';
import type { HeartbeatReport } from '../../src/host/heartbeat-control.js';
import { parseAgentAddress } from '../../src/real/agent-server.js';
import { command, launch } from '../support/command.js';
import { BUILT, HeartbeatRoot } from '../support/heartbeat-root.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';

const HEARTBEAT = `${BUILT}/heartbeat`;
const TWINBEAT = `${BUILT}/twinbeat`;

/** What the other side says until it closes. */
function said(port: number, request = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect({ host: '127.0.0.1', port }, () => socket.write(request));
    socket.setEncoding('utf8');
    socket.on('data', (more: string) => {
      text += more;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
  });
}

async function agent(t: ExecutionContext, root: HeartbeatRoot) {
  const { child, result } = root.launch(
    TWINBEAT,
    ...['agent', '--agent', '127.0.0.1:0', '--http', '127.0.0.1:0'],
  );
  t.teardown(async () => {
    child.kill('SIGTERM');
    await result;
  });
  let out = '';
  child.stdout?.on('data', (more: Buffer) => {
    out += more.toString();
  });
  const port = (kind: string): number =>
    Number(new RegExp(`^${kind}: listening on 127.0.0.1:(\\d+)$`, 'm').exec(out)?.[1] ?? 0);
  await until(() => port('agent') > 0 && port('http') > 0, 'the ports of the agent');
  return { agentPort: port('agent'), httpPort: port('http') };
}

test('up while it serves, and only then; out while the operator says so', async (t) => {
  const root = await HeartbeatRoot.create(t);
  const { agentPort, httpPort } = await agent(t, root);
  t.regex(await said(agentPort), /^down # .*heartbeat\.sock: /);
  t.is((await root.run(TWINBEAT, 'report', 'node-a')).code, 5);

  t.is((await root.run(HEARTBEAT)).code, 0);
  await root.untilServing();
  await until(async () => (await said(agentPort)) === 'up ready\n', 'up');
  t.regex(
    await said(httpPort, 'GET / HTTP/1.0\r\n\r\n'),
    /^HTTP\/1.0 200 OK\r\n[\s\S]*\r\n\r\nup: service runs\n$/,
  );
  t.regex(
    await said(httpPort, 'HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n'),
    /^HTTP\/1.0 200 OK\r\n[\s\S]*\r\n\r\n$/,
  );
  t.is(await said(httpPort, 'x'.repeat(10_000)), '', 'no request is that long');
  t.like(await root.run(TWINBEAT, 'report', 'node-a'), { code: 0, stdout: 'OK/ACTIVE\n' });
  t.like(await root.run(TWINBEAT, 'report', 'node-b'), { code: 3, stdout: 'DEAD\n' });
  t.like(await root.run(TWINBEAT, 'agent'), { code: 0, stdout: 'up: service runs\n' });

  t.is((await root.run(TWINBEAT, 'maint', 'on', 'a', 'new', 'disk')).code, 0);
  t.is(await said(agentPort), 'maint\n');
  t.regex(
    await said(httpPort, 'GET / HTTP/1.0\n\n'),
    /^HTTP\/1.0 503 [\s\S]*\r\n\r\nmaint: a new disk\n$/,
  );
  t.like(await root.run(TWINBEAT, 'agent'), { code: 1, stdout: 'maint: a new disk\n' });
  t.is((await root.run(TWINBEAT, 'maint', 'off')).code, 0);
  t.is(await said(agentPort), 'up ready\n');

  // A successor goes on with what runs, or, when more than deadtime has passed, starts it anew.
  process.kill(root.running(), 'SIGKILL');
  t.regex(await said(agentPort), /^down # /);
  t.is((await root.run(HEARTBEAT)).code, 0);
  await until(async () => (await said(agentPort)) === 'up ready\n', 'up again');

  // Its processes run on, and nobody is there who could say so.
  process.kill(root.running(), 'SIGSTOP');
  t.regex(await said(agentPort), /^down # no answer within 1000 ms\n$/);
  // HAProxy waits for agent-inter and no longer: who comes now hears it at once.
  const asked = performance.now();
  t.regex(await said(agentPort), /^down # no answer within 1000 ms\n$/);
  t.true(performance.now() - asked < 500);
  process.kill(root.running(), 'SIGCONT');
  t.is((await root.run(HEARTBEAT, '-k')).code, 0);
  t.regex(await said(agentPort), /^down # /);
});

test('beside lb-switch it says no ready, no drain and no maint, which would end what that one said', async (t) => {
  const root = await HeartbeatRoot.create(t);
  await root.write('/etc/ha.d/haresources', 'node-a service lb-switch::10.0.0.5:9999::db\n');
  await root.write('/etc/ha.d/resource.d/lb-switch', '#!/bin/sh\necho running\n', 0o755);
  t.is((await root.run(HEARTBEAT)).code, 0);
  const { agentPort } = await agent(t, root);
  await until(async () => (await said(agentPort)) === 'up\n', 'up');
  t.is((await root.run(TWINBEAT, 'maint', 'on', 'a', 'new', 'disk')).code, 0);
  t.is(await said(agentPort), 'down # maint: a new disk\n');
  t.like(await root.run(TWINBEAT, 'agent'), { code: 1, stdout: 'maint: a new disk\n' });
});

test('a file of the operator that does not answer is no yes', async (t) => {
  const root = await HeartbeatRoot.create(t);
  t.is((await root.run(HEARTBEAT)).code, 0);
  await root.untilServing();
  await root.write('/var/lib/twinbeat/here', '');
  t.is((await command('mkfifo', root.path('/var/lib/twinbeat/agent.maint'))).code, 0);
  const { agentPort } = await agent(t, root);
  t.is(await said(agentPort), 'down # no answer within 1000 ms\n');
  t.like(await root.run(TWINBEAT, 'agent'), {
    code: 2,
    stdout: 'down: no answer within 1000 ms\n',
  });
  t.is((await root.run(TWINBEAT, 'maint', 'off')).code, 0);
});

test('HAProxy follows the agent', async (t) => {
  if (!need(t, 'haproxy', 'socat')) return;
  const root = await HeartbeatRoot.create(t);
  const { agentPort } = await agent(t, root);
  const admin = root.path('/run/haproxy.sock');
  await root.write(
    '/etc/haproxy.cfg',
    `global
  stats socket ${admin} mode 600 level admin
defaults
  mode tcp
  timeout client 60s
  timeout server 60s
  timeout connect 5s
backend db
  server node-a 127.0.0.1:9 agent-check agent-port ${agentPort} agent-inter 200ms
`,
  );
  const { child, result } = launch('haproxy', '-db', '-f', root.path('/etc/haproxy.cfg'));
  t.teardown(async () => {
    child.kill('SIGKILL');
    await result;
  });
  /** srv_op_state (0 stopped, 2 running) and srv_admin_state (0 ready, 1 maint, 8 drain). */
  const state = async (): Promise<string> => {
    const ask = `echo 'show servers state db' | socat -t 5 - UNIX:${admin}`;
    const { stdout } = await launch('sh', '-c', ask).result;
    const words =
      stdout
        .split('\n')
        .find((line) => line.includes(' node-a '))
        ?.split(' ') ?? [];
    return `${words[5]} ${words[6]}`;
  };
  const becomes = (what: string): Promise<void> =>
    until(async () => (await state()) === what, `state ${what}`, 50);
  await becomes('0 0');
  t.is((await root.run(HEARTBEAT)).code, 0);
  await root.untilServing();
  await becomes('2 0');
  t.is((await root.run(TWINBEAT, 'maint', 'on')).code, 0);
  await becomes('0 1');
  t.is((await root.run(TWINBEAT, 'maint', 'off')).code, 0);
  await becomes('2 0');
  t.is((await root.run(HEARTBEAT, '-k')).code, 0);
  await until(async () => (await state()).startsWith('0 '), 'the end', 50);
  t.is(await state().then((words) => words[0]), '0');
});

test('calls that are wrong', async (t) => {
  const root = await HeartbeatRoot.create(t);
  for (const [args, words] of [
    [
      ['agent', '--agent', 'here:80'],
      /--agent: expected ADDRESS:PORT or \[ADDRESS\]:PORT, got 'here:80'/,
    ],
    [['agent', '--http', '127.0.0.1:99999'], /--http: expected/],
    [['maint', 'perhaps'], /expected on or off, got 'perhaps'/],
  ] as const) {
    const { code, stderr } = await root.run(TWINBEAT, ...args);
    t.is(code, 2);
    t.regex(stderr, words);
  }
  t.deepEqual(parseAgentAddress('http', '[::1]:80'), { kind: 'http', host: '::1', port: 80 });
});

test('the word of a node', (t) => {
  const base = {
    node: 'a',
    other: 'none',
    peerOffline: false,
    leaving: false,
    standing: { state: 'ok' },
    groups: [{ key: 'r0', node: 'a', resources: [], state: 'stopped' }],
    nodes: [
      { name: 'a', status: 'active', type: 'normal', links: [] },
      { name: 'b', status: 'active', type: 'normal', links: [] },
      { name: 'router', status: 'ping', type: 'ping', links: [] },
    ],
  } as unknown as HeartbeatReport;
  const [group] = base.groups;
  const b = (status: string) => base.nodes.map((n) => (n.name === 'b' ? { ...n, status } : n));
  const groups = (state: 'runs' | 'starts' | 'stops') => (group ? [{ ...group, state }] : []);
  const failed = { state: 'FAILED_OFFLINE', why: 'x' } as const;
  for (const [part, name, word] of [
    [{}, 'a', 'OK/STANDBY'],
    [{ groups: groups('runs') }, 'a', 'OK/ACTIVE'],
    [{ groups: groups('starts') }, 'a', 'IN_TRANSIT'],
    [{ groups: groups('stops') }, 'a', 'IN_TRANSIT'],
    [{ leaving: true, groups: groups('runs') }, 'a', 'IN_TRANSIT'],
    [{ standing: failed, groups: groups('runs') }, 'a', 'FAILED_OFFLINE'],
    [{}, 'b', 'OK/STANDBY'],
    [{ other: 'local' }, 'b', 'OK/ACTIVE'],
    [{ other: 'local', peerOffline: true }, 'b', 'FAILED_OFFLINE'],
    [{ other: 'local', nodes: b('dead') }, 'b', 'DEAD'],
    [{ nodes: b('up') }, 'b', 'IN_TRANSIT'],
    [{}, 'router', 'UNKNOWN'],
    [{}, 'c', 'UNKNOWN'],
  ] as const) {
    t.is(nodeWord({ ...base, ...part }, name), word);
  }
});
