/**
 * resync-after: who waits, what is refused, and that waiting ends, also where two nodes are configured to wait for each other. The
 * chains as such, two nodes of a model with random chains, and two engines with two volumes in virtual time.
 */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { DEFAULT_DISK_OPTIONS } from '../../src/config/drbd-options.js';
import { detach, invalidateRemote, newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import {
  afterRefusal,
  type Device,
  isHeldByPeer,
  type Lookup,
  mustWait,
  type Ordered,
  ResyncOrder,
} from '../../src/drbd/resync-after.js';
import { setPrimary } from '../../src/drbd/roles.js';
import { Conns, encodeState } from '../../src/drbd/state.js';
import { COMMANDS } from '../../src/wire/constants.js';
import { stateCodec } from '../../src/wire/state-packets.js';
import { SimPair, type SimPairNode } from '../support/sim-pair.js';

const IDLE: Device = {
  minor: 0,
  after: -1,
  inResync: false,
  moves: false,
  waits: false,
  userPaused: false,
  peerPaused: false,
  peerWaits: false,
};
const RUNS = { inResync: true, moves: true };

function node(...devices: readonly Partial<Device>[]): Lookup {
  const all = devices.map((d, minor) => ({ ...IDLE, minor, ...d }));
  return (minor) => all[minor] ?? null;
}

// ---- chains

test('132, 133: a number that is none, and a cycle; a device that is not there ends the chain', (t) => {
  const find = node({ after: 1 }, { after: 2 }, {}, { after: 77 });
  t.is(afterRefusal(2, -1, find), null);
  for (const after of [-2, 1 << 20, 0.5, Number.NaN]) t.is(afterRefusal(2, after, find), 132);
  t.is(afterRefusal(2, 2, find), 133);
  t.is(afterRefusal(2, 1, find), 133);
  t.is(afterRefusal(2, 0, find), 133);
  t.is(afterRefusal(2, 3, find), null);
  t.is(afterRefusal(77, 3, find), 133); // though nobody has made it yet
  t.is(afterRefusal(9, 1_048_575, find), null);
});

test('a device waits for whatever of its chain is in a resync, or paused by anybody', (t) => {
  const waits = (...devices: Partial<Device>[]): boolean => {
    const find = node({ after: 1 }, ...devices);
    return mustWait(find(0) ?? IDLE, find);
  };
  t.false(waits({}));
  t.true(waits({ ...RUNS }));
  t.true(waits({ inResync: true }));
  for (const paused of ['waits', 'userPaused', 'peerPaused'] as const)
    t.true(waits({ [paused]: true }));
  t.true(waits({ after: 2 }, { ...RUNS }));
  t.false(waits({}, { ...RUNS }));
});

test('held by the peer: nothing moves, no operator wants it so, and the peer has a dependency of its own', (t) => {
  const held = (...devices: Partial<Device>[]): boolean => {
    const find = node({ after: 1, waits: true }, ...devices);
    return isHeldByPeer(find(0) ?? IDLE, find);
  };
  const theirs = { inResync: true, peerPaused: true, peerWaits: true };
  t.true(held(theirs));
  t.true(held({ after: 2, inResync: true, waits: true }, theirs));
  t.true(held({ ...theirs, after: 2 }, {}));
  t.false(held({ ...theirs, peerWaits: false }));
  t.false(held({ ...theirs, userPaused: true }));
  t.false(held({ ...theirs, after: 2 }, { ...RUNS }));
  t.false(held({ inResync: true, waits: true }));
});

// ---- two nodes of a model

/** So long a P_STATE is on its way at most, and a resync takes. */
const DELAY_MS = 400;
const TURN_MS = 100;

/** Volumes of one name on two nodes; both are paused by either, as in SyncSource and SyncTarget. */
class Model {
  readonly left: number[];
  readonly after: readonly [number[], number[]];
  readonly waits: readonly [boolean[], boolean[]];
  readonly heard: readonly [boolean[], boolean[]]; // of the other node's `waits`
  readonly orders: readonly [ResyncOrder, ResyncOrder];
  nowMs = 0;
  letGo = 0;
  #events: { atMs: number; run: () => void }[] = [];

  constructor(random: Prng, count: number) {
    const flags = (): [boolean[], boolean[]] => [
      new Array<boolean>(count).fill(false),
      new Array<boolean>(count).fill(false),
    ];
    this.left = Array.from({ length: count }, () =>
      random.chance(0.8) ? 1 + random.below(20) : 0,
    );
    this.waits = flags();
    this.heard = flags();
    this.after = [new Array<number>(count).fill(-1), new Array<number>(count).fill(-1)];
    this.orders = [new ResyncOrder(), new ResyncOrder()];
    for (const [n, order] of this.orders.entries()) {
      for (let minor = 0; minor < count; minor++) order.add(this.#ordered(n, minor, random));
      for (let i = 0; i < count; i++) {
        const [minor, after] = [random.below(count), random.below(count)];
        if (order.refusal(minor, after) === null) (this.after[n] as number[])[minor] = after;
      }
    }
  }

  #ordered(n: number, minor: number, random: Prng): Ordered {
    const model = this;
    const mine = (this.waits[n] as boolean[]) ?? [];
    return {
      get device(): Device {
        const inResync = (model.left[minor] ?? 0) > 0;
        const waits = mine[minor] ?? false;
        const peerPaused = model.heard[n]?.[minor] ?? false;
        const moves = inResync && !waits && !peerPaused;
        const after = model.after[n]?.[minor] ?? -1;
        return { ...IDLE, minor, after, inResync, moves, waits, peerPaused, peerWaits: peerPaused };
      },
      setWaits(waits) {
        mine[minor] = waits;
        model.#later(random.below(DELAY_MS), () => {
          (model.heard[1 - n] as boolean[])[minor] = mine[minor] ?? false;
          model.orders[1 - n]?.settle();
        });
      },
      after: (ms, run) => model.#later(ms, run),
      letGo: () => {
        model.letGo++;
      },
    };
  }

  #later(ms: number, run: () => void): void {
    this.#events.push({ atMs: this.nowMs + ms, run });
  }

  turn(): void {
    this.nowMs += TURN_MS;
    const due = this.#events.filter((e) => e.atMs <= this.nowMs);
    this.#events = this.#events.filter((e) => e.atMs > this.nowMs);
    for (const e of due) e.run();
    for (const [minor, left] of this.left.entries()) {
      if (
        left > 0 &&
        this.orders.every((_, n) => !this.waits[n]?.[minor] && !this.heard[n]?.[minor])
      )
        this.left[minor] = left - 1;
    }
    for (const order of this.orders) order.settle();
  }

  get over(): boolean {
    return this.left.every((left) => left === 0);
  }
}

