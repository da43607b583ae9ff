/**
 * Options that change on a pair that is connected: what the peer hears, from which packet on, and what is refused. Two engines
 * in virtual time; alpha is Primary unless it says so.
 */
import test from 'ava';
import type { DiskOptions, NetOptions } from '../../src/config/drbd-options.js';
import { detach, newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import { sendSyncParam } from '../../src/drbd/params.js';
import { setPrimary } from '../../src/drbd/roles.js';
import type { ControlReply } from '../../src/host/control.js';
import { MDF } from '../../src/md/superblock.js';
import { COMMANDS, DP } from '../../src/wire/constants.js';
import { newData, readData } from '../../src/wire/hot.js';
import { packetsSent } from '../support/packets-sent.js';
import { block, inSync, SimPair, type SimPairNode } from '../support/sim-pair.js';

const EXTENT_SECTORS = (4 << 20) / 512;

function noise(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = Math.imul(i + seed, 2654435761) >>> 24;
  return bytes;
}

const net = (node: SimPairNode, options: Partial<NetOptions>): ControlReply =>
  node.control({
    verb: 'net-options',
    resource: 'r0',
    options: { ...node.resource.netOptions, ...options },
  });
const disk = (node: SimPairNode, options: Partial<DiskOptions>): ControlReply =>
  node.control({
    verb: 'disk-options',
    minor: 0,
    options: { ...node.volume.diskOptions, ...options },
  });
const codeOf = (reply: ControlReply): number => (reply.ok ? 0 : reply.code);

function settled(pair: SimPair): void {
  pair.run(1000);
  for (const node of [pair.alpha, pair.beta]) {
    if (!/cs:Connected .* ds:UpToDate.UpToDate/.test(node.shown)) throw new Error(node.shown);
  }
  if (pair.firstDifference() >= 0) throw new Error(`sector ${pair.firstDifference()} differs`);
}

// ---- the protocol

test('protocol: whichever node changes it, both have it, and the next write asks for the acknowledgement of it', (t) => {
  const pair = inSync(1, {});
  const { alpha, beta } = pair;
  const sent = packetsSent(pair, 101);
  const flags = { A: 0, B: DP.SEND_RECEIVE_ACK, C: DP.SEND_WRITE_ACK };
  for (const [i, letter] of (['A', 'B', 'C', 'A', 'C', 'B'] as const).entries()) {
    const node = i % 2 === 0 ? alpha : beta;
    t.true(net(node, { protocol: letter }).ok);
    pair.run(20);
    for (const n of [alpha, beta]) t.is(n.resource.netOptions.protocol, letter);
    t.is(alpha.write(i * 8, block(i)), 0);
    pair.run(500);
    const data = newData();
    const [last] = sent.filter((p) => p.command === COMMANDS.P_DATA).slice(-1);
    readData(last?.body ?? new DataView(new ArrayBuffer(24)), 0, data);
    t.is(data.flags & (DP.SEND_RECEIVE_ACK | DP.SEND_WRITE_ACK), flags[letter], letter);
    t.is(sent.filter((p) => p.command === COMMANDS.P_PROTOCOL_UPDATE).length, i + 1);
  }
  settled(pair);
});

test('protocol, under load: each write is answered as it was begun, no barrier is taken for wrong, nothing is lost', (t) => {
  for (let seed = 1; seed <= 6; seed++) {
    const pair = inSync(seed, { pieceBytes: 3000 });
    const { alpha, beta } = pair;
    t.is(alpha.write(0, block(1)), 0);
    const tags: number[] = [];
    const letters = ['A', 'C', 'B', 'A', 'B', 'C', 'B', 'C', 'A'] as const;
    for (const [i, protocol] of letters.entries()) {
      for (let k = 0; k < 8; k++) tags.push(alpha.beginWrite((i * 8 + k) * 8, noise(k, 4096)));
      if (i % 3 === 1) tags.push(alpha.begin((tag) => alpha.volume.flush(alpha, tag)));
      const node = (i + seed) % 2 === 0 ? alpha : beta;
      t.true(net(node, { protocol, maxEpochSize: 1 + ((i * seed) % 5) }).ok);
      pair.run(((i * seed) % 4) * 0.2);
    }
    for (const tag of tags) t.is(alpha.answer(tag), 0);
    settled(pair);
    t.is(alpha.resource.protocolInForce, alpha.resource.netOptions.protocol);
    t.false(alpha.log.some((line) => /BAD!|BarrierAck/.test(line)));
  }
});

test('from A to C: a flush waits for what was answered under A, and so long A is what has to be reckoned with', (t) => {
  const pair = inSync(1, { net: { protocol: 'A', koCount: 0 } });
  const { alpha, beta } = pair;
  beta.disk.stuck = true;
  t.is(alpha.write(8, block(1)), 0);
  t.true(net(alpha, { protocol: 'C' }).ok);
  pair.run(2000);
  t.is(alpha.resource.protocolInForce, 'A');
  const written = alpha.beginWrite(16, block(2));
  const flushed = alpha.begin((tag) => alpha.volume.flush(alpha, tag));
  pair.run(2000);
  t.is(alpha.peek(written), undefined);
  t.is(alpha.peek(flushed), undefined);
  beta.disk.stuck = false;
  t.is(alpha.answer(written), 0);
  t.is(alpha.answer(flushed), 0);
  pair.run(500);
  t.is(alpha.resource.protocolInForce, 'C');
  settled(pair);
});

test('from C to A: a write that was begun under C is answered when the peer has written it', (t) => {
  const pair = inSync(1, { net: { koCount: 0 } });
  const { alpha, beta } = pair;
  t.is(alpha.write(0, block(1)), 0); // its extent is hot
  for (const node of [alpha, beta]) node.disk.stuck = true;
  const begun = alpha.beginWrite(8, block(1));
  pair.run(20);
  t.true(net(alpha, { protocol: 'A' }).ok);
  alpha.disk.stuck = false;
  t.is(alpha.write(16, block(2)), 0);
  t.is(alpha.peek(begun), undefined);
  beta.disk.stuck = false;
  t.is(alpha.answer(begun), 0);
  settled(pair);
});

// What a flush has promised since is on this disk alone: its users must not be given the peer's in exchange.
test('from C to A: what was written under C and flushed under A is known to be ahead of a peer that is lost', (t) => {
  for (const changed of [true, false]) {
    const pair = inSync(1, {});
    const { alpha, beta } = pair;
    t.is(alpha.write(8, block(1)), 0);
    beta.disk.stuck = true;
    if (changed) {
      t.true(net(alpha, { protocol: 'A' }).ok);
      t.is(alpha.flush(), 0);
      t.true(net(alpha, { protocol: 'C' }).ok);
    }
    pair.net.cut('replication');
    pair.net.reset('replication');
    alpha.until(/cs:WFConnection/);
    t.is(alpha.volume.ahead, changed);
  }
});

test('after-sb policies and rates: the peer has them too, discard-local as discard-remote', (t) => {
  const pair = inSync(1, {});
  const { alpha, beta } = pair;
  const after = {
    afterSb0pri: 'discard-local',
    afterSb1pri: 'discard-secondary',
    afterSb2pri: 'violently-as0p',
  };
  t.true(net(beta, after).ok);
  t.true(disk(beta, { resyncRateKiBps: 777, cPlanAheadDs: 33, cMinRateKiBps: 11 }).ok);
  pair.run(50);
  t.like(alpha.resource.netOptions, { ...after, afterSb0pri: 'discard-remote' });
  t.like(alpha.volume.diskOptions, { resyncRateKiBps: 777, cPlanAheadDs: 33 });
  t.not(alpha.volume.diskOptions.cMinRateKiBps, 11); // is nobody else's business
  // A new connection is of one mind.
  pair.net.reset('replication');
  alpha.until(/cs:(WFConnection|Unconnected)/);
  pair.settled();
});

test('what the peer told is kept for a successor of the engine', (t) => {
  const pair = inSync(1, {});
  const { alpha, beta } = pair;
  const told = alpha.toldToSave;
  t.true(net(beta, { protocol: 'B', verifyAlg: 'md5' }).ok);
  pair.run(50);
  t.is(alpha.toldToSave, told + 2);
  t.deepEqual(alpha.restart(), []);
  pair.settled();
  t.is(alpha.resource.netOptions.protocol, 'B');
});

// ---- the digest of what is sent

test('data-integrity-alg: from the packet behind the update on, each direction by itself, while writes are on their way', (t) => {
  for (const pieceBytes of [1460, 65536]) {
    const pair = inSync(1, { pieceBytes });
    const { alpha, beta } = pair;
    const tags: number[] = [];
    const some = (): void => {
      for (let k = 0; k < 6; k++) {
        const at = tags.length * 24;
        tags.push(alpha.beginWrite(at, noise(tags.length, 512 * (1 + (k % 3) * 11))));
      }
    };
    t.is(alpha.write(0, block(1)), 0);
    for (const dataIntegrityAlg of ['crc32c', 'sha512', '', 'md5']) {
      some();
      t.true(net(alpha, { dataIntegrityAlg }).ok);
      some();
    }
    for (const tag of tags) t.is(alpha.answer(tag), 0);
    settled(pair);
    t.is(alpha.resource.link?.sends.alg, 'md5');
    t.is(beta.resource.link?.receives.alg, 'md5');
    t.is(beta.resource.link?.sends.alg, '');
    t.is(beta.resource.netOptions.dataIntegrityAlg, ''); // its own, of what it sends
    t.false([alpha, beta].some((n) => n.log.some((line) => line.includes('FAILED'))));
    // The other way: reads of a Primary without its disk.
    t.true(net(beta, { dataIntegrityAlg: 'sha1' }).ok);
    t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
    alpha.until(/ds:Diskless/);
    t.deepEqual([...alpha.read(0, 512)], [...noise(0, 512)]);
    t.is(alpha.resource.link?.receives.alg, 'sha1');
  }
});

test('data-integrity-alg: what came before the update is checked by the digest that it came with, though both are read at once', (t) => {
  const pair = inSync(1, { pieceBytes: 1 << 20, net: { dataIntegrityAlg: 'md5' } });
  const { alpha, beta } = pair;
  t.is(alpha.write(0, block(1)), 0); // its extent is hot: further ones are sent at once
  pair.net.cut('replication');
  const tags: number[] = [];
  for (const dataIntegrityAlg of ['sha512', 'crc32c', 'sha1']) {
    for (let k = 0; k < 3; k++) tags.push(alpha.beginWrite(tags.length * 8, noise(k, 4096)));
    t.true(net(alpha, { dataIntegrityAlg }).ok);
  }
  pair.run(50);
  pair.net.heal('replication');
  for (const tag of tags) t.is(alpha.answer(tag), 0);
  t.false(beta.log.some((line) => line.includes('FAILED')));
  settled(pair);
});

test('data-integrity-alg that differs is found by the next handshake, not before; one that is unknown here at once', (t) => {
  const pair = inSync(1, {});
  const { alpha } = pair;
  t.true(net(alpha, { dataIntegrityAlg: 'sha1' }).ok);
  t.is(alpha.write(0, block(1)), 0);
  settled(pair);
  pair.net.reset('replication');
  alpha.until(/cs:StandAlone/);
  t.true(alpha.log.some((line) => line.includes('incompatible data-integrity-alg settings')));

  const other = inSync(2, {});
  other.beta.unknownDigests.add('sha3-256');
  t.true(net(other.alpha, { dataIntegrityAlg: 'sha3-256' }).ok);
  other.beta.until(/cs:StandAlone/);
  const text = 'peer data-integrity-alg sha3-256 not supported';
  t.true(other.beta.log.some((line) => line.includes(text)));
});

test('a digest that is changed while the handshake is on its way is compared as it was announced', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.attach();
  for (const node of [alpha, beta]) node.connect();
  pair.until(() => alpha.resource.link !== null, 'a link');
  t.is(alpha.resource.link?.peerProtocol, null);
  t.true(net(alpha, { dataIntegrityAlg: 'sha1', verifyAlg: 'md5', protocol: 'B' }).ok);
  for (const node of [alpha, beta]) node.until(/cs:Connected/);
  pair.run(100);
  t.is(beta.resource.link?.receives.alg, 'sha1');
  t.like(beta.resource.netOptions, { verifyAlg: 'md5', protocol: 'B' });
});

