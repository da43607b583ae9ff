/**
 * What a daemon keeps on disk over its lives, and for a successor should it be killed: its UUID, the generations of other nodes,
 * and the claim. The claim on disk is never smaller than what may run: it is written before scripts start.
 *
 *     in a life        what its node claims, as old as the last keepalive
 *     between lives    what the last one left (`keep`)
 *     inheriting       what a predecessor left, as old as it was (`keepStale`), until it is stopped
 */
import type { Hold } from '../resource-manager/hold.js';
import type { HeartbeatNode } from './heartbeat-node.js';
import type { LivesHost, ScriptProcess } from './heartbeat-ports.js';
import { loadPeers, savePeers, saveState, takeUuid } from './heartbeat-state.js';

export class LivesMemory {
  readonly #host: LivesHost;
  #uuid = new Uint8Array(16);
  #peers = new Map<string, number>(); // generations of other nodes, as they are in the file
  #savedMs = 0;
  #savedHold: Hold = 'none';
  #serveUntilMs: number | null = null; // of that; null: no arbiter is asked
  #staleMs: number | null = null; // the last keepalive of a predecessor whose resources are being stopped

  constructor(host: LivesHost) {
    this.#host = host;
  }

  /** Before anything else. */
  load(): void {
    const { files, random } = this.#host;
    const taken = takeUuid(files, random);
    this.#uuid = new Uint8Array(taken.uuid);
    if (taken.isFirst)
      this.#host.log('info', 'No uuid found for current node - generating a new uuid.');
    const peers = loadPeers(files);
    if (peers === null) {
      const text =
        'the generations of other nodes cannot be read: what one sent in an older life is believed until it is heard';
      this.#host.log('WARN', text);
    }
    this.#peers = peers ?? new Map();
  }

  get uuid(): Uint8Array {
    return this.#uuid;
  }

  get peers(): ReadonlyMap<string, number> {
    return this.#peers;
  }

  /** When `save` was called last. */
  get savedMs(): number {
    return this.#savedMs;
  }

  /** What may run here, while no life says so. */
  get hold(): Hold {
    return this.#savedHold;
  }

  /** Between two lives, in which nobody says what is held. */
  keep(hold: Hold, serveUntilMs: number | null): void {
    this.#savedHold = hold;
    this.#serveUntilMs = serveUntilMs;
    this.#staleMs = null;
  }

  /** Until when what may run here may do so, while no life says so; null: no arbiter is asked. */
  get serveUntilMs(): number | null {
    return this.#serveUntilMs;
  }

  /** Of a predecessor. Killed before it is stopped, we leave the same behind, as old as it is. */
  keepStale(hold: Hold, aliveMs: number, serveUntilMs: number | null): void {
    this.#savedHold = hold;
    this.#serveUntilMs = serveUntilMs;
    this.#staleMs = aliveMs;
  }

  /** `node`: of the present life; `script`: that runs now. */
  save(node: HeartbeatNode | null, script: ScriptProcess | null): void {
    this.#savedMs = this.#host.clock.nowMs();
    const hold = node?.resources.claims() ?? this.#savedHold;
    this.#savedHold = hold;
    if (node) this.#serveUntilMs = node.serveUntilMs;
    const serveUntilMs = this.#serveUntilMs;
    const aliveMs = this.#staleMs ?? this.#savedMs;
    this.#savePeer(node);
    saveState(this.#host.files, { hold, aliveMs, script, serveUntilMs });
  }

  #savePeer(node: HeartbeatNode | null): void {
    const generation = node?.peerGeneration() ?? 0;
    // The highest: a node whose generation went down proves itself, what it sent before that must not count again.
    if (!node?.peer || generation <= (this.#peers.get(node.peer) ?? 0)) return;
    this.#peers.set(node.peer, generation);
    savePeers(this.#host.files, this.#peers);
  }
}
