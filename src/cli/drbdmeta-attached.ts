/**
 * Is a minor attached? Its meta-data on disk is then not the truth, and changing it would be lost or worse. Asked of
 * drbdd's control socket, and of the kernel's DRBD, which may serve the device during a migration.
 */
import { readFileSync } from 'node:fs';
import { Disks } from '../drbd/state.js';
import { ControlClient } from './control-client.js';
import { rooted, type World } from './world.js';

const ANSWER_TIMEOUT_MS = 10_000;

/** `unknown`: a daemon may serve it but does not say; to be treated as attached by everything that writes. */
export type Attached =
  | { readonly state: 'no' | 'yes' }
  | { readonly state: 'unknown'; readonly why: string };

export async function isAttached(minor: number, world: World): Promise<Attached> {
  if (kernelAttached(minor, world)) return { state: 'yes' };
  const opened = await ControlClient.open(world.root);
  if (opened.client === null) {
    return opened.kind === 'unreachable'
      ? { state: 'unknown', why: opened.reason }
      : { state: 'no' };
  }
  try {
    const reply = await opened.client.request({ verb: 'status' }, ANSWER_TIMEOUT_MS);
    if (!reply.ok) return { state: 'unknown', why: `drbdd: ${reply.text}` };
    return attachedIn(reply.value, minor);
  } catch (e) {
    return { state: 'unknown', why: e instanceof Error ? e.message : String(e) };
  } finally {
    opened.client.close();
  }
}

/** `status` is a NodeStatus (drbd/status.ts), checked here because it came through a socket. */
export function attachedIn(status: unknown, minor: number): Attached {
  const resources = field(status, 'resources');
  if (!Array.isArray(resources)) return { state: 'unknown', why: 'drbdd sent no status' };
  for (const resource of resources) {
    const volumes = field(resource, 'volumes');
    if (!Array.isArray(volumes)) return { state: 'unknown', why: 'drbdd sent no status' };
    for (const volume of volumes) {
      if (field(volume, 'minor') !== minor) continue;
      const disk = field(field(volume, 'state'), 'disk');
      return { state: disk === Disks.Diskless ? 'no' : 'yes' };
    }
  }
  return { state: 'no' };
}

/** A line ` 0: cs:Connected ro:... ds:UpToDate/UpToDate ...` of the kernel module's /proc/drbd. */
function kernelAttached(minor: number, world: World): boolean {
  let text: string;
  try {
    text = readFileSync(rooted(world.root, '/proc/drbd'), 'utf8');
  } catch {
    return false; // no module
  }
  const line = new RegExp(`^\\s*${minor}: cs:(?!Unconfigured).* ds:([A-Za-z]+)/`, 'm').exec(text);
  return line !== null && line[1] !== 'Diskless';
}

function field(of: unknown, name: string): unknown {
  return typeof of === 'object' && of !== null
    ? (of as Readonly<Record<string, unknown>>)[name]
    : undefined;
}
