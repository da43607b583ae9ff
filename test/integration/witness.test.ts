/**
 * Two hosts in namespaces that ask a real witness, and a real etcd, on a third machine: their link is cut, then one of them from
 * everything. `until` fails when anything runs on both.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { HeartbeatLab, type Host } from './heartbeat-lab.js';

const HA_CF = ['keepalive 200ms', 'deadtime 3', 'warntime 2', 'initdead 6', 'auto_failback off'];
const GROUPS = 'node-a LabRes::one LabRes::two\nnode-b LabRes::three\n';
const ALL = 'one three two';
const BIN = resolve('build/bin');
/** The switch: on the second link, which heartbeat does not use. */
const THIRD = '192.168.79.254';
const KEY = 'of-the-tests-0123456789';
const HOSTS: readonly Host[] = ['node-a', 'node-b'];

function ended(child: ChildProcess): Promise<void> {
  return new Promise((done) => {
    if (child.exitCode !== null || child.signalCode !== null) done();
    else child.once('exit', () => done());
    child.kill('SIGKILL');
  });
}

/** A program on the third machine. */
function third(t: ExecutionContext, lab: HeartbeatLab, ...words: readonly string[]): ChildProcess {
  const [program = '', ...args] = [...lab.outside(), ...words];
  const child = spawn(program, args, { stdio: 'ignore' });
  t.teardown(() => ended(child));
  return child;
}

function startWitness(t: ExecutionContext, lab: HeartbeatLab, dir: string): ChildProcess {
  writeFileSync(join(dir, 'keys'), `lab ${KEY}\n`, { mode: 0o600 });
  const listen = ['--listen', `${THIRD}:6940`, '--key-file', join(dir, 'keys'), '--lease', '5'];
  return third(
    t,
    lab,
    process.execPath,
    resolve('build/src/bin/twinbeat.js'),
    'witness',
    ...listen,
  );
}

function startEtcd(t: ExecutionContext, lab: HeartbeatLab, dir: string): ChildProcess {
  const client = `http://${THIRD}:2379`;
  const peer = `http://${THIRD}:2380`;
  const places = [
    ...['--listen-client-urls', client, '--advertise-client-urls', client],
    ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
    ...['--initial-cluster', `default=${peer}`],
  ];
  // Its JSON gateway asks itself, by its own address.
  const loopback = ['sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
  return third(t, lab, ...loopback, 'etcd', '--data-dir', join(dir, 'etcd'), ...places);
}

async function configure(lab: HeartbeatLab, lines: readonly string[]): Promise<void> {
  const ini = ['[witness]', 'cluster = lab', 'lease = 5', 'stop-limit = 10', ...lines].join('\\n');
  const make =
    'mkdir -p /run/tb/etc /run/tb/var/lib /run/tb/run && ln -s /etc/ha.d /run/tb/etc/ha.d && ' +
    'ln -s /var/lib/heartbeat /run/tb/var/lib/heartbeat && ln -s /var/log /run/tb/var/log && ' +
    `printf '${ini}\\n' >/run/tb/etc/twinbeat.ini`;
  for (const host of HOSTS) {
    const made = await lab.exec(host, 'sh', '-c', make);
    if (made.status !== 0) throw new Error(made.out);
  }
}

function start(lab: HeartbeatLab, host: Host) {
  return lab.exec(host, 'env', 'TWINBEAT_ROOT=/run/tb', `${BIN}/heartbeat`);
}

function running(lab: HeartbeatLab, host: Host): string {
  return lab.running(host).split(/\s+/).filter(Boolean).sort().join(' ');
}

async function cutHealCut(
  t: ExecutionContext,
  lines: readonly string[],
  arbiter: (t: ExecutionContext, lab: HeartbeatLab, dir: string) => ChildProcess,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'heartbeat-witness-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const lab = await HeartbeatLab.up(t, [...HA_CF, 'bcast eth0'], GROUPS);
  await configure(lab, lines);
  const asked = arbiter(t, lab, dir);
  for (const host of HOSTS) t.is((await start(lab, host)).status, 0);
  await lab.untilRunning(t, 'one two', 'three');

  const isOn = (a: string, b: string) =>
    running(lab, 'node-a') === a && running(lab, 'node-b') === b;
  await lab.link('cut');
  await lab.until(t, 'everything on one node', () => isOn(ALL, '') || isOn('', ALL));
  const loser: Host = running(lab, 'node-a') === '' ? 'node-a' : 'node-b';
  t.regex(lab.log(loser), /Neither heard by the other node nor granted the lease/);
  await lab.link('heal');
  const once = () =>
    [running(lab, 'node-a'), running(lab, 'node-b')].join(' ').trim().split(/ +/).length === 3;
  await lab.until(t, 'both active again', async () => {
    const status = await lab.exec(
      loser,
      ...['env', 'TWINBEAT_ROOT=/run/tb', `${BIN}/cl_status`, 'nodestatus'],
      loser === 'node-a' ? 'node-b' : 'node-a',
    );
    return status.out.trim() === 'active' && once();
  });

  // Whoever runs everything now is cut off from everything.
  const cutOff: Host = running(lab, 'node-a') === '' ? 'node-b' : 'node-a';
  await lab.link('cut');
  await lab.cable(cutOff, 2, 'down');
  await lab.until(t, `everything beside ${cutOff}`, () =>
    cutOff === 'node-a' ? isOn('', ALL) : isOn(ALL, ''),
  );

  // And then the third machine, too: nobody may go on.
  await ended(asked);
  await lab.until(t, 'nothing anywhere', () => isOn('', ''));
  await lab.cable(cutOff, 2, 'up');
  await lab.link('heal');
  await lab.until(t, 'everything once, without the third machine', once);
}

const NEEDS = ['root', 'netns', 'nsenter'];

test.serial('a witness: cut off from each other, from everything, and without it', async (t) => {
  if (!need(t, ...NEEDS)) return;
  await cutHealCut(t, [`address = ${THIRD}:6940`, `key = ${KEY}`], startWitness);
});

test.serial('etcd: the same', async (t) => {
  if (!need(t, ...NEEDS, 'etcd')) return;
  await cutHealCut(t, [`endpoints = http://${THIRD}:2379`], startEtcd);
});
