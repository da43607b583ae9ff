/**
 * The rules of docs/STATES.md on states, as data: implicit adjustments, what is always forbidden, what may be asked for,
 * which steps a request may not make. Read by state-exhaustive.test.ts; shares no line with src/drbd.
 */
import { CONNS, Conns, DISKS, Disks, Roles, type State } from '../../src/drbd/state.js';
import type { ChangeContext } from '../../src/drbd/transition.js';
import { factIndex, type SpecRow, specTable } from './spec-table.js';

const FIELDS = [
  'role',
  'peer',
  'conn',
  'disk',
  'pdsk',
  'susp',
  'aftrIsp',
  'peerIsp',
  'userIsp',
  'suspNod',
  'suspFen',
] as const;
const F = factIndex([
  ...FIELDS,
  'o.role',
  'o.conn',
  'o.disk',
  'o.pdsk',
  'stonith',
  'fence', // fencing is resource-only or more
  'suspendIo',
  'known',
  'n.disk',
  'n.pdsk',
  'net',
  'two',
  'other',
  'open',
  'alg',
  'apv',
  'sent',
  'vouches',
  'behind',
  'o.peer',
  'untouched',
]);
export const FACT_COUNT = Object.keys(F).length;
const NAMES = {
  ...Object.fromEntries(CONNS.map((name, n) => [name, n])),
  ...Object.fromEntries(DISKS.map((name, n) => [name, n])),
  Primary: Roles.Primary,
  Secondary: Roles.Secondary,
};

const TARGETS = 'WFBitMapT|PausedSyncT|StartingSyncT|WFSyncUUID|Behind';
const SOURCES = 'WFBitMapS|PausedSyncS|StartingSyncS|Ahead';

