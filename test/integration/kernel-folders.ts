/**
 * Which scenarios of test/golden/kernel-steps are played at which version of the protocol, and where their files are.
 *
 * At 101, the version that two of today's nodes speak, all of them. The older ones differ in the header of every packet (86: 8 bytes,
 * 95: two kinds, 100: 16 bytes with the volume), in the size of a request (86: 32 KiB, 95: 128 KiB), and in what is said or asked for
 * at all; so of them those whose packets are others than at 101:
 *  - reconnect: first sync, writes larger than a request may be, bitmap; as the recordings that the originals made through a tap
 *  - diskless: the Primary reads and writes through its peer; attach: P_SIZES, P_UUIDS and P_STATE on a running connection
 *  - invalidate: the states StartingSync, for which 86 has no P_SYNC_UUID of its own; pauses; outdate
 *  - split-brain: flags of P_UUIDS, and --discard-my-data in P_PROTOCOL, which is shorter at 86
 *  - discard: below 100 no peer has the flag TRIM, so ours offers no discards (EOPNOTSUPP, and both disks stay as they are); a kernel
 *    sends P_TRIM at 95 all the same, which ours takes: played there with a kernel as the Primary. At 86 the kernel's sender dies of it,
 *    and the node with it
 *  - integrity-sha1: named in P_PROTOCOL from 87 on, so not at 86; csums: asked for with P_SYNC_PARAM89, so not at 86
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseScenario, type Scenario } from './kernel-scenario.js';

/** All of it, as `make test-kernel` plays it; .ci/run has more than the small part of `make test`. */
export type Part = 'small' | 'ci' | 'all';
const asked = process.env['TWINBEAT_KERNEL'];
export const PART: Part = asked === 'all' || asked === 'ci' ? asked : 'small';

export const FOLDER = fileURLToPath(new URL('../../../test/golden/kernel-steps', import.meta.url));
export const VERSIONS = [101, 100, 95, 86] as const;
export type Version = (typeof VERSIONS)[number];

const BELOW_87 = ['reconnect', 'diskless', 'invalidate', 'split-brain'] as const;
const FROM_95 = [...BELOW_87, 'integrity-sha1', 'csums', 'discard'] as const;

/** What `make test` plays, at 101, with ours as alice. */
export const SMALL_PART: readonly string[] = ['invalidate', 'primary-crash', 'reconnect'];

/** Everything, in the order of the alphabet. */
export function scenarioNames(): string[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.steps'))
    .map((file) => file.slice(0, -'.steps'.length))
    .sort();
}

export function scenariosAt(version: Version): readonly string[] {
  if (version === 101) return scenarioNames();
  return version === 86 ? BELOW_87 : FROM_95;
}

/** Below 101 CI has the version whose packets differ most; what it leaves out, `make test-kernel` plays. */
export function isPlayed(name: string, version: Version, ours: 'alice' | 'bob'): boolean {
  if (name === 'discard' && version === 95 && ours === 'alice') return false; // alice discards
  if (PART === 'all') return true;
  if (PART === 'ci') return version === 101 || version === 86;
  return version === 101 && ours === 'alice' && SMALL_PART.includes(name);
}

export function readScenario(name: string, version: Version): Scenario {
  return parseScenario(name, readFileSync(join(FOLDER, `${name}.steps`), 'utf8'), version);
}

export function tracePath(name: string, version: Version): string {
  return join(FOLDER, `${name}.${version}.txt`);
}

export function readTrace(name: string, version: Version): string[] | null {
  const path = tracePath(name, version);
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : null;
}
