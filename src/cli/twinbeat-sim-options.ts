/** The command line of `twinbeat sim`: what is to be run, or what is wrong with it and what would be right. */
import { randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { ALL_PROFILES, type AnyProfile, type Draw, versionsOf } from '../sim/swarm.js';
import { UsageError } from './world.js';

/** As commander gives them. */
export interface SimFlags {
  readonly seed?: string;
  readonly seeds?: string;
  readonly minutes?: string;
  readonly from?: string;
  readonly also?: string;
  readonly scenario?: string;
  readonly fault?: string;
  readonly mutant?: string;
  readonly trace?: true;
  readonly pcap?: string;
  readonly json?: true;
  readonly shrink?: true;
  readonly first?: true;
  readonly workers?: string;
}

/** Which runs. */
export type What =
  | { readonly kind: 'one'; readonly draw: Draw }
  | {
      readonly kind: 'many';
      readonly from: number;
      readonly count: number;
      readonly fresh: boolean;
    }
  | { readonly kind: 'minutes'; readonly from: number; readonly minutes: number }
  | { readonly kind: 'scenario'; readonly file: string };

export interface SimOptions {
  readonly what: What;
  readonly also: string | null;
  readonly profile: AnyProfile;
  readonly mutant: string | null;
  readonly trace: boolean;
  readonly pcap: string | null;
  readonly json: boolean;
  readonly shrink: boolean;
  readonly first: boolean;
  readonly workers: number;
}

const DEFAULT_SEEDS = 100;
const MOST_SEED = 0xffffffff;
const MOST_SEEDS = 10_000_000;
const MOST_WORKERS = 256;

function wrong(text: string): UsageError {
  return new UsageError(`twinbeat sim: ${text}`, 2);
}

function whole(option: string, text: string, least: number, most: number): number {
  const n = Number(text);
  if (!/^\d+$/.test(text) || n < least || n > most) {
    throw wrong(`${option} "${text}": expected a whole number from ${least} to ${most}`);
  }
  return n;
}

/** `12345`, or `12345@3` as a report prints it: of the swarm of that version. `12345@1:cluster`: of that profile, whatever was asked for. */
export function parseSeed(text: string): KeptSeed {
  const m = /^(\d{1,10})(?:@(\d{1,9})(?::([a-z]+))?)?$/.exec(text);
  const seed = Number(m?.[1]);
  const profile = ALL_PROFILES.find((p) => p === m?.[3]);
  if (!m || seed > MOST_SEED || (m[3] !== undefined && !profile)) {
    throw wrong(
      `--seed "${text}": expected a whole number from 0 to ${MOST_SEED}, or NUMBER@VERSION or NUMBER@VERSION:PROFILE as a report prints it`,
    );
  }
  const version = m[2] === undefined ? null : Number(m[2]);
  return profile ? { seed, version, profile } : { seed, version };
}

function drawOf(text: string, asked: AnyProfile): Draw {
  const parsed = parseSeed(text);
  const { seed, version } = parsed;
  const profile = parsed.profile ?? asked;
  const { first, newest } = versionsOf(profile);
  const draw = { ...parsed, version: version ?? newest };
  if (isDrawn(draw.version, profile)) return draw;
  const [name, file] =
    profile === 'cluster' ? ['CLUSTER_VERSION', 'swarm-cluster.ts'] : ['SWARM_VERSION', 'swarm.ts'];
  const which = draw.version < first ? 'an older' : 'a newer';
  throw wrong(
    `--seed ${text}: the seed is of ${which} version of the swarm, ${version}; this one draws ${first} to ${newest}, in which ${seed} is another run. ` +
      `To replay it, build the last commit with ${name} ${version}: git log -S'${name} = ${version};' --oneline -- src/sim/${file} ` +
      `(the newest of two lines replaced it: take the commit before that one)`,
  );
}

/** Printed seeds carry their version, and their profile if it is their own. */
export function seedText({ seed, version, profile }: Draw): string {
  return `${seed}@${version}${profile === undefined ? '' : `:${profile}`}`;
}

/** A version of the swarm whose seeds mean what they did when they were found. */
export function isDrawn(version: number, profile: AnyProfile): boolean {
  const { first, newest } = versionsOf(profile);
  return version >= first && version <= newest;
}

function whatOf(f: SimFlags): What {
  const given = (['seed', 'seeds', 'minutes', 'scenario'] as const).filter(
    (name) => f[name] !== undefined,
  );
  if (given.length > 1) {
    throw wrong(
      `${given.map((name) => `--${name}`).join(' and ')} exclude each other: give one of them`,
    );
  }
  if (f.scenario !== undefined) return { kind: 'scenario', file: f.scenario };
  if (f.from !== undefined && f.seed !== undefined) {
    throw wrong('--from belongs to --seeds and --minutes; --seed is one seed already');
  }
  if (f.seed !== undefined) return { kind: 'one', draw: drawOf(f.seed, profileOf(f)) };
  const fresh = f.from === undefined;
  const from = (count: number): number =>
    f.from === undefined
      ? randomInt(1, MOST_SEED - count)
      : whole('--from', f.from, 0, MOST_SEED - count);
  if (f.minutes !== undefined) {
    const minutes = Number(f.minutes);
    if (!/^\d+(\.\d+)?$/.test(f.minutes) || minutes <= 0 || minutes > 100_000) {
      throw wrong(`--minutes "${f.minutes}": expected a number of minutes above 0`);
    }
    return { kind: 'minutes', from: from(MOST_SEEDS), minutes };
  }
  const count = whole('--seeds', f.seeds ?? String(DEFAULT_SEEDS), 1, MOST_SEEDS);
  return { kind: 'many', from: from(count), count, fresh };
}

function profileOf(f: SimFlags): AnyProfile {
  const name = f.fault ?? 'swarm';
  const profile = ALL_PROFILES.find((p) => p === name);
  if (!profile) throw wrong(`--fault "${name}": expected one of ${ALL_PROFILES.join(', ')}`);
  return profile;
}

/** `mutant`: the one that this process runs already. */
export function simOptions(f: SimFlags, mutant: string | null): SimOptions {
  const what = whatOf(f);
  const single = what.kind === 'one' || what.kind === 'scenario';
  const onlySingle = (option: string): UsageError =>
    wrong(`${option} is for a single run: give it with --seed N or --scenario FILE`);
  if (f.trace && !single) throw onlySingle('--trace');
  if (f.pcap !== undefined && !single) throw onlySingle('--pcap');
  if (f.trace && f.json) throw wrong('--trace and --json both write to standard output: give one');
  if (f.also !== undefined && single)
    throw wrong('--also is for many runs: give it with --seeds or --minutes');
  if (what.kind === 'scenario' && f.fault !== undefined)
    throw wrong('--fault chooses what the swarm draws; a scenario says itself what happens');
  if (what.kind === 'scenario' && f.shrink)
    throw wrong('--shrink is for runs of the swarm; a scenario is shortened by hand');
  const profile = (what.kind === 'one' && what.draw.profile) || profileOf(f);
  if (profile === 'cluster' && f.shrink)
    throw wrong('--shrink does not know the steps of the profile cluster yet');
  return {
    what,
    also: f.also ?? null,
    profile,
    mutant,
    trace: f.trace === true,
    pcap: f.pcap ?? null,
    json: f.json === true,
    shrink: f.shrink === true,
    first: f.first === true,
    workers: whole('--workers', f.workers ?? String(availableParallelism()), 1, MOST_WORKERS),
  };
}

/** What to type to see a run again. Null: the scenario. */
export function replayOf(
  draw: Draw | null,
  o: Pick<SimOptions, 'profile' | 'mutant' | 'what'>,
): string {
  const words = ['twinbeat', 'sim'];
  if (draw) words.push('--seed', seedText(draw));
  else if (o.what.kind === 'scenario') words.push('--scenario', o.what.file);
  const isOwn = draw?.profile !== undefined;
  if (o.profile !== 'swarm' && !isOwn) words.push('--fault', o.profile);
  if (o.mutant !== null) words.push('--mutant', o.mutant);
  return words.join(' ');
}

export interface KeptSeed {
  readonly seed: number;
  readonly version: number | null;
  readonly profile?: AnyProfile;
}

/** A file of seeds: one a line with what it once found after it; `#` begins a comment. */
export function parseSeedFile(text: string, file: string): KeptSeed[] {
  return text.split('\n').flatMap((line, i) => {
    const bare = line.replace(/#.*$/, '').trim();
    if (bare === '') return [];
    try {
      return [parseSeed(bare.split(/\s+/)[0] ?? '')];
    } catch (e) {
      if (!(e instanceof UsageError)) throw e;
      throw wrong(
        `${file}:${i + 1}: "${bare}": expected SEED@VERSION or SEED@VERSION:PROFILE, and what it once found`,
      );
    }
  });
}
