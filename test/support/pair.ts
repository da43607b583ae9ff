/** The beginnings that tests of a pair share. */

import { newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import { setPrimary } from '../../src/drbd/roles.js';
import { Engines, type NodeOptions, type Teardown, type TestNode } from './engines.js';

export const BOTH_GOOD = /cs:Connected .*ds:UpToDate\/UpToDate/;

export function pattern(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (seed * 31 + i * 7 + (i >> 9)) & 255;
  return bytes;
}

export async function promote(node: TestNode, forceIt = false): Promise<void> {
  const outcome = await node.ask((v, done) => setPrimary(v, forceIt, done));
  if (outcome.kind !== 'ok') throw new Error(`${node.name}: ${JSON.stringify(outcome)}`);
}

/** Connected, UpToDate on both sides without a first sync, A Primary. */
export async function pair(t: Teardown, a: NodeOptions = {}, b: NodeOptions = a): Promise<Engines> {
  const e = Engines.create(t, a, b);
  await e.a.attach();
  await e.b.attach();
  e.connect();
  await both(e, /cs:Connected/);
  await e.a.ask((v, done) => newCurrentUuid(v, true, done));
  await both(e, BOTH_GOOD);
  await promote(e.a);
  return e;
}

export async function both(e: Engines, state: RegExp): Promise<void> {
  await e.a.until(state);
  await e.b.until(state);
}

/** The next disk operation of that kind on this node fails. */
export function failNext(node: TestNode, what: 'readDisk' | 'writeDisk'): void {
  const { io } = node;
  const whole = io[what].bind(io) as (...args: unknown[]) => void;
  io[what] = (...args: unknown[]): void => {
    io[what] = whole;
    const [disk, , ...rest] = args;
    whole(disk, 1, ...rest); // an offset that no disk takes: completes with -EINVAL
  };
}
