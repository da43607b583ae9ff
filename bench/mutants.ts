/**
 * Measures who catches each planted bug, and after how many seeds: `node build/bench/mutants.js [--write] [--seeds N] [NAME...]`.
 *
 * Seeds 1, 2, 3 ... of the profile (and version) that noticed it last time; else of the swarm in its first version and its newest, then the scenarios, then the other profiles. The
 * first violation counts that the machines as they are do not have in the same run. `--write` puts it into src/sim/mutants-caught.ts and docs/MUTANTS.md (those of mutants
 * that are not named stay), and test/sim/mutants-caught.test.ts holds it from then on. One run at a time.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { MutantTrials, TrialWithoutEnd } from '../src/cli/sim-mutant-trials.js';
import {
  type Caught,
  caughtBy,
  MUTANTS,
  mutantNamed,
  mutantTable,
  type Trial,
  trialText,
} from '../src/sim/mutants.js';
import { ALL_PROFILES, SWARM_VERSION } from '../src/sim/swarm.js';

const ROOT = new URL('../../', import.meta.url);
const CAUGHT_FILE = new URL('src/sim/mutants-caught.ts', ROOT);
const PAGE = new URL('docs/MUTANTS.md', ROOT);
/** Beyond the first profile: what is rare in the swarm is frequent in one of these. */
const OTHERS = ALL_PROFILES.filter((profile) => profile !== 'swarm' && profile !== 'none');

let seeds = 300;
let write = false;
const names = new Set<string>();
const argv = process.argv.slice(2);
for (let word = argv.shift(); word !== undefined; word = argv.shift()) {
  if (word === '--seeds') seeds = Number(argv.shift());
  else if (word === '--write') write = true;
  else if (mutantNamed(word)) names.add(word);
  else throw new Error(`there is no mutant '${word}'`);
}

function* trials(recorded: Caught | null): Iterable<Trial> {
  if (recorded && 'scenario' in recorded) yield { scenario: recorded.scenario };
  else if (recorded) {
    const { profile, version } = recorded;
    for (let seed = 1; seed <= seeds; seed++) yield { profile, seed, ...(version && { version }) };
  }
  for (let seed = 1; seed <= seeds; seed++) yield { profile: 'swarm', seed };
  for (let seed = 1; seed <= seeds; seed++)
    yield { profile: 'swarm', seed, version: SWARM_VERSION };
  for (const file of readdirSync(new URL('etc/scenarios/', ROOT)).sort()) {
    yield { scenario: file.replace(/\.txt$/, '') };
  }
  for (const profile of OTHERS) {
    for (let seed = 1; seed <= seeds; seed++) yield { profile, seed };
  }
}

const plain = new MutantTrials(null);
const isClean = new Map<string, boolean>();

async function clean(trial: Trial): Promise<boolean> {
  const key = JSON.stringify(trial);
  const known = isClean.get(key) ?? (await plain.run(trial)).invariant === null;
  isClean.set(key, known);
  return known;
}

async function measure(name: string): Promise<Caught | null> {
  let mutant = new MutantTrials(name);
  try {
    for (const trial of trials(caughtBy(name))) {
      let found: { invariant: string | null; checker: string | null };
      try {
        found = await mutant.run(trial);
      } catch (e) {
        if (!(e instanceof TrialWithoutEnd)) throw e;
        console.log(`${name}: ${e.message}`);
        mutant = new MutantTrials(name);
        continue;
      }
      const { invariant, checker } = found;
      if (invariant !== null && checker !== null && (await clean(trial))) {
        return { ...trial, invariant, checker };
      }
    }
    return null;
  } finally {
    mutant.end();
  }
}

const measured = new Map<string, Caught | null>();
for (const { name } of MUTANTS) {
  if (names.size > 0 && !names.has(name)) {
    measured.set(name, caughtBy(name));
    continue;
  }
  const caught = await measure(name);
  measured.set(name, caught);
  const text = caught
    ? `${caught.invariant} ${caught.checker}, ${trialText(caught)}`
    : 'not caught';
  console.log(`${name}: ${text}`);
}
plain.end();

if (write) {
  const rows = [...measured].flatMap(([name, caught]) => {
    if (!caught) return [];
    const { invariant, checker, ...trial } = caught;
    const fields = Object.entries({ invariant, checker, ...trial });
    const list = fields.map(([k, v]) => `${k}: ${typeof v === 'string' ? `'${v}'` : v}`);
    return [`  '${name}': { ${list.join(', ')} },\n`];
  });
  const source = readFileSync(CAUGHT_FILE, 'utf8').replace(
    /(= \{).*\};\n$/s,
    `$1\n${rows.join('')}};\n`,
  );
  writeFileSync(CAUGHT_FILE, source);
  const table = mutantTable(MUTANTS, (name) => measured.get(name) ?? null);
  const page = readFileSync(PAGE, 'utf8').replace(/\| mutant \|.*(?=\n<!-- end)/s, () =>
    table.trimEnd(),
  );
  writeFileSync(PAGE, page);
}