/** Implicit adjustments: every row that holds is carried out, in this order. `*`: not in the originals. */
const SANITIZE = [
  `
  1  | peerIsp=0 peer=0             | conn<Connected
  1  | pdsk=DUnknown                | conn<Connected pdsk>DUnknown
  1  | pdsk=DUnknown                | conn<Connected pdsk<Inconsistent
  2  | aftrIsp=0                    | conn=StandAlone disk=Diskless role=Secondary
  3* | disk=Inconsistent            | conn=${TARGETS}|SyncTarget pdsk<=Failed disk>Inconsistent untouched=0
  3* | disk=UpToDate                | conn=${TARGETS}|SyncTarget pdsk<=Failed disk>Inconsistent untouched=1
  3* | pdsk=Inconsistent            | conn=${SOURCES}|SyncSource disk<=Failed pdsk>Inconsistent untouched=0
  3* | pdsk=UpToDate                | conn=${SOURCES}|SyncSource disk<=Failed pdsk>Inconsistent untouched=1
  3  | conn=Connected               | conn>Connected disk<=Failed
  3  | conn=Connected               | conn>Connected pdsk<=Failed
  3* | disk=UpToDate                | conn<Connected disk=Outdated untouched=1 role=Primary
  4  | disk=n.disk pdsk=n.pdsk      | conn<Connected disk=Negotiating o.disk>=Negotiating known=1
  4  | disk=Diskless pdsk=DUnknown  | conn<Connected disk=Negotiating o.disk>=Negotiating known=0
  5* | disk=UpToDate                | conn>=Connected conn<Ahead disk=Consistent pdsk>Failed
  5* | disk=UpToDate                | conn>=Connected conn<Ahead disk=Outdated pdsk>Failed
  5* | pdsk=UpToDate                | conn>=Connected conn<Ahead pdsk=Consistent disk>Failed
  5* | pdsk=UpToDate                | conn>=Connected conn<Ahead pdsk=Consistent vouches=1
  5* | pdsk=Outdated                | conn>=Connected conn<Ahead disk<=Failed pdsk=UpToDate behind=1
  5* | pdsk=UpToDate                | conn>=Connected conn<Ahead pdsk=Outdated disk>Failed
  5v | conn=Connected               | conn=VerifyS|VerifyT o.conn=VerifyS o.disk=UpToDate o.pdsk=UpToDate disk<UpToDate
  5v | conn=Connected               | conn=VerifyS|VerifyT o.conn=VerifyS o.disk=UpToDate o.pdsk=UpToDate pdsk<UpToDate
  5v | conn=Connected               | conn=VerifyS|VerifyT o.conn=VerifyT o.disk=UpToDate o.pdsk=UpToDate disk<UpToDate
  5v | conn=Connected               | conn=VerifyS|VerifyT o.conn=VerifyT o.disk=UpToDate o.pdsk=UpToDate pdsk<UpToDate`,
  clamp(TARGETS, 'Inconsistent', 'Outdated', 'UpToDate', 'UpToDate'),
  clamp('SyncTarget', 'Inconsistent', 'Inconsistent', 'UpToDate', 'UpToDate'),
  clamp(SOURCES, 'UpToDate', 'UpToDate', 'Inconsistent', 'Consistent'),
  clamp('SyncSource', 'UpToDate', 'UpToDate', 'Inconsistent', 'Inconsistent'),
  clamp('VerifyS|VerifyT', 'UpToDate', 'UpToDate', 'UpToDate', 'UpToDate'),
  clamp('Connected', 'Diskless', 'UpToDate', 'Diskless', 'UpToDate'),
  clamp(CONNS.slice(0, 10).join('|'), 'Diskless', 'UpToDate', 'Inconsistent', 'DUnknown'),
  newly(7, 'suspFen=1', 'stonith=1 o.disk>=Inconsistent', 'conn<Connected', 'pdsk>Outdated'),
  newly(8, 'suspNod=1', 'suspendIo=1', 'disk<UpToDate', 'pdsk<UpToDate'),
  ['aftrIsp', 'peerIsp', 'userIsp']
    .map(
      (why) => `
  9  | conn=PausedSyncS             | conn=SyncSource ${why}=1
  9  | conn=PausedSyncT             | conn=SyncTarget ${why}=1`,
    )
    .join(''),
  `
  9* | conn=SyncSource pdsk=Inconsistent | conn=PausedSyncS aftrIsp=0 peerIsp=0 userIsp=0
  9* | conn=SyncTarget disk=Inconsistent | conn=PausedSyncT aftrIsp=0 peerIsp=0 userIsp=0`,
].join('');

function clamp(conn: string, dMin: string, dMax: string, pMin: string, pMax: string): string {
  return `
  6 | disk=${dMax} | conn=${conn} disk>${dMax}
  6 | disk=${dMin} | conn=${conn} disk<${dMin}
  6 | pdsk=${pMax} | conn=${conn} pdsk>${pMax}
  6 | pdsk=${pMin} | conn=${conn} pdsk<${pMin}`;
}

/** Primary and both conditions hold, and that was not so before. */
function newly(step: number, what: string, where: string, a: string, b: string): string {
  const before = (c: string): string => {
    const [, field = '', op = '', value = ''] = /^(\w+)([<>])(\w+)$/.exec(c) ?? [];
    return `o.${field}${op === '<' ? '>=' : '<='}${value}`;
  };
  return ['o.role!=Primary', before(a), before(b)]
    .map((not) => `\n  ${step} | ${what} | ${where} role=Primary ${a} ${b} ${not}`)
    .join('');
}

interface Adjustment {
  readonly row: SpecRow;
  readonly set: readonly (readonly [number, (facts: readonly number[]) => number])[];
}
const ADJUSTMENTS: readonly Adjustment[] = specTable(SANITIZE, F, NAMES).map((row) => ({
  row,
  set: row.outcome.split(' ').map((assignment) => {
    const [field = '', value = ''] = assignment.split('=');
    const at = (F as Record<string, number>)[field];
    const from = (F as Record<string, number>)[value];
    const fixed = (NAMES as Record<string, number>)[value] ?? Number(value);
    if (at === undefined || (from === undefined && Number.isNaN(fixed)))
      throw new Error(assignment);
    return [at, (facts) => (from === undefined ? fixed : (facts[from] as number))] as const;
  }),
}));

