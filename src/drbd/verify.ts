/**
 * Online verify of one volume: are both copies the same? Nothing is written but bits of the bitmap, on both nodes, where they
 * are not; `disconnect` and `connect` then copy these blocks from the node that is (or was last) Primary.
 *
 *     VerifyS (asked for here)            VerifyT
 *     P_OV_REQUEST, 4 KiB each    ->      reads, P_OV_REPLY with the digest (zeroes: its read failed)
 *     reads, compares, P_OV_RESULT ->     notes a difference, too
 *     nothing left: Connected, P_STATE -> Connected (or by its own count, where that comes first)
 *
 * Nothing that is being written counts as a difference. The Primary, whichever end it is, has its earlier writes to a block on both
 * disks before it asks, or answers, for it, and holds back later ones until it is compared. A block that is read takes its place in
 * the order of the peer's writes (verify-reads.ts). No block is held longer than the peer may be silent (ko-count).
 *
 * Here are the run, the packets and what is found; VerifyS asks in verify-questions.ts, VerifyT answers in verify-answers.ts.
 * Source: docs/PROTOCOL.md, online verify.
 */
import { BLOCK_SECTORS } from '../md/units.js';
import {
  COMMANDS,
  ID_IN_SYNC,
  ID_OUT_OF_SYNC,
  ID_SYNCER_HI,
  ID_SYNCER_LO,
} from '../wire/constants.js';
import { hasExpected, keepExpected } from './block-digest.js';
import { force } from './changes.js';
import type { Core } from './core.js';
import type { Link } from './link.js';
import { SyncMeter } from './progress.js';
import { Conns, Roles, type State } from './state.js';
import type { SyncProgress } from './status.js';
import { VerifyAnswers } from './verify-answers.js';
import { VerifyBlock } from './verify-block.js';
import { VerifyFound } from './verify-found.js';
import { VerifyQuestions } from './verify-questions.js';
import { type VerifyReader, VerifyReads } from './verify-reads.js';
import type { Volume } from './volume.js';

/** Bits that were set go to disk at most so often while a verify runs. */
const SAVE_MS = 1000;

const isVerifying = (conn: number): boolean => conn === Conns.VerifyS || conn === Conns.VerifyT;

export class Verify implements VerifyReader {
  readonly #core: Core;
  readonly #volume: Volume;
  /** VerifyS. */
  readonly questions: VerifyQuestions;
  /** VerifyT. */
  readonly answers: VerifyAnswers;
  readonly reads: VerifyReads;
  readonly #found: VerifyFound;
  readonly #meter = new SyncMeter();

