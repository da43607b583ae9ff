/** Planted bugs of what is asked before something is started, of health, and of what follows from both. See mutants.ts. */
import type { Mutant } from './mutants.js';

export const CLUSTER_MUTANTS: readonly Mutant[] = [
  // ---- permission: a device that resets, a witness
  {
    name: 'takeover-before-permission',
    what: 'what a dead node may run is started while the question about it is still open',
    file: 'host/node-door.js',
    find: 'this.permission.ask(id, needed, holds, nowMs, out);',
    replace: "out.push({ type: 'permitted', id });",
  },
  {
    name: 'failed-fence-is-permission',
    what: 'a reset that failed counts as one that worked',
    file: 'resource-manager/permission.js',
    find: "if (answer === 'OK') {",
    replace: "if (answer !== 'none') {",
  },
  {
    name: 'fence-before-lease',
    what: 'a node with a device shoots without the lease of the witness',
    file: 'resource-manager/permission.js',
    find: '        if (this.#lease?.isInForce) {',
    replace: '        if (this.#lease?.isInForce && !(stonith && needed)) {',
  },
  {
    name: 'lease-from-answer',
    what: 'a lease counts from when its answer came, not from when it was asked for',
    file: 'resource-manager/lease.js',
    find: 'const untilMs = sentMs + counted(this.#config.leaseMs);',
    replace: 'const untilMs = nowMs + counted(this.#config.leaseMs);',
  },
  {
    name: 'stop-limit-not-waited',
    what: 'who is granted the lease begins at once, while the other one still stops',
    file: 'resource-manager/lease.js',
    find: 'return released ? answeredMs : answeredMs + waited(this.#config.stopLimitMs);',
    replace: 'return answeredMs;',
  },
  {
    name: 'reset-while-starting',
    what: 'a node that a late reset hit when it was back is reset again while it starts',
    file: 'resource-manager/permission.js',
    find: 'if (startedMs <= atMs)',
    replace: 'if (startedMs <= Number.MAX_VALUE)',
  },
  {
    name: 'lease-without-service',
    what: 'a node that waits with the lease and serves nothing keeps its life when a partition heals',
    file: 'host/heartbeat-node.js',
    find: "if (this.#door.lease?.isHeld(nowMs) && this.resources.claims() !== 'none')",
    replace: 'if (this.#door.lease?.isHeld(nowMs))',
  },
  {
    name: 'legacy-resumes-all',
    what: 'auto_failback legacy: a resumed life takes all its groups, also those that the other node did not hand over yet',
    file: 'resource-manager/legacy-state.js',
    find: "for (const { key, scope } of this.#config.groups) {\n            if (scope === 'local')\n                this.#requested.add(key);",
    replace:
      "if (this.#held.size > 0) this.#job('take', 'local', null, [], out);\n        for (const { key, scope } of this.#config.groups) {\n            if (scope === 'local')\n                this.#requested.add(key);",
  },

  // ---- health and standing
  {
    name: 'standing-not-kept',
    what: 'a node that becomes FAILED_OFFLINE does not write that to disk',
    file: 'host/node-health.js',
    find: "host.ask('standing', { standing }, (worked, answeredMs) => {",
    replace: "host.ask('standing', { standing: OK }, (worked, answeredMs) => {",
  },
  {
    name: 'standing-forgotten',
    what: 'a node that was FAILED_OFFLINE before its start is not any more',
    file: 'host/node-health.js',
    find: "if (standing.state === 'ok')\n            return;",
    replace: 'return;',
  },
  {
    name: 'restart-without-stop',
    what: 'a restart in place starts before it has stopped',
    file: 'resource-manager/group-operation.js',
    find: "if (this.kind === 'take')\n            this.#take(0, out);",
    replace:
      "if (this.kind === 'restart') { this.#stoppedFrom = this.#stopTo; this.#startAgain = false; this.#take(this.#stopTo, out); }\n        else if (this.kind === 'take')\n            this.#take(0, out);",
  },
  {
    name: 'restarts-not-counted',
    what: 'a group is restarted in place as often as it fails',
    file: 'resource-manager/health.js',
    find: 'group.restarts.push(nowMs);',
    replace: '',
  },
  {
    name: 'announce-forgotten',
    what: 'after a heal nobody announces again where the addresses are',
    file: 'host/node-announce.js',
    find: 'this.#dueMs = Math.min(this.#dueMs, dueMs);',
    replace: '',
  },
  {
    name: 'announce-once',
    what: 'a life that does not know yet what runs on announces it never',
    file: 'host/node-announce.js',
    find: "if (!isStable() || groups.some((group) => stateOf(group.key) === 'starts'))",
    replace: 'if (false)',
  },
];