/** Enforced always; the first row that holds. */
export const HARD_ROWS = specTable(
  `
  hard disk | -11 | disk=Failed o.disk=Diskless
  hard 1    |  -9 | o.conn=StandAlone conn=Disconnecting
  hard 2    | -15 | o.conn=StandAlone conn!=StandAlone|Unconnected
  hard 3    | -15 | o.conn<WFReportParams conn>=Connected
  hard 4    | -18 | o.conn>=Timeout o.conn<=TearDown conn!=o.conn|Unconnected|Disconnecting
  hard 5    | -18 | o.conn=Disconnecting conn!=Disconnecting|StandAlone`,
  F,
  NAMES,
);

/** The resulting state; the first row that holds. */
export const VALID_ROWS = specTable(
  `
  valid 1  |  -1 | net=1 two=0 role=Primary peer=Primary
  valid 1b | -20 | net=1 two=0 role=Primary other=1
  valid 2  | -12 | role=Secondary open>0
  valid 3  |  -2 | role=Primary conn<Connected disk<UpToDate
  valid 4  |  -7 | fence=1 role=Primary conn<Connected pdsk>=DUnknown
  valid 5  |  -2 | role=Primary disk<=Inconsistent pdsk<=Inconsistent
  valid 6  |  -4 | conn>Connected disk<Inconsistent
  valid 7  |  -5 | conn>Connected pdsk<Inconsistent
  valid 8  |  -2 | conn>Connected disk<UpToDate pdsk<UpToDate
  valid 9  |  -6 | conn=WFBitMapS|SyncSource|PausedSyncS disk=Outdated
  valid 9  |  -6 | conn=Connected disk=Outdated pdsk>Failed
  valid 10 | -14 | conn=VerifyS|VerifyT alg=0
  valid 11 | -17 | conn=VerifyS|VerifyT apv<88
  valid 12 |  -2 | role=Primary disk<UpToDate pdsk<UpToDate
  valid 13 | -15 | conn=StartingSyncS|StartingSyncT pdsk=DUnknown
  valid 14 |  -6 | conn>=Connected pdsk=DUnknown`,
  F,
  NAMES,
);

/** Steps that a request may not make; the last row that holds. */
export const SOFT_ROWS = specTable(
  `
  soft 1  |  -8 | conn=StartingSyncS|StartingSyncT o.conn>Connected
  soft 2  |  -9 | conn=Disconnecting o.conn=StandAlone
  soft 3  | -11 | disk>Attaching o.disk=Diskless
  soft 4  | -13 | conn=WFConnection o.conn<Unconnected
  soft 5  | -16 | disk=Outdated o.disk<Outdated o.disk!=Attaching
  soft 6  | -18 | conn=Disconnecting o.conn=Unconnected
  soft 7  | -18 | sent=1 conn!=WFReportParams conn<Connected
  soft 7  | -18 | sent=1 conn!=WFReportParams o.conn!=WFReportParams
  soft 7  | -18 | sent=1 o.conn!=WFConnection conn<Connected
  soft 7  | -18 | sent=1 o.conn!=WFConnection o.conn!=WFReportParams
  soft 8  | -18 | o.role!=Primary role=Primary pdsk=UpToDate disk!=UpToDate|Diskless conn<=WFSyncUUID
  soft 8  | -18 | o.role!=Primary role=Primary pdsk=UpToDate disk!=UpToDate|Diskless conn!=o.conn
  soft 9  | -15 | conn=VerifyS|VerifyT o.conn<Connected
  soft 10 |  -8 | conn=VerifyS|VerifyT o.conn>Connected conn!=o.conn
  soft 11 | -15 | conn=StartingSyncS|StartingSyncT o.conn<Connected
  soft 12 | -15 | conn=SyncSource|SyncTarget o.conn<WFReportParams
  soft 13 | -21 | conn=Disconnecting pdsk=Outdated o.conn<Connected o.pdsk>Outdated
  soft 14 |  -2 | o.peer!=Primary peer=Primary conn>=Connected disk<=Failed behind=1`,
  F,
  NAMES,
);

