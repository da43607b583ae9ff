/** twinbeat witness: the third machine of a cluster of two, in the foreground (docs/WITNESS.md). */
import { isIP } from 'node:net';
import { readWitnessKeys, runWitness } from '../real/witness-daemon.js';
import { UsageError, type World } from './world.js';

export interface WitnessFlags {
  readonly listen: string;
  readonly keyFile: string;
  readonly lease: string; // seconds
}

const MIN_LEASE_S = 1;
const MAX_LEASE_S = 3600;

/** 'ADDRESS:PORT', of IPv6 '[ADDRESS]:PORT'. Null: it is neither. */
export function parseListen(text: string): { address: string; port: number } | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text);
  const address = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3] ?? -1);
  const family = match?.[1] === undefined ? 4 : 6;
  return isIP(address) === family && port >= 0 && port <= 65_535 ? { address, port } : null;
}

/** 0: told to end; 1: the socket failed; 2: a wrong call; 6: the keys cannot be used. */
export async function witnessMain(flags: WitnessFlags, world: World): Promise<number> {
  const listen = parseListen(flags.listen);
  if (listen === null) {
    const expected = 'ADDRESS:PORT or [ADDRESS]:PORT';
    throw new UsageError(
      `twinbeat witness: --listen: expected ${expected}, got '${flags.listen}'`,
      2,
    );
  }
  const leaseS = /^\d{1,6}$/.test(flags.lease) ? Number(flags.lease) : 0;
  if (leaseS < MIN_LEASE_S || leaseS > MAX_LEASE_S) {
    const expected = `a whole number of seconds from ${MIN_LEASE_S} to ${MAX_LEASE_S}`;
    throw new UsageError(
      `twinbeat witness: --lease: expected ${expected}, got '${flags.lease}'`,
      2,
    );
  }
  const { keys, errors } = readWitnessKeys(flags.keyFile);
  if (keys === null) {
    for (const text of errors) world.err(`twinbeat witness: ${text}\n`);
    return 6;
  }
  const options = { ...listen, keyFile: flags.keyFile, leaseMs: leaseS * 1000 };
  return runWitness(options, keys, (level, text) => {
    world.out(`twinbeat witness: ${level}: ${text}\n`);
  });
}