// ---- names

test('verify-alg and csums-alg: taken over by name, and given up by a node that does not know it', (t) => {
  const pair = inSync(1, {});
  const { alpha, beta } = pair;
  t.true(net(alpha, { verifyAlg: 'sha256', csumsAlg: 'crc32c' }).ok);
  pair.run(50);
  t.like(beta.resource.netOptions, { verifyAlg: 'sha256', csumsAlg: 'crc32c' });
  t.true(beta.log.some((line) => line.includes('using verify-alg: "sha256"')));
  pair.net.reset('replication');
  alpha.until(/cs:(WFConnection|Unconnected)/);
  pair.settled();
  const { link } = alpha.resource;
  alpha.resource.netOptions = { ...alpha.resource.netOptions, verifyAlg: 'xxhash64' };
  if (link) alpha.loop.enter(() => sendSyncParam(link, alpha.volume));
  beta.until(/cs:StandAlone/);
  t.true(beta.log.some((line) => line.includes('Can not allocate "xxhash64" as verify-alg')));
});

// ---- refusals

test('what can not be had is refused with the code of the original, and nothing of it is taken', (t) => {
  const pair = inSync(1, { disk: { fencing: 'resource-and-stonith' } });
  const { alpha, beta } = pair;
  const before = alpha.resource.netOptions;
  const cases: readonly (readonly [number, Partial<NetOptions>])[] = [
    [139, { allowTwoPrimaries: true }],
    [154, { protocol: 'A' }],
    [155, { onCongestion: 'pull-ahead' }],
    [141, { dataIntegrityAlg: 'RSA-MD5' }],
    [141, { dataIntegrityAlg: 'crct10dif' }],
    [142, { dataIntegrityAlg: 'hmac(sha1)' }],
    [144, { csumsAlg: 'shake128' }],
    [145, { csumsAlg: 'aes' }],
    [146, { verifyAlg: 'SHA1' }],
    [147, { verifyAlg: 'cmac(aes)' }],
    [120, { cramHmacAlg: 'crc32c', sharedSecret: 'x' }],
    [121, { cramHmacAlg: 'michael_mic', sharedSecret: 'x' }],
    [120, { cramHmacAlg: 'sha1', sharedSecret: '' }],
  ];
  for (const [code, options] of cases) {
    const reply = net(alpha, { ...options, timeoutDs: 599, afterSb0pri: 'discard-local' });
    t.is(codeOf(reply), code, JSON.stringify(options));
    t.is(alpha.resource.netOptions, before);
  }
  pair.run(50);
  t.is(beta.resource.netOptions.afterSb0pri, 'disconnect');
  const other = inSync(1, { net: { protocol: 'A' } });
  const old = other.alpha.volume.diskOptions;
  t.is(codeOf(disk(other.alpha, { fencing: 'resource-and-stonith', resyncRateKiBps: 5 })), 154);
  t.is(other.alpha.volume.diskOptions, old);
});

