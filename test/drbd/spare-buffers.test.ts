/**
 * Data have all buffers that they can get: disks are attached and connections made all the same, with the spare ones
 * (src/host/buffer-pool.ts). Two engines in virtual time.
 */
import test from 'ava';
import type { BufferUse } from '../../src/base/buffer-use.js';
import { detach } from '../../src/drbd/disk-verbs.js';
import { Err } from '../../src/drbd/return-codes.js';
import type { Volume } from '../../src/drbd/volume.js';
import { block, inSync, type SimPair, type SimPairNode } from '../support/sim-pair.js';

/** All buffers that there are for this use: of devices, or whatever is there. */
function takeAll(node: SimPairNode, use: BufferUse = 'user'): readonly number[] {
  const taken: number[] = [];
  for (const bytes of [4096, 65536, 1 << 20]) {
    for (let at = node.io.alloc(bytes, use); at >= 0; at = node.io.alloc(bytes, use)) {
      taken.push(at);
    }
  }
  return taken;
}

function letGo(node: SimPairNode, v: Volume = node.volume): void {
  node.ask((volume, done) => detach(volume, false, done), v);
}

/** What the attach that is begun says; empty as long as it does not. */
function attachBegun(node: SimPairNode): unknown[] {
  const answers: unknown[] = [];
  node.beginAttach((failed) => answers.push(failed));
  return answers;
}

function detached(seed: number): SimPair {
  const pair = inSync(seed);
  letGo(pair.beta);
  return pair;
}

test('a disk is attached while the writes to another volume have all buffers', (t) => {
  const net = { protocol: 'A' } as const;
  const pair = inSync(1, { sizeBytes: 8 << 20, twoVolumes: true, net });
  const { alpha, beta } = pair;
  const { second } = beta;
  if (!second) throw new Error('there is no second volume');
  letGo(beta, second);
  beta.disk.slowMs = 3000;
  for (let i = 0; i < 300; i++) {
    alpha.beginWrite(i * 8, block(i));
    if (i % 50 === 0) pair.run(50);
  }
  pair.run(1000);
  t.is(beta.io.alloc(4096), -1);
  beta.attachTo(second);
  t.is(beta.io.alloc(4096), -1, 'the writes still have them');
  t.regex(beta.shownOf(second), /ds:Negotiating/); // the bitmaps come behind the writes
  beta.disk.slowMs = 0;
  pair.settled();
  pair.run(5000);
  t.is(pair.firstDifference(), -1);
});

test('a connection is made; what is resynchronised over it are data', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  t.is(alpha.write(64, block(2)), 0);
  const taken = takeAll(alpha);
  pair.net.reset('replication');
  alpha.until(/cs:(Unc|WFC)onnect/);
  alpha.until(/cs:SyncSource/);
  pair.run(100);
  for (const at of taken) alpha.io.free(at);
  pair.settled();
});

test('reads of a disk that hangs go to the peer', (t) => {
  const pair = inSync(1, { disk: { diskTimeoutDs: 10 } });
  const { alpha } = pair;
  t.is(alpha.write(64, block(2)), 0);
  alpha.disk.stuck = true;
  const at = alpha.io.alloc(4096);
  const read = alpha.begin((tag) => alpha.volume.read(alpha, tag, 64, at, 4096));
  takeAll(alpha);
  t.is(alpha.answer(read), 0);
  t.deepEqual(alpha.taken(read, at, 4096), block(2));
});

test('an attach waits for buffers where not even spare ones are left, and then goes on', (t) => {
  const pair = detached(1);
  const { beta } = pair;
  const taken = takeAll(beta, 'spare');
  const answers = attachBegun(beta);
  pair.run(5000);
  t.deepEqual(answers, []);
  t.regex(beta.shown, /ds:Attaching/);
  for (const at of taken) beta.io.free(at);
  pair.settled();
  t.deepEqual(answers, [null]);
});

test('not for ever', (t) => {
  const pair = detached(1);
  const { beta } = pair;
  const taken = takeAll(beta, 'spare');
  const answers = attachBegun(beta);
  pair.run(11_000);
  t.like(answers, [{ code: Err.NOMEM, info: ['no I/O buffers are free'] }]);
  t.regex(beta.shown, /ds:Diskless/);
  for (const at of taken) beta.io.free(at);
  beta.attach();
  pair.settled();
});

test('and not when it is let go meanwhile', (t) => {
  const pair = detached(1);
  const { beta } = pair;
  const taken = takeAll(beta, 'spare');
  const answers = attachBegun(beta);
  pair.run(1000);
  t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
  pair.run(1000);
  t.like(answers, [{ code: Err.NO_DISK }]);
  t.regex(beta.shown, /ds:Diskless/);
  for (const at of taken) beta.io.free(at);
  const buffers = beta.io.buffersInUse;
  beta.attach();
  pair.settled();
  letGo(beta);
  t.is(beta.io.buffersInUse, buffers);
});
