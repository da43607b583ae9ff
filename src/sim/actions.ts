/**
 * The vocabulary of a run: every fault and every step of an operator, as a line of text that a scenario contains and the swarm
 * draws. To add a fault, add a row; swarm.ts decides how often it happens.
 */
import { Disks, Roles } from '../drbd/state.js';
import type { Hold } from '../resource-manager/hold.js';
import type { DrbdadmVerb } from './administrator.js';
import {
  type ClusterConfig,
  minorOfWord,
  type NetworkName,
  type NodeName,
  peerOf,
  resourceOf,
  resourcesOf,
} from './config.js';
import { BROKEN_EXIT, type HandlerFault } from './handler-faults.js';
import { setOption } from './options.js';
import { dataBytes, type Replica } from './replica.js';
import type { ReplicatedDevice } from './replicated-device.js';
import type { Called } from './sim-node.js';
import type { ScriptFault } from './sim-scripts.js';
import { type Chosen, choose, type Pattern, pattern, type Values, wordsOf } from './words.js';
import type { World } from './world.js';

export interface Action {
  readonly usage: string;
  readonly pattern: Pattern;
  readonly help: string;
  readonly run: (world: World, v: Values) => void;
}

export interface Step {
  readonly atMs: number;
  readonly text: string;
}

const node = (w: World, v: Values) => w.node(v['NODE'] as NodeName);
const network = (v: Values): NetworkName => v['NETWORK'] as NetworkName;
const ms = (v: Values): number => v['TIME'] as number;
const share = (v: Values): number => v['PERCENT'] as number;

function row(usage: string, help: string, run: (world: World, v: Values) => void): Action {
  return { usage, pattern: pattern(usage), help, run };
}

/** Of volume 0 where none is named; nothing in a cluster without it. */
function onDisk(w: World, v: Values, run: (replica: Replica) => void): void {
  const minor = minorOfWord(w.config, String(v['VOLUME'] ?? '0'));
  if (minor !== null) run(node(w, v).replica(minor));
}

/** Null: all resources; undefined: what is named does not exist in this cluster. */
function calledFor(w: World, v: Values): Called | null | undefined {
  const { VOLUME: volume, RESOURCE: resource } = v;
  if (volume !== undefined) return minorOfWord(w.config, String(volume)) ?? undefined;
  if (resource === undefined) return null;
  return resourcesOf(w.config).find((name) => name === resource);
}

type ScriptAction = 'start' | 'stop' | 'status';

function scriptFault(w: World, v: Values, fault: ScriptFault | null): void {
  if (fault) w.meddled = true;
  const scripts = node(w, v).heartbeat?.scripts;
  scripts?.fault(String(v['SCRIPT']), v['ACTION'] as ScriptAction, fault);
}

function handlerFault(w: World, v: Values, fault: HandlerFault | null): void {
  node(w, v).handlerFaults.set(String(v['EVENT']), fault);
}

/** Heartbeat's verbs: nothing in a cluster without it. */
const heartbeatOf = (w: World, v: Values) => {
  const n = node(w, v);
  return n.powered ? (n.heartbeat?.heartbeat ?? null) : null;
};

