/** A cluster with two resources: one drbdd on each node has both, each has its own connection, and what happens to one leaves the other alone. */
import test from 'ava';
import { Conns, Disks, Roles } from '../../src/drbd/state.js';
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
set second-resource 2MiB
set connect-int 1
set ping-int 2
set think 50ms
`;
const R1 = 1; // its minor

/** What a scenario breaks, or null. */
function broken(text: string): string | null {
  return runScenario(parsed(text), nodeDigests, null).violation?.text ?? null;
}

/** A pair that serves for some seconds; then `play`. */
function played(play: (world: World) => void, more = ''): RunResult {
  return playedFrom(`${PAIR}${more}${SERVING}`, 6000, play);
}

/** Of each sector of a disk, whose write it holds; 0: zeroes. */
function writes(r: Replica): number[] {
  const sectors = r.volume?.sizeSectors ?? 0;
  const bytes = r.disk.content(0, sectors * 512);
  return Array.from({ length: sectors }, (_, s) => contentOf(bytes, s * 512, s));
}

test('both resources are written, each over a connection of its own, and nothing is found in the other one', (t) => {
  const { violation } = played((world) => {
    carryOut(world, 'unserve on alpha');
    world.runUntil(world.nowMs + 2000);
    const [zero = new Set(), one = new Set()] = [0, R1].map(
      (minor) => new Set(copies(world, minor).flatMap(writes)),
    );
    t.true(zero.size > 20 && one.size > 20);
    t.deepEqual(
      [...one].filter((id) => id !== 0 && zero.has(id)),
      [],
    );
    const [r0, r1] = [0, R1].map((minor) => world.nodes.alpha.replica(minor).volume?.link);
    t.truthy(r0);
    t.truthy(r1);
    t.not(r0, r1);
  });
  t.is(violation?.text ?? null, null);
});

test('r1 is disconnected, goes down on the peer and comes back by adjust: r0 works, and its connection stays', (t) => {
  const { violation } = played((world) => {
    const { alpha, beta } = world.nodes;
    const link = alpha.first.volume?.link;
    const answered = () => world.device(0).ledger.writesAcked;
    for (const verb of ['disconnect resource r1', 'down resource r1']) {
      const before = answered();
      carryOut(world, `drbdadm ${verb} on beta`);
      world.runUntil(world.nowMs + 2000);
      t.true(answered() > before + 30);
    }
    t.is(beta.replica(R1).state, null);
    t.is(alpha.replica(R1).state?.conn, Conns.WFConnection);
    t.true(world.device(R1).truth.aloneWrites.alpha > 30);
    t.is(world.device(0).truth.aloneWrites.alpha, 0);
    carryOut(world, 'drbdadm adjust on beta');
    world.runUntil(world.nowMs + 10_000);
    t.is(beta.replica(R1).state?.disk, Disks.UpToDate);
    t.is(alpha.first.volume?.link, link);
  });
  t.is(violation?.text ?? null, null);
});

test('a resource in use does not go down, and leaves the other one as it is', (t) => {
  const { violation } = played((world) => {
    const { alpha } = world.nodes;
    carryOut(world, 'drbdadm down resource r1 on alpha');
    world.runUntil(world.nowMs + 1000);
    for (const minor of [0, R1]) {
      t.is(alpha.replica(minor).state?.role, Roles.Primary);
      t.is(alpha.replica(minor).state?.conn, Conns.Connected);
    }
  });
  t.is(violation?.text ?? null, null);
});

test('a stuck disk of r1 does not hold up r0', (t) => {
  const { violation } = played((world) => {
    const before = world.devices.map((d) => d.ledger.writesAcked);
    carryOut(world, 'disk beta volume r1/0 stuck');
    world.runUntil(world.nowMs + 3000);
    const more = world.devices.map((d, i) => d.ledger.writesAcked - (before[i] ?? 0));
    t.true((more[0] ?? 0) > 50);
    t.true((more[R1] ?? 0) < 10);
    carryOut(world, 'disk beta volume r1/0 works');
    world.runUntil(world.nowMs + 3000);
  });
  t.is(violation?.text ?? null, null);
});

for (const minor of [0, R1]) {
  test(`a block of drbd${minor} that is marked on neither node is noticed there`, (t) => {
    const { violation } = played((world) => {
      carryOut(world, 'unserve on alpha');
      world.runUntil(world.nowMs + 2000);
      copies(world, minor)[1]?.disk.write(240 * 512, new Uint8Array(512).fill(7), true);
      world.runUntil(world.nowMs + 5000);
    });
    t.is(violation?.checker, 'bits');
    t.regex(violation?.text ?? '', new RegExp(`^drbd${minor}: sector 240`));
  });
}

test('each resource is fenced by itself: outdate for r1 leaves the peer of r0 UpToDate', (t) => {
  t.is(
    broken(`${PAIR}
