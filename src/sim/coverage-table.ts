/**
 * What the runs reached and what they did not, as tables. A state that no run can reach is listed with the reason, so that
 * everything else that is missing is a gap.
 */
import { CONNS, DISKS } from '../drbd/state.js';
import type { Counts, CoverageReport } from './coverage.js';

/** Each rule of uuid_compare with each result that it can have (uuid-compare.ts), between nodes that both speak protocol 101. */
const UUID_ROWS = [
  '10 (0)',
  '20 (-2)',
  '30 (2)',
  '34 (1)',
  '35 (-1)',
  '36 (1)',
  '37 (-1)',
  '40 (-1)',
  '40 (0)',
  '40 (1)',
  '41 (-1)',
  '41 (-100)',
  '41 (1)',
  '50 (-1)',
  '51 (-1)',
  '60 (-2)',
  '70 (1)',
  '71 (1)',
  '80 (2)',
  '90 (100)',
  '100 (-100)',
  '100 (-1000)',
];

const OWN_ROLES = ['Primary', 'Secondary'];
const ROLE_PAIRS = OWN_ROLES.flatMap((r) => [...OWN_ROLES, 'Unknown'].map((p) => `${r}/${p}`));

type Kind = 'cstate' | 'dstate' | 'pdsk' | 'roles' | 'uuidRule';

const KINDS: readonly {
  readonly kind: Kind;
  readonly title: string;
  readonly all: readonly string[];
}[] = [
  { kind: 'cstate', title: 'connection', all: CONNS },
  { kind: 'dstate', title: 'disk', all: DISKS },
  { kind: 'pdsk', title: "peer's disk", all: DISKS },
  { kind: 'roles', title: 'roles', all: ROLE_PAIRS },
  { kind: 'uuidRule', title: 'uuid_compare, rule (result)', all: UUID_ROWS },
];

/** Why no run will ever be there. */
export const UNREACHABLE: Readonly<Partial<Record<Kind, Readonly<Record<string, string>>>>> = {
  dstate: { DUnknown: "only a peer's disk is unknown" },
  pdsk: {
    Negotiating: 'a peer that attaches is shown with the disk it has decided on (realPeerDisk)',
  },
  uuidRule: { '41 (-100)': 'needs two Primaries of one generation' },
  roles: {
    'Primary/Primary': 'two Primaries never stay connected: it would be a violation of I2',
  },
};

export interface Unreached {
  readonly kind: string;
  readonly name: string;
  /** Null: nothing forbids it; no run has been there yet. */
  readonly reason: string | null;
}

export function unreached(c: CoverageReport): Unreached[] {
  return KINDS.flatMap(({ kind, title, all }) =>
    all
      .filter((name) => !c[kind][name])
      .map((name) => ({ kind: title, name, reason: UNREACHABLE[kind]?.[name] ?? null })),
  );
}

/** Cells in as many columns as fit. */
function cells(items: readonly (readonly [string, number])[], columns: number): string[] {
  const wide = Math.max(0, ...items.map(([name, n]) => name.length + String(n).length + 1)) + 3;
  const perLine = Math.max(1, Math.floor((columns - 4) / wide));
  const lines: string[] = [];
  for (let i = 0; i < items.length; i += perLine) {
    const row = items.slice(i, i + perLine);
    const text = row.map(([name, n]) => `${name} ${String(n).padStart(wide - name.length - 4)}`);
    lines.push(`    ${text.join('   ')}`);
  }
  return lines;
}

const entries = (counts: Counts): (readonly [string, number])[] =>
  Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1));

export function countTable(title: string, counts: Counts, columns: number): string[] {
  const items = entries(counts);
  return [`${title}:`, ...(items.length > 0 ? cells(items, columns) : ['    none'])];
}

export function coverageTable(c: CoverageReport, columns: number): string[] {
  const lines: string[] = [];
  const missing = unreached(c);
  for (const { kind, title, all } of KINDS) {
    const reached = all.filter((name) => c[kind][name]);
    const extra = Object.keys(c[kind]).filter((name) => !all.includes(name));
    lines.push(`${title}: ${reached.length} of ${all.length} reached`);
    lines.push(
      ...cells(
        [...reached, ...extra.sort()].map((n) => [n, c[kind][n] ?? 0]),
        columns,
      ),
    );
    const left = missing.filter((m) => m.kind === title);
    const open = left.filter((m) => m.reason === null).map((m) => m.name);
    if (open.length > 0) lines.push(`    not reached: ${open.join(', ')}`);
    for (const m of left) if (m.reason !== null) lines.push(`    never: ${m.name}: ${m.reason}`);
  }
  lines.push(...countTable('transitions of the connection', c.transition, columns));
  lines.push(...countTable('handlers, event and exit status', c.handler, columns));
  return lines;
}
