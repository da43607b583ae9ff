/**
 * Our decisions against a kernel's log (test/golden/drbd/kernel-log.txt): every state change, every operation on the
 * generation identifiers and every handshake of 14 recordings, of both nodes, is decided again here.
 */
import { readFileSync } from 'node:fs';
import test from 'ava';
import type { RandomSource } from '../../src/base/ports.js';
import { DEFAULT_NET_OPTIONS } from '../../src/config/drbd-options.js';
import {
  CREATED_UUIDS,
  finishAsSource,
  finishAsTarget,
  newCurrent,
  skipInitialSync,
  startAsSource,
  startAsTarget,
  type UuidSet,
  uuidsText,
  withRole,
} from '../../src/drbd/generation.js';
import { Ss } from '../../src/drbd/return-codes.js';
import {
  CONNS,
  Conns,
  DISKS,
  Disks,
  INITIAL_STATE,
  ROLES,
  Roles,
  type State,
} from '../../src/drbd/state.js';
import { changeText } from '../../src/drbd/state-text.js';
import { syncDecision, UUID_FLAG } from '../../src/drbd/sync-decision.js';
import { IDLE_CONTEXT, requestChange, sameState, sanitize } from '../../src/drbd/transition.js';

interface Recording {
  readonly name: string;
  readonly node: string;
  readonly lines: readonly string[];
}

const RECORDINGS: readonly Recording[] = readFileSync('test/golden/drbd/kernel-log.txt', 'utf8')
  .split(/^== /m)
  .slice(1)
  .map((text) => {
    const [title = '', ...lines] = text.trimEnd().split('\n');
    const [name = '', node = ''] = title.split(' ');
    return { name, node, lines };
  });

const FIELDS: Readonly<Record<string, { key: keyof State; names: readonly string[] }>> = {
  role: { key: 'role', names: ROLES },
  peer: { key: 'peer', names: ROLES },
  conn: { key: 'conn', names: CONNS },
  disk: { key: 'disk', names: DISKS },
  pdsk: { key: 'pdsk', names: DISKS },
  peer_isp: { key: 'peerIsp', names: ['0', '1'] },
  user_isp: { key: 'userIsp', names: ['0', '1'] },
};

/** The state after a logged change, or what is wrong with the line as a continuation of `old`. */
function nextState(old: State, line: string): State | string {
  const next: Record<string, number> = { ...old };
  for (const [, what = '', from = '', to = ''] of line.matchAll(/(\w+)\( (\w+) -> (\w+) \)/g)) {
    const field = FIELDS[what];
    if (!field) return `unknown field ${what}`;
    if (field.names.indexOf(from) !== old[field.key]) return `${what} was not ${from}`;
    next[field.key] = field.names.indexOf(to);
  }
  return next as unknown as State;
}

function parseUuids(text: string): UuidSet {
  const [current = 0n, bitmap = 0n, history1 = 0n, history2 = 0n] = (
    text.match(/[0-9A-F]{16}/g) ?? []
  ).map((hex) => BigInt(`0x${hex}`));
  return { current, bitmap, history1, history2 };
}

const isChange = (line: string): boolean => /\( \w+ -> \w+ \)/.test(line);

/** A random source that gives exactly this 64-bit value. */
function fixed(value: bigint): RandomSource {
  const words = [Number(value >> 32n), Number(value & 0xffffffffn)];
  return { u32: () => words.shift() ?? 0, bytes: () => new Uint8Array() };
}