set fencing resource-only
set fence-peer ssh
${SERVING}
at 6s drbdadm disconnect --force resource r1 on beta
expect beta volume r1/0 Outdated within 5s
expect beta UpToDate/UpToDate
expect alpha log "fence-peer for r1: exit 4" since 6s
expect alpha no log "fence-peer: exit" since 6s
at 12s drbdadm connect resource r1 on beta
expect beta volume r1/0 UpToDate within 20s
at 40s settle
expect same data
`),
    null,
  );
});

test('r1 is to come after r0: it waits for its resync, also where drbdd was killed meanwhile', (t) => {
  t.is(
    broken(`${PAIR}
set resource-order r1-after-r0
set resync-rate 500
set c-plan-ahead 0
${SERVING}
at 5s drbdadm invalidate on beta
expect beta volume r1/0 PausedSyncT within 2s
expect beta SyncTarget
at 8s crash drbdd on beta
expect beta SyncTarget within 10s
expect beta volume r1/0 PausedSyncT within 2s
expect beta UpToDate/UpToDate within 60s
expect beta volume r1/0 UpToDate within 30s
at 120s settle
expect same data
`),
    null,
  );
});

test('a drbdd that is killed resumes both, and both users wait', (t) => {
  t.is(
    broken(`${PAIR}
set second-volume 2MiB
${SERVING}
at 6s crash drbdd on alpha
after 2s expect alpha Primary/Secondary within 10s
expect alpha volume 1 Primary/Secondary within 5s
expect alpha volume r1/0 Primary/Secondary within 5s
expect no I/O error on alpha since 3s
at 30s kill alpha
at 40s boot alpha
expect alpha volume r1/0 UpToDate within 20s
at 70s settle
expect same data
`),
    null,
  );
});

test('the service is on both resources, or on neither', (t) => {
  const { violation } = played((world) => {
    const { alpha, beta } = world.nodes;
    carryOut(world, 'unserve on alpha');
    world.runUntil(world.nowMs + 1000);
    carryOut(world, 'drbdadm primary resource r1 on beta');
    world.runUntil(world.nowMs + 1000);
    t.is(beta.first.state?.role, Roles.Secondary);
    t.is(beta.replica(R1).state?.role, Roles.Primary);
    carryOut(world, 'serve on alpha');
    world.runUntil(world.nowMs + 1000);
    t.is(alpha.client, null);
    t.is(alpha.first.state?.role, Roles.Secondary);
    carryOut(world, 'drbdadm secondary resource r1 on beta');
    carryOut(world, 'serve on alpha');
    world.runUntil(world.nowMs + 1000);
    for (const { client } of alpha.replicas) t.not(client, null);
  });
  t.is(violation?.text ?? null, null);
});

// Swarm 2400113001@8: the buffer that a write of r1 gave back was always taken by the next one of r1, and nothing of r0 was read any more.
test('a resource whose disk does not follow leaves the other one what it needs of the buffers', (t) => {
  const { violation } = played((world) => {
    carryOut(world, 'disk beta volume r1/0 slow 100ms');
    world.runUntil(world.nowMs + 10_000);
    t.true((world.nodes.beta.replica(R1).volume?.peerIo.unacked ?? 0) > 60);
    const before = world.devices.map((d) => d.ledger.writesAcked);
    world.runUntil(world.nowMs + 10_000);
    const [zero = 0, one = 0] = world.devices.map(
      (d, i) => d.ledger.writesAcked - (before[i] ?? 0),
    );
    t.true(zero > 1000, `${zero}`);
    t.true(one > 10, `${one}`);
  }, 'set protocol A\nset depth 32\nset think 40ms\nset ko-count 0\n');
  t.is(violation?.text ?? null, null);
});
