/**
 * fencing resource-and-stonith: a Primary that has lost its peer freezes its I/O until fence-peer has said that the peer's data
 * count as old (docs/STATES.md, fencing), the peer is back, or an operator takes the decision. Until then no write is
 * answered that the peer does not have, and no generation begins.
 */
import { Conns, Disks, Roles, type State } from '../../drbd/state.js';
import type { NodeName } from '../config.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';

/** Exit codes of fence-peer by which I/O may go on. 5 holds for a node that is UpToDate itself. */
const FENCED: readonly number[] = [3, 4, 5, 7];

interface Frozen {
  readonly sinceMs: number;
  readonly at: number; // position in the ledger
  generation: bigint;
  peerLostPower: boolean;
}

export class Fencing extends DeviceChecker {
  readonly #frozen: Record<NodeName, Frozen | null> = { alpha: null, beta: null };
  readonly #resumes: Record<NodeName, number> = { alpha: 0, beta: 0 }; // resume-io asked and not answered
  readonly #diedAt: Record<NodeName, number> = { alpha: 0, beta: 0 }; // its engine, last: position in the ledger

  constructor(device: ReplicatedDevice) {
    super(device, 'fencing', 'fencing');
  }

  override changed(node: Replica, old: State | null, next: State): void {
    const v = node.volume;
    // Outdated: it has given way (exit 6), and what was frozen has failed. What follows is an operator's word.
    const givenWay = next.disk === Disks.Outdated;
    if (next.role !== Roles.Primary || next.conn >= Conns.Connected || givenWay || !v) {
      this.#frozen[node.name] = null;
      return;
    }
    this.#generation(node, next);
    // While bitmaps are exchanged writes go to the own disk alone, and their blocks are marked.
    const both = old?.conn === Conns.Connected && old.pdsk === Disks.UpToDate;
    if (!both || old.role !== Roles.Primary || next.pdsk !== Disks.DUnknown) return;
    if (v.diskOptions.fencing !== 'resource-and-stonith') return;
    // A node that stood still may hear of it after it has noticed the loss: the decision is taken all the same.
    if (this.#resumes[node.name] > 0) return;
    this.look();
    this.#frozen[node.name] = {
      sinceMs: this.device.nowMs,
      at: this.device.ledger.now,
      generation: generationOf(node),
      peerLostPower: !node.peer.powered,
    };
  }

  override handled(node: Replica, event: string, exit: number): void {
    if (event === 'fence-peer' && FENCED.includes(exit)) this.#frozen[node.name] = null;
  }

  /** An operator may take the decision. */
  override asked(node: Replica, verb: string): void {
    if (verb !== 'resume-io') return;
    this.#frozen[node.name] = null;
    if (node.drbdd) this.#resumes[node.name]++;
  }

  override logged(node: NodeName, object: string, _level: string, text: string): void {
    if (object !== 'drbdadm') return;
    this.#frozen[node] = null;
    if (text.startsWith('drbdadm resume-io')) {
      this.#resumes[node] = Math.max(0, this.#resumes[node] - 1);
    }
  }

  override died(node: Replica, power: boolean): void {
    this.#frozen[node.name] = null; // a successor begins with a freeze of its own
    this.#resumes[node.name] = 0;
    this.#diedAt[node.name] = this.device.ledger.now;
    const other = this.#frozen[node.peer.name];
    if (power && other) other.peerLostPower = true;
  }

  override acknowledged(node: Replica, id: number, sector: number, sectors: number): void {
    const frozen = this.#frozen[node.name];
    if (!frozen) return;
    this.look();
    const { ledger, truth } = this.device;
    const underWay = ledger.beganAt(id) < frozen.at;
    const bytes = node.peer.disk.content(sector * 512, sectors * 512);
    const there = ledger.firstBadAt(truth.lineage[node.name], sector, bytes) === null;
    // It was under way, and the peer had it.
    if (underWay && (there || frozen.peerLostPower)) return;
    // Protocol B: it had received it, and died with that in its memory.
    const died = this.#diedAt[node.peer.name] > ledger.beganAt(id);
    if (underWay && died && node.protocol === 'B') return;
    const { fenceExit } = node;
    this.violate(
      `write ${id} was acknowledged on ${node.name}, whose peer was lost ${Math.round(this.device.nowMs - frozen.sinceMs)} ms ago and is not fenced (exit ${fenceExit ?? 'none'})`,
    );
  }

  override tick(): void {
    for (const node of this.device.bothNodes) if (node.state) this.#generation(node, node.state);
  }

  #generation(node: Replica, s: State): void {
    const frozen = this.#frozen[node.name];
    if (!frozen || generationOf(node) === frozen.generation) return;
    // A peer that comes back is shown that the copies have parted, where something is frozen that only this node has.
    if (s.conn >= Conns.WFReportParams) {
      frozen.generation = generationOf(node);
      return;
    }
    this.violate(
      `${node.name} began a generation while its I/O was frozen: its peer is lost and not fenced`,
    );
  }
}

function generationOf(node: Replica): bigint {
  return (node.volume?.uuids.current ?? 0n) & ~1n;
}
