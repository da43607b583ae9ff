/** Planted bugs of membership and of resource groups: who lives, who runs what, in which order. See mutants.ts. */
import type { Mutant } from './mutants.js';

export const HEARTBEAT_MUTANTS: readonly Mutant[] = [
  // ---- membership
  {
    name: 'late-keepalive-is-alive',
    what: 'a node that was declared dead and is heard again counts as alive, as if nothing had happened',
    file: 'heartbeat/membership.js',
    find: 'if (!isStatus || seq <= node.statusSeq)\n                return;\n            this.#healed(node, out);',
    replace: 'if (!isStatus || seq <= node.statusSeq)\n                return;',
  },
  {
    name: 'stranger-is-welcome',
    what: 'a node that was never heard before and is active already does not count as a healed partition',
    file: 'heartbeat/membership.js',
    find: 'if (!node.askedNodes)\n                this.#healed(node, out);',
    replace: '',
  },
  {
    name: 'deadtime-by-wall-clock',
    what: 'the silence of a node is measured by the wall clock, which may jump',
    file: 'heartbeat/membership.js',
    find: 'const limitMs = this.#joining.commUp ? node.deadtimeMs : this.#config.initdeadMs;',
    replace:
      'const limitMs = this.#joining.commUp ? node.deadtimeMs : this.#config.initdeadMs; const aheadMs = this.#around.wallSeconds() * 1000 - nowMs; nowMs += aheadMs - (this.aheadMs ?? aheadMs); this.aheadMs = aheadMs;',
  },
  {
    name: 'initdead-ignored',
    what: 'a node that starts waits for deadtime only before it takes over from one that it never heard',
    file: 'heartbeat/membership.js',
    find: 'const limitMs = this.#joining.commUp ? node.deadtimeMs : this.#config.initdeadMs;',
    replace: 'const limitMs = node.deadtimeMs;',
  },
  {
    name: 'generation-not-increased',
    what: 'a restarted heartbeat uses its old generation again',
    file: 'heartbeat/identity.js',
    find: 'return last === null ? wallSeconds + 1 : last + 1;',
    replace: 'return last === null ? wallSeconds + 1 : last;',
  },
  {
    name: 'healed-partition-ignored',
    what: 'after a healed partition neither node gives up what both run',
    file: 'host/heartbeat-node.js',
    find: 'this.#leaving.beginRestart(HEALED_RELEASE_MS, nowMs);',
    replace: '',
  },
  {
    name: 'yield-ignored',
    what: 'a node that hears that its resources were taken over as those of a dead one keeps them',
    file: 'host/heartbeat-node.js',
    find: "case 'yield':\n                    this.#leaving.beginRestart(0, nowMs);",
    replace: "case 'yield':",
  },

  // ---- resource groups
  {
    name: 'start-without-waiting',
    what: 'a resource is started before the one to its left has answered',
    file: 'resource-manager/group-operation.js',
    find: "this.#run(resource, 'start', out);",
    replace: "this.#run(resource, 'start', out); this.#take(this.#index + 1, out);",
  },
  {
    name: 'start-right-to-left',
    what: 'the resources of a group are started from the right',
    file: 'resource-manager/group-operation.js',
    find: 'const resource = this.group.resources[this.#index];',
    replace:
      "const resource = this.group.resources[this.kind === 'take' && !this.#startFailed ? this.group.resources.length - 1 - this.#index : this.#index];",
  },
  {
    name: 'stop-left-to-right',
    what: 'the resources of a group are stopped from the left',
    file: 'resource-manager/group-operation.js',
    find: 'const resource = this.group.resources[this.#index];',
    replace:
      "const resource = this.group.resources[this.kind === 'give' || this.#startFailed ? this.group.resources.length - 1 - this.#index : this.#index];",
  },
  {
    name: 'stop-failure-ignored',
    what: 'a resource whose stop fails counts as stopped',
    file: 'resource-manager/group-operation.js',
    find: 'this.#stopFailed(nowMs, out);',
    replace: 'this.#started.delete(text); this.#give(this.#index - 1, out);',
  },
  {
    name: 'stuck-reported-stopped',
    what: 'a resource that runs on after ten attempts to stop it counts as stopped',
    file: 'resource-manager/group-operation.js',
    find: "if (verdict === 'running') {\n            log('CRIT'",
    replace: "if (false) {\n            log('CRIT'",
  },
  {
    name: 'take-before-done',
    what: 'a node starts a group when the other asks to go standby, before it says that it has stopped',
    file: 'resource-manager/standby-exchange.js',
    find: "if (row.move === 'agree')\n                    sendAsk(rsc, 'other', out);",
    replace:
      "if (row.move === 'agree') { sendAsk(rsc, 'other', out); this.#claims.take(swapped(rsc), out); }",
  },
  {
    name: 'leaves-before-stopped',
    what: 'a node that shuts down says that it has released everything before it has',
    file: 'resource-manager/resource-state.js',
    find: "this.#log('info', 'Giving up all HA resources.', out);",
    replace:
      "this.#log('info', 'Giving up all HA resources.', out); out.push({ type: 'send', message: haFields({ t: 'shutdone', st: 'dead' }) });",
  },
  {
    name: 'legacy-answer-before-stop',
    what: 'auto_failback legacy: a group is promised to its home node before it is stopped',
    file: 'resource-manager/legacy-state.js',
    find: 'this.#answers.set(id, { key, held });',
    replace:
      "out.push({ type: 'send', message: haFields({ t: 'ip-request-resp', dest: this.#config.peer, ipaddr: key, weown: held ? 'yes' : 'no', ok: 'OK' }) });",
  },
  // ---- a heartbeat that was killed, and its successor
  {
    name: 'claim-not-saved',
    what: 'the state file does not say what this node runs: the successor of a killed heartbeat knows of nothing',
    file: 'host/lives-memory.js',
    find: 'saveState(this.#host.files, { hold, aliveMs, script, serveUntilMs });',
    replace: "saveState(this.#host.files, { hold: 'none', aliveMs, script, serveUntilMs });",
  },
  {
    name: 'leftovers-not-stopped',
    what: 'what a killed heartbeat left running is not stopped when its successor comes too late to resume it',
    file: 'host/inheritance.js',
    find: 'stopEverything(inheritor, hold, () => {',
    replace: "done('none'); ((_stopped) => {})(() => {",
  },
];
