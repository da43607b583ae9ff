/**
 * dump-md, verify-dump and restore-md. A dump is parsed to its end before restore-md writes anything. Source:
 * docs/METADATA.md section 8.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { assert } from '../base/assert.js';
import {
  BitmapDump,
  DumpError,
  type DumpHead,
  dumpHead,
  parseDump,
  UNCLEAN_NOTE,
} from '../md/dump.js';
import type { MetaLayout } from '../md/layout.js';
import { freshSuperblock, isUnclean, type Superblock } from '../md/superblock.js';
import { bitmapBytes, bitsOfSectors } from '../md/units.js';
import { mayDestroy } from './drbdmeta-create.js';
import {
  type Call,
  confirmed,
  Exit,
  type Found,
  MetaDevice,
  writeRing,
  zero,
} from './drbdmeta-device.js';

const CHUNK_BYTES = 1 << 20;

export async function dumpMd(call: Call): Promise<number> {
  const { world, options } = call;
  const device = await MetaDevice.open(call, false);
  try {
    const found = device.find();
    if (!found) {
      world.err('No valid meta data found\n');
      return 1;
    }
    const sb = found.superblock;
    if (isUnclean(sb)) {
      world.err('Found meta data is "unclean", please apply-al first\n');
      if (!options.force) return 1;
    }
    world.out(
      `# DRBD meta data dump\n# ${localTime(new Date())}\n# ${hostname()}> ${call.commandLine}\n#\n\n`,
    );
    const length = bitmapBytes(bitsOfSectors(sb.laSizeSectors));
    const note = isUnclean(sb) ? UNCLEAN_NOTE : '';
    world.out(dumpHead(sb, found.layout, length, note, movedNote(call, device, found)));
    dumpBitmap(call, device, found.layout, length);
    return 0;
  } finally {
    device.close();
  }
}

function dumpBitmap(call: Call, device: MetaDevice, layout: MetaLayout, length: number): void {
  let text = '';
  const dump = new BitmapDump((piece) => {
    text += piece;
  });
  for (let done = 0; done < length; done += CHUNK_BYTES) {
    dump.feed(device.read(layout.bitmapSector * 512 + done, Math.min(CHUNK_BYTES, length - done)));
    call.world.out(text);
    text = '';
  }
  dump.end();
  call.world.out(text);
}

function movedNote(call: Call, device: MetaDevice, found: Found): string {
  if (found.where === 'here') return '';
  const expected = device.freshLayout({
    stripes: found.layout.alStripes,
    stripeSize4k: found.layout.alStripeSize4k,
  });
  const known = device.lastKnown.load();
  return (
    '#\n### Device seems to have been resized!\n' +
    '### dumping meta data from the last known position\n' +
    `### current size of ${call.device}: ${device.sizeBytes} byte\n` +
    '### expected position of meta data:\n' +
    `## md_offset ${expected.superblockSector * 512}\n` +
    `## al_offset ${expected.alSector * 512}\n` +
    `## bm_offset ${expected.bitmapSector * 512}\n` +
    `### last known size of ${known?.path ?? '-?-'}: ${known?.sizeBytes ?? 0} byte\n` +
    '### adjusted position of meta data:\n'
  );
}

/** 2026-11-21 00:23:03 +0000 [1795220583] */
function localTime(d: Date): string {
  const two = (n: number): string => String(n).padStart(2, '0');
  const offset = -d.getTimezoneOffset();
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}${two(Math.abs(offset) % 60)}`;
  return (
    `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ` +
    `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())} ${zone} ` +
    `[${Math.floor(d.getTime() / 1000)}]`
  );
}

/** The text of the dump file; standard input is not read. */
function dumpFile(call: Call): string {
  const path = call.args[0];
  if (path === undefined) {
    call.world.err('Required Argument missing\n');
    throw new Exit(10);
  }
  try {
    return readFileSync(path, 'utf8');
  } catch {
    call.world.err(`open of '${path}' failed.\n`);
    throw new Exit(20);
  }
}

/** Its head, once all of it has been read without an error. */
function checkedHead(call: Call, text: string): DumpHead {
  const heads: DumpHead[] = [];
  try {
    parseDump(
      text,
      (head) => heads.push(head),
      () => undefined,
    );
  } catch (e) {
    if (!(e instanceof DumpError)) throw e;
    call.world.err(`${e.message}\n`);
    throw new Exit(10);
  }
  const [head] = heads;
  assert(head, 'a dump without error has a head');
  return head;
}

export async function verifyDump(call: Call): Promise<number> {
  checkedHead(call, dumpFile(call));
  call.world.out('input file parsed ok\n');
  return 0;
}

export async function restoreMd(call: Call): Promise<number> {
  const { world, options } = call;
  const text = dumpFile(call);
  const device = await MetaDevice.open(call, true);
  try {
    const found = device.find();
    if (found && !(await confirmed(call, 'Valid meta-data in place, overwrite?'))) return 1;
    world.err('reinitializing\n');
    const head = checkedHead(call, text); // nothing is written before all of it could be read
    const striping = { stripes: head.alStripes, stripeSize4k: head.alStripeSize4k };
    if (options.striping) world.err('override activity log striping from commandline\n');
    const layout = device.freshLayout(options.striping ?? striping);
    await mayDestroy(call, device, layout);
    const h = device.clipped(layout, head);
    const sb: Superblock = {
      ...freshSuperblock(layout, h.laPeerMaxBioBytes),
      laSizeSectors: h.laSizeSectors,
      current: h.current,
      bitmap: h.bitmap,
      history1: h.history1,
      history2: h.history2,
      deviceUuid: h.deviceUuid,
      flags: h.flags,
    };
    // Nothing is to be found here while the parts do not fit together.
    device.wipeSuperblock(layout.superblockSector);
    device.sync();
    const area = layout.bitmapSectors * 512;
    const length = Math.min(bitmapBytes(bitsOfSectors(sb.laSizeSectors)), area);
    restoreBitmap(call, device, layout, length, text);
    writeRing(device, layout);
    device.sync();
    device.writeSuperblock(layout, sb);
    device.sync();
    device.remember(sb);
    world.out('Successfully restored meta data\n');
    return 0;
  } finally {
    device.close();
  }
}

/** Writes `length` bytes of bitmap from the words of the dump, zeroes where it has fewer. */
function restoreBitmap(
  call: Call,
  device: MetaDevice,
  layout: MetaLayout,
  length: number,
  text: string,
): void {
  const chunk = new Uint8Array(CHUNK_BYTES);
  const v = new DataView(chunk.buffer);
  let written = 0;
  let fill = 0;
  let truncated = false;
  const flush = (): void => {
    device.write(layout, layout.bitmapSector * 512 + written, chunk.subarray(0, fill));
    written += fill;
    fill = 0;
  };
  parseDump(
    text,
    () => undefined,
    (times, low, high) => {
      for (let i = 0; i < times; i++) {
        if (written + fill >= length) {
          truncated = true;
          return;
        }
        v.setUint32(fill, low, true);
        v.setUint32(fill + 4, high, true);
        fill += 8;
        if (fill === CHUNK_BYTES) flush();
      }
    },
  );
  flush();
  if (truncated) call.world.err('Bitmap info too large, truncated!\n');
  zero(device, layout, layout.bitmapSector * 512 + written, length - written);
}