test('csums-alg stays while a resync runs, and so does nothing else', (t) => {
  const pair = new SimPair(1, {
    sizeBytes: 4 << 20,
    disk: { cPlanAheadDs: 0, resyncRateKiBps: 400 },
  });
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.attach();
  for (const node of [alpha, beta]) node.connect();
  for (const node of [alpha, beta]) node.until(/cs:Connected/);
  const reply = alpha.control({ verb: 'primary', minor: 0, force: true });
  t.true(reply.ok);
  beta.until(/cs:SyncTarget/);
  for (const node of [alpha, beta]) {
    t.is(codeOf(net(node, { csumsAlg: 'md5', protocol: 'B' })), 148);
    t.is(node.resource.netOptions.protocol, 'C');
  }
  t.true(net(beta, { protocol: 'B', dataIntegrityAlg: 'md5' }).ok);
  t.true(net(alpha, { dataIntegrityAlg: 'sha1' }).ok);
  t.true(disk(alpha, { resyncRateKiBps: 1 << 20 }).ok);
  pair.run(20);
  t.is(beta.volume.diskOptions.resyncRateKiBps, 1 << 20);
  pair.settled();
  settled(pair);
  t.true(net(alpha, { csumsAlg: 'md5' }).ok);
});

test('below version 100 the peer can not be told: 163, and the rest is taken', (t) => {
  for (const protocolMax of [86, 88, 94, 99]) {
    const pair = inSync(1, { dialect: { protocolMax, features: 0 } });
    const { alpha, beta } = pair;
    t.is(codeOf(net(alpha, { protocol: 'A', pingIntS: 77 })), 163);
    t.is(codeOf(net(alpha, { dataIntegrityAlg: 'md5' })), 163);
    t.is(alpha.resource.netOptions.pingIntS, 10);
    t.true(net(alpha, { pingIntS: 77, maxBuffers: 999, verifyAlg: 'md5' }).ok);
    t.true(disk(alpha, { resyncRateKiBps: 555 }).ok);
    pair.run(50);
    t.is(beta.resource.netOptions.verifyAlg, protocolMax >= 88 ? 'md5' : '');
    t.is(beta.volume.diskOptions.resyncRateKiBps, 555);
    t.is(alpha.write(0, block(3)), 0);
    settled(pair);
  }
});

