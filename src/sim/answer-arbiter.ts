/** A simulated node's answer to `arbiter`: it asks the simulated witness as real/answer-arbiter does, with real datagrams. */
import type { DigestSource } from '../base/ports.js';
import type { ArbiterAnswer, ArbiterAsk } from '../resource-manager/answers.js';
import { decodeWitness, encodeWitness, isAnswerTo, type WitnessMessage } from '../wire/witness.js';
import { SIM_CLUSTER, SIM_WITNESS_KEY, type SimWitness } from './sim-witness.js';

export interface SimAskerHost {
  readonly after: (delayMs: number, run: () => void) => void; // the node's clock
  readonly digests: DigestSource;
}

export class SimAsker {
  readonly #witness: SimWitness;
  readonly #host: SimAskerHost;
  #count = 0;

  constructor(witness: SimWitness, host: SimAskerHost) {
    this.#witness = witness;
    this.#host = host;
  }

  /** `answered` is called once, never inside. */
  ask(
    { verb, node, generation, leaseMs }: ArbiterAsk,
    answered: (answer: ArbiterAnswer) => void,
  ): void {
    const { digests, after } = this.#host;
    const request: WitnessMessage = {
      verb,
      generation,
      count: ++this.#count,
      salt: 0n,
      leaseMs: verb === 'release' ? 0 : leaseMs,
      released: 0,
      cluster: SIM_CLUSTER,
      node,
      holder: '',
    };
    let isOver = false;
    const finish = (answer: ArbiterAnswer): void => {
      if (isOver) return;
      isOver = true;
      answered(answer);
    };
    after(leaseMs, () => finish({ verdict: 'silent' }));
    this.#witness.send(node, encodeWitness(request, SIM_WITNESS_KEY, digests), (datagram) => {
      const decoded = decodeWitness(datagram, () => SIM_WITNESS_KEY, digests);
      if (!decoded.ok || !isAnswerTo(decoded.message, request)) return;
      const { verb: said, released, holder } = decoded.message;
      if (said === 'granted') finish({ verdict: 'granted', released });
      else finish({ verdict: 'refused', holder });
    });
  }
}