  // the run under way
  #run = 0; // 0: none
  #runs = 0;
  #algorithm = '';
  #leftBits = 0;
  #startKnown = false; // VerifyT: by the first request
  #unsaved = false; // bits that are not in the bitmap on disk
  #saving = false;
  #saveMs = 0;
  #peerDone = false; // VerifyT: it has compared what it wanted
  /** Where the next one goes on that is not told where to begin: 0, or what an earlier one has reached. */
  resumeSector = 0;

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
    this.questions = new VerifyQuestions(core, volume);
    this.reads = new VerifyReads(core, volume, this);
    this.answers = new VerifyAnswers(core, volume, this.reads);
    this.#found = new VerifyFound((text) => core.host.log('error', volume.name, text));
  }

  // ---- the run

  stateChanged(old: State, next: State): void {
    if (isVerifying(next.conn) && !isVerifying(old.conn)) this.#begin(next.conn);
    else if (isVerifying(old.conn) && !isVerifying(next.conn) && this.#run !== 0) this.#breakOff();
    if (next.conn < Conns.Connected) this.#forget();
  }

  #begin(conn: number): void {
    const v = this.#volume;
    const bits = v.bitmap?.bits ?? 0;
    this.#runs++;
    this.#run = this.#runs;
    this.#algorithm = v.resource.netOptions.verifyAlg;
    this.#found.begin();
    this.#peerDone = false;
    this.#leftBits = bits;
    this.#startKnown = true;
    this.#saveMs = 0;
    if (conn === Conns.VerifyS) {
      const sector = this.questions.begin(bits);
      this.#leftBits = bits - sector / BLOCK_SECTORS;
      this.#log('info', `Starting Online Verify from sector ${sector}`);
    } else {
      this.#startKnown = (v.link?.apv ?? 0) < 90; // an older peer begins at the beginning
    }
    this.#meter.start(this.#leftBits, this.#core.port.nowMs());
  }

  /** It ends before everything was compared: the disk or the connection is lost. */
  #breakOff(): void {
    const v = this.#volume;
    this.resumeSector = this.#reached;
    this.#log('info', `Online Verify reached sector ${this.resumeSector}`);
    this.#end();
    v.writeBitmap((result) => {
      if (result < 0) v.metaFailed(-result);
    });
  }

  #end(): void {
    this.#found.tell();
    this.#run = 0;
    this.#unsaved = false;
    this.questions.end();
    this.#volume.app.admission.resyncAdvanced();
  }

  /** Every sector before it is compared. */
  get #reached(): number {
    if (this.#leftBits === 0) return 0;
    const bits = Math.max(0, (this.#volume.bitmap?.bits ?? 0) - this.#leftBits);
    return Math.min(
      bits * BLOCK_SECTORS,
      this.questions.firstAsked,
      this.reads.firstAnswer,
      this.answers.firstOpen,
    );
  }

  /** The connection is over: nobody answers, or waits for an answer. */
  #forget(): void {
    this.questions.forget();
    this.answers.forget();
    this.reads.forget();
  }

  /** The disk that pass_on goes on with is no copy to compare: said before the disk says so, or the peer goes on comparing. */
  diskIsBad(): void {
    this.#abort();
  }

  /** The peer begins to copy a part of the device that is new. What it has found until then is told all the same. */
  peerCopies(): void {
    this.#abort();
  }

  #abort(): void {
    if (!isVerifying(this.#volume.state.conn)) return;
    this.#log('warn', 'Online-verify aborted.');
    force(this.#volume, { conn: Conns.Connected });
  }

  get progress(): SyncProgress | null {
    if (this.#run === 0) return null;
    return this.#meter.snapshot(this.#leftBits, 0, this.questions.rateKiBps);
  }

  /** Asked for, or answered, and not compared yet: part of `pe`. */
  get pending(): number {
    return this.questions.pending + this.answers.replied;
  }

  /** Of the peer's, and not answered yet: part of `ua`. */
  get unacked(): number {
    return this.reads.count + this.answers.waiting;
  }

  // ---- time

  get deadlineMs(): number {
    const saveMs = this.#unsaved && !this.#saving ? this.#saveMs : Number.POSITIVE_INFINITY;
    return Math.min(this.questions.deadlineMs, this.reads.deadlineMs, saveMs, this.#giveUpMs);
  }

  tick(nowMs: number): void {
    const { link, state } = this.#volume;
    if (!link) return;
    if (nowMs >= this.#giveUpMs) {
      const what = state.conn === Conns.VerifyS ? 'answer' : 'compare';
      link.fail(
        'Timeout',
        `Remote failed to ${what} a block of an online verify within ko-count * timeout`,
      );
      return;
    }
    if (this.#unsaved && nowMs >= this.#saveMs) this.#save(nowMs);
    this.reads.tick(nowMs);
    if (nowMs < this.questions.deadlineMs) return;
    this.questions.turn(link, nowMs, this.#leftBits === this.#meter.totalBits);
    this.#maybeFinish();
  }

  /** Where our users wait for the peer: not longer than for its acknowledgement of a write. */
  get #giveUpMs(): number {
    const { state, resource } = this.#volume;
    const { koCount, timeoutDs } = resource.netOptions;
    if (koCount === 0 || state.role !== Roles.Primary) return Number.POSITIVE_INFINITY;
    const oldestMs = Math.min(this.questions.oldestMs, this.answers.oldestMs);
    return oldestMs + koCount * timeoutDs * 100;
  }

  // ---- packets

  /** P_OV_REQUEST. 'stalled': too many wait; else null, or what is wrong with it. */
  request(link: Link, sector: number, bytes: number): string | null | 'stalled' {
    const v = this.#volume;
    // A peer that does not know yet that this node has broken it off is answered all the same.
    if (this.#run === 0) this.#algorithm = v.resource.netOptions.verifyAlg;
    const known = this.#core.host.digests.digestBytes(this.#algorithm) > 0;
    if (v.state.conn < Conns.Connected || !v.diskUsable() || !known) {
      link.out.ack(COMMANDS.P_NEG_RS_DREPLY, v, sector, ID_SYNCER_HI, ID_SYNCER_LO, bytes);
      return null;
    }
    if (this.answers.isFull) return 'stalled';
    if (v.state.conn === Conns.VerifyT && !this.#startKnown) this.#startAt(sector);
    this.answers.asked(new VerifyBlock(this.reads, 'answer', link, sector, bytes, -1, this.#run));
    return null;
  }

  #startAt(sector: number): void {
    const bits = this.#volume.bitmap?.bits ?? 0;
    this.#startKnown = true;
    this.#leftBits = Math.max(0, bits - Math.floor(sector / BLOCK_SECTORS));
    this.#meter.start(this.#leftBits, this.#core.port.nowMs());
    this.#log('info', `Online Verify start sector: ${sector}`);
  }

  /** P_OV_REPLY; the digest is pool[digestAt, digestAt + digestBytes). As for `request`. */
  reply(
    link: Link,
    sector: number,
    bytes: number,
    digestAt: number,
    digestBytes: number,
  ): string | null | 'stalled' {
    const v = this.#volume;
    if (v.state.conn < Conns.Connected) return null; // the connection is being ended
    const to = this.questions.answers(sector, bytes);
    if (to === 'unknown') return `sector ${sector} was not asked for`;
    if (to === 'late') {
      this.questions.lateOver(sector);
      this.#result(link, sector, bytes, false); // the peer holds the block until it hears of it
      return null;
    }
    const expected = this.#core.host.digests.digestBytes(this.#algorithm);
    if (digestBytes !== expected) return `a digest of ${digestBytes} bytes, expected ${expected}`;
    const { port } = this.#core;
    const at = this.reads.isFull ? -1 : port.alloc(bytes, 'arrival');
    if (at < 0) return 'stalled';
    keepExpected(this.#core, at, digestAt, digestBytes);
    this.questions.answered(sector);
    this.reads.enter(new VerifyBlock(this.reads, 'compare', link, sector, bytes, at, this.#run));
    return null;
  }

  /** P_OV_RESULT: null, or what is wrong with it. */
  result(sector: number, bytes: number, differs: boolean): string | null {
    const v = this.#volume;
    const b = this.answers.compared(sector, bytes);
    if (b === null && v.state.conn >= Conns.Connected) return `sector ${sector} was not answered`;
    const end = sector + bytes / 512;
    if (differs) this.#differs(sector, end);
    else this.#found.tell();
    if (b?.run === this.#run) this.#counted(end - sector);
    return null;
  }

  /** P_NEG_RS_DREPLY: false if it is no answer to a question of a verify. */
  refused(sector: number, bytes: number): boolean {
    const to = this.questions.answers(sector, bytes);
    if (to === 'unknown') return false;
    // The peer's disk is going, and its state says so in a moment: nothing is left to compare with.
    if (to === 'asked') this.diskIsBad();
    this.questions.lateOver(sector);
    return true;
  }

  /** P_STATE: the peer is Connected. It has compared what it wanted; its last results may still be on their way. */
  peerFinished(): void {
    if (!this.#startKnown) return; // a word from before the first question
    this.#peerDone = true;
    this.#maybeFinish();
  }

  // ---- blocks

  /** A block is in its buffer, or could not be read. */
  wasRead(b: VerifyBlock, ok: boolean): void {
    if (b.kind === 'answer') this.answers.reply(b, ok, this.#algorithm);
    else this.#compare(b, ok);
  }

  /** One read less: it may have been the last. */
  readOver(): void {
    this.#maybeFinish();
  }

  /** The disk was let go, and the verify with it. */
  unreadable(b: VerifyBlock): void {
    const { link, sector, bytes } = b;
    this.diskIsBad();
    if (b.kind === 'compare') this.#compared(b, 'not-read');
    else
      link.out.ack(
        COMMANDS.P_NEG_RS_DREPLY,
        this.#volume,
        sector,
        ID_SYNCER_HI,
        ID_SYNCER_LO,
        bytes,
      );
  }

  #compare(b: VerifyBlock, ok: boolean): void {
    this.reads.leave(b);
    const equal = ok && hasExpected(this.#core, this.#algorithm, b.at, b.bytes);
    this.#compared(b, equal ? 'equal' : ok ? 'different' : 'not-readable');
  }

  /** Of a run that was broken off nothing is believed: writes to the block were not held back any more. */
  #compared(b: VerifyBlock, how: 'equal' | 'different' | 'not-readable' | 'not-read'): void {
    const { link, sector, endSector, bytes } = b;
    const current = b.run !== 0 && b.run === this.#run && this.questions.compared(sector);
    if (!current) this.questions.lateOver(sector);
    const differs = how === 'not-readable' || (current && how === 'different');
    if (differs) this.#differs(sector, endSector);
    else this.#found.tell();
    this.#result(link, sector, bytes, differs);
    this.#volume.app.admission.resyncAdvanced();
    if (current) this.#counted(endSector - sector);
  }

  #result(link: Link, sector: number, bytes: number, differs: boolean): void {
    const id = differs ? ID_OUT_OF_SYNC : ID_IN_SYNC;
    link.out.ack(COMMANDS.P_OV_RESULT, this.#volume, sector, 0, id, bytes);
  }

  #differs(sector: number, endSector: number): void {
    this.#volume.setOutOfSync(sector, endSector);
    this.#found.differs(sector, endSector);
    if (this.#run === 0) {
      this.#found.tell();
      return;
    }
    if (!this.#unsaved) this.#saveMs = Math.max(this.#saveMs, this.#core.port.nowMs());
    this.#unsaved = true;
  }

  #counted(sectors: number): void {
    if (this.#run === 0) return;
    this.#leftBits = Math.max(0, this.#leftBits - Math.ceil(sectors / BLOCK_SECTORS));
    this.#meter.advance(this.#leftBits, this.#core.port.nowMs());
    this.#maybeFinish();
  }

  /** A node that crashes finds in its bitmap what was found until then. */
  #save(nowMs: number): void {
    if (this.#saving || this.#run === 0) return;
    this.#saving = true;
    this.#unsaved = false;
    this.#saveMs = nowMs + SAVE_MS;
    const v = this.#volume;
    v.writeBitmap((result) => {
      this.#saving = false;
      if (result < 0) v.metaFailed(-result);
    });
  }

  // ---- the end

  #maybeFinish(): void {
    const v = this.#volume;
    if (this.#run === 0) return;
    if (v.state.conn === Conns.VerifyS) {
      const begun = this.#leftBits < this.#meter.totalBits;
      if (begun && this.questions.isDone) this.#finish();
      return;
    }
    const nothingLeft = this.answers.replied === 0 && this.unacked === 0;
    if (this.#startKnown && nothingLeft && (this.#leftBits === 0 || this.#peerDone)) this.#finish();
  }

  #finish(): void {
    const v = this.#volume;
    const { host, port } = this.#core;
    this.resumeSector = this.#reached;
    const { totalS, pausedS, kiBps } = this.#meter.summary(port.nowMs(), this.#leftBits);
    this.#end();
    this.#log(
      'info',
      `Online verify done (total ${totalS} sec; paused ${pausedS} sec; ${kiBps} K/sec)`,
    );
    const bits = v.bitmap?.count ?? 0;
    if (bits > 0) this.#log('error', `Online verify found ${bits} 4k block out of sync!`);
    force(v, { conn: Conns.Connected });
    v.writeBitmap((result) => {
      if (result < 0) v.metaFailed(-result);
    });
    if (bits > 0) host.handler('out-of-sync', v.resource.name, v.minor, () => {});
  }

  #log(level: 'info' | 'warn' | 'error', text: string): void {
    this.#core.host.log(level, this.#volume.name, text);
  }
}
