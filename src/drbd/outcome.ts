/** What becomes of a request of an operator, and a change of state that both nodes must agree to. */
import { change, wouldChange } from './changes.js';
import { Ss } from './return-codes.js';
import { Conns, type State } from './state.js';
import { type MaskField, stateMask } from './state-mask.js';
import type { Volume } from './volume.js';

/** The outcome of a request. `state`: a code of a state change; `failure`: one of drbdsetup's other codes. */
export interface Outcome {
  readonly kind: 'ok' | 'state' | 'failure';
  readonly code: number;
  readonly info: readonly string[];
}

export const OK: Outcome = { kind: 'ok', code: Ss.SUCCESS, info: [] };
export type Done = (outcome: Outcome) => void;

export const refused = (code: number, ...info: string[]): Outcome => ({
  kind: 'state',
  code,
  info,
});
export const failed = (code: number, ...info: string[]): Outcome => ({
  kind: 'failure',
  code,
  info,
});

/**
 * A change that both nodes must agree to: judged here, asked of the peer where there is one, then committed.
 */
export function clusterChange(
  v: Volume,
  fields: Readonly<Partial<Record<MaskField, number>>>,
  done: (code: number, rule: string) => void,
): void {
  const wanted = (): State => ({ ...v.state, ...fields });
  const { link } = v;
  const connected = link !== null && v.state.conn >= Conns.Connected;
  if (!connected) {
    const result = change(v, wanted());
    done(result.code, result.rule);
    return;
  }
  const local = wouldChange(v, wanted(), 'cluster-wide');
  if (local.code < Ss.SUCCESS) {
    done(local.code, local.rule);
    return;
  }
  const { mask, val } = stateMask(fields);
  const asked = v.resource.askPeer(v, mask, val, (code) => {
    if (code < Ss.SUCCESS) {
      // 0: the connection went away before the answer came.
      done(
        code === 0
          ? Ss.IN_TRANSIENT_STATE
          : code === Ss.TWO_PRIMARIES
            ? code
            : Ss.CW_FAILED_BY_PEER,
        'peer',
      );
      return;
    }
    const result = change(v, wanted());
    done(result.code, result.rule);
  });
  if (!asked) done(Ss.IN_TRANSIENT_STATE, 'another change is under way');
}
