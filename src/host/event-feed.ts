/**
 * Who listens to events (`drbdsetup events2`), and what each has been told. The engine says what every resource has become; each listener
 * gets the way from what it was told last.
 *
 * One that does not read gets nothing more until it has read what is on its way to it: what happens meanwhile is counted, not kept.
 * Then it is told how many things it has missed, and where they have led.
 */
import {
  type HelperEvent,
  helperEvent,
  type StatusEvent,
  statusEvents,
  statusObjects,
} from '../drbd/events.js';
import { type ProgressEvent, statesEvent } from '../drbd/old-events.js';
import type { NodeStatus, ResourceStatus } from '../drbd/status.js';
import type { ControlEvent, EventForm } from './control.js';

export interface Listener {
  /** Null: of all resources. */
  readonly resource: string | null;
  readonly form: EventForm;
  send(event: ControlEvent): void;
  /** It has not read what it was sent: nothing more now. `EventFeed.read` follows. */
  isFull(): boolean;
}

interface Told {
  readonly resources: Map<string, ResourceStatus>;
  skipped: number;
}

export class EventFeed {
  readonly #listeners = new Map<Listener, Told>();
  readonly #now = new Map<string, ResourceStatus>();

  get isEmpty(): boolean {
    return this.#listeners.size === 0;
  }

  /** `status` is how it is now. */
  add(listener: Listener, status: NodeStatus): void {
    this.#now.clear();
    for (const r of status.resources) this.#now.set(r.name, r);
    for (const [other, told] of this.#listeners) this.#tell(other, told);
    const of = [...this.#now.values()].filter((r) => concerns(listener, r.name));
    this.#listeners.set(listener, {
      resources: new Map(of.map((r) => [r.name, r])),
      skipped: 0,
    });
    for (const r of of) {
      if (listener.form === 'states') listener.send(statesEvent(r.name, r));
      else for (const o of statusObjects(r)) listener.send({ action: 'exists', ...o });
    }
    listener.send({ action: 'initial' });
  }

  remove(listener: Listener): void {
    this.#listeners.delete(listener);
  }

  /** What a resource has become. */
  status(name: string, status: ResourceStatus | null): void {
    if (status) this.#now.set(name, status);
    else this.#now.delete(name);
    for (const [listener, told] of this.#listeners) {
      if (!concerns(listener, name)) continue;
      if (listener.isFull()) told.skipped++;
      else this.#tellOf(listener, told, name);
    }
  }

  /** A resync has done some blocks. For a listener that does not read it is old news by then. */
  progress(event: ProgressEvent): void {
    for (const listener of this.#listeners.keys()) {
      if (listener.form !== 'states' || !concerns(listener, event.name)) continue;
      if (!listener.isFull()) listener.send(event);
    }
  }

  /** A handler is called (`exit` null) or has ended. */
  helper(
    what: { readonly event: string; readonly resource: string; readonly minor: number | null },
    exit: number | null,
  ): void {
    for (const [listener, told] of this.#listeners) {
      if (!concerns(listener, what.resource)) continue;
      if (listener.isFull()) told.skipped++;
      else listener.send(this.#helperEvent(what, exit));
    }
  }

  /** It has read what it was sent. */
  read(listener: Listener): void {
    const told = this.#listeners.get(listener);
    if (!told || told.skipped === 0 || listener.isFull()) return;
    listener.send({ action: 'skipped', count: told.skipped });
    told.skipped = 0;
    this.#tell(listener, told);
  }

  #tell(listener: Listener, told: Told): void {
    if (listener.isFull()) return;
    for (const name of new Set([...told.resources.keys(), ...this.#now.keys()])) {
      if (concerns(listener, name)) this.#tellOf(listener, told, name);
    }
  }

  #tellOf(listener: Listener, told: Told, name: string): void {
    const now = this.#now.get(name) ?? null;
    if (listener.form === 'states') {
      listener.send(statesEvent(name, now));
      if (now) told.resources.set(name, now);
      else told.resources.delete(name);
      return;
    }
    const events: StatusEvent[] = statusEvents(told.resources.get(name) ?? null, now);
    if (now) told.resources.set(name, now);
    else told.resources.delete(name);
    for (const event of events) listener.send(event);
  }

  #helperEvent(
    what: { readonly event: string; readonly resource: string; readonly minor: number | null },
    exit: number | null,
  ): HelperEvent {
    const { minor } = what;
    const volumes = this.#now.get(what.resource)?.volumes ?? [];
    const volume = minor === null ? undefined : volumes.find((v) => v.minor === minor);
    return helperEvent(what, volume ? { volume: volume.volume, minor: volume.minor } : null, exit);
  }
}

function concerns(listener: Listener, name: string): boolean {
  return listener.resource === null || listener.resource === name;
}
