/** A drbdd of its own process, with its volumes exported over a socket: needs no right of root. Ends with the test. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { ControlClient } from '../../src/cli/control-client.js';
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
  type DiskOptions,
} from '../../src/config/drbd-options.js';
import type { ControlRequest } from '../../src/host/control.js';
import { encodeRing } from '../../src/md/apply-al.js';
import { isRefused, layoutOfDevice } from '../../src/md/layout.js';
import { encodeSuperblock, freshSuperblock } from '../../src/md/superblock.js';
import { until } from './until.js';

const SIZE_BYTES = 4 << 20;
const DRBDD = fileURLToPath(new URL('../../src/bin/drbdd.js', import.meta.url));

/** What drbdadm tells drbdd of the peer, for handlers. */
export const PEER = {
  DRBD_CONF: '/etc/drbd.conf',
  DRBD_PEER: 'two',
  DRBD_PEERS: 'two',
  DRBD_PEER_ADDRESS: '10.0.0.2',
  DRBD_PEER_AF: 'ipv4',
};

export function directory(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-drbdd-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A lower device with fresh meta-data. */
function lowerDisk(path: string): string {
  const descriptor = openSync(path, 'w');
  truncateSync(path, SIZE_BYTES);
  const layout = layoutOfDevice('internal', SIZE_BYTES / 512);
  if (isRefused(layout)) throw new Error(layout.text);
  const superblock = new Uint8Array(4096);
  encodeSuperblock(freshSuperblock(layout), superblock);
  writeSync(descriptor, superblock, 0, 4096, layout.superblockSector * 512);
  const ring = encodeRing(layout.alBlocks);
  writeSync(descriptor, ring, 0, ring.length, layout.alSector * 512);
  closeSync(descriptor);
  return path;
}

/** drbdd with its volumes exported over a socket: needs no right of root. */
export async function daemon(t: ExecutionContext, dir: string): Promise<ControlClient> {
  mkdirSync(join(dir, 'etc'));
  writeFileSync(
    join(dir, 'etc/twinbeat.ini'),
    '[drbdd]\ndevice-driver = export\npool-mib = 16\n[flight]\nenabled = no\n',
  );
  const args = [DRBDD, '--io-engine', 'fallback', '--log', join(dir, 'log')];
  const env = { ...process.env, TWINBEAT_ROOT: dir };
  const child = spawn(process.execPath, args, { env, stdio: 'ignore' });
  const ended = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  let client: ControlClient | null = null;
  await until(async () => {
    client = await ControlClient.connect(dir);
    return client !== null;
  }, 'drbdd answers');
  if (client === null) throw new Error('no client');
  t.teardown(() => (client as ControlClient | null)?.close());
  return client;
}

export async function done(
  drbdd: ControlClient,
  ...requests: readonly ControlRequest[]
): Promise<void> {
  for (const request of requests) {
    const reply = await drbdd.request(request);
    if (!reply.ok) throw new Error(`${request.verb}: ${JSON.stringify(reply)}`);
  }
}

/** Attached, and nobody knows of the peer: Consistent. */
export async function up(
  drbdd: ControlClient,
  dir: string,
  minor: number,
  fencePeer: string,
): Promise<void> {
  const resource = `r${minor}`;
  const disk = lowerDisk(join(dir, `disk${minor}`));
  const attach = (fencing: DiskOptions['fencing']): ControlRequest => ({
    verb: 'attach',
    minor,
    disk,
    metaDisk: disk,
    metaIndex: 'internal',
    options: { ...DEFAULT_DISK_OPTIONS, fencing },
  });
  await done(
    drbdd,
    { verb: 'new-resource', resource, options: DEFAULT_RESOURCE_OPTIONS },
    { verb: 'set-handlers', resource, handlers: { 'fence-peer': fencePeer }, environment: PEER },
    { verb: 'new-minor', resource, minor, volume: 0, device: `/dev/drbd${minor}` },
    attach('dont-care'),
    { verb: 'primary', minor, force: true },
    { verb: 'secondary', minor },
    { verb: 'detach', minor, force: false },
    attach('resource-and-stonith'),
  );
}
