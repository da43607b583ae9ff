/**
 * The commands of drbdmeta that read or change the superblock only, and apply-al. Source: docs/METADATA.md sections 5, 6
 * and 9.
 */
import { type ApplyPlan, applyAl, planApplyAl } from '../md/apply-al.js';
import { giLine, parseGi, storedDiskState, uuidText } from '../md/generation-flags.js';
import type { MetaLayout } from '../md/layout.js';
import { MDF, type Superblock } from '../md/superblock.js';
import { AL_EXTENT_BITMAP_BYTES } from '../md/units.js';
import { humanSize } from './drbdmeta-create.js';
import {
  type Call,
  confirmed,
  Exit,
  type Found,
  MetaDevice,
  writeRing,
} from './drbdmeta-device.js';
import { moveMetaData } from './drbdmeta-resize.js';

function noMetaData(call: Call): number {
  call.world.err('No valid meta data found\n');
  return 1;
}

/** Runs `show` on the superblock, which must be where it belongs. */
async function reading(call: Call, show: (sb: Superblock) => void): Promise<number> {
  const device = await MetaDevice.open(call, false);
  try {
    const found = device.find();
    if (found?.where !== 'here') return noMetaData(call);
    show(found.superblock);
    return 0;
  } finally {
    device.close();
  }
}

/** Replaces the superblock by what `change` makes of it; null: leave it. */
async function changing(
  call: Call,
  change: (sb: Superblock) => Promise<Superblock | null> | Superblock | null,
): Promise<number> {
  const device = await MetaDevice.open(call, true);
  try {
    const found = device.find();
    if (found?.where !== 'here') return noMetaData(call);
    const sb = await change(found.superblock);
    if (sb === null) return 0;
    device.writeSuperblock(found.layout, sb);
    device.sync();
    device.remember(sb);
    return 0;
  } finally {
    device.close();
  }
}

export function getGi(call: Call): Promise<number> {
  return reading(call, (sb) => call.world.out(`${giLine(sb)}\n`));
}

const GI_HEADING = `
       +--<  Current data generation UUID  >-
       |               +--<  Bitmap's base data generation UUID  >-
       |               |                 +--<  younger history UUID  >-
       |               |                 |         +-<  older history  >-
       V               V                 V         V
`;
const GI_LEGEND = `\
                                                                    ^ ^ ^ ^ ^ ^ ^
                                      -<  Data consistency flag  >--+ | | | | | |
                             -<  Data was/is currently up-to-date  >--+ | | | | |
                                  -<  Node was/is currently primary  >--+ | | | |
                                  -<  Node was/is currently connected  >--+ | | |
         -<  Node was in the progress of setting all bits in the bitmap  >--+ | |
                        -<  The peer's disk was out-dated or inconsistent  >--+ |
      -<  This node was a crashed primary, and has not seen its peer since   >--+

`;

/** The table of show-gi with its two footer lines; drbdsetup prints it too. */
export function giTable(g: Parameters<typeof giLine>[0]): string {
  const on = (bit: number): boolean => (g.flags & bit) !== 0;
  const disk = on(MDF.CONSISTENT)
    ? on(MDF.WAS_UP_TO_DATE)
      ? 'UpToDate'
      : 'Outdated'
    : 'Inconsistent';
  const words = [
    on(MDF.PRIMARY_IND) ? 'Primary' : 'Secondary',
    on(MDF.CONNECTED_IND) ? 'Connected' : 'StandAlone',
    disk,
    ...(on(MDF.FULL_SYNC) ? ['need full sync'] : []),
    ...(on(MDF.PEER_OUT_DATED) ? ['peer Outdated'] : []),
  ];
  return (
    `${GI_HEADING}${giLine(g)}\n${GI_LEGEND}` +
    `flags:${on(MDF.CRASHED_PRIMARY) ? ' crashed' : ''} ${words.join(', ')}\n` +
    `meta-data: ${on(MDF.AL_CLEAN) ? 'clean' : 'need apply-al'}\n`
  );
}

export function showGi(call: Call): Promise<number> {
  return reading(call, (sb) => {
    call.world.out(giTable(sb));
    call.world.out(
      sb.laSizeSectors > 0
        ? `last agreed size: ${humanSize(sb.laSizeSectors / 2)} (${sb.laSizeSectors} sectors)\n` +
            `last agreed max bio size: ${sb.laPeerMaxBioBytes} Byte\n`
        : 'zero size device -- never seen peer yet?\n',
    );
  });
}

