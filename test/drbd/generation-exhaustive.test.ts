/**
 * Generations and meta-data flags: when a generation begins, what each operation makes of the four slots, what an attach
 * concludes from the flags, which flags a state writes. Everything that the rules look at, against the tables of
 * docs/STATES.md as data.
 */
import test from 'ava';
import {
  type AttachInput,
  attachDecision,
  negotiatedStates,
} from '../../src/drbd/attach-decision.js';
import {
  beginsGeneration,
  clearBitmapUuid,
  clearsCrashedPrimary,
  exposesCurrent,
  finishAsSource,
  finishAsTarget,
  metaFlags,
  newCurrent,
  newCurrentByCommand,
  nextGeneration,
  promotionBeginsGeneration,
  setBitmapRotating,
  setCurrent,
  skipInitialSync,
  startAsSource,
  startAsTarget,
  UUID_NEW_BM_OFFSET,
  type UuidSet,
  withRole,
} from '../../src/drbd/generation.js';
import { Err } from '../../src/drbd/return-codes.js';
import {
  CONNS,
  Conns,
  DISKS,
  Disks,
  INITIAL_STATE,
  Roles,
  type State,
} from '../../src/drbd/state.js';
import { MDF } from '../../src/md/superblock.js';
import { factIndex, firstRow, specTable } from './spec-table.js';

const { Primary, Secondary, Unknown } = Roles;
const NAMES = {
  ...Object.fromEntries(CONNS.map((name, n) => [name, n])),
  ...Object.fromEntries(DISKS.map((name, n) => [name, n])),
  Primary,
  Secondary,
};
const ALL_DISKS = DISKS.map((_, n) => n);
/** Bitmap UUID; is the current generation shared? */
const BASES = [
  [0n, false],
  [0n, true],
  [0x50n, false],
  [0x50n, true],
] as const;
const ROLE_PEERS = [Unknown, Primary, Secondary];
const DISK_CHANGES = [
  ...ALL_DISKS.map((disk) => [disk, disk] as const),
  [Disks.Consistent, Disks.UpToDate],
] as const;

