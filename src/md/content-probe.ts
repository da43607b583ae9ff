/**
 * What seems to be on a device, from its first 68 KiB: asked before create-md puts meta-data there. Only content that
 * says of itself how long it is can be judged; all else is "some data".
 *
 * Sources: the superblocks of ext2/3/4 (Linux Documentation/filesystems/ext4), xfs (xfs_dsb), swap (SWAPSPACE2 at the
 * end of its first page), LVM2 (label in sector 1, pv_header), jfs, reiserfs; docs/METADATA.md section 7.
 */

/** Read this much from the start of the device. */
export const PROBE_BYTES = 68 * 1024;

export interface Content {
  readonly name: string; // as in "Found %s"
  /** How much of the device it uses; null: it is known to use it, but not how much. */
  readonly sizeBytes: number | null;
  /** It may be put aside after a "yes": only for unrecognized data. */
  readonly recognized: boolean;
}

/** Null: the device begins with nothing but zeroes. */
export function probeContent(head: Uint8Array): Content | null {
  if (head.every((byte) => byte === 0)) return null;
  const v = new DataView(head.buffer, head.byteOffset, head.length);
  return (
    swap(v) ??
    lvm(v) ??
    ext(v) ??
    xfs(v) ??
    jfs(v) ??
    reiser(v) ?? { name: 'some data', sizeBytes: null, recognized: false }
  );
}

function text(v: DataView, at: number, length: number): string {
  let s = '';
  for (let i = 0; i < length; i++) s += String.fromCharCode(v.getUint8(at + i));
  return s;
}

function found(name: string, sizeBytes: number | null): Content {
  return { name, sizeBytes, recognized: true };
}

function swap(v: DataView): Content | null {
  for (const page of [4096, 8192]) {
    const magic = text(v, page - 10, 10);
    if (magic === 'SWAP-SPACE' || magic === 'SWAPSPACE2')
      return found('swap space signature', null);
  }
  return null;
}

/** The label may be in any of the first four sectors; its header says where the pv_header is. */
function lvm(v: DataView): Content | null {
  for (let sector = 0; sector < 4; sector++) {
    const at = sector * 512;
    if (text(v, at, 8) !== 'LABELONE' || text(v, at + 0x18, 4) !== 'LVM2') continue;
    const header = at + v.getUint32(at + 0x14, true);
    const known = header + 40 <= v.byteLength;
    const size = known ? Number(v.getBigUint64(header + 32, true)) : 0; // behind the 32 bytes of its UUID
    return found('LVM2 physical volume signature', size > 0 ? size : null);
  }
  return null;
}

function ext(v: DataView): Content | null {
  if (v.getUint16(0x438, true) !== 0xef53) return null;
  const journal = (v.getUint32(0x45c, true) & 4) !== 0;
  const is64 = (v.getUint32(0x460, true) & 0x80) !== 0;
  const blocks = v.getUint32(0x404, true) + (is64 ? v.getUint32(0x550, true) * 2 ** 32 : 0);
  const shift = v.getUint32(0x418, true);
  const blockBytes = shift <= 6 ? 1024 << shift : 4096;
  return found(journal ? 'ext3 filesystem' : 'ext2 filesystem', blocks * blockBytes);
}

function xfs(v: DataView): Content | null {
  if (text(v, 0, 4) !== 'XFSB') return null;
  return found('xfs filesystem', v.getUint32(4) * Number(v.getBigUint64(8)));
}

function jfs(v: DataView): Content | null {
  if (text(v, 0x8000, 4) !== 'JFS1') return null;
  // s_size counts blocks of the device (s_pbsize), not of the file system.
  const size = Number(v.getBigUint64(0x8008, true)) * v.getUint32(0x8018, true);
  return found('JFS filesystem', size);
}

function reiser(v: DataView): Content | null {
  const magic = text(v, 0x10034, 9);
  if (!magic.startsWith('ReIsErFs') && magic !== 'ReIsEr2Fs') return null;
  return found('reiser filesystem', v.getUint32(0x10000, true) * v.getUint16(0x1002c, true));
}
