/**
 * disconnect: is it allowed, does the peer agree, and whose data count as old from then on.
 *
 *     judged here --refused (-2)--> the answer: a lone Primary would have no UpToDate data
 *         |   \--the peer must be old first (-7)--> asked with its disk Outdated
 *         v
 *     the peer is asked --agrees, or is gone--> StandAlone
 *         \--refuses--> asked again, offering that our own disk is Outdated --refuses--> the answer: -10
 *                         (a disk that cannot be called Outdated is none to be afraid of: StandAlone)
 *
 * So a Secondary cannot leave a diskless Primary, and with fencing a Primary and its leaving peer agree on who is old. Source:
 * docs/STATES.md, administrative operations.
 */
import { force, wouldChange } from './changes.js';
import type { Resource } from './resource.js';
import { Ss } from './return-codes.js';
import { Conns, Disks } from './state.js';
import { type MaskField, stateMask } from './state-mask.js';

type Fields = Readonly<Partial<Record<MaskField, number>>>;

const LEAVE: Fields = { conn: Conns.Disconnecting };
const LEAVE_PEER_OUTDATED: Fields = { ...LEAVE, pdsk: Disks.Outdated };
const LEAVE_OUTDATED: Fields = { ...LEAVE, disk: Disks.Outdated };

/** `done` gets `Ss.SUCCESS` once StandAlone, or why not and the rule that refused. */
export function disconnect(
  r: Resource,
  forceIt: boolean,
  done: (code: number, rule: string) => void,
): void {
  const finish = (): void => {
    r.standAlone('');
    r.whenStandAlone(() => done(Ss.SUCCESS, ''));
  };
  if (forceIt || !r.link || !r.volumes.some((v) => v.state.conn >= Conns.Connected)) {
    finish();
    return;
  }
  const judged = judge(r, LEAVE);
  if (judged.code === Ss.NO_UP_TO_DATE_DISK) {
    done(judged.code, judged.rule);
    return;
  }
  const fields = judged.code === Ss.PRIMARY_NOP ? LEAVE_PEER_OUTDATED : LEAVE;
  ask(r, fields, (code) => {
    if (agreed(code)) {
      leave(r, fields, finish);
    } else if (code === Ss.CONCURRENT_ST_CHG || Number.isNaN(code)) {
      r.retryLater(() => disconnect(r, forceIt, done));
    } else {
      offerOutdated(r, finish, done);
    }
  });
}

/** The peer refuses: probably it wants to see us Outdated. */
function offerOutdated(
  r: Resource,
  finish: () => void,
  done: (code: number, rule: string) => void,
): void {
  const judged = judge(r, LEAVE_OUTDATED);
  if (judged.code === Ss.IS_DISKLESS || judged.code === Ss.LOWER_THAN_OUTDATED) {
    finish();
    return;
  }
  if (judged.code < Ss.SUCCESS) {
    done(Ss.CW_FAILED_BY_PEER, 'peer');
    return;
  }
  ask(r, LEAVE_OUTDATED, (code) => {
    if (agreed(code)) leave(r, LEAVE_OUTDATED, finish);
    else done(Ss.CW_FAILED_BY_PEER, 'peer');
  });
}

/** 0: the connection went away before the answer came, which is what was wanted. */
const agreed = (code: number): boolean => code === 0 || code >= Ss.SUCCESS;

/** `done` gets NaN when another change is being asked for. */
function ask(r: Resource, fields: Fields, done: (code: number) => void): void {
  const { mask, val } = stateMask(fields);
  if (!r.askPeer(null, mask, val, done)) done(Number.NaN);
}

/** The first refusal among the volumes. */
function judge(r: Resource, fields: Fields): { readonly code: number; readonly rule: string } {
  for (const v of r.volumes) {
    const judged = wouldChange(v, { ...v.state, ...fields });
    if (judged.code < Ss.SUCCESS) return judged;
  }
  return { code: Ss.SUCCESS, rule: '' };
}

/**
 * Whose disk is old is known in the same change that ends the connection, so nobody is fenced for it. A resync may have begun since the
 * peer was asked: a disk that is half copied does not become a whole old one.
 */
function leave(r: Resource, fields: Fields, finish: () => void): void {
  for (const v of r.volumes) {
    const { conn, disk } = v.state;
    if (conn >= Conns.Connected) force(v, disk < Disks.Outdated ? { ...fields, disk } : fields);
  }
  finish();
}
