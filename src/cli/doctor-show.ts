/**
 * twinbeat doctor --show NAME: the incident that a finding warns of, played by the simulator on the machines of the product, with the
 * times of this node's ha.cf. It is a file of etc/scenarios; its own times are stretched with deadtime, so that what it waits for has
 * the time to happen. Both nodes begin together: initdead makes no difference to that.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { HaCf } from '../config/ha-cf.js';
import { nodeDigests } from '../real/node-ports.js';
import { parseScenario, timeText } from '../sim/scenario.js';
import { runScenario } from '../sim/scenario-run.js';
import { timeMs } from '../sim/words.js';
import { CHECKS } from './doctor-checks.js';
import type { Facts } from './doctor-facts.js';
import { COLUMNS, wrapped } from './doctor-text.js';
import { UsageError, type World } from './world.js';

/** Findings that can be shown, and the file that shows each. */
export const SHOWN: Readonly<Record<string, string>> = {
  'can-run-twice': 'heartbeat-gratuitous-arp.txt',
  'one-link': 'heartbeat-only-link.txt',
  'fencing-without-handler': 'heartbeat-no-handler.txt',
};

const SCENARIOS = new URL('../../../etc/scenarios/', import.meta.url);
/** What the files are written for: the default of a scenario. */
const DEADTIME_MS = 5000;
/** The nodes meet and the group starts, which takes as long whatever deadtime is. */
const START_MS = 20_000;
/** A minute of deadtime, which takes the simulator some ten seconds. */
const MAX_STRETCH = 12;
const TIME = /\b(at|after|within|for|since|think) (\d+(?:\.\d+)?)(ms|s|min)\b/g;

export type Timings = Pick<HaCf, 'keepaliveMs' | 'warntimeMs' | 'deadtimeMs' | 'initdeadMs'>;

/** The scenario with these times; null: they are too long to be played. */
export function withTimings(text: string, t: Timings): string | null {
  const stretch = Math.max(1, t.deadtimeMs / DEADTIME_MS);
  if (stretch > MAX_STRETCH) return null;
  const options = Object.entries({
    keepalive: t.keepaliveMs,
    warntime: t.warntimeMs,
    deadtime: t.deadtimeMs,
    initdead: t.initdeadMs,
  });
  const stretched = (_: string, word: string, n: string, unit: string): string => {
    const ms = timeMs(n + unit) ?? 0;
    const keptMs = word === 'at' || word === 'since' ? Math.min(ms, START_MS) : 0;
    return `${word} ${timeText(Math.round(keptMs + (ms - keptMs) * stretch))}`;
  };
  const lines = text
    .split('\n')
    .map((line) => (line.startsWith('#') ? line : line.replace(TIME, stretched)));
  return [...options.map(([name, ms]) => `set ${name} ${ms}ms`), ...lines].join('\n');
}

export function showMain(name: string, { haCf }: Facts, world: World): number {
  const file = new Map(Object.entries(SHOWN)).get(name);
  if (file === undefined) {
    const names = Object.keys(SHOWN).join(', ');
    throw new UsageError(`twinbeat doctor: --show: expected one of ${names}, got '${name}'`, 2);
  }
  const path = fileURLToPath(new URL(file, SCENARIOS));
  const text = readFileSync(path, 'utf8');
  const own = haCf && withTimings(text, haCf);
  const times = (t: Timings): string =>
    `keepalive ${t.keepaliveMs} ms, deadtime ${t.deadtimeMs} ms, initdead ${t.initdeadMs} ms`;
  const rule = CHECKS.find((check) => check.name === name)?.rule ?? '';
  world.out(`${wrapped('', `${name}: ${rule}`)}\n\n${wrapped('', comment(text))}\n\n`);
  if (haCf && own !== null) world.out(`Times of ha.cf: ${times(haCf)}.\n\n`);
  else
    world.out(
      `Times of the scenario: ${haCf ? 'those of ha.cf are too long to be played' : 'there is no good ha.cf'}.\n\n`,
    );

  world.out('alpha and beta stand for the two nodes. drbd.conf is that of the file.\n\n');
  const parsed = parseScenario(own ?? text, path);
  if (!parsed.ok) throw new Error(parsed.text); // a shipped file
  const { violation } = runScenario(parsed.scenario, nodeDigests, (line) => {
    const text = told(line);
    if (text !== null) world.out(`${text}\n`);
  });
  if (violation) {
    world.out(`\nNot as the file says: ${violation.text}\n`);
    return 1;
  }
  world.out(`\nSo it went, as each line with \`expect\` says. The whole log, in its own times:\n`);
  world.out(`$ twinbeat sim --scenario ${path} --trace\n`);
  return 0;
}

function comment(text: string): string {
  const lines = text.split('\n');
  const end = lines.findIndex((line) => !line.startsWith('#'));
  return lines
    .slice(0, end)
    .map((line) => line.slice(2))
    .join(' ');
}

/** What of a trace tells the story: what is done to the nodes, who takes whom for dead, what runs where. By object of the line. */
const STORY: ReadonlyMap<string, RegExp> = new Map([
  ['step', /./],
  ['scenario', /^expect /],
  ['node', /./],
  ['address', /./],
  ['heartbeat', /is dead|returning after partition|Resources being acquired/],
  ['script', /^service (start|stop) ends: |^drbddisk\S* start ends: [1-9]/],
  ['r0', /Split-Brain/],
]);

/** A line of a trace as it is told; null: it is no part of the story. */
export function told(line: string): string | null {
  const [, time = '', node = '', object = '', text = ''] =
    /^ *(\d+\.\d)\d* (.{5}) (\S+) +(.*)/.exec(line) ?? [];
  if (STORY.get(object)?.test(text) !== true) return null;
  return `${time.padStart(6)} ${node} ${object.padEnd(9)} ${text}`.slice(0, COLUMNS);
}
