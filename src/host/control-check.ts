/**
 * Is a message of the control socket a request? Each verb with the fields that it must have, typed by the requests: a verb
 * without a row does not compile. Whatever JSON comes is answered, never thrown at the engine. Whether what it asks for may be
 * is decided elsewhere. Options may be fewer or more than today's: a saved state can be that of another version.
 */
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
} from '../config/drbd-options.js';
import type { ControlFailure, ControlRequest } from './control.js';

/** What is expected, or null when the value is that. */
type Check = (value: unknown, field: string) => string | null;
type Fields = Readonly<Record<string, Check>>;

const whole =
  (max: number): Check =>
  (value, field) => {
    const right =
      typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max;
    return right ? null : `${field}: a whole number from 0 to ${max}`;
  };
const text: Check = (value, field) =>
  typeof value === 'string' && value.length > 0 ? null : `${field}: a name`;
const flag: Check = (value, field) =>
  typeof value === 'boolean' ? null : `${field}: true or false`;
const orNull =
  (check: Check): Check =>
  (value, field) =>
    value === null ? null : check(value, field);

const orAbsent =
  (check: Check): Check =>
  (value, field) =>
    value === undefined ? null : check(value, field);

/** Slots of the log: it is made as long as it is told. (drbdadm does not write less than 67.) */
const AL_EXTENTS = { min: 1, max: 0xfffe };
const minor = whole(1_048_575);
const sector = whole(Number.MAX_SAFE_INTEGER);

const metaIndex: Check = (value, field) =>
  value === 'internal' || value === 'flexible' ? null : whole(255)(value, field);

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const eventForm: Check = (value, field) =>
  value === 'objects' || value === 'states' ? null : `${field}: objects or states`;

const texts: Check = (value, field) =>
  isRecord(value) && Object.values(value).every((v) => typeof v === 'string')
    ? null
    : `${field}: names and texts`;

const address: Check = (value, field) => {
  const right =
    isRecord(value) &&
    (value['family'] === 'ipv4' || value['family'] === 'ipv6') &&
    typeof value['host'] === 'string' &&
    whole(65_535)(value['port'], field) === null &&
    value['port'] !== 0;
  return right ? null : `${field}: an address`;
};

const generations: Check = (value, field) =>
  Array.isArray(value) && value.every((v) => typeof v === 'string' && /^[0-9A-Fa-f]{1,16}$/.test(v))
    ? null
    : `${field}: UUIDs in hex`;

/** Each of today's options has the type of its default, where it is given. */
function options(defaults: object): Check {
  return (value, field) => {
    if (!isRecord(value)) return field;
    for (const [name, normal] of Object.entries(defaults)) {
      const given = value[name];
      if (given === undefined) continue;
      if (typeof given !== typeof normal) return `${name}: as ${JSON.stringify(normal)}`;
      if (typeof given === 'number' && !Number.isSafeInteger(given)) return `${name}: a number`;
    }
    // They go into fields of a packet (wire/packet.ts, putText).
    for (const alg of ['cramHmacAlg', 'dataIntegrityAlg', 'verifyAlg', 'csumsAlg']) {
      const given = value[alg];
      if (given === undefined) continue;
      const plain = typeof given === 'string' && /^[\x20-\x7e]{0,63}$/.test(given);
      if (!plain) return `${alg}: up to 63 plain characters`;
    }
    return null;
  };
}

const disk: Check = (value, field) => {
  const wrong = options(DEFAULT_DISK_OPTIONS)(value, field);
  const { min, max } = AL_EXTENTS;
  const given = isRecord(value) ? (value['alExtents'] ?? min) : min;
  const inRange = typeof given === 'number' && given >= min && given <= max;
  return wrong ?? (inRange ? null : `alExtents: a whole number from ${min} to ${max}`);
};
const net = options(DEFAULT_NET_OPTIONS);
const ofResource = options(DEFAULT_RESOURCE_OPTIONS);

const NONE: Fields = {};
const MINOR: Fields = { minor };
const RESOURCE: Fields = { resource: text };
const FORCED: Fields = { minor, force: flag };
const WAIT: Fields = { minor, timeoutS: whole(300_000), afterSb: flag };

/** `attach` and the rest by the names of their fields; those of a request without a row here do not compile. */
const FIELDS: { readonly [V in ControlRequest['verb']]: Fields } = {
  'new-resource': { resource: text, options: ofResource },
  'new-minor': { resource: text, minor, volume: whole(65_535), device: text },
  attach: {
    minor,
    disk: text,
    metaDisk: text,
    metaIndex,
    options: disk,
    lowerSectors: orAbsent(sector),
  },
  connect: {
    resource: text,
    local: address,
    remote: address,
    options: net,
    discardMyData: flag,
    tentative: flag,
  },
  disconnect: { resource: text, force: flag },
  detach: FORCED,
  primary: FORCED,
  secondary: MINOR,
  invalidate: MINOR,
  'invalidate-remote': MINOR,
  outdate: MINOR,
  'pause-sync': MINOR,
  'resume-sync': MINOR,
  'suspend-io': MINOR,
  'resume-io': MINOR,
  'del-minor': MINOR,
  'new-current-uuid': { minor, clearBitmap: flag },
  verify: { minor, startSector: orNull(sector), stopSector: orNull(sector) },
  resize: {
    minor,
    sizeSectors: sector,
    assumePeerHasSpace: flag,
    assumeClean: flag,
    alStripes: orNull(sector),
    alStripeSizeKib: orNull(sector),
  },
  'disk-options': { minor, options: disk },
  'net-options': { resource: text, options: net },
  'resource-options': { resource: text, options: ofResource },
  'set-handlers': { resource: text, handlers: texts, environment: texts },
  down: RESOURCE,
  'del-resource': RESOURCE,
  'rename-resource': { resource: text, name: text },
  'wait-connect': WAIT,
  'wait-sync': WAIT,
  'timeout-type': MINOR,
  'get-gi': MINOR,
  expose: { minor, generations, users: flag },
  events: { resource: orNull(text), form: orAbsent(eventForm) },
  status: NONE,
  running: NONE,
  restart: NONE,
  shutdown: NONE,
};

/** What a message lacks to be a request; null when it is one. */
export function wrongField(message: unknown): string | null {
  if (!isRecord(message)) return 'an object';
  const verb = message['verb'];
  if (typeof verb !== 'string' || !Object.hasOwn(FIELDS, verb)) return 'verb';
  for (const [field, check] of Object.entries(FIELDS[verb as ControlRequest['verb']])) {
    const wrong = check(message[field], field);
    if (wrong !== null) return wrong;
  }
  return null;
}

/** Options that are not given have their defaults: a saved state, or a drbdadm, of a version that did not know them. */
export function withDefaults(request: ControlRequest): ControlRequest {
  switch (request.verb) {
    case 'attach':
    case 'disk-options':
      return { ...request, options: { ...DEFAULT_DISK_OPTIONS, ...request.options } };
    case 'connect':
    case 'net-options':
      return { ...request, options: { ...DEFAULT_NET_OPTIONS, ...request.options } };
    case 'new-resource':
    case 'resource-options':
      return { ...request, options: { ...DEFAULT_RESOURCE_OPTIONS, ...request.options } };
    default:
      return request;
  }
}

export function notUnderstood(wrong: string): ControlFailure {
  const text = `not a request that drbdd understands: ${wrong} expected`;
  return { ok: false, kind: 'usage', code: 0, text, info: [], next: [] };
}
