/** What a replay tells: one event per transition, decision or request, with its cause and, when asked, its reasons. */
import type { Decision } from '../drbd/ports.js';
import { Ss, stateText } from '../drbd/return-codes.js';
import { connName, diskName, roleName, type State } from '../drbd/state.js';
import { changeText } from '../drbd/state-text.js';
import { sameState } from '../drbd/transition.js';

export interface ReplayEvent {
  readonly wallMs: number;
  readonly node: string;
  readonly daemon: 'drbdd' | 'heartbeat';
  /** Log lines and refusals are shown by `--explain` alone. */
  readonly kind: 'transition' | 'decision' | 'refused' | 'request' | 'handler' | 'log' | 'check';
  readonly what: string;
  readonly cause: string;
  readonly why: readonly string[];
}

type Part = Pick<ReplayEvent, 'kind' | 'what' | 'why'>;

function short(s: State): string {
  return (
    `cs:${connName(s.conn)} ro:${roleName(s.role)}/${roleName(s.peer)} ` +
    `ds:${diskName(s.disk)}/${diskName(s.pdsk)}${s.susp | s.suspNod | s.suspFen ? ' suspended' : ''}`
  );
}

export function changeEvents(d: Extract<Decision, { type: 'change' }>): Part[] {
  const { old, wanted, result, context: c } = d;
  const object = `drbd${d.minor}`;
  const asked = changeText(old, wanted).trim();
  if (result.code < Ss.SUCCESS) {
    return [
      {
        kind: 'refused',
        what: `${object}: refused: ${asked}: ${stateText(result.code)}`,
        why: [`rule ${result.rule}`, `in state ${short(old)}`],
      },
    ];
  }
  if (!d.commit || sameState(old, result.state)) return [];
  const what = changeText(old, result.state).trim();
  const why = [
    `was ${short(old)}`,
    d.how === 'hard'
      ? 'a fact: only the hard rules could refuse it'
      : 'asked for: all rules allow it',
  ];
  if (what !== asked) {
    why.push(
      `asked for ${asked === '' ? 'nothing else' : asked}; what it implies makes it ${what}`,
    );
    const negotiated = c.negotiated ? ', the disk was negotiated' : '';
    why.push(
      `which depends on: fencing ${c.fencing}, on-no-data-accessible ${c.onNoDataAccessible}, ` +
        `net ${c.netConfigured ? 'configured' : 'not configured'}${negotiated}`,
    );
  }
  if (result.warning !== null) why.push(result.warning);
  return [{ kind: 'transition', what: `${object}: ${what}`, why }];
}

const hex = (uuid: bigint): string => uuid.toString(16).toUpperCase().padStart(16, '0');

export function syncEvents(d: Extract<Decision, { type: 'sync' }>): Part[] {
  const { input: i, result: r } = d;
  const sets = (s: typeof i.self): string =>
    [s.current, s.bitmap, s.history1, s.history2].map(hex).join(':');
  const outcome =
    r.refused !== null
      ? `refused: ${r.refused}`
      : `${connName(r.conn)}${r.fullSync ? ', full sync' : ''}${r.giveUpPrimary ? ', gives up Primary' : ''}`;
  return [
    {
      kind: 'decision',
      what: `drbd${d.minor}: generations compared by rule ${r.rule}: ${outcome}`,
      why: [
        `here  ${sets(i.self)} bits ${i.selfBits}, disk ${diskName(i.disk)}, ${roleName(i.role)}`,
        `peer  ${sets(i.peer)} bits ${i.peerBits}, disk ${diskName(i.peerDisk)}, ${roleName(i.peerRole)}`,
        `policies ${i.policies.afterSb0pri}, ${i.policies.afterSb1pri}, ${i.policies.afterSb2pri}, rr-conflict ${i.policies.rrConflict}`,
        `compared ${r.compared}, after policies ${r.result}`,
      ],
    },
  ];
}
