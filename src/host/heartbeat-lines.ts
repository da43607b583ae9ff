/**
 * Datagrams for a recording: the lines of a message without its signatures, and of a message like the one before on its link
 * only the lines that differ (a keepalive: three of a dozen).
 */
import { fieldOf, type HaField, type HaMessage } from '../wire/hamsg.js';
import { flightJson, parseFlightJson } from './flight-json.js';

export type Lines =
  | { readonly s: number; readonly f: readonly string[] } // slot s: all lines
  | { readonly s: number; readonly c: readonly (readonly [number, string])[] }; // those that changed in it

function shapeOf(link: string, message: HaMessage): string {
  return `${link} ${fieldOf(message, 't') ?? ''} ${fieldOf(message, 'src') ?? ''} ${message.length}`;
}

export function linesOf(message: HaMessage): string[] {
  return message.filter((f) => f.name !== 'auth').map((f) => flightJson(f));
}

export class LineEncoder {
  readonly #slots = new Map<string, { readonly slot: number; lines: readonly string[] }>();

  encode(link: string, message: HaMessage): Lines {
    const lines = linesOf(message);
    const shape = shapeOf(link, message);
    const known = this.#slots.get(shape);
    if (!known || known.lines.length !== lines.length) {
      const slot = known?.slot ?? this.#slots.size;
      this.#slots.set(shape, { slot, lines });
      return { s: slot, f: lines };
    }
    const changed = lines.flatMap((line, i) =>
      line === known.lines[i] ? [] : [[i, line] as const],
    );
    known.lines = lines;
    return { s: known.slot, c: changed };
  }
}

export class LineDecoder {
  readonly #slots = new Map<number, string[]>();

  /** Null when it is no such encoding. */
  decode(lines: Lines): HaMessage | null {
    if ('f' in lines) this.#slots.set(lines.s, [...lines.f]);
    const known = this.#slots.get(lines.s);
    if (!known) return null;
    if ('c' in lines) for (const [i, line] of lines.c) known[i] = line;
    const fields = known.map((line) => parseFlightJson(line));
    return fields.every((f) => f !== null) ? (fields as HaField[]) : null;
  }
}
