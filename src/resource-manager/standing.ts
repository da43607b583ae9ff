/**
 * Whether a node may run anything. A node on which a service failed for good is FAILED_OFFLINE: it starts nothing, takes nothing
 * over, not even from a dead peer, and hands over what it claims. Only an operator ends that (`twinbeat recover`), so it
 * is kept on disk, written before anything moves. Source: docs/HEALTH.md.
 */

export type Standing =
  | { readonly state: 'ok' }
  | { readonly state: 'FAILED_OFFLINE'; readonly why: string };

export const OK: Standing = { state: 'ok' };

export function formatStanding(standing: Standing): string {
  return `${JSON.stringify(standing)}\n`;
}

/** Null: there is no file. One that cannot be read is no permission: the worst is taken for granted. */
export function parseStanding(text: string | null): Standing {
  if (text === null) return OK;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) {
      const { state, why } = value as Record<string, unknown>;
      if (state === 'ok') return OK;
      if (state === 'FAILED_OFFLINE' && typeof why === 'string') return { state, why };
    }
  } catch {
    // below
  }
  return { state: 'FAILED_OFFLINE', why: 'the file of the standing is damaged' };
}
