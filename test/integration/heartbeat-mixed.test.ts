/**
 * Ours beside Debian's heartbeat 3.0.6 through every scenario of the recordings, ours in either seat. `make test` and CI run the
 * mixed pairs; `make test-heartbeat` two of Debian's, too, which shows that the scenarios say what the original does.
 * ONLY=crash plays those with that in their name. Most of it is waiting: several labs run side by side.
 */
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { note } from '../support/note.js';
import { COMINGS, GROUPS, haCfOf, type Scenario } from './heartbeat-scenarios.js';
import { FAULTS } from './heartbeat-scenarios-faults.js';
import {
  MIXED_NEEDS,
  MixedPair,
  OriginalsRace,
  type Program,
  type Seat,
} from './heartbeat-seats.js';

// The longest ones first.
const SCENARIOS = [...FAULTS, ...COMINGS];
const SEATS: readonly (readonly [Program, Program])[] = [
  ['ours', 'original'],
  ['original', 'ours'],
];
const CONTROL = process.env['TWINBEAT_HEARTBEAT'] === 'all';
const PAIRS = CONTROL ? [...SEATS, ['original', 'original'] as const] : SEATS;
const ONLY = process.env['ONLY'] ?? '';
/** Labs at a time: two nodes each, one of them a Node process. */
const LABS = Number(process.env['LABS'] || 8);
/** What is known not to come about is not waited for as long: but for longer than it takes where it works. */
const OPEN_LIMIT_MS = 25_000;
/** The original's own race comes once in twenty take-overs, oftener on a busy machine: not five times running. */
const TRIES = 5;

const cells = new Map<string, string>();
let races = 0;
let refused = 0;
let free = LABS;
const waiting: (() => void)[] = [];

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (free > 0) free--;
  else await new Promise<void>((turn) => waiting.push(turn));
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else free++;
  }
}

/** Null when all went well, else what did not. The lab is gone afterwards. */
async function play(
  t: ExecutionContext,
  scenario: Scenario,
  programs: readonly [Program, Program],
): Promise<string | null> {
  for (let left = TRIES; ; left--) {
    const pair = await MixedPair.create(programs, haCfOf(scenario), scenario.haresources ?? GROUPS);
    if (scenario.open?.(...programs)) pair.limitMs = OPEN_LIMIT_MS;
    try {
      await scenario.play(pair);
      const twice = pair.twice();
      if (twice.length === 0) return null;
      t.log(pair.report());
      return twice.join('\n');
    } catch (error) {
      if (error instanceof OriginalsRace && left > 1) {
        races++;
        continue;
      }
      t.log(pair.report());
      return [String(error), ...pair.twice()].join('\n');
    } finally {
      refused += pair.refused;
      await pair.lab.down();
    }
  }
}

test('a group that runs on both is seen, however short, but for a partition', async (t) => {
  if (!need(t, 'root', 'netns', 'nsenter')) return;
  const pair = await MixedPair.create(['ours', 'ours'], haCfOf({}), GROUPS);
  t.teardown(() => pair.lab.down());
  const labres = async (seat: Seat, what: string) => {
    await seat.sh(`/etc/ha.d/resource.d/LabRes ${what}`);
  };
  await labres(pair.a, 'one start');
  await labres(pair.b, 'two start');
  t.deepEqual(pair.twice(), []);
  await labres(pair.b, 'one start');
  await labres(pair.b, 'one stop');
  t.regex(pair.twice().join(), /^one began on node-b at .*, and ran already$/);
  await pair.a.crash();
  await labres(pair.b, 'one start');
  await pair.cut();
  await labres(pair.a, 'two start');
  await pair.heal();
  t.is(pair.twice().length, 1, 'not after a power cut, and not while they were cut off');
});

for (const scenario of SCENARIOS)
  for (const programs of PAIRS) {
    const title = `${scenario.name}: ${programs.join(' + ')}`;
    if (!title.includes(ONLY)) continue;
    test(title, async (t) => {
      if (!need(t, ...MIXED_NEEDS, ...(scenario.needs ?? []))) return;
      t.timeout(20 * 60_000, 'it waits for its turn');
      await inTurn(async () => {
        const startMs = performance.now();
        const failure = await play(t, scenario, programs);
        const took = `${Math.round((performance.now() - startMs) / 1000)} s`;
        const open = scenario.open?.(...programs) ?? null;
        const word = failure === null ? (open ? 'PASSES' : 'ok') : open ? 'open' : 'FAILS';
        cells.set(title, `${word} ${took}`);
        if (word === 'open') t.log(`known to be open: ${open}\n${failure}`);
        const why = failure ?? `passes: it is no longer to be called open (${open})`;
        t.true(word === 'ok' || word === 'open', why);
      });
    });
  }

test.after.always('the table', (t) => {
  if (cells.size === 0) return;
  const row = (first: string, rest: readonly string[]) =>
    [first.padEnd(58), ...rest.map((cell) => cell.padEnd(20))].join('').trimEnd();
  const rows = SCENARIOS.filter(({ name }) => name.includes(ONLY)).map(({ name }) =>
    row(
      name,
      PAIRS.map((pair) => cells.get(`${name}: ${pair.join(' + ')}`) ?? '-'),
    ),
  );
  const table = [
    row(
      'heartbeat, node-a + node-b',
      PAIRS.map((pair) => pair.join(' + ')),
    ),
    ...rows,
    `begun again for the original's own race: ${races}; hand-overs asked for once more: ${refused}`,
  ];
  note(t, table.join('\n'));
});
