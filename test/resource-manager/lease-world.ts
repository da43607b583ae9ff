/**
 * Two nodes with one service, a witness and bad weather, for the property of the lease: what resource-manager/lease.ts says is done
 * by nodes as simple as can be, with the real witness. Each machine has a clock of its own.
 *
 * A `mistake` is one that an implementation could make; the property has to see it.
 */
import { Prng } from '../../src/base/prng.js';
import { type WitnessEffect, WitnessServer } from '../../src/host/witness-server.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import type { ArbiterAnswer } from '../../src/resource-manager/answers.js';
import { counted, DRIFT, Lease, type LeaseConfig } from '../../src/resource-manager/lease.js';
import { decodeWitness, encodeWitness, type WitnessMessage } from '../../src/wire/witness.js';

const KEEPALIVE = 500;
const BOOT = 8000;
const KEY = new TextEncoder().encode('a key for the property');
const SILENT: ArbiterAnswer = { verdict: 'silent' };

export type Mistake =
  | 'none'
  | 'lease counted from the answer'
  | 'proof counted from its arrival'
  | 'no allowance for drift'
  | 'begins at once'
  | 'asked before the peer was held for dead'
  | 'lease not looked at when it begins'
  | 'witness is not silent after its start'
  | 'release of an older life is believed'
  | 'no watchdog'
  | 'stop-limit is not kept';

/** `ordinary`; a short `lease`, also for lines that take seconds; `stop-limit` longer than the lease; `slow`: times so long that drift is more than a keepalive. */
export const TIMES = {
  ordinary: { deadtimeMs: 8000, leaseMs: 6000, stopLimitMs: 4000 },
  lease: { deadtimeMs: 20_000, leaseMs: 6000, stopLimitMs: 2000 },
  'stop-limit': { deadtimeMs: 5000, leaseMs: 4000, stopLimitMs: 8000 },
  slow: { deadtimeMs: 80_000, leaseMs: 40_000, stopLimitMs: 60_000 },
} as const;

export interface Weather {
  readonly seed: number;
  readonly mistake: Mistake;
  readonly times: keyof typeof TIMES;
}

export interface Course {
  /** True time of the first moment at which both run the service. */
  readonly bothMs: number | null;
  readonly takeOvers: number;
  /** Stopped since neither proof nor lease was left. */
  readonly letGo: number;
  /** Went on by the lease alone. */
  readonly onLease: number;
}

type Place = 'a' | 'b' | 'w';

interface Status {
  readonly from: number; // generation
  readonly seq: number;
  readonly rxLife: number; // whose seq rx is
  readonly rx: number;
  readonly runs: boolean;
}

class Clock {
  readonly rate: number;
  readonly offset: number;
  constructor(dice: Prng) {
    this.rate = dice.pick([1 - DRIFT, 1, 1 + DRIFT]);
    this.offset = dice.below(1_000_000);
  }
  at(trueMs: number): number {
    return this.offset + trueMs * this.rate;
  }
}

/** `no allowance for drift`: what is counted and waited is what was said. */
class Drifting extends Lease {
  readonly #times: LeaseConfig;
  constructor(times: LeaseConfig, provedMs: number) {
    super(times, provedMs);
    this.#times = times;
  }
  override get serveUntilMs(): number {
    const { deadtimeMs, leaseMs } = this.#times;
    return Math.max(this.provedMs + deadtimeMs, this.untilMs + leaseMs - counted(leaseMs));
  }
  override beginFromMs(answeredMs: number): number {
    return answeredMs + this.#times.stopLimitMs;
  }
}

