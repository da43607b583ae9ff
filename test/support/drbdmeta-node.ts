/** A node on which drbdmeta runs in-process: disks are plain files of a directory, which is its TWINBEAT_ROOT too. */
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { main } from '../../src/cli/drbdmeta.js';
import { layoutOfSuperblock, type MetaLayout, superblockSector } from '../../src/md/layout.js';
import { decodeSuperblock, encodeSuperblock, type Superblock } from '../../src/md/superblock.js';
import { memoryWorld } from './memory-world.js';

export interface Result {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

export class MetaNode {
  readonly root: string;
  constructor(t: ExecutionContext) {
    const root = mkdtempSync(join(tmpdir(), 'tbm-'));
    t.teardown(() => rmSync(root, { recursive: true, force: true }));
    this.root = root;
  }

  disk(name: string, bytes: number): string {
    return sparseFile(join(this.root, name), bytes);
  }

  /** Not a terminal unless answers are given. */
  async run(args: readonly string[], answers?: readonly string[]): Promise<Result> {
    const memory = memoryWorld({ root: this.root, input: answers ?? [] });
    const stdin = answers ? { ...memory.stdin, isTTY: true } : memory.stdin;
    const status = await main(args, { ...memory, stdin });
    return { status, out: memory.stdout(), err: memory.stderr() };
  }
}

export const MIB = 1 << 20;

export function sparseFile(path: string, bytes: number): string {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
  return path;
}

/** Of internal meta-data at the end of the file. */
export function superblock(path: string): Superblock {
  const sectors = statSync(path).size / 512;
  const block = Buffer.alloc(4096);
  const fd = openSync(path, 'r');
  readSync(fd, block, 0, 4096, superblockSector('internal', sectors) * 512);
  closeSync(fd);
  return decodeSuperblock(block);
}

/** Changes anything of the file, and the superblock. */
export function edit(
  path: string,
  change: (disk: Buffer, layout: MetaLayout, sb: Superblock) => Superblock,
): void {
  const disk = readFileSync(path);
  const at = superblockSector('internal', disk.length / 512);
  const sb = decodeSuperblock(disk, at * 512);
  encodeSuperblock(change(disk, layoutOfSuperblock(sb, 'internal', at), sb), disk, at * 512);
  writeFileSync(path, disk);
}

/** The path of a disk with new internal meta-data. */
export async function created(node: MetaNode, bytes = 64 * MIB): Promise<string> {
  const path = node.disk('disk', bytes);
  const r = await node.run(['--force', '0', 'v08', path, 'internal', 'create-md']);
  if (r.status !== 0) throw new Error(r.err);
  return path;
}
