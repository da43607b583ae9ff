/**
 * The program that a resource is: which, with which words and variables, by its kind.
 *
 *     heartbeat  /etc/ha.d/resource.d/NAME, then the resource.d of this project, then /etc/init.d/NAME:
 *                NAME ARGUMENT... start|stop|status
 *     ocf        /usr/lib/ocf/resource.d/PROVIDER/TYPE start|stop|monitor, NAME=VALUE as OCF_RESKEY_NAME=VALUE
 *     systemd    systemctl start|stop|show UNIT
 *
 * A unit is never enabled: whoever boots must not start what the other node runs. A stop of a unit wins over a start of it that is
 * under way, and nothing that somebody asks for meanwhile wins over the stop (systemctl(1), --job-mode).
 *
 * Sources: the OCF resource agent API 1.0; ocf-shellfuncs of resource-agents 4.12 (ocf_is_probe, HA_RSCTMP); systemctl(1).
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HaResource } from '../config/haresources.js';
import type { Action } from '../resource-manager/group-operation.js';

export interface ResourceCommand {
  readonly program: string;
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>; // besides the environment of all scripts
}

const OCF_ROOT = '/usr/lib/ocf';

/** `--`: a unit's name may begin with a dash. */
const SYSTEMCTL: Readonly<Record<Action, readonly string[]>> = {
  start: ['start', '--no-ask-password', '--'],
  stop: ['stop', '--no-ask-password', '--job-mode=replace-irreversibly', '--'],
  status: ['show', '--property=ActiveState,SubState', '--'],
};

/** The resource.d of this project: beside build/ or, installed, beside it in lib/twinbeat. */
export function ownResourceDir(): string {
  const here = dirname(fileURLToPath(import.meta.url)); // build/src/real
  return resolve(here, '../../../resource.d');
}

async function firstProgram(paths: readonly string[]): Promise<string | null> {
  for (const path of paths) {
    try {
      if (!(await stat(path)).isFile()) continue;
      await access(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  return null;
}

export async function findScript(root: string, script: string): Promise<string | null> {
  if (script.includes('/')) return null;
  const dirs = [`${root}/etc/ha.d/resource.d`, ownResourceDir(), `${root}/etc/init.d`];
  return firstProgram(dirs.map((dir) => join(dir, script)));
}

/** Null: there is no such program. `timeoutMs`: how long it may run, 0 for ever. */
export async function resourceCommand(
  root: string,
  resource: HaResource,
  action: Action,
  timeoutMs: number,
): Promise<ResourceCommand | null> {
  const { kind, script, args } = resource;
  if (kind === 'systemd') {
    return { program: 'systemctl', words: [...SYSTEMCTL[action], script], env: { LC_ALL: 'C' } };
  }
  if (kind === 'ocf') return agentCommand(root, resource, action, timeoutMs);
  const program = await findScript(root, script);
  return program === null ? null : { program, words: [...args, action], env: {} };
}

async function agentCommand(
  root: string,
  { script, args, text }: HaResource,
  action: Action,
  timeoutMs: number,
): Promise<ResourceCommand | null> {
  const [provider = '', type = ''] = script.split(':');
  // An agent is a program of the machine, also for one of several nodes on it.
  const program = await firstProgram(
    [root, ''].map((dir) => join(`${dir}${OCF_ROOT}/resource.d`, provider, type)),
  );
  if (program === null) return null;
  // Where agents keep what they have started: not in heartbeat's own rsctmp, which is emptied at its starts.
  const states = `${root}/run/resource-agents`;
  await mkdir(states, { recursive: true, mode: 0o1755 }).catch(() => {}); // the agent says what it misses
  // One name for one resource, also as the name of a file. The same on both nodes.
  const instance = `${type}-${createHash('sha256').update(text).digest('hex').slice(0, 8)}`;
  const env: Record<string, string> = {
    OCF_ROOT,
    OCF_RA_VERSION_MAJOR: '1',
    OCF_RA_VERSION_MINOR: '0',
    OCF_RESOURCE_PROVIDER: provider,
    OCF_RESOURCE_TYPE: type,
    OCF_RESOURCE_INSTANCE: instance,
    HA_RSCTMP: states,
    OCF_RESKEY_CRM_meta_interval: '0', // not a check at an interval: what cannot run on this node yet is stopped, not failed
  };
  if (timeoutMs > 0) env['OCF_RESKEY_CRM_meta_timeout'] = String(timeoutMs);
  for (const arg of args) {
    const at = arg.indexOf('=');
    env[`OCF_RESKEY_${arg.slice(0, at)}`] = arg.slice(at + 1);
  }
  return { program, words: [action === 'status' ? 'monitor' : action], env };
}
