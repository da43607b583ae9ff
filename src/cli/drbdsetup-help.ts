/**
 * `drbdsetup help COMMAND`: its arguments and the names of its options, in the form of drbdsetup 8.4 (which also prints the range of
 * each; those are in drbd.conf(5)).
 */
import { DISK_TABLE, NET_TABLE, type Option, RESOURCE_TABLE } from '../config/drbd-option-table.js';

const COLUMNS = 80;
const INDENT = '    ';
const ADDRESSES = '[{af}:]{local_addr}[:{port}] [{af}:]{remote_addr}[:{port}]';
const WAIT = [
  'wfc-timeout=...',
  'degr-wfc-timeout=...',
  'outdated-wfc-timeout=...',
  'wait-after-sb',
];

function optionsOf(table: Readonly<Record<string, Option>>): string[] {
  return Object.values(table).map(({ name, kind }) => (kind === 'flag' ? name : `${name}=...`));
}

const DISK = optionsOf(DISK_TABLE);
const NET = optionsOf(NET_TABLE);
const RESOURCE = optionsOf(RESOURCE_TABLE);
const unchangeable = (name: string): boolean => !/^(size|max-bio-bvecs)=/.test(name);

/** Arguments, then options. */
const COMMANDS: Readonly<Record<string, readonly [string, ...(readonly string[])[]]>> = {
  'new-resource': ['{resource}', RESOURCE],
  'new-minor': ['{resource} {minor} {volume}'],
  'del-minor': ['{minor}'],
  'del-resource': ['{resource}'],
  'rename-resource': ['{resource} {new_name}'],
  attach: ['{minor} {lower_dev} {meta_data_dev} {meta_data_index}', DISK],
  detach: ['{minor}', ['force']],
  connect: [`{resource} ${ADDRESSES}`, ['tentative', 'discard-my-data'], NET],
  disconnect: [ADDRESSES, ['force']],
  primary: ['{minor}', ['force']],
  secondary: ['{minor}'],
  invalidate: ['{minor}'],
  'invalidate-remote': ['{minor}'],
  outdate: ['{minor}'],
  'pause-sync': ['{minor}'],
  'resume-sync': ['{minor}'],
  'suspend-io': ['{minor}'],
  'resume-io': ['{minor}'],
  verify: ['{minor}', ['start=...', 'stop=...']],
  resize: ['{minor}', ['size=...', 'assume-peer-has-space', 'assume-clean']],
  'check-resize': ['{minor}'],
  'new-current-uuid': ['{minor}', ['clear-bitmap']],
  'disk-options': ['{minor}', ['set-defaults'], DISK.filter(unchangeable)],
  'net-options': [ADDRESSES, ['set-defaults'], NET],
  'resource-options': ['{resource}', ['set-defaults'], RESOURCE],
  down: ['{resource}'],
  role: ['{minor}'],
  state: ['{minor}'],
  cstate: ['{minor}'],
  dstate: ['{minor}'],
  'show-gi': ['{minor}'],
  'get-gi': ['{minor}'],
  show: ['{resource|minor|all}', ['show-defaults']],
  status: ['{resource|all}', ['verbose', 'statistics', 'json', 'color=...']],
  'sh-status': ['{resource|minor|all}'],
  events: ['{resource|minor|all}'],
  events2: ['{resource|all}', ['timestamps', 'statistics', 'now']],
  'wait-connect': ['{minor}', WAIT],
  'wait-sync': ['{minor}', WAIT],
};

/** Null: there is no such command. */
export function helpText(command: string): string | null {
  const found = new Map(Object.entries(COMMANDS)).get(command);
  if (!found) return null;
  const [words, ...lists] = found;
  const options = lists.flat().map((name) => `[--${name}]`);
  let text = 'USAGE:\n';
  let line = ` drbdsetup ${command}`;
  for (const word of [...words.split(' '), ...options]) {
    if (line.length + 1 + word.length > COLUMNS) {
      text += `${line}\n`;
      line = `${INDENT}${word}`;
    } else line += ` ${word}`;
  }
  return `${text}${line}\n`;
}

/** For a test: what it knows. */
export const HELPED: readonly string[] = Object.keys(COMMANDS);
