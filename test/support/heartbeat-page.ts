/**
 * The part of docs/MIGRATION.md about heartbeat as a program: procedures and a plan as in the part about DRBD (migration-page.ts),
 * and a table of what a command is called with each of the two programs.
 */
import { type MigrationPage, parsePage, partOfMigrationPage } from './migration-page.js';

export type Heartbeat = 'debian' | 'twinbeat';

export interface HeartbeatPage extends MigrationPage<Heartbeat> {
  /** Command -> its path with Debian's and with twinbeat. */
  readonly programs: ReadonlyMap<string, Readonly<Record<Heartbeat, string>>>;
}

const STEPS = [
  [/^move from (alpha|beta) to (alpha|beta)$/, 'move', 'from'],
  [/^(alpha|beta) to twinbeat$/, 'to twinbeat', 'node'],
  [/^(alpha|beta) to Debian's$/, "to Debian's", 'node'],
] as const;

export function parseHeartbeatPage(text: string): HeartbeatPage {
  const stands = { debian: 'debian', twinbeat: 'twinbeat' } as const;
  const programs = new Map<string, Record<Heartbeat, string>>();
  const row = /^\| `(\w+)` \| `(\/[^` ]+)`[^|]* \| `(\/[^` ]+)`[^|]* \|$/gm;
  for (const [, name = '', debian = '', twinbeat = ''] of text.matchAll(row))
    programs.set(name, { debian, twinbeat });
  const page = parsePage<Heartbeat>(text, { steps: STEPS, stands });
  for (const commands of page.procedures.values())
    for (const { line } of commands) {
      const name = line.split(' ')[0] ?? '';
      if (!programs.has(name)) throw new Error(`the table of programs has no '${name}'`);
    }
  return { ...page, programs };
}

export function readHeartbeatPage(): HeartbeatPage {
  return parseHeartbeatPage(partOfMigrationPage('Heartbeat'));
}

/** How long the service was not to be had in that step, as the page says. */
export function outageMs(more: readonly string[], what: string): number {
  const [, seconds] = /^(\d+(?:\.\d+)?) s$/.exec(more[0] ?? '') ?? [];
  if (seconds === undefined) throw new Error(`${what}: '${more[0]}' is no time`);
  return Number(seconds) * 1000;
}