class Node {
  readonly clock: Clock;
  readonly place: Place;
  generation = 1;
  upMs = 0; // true time from which it is up
  pausedMs = 0; // true time until which its daemon stands still
  runs: boolean;
  stopsAtMs = Number.POSITIVE_INFINITY; // own clock: the stop that was begun is over then
  lease: Lease;
  seq = 0;
  sentMs = new Map<number, number>();
  heardMs: number;
  heardLife = 0;
  heardSeq = 0;
  isPeerDead = false;
  peerLife = 0; // the highest that was heard; on disk
  sendMs = 0;
  askMs = 0;
  count = 0;
  beginMs = Number.POSITIVE_INFINITY;
  firstGoodId = Number.POSITIVE_INFINITY; // of the requests sent since the peer was held for dead
  fedMs = 0;
  requests = new Map<number, number>(); // count in the nonce -> id
  inbox: (() => void)[] = [];
  isLeaving = false;

  constructor(place: Place, dice: Prng, mistake: Mistake, times: LeaseConfig) {
    this.place = place;
    this.clock = new Clock(dice);
    this.runs = place === 'a';
    this.heardMs = this.clock.at(0);
    this.fedMs = this.heardMs;
    const provedMs = place === 'a' ? this.heardMs : Number.NEGATIVE_INFINITY;
    this.lease = newLease(mistake, times, provedMs);
  }
}

function newLease(mistake: Mistake, times: LeaseConfig, provedMs: number): Lease {
  return new (mistake === 'no allowance for drift' ? Drifting : Lease)(times, provedMs);
}

