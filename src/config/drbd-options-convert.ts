/**
 * Options as written -> the typed options of the engine, and back for `drbdsetup show`. The last of two values of one
 * option wins, as drbdsetup takes them. What twinbeat does not do is refused here, with the reason.
 */
import {
  DISK_TABLE,
  NET_TABLE,
  type Option,
  RESOURCE_TABLE,
  scaledNumber,
  valueError,
} from './drbd-option-table.js';
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
  type DiskOptions,
  type NetOptions,
  type ResourceOptions,
} from './drbd-options.js';

export interface WrittenOption {
  readonly name: string;
  readonly value: string; // 'yes' and 'no' for flags
}

export interface Converted<T> {
  readonly options: T | null; // null: see errors
  readonly errors: readonly string[];
}

type Value = string | number | boolean;

export const TWO_PRIMARIES_REFUSED =
  'allow-two-primaries is not supported: twinbeat keeps one node primary at a time. Remove the line, and let the cluster manager move the service';

/** One value in the engine's unit; only after `valueError` found nothing. */
export function convertValue(option: Option, value: string): Value {
  switch (option.kind) {
    case 'number': {
      const n = scaledNumber(value, option.scale) ?? option.min;
      return option.clamp ? Math.min(Math.max(n, option.min), option.max) : n;
    }
    case 'word':
      return option.name === 'protocol' ? value.toUpperCase() : value;
    case 'flag':
      return value === 'yes';
    case 'text':
      return value;
  }
}

function convert<T extends object>(
  table: Readonly<Record<string, Option>>,
  base: T,
  written: readonly WrittenOption[],
): Converted<T> {
  const fields = new Map(Object.entries(table).map(([field, o]) => [o.name, [field, o] as const]));
  const values: Record<string, Value> = {};
  const errors: string[] = [];
  for (const { name, value } of written) {
    if (name === 'use-bmbv') continue; // 8.0: nothing to switch
    const found = fields.get(name);
    const error = found
      ? valueError(found[1], value)
      : `expected an option of this section, got '${name}'`;
    if (error !== null) errors.push(error);
    else if (found) values[found[0]] = convertValue(found[1], value);
  }
  return { options: errors.length === 0 ? Object.assign({}, base, values) : null, errors };
}

export function diskOptions(
  written: readonly WrittenOption[],
  base: DiskOptions = DEFAULT_DISK_OPTIONS,
): Converted<DiskOptions> {
  return convert(DISK_TABLE, base, written);
}

export function netOptions(
  written: readonly WrittenOption[],
  base: NetOptions = DEFAULT_NET_OPTIONS,
): Converted<NetOptions> {
  const converted = convert(NET_TABLE, base, written);
  if (!converted.options?.allowTwoPrimaries) return converted;
  return { options: null, errors: [TWO_PRIMARIES_REFUSED] };
}

export function resourceOptions(
  written: readonly WrittenOption[],
  base: ResourceOptions = DEFAULT_RESOURCE_OPTIONS,
): Converted<ResourceOptions> {
  return convert(RESOURCE_TABLE, base, written);
}

/** A line of `drbdsetup show`: the option in its own unit, and whether it is the default. */
export interface ShownOption {
  readonly name: string;
  readonly value: string;
  readonly unit: string;
  readonly isDefault: boolean;
}

export function showOptions<T extends object>(
  table: Readonly<Record<keyof T & string, Option>>,
  options: T,
  defaults: T,
): ShownOption[] {
  const now: ReadonlyMap<string, unknown> = new Map(Object.entries(options));
  const usual: ReadonlyMap<string, unknown> = new Map(Object.entries(defaults));
  return Object.entries<Option>(table).map(([field, option]) => ({
    name: option.name,
    value: showValue(option, now.get(field)),
    unit: option.kind === 'number' ? option.unit : '',
    isDefault: now.get(field) === usual.get(field),
  }));
}

function showValue(option: Option, value: unknown): string {
  switch (option.kind) {
    case 'number':
      return `${String(value)}${option.scale === '1' ? '' : option.scale}`;
    case 'flag':
      return value === true ? 'yes' : 'no';
    case 'text':
      return `"${String(value).replace(/["\\]/g, '\\$&')}"`;
    case 'word':
      return String(value);
  }
}