test('any chains on either node: every resync ends, and then nobody waits', (t) => {
  let cycles = 0;
  for (let seed = 1; seed <= 1000; seed++) {
    const random = new Prng(seed);
    const count = 2 + random.below(6);
    const model = new Model(random, count);
    for (const order of model.orders) order.settle();
    const most = count * 11_000 + model.left.reduce((a, b) => a + b, 0) * TURN_MS + 60_000;
    while (!model.over && model.nowMs < most) model.turn();
    if (!model.over) {
      t.fail(`seed ${seed}: ${JSON.stringify({ after: model.after, left: model.left })}`);
      return;
    }
    const isFree = (): boolean => !model.waits.flat().some((waits) => waits);
    for (const endMs = model.nowMs + count * 11_000; !isFree() && model.nowMs < endMs; )
      model.turn();
    t.false(
      model.waits.flat().some((waits) => waits),
      `seed ${seed}`,
    );
    if (model.letGo > 0) cycles++;
  }
  t.log(`${cycles} of 1000 pairs of chains would have waited for ever`);
  t.true(cycles > 100);
});

test('chains that are the same on both nodes: one after the other, and nobody is let go', (t) => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = new Prng(seed);
    const model = new Model(random, 2 + random.below(6));
    (model.after[1] as number[]).splice(0, 99, ...(model.after[0] as number[]));
    for (const order of model.orders) order.settle();
    while (!model.over && model.nowMs < 300_000) model.turn();
    t.true(model.over);
    t.is(model.letGo, 0);
  }
});

// ---- engines

const SLOW = { cPlanAheadDs: 0, cMinRateKiBps: 0, resyncRateKiBps: 2000 };