test('when a generation begins: every change of disks and roles', (t) => {
  const F = factIndex([
    'role',
    'peer',
    'o.peer',
    'disk',
    'o.disk',
    'pdsk',
    'o.pdsk',
    'bitmap',
    'susp',
    'conn',
    'forced',
    'shared',
  ]);
  const lost = 'disk=UpToDate';
  // followed: Inconsistent, Negotiating is below it; Outdated and DUnknown did not follow
  const gone = 'pdsk=Diskless|Attaching|Failed|Negotiating|DUnknown|Outdated';
  // the bitmap has no base, or (not in the originals) the peer may take the present generation over
  const rows = specTable(
    ['role=Primary', 'peer=Primary']
      .flatMap((who) => ['bitmap=0', 'shared=1'].map((may) => `${who} ${may}`))
      .flatMap((who) => [
        `later | later | ${lost} ${who} susp>0 o.pdsk=Inconsistent|Consistent|UpToDate ${gone}`,
        `later | later | ${lost} ${who} susp>0 o.pdsk=DUnknown pdsk=Diskless|Failed|Outdated`,
        `now   | now   | ${lost} ${who} susp=0 o.pdsk=Inconsistent|Consistent|UpToDate ${gone}`,
        `now   | now   | ${lost} ${who} susp=0 o.pdsk=DUnknown pdsk=Diskless|Failed|Outdated`,
        // not in the originals, which do not wait until the peer vouches for it
        `later | later | ${lost} ${who} susp>0 o.disk=Consistent pdsk<Inconsistent`,
        `now   | now   | ${lost} ${who} susp=0 o.disk=Consistent pdsk<Inconsistent`,
      ])
      .concat([
        `diskless peer promoted | now | ${lost} bitmap=0 pdsk<Inconsistent o.peer!=Primary peer=Primary`,
        `diskless peer promoted | now | ${lost} shared=1 pdsk<Inconsistent o.peer!=Primary peer=Primary`,
        'else | no | always',
      ])
      .join('\n'),
    F,
    NAMES,
  );
  const bad: string[] = [];
  const seen = new Map<string, number>();
  for (const role of [Primary, Secondary])
    for (const oldPeer of ROLE_PEERS)
      for (const peer of ROLE_PEERS)
        for (const [oldDisk, disk] of DISK_CHANGES)
          for (const oldPdsk of ALL_DISKS)
            for (const pdsk of ALL_DISKS)
              for (const [bitmap, shared] of BASES)
                for (const flags of [{}, { susp: 1 }, { suspNod: 1 }, { suspFen: 1 }]) {
                  const old = {
                    ...INITIAL_STATE,
                    role,
                    peer: oldPeer,
                    disk: oldDisk,
                    pdsk: oldPdsk,
                  };
                  const next = { ...old, ...flags, disk, peer, pdsk };
                  const susp = Object.keys(flags).length;
                  const facts = [
                    role,
                    peer,
                    oldPeer,
                    disk,
                    oldDisk,
                    pdsk,
                    oldPdsk,
                    Number(bitmap),
                    susp,
                    0,
                    0,
                    Number(shared),
                  ];
                  const outcome = rows[firstRow(rows, facts)]?.outcome ?? '';
                  // Not as the table: a Secondary's own I/O is what is frozen, and the Primary's writes arrive all the same.
                  const expected = outcome === 'later' && role === Secondary ? 'now' : outcome;
                  const set = { current: 0x10n, bitmap, history1: 0n, history2: 0n };
                  const got = beginsGeneration(old, next, set, shared);
                  seen.set(got, (seen.get(got) ?? 0) + 1);
                  if (got !== expected)
                    bad.push(`${JSON.stringify([old, next])}: ${got}, not ${expected}`);
                }
  t.deepEqual(bad.slice(0, 3), []);
  t.deepEqual([...seen.keys()].sort(), ['later', 'no', 'now']);

  const promotion = specTable(
    `
    forced | 1 | forced=1
    alone  | 1 | conn<Connected bitmap=0
    alone  | 1 | pdsk<=Failed bitmap=0
    alone  | 1 | conn<Connected shared=1
    alone  | 1 | pdsk<=Failed shared=1
    else   | 0 | always`,
    F,
    NAMES,
  );
  for (const conn of CONNS.keys())
    for (const pdsk of ALL_DISKS)
      for (const [bitmap, shared] of BASES)
        for (const forced of [false, true]) {
          const facts = [
            Primary,
            0,
            0,
            0,
            0,
            pdsk,
            0,
            Number(bitmap),
            0,
            conn,
            Number(forced),
            Number(shared),
          ];
          const expected = promotion[firstRow(promotion, facts)]?.outcome === '1';
          const state = { ...INITIAL_STATE, role: Primary, conn, pdsk };
          const set = { current: 0x10n, bitmap, history1: 0n, history2: 0n };
          if (promotionBeginsGeneration(state, set, forced, shared) !== expected) {
            t.fail(`${CONNS[conn]} ${DISKS[pdsk]} ${bitmap} ${forced}`);
          }
        }
});

/** Letters: the slots c b h i of the set, C B H I of the peer's; v a given value, r a random one, + the offset. */
const OPERATIONS = `
  new current              b=0    | v c h i
  new current              b!=0   | v c b h
  rotate bitmap            b=0    | c v h i
  rotate bitmap            b!=0   | c v b h
  clear bitmap             b=0    | c 0 h i
  clear bitmap             b!=0   | c 0 b h
  set current                     | v b h i
  source starts            b=0    | c r h i
  source starts            b=4    | c r b h
  source starts            else   | c b+ b h
  next generation          b=0    | v c h i
  next generation          else   | v b h c
  target starts                   | v 0 h i
  source finishes          b=0    | c 0 h i
  source finishes          b!=0   | c 0 b h
  target finishes          B=0    | C 0 c H
  target finishes          B!=0   | C 0 c B
  new-current-uuid         b=0    | v c h i
  new-current-uuid         b!=0   | v c b h
  skip initial sync               | v 0 h i
  role                            | c b h i
`;

