/** What doctor looks for in heartbeat's files: whether they are taken, names, keys, who resets whom. */
import { hasArbiter } from '../host/arbiter-config.js';
import {
  AUTHKEYS,
  type Facts,
  groupAt,
  HA_CF,
  haCfAt,
  nodesOf,
  TWINBEAT_INI,
} from './doctor-facts.js';
import type { Check } from './doctor-finding.js';

export const RELOAD = '$ heartbeat -r        # on both nodes, where it runs';
/** A node that holds resources refuses a file in which their groups are changed (host/reload.ts). */
export const RELOAD_GROUPS: readonly string[] = [
  'on the node whose file was changed, on one after the other, where heartbeat runs; while it holds resources it refuses changed groups, so the other node takes them first:',
  '$ hb_standby all      # done when twinbeat status says: resources none',
  '$ heartbeat -r',
];
const AGAIN = '$ twinbeat doctor';

/** Refused as other findings, which say more. */
const SAID_ELSEWHERE: readonly RegExp[] = [
  /^Bad nodename in /,
  /^Current node \[/,
  /^Bad permissions on keyfile /,
];

const fileRefused: Check = {
  name: 'file-refused',
  level: 'error',
  rule: 'A file is taken whole or not at all: with one wrong line nothing of it is in force.',
  look: ({ refusals }) =>
    refusals
      .filter(({ text }) => !SAID_ELSEWHERE.some((pattern) => pattern.test(text)))
      .map(({ at, text }) => ({
        at,
        evidence: text,
        next: [
          `Mend the ${at.line === null ? 'file' : 'line'} on both nodes, and look again:`,
          AGAIN,
        ],
      })),
};

const fileDoubtful: Check = {
  name: 'file-doubtful',
  level: 'warning',
  rule: 'What a file says is in force as it stands, also where that is hardly meant.',
  look: ({ remarks }) =>
    remarks.map(({ at, text }) => ({
      at,
      evidence: text,
      next: ['Write what is meant, on both nodes; docs/CONFIGURATION.md has the forms.'],
    })),
};

const ownNodeMissing: Check = {
  name: 'own-node-missing',
  level: 'error',
  rule: 'heartbeat starts only on a machine whose name (uname -n, or the first line of nodeinfo) is a `node` of ha.cf.',
  look(facts) {
    const nodes = nodesOf(facts.haCfLines);
    if (facts.haCfLines.length === 0 || nodes.includes(facts.node)) return [];
    return [
      {
        at: haCfAt(facts, 'node'),
        evidence: `This machine is ${facts.node}; ha.cf has ${list(nodes)}.`,
        next: [
          'Give the machine the name that ha.cf has, or write that name here:',
          '$ echo NAME > /etc/ha.d/nodeinfo',
        ],
      },
    ];
  },
};

const nodeUnknown: Check = {
  name: 'node-unknown',
  level: 'error',
  rule: 'A line of haresources begins with the node that is the home of its resources: a `node` of ha.cf.',
  look({ groups, haCfLines }) {
    const nodes = nodesOf(haCfLines);
    if (haCfLines.length === 0) return [];
    return groups
      .filter(({ node }) => !nodes.includes(node))
      .map((group) => ({
        at: groupAt(group),
        evidence: `The line of ${group.key} begins with ${group.node}; ha.cf has ${list(nodes)}.`,
        next: [
          'Write the name of the home node, the same in the file of both nodes. Until then heartbeat does not start.',
        ],
      }));
  },
};

const nameDoesNotResolve: Check = {
  name: 'name-does-not-resolve',
  level: 'error',
  rule: 'A host of a ucast or ping line is looked up when heartbeat starts. Without an address nothing is sent there.',
  look: ({ haCfLines, unresolvedNames }) =>
    [...unresolvedNames].map((host) => ({
      at: {
        file: HA_CF,
        line: haCfLines.find(({ value }) => value.split(/\s+/).includes(host))?.line ?? null,
      },
      evidence: `${host} has no address here.`,
      next: [
        'Write the address itself in ha.cf, or the name in /etc/hosts of both nodes: a name server is down when it is needed.',
        `$ getent hosts ${host}`,
      ],
    })),
};

/** A cluster of one has nobody to take for dead. */
export function isAlone({ haCfLines }: Facts): boolean {
  return nodesOf(haCfLines).length < 2;
}

/** With a witness or etcd one of two that do not hear each other serves, if the other one asks it, too (witness-alone). */
export function asksWitness({ haCf, ini }: Facts): boolean {
  return haCf !== null && ini !== null && hasArbiter({ haCf, ini });
}

/** Types that say OK and have reset nothing, if the node is cut off or somebody errs (docs/FENCING.md). */
const UNPROVEN = /^(null|ssh|meatware|suicide|external\/ssh)$/;

const canRunTwice: Check = {
  name: 'can-run-twice',
  level: 'warning',
  rule: 'Who takes over from a node that is not heard has to know that it is off: a device resets it first, or a witness lets only one of the two serve. Without either, two nodes that are cut off from each other both run everything.',
  look(facts) {
    if (isAlone(facts) || facts.haCf === null || facts.ini === null) return [];
    // What the other node has is in its own file: not seen from here.
    if (facts.ini.fence.agent !== '' || asksWitness(facts)) return [];
    const without = [...facts.stonithTypes.keys()].filter(
      (node) => (facts.stonithTypes.get(node) ?? []).length === 0,
    );
    if (without.length === 0) return [];
    return [
      {
        at: haCfAt(facts, 'stonith', 'stonith_host'),
        evidence: `Nothing resets the other node for ${list(without)}: ha.cf has no stonith or stonith_host line for that, and twinbeat.ini here no [fence] agent and no [witness].`,
        next: [
          'Add `stonith_host` lines to ha.cf, one for each node, or [fence] to twinbeat.ini on each (docs/FENCING.md), or [witness] (docs/WITNESS.md), then',
          RELOAD,
          'See what happens without:',
          '$ twinbeat doctor --show can-run-twice',
        ],
      },
    ];
  },
};

const fenceUnproven: Check = {
  name: 'fence-unproven',
  level: 'warning',
  rule: 'A device that says OK and has reset nothing is worse than none: the take-over begins while the other node runs.',
  look(facts) {
    if (isAlone(facts) || (facts.ini?.fence.agent ?? '') !== '') return [];
    const type = facts.stonithTypes.get(facts.node)?.at(-1); // the last one is the device
    if (type === undefined || !UNPROVEN.test(type)) return [];
    return [
      {
        at: haCfAt(facts, 'stonith', 'stonith_host'),
        evidence: `${type} is for tests: over a cut link it resets nothing, or waits for somebody to say so.`,
        next: [
          'Take a device with a power supply of its own (IPMI, a power switch, the hypervisor):',
          '$ stonith -L',
        ],
      },
    ];
  },
};

const authkeysMode: Check = {
  name: 'authkeys-mode',
  level: 'error',
  rule: 'Who reads the keys can speak for a node, who writes them can shut one out: authkeys is for root alone, mode 600.',
  look({ authkeysMode: mode }) {
    if (mode === null || (mode & 0o077) === 0) return [];
    return [
      {
        at: { file: AUTHKEYS, line: null },
        evidence: `Its mode is ${mode.toString(8)}${(mode & 0o044) === 0 ? '' : ': heartbeat does not start'}.`,
        next: [`$ chmod 600 ${AUTHKEYS}`],
      },
    ];
  },
};

const authkeysCrc: Check = {
  name: 'authkeys-crc',
  level: 'warning',
  rule: 'crc finds damage and proves nothing: who reaches the network can declare nodes dead and move services.',
  look({ authkeys, haCf }) {
    const isPrivate = haCf?.media.every(({ type }) => type === 'serial') ?? false;
    if (authkeys?.current.method !== 'crc' || isPrivate) return [];
    return [
      {
        at: { file: AUTHKEYS, line: null },
        evidence: `\`auth ${authkeys.current.number}\` signs with crc.`,
        next: [
          'Use sha1 with a long random word (docs/CONFIGURATION.md, authkeys, says how without an outage):',
          '$ openssl rand -hex 20',
        ],
      },
    ];
  },
};

const hangWithoutLimit: Check = {
  name: 'hang-without-limit',
  level: 'warning',
  rule: 'A service that a check found to hang is stopped by its script, which may hang, too. Without script-timeout a restart and a fail over wait for it for ever.',
  look({ ini }) {
    if (!ini || ini.health.intervalS === 0 || ini.heartbeat.scriptTimeoutS > 0) return [];
    return [
      {
        at: { file: TWINBEAT_INI, line: null },
        evidence: `[health] checks every ${ini.health.intervalS} s, and script-timeout is 0.`,
        next: [
          'Set script-timeout in [heartbeat] above what the slowest start and stop take (`twinbeat bound` has them), then',
          RELOAD,
        ],
      },
    ];
  },
};

function list(names: readonly string[]): string {
  return names.length === 0 ? 'no node' : names.join(' and ');
}

export const HA_CHECKS: readonly Check[] = [
  fileRefused,
  fileDoubtful,
  ownNodeMissing,
  nodeUnknown,
  nameDoesNotResolve,
  canRunTwice,
  fenceUnproven,
  authkeysMode,
  authkeysCrc,
  hangWithoutLimit,
];
