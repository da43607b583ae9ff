/** What comes from disks, files and the control socket: meta-data, dumps of it, drbd.conf, drbdsetup show, requests. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Prng } from '../../src/base/prng.js';
import { showText } from '../../src/cli/drbdsetup-show.js';
import { dumpHeader, dumpResource, dumpXml } from '../../src/config/drbd-conf-dump.js';
import type { ConfFiles } from '../../src/config/drbd-conf-model.js';
import { parseDrbdConf } from '../../src/config/drbd-conf-parser.js';
import { localConf } from '../../src/config/drbd-conf-resolve.js';
import type { ControlReply, ControlRequest, RunningResource } from '../../src/host/control.js';
import { DrbdControl } from '../../src/host/drbd-control.js';
import {
  beginTransaction,
  encodeInitialized,
  putContext,
  putUpdate,
  sealTransaction,
} from '../../src/md/activity-log.js';
import { planApplyAl } from '../../src/md/apply-al.js';
import { DumpError, parseDump } from '../../src/md/dump.js';
import {
  isRefused,
  layoutOfDevice,
  layoutOfSuperblock,
  usableSectors,
} from '../../src/md/layout.js';
import {
  checkSuperblock,
  decodeSuperblock,
  encodeSuperblock,
  freshSuperblock,
  MAGIC_UNCLEAN,
  wrongLayout,
} from '../../src/md/superblock.js';
import { ConfGenerator } from '../support/conf-generator.js';
import { confText, mutate } from '../support/conf-layout.js';
import { inSync, type SimPair } from '../support/sim-pair.js';
import { randomBytes, spoiled } from './bytes.js';
import type { FuzzTarget } from './targets.js';

const superblock: FuzzTarget = {
  name: 'superblock',
  input: (rng) => {
    const index = rng.pick(['internal', 'flexible', 0, 1] as const);
    const sectors = rng.pick([262_144, 524_288, 2_048, rng.below(2 ** 31), 2 ** 41]);
    const layout = layoutOfDevice(index, sectors);
    const bytes = new Uint8Array(4_096);
    if (!isRefused(layout)) encodeSuperblock(freshSuperblock(layout), bytes);
    const sb = decodeSuperblock(spoiledBlock(rng, bytes));
    const at = isRefused(layout) ? 0 : layout.superblockSector;
    checkSuperblock(sb, index, at, sectors);
    if (wrongLayout(sb, index, at, sectors) !== null) return 1;
    const found = layoutOfSuperblock(sb, index, at);
    const start = Math.min(found.superblockSector, found.bitmapSector, found.alSector);
    const end = Math.max(
      found.bitmapSector + found.bitmapSectors,
      found.alSector + found.alBlocks * 8,
    );
    if (start < 0 || end > sectors)
      throw new Error(`accepted, but from ${start} to ${end} of ${sectors}`);
    if (usableSectors(found, sectors) < 0) throw new Error('less than no data');
    return 1;
  },
};

function spoiledBlock(rng: Prng, bytes: Uint8Array): Uint8Array {
  if (rng.chance(0.05)) return randomBytes(rng, 4_096);
  const copy = Uint8Array.from(bytes);
  const view = new DataView(copy.buffer);
  for (let n = 1 + rng.below(3); n > 0; n--) {
    const old = view.getUint32(4 * rng.below(24));
    const value = rng.pick([
      0,
      1,
      8,
      0xffffffff,
      0x7fffffff,
      0x80000000,
      old + 8,
      old - 8,
      rng.u32(),
    ]);
    view.setUint32(4 * rng.below(24), value);
  }
  return copy;
}

const activityLog: FuzzTarget = {
  name: 'activity log',
  input: (rng) => {
    const [stripes, size] = rng.pick([
      [1, 8],
      [1, 8],
      [4, 4],
      [3, 5],
    ] as const);
    const blocks = stripes * size;
    const ring = new Uint8Array(blocks * 4_096);
    for (let b = 0; b < blocks; b++) {
      const at = b * 4_096;
      if (rng.chance(0.3)) encodeInitialized(ring, at);
      else {
        beginTransaction(
          ring,
          at,
          rng.pick([b, rng.below(20), rng.u32()]),
          rng.below(0x10000),
          rng.below(0x10000),
        );
        for (let i = rng.below(65) - 1; i >= 0; i--)
          putUpdate(ring, at, i, rng.below(0x10000), rng.u32());
        for (let i = 0; i < 20; i++) putContext(ring, at, rng.below(919), rng.u32());
        if (rng.chance(0.2)) ring[at + 14] = rng.below(256); // n_updates
        sealTransaction(ring, at);
      }
      if (rng.chance(0.1)) ring.set(randomBytes(rng, 64), at + rng.below(4_000));
    }
    const layout = layoutOfDevice('internal', 2_097_152, { stripes, stripeSize4k: size });
    if (isRefused(layout)) throw new Error(layout.text);
    const magic = rng.chance(0.7) ? { magic: MAGIC_UNCLEAN } : {};
    const sb = {
      ...freshSuperblock(layout),
      ...magic,
      flags: rng.below(512),
      alExtents: rng.pick([67, 1237, 0, rng.u32()]),
    };
    const plan = planApplyAl(sb, ring);
    if (plan.mark.length > 65_536 * 2) throw new Error(`${plan.mark.length} extents`);
    return 1;
  },
};

const dumps: FuzzTarget = {
  name: 'dump',
  input: (rng) => {
    const good = rng.pick(DUMPS);
    const bytes = spoiled(rng, good);
    try {
      parseDump(
        Buffer.from(bytes).toString('latin1'),
        () => {},
        () => {},
      );
    } catch (e) {
      if (!(e instanceof DumpError)) throw e;
    }
    return 1;
  },
};
const DUMPS = readdirSync('test/golden/metadata')
  .filter((name) => name.endsWith('dump-md.txt'))
  .map((name) => readFileSync(`test/golden/metadata/${name}`).subarray(0, 4_000));

function confFiles(texts: ReadonlyMap<string, string>): ConfFiles {
  return {
    read: (path) => texts.get(path) ?? null,
    glob: (pattern) =>
      [...texts.keys()].filter((path) => path.startsWith(pattern.replace(/[*?[].*/, ''))),
    real: (path) => path,
  };
}

