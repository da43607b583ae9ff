/**
 * drbdsetup events2 and events: what is, and then everything that happens, a line each.
 *
 *     exists resource name:r0 role:Secondary suspended:no
 *     exists -
 *     change resource name:r0 role:Primary             what changed, and nothing else
 *
 * events (of 8.3, deprecated) has numbered lines of volumes: ST a state, UH a handler that is called, UH-post one that has ended. Its
 * SP lines (progress of a resync) are not there: `status` has it.
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
import type { NodeStatus } from '../drbd/status.js';
import type { ControlEvent } from '../host/control.js';
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
): Promise<number> {
  const opened = await ControlClient.open(world.root);
  if (!opened.client) {
    world.err(`Can not reach drbdd: ${opened.reason}\n`);
    return EXIT_NO_DAEMON;
  }
  const { client } = opened;
  try {
    const { reply, ended } = await client.events(resource, async (event) => {
      const said = text(event);
      if (said === '') return;
      world.out(said);
      await world.written?.();
    });
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
  return follow(world, resource, (event) => old.lines(event));
}

type Values = Readonly<Record<string, string>>;

/** The lines of events: it puts together again what events2 tells in parts. */
export class OldPrinter {
  readonly #minor: number | null;
  readonly #objects = new Map<string, Values>();
  readonly #said = new Map<string, string>(); // by volume
  #sequence = 0;

  constructor(minor: number | null) {
    this.#minor = minor;
  }

  lines(event: ControlEvent): string {
    switch (event.action) {
      case 'initial':
        return this.#volumes();
      case 'skipped':
        return '';
      case 'call':
      case 'response':
        return this.#helper(event);
      default: {
        const id = idOf(event);
        const values = Object.fromEntries([...event.key, ...event.state]);
        if (event.action === 'destroy') this.#objects.delete(id);
        else this.#objects.set(id, values);
        return event.action === 'exists' ? '' : this.#volumes();
      }
    }
  }

  #of(kind: string, resource: string, volume?: string): Values | null {
    for (const [id, values] of this.#objects) {
      const isIt = id.startsWith(`${kind} `) && values['name'] === resource;
      if (isIt && (volume === undefined || values['volume'] === volume)) return values;
    }
    return null;
  }

  /** Those whose line is another than before. */
  #volumes(): string {
    let text = '';
    for (const [id, device] of this.#objects) {
      if (!id.startsWith('device ') || !this.#wanted(device['minor'])) continue;
      const line = `ST ${this.#name(device)} ${this.#state(device)}`;
      if (this.#said.get(id) === line) continue;
      this.#said.set(id, line);
      text += `${this.#sequence++} ${line}\n`;
    }
    return text;
  }

  #wanted(minor: string | undefined): boolean {
    return this.#minor === null || minor === `${this.#minor}`;
  }

  #name(device: Values): string {
    return `${device['minor']},${device['name']}[${device['volume']}]`;
  }

  #state(device: Values): string {
    const name = device['name'] ?? '';
    const resource = this.#of('resource', name);
    const connection = this.#of('connection', name);
    const peer = this.#of('peer-device', name, device['volume']);
    const replication = peer?.['replication'] ?? 'Off';
    const conn = connection?.['connection'] ?? 'StandAlone';
    const below =
      conn === 'Connecting' ? 'WFConnection' : conn === 'Connected' ? 'WFReportParams' : conn;
    const cs =
      replication === 'Off' ? below : replication === 'Established' ? 'Connected' : replication;
    const isp = (peer?.['resync-suspended'] ?? 'no').split(',');
    const flags = [
      (resource?.['suspended'] ?? 'no') === 'no' ? 'r' : 's',
      isp.includes('dependency') ? 'a' : '-',
      isp.includes('peer') ? 'p' : '-',
      isp.includes('user') ? 'u' : '-',
    ].join('');
    const roles = `${resource?.['role']}/${connection?.['role'] ?? 'Unknown'}`;
    return `{ cs:${cs} ro:${roles} ds:${device['disk']}/${peer?.['peer-disk'] ?? 'DUnknown'} ${flags} }`;
  }

  #helper({ key, status }: HelperEvent): string {
    const values: Values = Object.fromEntries(key);
    const { name = '', volume, helper } = values;
    // Of the whole resource: told for its first volume.
    const device = this.#of('device', name, volume);
    if (!device || !this.#wanted(device['minor'])) return '';
    const what = status === null ? 'UH' : 'UH-post';
    const exit = status === null ? '' : ` 0x${(status << 8).toString(16).padStart(4, '0')}`;
    return `${this.#sequence++} ${what} ${this.#name(device)} ${helper}${exit}\n`;
  }
}
