/** A cluster with two volumes: each has its own disks, client, promises and checkers, which notice what is wrong with it alone. */
import test from 'ava';
import { Disks, Roles } from '../../src/drbd/state.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import { carryOut } from '../../src/sim/actions.js';
import { contentOf } from '../../src/sim/ledger.js';
import type { Replica } from '../../src/sim/replica.js';
import type { RunResult } from '../../src/sim/run.js';
import { runScenario } from '../../src/sim/scenario-run.js';
import type { World } from '../../src/sim/world.js';
import { copies, parsed, playedFrom, SERVING } from '../support/played-world.js';

const PAIR = `
set heartbeat none
set second-volume 2MiB
set connect-int 1
set ping-int 2
set think 50ms
`;

/** A pair that serves for some seconds; then `play`. */
function played(play: (world: World) => void): RunResult {
  return playedFrom(`${PAIR}${SERVING}`, 8000, play);
}

function quiet(world: World): void {
  carryOut(world, 'unserve on alpha');
  world.runUntil(world.nowMs + 2000);
}

/** Of each sector of a disk, whose write it holds; 0: zeroes. */
function writes(r: Replica): number[] {
  const sectors = r.volume?.sizeSectors ?? 0;
  const bytes = r.disk.content(0, sectors * 512);
  return Array.from({ length: sectors }, (_, s) => contentOf(bytes, s * 512, s));
}

test('both volumes are written, and what is written in one is found in no other', (t) => {
  const { violation } = played((world) => {
    quiet(world);
    const [zero = new Set(), one = new Set()] = [0, 1].map(
      (minor) => new Set(copies(world, minor).flatMap(writes)),
    );
    t.true(zero.size > 20 && one.size > 20);
    t.deepEqual(
      [...one].filter((id) => id !== 0 && zero.has(id)),
      [],
    );
    for (const device of world.devices) t.true(device.ledger.writesAcked > 100);
  });
  t.is(violation?.text ?? null, null);
});

for (const minor of [0, 1]) {
  test(`a block of volume ${minor} that is marked on neither node is noticed there`, (t) => {
    const { violation } = played((world) => {
      quiet(world);
      const [a, b] = copies(world, minor);
      b?.disk.write(240 * 512, new Uint8Array(512).fill(7), true);
      t.truthy(a?.volume);
      world.runUntil(world.nowMs + 5000);
    });
    t.is(violation?.checker, 'bits');
    t.regex(violation?.text ?? '', new RegExp(`^drbd${minor}: sector 240`));
  });
}

test('what belongs to volume 1 and lies on volume 0 is noticed at the first read, or promotion', (t) => {
  const { violation } = played((world) => {
    quiet(world);
    const [from] = copies(world, 1);
    if (!from) return;
    const sector = writes(from).findIndex((id) => id > 0);
    for (const to of copies(world, 0)) {
      to.disk.write(sector * 512, from.disk.content(sector * 512, 512), true);
    }
    carryOut(world, 'serve on beta');
    world.runUntil(world.nowMs + 2000);
  });
  t.is(violation?.checker, 'promotion');
  t.regex(violation?.text ?? '', /^drbd0: .*foreign/);
});

test('each volume has its own disk, and its own end of a fault', (t) => {
  const scenario = parsed(`${PAIR}${SERVING}
at 6s disk beta volume 1 writes fail 100%
expect beta volume 1 Diskless within 5s
expect beta UpToDate/UpToDate
expect alpha volume 1 UpToDate/Diskless within 1s
at 14s disk beta volume 1 works
at 15s drbdadm attach volume 1 on beta
expect beta volume 1 UpToDate within 20s
expect no I/O error on alpha since 3s
at 40s settle
expect same data
`);
  t.is(runScenario(scenario, nodeDigests, null).violation?.text ?? null, null);
});

test('a drbdd that is killed resumes both, and both users wait', (t) => {
  const scenario = parsed(`${PAIR}${SERVING}
at 6s crash drbdd on alpha
after 2s expect alpha Primary/Secondary within 10s
expect alpha volume 1 Primary/Secondary within 5s
expect no I/O error on alpha since 3s
at 30s kill alpha
at 40s boot alpha
expect alpha volume 1 UpToDate within 20s
at 70s settle
expect same data
`);
  t.is(runScenario(scenario, nodeDigests, null).violation?.text ?? null, null);
});

test('a service that is being stopped, and waits for one volume, does not begin again on the other one', (t) => {
  const { violation } = played((world) => {
    const { alpha } = world.nodes;
    carryOut(world, 'drbdadm suspend-io volume 1 on alpha');
    world.runUntil(world.nowMs + 1000);
    carryOut(world, 'unserve on alpha');
    world.runUntil(world.nowMs + 1000);
    t.is(alpha.first.client, null);
    t.not(alpha.client, null);
    carryOut(world, 'look after the service');
    carryOut(world, 'serve on alpha');
    world.runUntil(world.nowMs + 1000);
    t.is(alpha.first.client, null);
    carryOut(world, 'drbdadm resume-io volume 1 on alpha');
    world.runUntil(world.nowMs + 1000);
    t.is(alpha.client, null);
    t.is(alpha.state?.role, Roles.Secondary);
  });
  t.is(violation?.text ?? null, null);
});