export const ACTIONS: readonly Action[] = [
  // ---- networks
  row('cut NETWORK [from NODE]', 'nothing passes any more, or nothing that NODE sends', (w, v) =>
    w.net.cut(network(v), v['NODE'] as NodeName | undefined),
  ),
  row('heal NETWORK', 'everything passes again', (w, v) => {
    w.net.heal(network(v));
    w.net.faults(network(v), {});
  }),
  row('heal all', 'all networks, disks and scripts work, every node runs', (w) => healAll(w)),
  row('reset NETWORK', 'every TCP connection fails at both ends', (w, v) =>
    w.net.reset(network(v)),
  ),
  row('half-open NETWORK at NODE', 'NODE sees a reset, the other end hears nothing', (w, v) =>
    w.net.resetOneEnd(network(v), v['NODE'] as NodeName),
  ),
  row('delay NETWORK TIME', 'the way takes up to TIME', (w, v) =>
    w.net.faults(network(v), { delayMs: [ms(v) / 2, ms(v)] }),
  ),
  row('lose NETWORK PERCENT', 'so many datagrams are lost, some doubled, late or corrupt', (w, v) =>
    w.net.faults(network(v), {
      loss: share(v),
      duplicate: share(v) / 4,
      reorder: share(v) / 4,
      corrupt: share(v) / 8,
    }),
  ),
  row(
    'break NETWORK after NUMBER bytes',
    'every TCP connection is reset when so many bytes of one direction have arrived',
    (w, v) => w.net.faults(network(v), { resetAfterBytes: v['NUMBER'] as number }),
  ),
  // ---- machines and processes
  row('kill NODE', 'the power of NODE goes', (w, v) => node(w, v).powerOff()),
  row('boot NODE', 'NODE is switched on', (w, v) => node(w, v).boot()),
  row('crash drbdd on NODE', 'SIGKILL; its angel starts a successor', (w, v) =>
    node(w, v).killDrbdd(),
  ),
  row(
    'pause NODE for TIME',
    'the machine stands still, then goes on with its old beliefs',
    (w, v) => {
      const n = node(w, v);
      if (!n.powered || n.clock.paused) return;
      n.clock.pause();
      w.net.freeze(n.name);
      w.clock.after(ms(v), () => {
        if (!n.clock.paused) return;
        n.clock.resume();
        if (n.powered) w.net.thaw(n.name);
      });
    },
  ),
  row('jump clock of NODE by NUMBER', 'the wall clock is set, by seconds', (w, v) =>
    node(w, v).clock.jumpWall((v['NUMBER'] as number) * 1000),
  ),
  // ---- disks
  row('disk NODE [volume VOLUME] reads fail PERCENT', 'so many reads end with EIO', (w, v) =>
    onDisk(w, v, (r) => {
      r.disk.faults.readChance = share(v);
    }),
  ),
  row('disk NODE [volume VOLUME] writes fail PERCENT', 'so many writes end with EIO', (w, v) =>
    onDisk(w, v, (r) => {
      r.disk.faults.writeChance = share(v);
    }),
  ),
  row('disk NODE [volume VOLUME] flushes fail PERCENT', 'so many flushes end with EIO', (w, v) =>
    onDisk(w, v, (r) => {
      r.disk.faults.flushChance = share(v);
    }),
  ),
  row('disk NODE [volume VOLUME] stuck', 'requests do not come back', (w, v) =>
    onDisk(w, v, (r) => {
      r.disk.stuck = true;
    }),
  ),
  row('disk NODE [volume VOLUME] slow TIME', 'every request takes TIME longer', (w, v) =>
    onDisk(w, v, (r) => {
      r.disk.slowMs = ms(v);
    }),
  ),
  row(
    'disk NODE [volume VOLUME] full above PERCENT',
    'nothing can be written in the upper part of the data, as on a thin pool without space',
    (w, v) =>
      onDisk(w, v, ({ disk }) => {
        disk.full = {
          fromBytes: Math.floor((dataBytes(disk.sizeBytes) * share(v)) / 512) * 512,
          toBytes: dataBytes(disk.sizeBytes),
        };
      }),
  ),
  row(
    'disk NODE [volume VOLUME] shrunk to PERCENT',
    'the lower device ends there now, meta-data cut off: EIO beyond',
    (w, v) =>
      onDisk(w, v, ({ disk }) =>
        disk.resize(Math.floor((disk.nominalBytes * share(v)) / 4096) * 4096),
      ),
  ),
  row(
    'grow disk of NODE [volume VOLUME] to SIZE',
    'the lower device is made larger, by what held something else before; `drbdadm resize` takes the room',
    (w, v) => growDisk(w, v, LEFTOVER[v['NODE'] as NodeName]),
  ),
  row(
    'grow disk of NODE [volume VOLUME] to SIZE zeroed',
    'what is added is zeroes, as on the other node',
    (w, v) => growDisk(w, v, 0),
  ),
  row('disk NODE [volume VOLUME] works', 'no more trouble with that disk', (w, v) =>
    onDisk(w, v, diskWorks),
  ),
  row(
    'disk NODE [volume VOLUME] blank',
    'replaced by an empty one with fresh meta-data, while NODE is off',
    (w, v) =>
      onDisk(w, v, (r) => {
        if (r.powered) return;
        r.replaceDisk();
        w.device(r.minor).truth.replaced(r.name);
      }),
  ),
  row('disk NODE [volume VOLUME] remember', 'a snapshot, for `rollback`', (w, v) =>
    onDisk(w, v, (r) => {
      w.images.set(r, r.disk.snapshot());
    }),
  ),
  row(
    'disk NODE [volume VOLUME] rollback',
    'back to the snapshot, while NODE is off or Diskless',
    (w, v) =>
      onDisk(w, v, (r) => {
        const image = w.images.get(r);
        const isUsed = r.powered && r.state !== null && r.state.disk !== Disks.Diskless;
        if (isUsed || !image) return;
        r.disk.restore(image);
        w.device(r.minor).truth.replaced(r.name);
      }),
  ),
  row(
    'disk NODE [volume VOLUME] clone',
    "a copy of the peer's disk, meta-data and all; both are off",
    (w, v) =>
      onDisk(w, v, (r) => {
        if (r.powered || r.peer.powered) return;
        const { truth } = w.device(r.minor);
        r.disk.restore(r.peer.disk.snapshot());
        truth.lineage[r.name] = truth.lineage[r.peer.name];
        truth.replaced(r.name);
      }),
  ),
  row(
    'disk NODE [volume VOLUME] corrupt sector NUMBER',
    'bits of the sector flip, silently',
    (w, v) =>
      onDisk(w, v, (r) => {
        r.disk.corrupt(v['NUMBER'] as number);
        w.device(r.minor).truth.replaced(r.name);
      }),
  ),
  // ---- the operator
  row(
    'drbdadm VERB [FLAG] [resource RESOURCE] [volume VOLUME] on NODE',
    'as typed there, for all resources, or that one, or that volume; --force and --discard-my-data void promises',
    (w, v) => {
      const called = calledFor(w, v);
      if (called === undefined) return;
      const verb = v['VERB'] as DrbdadmVerb;
      operatorDrbdadm(w, v['NODE'] as NodeName, verb, v['FLAG'] as string | undefined, called);
    },
  ),
  row(
    'set OPTION VALUE',
    'drbd.conf is edited on both nodes; `drbdadm adjust` makes it so',
    (w, v) => {
      w.config = setOption(w.config, String(v['OPTION']), String(v['VALUE'])) as ClusterConfig;
    },
  ),
  row('serve on NODE', 'promote, mount, start the service (without heartbeat)', (w, v) =>
    w.config.heartbeat === null ? node(w, v).serve([], () => {}) : undefined,
  ),
  row('unserve on NODE', 'stop the service, unmount, demote (without heartbeat)', (w, v) =>
    w.config.heartbeat === null ? node(w, v).unserve(() => {}) : undefined,
  ),
  row('switch to NODE', 'orderly: unserve on the other, then serve on NODE', (w, v) => {
    const to = node(w, v);
    if (w.config.heartbeat !== null) {
      if (to.peer.powered) to.peer.heartbeat?.heartbeat.standby('all');
      return;
    }
    if (!to.powered || to.state?.role === Roles.Primary) return;
    const from = to.peer;
    if (from.powered && from.state?.role === Roles.Primary)
      from.unserve((ok) => ok && to.serve([], () => {}));
  }),
  // ---- heartbeat
  row('hb_standby HOLD on NODE', 'give resources to the other node', (w, v) => {
    const hold = v['HOLD'] as Hold | 'failback';
    if (hold !== 'failback') heartbeatOf(w, v)?.standby(hold);
  }),
  row('hb_takeover HOLD on NODE', 'take resources from the other node', (w, v) =>
    heartbeatOf(w, v)?.takeover(v['HOLD'] as Hold | 'failback'),
  ),
  row('crash heartbeat on NODE', 'SIGKILL; its angel starts a successor', (w, v) =>
    heartbeatOf(w, v)?.kill(),
  ),
  row('stop heartbeat on NODE', 'orderly: its groups go to the other node', (w, v) =>
    heartbeatOf(w, v)?.stop(),
  ),
  row('start heartbeat on NODE', 'when it does not run', (w, v) => heartbeatOf(w, v)?.start()),
  row('pause heartbeat on NODE for TIME', 'SIGSTOP, then SIGCONT', (w, v) => {
    const hb = heartbeatOf(w, v);
    hb?.pause();
    w.clock.after(ms(v), () => hb?.resume());
  }),
  row('script SCRIPT on NODE ACTION fails', 'it ends with status 1 and does nothing', (w, v) =>
    scriptFault(w, v, { exit: 1 }),
  ),
  row('script SCRIPT on NODE ACTION hangs', 'it does not come back', (w, v) =>
    scriptFault(w, v, { hangs: true }),
  ),
  row('script SCRIPT on NODE ACTION takes TIME', 'it is slow', (w, v) =>
    scriptFault(w, v, { slowMs: ms(v) }),
  ),
  row('script SCRIPT on NODE ACTION lies', 'status says stopped whatever is true', (w, v) =>
    scriptFault(w, v, { says: 'stopped' }),
  ),
  row('script SCRIPT on NODE ACTION works', 'no more trouble with it', (w, v) =>
    scriptFault(w, v, null),
  ),
  // ---- handlers of drbd.conf
  row('handler EVENT on NODE hangs', 'it ends when drbdd kills it, after 300 s', (w, v) =>
    handlerFault(w, v, { kind: 'hangs' }),
  ),
  row('handler EVENT on NODE exits NUMBER', 'it does nothing and ends so', (w, v) =>
    handlerFault(w, v, { kind: 'exits', exit: v['NUMBER'] as number }),
  ),
  row('handler EVENT on NODE dies', 'a signal ends it', (w, v) =>
    handlerFault(w, v, { kind: 'exits', exit: BROKEN_EXIT }),
  ),
  row('handler EVENT on NODE takes TIME', 'it does its work, and ends so much later', (w, v) =>
    handlerFault(w, v, { kind: 'takes', ms: ms(v) }),
  ),
  row('handler EVENT on NODE halts', 'it ends its node, which is switched on again', (w, v) =>
    handlerFault(w, v, { kind: 'halts' }),
  ),
  row('handler EVENT on NODE works', 'no more trouble with it', (w, v) => handlerFault(w, v, null)),
  row(
    'look after the service',
    'the operator starts it where it was, or on the other node, if nobody serves',
    (w) => lookAfter(w),
  ),
];

