/** What a witness and etcd have in common. */
import type { ArbiterAnswer, ArbiterAsk } from '../resource-manager/answers.js';

/** `answered` is called once, never inside. */
export type Arbiter = (ask: ArbiterAsk, answered: (answer: ArbiterAnswer) => void) => void;