test('what each operation makes of the slots: every set, either role', (t) => {
  const table = OPERATIONS.trim()
    .split('\n')
    .map((line) => {
      const [left = '', slots = ''] = line.split('|').map((cell) => cell.trim());
      const [, name = '', when = ''] = /^(.*?)(?:\s{2,}(\S+))?$/.exec(left) ?? [];
      return { name, when, slots: slots.split(' ') };
    });
  const V = 0xaaaa_0000_0000_0011n;
  const RANDOM = 0xbbbb_0000_cccc_0001n;
  const random = (): { u32: () => number; bytes: () => Uint8Array } => {
    const words = [0xbbbb_0000, 0xcccc_0001];
    return { u32: () => words.shift() ?? 0, bytes: () => new Uint8Array() };
  };
  const operations: Readonly<
    Record<string, (s: UuidSet, p: UuidSet, primary: boolean) => UuidSet>
  > = {
    'new current': (s, _, primary) => newCurrent(s, V, primary),
    'rotate bitmap': (s) => setBitmapRotating(s, V),
    'clear bitmap': (s) => clearBitmapUuid(s),
    'set current': (s, _, primary) => setCurrent(s, V, primary),
    'next generation': (s, _, primary) => nextGeneration(s, V, primary, s.current),
    'source starts': (s) => startAsSource(s, random()).set,
    'target starts': (s, _, primary) => startAsTarget(s, V, primary),
    'source finishes': (s) => finishAsSource(s),
    'target finishes': (s, p, primary) => finishAsTarget(s, p, primary),
    'new-current-uuid': (s, _, primary) => newCurrentByCommand(s, V, primary),
    'skip initial sync': (s, _, primary) => skipInitialSync(s, V, primary),
    role: (s, _, primary) => withRole(s, primary),
  };
  // operations that write current force its bit 0 to the role
  const keepsCurrent = ['rotate bitmap', 'clear bitmap', 'source starts', 'source finishes'];
  const slotValues = [0n, 4n, 0x20n, 0x31n, 0xffff_0000_0000_0041n];
  const bad: string[] = [];
  const used = new Set<string>();
  const judge = (name: string, s: UuidSet, p: UuidSet, primary: boolean): void => {
    const row = table.find((r) => {
      if (r.name !== name) return false;
      const [, which = '', op = '', value = ''] = /^(b|B)(=|!=)(\d)$/.exec(r.when) ?? [];
      if (which === '') return true;
      return ((which === 'b' ? s : p).bitmap === BigInt(value)) === (op === '=');
    });
    used.add(`${name} ${row?.when}`);
    const letters: Readonly<Record<string, bigint>> = {
      c: s.current,
      b: s.bitmap,
      h: s.history1,
      i: s.history2,
      C: p.current,
      B: p.bitmap,
      H: p.history1,
      I: p.history2,
      'b+': (s.bitmap + UUID_NEW_BM_OFFSET) & ((1n << 64n) - 1n),
      v: V,
      r: RANDOM,
      '0': 0n,
    };
    const expected = (row?.slots ?? []).map((letter) => letters[letter]);
    if (!keepsCurrent.includes(name)) {
      const current = expected[0] ?? 0n;
      expected[0] = primary ? current | 1n : current & ~1n;
    }
    const got = operations[name]?.(s, p, primary);
    if (Object.values(got ?? {}).join() !== expected.join()) {
      bad.push(
        `${name} ${Object.values(s)} ${Object.values(p)}: ${Object.values(got ?? {})}, not ${expected}`,
      );
    }
  };
  for (const current of slotValues)
    for (const bitmap of slotValues)
      for (const history1 of slotValues)
        for (const history2 of slotValues) {
          const s = { current, bitmap, history1, history2 };
          for (const primary of [false, true])
            for (const name of Object.keys(operations)) {
              if (current === 0n && (name === 'target finishes' || name === 'next generation'))
                continue; // never without one
              const peers = name === 'target finishes' ? slotValues : [0n];
              for (const b of peers)
                for (const h of peers)
                  judge(
                    name,
                    s,
                    { current: 0x70n, bitmap: b, history1: h, history2: 0x90n },
                    primary,
                  );
            }
        }
  t.deepEqual(bad.slice(0, 3), []);
  t.is(used.size, table.length, [...used].join());
});

