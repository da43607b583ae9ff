/** A simulated node's answer to `data`: what its drbdadm would say of the disks of all volumes. */
import { diskName } from '../drbd/state.js';
import type { Answers } from '../host/heartbeat-questions.js';
import type { SimNode } from './sim-node.js';

export function dataAnswer(node: SimNode): Answers['data'] {
  return (_config, _ask, answered) => {
    const states = node.replicas.map((replica) => replica.state);
    const known = states.filter((state) => state !== null);
    // drbdd does not run, or a volume is not configured.
    if (known.length < states.length) answered(null);
    else {
      answered({
        own: known.map((state) => diskName(state.disk)),
        peer: known.map((state) => diskName(state.pdsk)),
      });
    }
  };
}