function twoVolumes(): SimPair {
  const pair = new SimPair(1, { sizeBytes: 8 << 20, twoVolumes: true, disk: SLOW });
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.attach();
  for (const node of [alpha, beta]) node.connect();
  for (const node of [alpha, beta]) {
    for (const v of node.resource.volumes) {
      node.until(/cs:Connected .*Incon.*\/Incon/, v);
    }
  }
  for (const v of alpha.resource.volumes) {
    alpha.ask((o, done) => newCurrentUuid(o, true, done), v);
  }
  pair.settled();
  for (const v of alpha.resource.volumes) alpha.ask((o, done) => setPrimary(o, false, done), v);
  return pair;
}

const after = (node: SimPairNode, minor: number, resyncAfterMinor: number): number => {
  const v = node.resource.volumes[minor];
  if (!v) throw new Error(`minor ${minor}`);
  const options = { ...v.diskOptions, resyncAfterMinor };
  const reply = node.control({ verb: 'disk-options', minor, options });
  return reply.ok ? 0 : reply.code;
};

const conns = (node: SimPairNode): number[] => node.resource.volumes.map((v) => v.state.conn);
const { SyncTarget, PausedSyncT, PausedSyncS, SyncSource } = Conns;

function all(pair: SimPair): void {
  const { alpha } = pair;
  for (const v of alpha.resource.volumes) alpha.ask((o, done) => invalidateRemote(o, done), v);
  pair.run(300);
}

test('one after the other, on a pair: the second one waits on both nodes, and goes on at once', (t) => {
  const pair = twoVolumes();
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) t.is(after(node, 1, 0), 0);
  all(pair);
  t.deepEqual(conns(beta), [SyncTarget, PausedSyncT]);
  t.deepEqual(conns(alpha), [SyncSource, PausedSyncS]);
  t.like(alpha.second?.state, { aftrIsp: 1, peerIsp: 1 });
  const reply = alpha.control({ verb: 'resume-sync', minor: 1 });
  t.is(reply.ok ? 0 : reply.code, 156);
  // What the operator pauses is waited for as well.
  t.true(alpha.control({ verb: 'pause-sync', minor: 0 }).ok);
  pair.run(20_000);
  t.deepEqual(conns(beta), [PausedSyncT, PausedSyncT]);
  t.true(alpha.control({ verb: 'resume-sync', minor: 0 }).ok);
  beta.until(/cs:Connected/);
  pair.run(50);
  t.deepEqual(conns(beta)[1], SyncTarget);
  pair.settled();
  for (const v of [...alpha.resource.volumes, ...beta.resource.volumes]) t.is(v.state.aftrIsp, 0);
  t.is(pair.firstDifference(), -1);
});