test('what an attach concludes: every combination of flags, in every situation', (t) => {
  const F = factIndex(['consistent', 'wasUpToDate', 'peerOld', 'pdsk', 'fence']);
  const rows = specTable(
    `
    bad         | Inconsistent | consistent=0
    old         | Outdated     | wasUpToDate=0
    peer is old | UpToDate     | peerOld=1
    peer is old | UpToDate     | pdsk=Outdated
    no fencing  | UpToDate     | fence=0
    else        | Consistent   | always`,
    F,
    NAMES,
  );
  const bad: string[] = [];
  const uuids: UuidSet = { current: 0x51n, bitmap: 0x41n, history1: 0x31n, history2: 0x21n };
  let cases = 0;
  let refused = 0;
  for (const role of [Primary, Secondary])
    for (const peer of [Primary, Secondary])
      for (const conn of [Conns.StandAlone, Conns.Connected])
        for (const pdsk of ALL_DISKS)
          for (const suspNod of [0, 1])
            for (const [resuming, hasExposed] of [
              [false, false],
              [false, true],
              [true, false],
              [true, true],
            ] as const)
              for (const fencing of ['dont-care', 'resource-only'] as const)
                for (let flags = 0; flags < 512; flags++) {
                  cases += 1;
                  const alUpdates = (flags + pdsk) % 2 === 0;
                  const state: State = {
                    ...INITIAL_STATE,
                    role,
                    peer,
                    conn,
                    pdsk,
                    suspNod,
                    disk: Disks.Attaching,
                  };
                  const input: AttachInput = {
                    state,
                    flags,
                    uuids,
                    resuming,
                    hasExposed,
                    fencing,
                    alUpdates,
                    outdated: false,
                  };
                  const got = attachDecision(input);
                  const has = (flag: number): boolean => (flags & flag) !== 0;
                  const text = (): string =>
                    JSON.stringify({ ...state, flags, fencing, resuming, hasExposed });
                  const inUse = role === Primary || peer === Primary || resuming;
                  // an Inconsistent disk is not read without its source: the users of a restarted engine wait
                  const unread = resuming && !has(MDF.CONSISTENT);
                  const otherData = inUse && !unread && pdsk !== Disks.UpToDate && !hasExposed;
                  if (typeof got === 'number' || otherData) {
                    refused += 1;
                    if (got !== Err.DATA_NOT_CURRENT || !otherData) bad.push(text());
                    continue;
                  }
                  const facts = [
                    Number(has(MDF.CONSISTENT)),
                    Number(has(MDF.WAS_UP_TO_DATE)),
                    Number(has(MDF.PEER_OUT_DATED)),
                    pdsk,
                    Number(fencing !== 'dont-care'),
                  ];
                  const disk = DISKS.indexOf(
                    rows[firstRow(rows, facts)]?.outcome as (typeof DISKS)[number],
                  );
                  const peerDisk = has(MDF.PEER_OUT_DATED) ? Disks.Outdated : pdsk;
                  const crashed =
                    has(MDF.CRASHED_PRIMARY) ||
                    (has(MDF.PRIMARY_IND) && !(role === Primary && suspNod === 1));
                  const connected = conn === Conns.Connected;
                  const fine =
                    got.negotiated.disk === disk &&
                    got.negotiated.pdsk === peerDisk &&
                    got.wanted.disk === (connected ? Disks.Negotiating : disk) &&
                    got.wanted.pdsk === (connected ? pdsk : peerDisk) &&
                    got.crashedPrimary === crashed &&
                    got.degraded ===
                      (role !== Primary && has(MDF.PRIMARY_IND) && !has(MDF.CONNECTED_IND)) &&
                    got.fullSync === (has(MDF.FULL_SYNC) || (crashed && has(MDF.AL_DISABLED))) &&
                    got.flags ===
                      (alUpdates ? flags & ~MDF.AL_DISABLED : flags | MDF.AL_DISABLED) &&
                    got.uuids.current === (role === Primary ? 0x51n : 0x50n);
                  if (!fine) bad.push(text());
                }
  t.deepEqual(bad.slice(0, 3), []);
  t.true(cases > 500_000 && refused > 10_000, `${cases} ${refused}`);
  const kept = { disk: Disks.Outdated, pdsk: Disks.DUnknown };
  t.is(negotiatedStates(kept, 0x51n, uuids), kept);
  t.is(negotiatedStates(kept, 0x50n, uuids), kept, 'bit 0 is no part of it');
  t.is(negotiatedStates(kept, 0x60n, uuids), null);
});