/** Another byte on each node: what is neither marked nor written is not the same. */
const LEFTOVER: Readonly<Record<NodeName, number>> = { alpha: 0xa1, beta: 0xb2 };

function growDisk(w: World, v: Values, leftover: number): void {
  const bytes = Number(v['SIZE']) * 1024;
  onDisk(w, v, ({ disk, minor }) => {
    if (bytes <= disk.nominalBytes) return;
    disk.grow(bytes, leftover);
    w.device(minor).truth.grown(bytes);
  });
}

function operatorDrbdadm(
  w: World,
  name: NodeName,
  verb: DrbdadmVerb,
  flag: string | undefined,
  called: Called | null,
): void {
  const n = w.node(name);
  if (!n.powered) return;
  const truths = w.devices.filter((d) => isCalled(d, called)).map((d) => d.truth);
  // What it may do is allowed from the moment it is asked for.
  const forces = flag === '--force' && verb === 'primary';
  for (const truth of truths) {
    if (forces) truth.orders(name);
    if (flag === '--discard-my-data') truth.force(peerOf(name), 'connect --discard-my-data');
    if (verb === 'invalidate') truth.force(peerOf(name), 'invalidate');
    if (verb === 'invalidate-remote') truth.force(name, 'invalidate-remote');
    if (verb === 'new-current-uuid' && flag === '--clear-bitmap') truth.force(name, 'clear-bitmap');
  }
  const answered = (exit: number): void => {
    for (const truth of truths) {
      if (forces) truth.answered(name, exit === 0);
      if (exit !== 0) continue;
      if (flag === '--discard-my-data') truth.force(peerOf(name), 'connect --discard-my-data');
    }
    if (exit !== 0 || verb !== 'resume-io') return;
    const resource = typeof called === 'number' ? resourceOf(w.config, called) : called;
    for (const d of w.devices) {
      if (isCalled(d, resource)) d.truth.mayWriteAlone(name, 'resume-io'); // it is the resource's
    }
  };
  n.drbdadm(verb, flag ? [flag] : [], answered, called);
}