export function run({ seed, mistake, times }: Weather): Course {
  const config = TIMES[times];
  const { deadtimeMs: D, leaseMs: L, stopLimitMs: S } = config;
  const STEP = D > 20_000 ? 20 : 10;
  const dice = new Prng(seed);
  const nodes = [
    new Node('a', dice, mistake, config),
    new Node('b', dice, mistake, config),
  ] as const;
  const witnessClock = new Clock(dice);
  let witness = new WitnessServer(L, new Map([['c', KEY]]), nodeDigests, witnessClock.at(-L));
  let witnessUpMs = 0;
  const cut = new Map<string, number>(); // 'ab' -> true time until which nothing passes
  const loss = dice.pick([0, 0.05, 0.2]);
  const slowMs = dice.pick([20, 300, 2000]);
  const isHasty = mistake === 'asked before the peer was held for dead';
  const hangs = dice.chance(0.5); // stops take as long as they may
  const mail: { atMs: number; arrive: () => void }[] = [];
  let bothMs: number | null = null;
  let [takeOvers, letGo, onLease] = [0, 0, 0];

  const send = (from: Place, to: Place, nowMs: number, arrive: () => void): void => {
    if ((cut.get(from + to) ?? 0) > nowMs || dice.chance(loss)) return;
    mail.push({ atMs: nowMs + 1 + dice.below(slowMs), arrive });
  };
  const peerOf = (node: Node): Node => (node === nodes[0] ? nodes[1] : nodes[0]);

  const crash = (node: Node, nowMs: number): void => {
    node.runs = false;
    node.upMs = nowMs + BOOT;
    newLife(node, node.upMs);
  };
  const newLife = (node: Node, fromMs: number): void => {
    node.generation++;
    node.lease = newLease(mistake, config, Number.NEGATIVE_INFINITY);
    node.seq = 0;
    node.sentMs.clear();
    node.requests.clear();
    node.count = 0;
    node.heardMs = node.clock.at(fromMs);
    node.isPeerDead = false;
    node.heardLife = 0;
    node.heardSeq = 0;
    node.beginMs = Number.POSITIVE_INFINITY;
    node.firstGoodId = Number.POSITIVE_INFINITY;
    node.stopsAtMs = Number.POSITIVE_INFINITY;
    node.fedMs = node.heardMs;
    node.isLeaving = false;
    node.inbox = [];
  };

  const ask = (node: Node, verb: 'renew' | 'release', nowMs: number): void => {
    const id = node.lease.asked(node.clock.at(nowMs));
    node.requests.set(++node.count, id);
    const request: WitnessMessage = {
      verb,
      generation: node.generation,
      count: node.count,
      salt: 0n,
      leaseMs: verb === 'release' ? 0 : L,
      released: 0,
      cluster: 'c',
      node: node.place,
      holder: '',
    };
    const datagram = encodeWitness(request, KEY, nodeDigests);
    const life = node.generation;
    send(node.place, 'w', nowMs, () => {
      if (now < witnessUpMs) return;
      const out: WitnessEffect[] = [];
      const from = { address: node.place, port: 1 };
      witness.receive(datagram, from, witnessClock.at(now), out);
      for (const effect of out) {
        if (effect.type !== 'answer') continue;
        const decoded = decodeWitness(effect.datagram, () => KEY, nodeDigests);
        if (!decoded.ok) continue;
        const { message } = decoded;
        send('w', node.place, now, () =>
          node.inbox.push(() => {
            if (node.generation === life && message.verb !== 'release') answered(node, id, message);
          }),
        );
      }
    });
  };

  const answered = (node: Node, id: number, message: WitnessMessage): void => {
    if (node.isLeaving) return;
    const ownMs = node.clock.at(now);
    const answer: ArbiterAnswer =
      message.verb === 'granted'
        ? { verdict: 'granted', released: message.released }
        : { verdict: 'refused', holder: message.holder };
    const lease = node.lease;
    if (mistake === 'lease counted from the answer' && answer.verdict === 'granted') {
      lease.answered(id, SILENT, ownMs);
      id = lease.asked(ownMs);
    }
    const sentMs = lease.answered(id, answer, ownMs);
    if (sentMs === null || answer.verdict !== 'granted') return;
    const isAsked = id >= node.firstGoodId || isHasty;
    if (node.runs || !isAsked || node.beginMs < Number.POSITIVE_INFINITY) return;
    const isLatest =
      answer.released === node.peerLife || mistake === 'release of an older life is believed';
    const released = answer.released !== 0 && isLatest;
    node.beginMs = mistake === 'begins at once' ? ownMs : lease.beginFromMs(ownMs, released);
  };

  const hear = (node: Node, status: Status): void => {
    const ownMs = node.clock.at(now);
    if (
      status.from < node.heardLife ||
      (status.from === node.heardLife && status.seq <= node.heardSeq)
    ) {
      return;
    }
    node.heardLife = status.from;
    node.heardSeq = status.seq;
    node.peerLife = Math.max(node.peerLife, status.from);
    node.heardMs = ownMs;
    node.isPeerDead = false;
    node.firstGoodId = Number.POSITIVE_INFINITY;
    if (!isHasty) node.beginMs = Number.POSITIVE_INFINITY; // heard again: nothing is begun
    const sentMs = status.rxLife === node.generation ? node.sentMs.get(status.rx) : undefined;
    if (sentMs === undefined) return;
    node.lease.proved(mistake === 'proof counted from its arrival' ? ownMs : sentMs);
    // The peer heard this status of ours and ran nothing then: it begins nothing before it holds us for dead.
    const isFresh = ownMs < node.lease.freshUntilMs;
    if (node.place === 'a' && isFresh && !status.runs && !node.runs && !node.isLeaving)
      node.runs = true;
  };

  const tick = (node: Node, nowMs: number): void => {
    const ownMs = node.clock.at(nowMs);
    const { lease } = node;
    if (node.isLeaving && !node.runs) {
      ask(node, 'release', nowMs);
      newLife(node, nowMs);
      return;
    }
    if (!node.isPeerDead && ownMs - node.heardMs > D) {
      node.isPeerDead = true;
      node.firstGoodId = lease.asked(ownMs); // what is asked from now on
      lease.answered(node.firstGoodId, SILENT, ownMs);
    }
    const isOver = ownMs >= lease.serveUntilMs;
    if (node.runs && node.stopsAtMs === Number.POSITIVE_INFINITY && (isOver || node.isLeaving)) {
      if (isOver) letGo++;
      const takesMs = hangs ? 10 * S : dice.below(S);
      node.stopsAtMs = node.isLeaving && hangs ? ownMs + S : ownMs + takesMs;
    }
    if (ownMs >= node.stopsAtMs) {
      node.stopsAtMs = Number.POSITIVE_INFINITY;
      node.runs = false;
    }
    if (node.runs && ownMs >= lease.goneByMs && mistake !== 'stop-limit is not kept') {
      crash(node, nowMs); // reboot -nf
      return;
    }
    if (node.runs && ownMs >= lease.freshUntilMs + D / 2 && !isOver) onLease++;
    if (ownMs >= node.beginMs && (node.isPeerDead || !isHasty)) {
      node.beginMs = Number.POSITIVE_INFINITY;
      const holds = ownMs < lease.untilMs || mistake === 'lease not looked at when it begins';
      if (holds && node.isPeerDead && !node.isLeaving && !node.runs) {
        takeOvers++;
        node.runs = true;
      }
    }
    const wants = ((node.runs || isHasty) && ownMs >= lease.freshUntilMs) || node.isPeerDead;
    if (wants && ownMs >= node.askMs && !node.isLeaving) {
      node.askMs = ownMs + lease.everyMs * 2;
      ask(node, 'renew', nowMs);
    }
    if (ownMs < node.sendMs) return;
    node.sendMs = ownMs + KEEPALIVE;
    if (!node.runs || ownMs < lease.feedUntilMs) node.fedMs = ownMs;
    node.sentMs.set(++node.seq, ownMs);
    const { heardLife: rxLife, heardSeq: rx, generation: from, seq, runs } = node;
    const peer = peerOf(node);
    const status: Status = { from, seq, rxLife, rx, runs };
    const life = peer.generation;
    send(node.place, peer.place, nowMs, () =>
      peer.inbox.push(() => {
        if (peer.generation === life) hear(peer, status);
      }),
    );
  };

  const trouble = (nowMs: number): void => {
    if (dice.chance(0.02)) {
      const untilMs = nowMs + dice.below(4 * D);
      const ways = dice.pick([
        ['ab', 'ba'],
        ['ab', 'ba', 'aw', 'wa'],
        ['ab', 'ba', 'bw', 'wb'],
        ['ab'],
        ['ba'],
        ['aw', 'wa', 'bw', 'wb'],
        ['wa'],
        ['ab', 'ba', 'wa'],
        ['ab', 'ba', 'aw'],
        ['ab', 'ba', 'bw'],
        ['ab', 'ba', 'wb'],
      ]);
      for (const way of ways) cut.set(way, untilMs);
    }
    if (dice.chance(0.004)) {
      witnessUpMs = nowMs + dice.below(D);
      const startMs = witnessClock.at(witnessUpMs);
      const toldMs = mistake === 'witness is not silent after its start' ? startMs - L : startMs;
      witness = new WitnessServer(L, new Map([['c', KEY]]), nodeDigests, toldMs);
    }
    for (const node of nodes) {
      if (nowMs < node.upMs || nowMs < node.pausedMs) continue;
      if (dice.chance(0.004)) node.pausedMs = nowMs + dice.below(3 * D);
      if (dice.chance(0.002)) crash(node, nowMs);
      if (dice.chance(0.004)) node.isLeaving = true;
    }
  };

  let now = 0;
  for (; now < 30 * D && bothMs === null; now += STEP) {
    if (now % (D / 80) === 0) trouble(now);
    for (let i = mail.length - 1; i >= 0; i--) {
      const letter = mail[i];
      if (!letter || letter.atMs > now) continue;
      mail.splice(i, 1);
      letter.arrive();
    }
    for (const node of nodes) {
      if (now < node.upMs) {
        node.inbox = [];
        continue;
      }
      if (now < node.pausedMs) {
        const isUnfed = node.clock.at(now) >= node.fedMs + S / 2;
        if (isUnfed && mistake !== 'no watchdog') {
          node.pausedMs = 0;
          crash(node, now);
        }
        continue;
      }
      tick(node, now); // what is over is over, before anything is heard
      const inbox = node.inbox;
      node.inbox = [];
      for (const read of inbox) read();
    }
    if (nodes[0].runs && nodes[1].runs) bothMs = now;
  }
  return { bothMs, takeOvers, letGo, onLease };
}
