/**
 * A pair under random load and random trouble, from a seed, with a model of what the device must hold.
 *
 * Model: per sector the values that a read may give: the last acknowledged one, and those of writes that are under way or were
 * never answered. A sector is stamped with the number of the write that filled it. At the end the pair is healed, both
 * disks must be equal and every sector must hold one of its values.
 *
 * What a crash may take is decided by protocol C: an acknowledged write is on every disk that was UpToDate then, so any
 * of those nodes may go on as Primary. The run keeps track of them (`current`) as an operator would.
 */
import { Prng } from '../../src/base/prng.js';
import { detach, newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { Conns, Disks, Roles } from '../../src/drbd/state.js';
import { Engines, NO_BUFFER, type NodeOptions, type TestNode } from './engines.js';
import { TcpCable } from './tcp-cable.js';
import { until } from './until.js';

type Name = 'a' | 'b';
const other = (n: Name): Name => (n === 'a' ? 'b' : 'a');

interface Burst {
  readonly id: number;
  readonly sector: number;
  readonly sectors: number;
}

export class ReplicationRun {
  readonly #everywhere: boolean; // protocol C: an answered write is on both nodes
  readonly #random: Prng;
  readonly #e: Engines;
  readonly #cables: readonly [TcpCable, TcpCable];
  readonly #trace: string[] = [];
  readonly #sectors: number;
  readonly #allowed: Set<number>[] = [];
  readonly #busy: Uint16Array; // writes under way, per sector
  readonly #ackedInBurst: (number[] | null)[] = [];
  readonly #lostInBurst: Uint8Array;
  readonly #history: string[] = []; // of writes and reads, by sector: what a failure shows
  #clock = 0;
  #nextId = 1;
  #primary: Name | null = 'a';
  #current = new Set<Name>(['a', 'b']);
  writes = 0;
  crashes = 0;

  private constructor(
    seed: number,
    e: Engines,
    cables: readonly [TcpCable, TcpCable],
    protocol: string,
  ) {
    this.#everywhere = protocol === 'C';
    this.#random = new Prng(seed);
    this.#e = e;
    this.#cables = cables;
    this.#sectors = e.a.volume.sizeSectors;
    for (let s = 0; s < this.#sectors; s++) {
      this.#allowed.push(new Set([0]));
      this.#ackedInBurst.push(null);
    }
    this.#busy = new Uint16Array(this.#sectors);
    this.#lostInBurst = new Uint8Array(this.#sectors);
  }

  /** A pair that is UpToDate on both sides without a resync (both disks are empty files), A Primary. */
  static async begin(
    t: { teardown(done: () => void | Promise<void>): void },
    seed: number,
    options: NodeOptions,
  ): Promise<ReplicationRun> {
    const e = Engines.create(t, options);
    const cables = [
      await TcpCable.before(e.host, e.ports[0]),
      await TcpCable.before(e.host, e.ports[1]),
    ] as const;
    t.teardown(() => {
      for (const c of cables) c.close();
    });
    e.dialed = [cables[0].port, cables[1].port];
    await e.a.attach();
    await e.b.attach();
    e.connect();
    await e.a.until(/cs:Connected/);
    await e.b.until(/cs:Connected/);
    const begun = async (): Promise<boolean> => {
      return (await e.a.ask((v, done) => newCurrentUuid(v, true, done))).kind === 'ok';
    };
    await until(begun, 'a first generation'); // again on a busy machine, when it is connected once more
    await e.a.until(/UpToDate\/UpToDate/);
    await e.b.until(/UpToDate\/UpToDate/);
    const run = new ReplicationRun(seed, e, cables, options.net?.protocol ?? 'C');
    await run.#promote('a');
    return run;
  }

  get report(): string {
    const { a, b } = this.#e;
    const logs = [a, b].map((n) =>
      n.log
        .slice(-45)
        .map((line) => `${n.name}: ${line}`)
        .join('\n'),
    );
    return [...logs, ...this.#trace.slice(-60)].join('\n');
  }

  #node(n: Name): TestNode {
    return this.#e[n];
  }

  #say(text: string): void {
    const { a, b } = this.#e;
    this.#trace.push(`${text} | a ${a.dead ? 'dead' : a.shown} | b ${b.dead ? 'dead' : b.shown}`);
  }

  async #promote(n: Name): Promise<void> {
    const outcome = await this.#node(n).ask((v, done) => setPrimary(v, false, done));
    this.#say(`promote ${n}: ${JSON.stringify(outcome)}`);
    if (outcome.kind === 'ok') this.#primary = n;
  }

  /** Which nodes hold every acknowledged write, by what the Primary knows now. */
  #look(): void {
    const p = this.#primary;
    if (p === null || this.#node(p).dead) return;
    const s = this.#node(p).volume.state;
    const now = new Set<Name>();
    if (s.disk === Disks.UpToDate) now.add(p);
    if (s.conn >= Conns.Connected && s.pdsk === Disks.UpToDate) now.add(other(p));
    if (now.size > 0) this.#current = now;
  }

  // ---- application

  async #write(): Promise<void> {
    const p = this.#primary;
    if (p === null) return;
    const r = this.#random;
    const sectors = Math.min(2048, 2 ** r.below(12) + (r.chance(0.3) ? r.below(8) : 0));
    const sector = r.below(this.#sectors - sectors + 1);
    const id = this.#nextId++;
    const bytes = stamp(id, sectors);
    const w: Burst = { id, sector, sectors };
    const what = r.below(12);
    const erase = what === 0 || what === 1;
    const begun = this.#begin(erase ? { ...w, id: 0 } : w);
    const node = this.#node(p);
    const from = this.#clock++;
    const state = node.shown;
    const error = erase
      ? what === 0
        ? await node.discard(sector, sectors)
        : await node.zeroes(sector, sectors)
      : await node.write(sector, bytes, what === 2);
    this.writes++;
    this.#history.push(
      `${from}-${this.#clock++} ${p} ${erase ? (what === 0 ? 'discard' : 'zero') : 'write'} ${begun.id} [${sector},${sector + sectors}) = ${error} ${state} step ${this.#trace.length}`,
    );
    this.#end(begun, error);
  }

  #begin(w: Burst): Burst {
    for (let s = w.sector; s < w.sector + w.sectors; s++) {
      if (this.#busy[s] === 0) {
        this.#ackedInBurst[s] = null;
        this.#lostInBurst[s] = 0;
      }
      this.#busy[s] = (this.#busy[s] as number) + 1;
      (this.#allowed[s] as Set<number>).add(w.id);
    }
    return w;
  }

  #end(w: Burst, error: number): void {
    for (let s = w.sector; s < w.sector + w.sectors; s++) {
      this.#busy[s] = (this.#busy[s] as number) - 1;
      if (error === 0) {
        const acked = this.#ackedInBurst[s] ?? [];
        acked.push(w.id);
        this.#ackedInBurst[s] = acked;
      } else if (error !== NO_BUFFER) this.#lostInBurst[s] = 1;
      if (this.#busy[s] !== 0) continue;
      const acked = this.#ackedInBurst[s];
      // All that overlapped are over: the older values are history, unless one may have happened or not.
      if (acked && this.#lostInBurst[s] === 0) this.#allowed[s] = new Set(acked);
    }
  }

  async #read(): Promise<void> {
    const p = this.#primary;
    if (p === null) return;
    const r = this.#random;
    const sectors = Math.min(256, 2 ** r.below(9));
    const sector = r.below(this.#sectors - sectors + 1);
    const before: boolean[] = [];
    for (let s = sector; s < sector + sectors; s++) before.push(this.#busy[s] === 0);
    const marks = this.#nextId;
    const got = await this.#node(p).read(sector, sectors * 512);
    if (typeof got === 'number') return;
    this.#judge(got, sector, sectors, `read on ${p}`, before, marks);
  }

  #judge(
    got: Uint8Array,
    sector: number,
    sectors: number,
    what: string,
    quiet: readonly boolean[],
    marks: number,
  ): void {
    const view = new DataView(got.buffer, got.byteOffset, got.length);
    for (let i = 0; i < sectors; i++) {
      const s = sector + i;
      const value = view.getUint32(i * 512);
      // Only where nothing was under way all the time is it clear what must be there.
      if (!quiet[i] || this.#busy[s] !== 0 || marks !== this.#nextId) continue;
      for (let at = 4; at < 512; at += 4) {
        if (view.getUint32(i * 512 + at) !== value) throw new Error(`${what}: sector ${s} is torn`);
      }
      const allowed = this.#allowed[s] as Set<number>;
      if (!allowed.has(value)) {
        throw new Error(
          `${what}: sector ${s} holds ${value}, not one of ${[...allowed].join(' ')}\n${this.#touching(s)}`,
        );
      }
      if (allowed.size > 1) {
        this.#history.push(`${this.#clock++} ${what}: saw ${value} [${s},${s + 1})`);
        this.#allowed[s] = new Set([value]); // seen once, it stays
      }
    }
  }

  async #load(): Promise<void> {
    const r = this.#random;
    const depth = r.pick([1, 2, 8, 32]);
    let left = r.pick([8, 30, 60]);
    const one = async (): Promise<void> => {
      while (left > 0) {
        left--;
        const p = this.#primary;
        if (p === null || this.#node(p).dead) return;
        const kind = r.below(20);
        if (kind < 14) await this.#write();
        else if (kind < 18) await this.#read();
        else await this.#node(p).flush();
      }
    };
    await Promise.all(Array.from({ length: depth }, one));
  }

  // ---- trouble

  async #trouble(): Promise<void> {
    const r = this.#random;
    const kind = r.below(10);
    for (let i = r.below(30); i > 0; i--) await new Promise<void>((done) => setImmediate(done));
    switch (kind) {
      case 0:
      case 1:
        this.#say('cut');
        r.pick(this.#cables).cut();
        return;
      case 2:
        this.#say('break in the middle');
        r.pick(this.#cables).breakAfter(r.below(300_000));
        return;
      case 3: {
        const n = r.pick(['a', 'b'] as const);
        this.#say(`link of ${n} fails`);
        const node = this.#node(n);
        if (!node.dead) node.loop.enter(() => node.resource.link?.fail('NetworkFailure', 'test'));
        return;
      }
      case 4:
      case 5:
        await this.#crash(r.pick(['a', 'b'] as const));
        return;
      case 6: {
        const n = r.pick(['a', 'b'] as const);
        if (this.#node(n).dead || !this.#everywhere) return;
        this.#say(`detach ${n}`);
        const gone = this.#node(n).ask((v, done) => detach(v, false, done));
        const outcome = await Promise.race([gone, this.#deadline(10_000, `detach ${n}`)]);
        this.#say(`detached ${n}: ${JSON.stringify(outcome)}`);
        return;
      }
      default:
        return;
    }
  }

  async #deadline(ms: number, what: string): Promise<never> {
    return new Promise((_done, fail) => {
      setTimeout(() => fail(new Error(`${what}: no answer`)), ms).unref();
    });
  }

  async #crash(n: Name): Promise<void> {
    const node = this.#node(n);
    if (node.dead) return;
    this.#look();
    const was = n === this.#primary;
    if (was) this.#primary = null;
    else this.#current.delete(n);
    // Under protocols A and B what was answered may be on the Primary's disk alone.
    if (this.#current.size === 0 || (was && !this.#everywhere)) this.#current = new Set([n]);
    this.crashes++;
    this.#say(`kill ${n}, current ${[...this.#current].join('')}`);
    await node.kill();
  }

  /** Bring back what is gone, and give the data an owner again. */
  async #repair(): Promise<void> {
    const r = this.#random;
    for (const c of this.#cables) c.mend();
    if (this.#primary === null) {
      const candidates = [...this.#current];
      const n = r.pick(candidates);
      if (this.#node(n).dead) await this.#revive(n);
      else if (this.#node(n).volume.state.disk < Disks.Inconsistent) await this.#attach(n);
      const promoted = async (): Promise<boolean> => {
        await this.#promote(n);
        return this.#primary !== null;
      };
      await until(promoted, `${n}, which holds all data, is promoted`, 20);
      this.#current = new Set([n]);
    }
    if (r.chance(0.8)) await this.#return();
  }

  async #revive(n: Name): Promise<void> {
    const node = this.#e.revive(n);
    await node.attach();
    this.#e.connectNode(n);
    this.#say(`${n} is back`);
  }

  async #attach(n: Name): Promise<void> {
    try {
      await this.#node(n).attach();
      this.#say(`attached ${n}`);
    } catch (error) {
      this.#say(`attach ${n}: ${(error as Error).message}`);
    }
  }

  async #return(): Promise<void> {
    for (const n of ['a', 'b'] as const) {
      const node = this.#node(n);
      if (node.dead) await this.#revive(n);
      else if (node.volume.state.disk < Disks.Attaching) await this.#attach(n);
    }
  }

  /** Everything works again: both are Connected and UpToDate. */
  async heal(): Promise<void> {
    for (const c of this.#cables) c.mend();
    const whole = async (): Promise<boolean> => {
      await this.#return();
      return isGood(this.#e.a) && isGood(this.#e.b);
    };
    await until(whole, () => `both are whole: ${this.#e.a.shown}, ${this.#e.b.shown}`, 25);
    this.#say('healed');
    this.#say(this.leftovers().join(', '));
    this.#current = new Set(['a', 'b']);
  }

  async #switchRoles(): Promise<void> {
    const p = this.#primary;
    if (p === null) return;
    const outcome = await this.#node(p).ask((v, done) => setSecondary(v, done));
    this.#say(`demote ${p}: ${JSON.stringify(outcome)}`);
    if (outcome.kind !== 'ok') throw new Error(`demote ${p}: ${JSON.stringify(outcome)}`);
    this.#primary = null;
    if (!/cs:Connected .*UpToDate\/UpToDate/.test(this.#node(p).shown)) {
      await this.#promote(p); // the link broke meanwhile: nobody knows that the other has everything
      return;
    }
    await this.#promote(other(p));
    if (this.#primary === null) throw new Error(`${other(p)} can not be promoted`);
  }

  async step(): Promise<void> {
    const loads = this.#load();
    await this.#trouble();
    await Promise.race([loads, this.#deadline(25_000, 'I/O')]);
    this.#look();
    await this.#repair();
    this.#look();
    if (this.#random.chance(0.3)) {
      await this.heal();
      if (this.#random.chance(0.5)) await this.#switchRoles();
      if (this.#random.chance(0.3)) await this.check();
    }
  }

  /** Both disks are equal, and are what the model says. Nothing may be under way. */
  async check(): Promise<void> {
    const { a, b } = this.#e;
    do {
      await this.heal();
      const p = this.#primary;
      // Under protocols A and B what was answered may be on its way; a link that was cut before may be noticed only now.
      if (p !== null) await this.#node(p).untilQuiet();
    } while (!isGood(a) || !isGood(b));
    const difference = this.#e.firstDifference();
    if (difference !== null) {
      const view = (n: TestNode) => new DataView(n.onDisk(difference, 512).buffer).getUint32(0);
      throw new Error(
        `the disks differ at sector ${difference}: a ${view(a)}, b ${view(b)}, allowed ${[...(this.#allowed[difference] as Set<number>)].join(' ')}`,
      );
    }
    for (let s = 0; s < this.#sectors; s += 2048) {
      const n = Math.min(2048, this.#sectors - s);
      const quiet = new Array<boolean>(n).fill(true);
      this.#judge(a.onDisk(s, n * 512), s, n, 'at the end', quiet, this.#nextId);
    }
  }

  #touching(sector: number): string {
    return this.#history
      .filter((line) => {
        const m = /\[(\d+),(\d+)\)/.exec(line);
        return m !== null && Number(m[1]) <= sector && sector < Number(m[2]);
      })
      .join('\n');
  }

  /** Nothing is left over: requests, buffers, places in the order. */
  leftovers(): string[] {
    const out: string[] = [];
    for (const n of ['a', 'b'] as const) {
      const node = this.#node(n);
      const { core } = node.loop.engine;
      const v = node.volume;
      const want = (what: string, value: number, most = 0): void => {
        if (value > most) out.push(`${n}: ${what} ${value}`);
      };
      want('application requests', core.app.used);
      want("the peer's requests", core.peer.used);
      want('intervals', v.intervals.count);
      want('pending', v.app.pending);
      want('local', v.app.local + v.peerIo.local);
      want('remote', v.app.remote);
      want('transfer log', v.link?.transferLog.count ?? 0);
      want('bits', v.bitmap?.count ?? 0);
      want('resync requests', v.resync.pending);
      want('window', node.resource.link?.window ?? 0);
      want('buffers', node.buffersInUse, 3 + 16);
    }
    return out;
  }

  /** Waits until the last epoch is acknowledged, and nothing is left over. */
  async quiet(): Promise<void> {
    await until(
      () => this.leftovers().length === 0,
      () => `nothing is left over: ${this.leftovers().join(', ')}`,
    );
  }

  get primaryCount(): number {
    let n = 0;
    for (const node of [this.#e.a, this.#e.b]) {
      if (!node.dead && node.volume.state.role === Roles.Primary) n++;
    }
    return n;
  }
}

const isGood = (n: TestNode): boolean => /cs:Connected .*UpToDate\/UpToDate/.test(n.shown);

function stamp(id: number, sectors: number): Uint8Array {
  const bytes = new Uint8Array(sectors * 512);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, id);
  for (let have = 4; have < bytes.length; have *= 2) bytes.copyWithin(have, 0, have);
  return bytes;
}
