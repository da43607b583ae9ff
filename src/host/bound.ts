/**
 * How long an outage may last, computed from the configuration and from how long the scripts took here: one list of parts for
 * each way in which a service can be lost. A part that nobody knows is said to be unknown, and the sum then says "at least".
 *
 *     node       the node dies: deadtime, one keepalive, one look at the clock, what may have to be asked, the starts
 *     restart    a service fails and a restart in place helps: detection, stops, starts
 *     fail-over  it does not help: the same for each restart of the hour, then detection, hand-over, stops, starts
 *
 * Detection of a service: `steps` - 1 checks in a row fail, the first of them begins at most an interval after the failure,
 * the last one may take its whole time. A stop or start that takes longer than it did lately is not in the sum: what limits
 * it is in the notes. Source: docs/HEALTH.md.
 */
import type { HaResource, HaResourceGroup } from '../config/haresources.js';
import { MAX_CHECKS } from '../resource-manager/health.js';
import { waited } from '../resource-manager/lease.js';
import { hasArbiter } from './arbiter-config.js';
import { fenceDeviceOf } from './fence-device.js';
import type { HeartbeatConfig } from './heartbeat-ports.js';
import { scopesOnDisks } from './node-data.js';
import type { ScriptTimes } from './script-times.js';

export interface BoundPart {
  readonly what: string;
  readonly ms: number | null; // null: unknown
  readonly note: string;
}

export interface Bound {
  readonly of: 'node' | 'restart' | 'fail-over';
  readonly key: string | null; // of a group; null: all of them
  readonly parts: readonly BoundPart[];
  readonly ms: number; // the sum of what is known
  readonly isComplete: boolean;
  readonly notes: readonly string[];
}

/** How often membership looks whether a node is silent. */
const LOOK_MS = 250;
/** The three messages of a standby, each asked for again when it is lost, and the standing written and synced. */
const HAND_OVER_MS = 1000;
const DISKS =
  'before that the disks here are looked at: drbdadm dstate of each resource, 10 s at most for each';
const NO_FENCING = 'no fencing is configured: nothing is asked before a take-over';
const WITNESS = 'a witness that does not answer has no limit: until then nothing is taken over';
const FENCING = 'a reset that fails is tried again for ever: until then nothing is taken over';
const LATE =
  'a node that was back before its reset was confirmed, and then fell silent, is given the time of that reset to start, longer each time in a row, 10 min at most';

function bound(
  of: Bound['of'],
  key: string | null,
  parts: readonly BoundPart[],
  notes: readonly string[],
): Bound {
  const ms = parts.reduce((sum, part) => sum + (part.ms ?? 0), 0);
  const isComplete = parts.every((part) => part.ms !== null);
  return { of, key, parts, ms: Math.ceil(ms), isComplete, notes };
}

function scripts(
  action: 'start' | 'stop',
  resources: readonly HaResource[],
  times: ScriptTimes,
): BoundPart[] {
  return resources.map(({ text }) => {
    const took = times.longestMs(text, action);
    const asked = action === 'start' ? times.longestMs(text, 'status') : 0; // before each start
    const ms = took === null ? null : took + (asked ?? 0);
    const note = ms === null ? 'was not run here yet' : 'measured here';
    return { what: `${action} of ${text}`, ms, note };
  });
}

/** A limit that a script may reach when it hangs. */
function limitNote({ ini }: HeartbeatConfig): string {
  const { scriptTimeoutS } = ini.heartbeat;
  if (scriptTimeoutS === 0) return 'a script that hangs has no limit (script-timeout = 0)';
  return `a script that hangs: up to ${scriptTimeoutS} s more each (script-timeout)`;
}

function detection(config: HeartbeatConfig, running: number): BoundPart {
  const { intervalS, steps, timeoutS } = config.ini.health;
  // Where every check hangs, only so many at once: each comes so much later.
  const everyMs = Math.max(intervalS, Math.ceil(running / MAX_CHECKS) * timeoutS) * 1000;
  const isCrowded = everyMs > intervalS * 1000;
  const ms = (isCrowded ? everyMs : intervalS * 1000) * (steps - 1) + timeoutS * 1000;
  const note = isCrowded
    ? `${steps - 1} checks, ${everyMs / 1000} s apart when all of them hang, and the time of one`
    : `${steps - 1} checks, ${intervalS} s apart, and the time of one (${timeoutS} s)`;
  return { what: 'detection', ms, note };
}