test('every state change that a kernel made is one that we allow, imply and describe alike', (t) => {
  let implied = 0;
  let changes = 0;
  for (const { name, node, lines } of RECORDINGS) {
    let state = INITIAL_STATE;
    for (const line of lines) {
      if (line === '-- boot') state = INITIAL_STATE;
      if (!isChange(line)) continue;
      const where = `${name} ${node}: ${line}`;
      const next = nextState(state, line);
      if (typeof next === 'string') {
        t.fail(`${where}: ${next}`);
        return;
      }
      changes += 1;
      t.is(changeText(state, next).trim(), line.trim(), where);
      const negotiated = { disk: Disks.UpToDate, pdsk: Disks.DUnknown };
      const context = { ...IDLE_CONTEXT, netConfigured: true, verifyAlg: 'crc32c', negotiated };
      const hard = requestChange(state, next, context, { hard: true });
      t.is(hard.code, Ss.SUCCESS, where);
      t.deepEqual(hard.state, next, `${where}: nothing more is implied`);
      // losing the connection, and the steps of a resync, name the connection state only
      const only = sanitize(state, { ...state, conn: next.conn }, context).state;
      if (state.conn !== next.conn && state.conn !== Conns.WFReportParams) {
        const ends = next.conn === Conns.Connected && state.disk !== state.pdsk;
        const peerAttached = state.pdsk === Disks.Diskless;
        if (!ends && !peerAttached) {
          if (!sameState(only, next)) {
            // paused and continued by a flag
            t.regex(line, /isp\(/, where);
          } else implied += 1;
        }
      }
      state = next;
    }
  }
  t.true(changes > 700, String(changes));
  t.true(implied > 300, String(implied));
});

test('generation identifiers follow every operation that a kernel logged', (t) => {
  const seen = new Map<string, number>();
  for (const { name, node, lines } of RECORDINGS) {
    let state = INITIAL_STATE;
    let set = CREATED_UUIDS;
    let peer = CREATED_UUIDS;
    let promoting = false; // bit 0 is set at the end of a promotion, after its new generation
    for (const line of lines) {
      if (line === '-- boot') state = INITIAL_STATE;
      if (isChange(line)) {
        const next = nextState(state, line);
        if (typeof next === 'string') throw new Error(`${name} ${node}: ${line}: ${next}`);
        if (promoting) set = withRole(set, true);
        promoting = next.role === Roles.Primary && state.role !== Roles.Primary;
        if (next.role === Roles.Secondary) set = withRole(set, false);
        state = next;
        continue;
      }
      const logged = parseUuids(line);
      const primary = state.role === Roles.Primary;
      const what = line.replace(/ [0-9A-F]{16}:.*/, '');
      if (promoting && what !== 'new current UUID' && logged.current !== 0n) {
        set = withRole(set, true);
        promoting = false;
      }
      switch (what) {
        case 'attached to UUIDs':
          set = withRole(logged, primary);
          break;
        case 'self':
          t.is(uuidsText(set), uuidsText(logged), `${name} ${node}: ${line}`);
          break;
        case 'peer':
          peer = logged;
          break;
        case 'new current UUID':
          set = newCurrent(set, logged.current, primary);
          promoting = false;
          break;
        case 'cleared bitmap UUID':
          set = skipInitialSync(set, set.current, primary);
          break;
        case 'receiver updated UUIDs to':
          peer = { ...CREATED_UUIDS, current: logged.current, bitmap: CREATED_UUIDS.current }; // P_UUIDS, flag 8
          set = skipInitialSync(set, logged.current, primary);
          break;
        case 'updated sync UUID':
          set = startAsSource(set, fixed(logged.bitmap)).set;
          break;
        case 'updated sync uuid':
          set = startAsTarget(set, logged.current, primary);
          break;
        case 'updated UUIDs': {
          const source = state.conn === Conns.SyncSource || state.conn === Conns.PausedSyncS;
          set = source ? finishAsSource(set) : finishAsTarget(set, peer, primary);
          peer = set;
          break;
        }
        default:
          continue;
      }
      if (what === 'attached to UUIDs') continue;
      seen.set(what, (seen.get(what) ?? 0) + 1);
      if (what !== 'peer') t.is(uuidsText(set), uuidsText(logged), `${name} ${node}: ${line}`);
    }
  }
  for (const what of [
    'new current UUID',
    'cleared bitmap UUID',
    'receiver updated UUIDs to',
    'updated sync UUID',
    'updated sync uuid',
    'updated UUIDs',
    'self',
  ]) {
    t.true((seen.get(what) ?? 0) >= 8, `${what}: ${seen.get(what)}`);
  }
});

interface Handshake {
  readonly where: string;
  readonly recording: string;
  readonly key: string; // UUIDs of self and peer
  readonly twin: string; // as the other node sees them
  readonly state: State;
  readonly next: State;
  readonly apv: number;
  readonly lines: readonly string[];
}

function handshakes(): Handshake[] {
  const found: Handshake[] = [];
  for (const { name, node, lines } of RECORDINGS) {
    let state = INITIAL_STATE;
    let apv = 0;
    for (const [i, line] of lines.entries()) {
      if (line === '-- boot') state = INITIAL_STATE;
      const agreed = /protocol version (\d+)/.exec(line);
      if (agreed) apv = Number(agreed[1]);
      if (line === 'drbd_sync_handshake:') {
        const end = lines.findIndex((l, k) => k > i && isChange(l));
        const block = lines.slice(i, end);
        const next = nextState(state, lines[end] ?? '');
        if (typeof next === 'string') throw new Error(`${name} ${node}: ${lines[end]}: ${next}`);
        const id = (l: string | undefined) => uuidsText(parseUuids(l ?? ''));
        const [self, peer] = [id(block[1]), id(block[2])];
        found.push({
          where: `${name} ${node}`,
          recording: name,
          key: `${name} ${self} ${peer}`,
          twin: `${name} ${peer} ${self}`,
          state,
          next,
          apv,
          lines: block,
        });
      }
      if (isChange(line)) {
        const next = nextState(state, line);
        if (typeof next === 'string') throw new Error(`${name} ${node}: ${line}: ${next}`);
        state = next;
      }
    }
  }
  return found;
}

const bitsAndFlags = (line = ''): [number, number] => {
  const m = /bits:(\d+) flags:([0-9A-F]+)/.exec(line);
  return [Number(m?.[1]), Number.parseInt(m?.[2] ?? '', 16)];
};

test('every handshake of a kernel is decided alike, with the same words', (t) => {
  const all = handshakes();
  const rules = new Map<string, number>();
  for (const h of all) {
    // what the other node announced of itself is printed in its peer's log only: find that one, n-th for n-th
    const nth = all.filter((x) => x.key === h.key).indexOf(h);
    const twin = all.filter((x) => x.key === h.twin && x !== h)[nth];
    const [selfBits] = bitsAndFlags(h.lines[1]);
    const [peerBits, peerFlags] = bitsAndFlags(h.lines[2]);
    const [, selfFlags] = bitsAndFlags(twin?.lines[2]);
    const establishing = h.state.conn === Conns.WFReportParams;
    const decision = syncDecision({
      self: parseUuids(h.lines[1] ?? ''),
      peer: parseUuids(h.lines[2] ?? ''),
      apv: h.apv,
      role: h.state.role,
      peerRole: h.next.conn >= Conns.Connected ? h.next.peer : Roles.Secondary,
      crashedPrimary: (selfFlags & UUID_FLAG.CRASHED_PRIMARY) !== 0,
      peerCrashedPrimary: (peerFlags & UUID_FLAG.CRASHED_PRIMARY) !== 0,
      resolveConflicts: false,
      featureWsame: true,
      disk: h.state.disk,
      negotiatedDisk: Disks.UpToDate,
      peerDisk: establishing
        ? h.next.pdsk === Disks.Inconsistent
          ? Disks.Inconsistent
          : Disks.UpToDate
        : h.state.pdsk === Disks.Diskless
          ? Disks.Consistent
          : h.state.pdsk,
      peerAttaching: h.state.pdsk === Disks.Diskless,
      selfBits,
      peerBits,
      bitsNow: selfBits,
      peerFlags,
      discardMyData: (selfFlags & UUID_FLAG.DISCARD_MY_DATA) !== 0,
      openers: 0,
      dryRun: false,
      policies: {
        ...DEFAULT_NET_OPTIONS,
        afterSb0pri: h.recording === 'split-brain-auto' ? 'discard-zero-changes' : 'disconnect',
      },
    });
    const said = decision.steps.map((s) =>
      s.type === 'log' ? s.text : `helper command: /sbin/drbdadm ${s.name} minor-0`,
    );
    const logged = h.lines.filter((l) => !/^(Implicitly|Handshake)/.test(l));
    t.deepEqual(said, logged, h.where);
    if (decision.refused) t.true(h.next.conn < Conns.Connected, h.where);
    else t.is(decision.conn, h.next.conn, h.where);
    const rule = `${decision.compared} by ${decision.rule}`;
    rules.set(rule, (rules.get(rule) ?? 0) + 1);
  }
  t.true(all.length >= 60, String(all.length));
  for (const rule of ['0 by 10', '-2 by 20', '2 by 30', '1 by 40', '-1 by 40', '-1 by 50']) {
    t.true(rules.has(rule), rule);
  }
  t.true(rules.has('1 by 70') && rules.has('100 by 90'));
});