test('which flags a state writes: every state', (t) => {
  const bad: string[] = [];
  const good = (disk: number): boolean => disk === Disks.UpToDate;
  for (const role of [Primary, Secondary])
    for (const peer of ROLE_PEERS)
      for (const conn of CONNS.keys())
        for (const disk of ALL_DISKS)
          for (const pdsk of ALL_DISKS)
            for (const crashed of [false, true])
              for (const [before, diverged] of [
                [0, false],
                [0x1ff, false],
                [0, true],
                [0x1ff, true],
              ] as const) {
                const s = { ...INITIAL_STATE, role, peer, conn, disk, pdsk };
                const { Inconsistent, Outdated, Failed } = Disks;
                const primary =
                  role === Primary ||
                  (peer === Primary && (pdsk <= Failed || pdsk === Disks.Negotiating));
                // Not in the originals: a peer without its disk while this copy went on holds an old one.
                const left =
                  diverged &&
                  good(disk) &&
                  (pdsk === Disks.DUnknown
                    ? (before & 0x020) !== 0
                    : pdsk < Inconsistent && conn >= Conns.Connected);
                const old = pdsk === Inconsistent || pdsk === Outdated || left;
                const expected =
                  (disk > Inconsistent ? 0x001 : 0) |
                  (primary ? 0x002 : 0) |
                  (conn >= Conns.Connected ? 0x004 : 0) |
                  (before & 0x008) |
                  (disk > Outdated ? 0x010 : 0) |
                  (old ? 0x020 : 0) |
                  (crashed ? 0x040 : 0) |
                  (before & 0x100);
                if (metaFlags(before, s, crashed, diverged) !== expected)
                  bad.push(JSON.stringify(s));
              }
  for (const a of ALL_DISKS)
    for (const b of ALL_DISKS)
      for (const c of ALL_DISKS)
        for (const d of ALL_DISKS) {
          const old = { ...INITIAL_STATE, disk: a, pdsk: b };
          const next = { ...INITIAL_STATE, disk: c, pdsk: d };
          const reached = good(c) && good(d) && !(good(a) && good(b));
          if (clearsCrashedPrimary(old, next) !== reached) bad.push(`crashed ${a} ${b} ${c} ${d}`);
          const exposes = a < Disks.Consistent && c >= Disks.Consistent;
          if (exposesCurrent(old, next) !== exposes) bad.push(`exposed ${a} ${c}`);
        }
  t.deepEqual(bad.slice(0, 3), []);
});

test('a generation that begins on a base: what the peer may hold stays findable', (t) => {
  const P = UUID_NEW_BM_OFFSET;
  const [X, Y, A, B, N] = [0x11n, 0x20n, 0x30n, 0x40n, 0x51n];
  const rows: readonly [string, UuidSet, bigint, readonly bigint[]][] = [
    // P_SYNC_UUID lost, arrived, or all finished: the target has Y, Y+, X
    ['derived', set4(X, Y + P, Y, B), Y, [N, Y + P, Y, X]],
    ['derived, begun with another', set4(X, Y + P, Y, B), A, [N, Y + P, A, X]],
    ['derived, not known', set4(X, Y + P, Y, B), 0n, [N, Y + P, Y, X]],
    // the resync began between equal generations, with a random UUID
    ['random', set4(X, A, Y, B), X, [N, A, Y, X]],
    ['random, again', set4(X, A, Y, B), B, [N, A, B, X]],
    ['random, not known', set4(X, A, Y, B), 0n, [N, A, B, X]],
    ['random, not known, nothing else', set4(X, A, Y, 0n), 0n, [N, A, Y, X]],
    ['the target has the sync UUID', set4(X, A, Y, B), A, [N, A, Y, X]],
  ];
  for (const [name, set, targetHad, expected] of rows) {
    t.deepEqual(Object.values(nextGeneration(set, N, true, targetHad)), expected, name);
    const { history1, history2 } = nextGeneration(set, N, true, targetHad);
    const began = startAsSource(
      { ...set, history1, history2 },
      { u32: () => 7, bytes: () => new Uint8Array() },
      history2,
    ).set;
    t.is(began.history2, history2, `${name}: stays while the target has it`);
  }
});

function set4(current: bigint, bitmap: bigint, history1: bigint, history2: bigint): UuidSet {
  return { current, bitmap, history1, history2 };
}
