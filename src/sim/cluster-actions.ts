/**
 * The vocabulary of the profile `cluster`: its faults and what its operators do, as lines of text that the swarm draws (swarm-cluster.ts).
 * The grammar is that of words.ts.
 */
import type { Hold } from '../resource-manager/hold.js';
import type { ClusterNode } from './cluster-node.js';
import { KEY_STEPS, type KeyStep } from './cluster-setup.js';
import type { ClusterWorld } from './cluster-world.js';
import type { NodeName } from './config.js';
import { FENCE_MODES, type FenceMode } from './sim-fence.js';
import type { ScriptFault } from './sim-scripts.js';
import { choose, type Pattern, pattern, type Values, wordsOf } from './words.js';

interface ClusterAction {
  readonly usage: string;
  readonly pattern: Pattern;
  readonly help: string;
  readonly run: (world: ClusterWorld, v: Values) => void;
}

function row(usage: string, help: string, run: ClusterAction['run']): ClusterAction {
  return { usage, pattern: pattern(usage), help, run };
}

const node = (w: ClusterWorld, v: Values): ClusterNode => w.nodes[v['NODE'] as NodeName];
const network = (v: Values): string => String(v['NETWORK']);
const ms = (v: Values): number => v['TIME'] as number;
const service = (v: Values): string => String(v['SCRIPT']);

/** An operator at work: what moves now, moves for him. */
function operator(run: ClusterAction['run']): ClusterAction['run'] {
  return (w, v) => {
    w.operatorMs = w.nowMs;
    if (node(w, v).powered) run(w, v);
  };
}

function monitor(fault: ScriptFault | null): ClusterAction['run'] {
  return (w, v) => node(w, v).scripts.fault(service(v), 'monitor', fault);
}

function script(fault: (v: Values) => ScriptFault | null): ClusterAction['run'] {
  return (w, v) =>
    node(w, v).scripts.fault(service(v), v['ACTION'] as 'start' | 'stop' | 'status', fault(v));
}