export function dstate(call: Call): Promise<number> {
  return reading(call, (sb) => call.world.out(`${storedDiskState(sb.flags)}\n`));
}

export function readDevUuid(call: Call): Promise<number> {
  return reading(call, (sb) => call.world.out(`${uuidText(sb.deviceUuid)}\n`));
}

function requiredArgument(call: Call): string {
  const [argument] = call.args;
  if (argument !== undefined) return argument;
  call.world.err('Required Argument missing\n');
  throw new Exit(10);
}

export function writeDevUuid(call: Call): Promise<number> {
  const text = requiredArgument(call);
  if (!/^(0x)?[0-9A-Fa-f]{1,16}$/.test(text)) {
    call.world.err(`'${text}' is not a UUID in hex\n`);
    throw new Exit(10);
  }
  const deviceUuid = BigInt(text.startsWith('0x') ? text : `0x${text}`);
  return changing(call, (sb) => ({ ...sb, deviceUuid }));
}

export function setGi(call: Call): Promise<number> {
  const text = requiredArgument(call);
  const { world } = call;
  return changing(call, async (sb) => {
    const gi = parseGi(text, sb);
    if (typeof gi === 'string') {
      world.err(`${gi}\n`);
      throw new Exit(10);
    }
    world.out(`previously ${giLine(sb)}\nset GI to  ${giLine(gi)}\n`);
    if (await confirmed(call, 'Write new GI to disk?')) return { ...sb, ...gi };
    world.out('Operation canceled.\n');
    return null;
  });
}

export function outdate(call: Call): Promise<number> {
  return changing(call, (sb) => {
    if ((sb.flags & MDF.CONSISTENT) === 0) {
      call.world.err('Device is inconsistent.\n');
      throw new Exit(5);
    }
    return { ...sb, flags: sb.flags & ~MDF.WAS_UP_TO_DATE };
  });
}

export function invalidate(call: Call): Promise<number> {
  return changing(call, (sb) => ({
    ...sb,
    flags: (sb.flags & ~(MDF.CONSISTENT | MDF.WAS_UP_TO_DATE)) | MDF.FULL_SYNC,
  }));
}

export async function applyAlCommand(call: Call): Promise<number> {
  const { world } = call;
  const device = await MetaDevice.open(call, true);
  try {
    let found: Found | null = device.find();
    if (found?.where === 'moved') {
      const status = moveMetaData(call, device, found);
      if (status !== 0) return status;
      found = device.find();
    }
    if (found?.where !== 'here') return noMetaData(call);
    const { layout, superblock } = found;
    const ring = device.read(layout.alSector * 512, layout.alBlocks * 4096);
    const plan = planApplyAl(superblock, ring);
    for (const line of plan.replay.messages) world.err(`${line}\n`);
    if (plan.errorIgnored) world.err('Error ignored, no need to apply the AL\n');
    if (plan.failed) return 1;
    carryOut(call, device, layout, plan);
    return 0;
  } finally {
    device.close();
  }
}

/** Bitmap, ring, superblock: each durable before the next, so that a crash in between repeats what it must. */
function carryOut(call: Call, device: MetaDevice, layout: MetaLayout, plan: ApplyPlan): void {
  const { world } = call;
  if (plan.applied) {
    const set = markExtents(device, layout, plan.mark);
    world.err(
      plan.mark.length > 0
        ? `Marked additional ${humanSize(set * 4)} as out-of-sync based on AL.\n`
        : 'Nothing to do.\n',
    );
    device.sync();
  }
  if (plan.initializeRing) {
    writeRing(device, layout);
    device.sync();
  }
  if (plan.superblock) {
    device.writeSuperblock(layout, plan.superblock);
    device.sync();
    device.remember(plan.superblock);
  }
}

/** One 4 KiB page of the bitmap at a time; how many bits were set. */
function markExtents(device: MetaDevice, layout: MetaLayout, extents: readonly number[]): number {
  const area = layout.bitmapSectors * 512;
  const pages = new Set(extents.map((e) => Math.floor((e * AL_EXTENT_BITMAP_BYTES) / 4096)));
  let set = 0;
  for (const page of pages) {
    const at = page * 4096;
    if (at + 4096 > area) continue; // an extent behind the end of what the bitmap describes
    const bytes = device.read(layout.bitmapSector * 512 + at, 4096);
    const changed = applyAl(bytes, extents, at);
    if (changed > 0) device.write(layout, layout.bitmapSector * 512 + at, bytes);
    set += changed;
  }
  return set;
}