export function boundsOf(config: HeartbeatConfig, times: ScriptTimes): Bound[] {
  const { groups, ini } = config;
  const bounds = [nodeBound(config, times)];
  if (ini.health.intervalS === 0) return bounds;
  for (const group of groups) {
    bounds.push(restartBound(config, group, times), failOverBound(config, group, times));
  }
  return bounds.filter((each) => each.of !== 'restart' || ini.health.restartsPerHour > 0);
}

/** A reset that works. */
function fencing(name: string, { delayS, timeoutS }: HeartbeatConfig['ini']['fence']): BoundPart[] {
  const delay = { what: 'delay of the reset', ms: delayS * 1000, note: 'where nothing is held' };
  const reset = { what: 'reset of the dead node', ms: timeoutS * 1000, note: `${name}, at most` };
  return delayS > 0 ? [delay, reset] : [reset];
}

/** What the lease costs (resource-manager/lease.ts). */
function asking({ ini }: HeartbeatConfig, isFenced: boolean): BoundPart[] {
  const { leaseS, stopLimitS } = ini.witness;
  const note = 'a dead node that had it, at most; and the way to the witness and back';
  const lease = { what: 'lease', ms: leaseS * 1000, note };
  const stop = {
    what: 'stop-limit',
    ms: waited(stopLimitS * 1000),
    note: 'it may still be stopping',
  };
  return isFenced ? [lease] : [lease, stop];
}

function nodeBound(config: HeartbeatConfig, times: ScriptTimes): Bound {
  const { haCf, groups, ini } = config;
  const resources = groups.flatMap((group) => group.resources);
  const device = fenceDeviceOf(config);
  const fenceNote = device === null ? (hasArbiter(config) ? WITNESS : NO_FENCING) : FENCING;
  const looks = haCf.autoFailback !== 'legacy' && scopesOnDisks(groups, config.node) !== 'none';
  const notes = [
    ...[limitNote(config), fenceNote],
    ...(device === null ? [] : [LATE]),
    ...(looks ? [DISKS] : []),
  ];
  const parts = [
    { what: 'deadtime', ms: haCf.deadtimeMs, note: 'of ha.cf' },
    { what: 'keepalive', ms: haCf.keepaliveMs, note: 'the last one may just have been sent' },
    { what: 'look', ms: LOOK_MS, note: 'how often silence is looked for' },
    ...(hasArbiter(config) ? asking(config, device !== null) : []),
    ...(device === null ? [] : fencing(device.name, ini.fence)),
    ...scripts('start', resources, times),
  ];
  return bound('node', null, parts, notes);
}

function restartParts(config: HeartbeatConfig, group: HaResourceGroup, times: ScriptTimes) {
  const running = config.groups.reduce((sum, each) => sum + each.resources.length, 0);
  return [
    detection(config, running),
    ...scripts('stop', [...group.resources].reverse(), times),
    ...scripts('start', group.resources, times),
  ];
}

function restartBound(config: HeartbeatConfig, group: HaResourceGroup, times: ScriptTimes): Bound {
  return bound('restart', group.key, restartParts(config, group, times), [limitNote(config)]);
}

function failOverBound(config: HeartbeatConfig, group: HaResourceGroup, times: ScriptTimes): Bound {
  const { restartsPerHour } = config.ini.health;
  const [detected, ...others] = restartParts(config, group, times);
  const once = others.every((part) => part.ms !== null)
    ? others.reduce((sum, part) => sum + (part.ms ?? 0), detected?.ms ?? 0)
    : null;
  const restarts = {
    what: 'restarts in place',
    ms: once === null ? null : restartsPerHour * once,
    note: `${restartsPerHour}, each detected, stopped and started`,
  };
  // The other groups of this node go with it: they are stopped in between.
  const all = config.groups.flatMap((each) => each.resources);
  const parts = [
    ...(restartsPerHour > 0 ? [restarts] : []),
    ...(detected ? [detected] : []),
    { what: 'hand-over', ms: HAND_OVER_MS, note: 'the standing on disk, and three messages' },
    ...scripts('stop', [...all].reverse(), times),
    ...scripts('start', all, times),
  ];
  const notes = [limitNote(config), 'the starts are on the other node: its own may take longer'];
  return bound('fail-over', group.key, parts, notes);
}
