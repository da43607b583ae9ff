/**
 * The local disk, or its meta-data, can not be read or written: what `on-io-error` says, and when the peer hears of it.
 *
 *     pass_on              data: Inconsistent, and gone on with    meta-data: as detach
 *     detach               Failed, the peer is told, Diskless
 *     call-local-io-error  Failed; the handler; then the peer is told, Diskless
 *
 * A handler `local-io-error` ends the node more often than not (`halt -f`). So a Primary answers no write on the strength of the
 * peer's copy, and begins none, until the handler has run and the peer is told: a peer that does not know takes this disk for as
 * good as its own, and would copy from it when it is back, which lacks those writes. The originals answer what was on its way.
 *
 * A Secondary tells at once, and the handler runs beside that: its Primary begins a generation before it answers anything more that
 * this disk lacks. (The originals tell when the handler has run.)
 *
 * Source: docs/STATES.md, handlers; DRBD's on-io-error.
 */
import { finishDetach } from './attach.js';
import { force, wouldChange } from './changes.js';
import type { Link } from './link.js';
import { sendState } from './params.js';
import { Disks, Roles } from './state.js';
import type { Volume } from './volume.js';

/** A read or write of data failed: what on-io-error says. */
export function diskFailed(v: Volume, what: 'read' | 'write', errno: number, sector: number): void {
  if (!v.diskUsable()) return;
  v.core.host.log('error', v.name, `local ${what} IO error (errno ${errno}) on sector ${sector}`);
  if (v.diskOptions.onIoError === 'pass_on') {
    v.verify.diskIsBad();
    v.resync.diskIsBad();
    if (v.state.disk > Disks.Inconsistent) force(v, { disk: Disks.Inconsistent });
    return;
  }
  letGo(v);
}

/** on-io-error pass_on, and the state has no room for it: the disk of the source of a resync stays UpToDate. */
export function hidesFailure(v: Volume): boolean {
  if (v.diskOptions.onIoError !== 'pass_on' || v.state.disk !== Disks.UpToDate) return false;
  return wouldChange(v, { ...v.state, disk: Disks.Inconsistent }).state.disk === Disks.UpToDate;
}

/** Meta-data can not be written: the disk can not be trusted any more. */
export function metaFailed(v: Volume, errno: number): void {
  if (!v.diskUsable()) return;
  v.core.host.log('error', v.name, `meta data IO error (errno ${errno}), detaching`);
  letGo(v);
}

/** It is of no use any more, whatever on-io-error says of errors. */
export function diskHangs(v: Volume): void {
  if (v.diskUsable()) letGo(v);
}

/** The disk is Failed from now on; by an error, or by `detach --force`. */
export function letGo(v: Volume): void {
  if (v.diskOptions.onIoError !== 'call-local-io-error') {
    force(v, { disk: Disks.Failed });
    return;
  }
  if (v.state.role === Roles.Primary && v.link) new Untold(v, v.link).begin();
  else force(v, { disk: Disks.Failed });
  const { untold } = v;
  v.core.host.handler('local-io-error', v.resource.name, v.minor, () => untold?.tell());
}

/** The disk has failed, the handler runs, and the peer does not know yet. */
export class Untold {
  readonly #v: Volume;
  readonly #link: Link;
  #stateDue = false;
  #detachDue = false;

  constructor(v: Volume, link: Link) {
    this.#v = v;
    this.#link = link;
  }

  begin(): void {
    const v = this.#v;
    v.untold = this;
    v.app.admission.holdWrites();
    force(v, { disk: Disks.Failed });
  }

  /** A P_STATE is due over this link: it waits. (A new connection begins with one: then the peer knows.) */
  holdsState(link: Link): boolean {
    if (link !== this.#link) return false;
    this.#stateDue = true;
    return true;
  }

  /** The disk is to be closed: that waits. */
  holdsDetach(): void {
    this.#detachDue = true;
  }

  /** The handler has run, or nobody waits for it any more. */
  tell(): void {
    const v = this.#v;
    if (v.untold !== this) return;
    v.untold = null;
    const link = v.link;
    if (this.#stateDue && link === this.#link) sendState(link, v);
    if (this.#detachDue) finishDetach(v, () => v.core.host.stateChanged(v.resource.name));
    v.app.admission.releaseWrites(); // behind the P_STATE
  }
}
