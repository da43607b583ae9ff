/**
 * Who this node is across restarts: the files hb_generation and hb_uuid of /var/lib/heartbeat.
 *
 *     hb_generation   the generation of the last start, right-aligned in 15 characters, newline: 16 bytes
 *     hb_uuid         16 raw bytes, drawn once
 *
 * A peer drops messages of a generation lower than one it knows, so the number must not go down, also not when the
 * other implementation ran in between. Source: docs/HEARTBEAT.md, files; observed of 3.0.6.
 */

export const GENERATION_FILE = '/var/lib/heartbeat/hb_generation';
export const UUID_FILE = '/var/lib/heartbeat/hb_uuid';
export const UUID_BYTES = 16;

/** The generation of this start. `text` is the content of the file, null when there is none. */
export function nextGeneration(text: string | null, wallSeconds: number): number {
  const last = text === null ? null : parseGeneration(text);
  // Without a file the clock is the best guess at a number above all that were used.
  return last === null ? wallSeconds + 1 : last + 1;
}

/** Null for a content that is no number: the file is damaged. */
export function parseGeneration(text: string): number | null {
  const match = /^\s*(\d{1,15})\s*$/.exec(text);
  return match ? Number(match[1]) : null;
}

export function formatGeneration(generation: number): string {
  return `${String(generation).padStart(15)}\n`;
}
