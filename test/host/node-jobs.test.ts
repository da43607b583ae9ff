/** Jobs that wait at the door of the lease: nothing of them is begun before it opens, and what is given meanwhile is not taken. */
import test from 'ava';
import { parseHaResources } from '../../src/config/haresources.js';
import type { NodeHealth } from '../../src/host/node-health.js';
import type { NodeHomes } from '../../src/host/node-homes.js';
import { NodeJobs } from '../../src/host/node-jobs.js';
import type { HeartbeatNodeConfig } from '../../src/host/node-ports.js';
import type { ResourceMachine } from '../../src/resource-manager/resource-machine.js';

const FILE = 'a LabRes::one\nb LabRes::two\n';

class Rig {
  mayStart = false;
  leaving = false;
  readonly scripts: string[] = [];
  readonly done: number[] = [];
  readonly jobs: NodeJobs;
  #script = 0;
  #status = '';

  constructor() {
    const { groups } = parseHaResources(FILE, 'f', ['a', 'b']);
    const config = {
      groups: groups ?? [],
      resume: 'none',
      stopRetryMax: 3,
      membership: { node: 'a' },
    } as unknown as HeartbeatNodeConfig;
    this.jobs = new NodeJobs(config, {
      ports: {
        runScript: (id, resource, action) => {
          this.scripts.push(`${resource.text} ${action}`);
          this.#script = id;
          this.#status = action === 'status' ? 'stopped' : '';
        },
        stuck: () => undefined,
        log: () => undefined,
      },
      homes: { undisputed: (all: readonly unknown[]) => all } as unknown as NodeHomes,
      resources: () =>
        ({
          barred: null,
          started: () => undefined,
          jobDone: (id: number) => this.done.push(id),
        }) as unknown as ResourceMachine,
      health: () =>
        ({ groupBusy: () => undefined, groupRuns: () => undefined }) as unknown as NodeHealth,
      leaving: () => this.leaving,
      mayStart: () => this.mayStart,
      apply: () => undefined,
    });
  }

  job(id: number, kind: 'take' | 'give', scope: 'local' | 'foreign' | 'all'): void {
    this.jobs.add({ type: 'job', id, kind, scope, key: null }, 0);
  }

  /** Every script works. */
  finish(): void {
    for (let i = 0; i < 20 && this.jobs.operations.busy; i++) {
      this.jobs.scriptDone(this.#script, { exitStatus: 0, output: this.#status, failure: null }, 0);
    }
  }

  get starts(): string[] {
    return this.scripts.filter((script) => script.endsWith(' start'));
  }
}

test('a job that takes waits, and what waits does not count as running', (t) => {
  const rig = new Rig();
  rig.job(1, 'take', 'all');
  rig.jobs.tick(1000);
  t.deepEqual([rig.scripts, rig.done, rig.jobs.mayRun], [[], [], false]);
  rig.mayStart = true;
  rig.jobs.tick(2000);
  t.true(rig.jobs.mayRun, 'from when it is begun');
  rig.finish();
  t.deepEqual(rig.starts, ['LabRes::one start', 'LabRes::two start']);
  t.deepEqual([rig.done, rig.jobs.mayRun], [[1], true]);
});

test('what is given meanwhile is not taken; a job of which nothing is left is done', (t) => {
  const rig = new Rig();
  rig.job(1, 'take', 'all');
  rig.job(2, 'take', 'foreign');
  rig.job(3, 'give', 'foreign');
  rig.finish();
  t.deepEqual(rig.done, [2, 3]);
  rig.mayStart = true;
  rig.jobs.tick(0);
  rig.finish();
  t.deepEqual(rig.starts, ['LabRes::one start']);
  t.deepEqual(rig.done, [2, 3, 1]);
});

test('a later job does not overtake one that waits, and a node that leaves starts neither', (t) => {
  const rig = new Rig();
  rig.job(1, 'take', 'local');
  rig.mayStart = true;
  rig.job(2, 'take', 'foreign');
  rig.finish();
  t.deepEqual(rig.done, [1, 2]);
  t.deepEqual(rig.starts, ['LabRes::one start', 'LabRes::two start']);
  const leaver = new Rig();
  leaver.job(1, 'take', 'all');
  leaver.leaving = true;
  leaver.mayStart = true;
  leaver.jobs.tick(0);
  t.deepEqual([leaver.scripts, leaver.done], [[], [1]]);
});

test('given: it counts as running until it is stopped', (t) => {
  const rig = new Rig();
  rig.mayStart = true;
  rig.job(1, 'take', 'local');
  rig.finish();
  rig.job(2, 'give', 'all');
  t.true(rig.jobs.mayRun);
  rig.finish();
  t.deepEqual([rig.done, rig.jobs.mayRun], [[1, 2], false]);
});