// The peer goes on with both volumes (fence-peer exit 3), and then its power fails.
test('outdate of a node whose first volume is Inconsistent: the second one can not be promoted either', (t) => {
  const scenario = parsed(`${PAIR}
set fencing resource-and-stonith
set fence-peer ssh
set resync-rate 20
set c-plan-ahead 0
${SERVING}
at 5s drbdadm invalidate volume 0 on beta
at 6s cut replication
expect beta volume 1 Outdated within 12s
expect alpha log "fence-peer: exit 3"
at 20s kill alpha
at 22s drbdadm primary volume 1 on beta
expect beta log "drbdadm primary r0/1: exit 17" within 10s
at 40s heal replication
at 41s boot alpha
at 60s serve on alpha
at 150s settle
expect same data
`);
  t.is(runScenario(scenario, nodeDigests, null).violation?.text ?? null, null);
});

/** Of both copies of a volume: in KiB, as their users see it. */
function sizesKib(world: World, minor: number): number[] {
  return copies(world, minor).map((r) => (r.volume?.sizeSectors ?? 0) / 2);
}

test('both volumes grow beside each other under load, and each gets its own new part copied', (t) => {
  const scenario = parsed(`${PAIR}
set resync-rate 200
set c-plan-ahead 0
${SERVING}
at 5s grow disk of alpha to 6MiB
at 5s grow disk of beta to 6MiB
at 5s grow disk of alpha volume 1 to 3MiB
at 5s grow disk of beta volume 1 to 3MiB
at 6s drbdadm resize on beta
expect alpha SyncSource within 2s
expect alpha volume 1 SyncSource within 2s
expect alpha log "size = 6104 KB" since 5s
at 11s reset replication
expect alpha UpToDate/UpToDate within 60s
expect alpha volume 1 UpToDate/UpToDate within 60s
expect no I/O error on alpha since 3s
at 150s settle
expect same data
`);
  t.is(runScenario(scenario, nodeDigests, null).violation?.text ?? null, null);
});

test('a volume of which one copy was let go, grew and was attached again: its meta-data are found, the other volume works on', (t) => {
  const { violation } = played((world) => {
    const [before = 0] = sizesKib(world, 1);
    const [first] = world.devices;
    const written = first?.ledger.writesAcked ?? 0;
    for (const node of ['alpha', 'beta']) {
      carryOut(world, `drbdadm detach volume 1 on ${node}`);
      world.runUntil(world.nowMs + 200);
      carryOut(world, `grow disk of ${node} volume 1 to 2060KiB`); // the areas of the meta-data overlap
      world.runUntil(world.nowMs + 200);
      carryOut(world, `drbdadm attach volume 1 on ${node}`);
      world.runUntil(world.nowMs + 3000);
    }
    carryOut(world, 'drbdadm resize volume 1 on beta');
    world.runUntil(world.nowMs + 5000);
    t.deepEqual(sizesKib(world, 1), [before + 12, before + 12]);
    t.deepEqual(sizesKib(world, 0), [4056, 4056]);
    t.true((first?.ledger.writesAcked ?? 0) > written + 100);
    for (const { state } of copies(world, 1)) t.is(state?.disk, Disks.UpToDate);
  });
  t.is(violation?.text ?? null, null);
});

test('a new part of volume 1 that is marked nowhere and differs is noticed there', (t) => {
  const { violation } = played((world) => {
    for (const node of ['alpha', 'beta']) carryOut(world, `grow disk of ${node} volume 1 to 3MiB`);
    carryOut(world, 'drbdadm resize --assume-clean volume 1 on alpha'); // it is not
    world.runUntil(world.nowMs + 5000);
  });
  t.regex(violation?.text ?? '', /^drbd1: sector/);
});

// Swarm 2400002796@8: volume 1 had dropped what came while it had no disk, and stored what came behind that.
test('writes that wait for the other volume, of a connection that is over: none is stored on a disk that was let go meanwhile', (t) => {
  for (const seed of [1, 2, 3]) {
    const scenario = parsed(`seed ${seed}
set heartbeat none
set second-volume 2MiB
set protocol A
set size 2MiB
set depth 8
set think 8ms
set connect-int 1
${SERVING}
at 5s disk beta volume 0 slow 300ms
at 8s half-open replication at beta
at 8.1s cut replication
at 8.2s drbdadm detach volume 1 on beta
at 10s drbdadm attach volume 1 on beta
at 14s kill beta
at 15s disk beta works
at 15s heal replication
at 16s boot beta
at 60s settle
expect same data
`);
    t.is(runScenario(scenario, nodeDigests, null).violation?.text ?? null, null);
  }
});
