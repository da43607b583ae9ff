/**
 * What `make install` brings for the boot: the init script reads the status file as Debian's does, shellcheck and systemd have nothing to
 * say. Its work with real daemons: test/integration/init-script.test.ts.
 */
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { command, succeed } from '../support/command.js';
import { need } from '../support/need.js';

const SCRIPT = join(process.cwd(), 'etc/init.d/drbd');
const DEBIAN = '/lib/drbd/scripts/drbd';

function directory(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'boot-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  return dir;
}

const RESOURCES: readonly (readonly [number, string, number])[] = [
  [0, 'r0', 0],
  [1, 'web-data', 0],
  [2, 'r2', 0],
  [11, 'multi', 1],
];
const PROC = `version: 8.4.11 (api:1/proto:86-101)
srcversion: F73C670A7EC572DB9CF3E5B 
 0: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----
    ns:0 nr:0 dw:0 dr:0 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:32728
	[=>..................] sync'ed: 12.5% (32728/32728)K
	finish: 0:01:21 speed: 0 (0) K/sec
 1: cs:StandAlone ro:Secondary/Unknown ds:UpToDate/DUnknown   r-----
    ns:0 nr:0 dw:0 dr:0 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:32728
 2: cs:Unconfigured

11: cs:WFConnection ro:Secondary/Unknown ds:Consistent/DUnknown A r-----
    ns:0 nr:0 dw:0 dr:0 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0
`;

test('status: the table of the states that a live pair does not show', async (t) => {
  if (!need(t, 'root', 'netns', 'column')) return;
  const dir = directory(t);
  const blocks = RESOURCES.map(
    ([minor, name, volume]) =>
      `_minor=${minor}\n_res_name=${name}\n_volume=${volume}\n_known=Configured\n_sh_status_process\n\n\n`,
  );
  writeFileSync(join(dir, 'sh-status'), blocks.join(''));
  writeFileSync(join(dir, 'proc'), PROC);
  for (const program of ['drbdadm', 'drbdsetup']) {
    writeFileSync(
      join(dir, program),
      `#!/bin/sh\ncase "$1" in sh-status) cat ${dir}/sh-status;; esac\n`,
    );
    chmodSync(join(dir, program), 0o755);
  }
  writeFileSync(join(dir, 'default'), `PATH=${dir}:$PATH\nPROC_DRBD=${dir}/proc\n`);
  // In a mount namespace of its own, for /etc/default/drbd.
  const inside = `mount -t tmpfs none /etc/default && cp ${dir}/default /etc/default/drbd && exec "$0" status`;
  const status = (path: string): Promise<string> =>
    succeed('unshare', '--mount', 'sh', '-c', inside, path);
  const mine = await status(SCRIPT);
  t.is(
    mine,
    `drbd driver loaded OK; device status:
version: 8.4.11 (api:1/proto:86-101)
srcversion: F73C670A7EC572DB9CF3E5B 
m:res       cs            ro                 ds                     p       mounted  fstype
0:r0        SyncSource    Primary/Secondary  UpToDate/Inconsistent  C
...         sync'ed:      12.5%              (32728/32728)K
1:web-data  StandAlone    Secondary/Unknown  UpToDate/DUnknown      r-----
2:r2        Unconfigured
11:multi    WFConnection  Secondary/Unknown  Consistent/DUnknown    A
`,
  );
  if (!need(t, DEBIAN)) return;
  const trimmed = (text: string): string => text.replace(/ +$/gm, '');
  t.is(trimmed(mine), trimmed(await status(DEBIAN)));
});

test('the script is executable and shellcheck has nothing to say', async (t) => {
  t.is(statSync(SCRIPT).mode & 0o111, 0o111);
  if (!need(t, 'shellcheck')) return;
  const { code, stdout } = await command('shellcheck', SCRIPT);
  t.is(code, 0, stdout);
});

test('the units start what is installed, and systemd understands them', async (t) => {
  const dir = directory(t);
  const programs = /^PROGRAMS := (.*)$/m.exec(readFileSync('Makefile', 'utf8'))?.[1]?.split(' ');
  const units = readdirSync('etc/systemd');
  t.true(units.includes('drbd.service'));
  for (const unit of units) {
    const text = readFileSync(join('etc/systemd', unit), 'utf8');
    for (const [, path = ''] of text.matchAll(/^Exec\w+=-?(\/usr\/local\/\S+)/gm)) {
      const program = /^\/usr\/local\/sbin\/(\S+)$/.exec(path)?.[1];
      if (program !== undefined) t.true(programs?.includes(program), `${unit}: ${path}`);
      else t.is(path, '/usr/local/lib/twinbeat/etc/init.d/drbd', unit);
    }
    writeFileSync(join(dir, unit), text.replace(/\/usr\/local\/(sbin|lib)\/\S+/g, '/bin/true'));
  }
  if (!need(t, 'systemd-analyze')) return;
  const paths = units.map((unit) => join(dir, unit));
  const { code, stdout, stderr } = await command(
    'env',
    `SYSTEMD_UNIT_PATH=${dir}:`,
    'systemd-analyze',
    'verify',
    '--man=no',
    ...paths,
  );
  t.deepEqual([code, stdout, stderr], [0, '', '']);
});