test('an update from a peer of version 99, or with numbers that mean nothing, ends the connection, not the engine', (t) => {
  for (const [protocolMax, at, value] of [
    [99, 0, 1],
    [101, 0, 4],
    [101, 0, 0],
    [101, 4, 11],
    [101, 12, 0xffffffff],
  ] as const) {
    const pair = inSync(1, { dialect: { protocolMax, features: 0 } });
    const { alpha, beta } = pair;
    const { link } = beta.resource;
    const body = new DataView(new ArrayBuffer(25));
    body.setUint32(0, 3);
    body.setUint32(at, value);
    const codec = {
      encode: (_: null, view: DataView, to: number) => {
        for (let i = 0; i < 25; i++) view.setUint8(to + i, body.getUint8(i));
      },
      decode: () => null,
    };
    beta.loop.enter(() => link?.out.onData(COMMANDS.P_PROTOCOL_UPDATE, 0, 25, codec, null));
    pair.until(() => alpha.resource.link !== link && !link?.alive, 'the end of the connection');
    pair.settled();
    t.is(alpha.resource.netOptions.protocol, 'C');
    t.true(alpha.log.some((line) => line.includes('P_PROTOCOL_UPDATE')));
  }
});

test('a secret that is changed while nobody is connected holds from the next attempt on', (t) => {
  for (const both of [true, false]) {
    const pair = inSync(1, { net: { cramHmacAlg: 'sha1', sharedSecret: 'one' } });
    const { alpha, beta } = pair;
    pair.net.cut('replication');
    pair.net.reset('replication');
    for (const node of [alpha, beta]) node.until(/cs:WFConnection/);
    t.true(net(alpha, { sharedSecret: 'two' }).ok);
    if (both) t.true(net(beta, { sharedSecret: 'two' }).ok);
    pair.net.heal('replication');
    if (both) pair.settled();
    else {
      // Whoever looks first; the other one tries on.
      const isAlone = (node: SimPairNode): boolean => /cs:StandAlone/.test(node.shown);
      pair.until(() => isAlone(alpha) || isAlone(beta), 'StandAlone');
    }
  }
});