const HOST = { name: 'one', addresses: new Set<string>(['10.0.0.1']) };

/** Read, resolved in every way, and printed. */
function wholeConf(texts: ReadonlyMap<string, string>, main: string): void {
  const result = parseDrbdConf(main, confFiles(texts));
  const { config, errors } = result;
  if (!config) {
    if (errors.length === 0) throw new Error('refused without a word');
    return;
  }
  for (const detail of ['as written', 'expanded', 'for commands'] as const) {
    const local = localConf(config, HOST, null, detail, 'script');
    dumpXml(local);
    dumpHeader(config, true);
    for (const r of local.resources) dumpResource(r, 'one');
  }
}

const conf: FuzzTarget = {
  name: 'drbd.conf',
  input: (rng) => {
    const { files } = new ConfGenerator(rng, rng.pick([0, 0.01, 0.05])).conf();
    const [first] = files;
    if (!first) throw new Error('no file');
    for (const { tokens } of files) if (rng.chance(0.7)) mutate(tokens, rng);
    const layout = rng.pick(['line', 'indented', 'wild'] as const);
    const texts = new Map(
      files.map(({ path, tokens }) => {
        const text = confText(tokens, layout, rng);
        const bytes = rng.chance(0.3) ? spoiled(rng, Buffer.from(text)) : null;
        return [`/etc/${path}`, bytes ? Buffer.from(bytes).toString() : text];
      }),
    );
    wholeConf(texts, `/etc/${first.path}`);
    return 1;
  },
};

/** What drbdsetup prints of a pair in use, read back as drbdadm does. */
function show(): FuzzTarget {
  const running = pairOf(1).alpha.control({ verb: 'running' });
  if (!running.ok) throw new Error(running.text);
  const text = (running.value as readonly RunningResource[]).map((r) => showText(r, true)).join('');
  const good = Buffer.from(text);
  return {
    name: 'drbdsetup show',
    input: (rng) => {
      const bytes = spoiled(rng, good);
      wholeConf(new Map([['/show', Buffer.from(bytes).toString()]]), '/show');
      return 1;
    },
  };
}

function pairOf(seed: number): SimPair {
  return inSync(seed, { net: { protocol: 'C' } });
}

