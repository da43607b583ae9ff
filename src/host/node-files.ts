/**
 * Whether the files of the two nodes say the same: each tells the other one its digests (file-digests.ts), once in a life of either, and
 * when its keys were read again. A difference is a WARN with the file, and part of `twinbeat status`; it holds nothing up: what
 * would start a resource twice is looked at by homes.ts.
 *
 *     the peer is one of ours (`clean`) -> digests -> files dest=P key=N ha.cf=DIGEST ... -> compared there
 *
 * New keys a node says at once, by their numbers (`keys`; digests of their words follow): the other one refuses a reload after which it
 * would not be understood (reload-plan.ts), and its operator goes there next.
 *
 * Debian's heartbeat says nothing of its files, and is told nothing. Nor is a node with auto_failback legacy, which does not say what it is.
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import {
  COMPARED,
  type ComparedFile,
  type FileDigests,
  type KeyedDigests,
} from './file-digests.js';
import type { NodeAsk } from './heartbeat-questions.js';
import type { NodeLogLevel } from './node-ports.js';
import type { KeyNumbers, PeerKeys } from './reload-plan.js';

export interface NodeFilesHost {
  readonly peer: string | null;
  readonly ask: NodeAsk;
  /** Our keys. */
  readonly keys: () => KeyNumbers;
  /** Of its present life. */
  readonly peerGeneration: () => number;
  readonly leaving: () => boolean;
  readonly send: (message: HaMessage, nowMs: number) => void;
  readonly changed: () => void;
  readonly log: (level: NodeLogLevel, text: string) => void;
}

export type FileState = 'same' | 'differs' | 'unknown';
export type FileStates = Readonly<Record<ComparedFile, FileState>>;

interface HeardKeys extends PeerKeys {
  readonly generation: number;
}

interface Heard {
  readonly generation: number; // whose words they are
  readonly key: number; // with which they are keyed
  readonly digests: KeyedDigests;
}

export class NodeFiles {
  readonly #host: NodeFilesHost;
  #own: FileDigests | null = null;
  #heard: Heard | null = null;
  #heardKeys: HeardKeys | null = null;
  #asked = 0; // the latest question
  #toldGeneration = 0; // the life of the peer that was told; 0: none
  readonly #differ = new Set<ComparedFile>(); // was said

  constructor(host: NodeFilesHost) {
    this.#host = host;
  }

  get states(): FileStates {
    const of = (file: ComparedFile): FileState => {
      const heard = this.#heard;
      if (heard === null || heard.generation !== this.#host.peerGeneration()) return 'unknown';
      const here = this.#own?.byKey[heard.key]?.[file];
      const there = heard.digests[file];
      if (here === undefined || there === undefined) return 'unknown';
      return here === there ? 'same' : 'differs';
    };
    return Object.fromEntries(COMPARED.map((file) => [file, of(file)])) as FileStates;
  }

  /** The peer's keys, by its own words; null: it has not said, in its present life. */
  get peerKeys(): PeerKeys | null {
    const heard = this.#heardKeys;
    return heard?.generation === this.#host.peerGeneration() ? heard : null;
  }

  /** A message of the peer. */
  hear(message: HaMessage): void {
    const type = fieldOf(message, 't');
    const isOurs = fieldOf(message, 'clean') === '1';
    if ((type === 'starting' || type === 'resource') && isOurs) this.#tell();
    if (fieldOf(message, 'to_id') !== 'twinbeat') return;
    const key = Number.parseInt(fieldOf(message, 'key') ?? '', 10);
    if (type === 'keys') this.#hearKeys(fieldOf(message, 'numbers') ?? '', key, new Map());
    if (type === 'files') this.#hearFiles(message, key);
  }

  #hearKeys(text: string, signs: number, words: ReadonlyMap<number, string>): void {
    if (Number.isNaN(signs) || !/^\d{1,2}(,\d{1,2}){0,15}$/.test(text)) return;
    const numbers = new Set(text.split(',').map(Number));
    this.#heardKeys = { generation: this.#host.peerGeneration(), numbers, signs, words };
  }

  #hearFiles(message: HaMessage, key: number): void {
    const digests: Partial<Record<ComparedFile, string>> = {};
    for (const file of COMPARED) {
      const digest = fieldOf(message, file) ?? '';
      if (/^[0-9a-f:,]{1,400}$/.test(digest)) digests[file] = digest;
    }
    this.#heard = { generation: this.#host.peerGeneration(), key, digests };
    if (digests.authkeys !== undefined) {
      const each = digests.authkeys.split(',').map((text) => text.split(':'));
      const words = new Map(each.map(([number = '', word = '']) => [Number(number), word]));
      this.#hearKeys([...words.keys()].join(','), key, words);
    }
    this.#compare();
  }

  /** Another file was. */
  changed(): void {
    if (this.#toldGeneration === 0) return;
    this.#toldGeneration = 0;
    this.#tell();
  }

  /** authkeys was read again. */
  keysChanged(nowMs: number): void {
    if (this.#toldGeneration === 0) return;
    this.#toldGeneration = 0;
    const { keys, peer, send, leaving } = this.#host;
    const { numbers, signs } = keys();
    const said = { t: 'keys', numbers: [...numbers].join(','), key: String(signs) };
    if (!leaving()) send(haFields({ ...said, ...addressed(peer ?? '') }), nowMs);
    this.#tell();
  }

  #tell(): void {
    const { ask, peer, peerGeneration, leaving, send } = this.#host;
    const generation = peerGeneration();
    if (peer === null || generation === this.#toldGeneration || leaving()) return;
    this.#toldGeneration = generation;
    const id = ++this.#asked;
    ask('digests', {}, (own, answeredMs) => {
      if (own === null || id !== this.#asked) return; // or of keys that are not in force any more
      this.#own = own;
      const said = { ...own.byKey[own.key], key: String(own.key) };
      if (!leaving()) send(haFields({ t: 'files', ...said, ...addressed(peer) }), answeredMs);
      this.#compare();
    });
  }

  /** Each change is said once. */
  #compare(): void {
    const { peer, log, changed } = this.#host;
    for (const [file, state] of Object.entries(this.states) as [ComparedFile, FileState][]) {
      const what = file === 'twinbeat.ini' ? '[witness] of twinbeat.ini' : file;
      if (state === 'differs' && !this.#differ.has(file)) {
        this.#differ.add(file);
        log('WARN', `${what} of ${peer} says something else than here. Make them the same.`);
      } else if (state === 'same' && this.#differ.delete(file)) {
        log('info', `${what} of ${peer} says the same as here now.`);
      }
    }
    changed();
  }
}

/** Delivered to nobody by the original. */
function addressed(peer: string): Readonly<Record<string, string>> {
  return { dest: peer, from_id: 'twinbeat', to_id: 'twinbeat' };
}