const CLUSTER_ACTIONS: readonly ClusterAction[] = [
  // ---- networks
  row('cut NETWORK [from NODE]', 'nothing passes, or nothing that NODE sends', (w, v) =>
    w.net.cut(network(v), v['NODE'] as NodeName | undefined),
  ),
  row(
    'lose NETWORK PERCENT',
    'so many datagrams are lost, some doubled, late or corrupt',
    (w, v) => {
      const share = v['PERCENT'] as number;
      const rest = { duplicate: share / 4, reorder: share / 4, corrupt: share / 8 };
      w.net.faults(network(v), { loss: share, ...rest });
    },
  ),
  row('delay NETWORK TIME', 'the way takes up to TIME', (w, v) =>
    w.net.faults(network(v), { delayMs: [ms(v) / 2, ms(v)] }),
  ),
  row('heal NETWORK', 'everything passes again', (w, v) => {
    w.net.heal(network(v));
    w.net.faults(network(v), {});
  }),
  // ---- machines and daemons
  row('kill NODE', 'the power of NODE goes', (w, v) => node(w, v).powerCut()),
  row('boot NODE', 'NODE is switched on', (w, v) => node(w, v).boot()),
  row('pause NODE for TIME', 'the machine stands still, and not its watchdog', (w, v) => {
    const n = node(w, v);
    n.pause();
    w.clock.after(ms(v), () => n.resume());
  }),
  row('jump clock of NODE by NUMBER', 'the wall clock is set, by seconds', (w, v) =>
    node(w, v).clock.jumpWall((v['NUMBER'] as number) * 1000),
  ),
  row('crash heartbeat on NODE', 'SIGKILL', (w, v) => node(w, v).heartbeat.kill()),
  row('pause heartbeat on NODE for TIME', 'SIGSTOP, then SIGCONT', (w, v) => {
    const { heartbeat } = node(w, v);
    heartbeat.pause();
    w.clock.after(ms(v), () => heartbeat.resume());
  }),
  // ---- services
  row('service SCRIPT on NODE ends', 'its process is gone', (w, v) =>
    node(w, v).scripts.serviceEnded(service(v)),
  ),
  row('service SCRIPT on NODE hangs', 'its checks do not come back', monitor({ hangs: true })),
  row('service SCRIPT on NODE fails', 'its checks fail', monitor({ exit: 1 })),
  row('service SCRIPT on NODE degraded', 'its checks say degraded', monitor({ exit: 10 })),
  row('service SCRIPT on NODE stubborn', 'it does not end when told to', (w, v) =>
    node(w, v).stubborn.add(service(v)),
  ),
  row('service SCRIPT on NODE works', 'nothing of that any more', (w, v) => {
    node(w, v).scripts.fault(service(v), 'monitor', null);
    node(w, v).stubborn.delete(service(v));
  }),
  row(
    'script SCRIPT on NODE ACTION fails',
    'it ends with status 1 and does nothing',
    script(() => ({ exit: 1 })),
  ),
  row(
    'script SCRIPT on NODE ACTION hangs',
    'it does not come back',
    script(() => ({ hangs: true })),
  ),
  row(
    'script SCRIPT on NODE ACTION takes TIME',
    'it is slow',
    script((v) => ({ slowMs: ms(v) })),
  ),
  row(
    'script SCRIPT on NODE ACTION works',
    'no more trouble with it',
    script(() => null),
  ),
  // ---- what is asked
  row('ping nodes of NODE silent', 'none answers NODE', (w, v) => node(w, v).reaches.clear()),
  row('ping nodes of NODE answer', 'all do', (w, v) => {
    for (const name of w.setup.pings) node(w, v).reaches.add(name);
  }),
  row(
    'fence of NODE VALUE',
    `the device that NODE resets the other one with: ${FENCE_MODES.join(', ')}`,
    (w, v) => {
      const mode = FENCE_MODES.find((each) => each === v['VALUE']);
      node(w, v).fence.mode = mode ?? ('works' satisfies FenceMode);
    },
  ),
  row('fence of NODE takes TIME', 'so long', (w, v) => {
    node(w, v).fence.takesMs = ms(v);
  }),
  row('witness restarts', 'it forgets what it granted, and is silent first', (w) =>
    w.witness?.start(),
  ),
  row('witness stops', 'it answers nobody', (w) => w.witness?.stop()),
  row('witness deaf to NODE', 'it hears nothing of NODE', (w, v) =>
    w.witness?.deafTo.add(node(w, v).name),
  ),
  row('witness unheard by NODE', 'its answers do not reach NODE', (w, v) =>
    w.witness?.unheardBy.add(node(w, v).name),
  ),
  row('witness hears all', 'its lines are there again', (w) => {
    w.witness?.deafTo.clear();
    w.witness?.unheardBy.clear();
  }),
  row('witness slow TIME', 'its lines take up to TIME', (w, v) => {
    if (w.witness) w.witness.maxDelayMs = ms(v);
  }),
  row('witness loses PERCENT', 'its lines lose so much', (w, v) => {
    if (w.witness) w.witness.loss = v['PERCENT'] as number;
  }),
  // ---- operators
  row(
    'hb_standby HOLD on NODE',
    'give resources to the other node',
    operator((w, v) => {
      const hold = v['HOLD'] as Hold | 'failback';
      if (hold !== 'failback') node(w, v).heartbeat.standby(hold);
    }),
  ),
  row(
    'hb_takeover HOLD on NODE',
    'take resources from the other node',
    operator((w, v) => node(w, v).heartbeat.takeover(v['HOLD'] as Hold | 'failback')),
  ),
  row(
    'stop heartbeat on NODE',
    'orderly: its groups go to the other node',
    operator((w, v) => node(w, v).heartbeat.stop()),
  ),
  row(
    'start heartbeat on NODE',
    'when it does not run',
    operator((w, v) => node(w, v).heartbeat.start()),
  ),
  row(
    'recover NODE',
    'twinbeat recover, there',
    operator((w, v) => node(w, v).heartbeat.recover(node(w, v).name)),
  ),
  row(
    'recover NODE --force',
    'the same, whatever its checks say; and it asks for its groups',
    operator((w, v) =>
      node(w, v).heartbeat.recover(node(w, v).name, { force: true, activatePrimary: true }),
    ),
  ),
  row(
    'recover peer of NODE',
    'twinbeat recover of the other node, from NODE',
    operator((w, v) => node(w, v).heartbeat.recover(node(w, v).peer.name)),
  ),
  row(
    'reload on NODE',
    'ha.cf was edited',
    operator((w, v) => node(w, v).reload(true)),
  ),
  row(
    'reload nonsense on NODE',
    'ha.cf was edited badly',
    operator((w, v) => node(w, v).reload(false)),
  ),
  row(
    'keys VALUE on NODE',
    `authkeys has the old key, both, the other one first, or the new one alone: ${Object.keys(KEY_STEPS).join(', ')}`,
    operator((w, v) => node(w, v).setKeys(v['VALUE'] as KeyStep)),
  ),
];

/** Carries a step out. */
export function carryOutCluster(world: ClusterWorld, text: string): void {
  const chosen = choose(CLUSTER_ACTIONS, wordsOf(text), 'a step of the profile cluster');
  if (!chosen.ok) throw new Error(chosen.text);
  world.trace.line(world.nowMs, '', 'step', text);
  world.coverage.step(chosen.row.usage);
  world.stepsDone++;
  chosen.row.run(world, chosen.values);
}

/** Nothing is wrong any more but what the nodes made of it. */
export function healCluster(w: ClusterWorld): void {
  for (const name of ['eth0', 'eth1']) {
    w.net.heal(name);
    w.net.faults(name, {});
  }
  if (w.witness) {
    const { witness } = w;
    witness.deafTo.clear();
    witness.unheardBy.clear();
    witness.loss = 0;
    witness.maxDelayMs = 5;
    if (!witness.runs) witness.start();
  }
  for (const n of w.bothNodes) {
    for (const { service: name } of w.setup.groups) {
      for (const action of ['start', 'stop', 'status', 'monitor'] as const) {
        n.scripts.fault(name, action, null);
        n.scripts.fault('IPaddr', action, null);
      }
    }
    n.stubborn.clear();
    n.fence.mode = 'works';
    for (const name of w.setup.pings) n.reaches.add(name);
    if (n.clock.paused) n.resume();
    n.heartbeat.resume();
    // Both keys on both nodes, and each goes on signing with one that the other one has: so neither is refused.
    if (n.keys === 'old') n.setKeys('both');
    else if (n.keys === 'new') n.setKeys('turned');
    else n.reload(true);
    if (!n.powered) n.boot();
    else n.heartbeat.start();
  }
}
