/**
 * twinbeat replay FILE...: recordings of drbdd and heartbeat (docs/FLIGHT-RECORDER.md) are fed to the same machines again.
 *
 * Exit status: 0 the machines did the same, 1 they did not (the first difference is shown), 2 a file or an argument is wrong.
 */
import { readFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { FlightError, FlightFile } from '../host/flight-read.js';
import { nodeDigests } from '../real/node-ports.js';
import { type Replay, type ReplayResult, replayOf, replayTogether } from '../sim/replay.js';
import type { ReplayEvent } from '../sim/replay-explain.js';
import { UsageError, type World } from './world.js';

export interface ReplayOptions {
  readonly until?: string;
  readonly explain?: true;
  readonly json?: true;
}

const BAD_INPUT = 2;

export async function replayMain(
  paths: readonly string[],
  options: ReplayOptions,
  version: string,
  world: World,
): Promise<number> {
  const files = paths.map(read);
  const startMs = Math.min(...files.map((f) => f.head.wallMs));
  const untilMs = options.until === undefined ? Infinity : untilOf(options.until, startMs);
  const say = options.json ? sayJson(world) : sayText(world, options.explain === true);
  const replays = files.map((file) => replayOf(file, nodeDigests, say));
  if (!options.json) for (const r of replays) world.out(`${about(r, version)}\n`);
  let results: (ReplayResult | null)[];
  try {
    results = replayTogether(replays, untilMs);
  } catch (e) {
    throw e instanceof FlightError ? badFile(e) : e;
  }
  let status = 0;
  for (const [i, replay] of replays.entries()) {
    const result = results[i] ?? null;
    if (result?.difference) status = 1;
    if (options.json) world.out(`${JSON.stringify(summaryOf(replay, result))}\n`);
    else world.out(`${conclusion(replay, result, version)}\n`);
  }
  return status;
}

function badFile(e: FlightError): UsageError {
  return new UsageError(`twinbeat replay: ${e.message}\n  ${e.remedy}`, BAD_INPUT);
}

function read(path: string): FlightFile {
  try {
    return FlightFile.read(path, readFileSync(path), (bytes) => crc32(bytes));
  } catch (e) {
    if (e instanceof FlightError) throw badFile(e);
    const text = e instanceof Error ? e.message : String(e);
    throw new UsageError(`twinbeat replay: ${text}`, BAD_INPUT);
  }
}

/** '+12.5' seconds after the first recording began, 'HH:MM:SS[.mmm]' of its day, or a date with a time. */
function untilOf(text: string, startMs: number): number {
  const seconds = /^\+(\d+(?:\.\d+)?)s?$/.exec(text);
  if (seconds) return startMs + Number(seconds[1]) * 1000;
  const clock = /^(\d\d):(\d\d):(\d\d(?:\.\d+)?)$/.exec(text);
  if (clock) {
    const day = new Date(startMs);
    day.setHours(Number(clock[1]), Number(clock[2]), 0, 0);
    return day.getTime() + Number(clock[3]) * 1000;
  }
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) {
    throw new UsageError(
      `twinbeat replay: --until ${text}: expected +SECONDS, HH:MM:SS or a date with a time`,
      BAD_INPUT,
    );
  }
  return ms;
}

function two(n: number, digits = 2): string {
  return String(n).padStart(digits, '0');
}

/** Local time, as the logs have it. */
function timeText(wallMs: number): string {
  const d = new Date(wallMs);
  const day = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  const time = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return `${day} ${time}.${two(d.getMilliseconds(), 3)}`;
}

function sayText(world: World, explain: boolean): (event: ReplayEvent) => void {
  return (e) => {
    if (!explain && (e.kind === 'log' || e.kind === 'refused')) return;
    const cause = e.cause === '' ? '' : `   <- ${e.cause}`;
    const mark = e.kind === 'log' ? 'log: ' : '';
    world.out(`${timeText(e.wallMs)} ${e.node.padEnd(8)} ${mark}${e.what}${cause}\n`);
    if (explain) for (const line of e.why) world.out(`${' '.repeat(36)}${line}\n`);
  };
}

function sayJson(world: World): (event: ReplayEvent) => void {
  return (e) => {
    world.out(`${JSON.stringify({ time: new Date(e.wallMs).toISOString(), ...e })}\n`);
  };
}

function about({ file, whole }: Replay, version: string): string {
  const { daemon, node, life, version: made } = file.head;
  const other = made === version ? '' : `; made by twinbeat ${made}, replayed by ${version}`;
  const how = whole
    ? ''
    : '\n  the beginning of this life is overwritten: its machine can not be fed. What is checked is each decision by itself';
  return `${file.name}: ${daemon} of ${node}, life ${life}${other}${how}`;
}

function conclusion(replay: Replay, result: ReplayResult | null, version: string): string {
  const { name, head } = replay.file;
  if (result === null) return `${name}: the same so far (--until)`;
  const d = result.difference;
  if (d) {
    const made =
      head.version === version
        ? ''
        : `\n  it was made by twinbeat ${head.version}, this is ${version}`;
    return `${name}: DIFFERENT at byte ${d.place}\n  recorded: ${d.recorded}\n  replayed: ${d.replayed}${made}`;
  }
  const count = replay.whole ? `${result.inputs} inputs` : `${result.inputs} decisions`;
  const end = result.end === '' ? 'it runs still, or was killed' : result.end;
  const broke =
    result.broke === '' ? '' : `\n  the machine breaks with the last input: ${result.broke}`;
  return `${name}: the same, ${count}; end: ${end}${broke}`;
}

function summaryOf(replay: Replay, result: ReplayResult | null): object {
  const { head, name } = replay.file;
  return {
    file: name,
    daemon: head.daemon,
    node: head.node,
    life: head.life,
    version: head.version,
    whole: replay.whole,
    same: result === null ? null : result.difference === null,
    inputs: result?.inputs ?? null,
    end: result?.end ?? null,
    broke: result?.broke ?? null,
    difference: result?.difference
      ? {
          place: result.difference.place,
          recorded: result.difference.recorded,
          replayed: result.difference.replayed,
        }
      : null,
  };
}
