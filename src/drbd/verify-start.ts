/**
 * `drbdadm verify`: begins an online verify, or changes where the one that runs here ends.
 *
 * Without --start one goes on where an earlier one was broken off, or reached its --stop. What the peer's version has no words for
 * is refused (the originals begin at sector 0 below version 90, and compare everything at 100 and below 97, without a word).
 * Source: docs/STATES.md, online verify.
 */
import { knowsStopSector } from '../wire/constants.js';
import { clusterChange, type Done, OK, type Outcome } from './outcome.js';
import { Err, Ss } from './return-codes.js';
import { Conns } from './state.js';
import type { Volume } from './volume.js';

/** While another change is under way: a second at the most. */
const MAX_TRIES = 10;

const refused = (code: number, ...info: string[]): Outcome => ({ kind: 'state', code, info });

/** Sectors; null: not given. */
export function verify(
  v: Volume,
  startSector: number | null,
  stopSector: number | null,
  done: Done,
): void {
  const stop = stopSector ?? Number.POSITIVE_INFINITY;
  const { link } = v;
  if (link && startSector !== null && startSector > 0 && link.apv < 90) {
    done(refused(Ss.NOT_SUPPORTED, `--start: the peer speaks protocol version ${link.apv}`));
    return;
  }
  if (link && stopSector !== null && !knowsStopSector(link.apv)) {
    done(refused(Ss.NOT_SUPPORTED, `--stop: the peer speaks protocol version ${link.apv}`));
    return;
  }
  if (v.state.conn === Conns.VerifyS) {
    if (startSector !== null) {
      done(refused(Ss.RESYNC_RUNNING, '--start: it has begun already; --stop ends it'));
      return;
    }
    v.verify.questions.stopAt(stop);
    done(OK);
    return;
  }
  const alg = v.resource.netOptions.verifyAlg;
  if (alg !== '' && v.core.host.digests.digestBytes(alg) === 0) {
    done({ kind: 'failure', code: Err.VERIFY_ALG, info: [`verify-alg "${alg}"`] });
    return;
  }
  attempt(v, startSector ?? v.verify.resumeSector, stop, 1, done);
}

function attempt(v: Volume, start: number, stop: number, tries: number, done: Done): void {
  v.verify.questions.plan(start, stop);
  clusterChange(v, { conn: Conns.VerifyS }, (code, rule) => {
    if (code >= Ss.SUCCESS) done(OK);
    else if (code === Ss.IN_TRANSIENT_STATE && tries < MAX_TRIES) {
      v.resource.retryLater(() => attempt(v, start, stop, tries + 1, done));
    } else done(refused(code, ...(rule === '' ? [] : [`rule: ${rule}`])));
  });
}
