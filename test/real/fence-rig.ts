/** A directory with a plug-in of the real `stonith` and a fence-agent of our own, and the answers to questions of fencing. */
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { StonithDevice } from '../../src/config/ha-cf.js';
import { DEFAULT_TWINBEAT_INI } from '../../src/config/twinbeat-ini.js';
import type { HeartbeatConfig } from '../../src/host/heartbeat-ports.js';
import { Fencing } from '../../src/real/answer-fence.js';
import type { FenceAnswer } from '../../src/resource-manager/answers.js';
import { readHeartbeatTexts } from '../../src/sim/heartbeat-config.js';

/** For the processes of the device only: a word that is in no other's arguments. */
export const PASSWORD = 'open$sesame-open';
export const PLUGIN = 'external/labpower';

const BIN = mkdtempSync(join(tmpdir(), 'fence-'));
test.after.always(() => rmSync(BIN, { recursive: true, force: true }));

/** The plug-in is seen by this `stonith` alone: libstonith has one directory for all. */
mkdirSync(join(BIN, 'external'));
copyFileSync('test/lab/stonith/labpower', join(BIN, 'external/labpower'));
chmodSync(join(BIN, 'external/labpower'), 0o755);
writeFileSync(
  join(BIN, 'stonith'),
  `#!/bin/sh
exec unshare --mount --propagation private sh -c '
mount --bind ${BIN}/external /usr/lib/stonith/plugins/external && exec /usr/sbin/stonith "$@"' sh "$@"
`,
  { mode: 0o755 },
);
process.env['PATH'] = `${BIN}:${process.env['PATH'] ?? ''}`;

export interface Rig {
  readonly dir: string; // of the switch
  readonly logs: readonly string[];
  fence(config: HeartbeatConfig, node?: string): Promise<FenceAnswer>;
  /** What the plug-in was asked for. */
  asked(): readonly string[];
}

export function rig(t: ExecutionContext, mode: string): Rig {
  const dir = mkdtempSync(join(tmpdir(), 'fence-switch-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'mode'), mode);
  const logs: string[] = [];
  const log = (level: string, text: string) => logs.push(`${level}: ${text}`);
  const fencing = new Fencing({ root: '', log });
  return {
    dir,
    logs,
    fence: (config, node = 'beta') =>
      new Promise((answered) => fencing.answer(config, node, answered)),
    asked: () => {
      try {
        const lines = readFileSync(join(dir, 'asked'), 'utf8').trimEnd().split('\n');
        return lines.filter((line) => !line.startsWith('getconfignames'));
      } catch {
        return [];
      }
    },
  };
}

export function config(
  device: Partial<StonithDevice> | null,
  fence: Partial<HeartbeatConfig['ini']['fence']> = {},
): HeartbeatConfig {
  const { config: read } = readHeartbeatTexts('alpha', {
    haCf: 'bcast eth0\nnode alpha beta\n',
    haresources: '',
    authkeys: 'auth 1\n1 crc\n',
    scriptTimeoutS: 0,
    stopFailure: 'reboot',
    health: DEFAULT_TWINBEAT_INI.health,
    witness: DEFAULT_TWINBEAT_INI.witness,
    fence: DEFAULT_TWINBEAT_INI.fence,
    failbackDelayS: 0,
    movesPerHour: 0,
  });
  if (!read) throw new Error('not taken');
  const stonith = device ? [{ host: '*', type: PLUGIN, file: null, params: [], ...device }] : [];
  const { haCf, ini } = read;
  return {
    ...read,
    haCf: { ...haCf, stonith },
    ini: { ...ini, fence: { ...ini.fence, ...fence } },
  };
}

/** A fence-agent in the rig's directory. Its last word on stdin is left in DIR/told-ACTION; `cases`: of shell, by action. */
export function agent({ dir }: Rig, cases: string): string {
  const path = join(dir, 'fence_lab');
  const text = `#!/bin/sh
[ $# = 0 ] || exit 9
cat >${dir}/told
action=$(sed -n s/^action=//p ${dir}/told)
mv ${dir}/told ${dir}/told-$action
case $action in
${cases}
esac
exit 9
`;
  writeFileSync(path, text, { mode: 0o755 });
  return path;
}
