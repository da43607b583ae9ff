/** What is asked of drbdadm, a program in its place. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import test from 'ava';
import { parseAuthKeys } from '../../src/config/authkeys.js';
import { DEFAULT_TWINBEAT_INI } from '../../src/config/twinbeat-ini.js';
import type { FileDigests } from '../../src/host/file-digests.js';
import type { HeartbeatConfig } from '../../src/host/heartbeat-ports.js';
import { digestsAnswer } from '../../src/real/answer-digests.js';

const CONFIG = {
  node: 'a',
  haCf: { nodes: ['a', 'b'], media: [], pings: [], respawns: [] },
  groups: [],
  authkeys: parseAuthKeys('auth 1\n1 sha1 word\n', 'authkeys', 0o600).authkeys,
  ini: DEFAULT_TWINBEAT_INI,
} as unknown as HeartbeatConfig;

test.serial(
  'drbd.conf counts by what drbdadm dump says, without its comments; when it fails nobody knows',
  async (t) => {
    const root = await mkdtemp(`${tmpdir()}/digests-`);
    const path = process.env['PATH'] ?? '';
    t.teardown(async () => {
      process.env['PATH'] = path;
      await rm(root, { recursive: true, force: true });
    });
    process.env['PATH'] = `${root}:${path}`;
    const answer = async (script: string): Promise<string | undefined> => {
      await writeFile(`${root}/drbdadm`, `#!/bin/sh\n[ "$*" = dump ] || exit 9\n${script}\n`);
      await chmod(`${root}/drbdadm`, 0o755);
      const digests = await new Promise<FileDigests | null>((answered) => {
        digestsAnswer(root)(CONFIG, {}, answered);
      });
      t.is(digests?.key, 1);
      t.truthy(digests?.byKey[1]?.['ha.cf']);
      return digests?.byKey[1]?.['drbd.conf'];
    };
    const a = await answer("echo '# resource r0 on a: not ignored'; echo 'resource r0 {}'");
    const b = await answer("echo '# resource r0 on b: not ignored'; echo; echo 'resource r0 {}'");
    t.truthy(a);
    t.is(a, b);
    t.not(await answer("echo 'resource r1 {}'"), a);
    t.is(await answer("echo 'resource r0 {}'; exit 10"), undefined);
    t.is(await answer("echo '# no resources configured'"), undefined);
  },
);