// ---- the activity log

/** 80 extents, alike from the start. */
function large(): SimPair {
  const pair = new SimPair(1, { sizeBytes: 320 << 20 });
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.attach();
  for (const node of [alpha, beta]) node.connect();
  for (const node of [alpha, beta]) node.until(/cs:Connected .*Incon.*\/Incon/);
  alpha.ask((v, done) => newCurrentUuid(v, true, done));
  pair.settled();
  alpha.ask((v, done) => setPrimary(v, false, done));
  return pair;
}

test('al-extents under load: writes wait for it, none is lost, and the log of the new size covers them', (t) => {
  const pair = large();
  const { alpha } = pair;
  const tags: number[] = [];
  for (let i = 0; i < 60; i++) tags.push(alpha.beginWrite(i * EXTENT_SECTORS, block(i)));
  t.true(disk(alpha, { alExtents: 67 }).ok);
  for (const tag of tags) t.is(alpha.answer(tag), 0);
  for (let i = 0; i < 70; i++) t.is(alpha.write(i * EXTENT_SECTORS, block(i)), 0);
  t.is(alpha.volume.log.usedExtents().length, 67);
  t.is(alpha.volume.superblock().alExtents, 67);
  settled(pair);
  // After a crash what was hot is marked, what the new log says of it as well as what the old one did.
  pair.net.cut('replication');
  t.is(alpha.write(3 * EXTENT_SECTORS + 64, block(99)), 0);
  alpha.crash(true);
  alpha.attach();
  const bits = alpha.volume.bitmap;
  t.true((bits?.count ?? 0) >= 67 * 1024);
  for (let i = 3; i < 70; i++) t.true(bits?.isSet(i * 1024), `extent ${i}`);
});