const REQUESTS: readonly string[] = [
  '{"verb":"status"}',
  '{"verb":"running"}',
  '{"verb":"new-resource","resource":"r1","options":{"cpuMask":"","onNoDataAccessible":"io-error"}}',
  '{"verb":"new-minor","resource":"r1","minor":5,"volume":0,"device":"/dev/drbd5"}',
  '{"verb":"attach","minor":0,"disk":"/dev/lower","metaDisk":"/dev/lower","metaIndex":"internal","options":OPTIONS}',
  '{"verb":"connect","resource":"r0","local":{"family":"ipv4","host":"10.1.0.1","port":7788},"remote":{"family":"ipv4","host":"10.1.0.2","port":7788},"options":NET,"discardMyData":false,"tentative":false}',
  '{"verb":"disconnect","resource":"r0","force":false}',
  '{"verb":"detach","minor":0,"force":false}',
  '{"verb":"primary","minor":0,"force":false}',
  '{"verb":"secondary","minor":0}',
  ...['invalidate', 'invalidate-remote', 'outdate', 'pause-sync', 'resume-sync', 'suspend-io'].map(
    (verb) => `{"verb":"${verb}","minor":0}`,
  ),
  ...['resume-io', 'del-minor', 'timeout-type', 'get-gi'].map(
    (verb) => `{"verb":"${verb}","minor":0}`,
  ),
  '{"verb":"new-current-uuid","minor":0,"clearBitmap":true}',
  '{"verb":"verify","minor":0,"startSector":0,"stopSector":null}',
  '{"verb":"resize","minor":0,"sizeSectors":0,"assumePeerHasSpace":false,"assumeClean":false}',
  '{"verb":"disk-options","minor":0,"options":OPTIONS}',
  '{"verb":"net-options","resource":"r0","options":NET}',
  '{"verb":"resource-options","resource":"r0","options":{"cpuMask":"","onNoDataAccessible":"io-error"}}',
  '{"verb":"down","resource":"r0"}',
  '{"verb":"del-resource","resource":"r0"}',
  '{"verb":"wait-connect","minor":0,"timeoutS":1,"afterSb":false}',
  '{"verb":"expose","minor":0,"generations":["A1B2","0"]}',
];
const REQUESTS_OF_A_DAEMON = 50;
const VALUES: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e300,
  '',
  'x',
  [],
  {},
  '__proto__',
  2 ** 32,
  ['x'],
];

/** A request in which a value, or a whole field, is another one. */
function request(rng: Prng, template: string): unknown {
  const parsed = JSON.parse(template) as Record<string, unknown>;
  if (rng.chance(0.3)) return parsed;
  if (rng.chance(0.03)) return rng.pick(VALUES);
  const inner = rng.chance(0.4)
    ? Object.values(parsed).find((v) => typeof v === 'object' && v)
    : null;
  const target = (inner ?? parsed) as Record<string, unknown>;
  const key = rng.pick(Object.keys(target));
  if (rng.chance(0.3)) delete target[key];
  else target[key] = rng.pick(VALUES);
  return parsed;
}

function control(): FuzzTarget {
  const running = pairOf(1).alpha.control({ verb: 'running' });
  const [r] = (running.ok ? running.value : []) as readonly RunningResource[];
  const net = JSON.stringify(r?.net?.options ?? {});
  const disk = JSON.stringify(r?.volumes[0]?.disk?.options ?? {});
  const templates = REQUESTS.map((text) => text.replace('OPTIONS', disk).replace('NET', net));
  return {
    name: 'control',
    input: (rng) => {
      const pair = pairOf(rng.u32());
      const handler = new DrbdControl(pair.alpha.loop, 'fuzz');
      let sent = '';
      try {
        for (let n = 0; n < REQUESTS_OF_A_DAEMON; n++) {
          const message = request(rng, rng.pick(templates));
          sent = JSON.stringify(message);
          const reply = (_: ControlReply): void => {};
          handler.handle(message as ControlRequest, reply);
          pair.run(rng.pick([0, 1, 20, 300]));
        }
      } catch (e) {
        throw new Error(`behind ${sent}`, { cause: e });
      }
      return REQUESTS_OF_A_DAEMON;
    },
  };
}

export const textTargets = (): readonly FuzzTarget[] => [
  superblock,
  activityLog,
  dumps,
  conf,
  show(),
  control(),
];
