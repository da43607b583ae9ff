/**
 * A recording whose beginning has been overwritten can not be fed to the machine. What is left is each decision with all that
 * it depended on: it is judged again by the same function (transition.ts, sync-decision.ts), and has to come out the same.
 */
import type { Decision } from '../drbd/ports.js';
import { syncDecision } from '../drbd/sync-decision.js';
import { precheckClusterWide, requestChange, sameState } from '../drbd/transition.js';
import type { ControlRequest } from '../host/control.js';
import { flightJson } from '../host/flight-json.js';
import type { FlightFile } from '../host/flight-read.js';
import { describeRequest } from '../host/recording-hooks.js';
import type { Replay, ReplayResult } from './replay.js';
import { changeEvents, type ReplayEvent, syncEvents } from './replay-explain.js';
import { Difference } from './replay-log.js';

type What = Readonly<Record<string, unknown>>;

export class DecisionReplay implements Replay {
  readonly file: FlightFile;
  readonly whole = false;
  readonly #emit: (event: ReplayEvent) => void;
  #next = 0;
  #judged = 0;
  #end = '';

  constructor(file: FlightFile, emit: (event: ReplayEvent) => void) {
    this.file = file;
    this.#emit = emit;
  }

  get nextWallMs(): number | null {
    return this.file.cold[this.#next]?.wallMs ?? null;
  }

  run(untilWallMs: number): ReplayResult | null {
    for (; ; this.#next++) {
      const record = this.file.cold[this.#next];
      if (!record) return this.#result(null);
      if (record.wallMs > untilWallMs) return null;
      const difference = this.#one(record.what, record.wallMs, record.place);
      if (difference) return this.#result(difference);
    }
  }

  #result(difference: Difference | null): ReplayResult {
    return { difference, broke: '', inputs: this.#judged, end: this.#end };
  }

  #one(what: What, wallMs: number, place: number): Difference | null {
    const event = (
      kind: ReplayEvent['kind'],
      text: string,
      cause: string,
      why: readonly string[],
    ) =>
      this.#emit({
        wallMs,
        node: this.file.head.node,
        daemon: this.file.head.daemon,
        kind,
        what: text,
        cause,
        why,
      });
    switch (what['type']) {
      case 'change':
      case 'sync': {
        const d = what as unknown as Decision;
        this.#judged++;
        const difference = judgeAgain(d, place);
        if (difference) return difference;
        const parts = d.type === 'change' ? changeEvents(d) : syncEvents(d);
        for (const p of parts) event(p.kind, p.what, String(what['cause']), p.why);
        return null;
      }
      case 'request':
        event('request', describeRequest(what['request'] as ControlRequest), '', []);
        return null;
      case 'reply':
        if (what['text'] !== 'ok') event('request', `refused: ${String(what['text'])}`, '', []);
        return null;
      case 'handler':
        event('handler', `${String(what['resource'])}: handler ${String(what['event'])}`, '', []);
        return null;
      case 'log':
        event('log', `${String(what['object'])}: ${String(what['text'])}`, '', []);
        return null;
      case 'asked':
        event('request', `heartbeat: ${String(what['what'])}`, '', []);
        return null;
      case 'script':
        event(
          'handler',
          `heartbeat: runs ${String(what['resource'])} ${String(what['action'])}`,
          '',
          [],
        );
        return null;
      case 'stop':
        this.#end = String(what['why']);
        return null;
      default:
        return null;
    }
  }
}

/** Null when it comes out the same. */
function judgeAgain(d: Decision, place: number): Difference | null {
  if (d.type === 'change') {
    const again =
      d.how === 'cluster-wide'
        ? precheckClusterWide(d.old, d.wanted, d.context)
        : requestChange(d.old, d.wanted, d.context, { hard: d.how === 'hard' });
    if (again.code === d.result.code && sameState(again.state, d.result.state)) return null;
    return new Difference(place, flightJson(d.result), flightJson(again));
  }
  const again = flightJson(syncDecision(d.input));
  const then = flightJson(d.result);
  return again === then ? null : new Difference(place, then, again);
}
