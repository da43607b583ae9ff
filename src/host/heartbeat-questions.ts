/**
 * What the lives of heartbeat ask of the world and is answered later: one port for all of it, so that recorder, replay and
 * simulator know it once. A new question is a row here, and in the tables of answers of real/ and sim/.
 */
import type { HaResource } from '../config/haresources.js';
import type {
  ArbiterAnswer,
  ArbiterAsk,
  DataState,
  FenceAnswer,
} from '../resource-manager/answers.js';
import type { ScriptOutcome } from '../resource-manager/group-operation.js';
import type { Standing } from '../resource-manager/standing.js';
import type { FileDigests } from './file-digests.js';
import type { HeartbeatConfig } from './heartbeat-ports.js';

export interface Questions {
  /** Reset a node. */
  readonly fence: { readonly ask: { readonly node: string }; readonly answer: FenceAnswer };
  /** The lease of the witness or etcd; answered by its end at the latest. */
  readonly arbiter: { readonly ask: ArbiterAsk; readonly answer: ArbiterAnswer };
  /** Disk states of a resource of drbd, as this node knows them; null: drbdadm cannot say. */
  readonly data: { readonly ask: { readonly resource: string }; readonly answer: DataState | null };
  /** Is a resource well? By exit status, as `monitor` has it (docs/RESOURCES.md); killed at its time limit. */
  readonly check: {
    readonly ask: { readonly resource: HaResource; readonly timeoutMs: number };
    readonly answer: ScriptOutcome;
  };
  /** Tell the network again where an address is: ARP, NDP. */
  readonly announce: { readonly ask: { readonly resource: HaResource }; readonly answer: null };
  /** What the files of this node say; null: nobody can say. */
  readonly digests: {
    readonly ask: Readonly<Record<never, never>>;
    readonly answer: FileDigests | null;
  };
  /** Keep the standing of this node, also through a power cut; false: it could not be written. */
  readonly standing: { readonly ask: { readonly standing: Standing }; readonly answer: boolean };
}

export type QuestionKind = keyof Questions;

/** `answered` is called once, never inside the call. Nothing of a question may be secret: it is recorded. */
export type Ask = <K extends QuestionKind>(
  config: HeartbeatConfig,
  kind: K,
  ask: Questions[K]['ask'],
  answered: (answer: Questions[K]['answer']) => void,
) => void;

/** The same for a machine, which knows of no configuration and is not told what was asked by another life. */
export type NodeAsk = <K extends QuestionKind>(
  kind: K,
  ask: Questions[K]['ask'],
  answered: (answer: Questions[K]['answer'], nowMs: number) => void,
) => void;

/** One function for each kind of question. */
export type Answers = {
  readonly [K in QuestionKind]: (
    config: HeartbeatConfig,
    ask: Questions[K]['ask'],
    answered: (answer: Questions[K]['answer']) => void,
  ) => void;
};

/** A port that looks into a table of answers. */
export function askOf(answers: Answers): Ask {
  return (config, kind, ask, answered) => answers[kind](config, ask, answered);
}
