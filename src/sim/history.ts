/**
 * What a scenario asks about that has passed: log lines, answers to the client, handshakes, resyncs, generations, and every
 * row that was ever acknowledged, on one device. Told by the world like a checker, but judges nothing by itself.
 */
import { Conns, Disks, type State } from '../drbd/state.js';
import { DeviceChecker } from './check/checker.js';
import { ROW_AREA_SECTORS, ROW_SECTORS } from './client.js';
import { NODES, type NodeName } from './config.js';
import { contentOf, type Lineage } from './ledger.js';
import type { Replica } from './replica.js';
import type { ReplicatedDevice } from './replicated-device.js';

interface Line {
  readonly timeMs: number;
  readonly text: string;
}
interface Resync {
  readonly timeMs: number;
  readonly kib: number;
}
interface Generation {
  readonly timeMs: number;
  readonly current: bigint; // without the bit of the role
  readonly bitmap: bigint;
}
interface Row {
  readonly id: number;
  readonly lineage: Lineage;
  readonly at: number; // position in the ledger
}

/** What happened on one node, oldest first. */
export class NodeHistory {
  readonly lines: Line[] = [];
  readonly handshakesMs: number[] = [];
  readonly resyncs: Resync[] = []; // with this node as the target
  readonly generations: Generation[] = [];
  readonly errorsMs: number[] = []; // of the client's requests
  answeredMs = Number.NEGATIVE_INFINITY; // the last answer of any kind
  succeededMs = Number.NEGATIVE_INFINITY;

  /** The generation as it was at that time; null: none was known. */
  generationAt(timeMs: number): Generation | null {
    return this.generations.findLast((g) => g.timeMs <= timeMs) ?? null;
  }
}

const TARGET = /^Began resync as SyncTarget \(will sync (\d+) KB/;

export class History extends DeviceChecker {
  readonly nodes: Readonly<Record<NodeName, NodeHistory>> = {
    alpha: new NodeHistory(),
    beta: new NodeHistory(),
  };
  /** Who said last that it has the service's address: where its clients go. */
  announcedBy: NodeName | null = null;
  readonly #rows: Row[][] = Array.from({ length: ROW_AREA_SECTORS / ROW_SECTORS }, () => []);

  constructor(device: ReplicatedDevice) {
    super(device, 'scenario', 'expect');
  }

  override changed(node: Replica, old: State | null, next: State): void {
    const isHandshake = (s: State | null): boolean => s?.conn === Conns.WFReportParams;
    if (isHandshake(next) && !isHandshake(old)) {
      this.nodes[node.name].handshakesMs.push(this.device.nowMs);
    }
    this.#generation(node);
  }

  override logged(node: NodeName, object: string, _level: string, text: string): void {
    const timeMs = this.device.nowMs;
    const history = this.nodes[node];
    history.lines.push({ timeMs, text });
    const target = TARGET.exec(text);
    if (target) history.resyncs.push({ timeMs, kib: Number(target[1]) });
    if (object === 'address' && text.endsWith(' is here')) this.announcedBy = node;
    this.#generation(this.device.nodes[node]);
  }

  override answered(node: Replica, error: number): void {
    const history = this.nodes[node.name];
    const { nowMs } = this.device;
    history.answeredMs = nowMs;
    if (error === 0) history.succeededMs = nowMs;
    else history.errorsMs.push(nowMs);
  }

  override acknowledged(node: Replica, id: number, sector: number): void {
    const { ledger, truth } = this.device;
    if (sector >= ROW_AREA_SECTORS) return;
    this.#rows[sector / ROW_SECTORS]?.push({
      id,
      lineage: truth.lineage[node.name],
      at: ledger.now,
    });
  }

  override tick(): void {
    for (const name of NODES) this.#generation(this.device.nodes[name]);
  }

  #generation(node: Replica): void {
    const v = node.drbdd?.dead ? null : node.volume;
    if (!v || v.state.disk < Disks.Inconsistent) return;
    const current = v.uuids.current & ~1n;
    const { bitmap } = v.uuids;
    const { generations } = this.nodes[node.name];
    const last = generations.at(-1);
    if (last && last.current === current && last.bitmap === bitmap) return;
    generations.push({ timeMs: this.device.nowMs, current, bitmap });
  }

  /**
   * How many acknowledged rows a node's disk neither holds nor has overwritten in the same history: those that somebody
   * committed and that are lost.
   */
  lostRows(node: Replica): number {
    const lineage = this.device.truth.lineage[node.name];
    let lost = 0;
    for (const [slot, rows] of this.#rows.entries()) {
      const own = rows.filter((row) => belongs(row, lineage));
      lost += rows.length - own.length;
      const newest = own.at(-1);
      if (!newest) continue;
      const sector = slot * ROW_SECTORS;
      const bytes = node.disk.content(sector * 512, ROW_SECTORS * 512);
      let oldest = Number.POSITIVE_INFINITY;
      for (let i = 0; i < ROW_SECTORS; i++) {
        oldest = Math.min(oldest, contentOf(bytes, i * 512, sector + i));
      }
      lost += own.filter((row) => row.id > oldest).length;
    }
    return lost;
  }

  get rows(): number {
    return this.#rows.reduce((sum, rows) => sum + rows.length, 0);
  }
}

/** The row was committed in this history, or in one that it was forked from, before that. */
function belongs(row: Row, lineage: Lineage): boolean {
  let until = Number.POSITIVE_INFINITY;
  for (let l: Lineage | null = lineage; l; l = l.parent) {
    if (row.lineage === l) return row.at <= until;
    until = Math.min(until, l.forkedAt);
  }
  return false;
}
