/**
 * drbdsetup events2 and events: what is, and then everything that happens, a line each.
 *
 *     exists resource name:r0 role:Secondary suspended:no
 *     exists -
 *     change resource name:r0 role:Primary             what changed, and nothing else
 *
 * events (of 8.3, deprecated) has numbered lines of volumes: ST a state (with ST-prev and ST-new: which change led to it), UH a handler
 * that is called, UH-post one that has ended, SP the progress of a resync. The original's R lines, in which it says that a request was
 * answered, are not there.
 *
 * It ends with 20 when drbdd goes away, 0 when the reader does. Source: drbdsetup-84 9.22 observed; docs/CONFIGURATION.md.
 */
import {
  type Fields,
  type HelperEvent,
  type StatusEvent,
  type StatusObject,
  statusObjects,
} from '../drbd/events.js';
import type { StatesEvent } from '../drbd/old-events.js';
import type { NodeStatus } from '../drbd/status.js';
import type { ControlEvent, EventForm } from '../host/control.js';
import { ControlClient } from './control-client.js';
import type { Words } from './drbdsetup-args.js';
import { ask, EXIT_NO_DAEMON, printFailure } from './drbdsetup-client.js';
import type { World } from './world.js';

const EXIT_FAILURE = 10;

interface Options {
  readonly statistics: boolean;
  readonly timestamps: boolean;
}

export async function events2(words: Words, world: World): Promise<number> {
  const object = words.optional();
  const isOver = words.flag('now');
  const options = { statistics: words.flag('statistics'), timestamps: words.flag('timestamps') };
  words.end();
  const resource = object === 'all' ? null : object;
  const status = await ask(world, { verb: 'status' }, object ?? 'all');
  if (!status.ok) return status.status;
  const resources = (status.value as NodeStatus).resources;
  if (resource !== null && !resources.some((r) => r.name === resource)) {
    world.err(`${resource}: No such resource\n`);
    return EXIT_FAILURE;
  }
  const printer = new Printer(options);
  if (!isOver) return follow(world, resource, (event) => printer.lines(event, new Date()));
  for (const r of resources.filter(({ name }) => resource === null || name === resource)) {
    for (const o of statusObjects(r)) {
      world.out(printer.lines({ action: 'exists', ...o }, new Date()));
    }
  }
  world.out(printer.lines({ action: 'initial' }, new Date()));
  return 0;
}

/** Prints until the connection ends. */
async function follow(
  world: World,
  resource: string | null,
  text: (event: ControlEvent) => string,
  form: EventForm = 'objects',
): Promise<number> {
  const opened = await ControlClient.open(world.root);
  if (!opened.client) {
    world.err(`Can not reach drbdd: ${opened.reason}\n`);
    return EXIT_NO_DAEMON;
  }
  const { client } = opened;
  try {
    const { reply, ended } = await client.events(
      resource,
      async (event) => {
        const said = text(event);
        if (said === '') return;
        world.out(said);
        await world.written?.();
      },
      form,
    );
    if (!reply.ok) {
      printFailure(world, reply, resource ?? 'all');
      return EXIT_FAILURE;
    }
    await ended;
    world.err('drbdd closed the control socket\n');
    return EXIT_NO_DAEMON;
  } finally {
    client.close();
  }
}

const shown = (fields: Fields): string => fields.map((f) => ` ${f.join(':')}`).join('');
const idOf = (o: StatusObject): string => `${o.kind}${shown(o.key)}`;

/** The lines of events2. It knows what it has said of each object: a change says the rest. */
export class Printer {
  readonly #options: Options;
  readonly #said = new Map<string, StatusObject>();

  constructor(options: Options) {
    this.#options = options;
  }

  lines(event: ControlEvent, now: Date): string {
    const line = this.#line(event);
    return line === '' ? '' : `${this.#options.timestamps ? `${timestamp(now)} ` : ''}${line}\n`;
  }

  #line(event: ControlEvent): string {
    switch (event.action) {
      case 'initial':
        return 'exists -';
      case 'skipped':
        return `- skipped ${event.count}`;
      case 'states':
      case 'progress':
        return ''; // of events
      case 'call':
      case 'response':
        return helperLine(event);
      case 'destroy':
        this.#said.delete(idOf(event));
        return `destroy ${idOf(event)}`;
      default:
        return this.#objectLine(event);
    }
  }

  #objectLine(event: Exclude<StatusEvent, HelperEvent>): string {
    const before = event.action === 'change' ? this.#said.get(idOf(event)) : undefined;
    this.#said.set(idOf(event), event);
    const statistics = this.#options.statistics ? event.statistics : [];
    const state = unsaid(before?.state, event.state);
    return `${event.action} ${idOf(event)}${shown(state)}${shown(unsaid(before?.statistics, statistics))}`;
  }
}

