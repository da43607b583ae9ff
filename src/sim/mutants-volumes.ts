/** Planted bugs of several volumes, or resources: what is due to one of them goes to another one, or to none. See mutants.ts. */
import type { Mutant } from './mutants.js';

export const VOLUME_MUTANTS: readonly Mutant[] = [
  {
    name: 'resync-after-ignored',
    what: 'a volume that is to come after another one is resynchronised beside it',
    file: 'drbd/resync-after.js',
    find: 'const must = mustWait(device, this.#find);',
    replace: 'const must = false;',
  },
  {
    name: 'state-of-another-volume',
    what: 'what the peer says of the state of any volume counts for the first one',
    file: 'drbd/resource.js',
    find: 'const wrong = receiveState(link, v, poolView.getUint32(body));',
    replace: 'const wrong = receiveState(link, this.volumes[0], poolView.getUint32(body));',
  },
  {
    name: 'disk-state-of-another-volume',
    what: "that the peer has let a volume's disk go counts for the first volume, once they have met",
    file: 'drbd/resource.js',
    find: 'const wrong = receiveState(link, v, poolView.getUint32(body));',
    replace:
      'const wrong = receiveState(link, v.state.conn === Conns.Connected ? this.volumes[0] : v, poolView.getUint32(body));',
  },
  {
    name: 'first-volume-flushed',
    what: 'a barrier is acknowledged when the disk of the first volume is flushed',
    file: 'drbd/resource.js',
    find: 'if (!v.diskUsable())\n                continue;\n            left++;',
    replace: 'if (!v.diskUsable() || v.number > 0)\n                continue;\n            left++;',
  },
  {
    name: 'new-storage-of-first-volume',
    what: 'only the first volume of a resource copies the part that it has grown by',
    file: 'drbd/growth.js',
    find: 'if (this.#isSource(link))\n            this.#begin(link);',
    replace:
      'if (v.number > 0)\n            return;\n        if (this.#isSource(link))\n            this.#begin(link);',
  },
  {
    name: 'first-resource-ticked',
    what: 'time passes for the first resource of a node alone',
    file: 'drbd/engine.js',
    find: 'for (const r of this.#resources.values())\n            if (nowMs >= r.deadlineMs)',
    replace: 'for (const r of this.resources.slice(0, 1))\n            if (nowMs >= r.deadlineMs)',
  },
  {
    name: 'first-resource-resumed',
    what: 'a drbdd that takes over from one that was killed goes on with the first resource alone',
    file: 'host/drbdd-resume.js',
    find: 'for (const r of saved.resources) {',
    replace: 'for (const r of saved.resources.slice(0, 1)) {',
  },
];
