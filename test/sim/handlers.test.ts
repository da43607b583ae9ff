/**
 * A handler that hangs, dies, is late or halts its node, for every event: whatever it does, no checker finds anything, and the pair
 * comes to rest with the same data. And what an operator can do while one hangs.
 */
import test from 'ava';
import { nodeDigests } from '../../src/real/node-ports.js';
import { HANDLER_EVENTS } from '../../src/sim/handler-faults.js';
import { parseScenario } from '../../src/sim/scenario.js';
import { runScenario } from '../../src/sim/scenario-run.js';

function play(text: string): string | null {
  const parsed = parseScenario(text, 'handlers');
  if (!parsed.ok) throw new Error(parsed.text);
  return runScenario(parsed.scenario, nodeDigests, null).violation?.text ?? null;
}

interface Event {
  readonly set: readonly string[];
  /** The node whose handler runs. */
  readonly node: 'alpha' | 'beta';
  /** What makes it happen, from 5 s to 40 s. */
  readonly steps: string;
}

const CUT_AND_HEAL = 'at 6s cut replication\nat 20s heal replication';
const BOTH_PRIMARY = `at 5s cut replication
at 18s serve on beta
at 21s heal replication`;

const EVENTS: Readonly<Record<string, Event>> = {
  'after-resync-target': { set: [], node: 'beta', steps: CUT_AND_HEAL },
  'before-resync-source': { set: [], node: 'alpha', steps: CUT_AND_HEAL },
  'before-resync-target': { set: [], node: 'beta', steps: CUT_AND_HEAL },
  'fence-peer': {
    set: ['fencing resource-and-stonith', 'fence-peer ssh'],
    node: 'alpha',
    steps: CUT_AND_HEAL,
  },
  'initial-split-brain': { set: [], node: 'alpha', steps: BOTH_PRIMARY },
  'local-io-error': {
    set: ['on-io-error call-local-io-error'],
    node: 'alpha',
    steps: 'at 6s disk alpha writes fail 100%\nat 12s disk alpha works',
  },
  'out-of-sync': {
    set: ['verify-alg crc32c'],
    node: 'alpha',
    steps: `at 5s unserve on alpha
at 8s disk beta corrupt sector 3333
at 8s drbdadm verify on alpha
at 27s serve on alpha
at 30s drbdadm disconnect on beta
at 32s drbdadm connect on beta`,
  },
  'pri-lost': {
    set: [
      'rr-conflict call-pri-lost',
      'after-sb-2pri violently-as0p',
      'after-sb-0pri discard-younger-primary',
    ],
    node: 'beta',
    steps: BOTH_PRIMARY,
  },
  'pri-lost-after-sb': {
    set: ['after-sb-2pri call-pri-lost-after-sb', 'after-sb-0pri discard-younger-primary'],
    node: 'beta',
    steps: BOTH_PRIMARY,
  },
  'pri-on-incon-degr': {
    set: ['on-no-data-accessible suspend-io'],
    node: 'alpha',
    steps: 'at 5s drbdadm detach on alpha\nat 6s cut replication\nat 20s heal replication',
  },
  'split-brain': { set: [], node: 'alpha', steps: BOTH_PRIMARY },
  'unfence-peer': {
    set: ['fencing resource-only', 'fence-peer ssh'],
    node: 'alpha',
    steps: CUT_AND_HEAL,
  },
};

const FAULTS = ['hangs', 'dies', 'takes 15s', 'halts'];

function scenario({ set, node, steps }: Event, event: string, fault: string): string {
  const [kind] = fault.split(' ');
  return `${['heartbeat none', 'connect-int 1', 'think 20ms', ...set].map((o) => `set ${o}`).join('\n')}
at 0s boot alpha
at 0s boot beta
at 2s drbdadm new-current-uuid --clear-bitmap on alpha
at 3s serve on alpha
at 4s handler ${event} on ${node} ${fault}
${steps}
at 40s expect ${node} log "${event}: ${kind === 'dies' ? 'exits' : kind}" since 4s
at 41s settle
expect same data`;
}

test('every event has its scenario', (t) => {
  t.deepEqual(Object.keys(EVENTS).sort(), [...HANDLER_EVENTS].sort());
});

for (const [event, how] of Object.entries(EVENTS)) {
  test(`${event}: hangs, dies, is late, halts its node: nothing is lost`, (t) => {
    for (const fault of FAULTS) t.is(play(scenario(how, event, fault)), null, fault);
  });
}

const ALONE = `set heartbeat none
set connect-int 1
set fencing resource-and-stonith
set fence-peer ssh
at 0s boot alpha
at 0s boot beta
at 2s drbdadm new-current-uuid --clear-bitmap on alpha
at 4s cut replication
at 4s kill alpha
at 5s handler fence-peer on beta hangs
at 12s drbdadm primary on beta
expect beta log "fence-peer: hangs" within 1s`;

// Until the handler ends a promotion is neither done nor refused; the operator does not have to wait for that.
for (const [verb, state] of [
  ['disconnect', 'StandAlone'],
  ['down', 'Unconfigured'],
]) {
  test(`a promotion waits for fence-peer: ${verb} gets through, and nothing is promoted afterwards`, (t) => {
    const text = `${ALONE}
at 20s drbdadm ${verb} on beta
expect beta ${state} within 5s
at 400s expect beta not Primary
settle
expect same data`;
    t.is(play(text), null);
  });
}

test('a Primary that waits for fence-peer: resume-io gets through', (t) => {
  const text = `set heartbeat none
set connect-int 1
set think 20ms
set fencing resource-and-stonith
set fence-peer ssh
at 0s boot alpha
at 0s boot beta
at 2s drbdadm new-current-uuid --clear-bitmap on alpha
at 3s serve on alpha
at 4s handler fence-peer on alpha hangs
at 5s cut replication
at 25s expect alpha log "fence-peer: hangs" since 5s
at 26s drbdadm resume-io on alpha
expect I/O answered on alpha within 3s
at 40s settle
expect same data`;
  t.is(play(text), null);
});
