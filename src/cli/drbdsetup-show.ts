/**
 * What `drbdsetup show` and `sh-status` print, from the data of drbdd. Source: drbdsetup 8.4 observed
 * (test/golden/config/kernel-steps.txt).
 */
import { DISK_TABLE, NET_TABLE, RESOURCE_TABLE } from '../config/drbd-option-table.js';
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
} from '../config/drbd-options.js';
import { type ShownOption, showOptions } from '../config/drbd-options-convert.js';
import { Conns, connName, Disks, diskName, Roles, roleName } from '../drbd/state.js';
import type { VolumeStatus } from '../drbd/status.js';
import type { Address, RunningResource, RunningVolume } from '../host/control.js';
import { shellEscape } from './drbdadm-commands.js';

const INDENT = '    ';

function optionLines(options: readonly ShownOption[], defaults: boolean, level: number): string {
  return options
    .filter(({ isDefault }) => defaults || !isDefault)
    .map(({ name, value, unit, isDefault }) => {
      const notes = [unit, isDefault ? 'default' : ''].filter((note) => note !== '');
      const comment = notes.length > 0 ? ` # ${notes.join(', ')}` : '';
      return `${INDENT.repeat(level)}${name.padEnd(16)}\t${value};${comment}\n`;
    })
    .join('');
}

function address({ family, host, port }: Address): string {
  const shown = family === 'ipv6' ? `[${host}]` : host;
  return `${INDENT.repeat(2)}address\t\t\t${family} ${shown}:${port};\n`;
}

export function showText(resource: RunningResource, defaults: boolean): string {
  const { net } = resource;
  let text = `resource ${resource.name} {\n`;
  const options = showOptions(RESOURCE_TABLE, resource.options, DEFAULT_RESOURCE_OPTIONS);
  text += `${INDENT}options {\n${optionLines(options, defaults, 2)}${INDENT}}\n`;
  if (net) {
    const shown = showOptions(NET_TABLE, net.options, DEFAULT_NET_OPTIONS);
    text += `${INDENT}net {\n${optionLines(shown, defaults, 2)}${INDENT}}\n`;
    text += `${INDENT}_remote_host {\n${address(net.remote)}${INDENT}}\n`;
  }
  text += `${INDENT}_this_host {\n`;
  if (net) text += address(net.local);
  for (const volume of resource.volumes) text += volumeText(volume, defaults);
  return `${text}${INDENT}}\n}\n`;
}

function volumeText(volume: RunningVolume, defaults: boolean): string {
  const two = INDENT.repeat(2);
  const three = INDENT.repeat(3);
  let text = `${two}volume ${volume.volume} {\n${three}device\t\t\tminor ${volume.minor};\n`;
  const { disk } = volume;
  if (disk) {
    text += `${three}disk\t\t\t"${disk.disk}";\n`;
    const index = disk.metaIndex;
    const meta =
      index === 'internal'
        ? 'internal'
        : `"${disk.metaDisk}"${index === 'flexible' ? '' : ` [ ${index} ]`}`;
    text += `${three}meta-disk\t\t\t${meta};\n`;
    const shown = showOptions(DISK_TABLE, disk.options, DEFAULT_DISK_OPTIONS);
    const lines = optionLines(shown, defaults, 4);
    if (lines !== '') text += `${three}disk {\n${lines}${three}}\n`;
  }
  return `${text}${two}}\n`;
}

/** Shell variables; null: no such minor. */
export function shStatusText(minor: number, v: VolumeStatus | null): string {
  const s = v?.state;
  const head = `_minor=${minor}\n`;
  const name = `_res_name=${v ? shellEscape(v.resource) : ''}\n_volume=${v ? v.volume : -1}\n`;
  const unconfigured =
    !s || (s.conn === Conns.StandAlone && s.disk === Disks.Diskless && s.role !== Roles.Primary);
  if (!s || unconfigured) {
    const known = v ? 'Unconfigured' : 'NA # not available or not yet created';
    const empty = 'role peer disk pdsk flags_susp flags_aftr_isp flags_peer_isp flags_user_isp';
    const rest = [...empty.split(' '), 'resynced_percent'].map((key) => `_${key}=\n`).join('');
    return `${head}${name}_known=${known}\n\n_cstate=Unconfigured\n${rest}\n_sh_status_process\n\n\n`;
  }
  const on = (flag: number): string => (flag !== 0 ? '1' : '');
  return [
    `${head}${name}_known=Configured\n`,
    `_cstate=${connName(s.conn)}`,
    `_role=${roleName(s.role)}`,
    `_peer=${roleName(s.peer)}`,
    `_disk=${diskName(s.disk)}`,
    `_pdsk=${diskName(s.pdsk)}\n`,
    `_flags_susp=${on(s.susp)}`,
    `_flags_aftr_isp=${on(s.aftrIsp)}`,
    `_flags_peer_isp=${on(s.peerIsp)}`,
    `_flags_user_isp=${on(s.userIsp)}\n`,
    `_resynced_percent=${percent(v)}\n`,
    '_sh_status_process\n\n\n',
  ].join('\n');
}

/** As the original: thousandths of what was to be done at the start. */
function percent(v: VolumeStatus): string {
  const p = v.progress;
  if (!p || p.totalBits === 0) return '';
  const shift = p.totalBits >= 2 ** 32 ? 16 : 10;
  const left = Math.floor((v.counters.outOfSyncBits - p.failedBits) / 2 ** shift);
  const total = 1 + Math.floor(p.totalBits / 2 ** shift);
  const thousandths = 1000 - Math.floor((left * 1000) / total);
  return `${Math.floor(thousandths / 10)}.${thousandths % 10}`;
}
