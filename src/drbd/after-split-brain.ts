/**
 * Both nodes have written since they last saw each other: whose changes are discarded? The after-sb-*pri policies, chosen
 * by the number of Primaries now. Tables of policy names; a name that does not belong in a section decides nothing. Both
 * nodes compute this from the same facts and come to opposite results. Source: docs/STATES.md, after-split-brain policies.
 */
import type { NetOptions } from '../config/drbd-options.js';
import { Roles } from './state.js';
import type { CompareInput } from './uuid-compare.js';

export type Step =
  | { readonly type: 'log'; readonly level: 'info' | 'warn' | 'error'; readonly text: string }
  | { readonly type: 'handler'; readonly name: HandshakeHandler };
export type HandshakeHandler =
  | 'initial-split-brain'
  | 'split-brain'
  | 'pri-lost'
  | 'pri-lost-after-sb';

export interface SplitBrainInput
  extends Pick<CompareInput, 'self' | 'peer' | 'role' | 'peerRole' | 'resolveConflicts'> {
  readonly selfBits: number; // bits set that our last P_UUIDS announced: the blocks changed here
  readonly peerBits: number; // and the peer's
  readonly openers: number; // of the device: one that is open cannot be demoted
  readonly policies: Pick<NetOptions, 'afterSb0pri' | 'afterSb1pri' | 'afterSb2pri'>;
}

export function primaries(input: Pick<SplitBrainInput, 'role' | 'peerRole'>): number {
  return Number(input.role === Roles.Primary) + Number(input.peerRole === Roles.Primary);
}

export const UNSOLVED = -100;

export interface Recovery {
  readonly result: number; // -1: I become the target, 1: the source, UNSOLVED
  readonly giveUpPrimary: boolean;
  readonly staysPrimary: boolean; // it should have, but the device is open: the peer believes in -1
  readonly steps: readonly Step[];
}

type Policy<T> = (input: SplitBrainInput) => T;

const tie = (input: SplitBrainInput): number => (input.resolveConflicts ? -1 : 1);

const zeroChanges: Policy<number> = (i) => {
  if (i.selfBits === 0 && i.peerBits === 0) return tie(i);
  if (i.peerBits === 0) return 1;
  return i.selfBits === 0 ? -1 : UNSOLVED;
};

const leastChanges: Policy<number> = (i) => {
  if (i.selfBits !== i.peerBits) return i.selfBits < i.peerBits ? -1 : 1;
  return tie(i);
};

/** Which of us was Primary when the generations parted: bit 0 of the bitmap UUIDs. Then by changes. */
const olderPrimary =
  (loser: 'younger' | 'older'): Policy<number> =>
  (i) => {
    const self = (i.self.bitmap & 1n) === 1n;
    const peer = (i.peer.bitmap & 1n) === 1n;
    if (self !== peer) return self === (loser === 'younger') ? 1 : -1;
    const byZero = zeroChanges(i);
    return byZero === UNSOLVED ? leastChanges(i) : byZero;
  };

/** No Primary now: whose changes are discarded. `discard-local` and `-remote` are drbdadm's discard-node-NAME. */
export const AFTER_SB_0PRI: Readonly<Record<string, Policy<number>>> = {
  disconnect: () => UNSOLVED,
  'discard-younger-primary': olderPrimary('younger'),
  'discard-older-primary': olderPrimary('older'),
  'discard-zero-changes': zeroChanges,
  'discard-least-changes': leastChanges,
  'discard-local': () => -1,
  'discard-remote': () => 1,
};

const configurationError: Recovery = {
  result: UNSOLVED,
  giveUpPrimary: false,
  staysPrimary: false,
  steps: [{ type: 'log', level: 'error', text: 'Configuration error.' }],
};
const unsolved: Policy<Recovery> = () => plain(UNSOLVED);

const warning = (text: string): Step => ({ type: 'log', level: 'warn', text });

function plain(result: number, steps: readonly Step[] = []): Recovery {
  return { result, giveUpPrimary: false, staysPrimary: false, steps };
}

/** The policy for no Primary, as part of the others. */
function without(input: SplitBrainInput): Recovery {
  const policy = AFTER_SB_0PRI[input.policies.afterSb0pri];
  if (!policy) return configurationError;
  const undecided =
    input.policies.afterSb0pri.endsWith('-primary') &&
    (input.self.bitmap & 1n) === (input.peer.bitmap & 1n);
  const lines = [
    'Discard younger/older primary did not find a decision',
    'Using discard-least-changes instead',
  ];
  return plain(policy(input), undecided ? lines.map(warning) : []);
}

/** Take the decision of 0pri; a Primary whose changes it discards gives up its role first, if nobody uses the device. */
const callPriLost: Policy<Recovery> = (input) => {
  const r = without(input);
  if (r.result !== -1 || input.role !== Roles.Primary) return r;
  if (input.openers > 0) {
    const steps: Step[] = [...r.steps, { type: 'handler', name: 'pri-lost-after-sb' }];
    return { ...plain(UNSOLVED, steps), staysPrimary: true };
  }
  const steps = [...r.steps, warning('Successfully gave up primary role.')];
  return { ...r, giveUpPrimary: true, steps };
};

/** One Primary now. */
export const AFTER_SB_1PRI: Readonly<Record<string, Policy<Recovery>>> = {
  disconnect: unsolved,
  consensus: (input) => {
    const r = without(input);
    const discardsSecondary = r.result === (input.role === Roles.Primary ? 1 : -1);
    return discardsSecondary ? r : { ...r, result: UNSOLVED };
  },
  'violently-as0p': without,
  'discard-secondary': (input) => plain(input.role === Roles.Primary ? 1 : -1),
  'call-pri-lost-after-sb': callPriLost,
};

/** Two Primaries now. */
export const AFTER_SB_2PRI: Readonly<Record<string, Policy<Recovery>>> = {
  disconnect: unsolved,
  'violently-as0p': without,
  'call-pri-lost-after-sb': callPriLost,
};

/** The policy of this moment, by the number of Primaries. */
export function recoverSplitBrain(input: SplitBrainInput): Recovery {
  const { afterSb1pri, afterSb2pri } = input.policies;
  switch (primaries(input)) {
    case 0:
      return without(input);
    case 1:
      return (AFTER_SB_1PRI[afterSb1pri] ?? (() => configurationError))(input);
    default:
      return (AFTER_SB_2PRI[afterSb2pri] ?? (() => configurationError))(input);
  }
}

/** Does a Primary whose changes are discarded give up its role (if it can), by the policy of this moment? */
export function losersGiveUp(input: SplitBrainInput): boolean {
  const { afterSb1pri, afterSb2pri } = input.policies;
  const policy = ['', afterSb1pri, afterSb2pri][primaries(input)];
  return policy === 'call-pri-lost-after-sb';
}