function isCalled({ minor, resource }: ReplicatedDevice, called: Called | null): boolean {
  return called === null || called === minor || called === resource;
}

function diskWorks({ disk }: Replica): void {
  disk.faults.readChance = 0;
  disk.faults.writeChance = 0;
  disk.faults.flushChance = 0;
  disk.slowMs = 0;
  disk.full = null;
  disk.resize(disk.nominalBytes);
  disk.stuck = false;
}

const SCRIPT_FAULTS = ['drbddisk', 'Filesystem', 'IPaddr', 'service'].flatMap((script) =>
  (['start', 'stop', 'status'] as const).map((action) => [script, action] as const),
);

export function healAll(w: World): void {
  for (const name of ['replication', 'eth0', 'eth1'] as const) {
    w.net.heal(name);
    w.net.faults(name, {});
  }
  for (const n of w.bothNodes) {
    n.replicas.forEach(diskWorks);
    if (n.clock.paused) {
      n.clock.resume();
      if (n.powered) w.net.thaw(n.name);
    }
    n.handlerFaults.heal();
    for (const fault of SCRIPT_FAULTS) n.heartbeat?.scripts.fault(...fault, null);
    if (!n.powered) n.boot();
    else n.heartbeat?.start();
  }
}

/** A plausible administrator: nobody serves, so the service is started where it ran last, if that node is there. */
export function lookAfter(w: World): void {
  if (w.config.heartbeat !== null) return; // that is heartbeat's business
  if (w.bothNodes.some((n) => n.powered && n.client)) return;
  const order = [w.node(w.lastActive), w.node(peerOf(w.lastActive))];
  const candidate = order.find((n) => n.powered && !n.clock.paused && n.state !== null);
  if (!candidate || w.starting) return;
  w.starting = true;
  candidate.serve([], (ok) => {
    w.starting = false;
    if (ok) w.lastActive = candidate.name;
    else w.lastActive = peerOf(candidate.name); // tried there next
  });
}

/** A step's text as an action; or what is wrong with it and what would be right. */
export function parseAction(text: string): Chosen<Action> {
  return choose(ACTIONS, wordsOf(text), 'a step');
}

/** Carries a step out. The text was parsed before. */
export function carryOut(world: World, text: string): void {
  const parsed = parseAction(text);
  if (!parsed.ok) throw new Error(parsed.text);
  world.trace.line(world.nowMs, '', 'step', text);
  world.coverage.step(parsed.row.usage);
  world.stepsDone++;
  parsed.row.run(world, parsed.values);
}