function unsaid(before: Fields | undefined, now: Fields): Fields {
  const values = new Map(before);
  return now.filter(([name, value]) => values.get(name) !== value);
}

function helperLine({ action, key, status }: HelperEvent): string {
  return `${action} helper${shown(key)}${status === null ? '' : ` status:${status}`}`;
}

/** `2026-01-31T12:00:00.123456+01:00`; JavaScript knows no microseconds. */
export function timestamp(now: Date): string {
  const two = (n: number): string => `${Math.floor(Math.abs(n))}`.padStart(2, '0');
  const zone = -now.getTimezoneOffset();
  const day = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join(':');
  const micro = `${now.getMilliseconds()}000`.padStart(6, '0');
  return `${day}T${time}.${micro}${zone < 0 ? '-' : '+'}${two(zone / 60)}:${two(zone % 60)}`;
}

// ---- events

export async function events(words: Words, world: World): Promise<number> {
  const object = words.optional();
  words.flag('all-devices');
  words.flag('unfiltered');
  words.end();
  const digits = /^(?:minor-|\/dev\/drbd)?(\d{1,7})$/.exec(object ?? '')?.[1];
  const minor = digits === undefined ? null : Number(digits);
  const resource = minor !== null || object === null || object === 'all' ? null : object;
  const old = new OldPrinter(minor);
  return follow(world, resource, (event) => old.lines(event), 'states');
}

interface Volume {
  readonly name: string; // of the resource
  readonly id: string; // '0,r0[0]'
  readonly minor: number;
  readonly state: string;
}

const RESYNC = /^\{ cs:Sync(Source|Target) /;
const IN_SYNC = /^\{ cs:Connected .* ds:UpToDate\/UpToDate /;

/** The lines of events. */
export class OldPrinter {
  readonly #minor: number | null;
  readonly #volumes = new Map<number, Volume>(); // by minor
  #sequence = 0;

  constructor(minor: number | null) {
    this.#minor = minor;
  }

  lines(event: ControlEvent): string {
    switch (event.action) {
      case 'states':
        return this.#states(event);
      case 'progress':
        return this.#progress(event.minor, event.permille);
      case 'call':
      case 'response':
        return this.#helper(event);
      default:
        return '';
    }
  }

  #states({ name, volumes }: StatesEvent): string {
    let text = '';
    const gone = new Set([...this.#volumes.values()].filter((v) => v.name === name));
    for (const { volume, minor, state } of volumes) {
      const before = this.#volumes.get(minor);
      if (before) gone.delete(before);
      const now = { name, id: `${minor},${name}[${volume}]`, minor, state };
      this.#volumes.set(minor, now);
      text += this.#change(before ?? null, now);
    }
    for (const { minor } of gone) this.#volumes.delete(minor);
    return text;
  }

  #change(before: Volume | null, { id, minor, state }: Volume): string {
    if (!this.#wanted(minor) || before?.state === state) return '';
    if (!before) return `${this.#sequence++} ST ${id} ${state}\n`;
    const end = RESYNC.test(before.state) && IN_SYNC.test(state) ? this.#progress(minor, 1000) : '';
    const n = this.#sequence++;
    return `${end}${n} ST-prev ${id} ${before.state}\n${n} ST-new ${id} ${state}\n${n} ST ${id} ${state}\n`;
  }

  #progress(minor: number, permille: number): string {
    const id = this.#volumes.get(minor)?.id;
    if (id === undefined || !this.#wanted(minor)) return '';
    return `${this.#sequence++} SP ${id} ${Math.floor(permille / 10)}.${permille % 10}\n`;
  }

  #wanted(minor: number): boolean {
    return this.#minor === null || minor === this.#minor;
  }

  #helper({ key, status }: HelperEvent): string {
    const values: Readonly<Record<string, string>> = Object.fromEntries(key);
    const { name, minor, helper } = values;
    // Of the whole resource: told for its first volume.
    const volume = [...this.#volumes.values()].find(
      (v) => v.name === name && (minor === undefined || `${v.minor}` === minor),
    );
    if (!volume || !this.#wanted(volume.minor)) return '';
    const what = status === null ? 'UH' : 'UH-post';
    const exit = status === null ? '' : ` 0x${(status << 8).toString(16).padStart(4, '0')}`;
    return `${this.#sequence++} ${what} ${volume.id} ${helper}${exit}\n`;
  }
}