/**
 * Wishes that are refused before they are adjusted, which would make something else of them (not in the originals; the
 * reasons are in docs/STATES.md). The wish as it came, not adjusted.
 */
export const ASKED_ROWS = specTable(
  `
  asked 1 | -6 | disk=Outdated o.disk>Outdated conn>=Connected conn<Ahead
  asked 1b | -16 | disk=Outdated o.disk<Outdated conn>=Connected conn<Ahead
  asked 1b | -16 | disk=Outdated o.disk=Attaching
  asked 2 | -4 | conn=StartingSyncS|StartingSyncT o.conn=Connected disk<=Failed
  asked 3 | -5 | conn=StartingSyncS|StartingSyncT o.conn=Connected pdsk<=Failed
  asked 4 | -2 | conn=StartingSyncS o.conn=Connected disk<UpToDate
  asked 4 | -2 | conn=StartingSyncT o.conn=Connected pdsk<UpToDate
  asked 5 | -2 | conn=VerifyS|VerifyT o.conn=Connected disk<UpToDate
  asked 5 | -2 | conn=VerifyS|VerifyT o.conn=Connected pdsk<UpToDate`,
  F,
  NAMES,
);

/** Fills the array that rows are asked with. The fencing policy lies with the disk: without one there is none. */
export function fill(facts: number[], old: State, s: State, c: ChangeContext): void {
  for (let i = 0; i < FIELDS.length; i++) facts[i] = s[FIELDS[i] as keyof State];
  facts[F['o.role']] = old.role;
  facts[F['o.conn']] = old.conn;
  facts[F['o.disk']] = old.disk;
  facts[F['o.pdsk']] = old.pdsk;
  const fencing = old.disk >= Disks.Inconsistent ? c.fencing : 'dont-care';
  facts[F['stonith']] = Number(fencing === 'resource-and-stonith');
  facts[F['fence']] = Number(fencing !== 'dont-care');
  facts[F['suspendIo']] = Number(c.onNoDataAccessible === 'suspend-io');
  facts[F['known']] = Number(c.negotiated !== null);
  facts[F['n.disk']] = c.negotiated?.disk ?? 0;
  facts[F['n.pdsk']] = c.negotiated?.pdsk ?? 0;
  facts[F['net']] = Number(c.netConfigured);
  facts[F['two']] = Number(c.twoPrimaries);
  facts[F['other']] = Number(c.otherPeerPrimary);
  facts[F['open']] = c.openers;
  facts[F['alg']] = Number(c.verifyAlg !== '');
  facts[F['apv']] = c.apv;
  facts[F['sent']] = Number(c.stateSent);
  facts[F['vouches']] = Number(c.vouches === true);
  facts[F['behind']] = Number(c.peerBehind === true);
  facts[F['o.peer']] = old.peer;
  facts[F['untouched']] = Number(c.untouched === true);
}

/** Carries the adjustments out in `facts`. */
export function adjust(facts: number[]): void {
  for (const { row, set } of ADJUSTMENTS) {
    if (!row.holds(facts)) continue;
    for (const [at, value] of set) facts[at] = value(facts);
  }
}

/** Do `facts` hold this state? */
export function holdsState(facts: readonly number[], s: State): boolean {
  return FIELDS.every((field, i) => facts[i] === s[field]);
}

export function stateFrom(facts: readonly number[]): State {
  return Object.fromEntries(FIELDS.map((field, i) => [field, facts[i]])) as unknown as State;
}

export const SOURCE_CONNS: readonly number[] = [
  Conns.StartingSyncS,
  Conns.WFBitMapS,
  Conns.SyncSource,
  Conns.PausedSyncS,
  Conns.Ahead,
];