test('disk-options while a resync runs: it waits from then on, or goes on; cycles and numbers are refused', (t) => {
  const pair = twoVolumes();
  const { alpha, beta } = pair;
  all(pair);
  t.deepEqual(conns(beta), [SyncTarget, SyncTarget]);
  t.is(after(beta, 0, 1), 0);
  pair.run(20);
  t.deepEqual(conns(beta), [PausedSyncT, SyncTarget]);
  t.deepEqual(conns(alpha), [PausedSyncS, SyncSource]);
  t.is(alpha.volume.peerWaits, true);
  t.is(after(beta, 1, 0), 133);
  t.is(after(beta, 1, 1), 133);
  t.is(after(beta, 1, 1 << 20), 132);
  t.is(beta.second?.diskOptions.resyncAfterMinor, -1);
  const reply = alpha.control({ verb: 'resume-sync', minor: 0 });
  t.is(reply.ok ? 0 : reply.code, 157);
  t.is(after(beta, 0, -1), 0);
  pair.run(20);
  t.deepEqual(conns(beta), [SyncTarget, SyncTarget]);
  t.is(after(beta, 1, 0), 0);
  pair.run(20);
  t.deepEqual(conns(beta), [SyncTarget, PausedSyncT]);
  // Who is waited for goes away: without a disk it has no options, and is in nobody's way.
  t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
  pair.run(100);
  t.is(conns(beta)[1], SyncTarget);
  beta.attachTo(beta.volume);
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

// The originals wait for ever: each node pauses what the other one waits for.
test('here 1 after 0, there 0 after 1: one of them is let go, both are done', (t) => {
  for (const both of [true, false]) {
    const pair = twoVolumes();
    const { alpha, beta } = pair;
    t.is(after(alpha, 1, 0), 0);
    t.is(after(beta, 0, 1), 0);
    if (both) all(pair);
    else alpha.ask((v, done) => invalidateRemote(v, done));
    pair.run(3000);
    const moving = [SyncTarget, SyncSource] as readonly number[];
    t.false(conns(beta).some((conn) => moving.includes(conn)));
    pair.settled();
    t.is(pair.firstDifference(), -1);
    const said = [alpha, beta].some((n) => n.log.some((line) => line.includes('in turn')));
    t.true(said);
    pair.run(1000);
    for (const v of [...alpha.resource.volumes, ...beta.resource.volumes]) {
      t.like(v.state, { aftrIsp: 0, peerIsp: 0 });
    }
  }
});

test('a connection that is lost while something waits: nothing of it is left', (t) => {
  const pair = twoVolumes();
  const { alpha, beta } = pair;
  t.is(after(alpha, 1, 0), 0);
  all(pair);
  t.deepEqual(conns(beta), [SyncTarget, PausedSyncT]);
  pair.net.reset('replication');
  alpha.until(/cs:(WFConnection|Unconnected)/);
  t.is(alpha.second?.peerWaits, false);
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

/** Each is free to come after the other when it is asked for; what comes of it is known later. */
test('two disks that come after each other are attached at once: the second one is refused', (t) => {
  const pair = twoVolumes();
  const { beta } = pair;
  for (const v of beta.resource.volumes)
    t.is(beta.ask((o, done) => detach(o, true, done), v).kind, 'ok');
  pair.run(2000);
  const codes: number[] = [];
  for (const minor of [0, 1]) {
    const disk = minor === 0 ? '/dev/lower' : '/dev/lower1';
    const options = { ...DEFAULT_DISK_OPTIONS, ...SLOW, resyncAfterMinor: 1 - minor };
    beta.begins(
      { verb: 'attach', minor, disk, metaDisk: disk, metaIndex: 'internal', options },
      (reply) => codes.push(reply.ok ? 0 : reply.code),
    );
  }
  pair.until(() => codes.length === 2, 'both answers');
  t.deepEqual(
    [...codes].sort((a, b) => a - b),
    [0, 133],
  );
  const refused = beta.resource.volumes.find((v) => v.dataDisk < 0);
  if (!refused) throw new Error('both are attached');
  beta.attachTo(refused);
  pair.settled();
});

test('disk-options that wait for the activity log while the other device is attached: a cycle is refused all the same', (t) => {
  const pair = twoVolumes();
  const { alpha } = pair;
  const [first, second] = alpha.resource.volumes;
  if (!first || !second) throw new Error('two volumes');
  const codes: number[] = [];
  for (const [v, minor] of [
    [first, 1],
    [second, 0],
  ] as const) {
    const options = { ...v.diskOptions, alExtents: 127, resyncAfterMinor: minor };
    alpha.begins({ verb: 'disk-options', minor: v.minor, options }, (reply) =>
      codes.push(reply.ok ? 0 : reply.code),
    );
  }
  pair.until(() => codes.length === 2, 'both answers');
  t.deepEqual(codes, [0, 133]);
  t.is(second.diskOptions.resyncAfterMinor, -1);
  for (const v of [first, second]) t.is(alpha.write(0, new Uint8Array(4096).fill(7), v), 0);
  t.is(after(alpha, 1, -1), 0);
});

/** As a kernel does, which lets nobody go: what was paused by its operator is held by a dependency from now on. Here nothing changes. */
test('the peer pauses for another reason than before: it is let go in time', (t) => {
  const pair = twoVolumes();
  const { alpha, beta } = pair;
  t.is(after(alpha, 1, 0), 0);
  t.true(beta.control({ verb: 'pause-sync', minor: 0 }).ok);
  all(pair);
  pair.run(20_000);
  t.deepEqual(conns(beta), [PausedSyncT, PausedSyncT]);
  beta.loop.enter(() => {
    const state = encodeState({ ...beta.volume.state, userIsp: 0, aftrIsp: 1 });
    beta.resource.link?.out.onData(COMMANDS.P_STATE, 0, 4, stateCodec, { state });
  });
  pair.run(12_000);
  t.is(alpha.second?.state.aftrIsp, 0);
  beta.until(/cs:Connected/, beta.second ?? undefined);
});