test('al-updates: switched off, a crash copies everything; on again, what is hot', (t) => {
  for (const again of [false, true]) {
    const pair = large();
    const { alpha } = pair;
    t.is(alpha.write(0, block(1)), 0);
    t.true(disk(alpha, { alUpdates: false }).ok);
    t.not(alpha.volume.superblock().flags & MDF.AL_DISABLED, 0);
    for (let i = 10; i < 20; i++) t.is(alpha.write(i * EXTENT_SECTORS, block(2)), 0);
    if (again) {
      t.true(disk(alpha, { alUpdates: true }).ok);
      for (let i = 15; i < 25; i++) t.is(alpha.write(i * EXTENT_SECTORS, block(3)), 0);
    }
    pair.net.cut('replication');
    alpha.crash(true);
    alpha.attach();
    const { bitmap } = alpha.volume;
    t.is(bitmap?.count === bitmap?.bits, !again);
    for (let i = 15; i < 25; i++) t.is(bitmap?.isSet(i * 1024), again || true);
    t.is(bitmap?.isSet(40 * 1024), !again);
  }
});

// Swarm seed 1993118619: a connect waited behind many of them.
test('al-extents while I/O is suspended with a write under way: refused at once', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  alpha.disk.stuck = true;
  const stuck = alpha.beginWrite(0, block(1));
  t.true(alpha.control({ verb: 'suspend-io', minor: 0 }).ok);
  const before = pair.world.nowMs;
  t.is(codeOf(disk(alpha, { alExtents: 67 })), 162);
  t.true(pair.world.nowMs - before < 1000);
  alpha.disk.stuck = false;
  t.true(alpha.control({ verb: 'resume-io', minor: 0 }).ok);
  t.is(alpha.answer(stuck), 0);
  t.true(disk(alpha, { alExtents: 67 }).ok);
  settled(pair);
});

test('al-extents while a write does not end: refused after a while, with the reason; nothing of it is taken, and writes go on', (t) => {
  const pair = inSync(1, { net: { koCount: 0 } });
  const { alpha, beta } = pair;
  beta.disk.stuck = true;
  const stuck = alpha.beginWrite(0, block(1));
  pair.run(20);
  const reply = disk(alpha, { alExtents: 67, resyncRateKiBps: 9999 });
  t.is(codeOf(reply), 162);
  t.false(reply.ok || !reply.info.some((line) => line.includes('Activity log still in use!')));
  t.not(alpha.volume.diskOptions.alExtents, 67);
  t.not(alpha.volume.diskOptions.resyncRateKiBps, 9999);
  beta.disk.stuck = false;
  t.is(alpha.answer(stuck), 0);
  t.is(alpha.write(8, block(2)), 0);
  t.true(disk(alpha, { alExtents: 67 }).ok);
  t.is(alpha.write(16, block(3)), 0);
  settled(pair);
});

test('al-extents, and the disk is let go before the log is empty: refused, whoever waited goes on through the peer', (t) => {
  const pair = inSync(1, { net: { koCount: 0 } });
  const { alpha, beta } = pair;
  beta.disk.stuck = true;
  const first = alpha.beginWrite(0, block(1));
  pair.run(20);
  const answers: ControlReply[] = [];
  const options = { ...alpha.volume.diskOptions, alExtents: 67 };
  alpha.begins({ verb: 'disk-options', minor: 0, options }, (reply) => answers.push(reply));
  const second = alpha.beginWrite(8, block(2));
  pair.run(20);
  t.is(codeOf(disk(alpha, { alExtents: 99 })), 162); // one at a time
  const gone = alpha.ask((v, done) => detach(v, true, done));
  t.is(gone.kind, 'ok');
  beta.disk.stuck = false;
  t.is(alpha.answer(first), 0);
  t.is(alpha.answer(second), 0);
  alpha.until(/ds:Diskless/);
  t.deepEqual(answers.map(codeOf), [138]);
  alpha.attach();
  pair.settled();
  settled(pair);
});

test('write ordering: from drain to flush, a flush that fails takes nothing for durable that was written before', (t) => {
  const pair = inSync(1, { disk: { diskFlushes: false, onIoError: 'pass_on' } });
  const { alpha, beta } = pair;
  t.is(alpha.write(8, block(1)), 0);
  t.true(disk(beta, { diskFlushes: true }).ok);
  beta.disk.faults.flushChance = 1;
  const flushed = alpha.begin((tag) => alpha.volume.flush(alpha, tag));
  alpha.answer(flushed);
  pair.run(500);
  t.true(alpha.volume.bitmap?.isSet(1));
  beta.disk.faults.flushChance = 0;
});
